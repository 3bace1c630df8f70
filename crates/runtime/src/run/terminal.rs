//! Pseudo-terminals for the program, and raw mode of the real terminal while keys are passed on.
//!
//! The real terminal is always restored at the end. Only SIGKILL leaves it raw, which `stty sane`
//! repairs.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, isatty,
    tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize, ttyname,
};

use crate::process;

/// Both ends of a pseudo-terminal.
pub(super) struct Pty {
    pub(super) ours: OwnedFd,
    pub(super) programs: OwnedFd,
    /// The path of the program's end
    pub(super) name: OsString,
}

/// Creates a pseudo-terminal with the modes of the `real` terminal. With `cooked` it processes
/// output itself, as a terminal does. Otherwise the real terminal behind it does.
pub(super) fn pty(real: impl AsFd, cooked: bool) -> io::Result<Pty> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;

    // Writing typed keys must not block us, because we also have to read the output.
    rustix::io::ioctl_fionbio(&ours, true)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let programs =
        rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;

    let mut modes = tcgetattr(&real)?;
    let is_taken = is_taken(&real);
    if is_taken {
        cook(&mut modes);
    }

    // Other output processing, such as tab expansion or conversion to upper case, would hide values
    // from the mask.
    modes.output_modes &= OutputModes::OPOST | OutputModes::ONLCR;

    // A real terminal that another process has made raw would not process the output.
    if !cooked && !is_taken {
        modes.output_modes -= OutputModes::OPOST;
    }

    tcsetattr(&programs, OptionalActions::Now, &modes)?;
    resize(&real, &ours);
    Ok(Pty { ours, programs, name: OsString::from_vec(name.into_bytes()) })
}

/// Sets the modes of a terminal for line input. While another process of ours has made the terminal
/// raw, its modes do not show its original state.
fn cook(modes: &mut Termios) {
    modes.input_modes |= InputModes::ICRNL | InputModes::IXON;
    modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
    modes.local_modes |= LocalModes::ISIG | LocalModes::ICANON | LocalModes::IEXTEN;
    modes.local_modes |= LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK;
}

/// Copies the real terminal's size to a pseudo-terminal.
pub(super) fn resize(real: impl AsFd, pseudo: impl AsFd) {
    if let Ok(size) = tcgetwinsize(real) {
        let _ = tcsetwinsize(pseudo, size);
    }
}

/// Returns true if we may read from `terminal`: it is our controlling terminal, and our group is in
/// the foreground.
pub(super) fn is_in_foreground(terminal: impl AsFd) -> bool {
    isatty(&terminal) && tcgetpgrp(terminal).is_ok_and(|group| Some(group) == process::group())
}

/// Returns true if a signal comes from another `secrets` process that had the terminal when a key
/// was typed, and passes the key's signal on to our common process group.
pub(super) fn is_from_key(sender: Pid) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) else { return false };
    let is_raw =
        tcgetattr(&terminal).is_ok_and(|modes| !modes.local_modes.contains(LocalModes::ISIG));
    is_raw && is_in_foreground(&terminal) && process::group_of(sender) == process::group()
}

/// The real terminal in raw mode. Dropping it restores the terminal.
pub(super) struct Raw<T: AsFd> {
    terminal: T,
    before: Termios,
    /// The modes in raw mode
    modes: Termios,
    /// Allows only one of several `secrets` processes on a terminal to make it raw. Two would
    /// restore each other's modes.
    _lock: Option<File>,
}

impl<T: AsFd> Raw<T> {
    /// Makes the terminal raw. With the modes of a pseudo-terminal in `pseudo`, the terminal still
    /// generates signals from keys and processes output as before.
    pub(super) fn new(terminal: T, pseudo: Option<&Termios>) -> io::Result<Self> {
        let lock = lock(&terminal)?;
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.make_raw();
        if let Some(pseudo) = pseudo {
            modes.output_modes = before.output_modes;
            copy_signals(&mut modes, pseudo);
        }

        tcsetattr(&terminal, OptionalActions::Drain, &modes)?;
        Ok(Self { terminal, before, modes, _lock: lock })
    }

    /// Adopts the program's setting on its pseudo-terminal for keys that send signals.
    pub(super) fn follow(&mut self, pseudo: &Termios) {
        if self.modes.local_modes.contains(LocalModes::ISIG)
            != pseudo.local_modes.contains(LocalModes::ISIG)
        {
            copy_signals(&mut self.modes, pseudo);
            self.reapply();
        }
    }

    /// Makes the terminal raw again after a shell has changed it.
    pub(super) fn reapply(&self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.modes);
    }
}

impl<T: AsFd> Drop for Raw<T> {
    fn drop(&mut self) {
        // In the background the terminal belongs to another process, and the call would stop us.
        if is_in_foreground(&self.terminal) {
            let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
        }
    }
}

fn copy_signals(modes: &mut Termios, from: &Termios) {
    modes.local_modes.set(LocalModes::ISIG, from.local_modes.contains(LocalModes::ISIG));
    for index in [SpecialCodeIndex::VINTR, SpecialCodeIndex::VQUIT, SpecialCodeIndex::VSUSP] {
        modes.special_codes[index] = from.special_codes[index];
    }
}

/// Returns true while another `secrets` process has made the terminal raw.
fn is_taken(terminal: impl AsFd) -> bool {
    lock(terminal).is_err()
}

/// Locks the terminal against other `secrets` processes until the file is closed. Returns `None` if
/// the terminal has no name.
fn lock(terminal: impl AsFd) -> io::Result<Option<File>> {
    let Ok(name) = ttyname(terminal, Vec::new()) else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(name, flags, Mode::empty()).map(File::from) else {
        return Ok(None);
    };

    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
