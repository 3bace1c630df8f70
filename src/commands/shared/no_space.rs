//! The error of `backup` and `salvage` if the disk is full.

use std::path::Path;

use crate::error::{Error, Kind};

/// Reports that the file system at `path` has no room for a copy.
pub(crate) fn no_space(path: &Path) -> Error {
    let what = format!("no space left on the file system of `{}`", path.display());
    Error::new(Kind::Failure, what)
        .hint("free some space there, or choose a file elsewhere; the vault was not changed")
}
