//! Opens files whose kind somebody else may have chosen. A FIFO or a device must not make us wait.

use std::fs::{File, OpenOptions};
use std::io;
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

/// Returns true if the error says that the file does not exist.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
