//! Stdout and stderr for bytes that may contain values, without std's buffers, which would keep a
//! copy.

use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;

use super::UiError;

/// Unbuffered stdout.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes bytes to stdout.
pub(crate) fn print(bytes: &[u8]) -> Result<(), UiError> {
    Stdout.write_all(bytes).map_err(UiError::Stdout)
}

/// Duplicates stdin, stdout and stderr as descriptors that no program inherits.
pub(crate) fn streams() -> io::Result<[OwnedFd; 3]> {
    let own = |stream: BorrowedFd<'_>| fcntl_dupfd_cloexec(stream, 3);
    Ok([own(rustix::stdio::stdin())?, own(rustix::stdio::stdout())?, own(rustix::stdio::stderr())?])
}
