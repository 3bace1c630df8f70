//! Opens files whose kind somebody else may have chosen. A FIFO or a device must not make us wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file for reading. Does not follow a symbolic link in place of the file, and does not
/// wait for the writer of a FIFO.
pub fn without_following(path: &Path) -> io::Result<File> {
    open(path, OFlags::NONBLOCK | OFlags::NOFOLLOW)
}

/// Opens a regular file for reading, also through a symbolic link. Anything else is an error.
pub fn regular(path: &Path) -> io::Result<File> {
    let file = open(path, OFlags::NONBLOCK | OFlags::NOCTTY)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Reads a file of at most `max` bytes to its end.
pub fn read_at_most(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(io::Error::other("it is too large")) } else { Ok(bytes) }
}

/// Returns true if the error says that the file does not exist.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
