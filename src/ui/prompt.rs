//! Questions on the controlling terminal, also while stdin and stdout are pipes.
//!
//! Nothing typed is shown where it is secret, and Ctrl-C gives the terminal back as it was.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpassword::{ConfigBuilder, prompt_password_with_config};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{QueueSelector, tcflush};
use signal_hook::consts::SIGINT;

use super::UiError;
use super::escape::visible;
use crate::model::SecretBytes;

const TERMINAL: &str = "/dev/tty";

fn terminal() -> Result<File, UiError> {
    OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(|_| UiError::NoTerminal)
}

/// Asks for something that is not shown while it is typed.
pub(crate) fn secret(question: &str) -> Result<SecretBytes, UiError> {
    drop(terminal()?);
    // rpassword turns Ctrl-C into SIGINT while echo is off. Caught here, the error comes back and echo with it.
    let interrupted = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)).map_err(UiError::Terminal)?;
    let answer = prompt_password_with_config(format!("{}: ", visible(question)), ConfigBuilder::new().build());
    signal_hook::low_level::unregister(handler);
    match answer {
        Ok(text) => Ok(SecretBytes::from_vec(text.into_bytes())),
        Err(error) if interrupted.load(Ordering::Relaxed) || error.kind() == io::ErrorKind::Interrupted => {
            Err(UiError::Interrupted)
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(UiError::Interrupted),
        Err(error) => Err(UiError::Terminal(error)),
    }
}

/// Asks for a value. One of several lines was pasted: only its first would be taken, and the rest would be typed into
/// the shell, so it is thrown away and refused.
pub(crate) fn value(question: &str) -> Result<SecretBytes, UiError> {
    let value = secret(question)?;
    let tty = terminal()?;
    let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut waiting = [PollFd::new(&tty, PollFlags::IN)];
    if poll(&mut waiting, Some(&moment)).is_ok_and(|ready| ready > 0) {
        let _ = tcflush(&tty, QueueSelector::IFlush);
        return Err(UiError::SeveralLines);
    }
    Ok(value)
}

/// Asks yes or no. Enter alone is `default`.
pub(crate) fn confirm(question: &str, default: bool) -> Result<bool, UiError> {
    let mut tty = terminal()?;
    let choices = if default { "[Y/n]" } else { "[y/N]" };
    write!(tty, "{} {choices} ", visible(question)).map_err(UiError::Terminal)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    // Byte by byte: what is typed ahead belongs to whoever reads next.
    while tty.read(&mut byte).map_err(UiError::Terminal)? == 1 && byte[0] != b'\n' {
        answer.extend_from_slice(&byte);
    }
    if byte[0] != b'\n' {
        let _ = tty.write_all(b"\n");
        return Ok(false);
    }
    Ok(match answer.trim_ascii().to_ascii_lowercase().as_slice() {
        b"" => default,
        b"y" | b"yes" => true,
        _ => false,
    })
}
