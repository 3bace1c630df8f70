//! Decides whether two paths lead to the same file.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The identity of a file: its device and inode. No two existing files share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Returns the identity of the file that `path` leads to, or `None` if it cannot be read.
    /// Follows symbolic links.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|found| Self::of(&found))
    }

    /// Returns the identity of what has the name `path`, which may be a symbolic link, or `None` if
    /// it cannot be read.
    pub fn of_name(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().map(|found| Self::of(&found))
    }
}

/// Returns true if `name` still belongs to this open file.
pub(crate) fn is_at(file: &fs::File, name: &Path) -> io::Result<bool> {
    let ours = FileId::of(&file.metadata()?);
    Ok(FileId::of_name(name) == Some(ours))
}
