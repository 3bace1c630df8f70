//! Starts the program, including the code between fork and exec.
//!
//! The kernel kills the program when this process is killed, so that no orphan with secrets in its
//! environment stays behind.
#![allow(unsafe_code)] // code between fork and exec; one fork; one signal mask

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, setsid, waitid, waitpid,
};
use rustix::termios::tcsetpgrp;

use super::RunError;
use crate::process;

/// The process group of the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Our process group, as without us
    Ours,
    /// A group of its own, in the foreground of the terminal that is its stdin
    Foreground {
        /// Whether the program leads the group, as in an interactive shell. In a script a program
        /// does not lead a group, and a shell among its programs creates one itself.
        leads: bool,
    },
}

pub(super) struct Started {
    pub(super) pid: Pid,
    /// The process group in which it was started, unless it is ours
    pub(super) group: Option<Pid>,
}

/// Starts `command` with the signal mask `mask`. The caller has to wait for it.
pub(super) fn start(
    mut command: Command,
    group: Group,
    mask: SignalMask,
) -> Result<Started, RunError> {
    let name = command.get_program().to_owned();
    let leader = match group {
        Group::Foreground { leads: false } => {
            Some(create_group().map_err(RunError::io("create a process group"))?)
        }
        _ => None,
    };

    prepare(&mut command, group, leader, mask);
    let spawned =
        process::with_original_limits(|| command.spawn()).map_err(|error| failed(&name, error));
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

/// Creates a process group whose leader has exited. The group exists until the leader is waited
/// for, and as long as it has other members.
fn create_group() -> io::Result<Pid> {
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

/// Starts a process of ours in a separate session, so that no signal to our group or session
/// reaches it.
pub(super) fn start_detached(command: &mut Command) -> io::Result<()> {
    in_own_session(command);
    command.spawn().map(drop)
}

/// Lets a program start in a session of its own, where it has no terminal, and ends with us.
pub fn in_bound_session(command: &mut Command) {
    let us = getpid();
    let before_exec = move || {
        setsid()?;
        end_with_parent(us)
    };

    // SAFETY: between fork and exec the closure makes three system calls.
    unsafe { command.pre_exec(before_exec) };
}

/// Lets a program start in a session of its own, where no signal to our group reaches it.
fn in_own_session(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
}

/// Replaces this process with `command`. Returns only if that fails.
pub(super) fn replace(mut command: Command) -> RunError {
    let name = command.get_program().to_owned();
    failed(&name, process::with_original_limits(|| command.exec()))
}

fn failed(name: &OsString, source: io::Error) -> RunError {
    let name = name.to_string_lossy().into_owned();
    match source.kind() {
        io::ErrorKind::NotFound => RunError::NotFound(name),
        _ => RunError::NotExecutable { name, source },
    }
}

/// Lets the kernel kill this process when its parent `parent` is gone.
#[cfg(target_os = "linux")]
fn end_with_parent(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;

    // If our process dies before the call above, the program is not killed. It then has a different
    // parent. In a separate PID namespace, the parent is invisible.
    if getppid().is_some_and(|now| now != parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }

    Ok(())
}

/// Does nothing: only Linux can do that.
#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: Pid) -> io::Result<()> {
    Ok(())
}

fn prepare(command: &mut Command, group: Group, leader: Option<Pid>, mask: SignalMask) {
    if group != Group::Ours {
        command.process_group(leader.map_or(0, |leader| leader.as_raw_nonzero().get()));
    }

    let us = getpid();
    let before_exec = move || {
        end_with_parent(us)?;
        if group != Group::Ours {
            take_foreground(rustix::stdio::stdin())?;
        }

        mask.set();
        Ok(())
    };

    // SAFETY: between fork and exec the closure only makes system calls. It allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(before_exec) };
}

/// The set of blocked signals.
#[derive(Clone, Copy)]
pub(super) struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// Unblocks all signals and returns the previous mask, which the program gets as it would
    /// without us. An inherited mask could block signals that we need, such as SIGCHLD.
    pub(super) fn unblock_all() -> Self {
        let (mut none, mut before) =
            (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());

        // SAFETY: the calls fill the sets that are read afterwards. With valid arguments they do
        // not fail.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigemptyset(before.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }

    fn set(&self) {
        // SAFETY: the call reads an initialized set and is allowed between fork and exec.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// Makes our process group the terminal's foreground group before the program starts. A background
/// group can do this only while it blocks the signal that would stop it.
pub(super) fn take_foreground(terminal: impl AsFd) -> io::Result<()> {
    let group = process::group().ok_or(io::ErrorKind::Other)?;
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();

    // SAFETY: `sigemptyset` initializes the set that the other calls read. All of them are allowed
    // between fork and exec.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigaddset(mask.as_mut_ptr(), libc::SIGTTOU);
        libc::sigprocmask(libc::SIG_BLOCK, mask.as_ptr(), std::ptr::null_mut());
    }

    let result = tcsetpgrp(terminal, group);

    // SAFETY: as above.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, mask.as_ptr(), std::ptr::null_mut()) };
    Ok(result?)
}

/// Returns the bytes as an unnamed file. On Linux it exists in memory only.
pub(super) fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    let file = File::from(rustix::fs::memfd_create(c"secrets", rustix::fs::MemfdFlags::CLOEXEC)?);
    #[cfg(not(target_os = "linux"))]
    let file = tempfile::tempfile()?;
    io::Write::write_all(&mut &file, bytes)?;
    io::Seek::rewind(&mut &file)?;

    Ok(file.into())
}
