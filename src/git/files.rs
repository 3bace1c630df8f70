//! Reads files of a repository whose author may be a stranger. It reads only regular files, up to a
//! size limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::GitError;

/// The maximum size of a file with ignore rules in bytes.
pub(super) const RULES: u64 = 1024 * 1024;

/// Opens a regular file. Refuses a FIFO or a device at once, because reading it could block
/// forever.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits().cast_signed()).open(path)?;

    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }

    Ok(file)
}

/// Returns a file's bytes, or `None` if the file does not exist. A file of more than `most` bytes
/// is an error.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, GitError> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(source) => return Err(GitError::io(path, source)),
    };

    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|source| GitError::io(path, source))?;

    if bytes.len() as u64 > most {
        return Err(GitError::invalid(path, "it is too large"));
    }

    Ok(Some(bytes))
}

/// Returns true if the error says that the file does not exist.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
