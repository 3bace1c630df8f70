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
pub(super) fn start(mut command: Command, group: Group) -> Result<Pid, RunError> {
    let name = command.get_program().to_owned();
    prepare(&mut command, group);
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

fn prepare(command: &mut Command, group: Group) {
    if group == Group::OwnForeground {
        command.process_group(0);
    }
    let us = getpid();
    let ready = move || {
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // We were killed before the kernel had been told.
            if getppid() != Some(us) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        if group == Group::OwnForeground { take_foreground() } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes system calls only: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(ready) };
}

/// A mask that we were started with would keep signals from us, SIGCHLD among them; the program starts with none either.
pub(super) fn unblock_signals() {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` fills the set that the other call reads.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, mask.as_ptr(), std::ptr::null_mut());
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
