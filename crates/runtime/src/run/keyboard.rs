//! Passes typed keys to a pseudo-terminal.
//!
//! A program in a session of its own gets all keys. If only the output of a program is a terminal,
//! it runs in our session and gets keys while it has line editing turned off on its
//! pseudo-terminal. Pagers read their keys there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr, tcgetpgrp};
use secrets_core::model::SecretBytes;

use super::terminal::{Raw, is_in_foreground};

/// The process that gets the typed keys.
pub(super) enum Role {
    /// The program's session. The monitor writes the program's process group into the file.
    Session(File),
    /// Our session. The program gets keys only while it reads single keys.
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

    /// Returns true if the program has a session of its own on the pseudo-terminal.
    pub(super) fn is_session(&self) -> bool {
        matches!(self.role, Role::Session(_))
    }

    /// Returns the foreground process group of the pseudo-terminal.
    pub(super) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.pty).ok()
    }

    /// Returns true while the real terminal is raw for the program.
    pub(super) fn has_terminal(&self) -> bool {
        self.raw.is_some()
    }

    /// Returns true while the foreground group or the program's terminal modes may change without
    /// an event.
    pub(super) fn needs_polling(&self) -> bool {
        self.raw.is_none() || matches!(self.role, Role::Lent)
    }

    pub(super) fn restore_terminal(&mut self) {
        self.raw = None;
    }

    /// Takes the real terminal if we are in its foreground and no other process of ours has it.
    /// Restores it if the program no longer needs it.
    pub(super) fn update(&mut self) {
        let pseudo = match self.role {
            Role::Session(_) => None,
            Role::Lent => match tcgetattr(&self.pty) {
                Ok(modes) if !modes.local_modes.contains(LocalModes::ICANON) => Some(modes),
                _ => return self.restore_terminal(),
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

    /// Makes the terminal raw again after another process stopped us, because the shell has since
    /// restored its own modes.
    pub(super) fn on_continue(&self) {
        if let Some(raw) = self.raw.as_ref().filter(|_| is_in_foreground(&self.terminal)) {
            raw.reapply();
        }
    }

    /// Returns what to wait for: room in the pseudo-terminal for pending keys, or else more keys.
    pub(super) fn waits_for(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.raw.as_ref()?;
        let room = (self.pty.as_fd(), PollFlags::OUT);
        Some(if self.typed.is_empty() { (self.terminal.as_fd(), PollFlags::IN) } else { room })
    }

    /// Passes on pending keys, or reads more of them. Returns the signal that a key sends to the
    /// program's process group, because without us our group would receive it too.
    pub(super) fn advance(&mut self) -> Option<Signal> {
        if !self.typed.is_empty() {
            if let Ok(length) = rustix::io::write(&self.pty, self.typed.expose()) {
                self.typed = SecretBytes::copy_of(&self.typed.expose()[length..]);
            }

            return None;
        }

        // Reading from the terminal in the background would stop us.
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
            // The terminal has hung up, and SIGHUP follows.
            _ => {
                self.raw = None;
                None
            }
        }
    }

    /// Returns the signal that the pseudo-terminal generates for these keys, if it goes to the
    /// group in which the program was started. An inner shell and its jobs have other groups, and
    /// their Ctrl-C must not reach our group.
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

        (program_group(shared) == Some(foreground)).then_some(signal)
    }
}

/// Returns the process group in which the program was started, once it is known.
fn program_group(shared: &File) -> Option<Pid> {
    let mut group = [0; 4];
    if shared.metadata().ok()?.len() != group.len() as u64 {
        return None;
    }

    shared.read_exact_at(&mut group, 0).ok()?;
    Pid::from_raw(i32::from_ne_bytes(group))
}
