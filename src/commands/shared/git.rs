//! Checks whether git tracks the files that commands read and write.

use std::path::{Path, PathBuf};

use secrets_core::store::quoted;
use secrets_project::git::{GitStatus, without_links};
use secrets_project::setup::Manifest;
use secrets_project::setup::gitignore::{self, Unignored};

use crate::context::Target;
use crate::error::{Error, Kind};

/// Returns true for a file that git tracks, and false if git cannot answer.
pub(crate) fn is_tracked(path: &Path) -> bool {
    let (Some(name), Some(directory)) = (path.file_name(), path.parent()) else { return false };
    let standing = Target::git(directory).statuses(&[Path::new(name)]);
    standing.is_ok_and(|standing| standing == [GitStatus::Tracked])
}

/// Returns the outputs that git does not ignore. Refuses an output that git tracks, because the
/// next commit would publish it.
pub(crate) fn untracked(manifest: &Manifest) -> Result<Unignored, Error> {
    let found = gitignore::unignored(manifest, &Target::git(&manifest.directory))?;
    let Some(tracked) = found.tracked.first() else { return Ok(found) };
    Err(self::tracked(tracked, tracked))
}

/// Reports that git tracks an output as `known`.
pub(crate) fn tracked(path: &Path, known: &Path) -> Error {
    let what = format!(
        "`{}` is tracked by git: the next commit would publish its content",
        path.display()
    );

    Error::new(Kind::Refused, what).hint(format!(
        "remove it from git with `git rm --cached {}`; nothing was changed",
        quoted(known)
    ))
}

/// Returns the path under which git knows a file. It is the given path if no directory in it is a
/// link.
pub(crate) fn git_path(path: &Path) -> PathBuf {
    let has_link = path.ancestors().skip(1).any(Path::is_symlink);
    let Some(real) = without_links(path).filter(|_| has_link) else { return path.to_owned() };
    let here = std::fs::canonicalize(".").unwrap_or_default();
    real.strip_prefix(here).map(Path::to_owned).unwrap_or(real)
}
