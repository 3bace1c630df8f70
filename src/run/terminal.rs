//! Terminals: a pseudo one for the program, the real one made raw while what is typed is passed on.
//!
//! However it ends, the real one is given back as it was; only SIGKILL leaves it raw (`stty sane` mends it).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::process;

/// Both ends of a pseudo-terminal.
pub(super) struct Pty {
    pub(super) ours: OwnedFd,
    pub(super) programs: OwnedFd,
}

/// Makes a pseudo-terminal that looks like the `real` one. With `cooked` it works on what passes, as a terminal does; without,
/// the real one behind it does.
pub(super) fn pty(real: impl AsFd, cooked: bool) -> io::Result<Pty> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    // What is typed must not keep us from reading what is printed.
    rustix::io::ioctl_fionbio(&ours, true)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let programs = rustix::fs::open(ptsname(&ours, Vec::new())?, flags, rustix::fs::Mode::empty())?;
    let mut modes = tcgetattr(&real)?;
    if !cooked {
        modes.output_modes -= OutputModes::OPOST;
    }
    tcsetattr(&programs, OptionalActions::Now, &modes)?;
    resize(&real, &ours);
    Ok(Pty { ours, programs })
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

/// The real terminal while it is raw. Dropped, it is as it was.
pub(super) struct Raw<T: AsFd> {
    terminal: T,
    before: Termios,
}

impl<T: AsFd> Raw<T> {
    pub(super) fn new(terminal: T) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }

    /// Makes it raw once more, after a shell had it.
    pub(super) fn again(&self) {
        let mut raw = self.before.clone();
        raw.make_raw();
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &raw);
    }
}

impl<T: AsFd> Drop for Raw<T> {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}
