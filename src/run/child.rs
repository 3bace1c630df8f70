//! Starting the program: what happens between fork and exec.
//!
//! The kernel kills it when we are killed, so that no orphan with secrets in its environment lives on.
#![allow(unsafe_code)] // what runs between fork and exec, where only system calls are allowed; one signal mask

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid};
use rustix::termios::tcsetpgrp;

use super::RunError;
use crate::process;

/// Where the program stands among processes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// In our process group, as without us
    Ours,
    /// In one of its own, in the foreground of the terminal that is its stdin
    OwnForeground,
}

/// Starts `command`; returns its process id. The caller waits for it.
///
/// `mask` is the signal mask that it starts with.
pub(super) fn start(mut command: Command, group: Group, mask: Mask) -> Result<Pid, RunError> {
    let name = command.get_program().to_owned();
    prepare(&mut command, group, mask);
    let child = process::as_before(|| command.spawn()).map_err(|error| failed(&name, error))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| RunError::Io { action: "start the program", source: io::ErrorKind::Other.into() })
}

/// Becomes `command`; returns only where that fails.
pub(super) fn replace(mut command: Command) -> RunError {
    let name = command.get_program().to_owned();
    failed(&name, process::as_before(|| command.exec()))
}

fn failed(name: &OsString, source: io::Error) -> RunError {
    let name = name.to_string_lossy().into_owned();
    match source.kind() {
        io::ErrorKind::NotFound => RunError::NotFound(name),
        _ => RunError::NotExecutable { name, source },
    }
}

fn prepare(command: &mut Command, group: Group, mask: Mask) {
    if group == Group::OwnForeground {
        command.process_group(0);
    }
    let us = getpid();
    let ready = move || {
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // We were killed before the kernel had been told.
            // In a PID namespace of its own it has a parent that it cannot see.
            if getppid().is_some_and(|parent| parent != us) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        if group == Group::OwnForeground {
            take_foreground()?;
        }
        mask.set();
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(ready) };
}

/// Signals that are blocked.
#[derive(Clone, Copy)]
pub(super) struct Mask(libc::sigset_t);

impl Mask {
    /// A mask that we were started with would keep signals from us, SIGCHLD among them. It is the program's, as without
    /// us.
    pub(super) fn taken() -> Self {
        let (mut none, mut before) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
        // SAFETY: the calls fill the sets that are read after them; with valid arguments they do not fail.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigemptyset(before.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }

    fn set(&self) {
        // SAFETY: it reads a set that is filled, and may be called between fork and exec.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// Takes the terminal's foreground before the program can miss it. A background group may do so only while it blocks the
/// signal that would stop it.
fn take_foreground() -> io::Result<()> {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` fills the set that the others read; all of them are safe between fork and exec.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigaddset(mask.as_mut_ptr(), libc::SIGTTOU);
        libc::sigprocmask(libc::SIG_BLOCK, mask.as_ptr(), std::ptr::null_mut());
    }
    let taken = tcsetpgrp(rustix::stdio::stdin(), getpid());
    // SAFETY: as above.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, mask.as_ptr(), std::ptr::null_mut()) };
    Ok(taken?)
}
