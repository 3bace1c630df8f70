//! What is typed, on its way to a pseudo-terminal.
//!
//! A program in a session of its own gets all of it. A program in our session whose output alone is a terminal gets it as
//! long as it has turned off line editing on its pseudo-terminal: pagers look for their keyboard there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr, tcgetpgrp};

use super::terminal::{Raw, is_in_foreground};
use crate::model::SecretBytes;

/// Whom the keyboard belongs to.
pub(super) enum Role {
    /// The program's session. The process between writes the program's process group into the file
    Session(File),
    /// Ours: the program has it only while it reads single keys
    Lent,
}

pub(super) struct Keyboard {
    terminal: OwnedFd,
    pty: OwnedFd,
    typed: SecretBytes,
    raw: Option<Raw<OwnedFd>>,
    role: Role,
}

impl Keyboard {
    pub(super) fn new(terminal: &OwnedFd, pty: &OwnedFd, role: Role) -> io::Result<Self> {
        let (terminal, pty) = (terminal.try_clone()?, pty.try_clone()?);
        Ok(Self { terminal, pty, typed: SecretBytes::with_capacity(0), raw: None, role })
    }

    /// True if the program has a session of its own on the pseudo-terminal.
    pub(super) fn is_session(&self) -> bool {
        matches!(self.role, Role::Session(_))
    }

    /// The process group in the foreground of the pseudo-terminal.
    pub(super) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.pty).ok()
    }

    /// True while the real terminal is raw for the program.
    pub(super) fn has_terminal(&self) -> bool {
        self.raw.is_some()
    }

    /// True while something may change of which nothing tells us: who is in the foreground, what the program wants.
    pub(super) fn needs_a_look(&self) -> bool {
        self.raw.is_none() || matches!(self.role, Role::Lent)
    }

    /// Gives the real terminal back as it was.
    pub(super) fn give_back(&mut self) {
        self.raw = None;
    }

    /// Takes the real terminal if it is ours and nobody else of us has it; gives it back if the program does not want it
    /// any more.
    pub(super) fn look(&mut self) {
        let pseudo = match self.role {
            Role::Session(_) => None,
            Role::Lent => match tcgetattr(&self.pty) {
                Ok(modes) if !modes.local_modes.contains(LocalModes::ICANON) => Some(modes),
                _ => return self.give_back(),
            },
        };

        match &mut self.raw {
            Some(raw) => pseudo.iter().for_each(|modes| raw.follow(modes)),
            None if is_in_foreground(&self.terminal) => {
                self.raw = self
                    .terminal
                    .try_clone()
                    .and_then(|terminal| Raw::new(terminal, pseudo.as_ref()))
                    .ok();
            }
            None => {}
        }
    }

    /// Somebody stopped us without our doing: a shell has given the terminal its own modes in the meantime.
    pub(super) fn continued(&self) {
        if let Some(raw) = self.raw.as_ref().filter(|_| is_in_foreground(&self.terminal)) {
            raw.again();
        }
    }

    /// Room in the pseudo-terminal for what was typed, else more of it.
    pub(super) fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.raw.as_ref()?;
        let room = (self.pty.as_fd(), PollFlags::OUT);
        Some(if self.typed.is_empty() { (self.terminal.as_fd(), PollFlags::IN) } else { room })
    }

    /// Reads what was typed, or passes it on. Returns the signal that a key sends to the program's process group: without
    /// us it is ours as well.
    pub(super) fn advance(&mut self) -> Option<Signal> {
        if !self.typed.is_empty() {
            if let Ok(length) = rustix::io::write(&self.pty, self.typed.expose()) {
                self.typed = SecretBytes::copy_of(&self.typed.expose()[length..]);
            }

            return None;
        }

        // In the background a read would stop us.
        if !is_in_foreground(&self.terminal) {
            self.raw = None;
            return None;
        }

        let mut piece = SecretBytes::zeroed(1024);
        match rustix::io::read(&self.terminal, piece.expose_mut()) {
            Ok(length) if length > 0 => {
                let typed = &piece.expose()[..length];
                self.typed.extend(typed);
                self.signal_of(typed)
            }
            Err(Errno::INTR | Errno::AGAIN) => None,
            // The terminal has hung up: SIGHUP is on its way.
            _ => {
                self.raw = None;
                None
            }
        }
    }

    /// The signal that the pseudo-terminal makes of these keys, if it is sent to the group in which the program was
    /// started. An inner shell and its jobs have groups of their own, and Ctrl-C there is no concern of ours.
    fn signal_of(&self, typed: &[u8]) -> Option<Signal> {
        let Role::Session(shared) = &self.role else { return None };
        let modes = tcgetattr(&self.pty).ok()?;
        if !modes.local_modes.contains(LocalModes::ISIG) {
            return None;
        }

        let keys =
            [(SpecialCodeIndex::VINTR, Signal::INT), (SpecialCodeIndex::VQUIT, Signal::QUIT)];
        let is_typed = |code: u8| code != 0 && typed.contains(&code);
        let (_, signal) =
            keys.into_iter().find(|(index, _)| is_typed(modes.special_codes[*index]))?;
        let foreground = tcgetpgrp(&self.pty).ok()?;

        (started_in(shared) == Some(foreground)).then_some(signal)
    }
}

/// The process group in which the program was started, once it is known.
fn started_in(shared: &File) -> Option<Pid> {
    let mut group = [0; 4];
    if shared.metadata().ok()?.len() != group.len() as u64 {
        return None;
    }

    shared.read_exact_at(&mut group, 0).ok()?;
    Pid::from_raw(i32::from_ne_bytes(group))
}
