//! Stdout and stderr for bytes that may hold values: without std's buffers, which would keep a copy.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::io::dup;

/// Stdout without a buffer.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stdin, stdout and stderr as descriptors of one's own.
pub(crate) fn streams() -> io::Result<[OwnedFd; 3]> {
    Ok([dup(rustix::stdio::stdin())?, dup(rustix::stdio::stdout())?, dup(rustix::stdio::stderr())?])
}
