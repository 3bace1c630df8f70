//! Ensures that only one process at a time asks on a terminal.
//!
//! Two processes of a pipeline that ask at the same time would each read a part of both answers,
//! and the first to end would turn the echo back on for the other. A lock on the terminal's device
//! prevents that. The system releases it when the process ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{OFlags, fstat, makedev};
use rustix::termios::{isatty, tcdrain, tcgetpgrp};
use secrets_files::DeferSignals;
use secrets_runtime::process;

use super::UiError;

/// The pause between two attempts to take the lock.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock that this process holds, so that a nested prompt does not wait for itself.
static HELD: Mutex<Weak<File>> = Mutex::new(Weak::new());

/// Exclusive use of the terminal until this is dropped. There is no lock if the device cannot be
/// opened, for example after `su`.
pub(super) struct Turn(#[allow(dead_code)] Option<Arc<File>>); // only held

impl Turn {
    /// Waits until no other process asks on this terminal. A signal ends the wait.
    pub(super) fn take(tty: &File) -> Result<Self, UiError> {
        stop_in_background(tty);
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = held.upgrade() {
            return Ok(Self(Some(turn)));
        }

        let Some(device) = device() else { return Ok(Self(None)) };

        let signals = DeferSignals::new().map_err(UiError::Terminal)?;
        loop {
            match device.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if signals.is_due() => {
                    signals.take();
                    return Err(UiError::Interrupted);
                }
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Err(TryLockError::Error(_)) => return Ok(Self(None)),
            }
        }

        let device = Arc::new(device);
        *held = Arc::downgrade(&device);
        Ok(Self(Some(device)))
    }
}

/// Stops a background process before it takes the lock. If it stopped later, it would keep the
/// foreground waiting.
fn stop_in_background(tty: &File) {
    if tcgetpgrp(tty)
        .is_ok_and(|foreground| process::group().is_some_and(|group| group != foreground))
    {
        let _ = tcdrain(tty);
    }
}

/// Opens the device of the controlling terminal, because `/dev/tty` is the same file for every
/// terminal.
fn device() -> Option<File> {
    let number = controlling_terminal()?;
    let directories =
        ["/dev/pts", "/dev"].into_iter().filter_map(|directory| fs::read_dir(directory).ok());
    let is_terminal_device = |entry: &fs::DirEntry| {
        entry
            .metadata()
            .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == number)
    };

    let entry = directories.flatten().flatten().find(is_terminal_device)?;
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(entry.path()).ok()
}

/// Returns its device number, from the system or from a standard stream that is a terminal.
fn controlling_terminal() -> Option<u64> {
    // proc(5): the seventh field of `stat`, which is the fifth after the program's name.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let number = fields.and_then(|fields| fields.split_whitespace().nth(4)?.parse::<i64>().ok());

    if let Some(number) =
        number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number != 0)
    {
        return Some(makedev(number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00));
    }

    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let terminal = streams.into_iter().find(|stream| isatty(stream))?;
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    // The type differs between systems.
    fstat(terminal).ok().map(|found| found.st_rdev as u64)
}
