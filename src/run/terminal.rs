//! Terminals: a pseudo one for the program, the real one made raw while what is typed is passed on.
//!
//! However it ends, the real one is given back as it was; only SIGKILL leaves it raw (`stty sane` repairs it).

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

/// Makes a pseudo-terminal that looks like the `real` one. With `cooked` it works on what passes, as a terminal does; without,
/// the real one behind it does.
pub(super) fn pty(real: impl AsFd, cooked: bool) -> io::Result<Pty> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;

    // What is typed must not keep us from reading what is printed.
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

    // Anything else that a terminal does to output (blanks for tabs, capitals) would hide values from the mask.
    modes.output_modes &= OutputModes::OPOST | OutputModes::ONLCR;

    // A terminal that is raw now would do nothing for us.
    if !cooked && !is_taken {
        modes.output_modes -= OutputModes::OPOST;
    }

    tcsetattr(&programs, OptionalActions::Now, &modes)?;
    resize(&real, &ours);
    Ok(Pty { ours, programs, name: OsString::from_vec(name.into_bytes()) })
}

/// The modes of a terminal on which people type lines. While another of us has made the terminal raw, its modes say nothing
/// about how it was.
fn cook(modes: &mut Termios) {
    modes.input_modes |= InputModes::ICRNL | InputModes::IXON;
    modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
    modes.local_modes |= LocalModes::ISIG | LocalModes::ICANON | LocalModes::IEXTEN;
    modes.local_modes |= LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK;
}

/// Gives a pseudo-terminal the real one's size.
pub(super) fn resize(real: impl AsFd, pseudo: impl AsFd) {
    if let Ok(size) = tcgetwinsize(real) {
        let _ = tcsetwinsize(pseudo, size);
    }
}

/// True where `terminal` is ours to read: our controlling one, with our group in its foreground.
pub(super) fn is_in_foreground(terminal: impl AsFd) -> bool {
    isatty(&terminal) && tcgetpgrp(terminal).is_ok_and(|group| Some(group) == process::group())
}

/// True if the sender of a signal is another of us that had the terminal when a key was typed, and passes the key's signal
/// on to the process group that we share.
pub(super) fn is_of_a_key(sender: Pid) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) else { return false };
    let is_raw =
        tcgetattr(&terminal).is_ok_and(|modes| !modes.local_modes.contains(LocalModes::ISIG));
    is_raw && is_in_foreground(&terminal) && process::group_of(sender) == process::group()
}

/// The real terminal while it is raw. Dropped, it is as it was.
pub(super) struct Raw<T: AsFd> {
    terminal: T,
    before: Termios,
    /// What it is set to
    modes: Termios,
    /// Of several of us on one terminal one at a time has it: two would put back each other's modes
    _lock: Option<File>,
}

impl<T: AsFd> Raw<T> {
    /// Makes the terminal raw. With the modes of a `pseudo` one, the terminal goes on to make signals of keys itself, and
    /// of what is printed what it made before.
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

    /// Follows the program on its pseudo-terminal: which keys send signals.
    pub(super) fn follow(&mut self, pseudo: &Termios) {
        if self.modes.local_modes.contains(LocalModes::ISIG)
            != pseudo.local_modes.contains(LocalModes::ISIG)
        {
            copy_signals(&mut self.modes, pseudo);
            self.again();
        }
    }

    /// Makes it raw once more, after a shell had it.
    pub(super) fn again(&self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.modes);
    }
}

impl<T: AsFd> Drop for Raw<T> {
    fn drop(&mut self) {
        // In the background the terminal is somebody else's, and the call would stop us.
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

/// True while another of us has made the terminal raw.
fn is_taken(terminal: impl AsFd) -> bool {
    lock(terminal).is_err()
}

/// Locks the terminal against others of us, until the file is closed. Nothing where the terminal has no name.
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
