//! The byte with which a helper process reports to `secrets` that its work begins.

use std::fs::File;
use std::io::{self, Write};

use rustix::stdio::dup2_stdout;
use secrets_runtime::helper::READY;

use crate::ui::raw::Stdout;

/// Reports to the process at the other end of stdout that the work begins, and replaces stdout with
/// /dev/null.
pub(crate) fn signal_ready() -> io::Result<()> {
    send_byte(READY)
}

pub(crate) fn send_byte(byte: u8) -> io::Result<()> {
    Stdout.write_all(&[byte])?;
    Ok(dup2_stdout(File::options().write(true).open("/dev/null")?)?)
}
