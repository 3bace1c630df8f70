//! Files that an address refers to.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use secrets_core::model::SecretBytes;

/// Reads the files that an address refers to.
pub trait Files {
    /// Returns the content of a regular file, or `None` if there is no regular file at `path`. A
    /// file of more than `limit` bytes is an error of the kind [`io::ErrorKind::FileTooLarge`].
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<FileContent>>;
}

/// A file's content, and who can read it.
pub struct FileContent {
    /// The whole content
    pub bytes: SecretBytes,
    /// The users who can read the file
    pub readers: Readers,
}

/// The users who can read a file, without root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Only its owner. Nobody else has any right
    Owner,
    /// The file's group, and the file belongs to root. This is how systems give services a key
    GroupOfRoot,
    /// Others
    Others,
}

/// The files of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<FileContent>> {
        // Opening a pipe must not wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = match rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from) {
            Ok(file) => File::from(file),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(None),
                _ => return Err(error),
            },
        };

        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }

        let readers = match (metadata.mode() & 0o077, metadata.uid()) {
            (0, _) => Readers::Owner,
            (0o040, 0) => Readers::GroupOfRoot,
            _ => Readers::Others,
        };

        let mut bytes = SecretBytes::zeroed(limit + 1);
        let mut length = 0;
        while length <= limit {
            match file.read(&mut bytes.expose_mut()[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }

        if length > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }

        bytes.truncate(length);
        Ok(Some(FileContent { bytes, readers }))
    }
}
