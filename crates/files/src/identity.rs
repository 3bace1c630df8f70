//! Decides whether two paths lead to the same file.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

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
pub(crate) fn is_at(file: &File, name: &Path) -> io::Result<bool> {
    let ours = FileId::of(&file.metadata()?);
    Ok(FileId::of_name(name) == Some(ours))
}

/// A file that stays open for the next use. Its name may meanwhile be removed, or be given to another
/// file.
#[derive(Debug)]
pub struct KeptFile {
    file: File,
    path: PathBuf,
    id: FileId,
}

impl KeptFile {
    /// Returns the kept file if it was opened as `path` and still has this name. Otherwise opens and
    /// keeps the file of that name, for reading and writing. Does not follow a symbolic link in place
    /// of the file, and does not wait. Creates a file with mode 0600 if `creates`.
    pub fn reopen(kept: &mut Option<Self>, path: PathBuf, creates: bool) -> io::Result<File> {
        if let Some(kept) = kept
            && kept.path == path
            && FileId::of_name(&path) == Some(kept.id)
        {
            return kept.file.try_clone();
        }

        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(creates).mode(0o600).custom_flags(flags);
        let file = options.open(&path)?;
        let id = FileId::of(&file.metadata()?);
        *kept = Some(Self { file: file.try_clone()?, path, id });
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_kept_file_is_used_only_while_it_has_its_name() {
        let home = tempfile::tempdir().unwrap();
        let (path, other) = (home.path().join("one"), home.path().join("two"));
        let mut kept = None;
        let mut reopen = |path: &Path, creates| KeptFile::reopen(&mut kept, path.into(), creates);

        assert!(reopen(&path, false).is_err());
        reopen(&path, true).unwrap().write_all(b"1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        reopen(&path, false).unwrap().write_all(b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"12");

        fs::rename(&path, &other).unwrap();
        assert!(reopen(&path, false).is_err());
        fs::write(&path, "another").unwrap();
        let mut text = String::new();
        reopen(&path, false).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "another");

        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(reopen(&path, true).is_err());
    }
}
