//! Starting the program: what happens between fork and exec.
//!
//! The kernel kills it when we are killed, so that no orphan with secrets in its environment lives on.
#![allow(unsafe_code)] // what runs between fork and exec, where only system calls are allowed; one fork, one signal mask

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, setsid, waitid, waitpid,
};
use rustix::termios::tcsetpgrp;

use super::RunError;
use crate::process;

/// Where the program stands among processes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// In our process group, as without us
    Ours,
    /// In one of its own, in the foreground of the terminal that is its stdin
    Foreground {
        /// It leads its group, as what an interactive shell starts. In a script a program leads none, and a shell among
        /// them makes one for itself
        leads: bool,
    },
}

/// A program that was started.
pub(super) struct Started {
    pub(super) pid: Pid,
    /// The process group that it was started in, unless it is ours
    pub(super) group: Option<Pid>,
}

/// Starts `command`. The caller waits for it.
///
/// `mask` is the signal mask that it starts with.
pub(super) fn start(
    mut command: Command,
    group: Group,
    mask: SignalMask,
) -> Result<Started, RunError> {
    let name = command.get_program().to_owned();
    let leader = match group {
        Group::Foreground { leads: false } => {
            Some(leader().map_err(RunError::io("make a process group"))?)
        }
        _ => None,
    };

    prepare(&mut command, group, leader, mask);
    let spawned = process::as_before(|| command.spawn()).map_err(|error| failed(&name, error));
    if leader.is_some() {
        let _ = waitpid(leader, rustix::process::WaitOptions::empty());
    }

    let pid = i32::try_from(spawned?.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| RunError::Io {
        action: "start the program",
        source: io::ErrorKind::Other.into(),
    })?;

    Ok(Started { pid, group: (group != Group::Ours).then(|| leader.unwrap_or(pid)) })
}

/// Makes a process group whose leader has ended. The group lasts until the leader is waited for, and as long as somebody
/// else is in it.
fn leader() -> io::Result<Pid> {
    // SAFETY: this process has one thread, and the child makes two system calls.
    let forked = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: neither call touches memory.
        0 => unsafe {
            libc::setpgid(0, 0);
            libc::_exit(0)
        },
        pid => pid,
    };

    let pid = Pid::from_raw(forked).ok_or(io::ErrorKind::Other)?;
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    Ok(pid)
}

/// Starts a process of ours that lives on its own: no signal to our group or session reaches it.
pub(super) fn start_alone(command: &mut Command) -> io::Result<()> {
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
    command.spawn().map(drop)
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

fn prepare(command: &mut Command, group: Group, leader: Option<Pid>, mask: SignalMask) {
    if group != Group::Ours {
        command.process_group(leader.map_or(0, |leader| leader.as_raw_nonzero().get()));
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

        if group != Group::Ours {
            take_foreground(rustix::stdio::stdin())?;
        }

        mask.set();
        Ok(())
    };

    // SAFETY: between fork and exec the closure makes system calls only: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(ready) };
}

/// Signals that are blocked.
#[derive(Clone, Copy)]
pub(super) struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// A mask that we were started with would keep signals from us, SIGCHLD among them. It is the program's, as without
    /// us.
    pub(super) fn taken() -> Self {
        let (mut none, mut before) =
            (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());

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

/// Takes the terminal's foreground for our process group, before the program can miss it. A background group may do so
/// only while it blocks the signal that would stop it.
pub(super) fn take_foreground(terminal: impl AsFd) -> io::Result<()> {
    let group = process::group().ok_or(io::ErrorKind::Other)?;
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();

    // SAFETY: `sigemptyset` fills the set that the others read; all of them are safe between fork and exec.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigaddset(mask.as_mut_ptr(), libc::SIGTTOU);
        libc::sigprocmask(libc::SIG_BLOCK, mask.as_ptr(), std::ptr::null_mut());
    }

    let taken = tcsetpgrp(terminal, group);

    // SAFETY: as above.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, mask.as_ptr(), std::ptr::null_mut()) };
    Ok(taken?)
}
