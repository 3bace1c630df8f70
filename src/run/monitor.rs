//! The process between us and a program on a pseudo-terminal: it leads the session that the terminal belongs to.
//!
//! Without it the program would lead that session itself, in a process group that the kernel never stops: Ctrl-Z would do
//! nothing. It stops when the program stops, and ends as the program ends; it reads nothing but the program's environment,
//! which is not its own: what steers programs steers the one that was asked for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, ioctl_tiocsctty, kill_process, kill_process_group, setsid, waitpid,
};

use super::RunError;
use super::child::{self, Group};
use super::signals::Signals;
use super::supervise::exit_code;
use crate::model::SecretBytes;

/// What the monitor is told of the program's environment: each variable with a NUL behind it.
pub(super) fn packed(environment: &[(OsString, OsString)]) -> SecretBytes {
    let mut packed = SecretBytes::with_capacity(4096);
    for (name, value) in environment {
        for part in [name.as_bytes(), b"=", value.as_bytes(), b"\0"] {
            packed.extend(part);
        }
    }
    packed
}

/// Runs a program in a session of its own, on `terminal`; returns its exit code.
pub fn monitor(command: &[OsString], environment: OwnedFd, terminal: OwnedFd) -> Result<u8, RunError> {
    let failed = "take the pseudo-terminal";
    let mut packed = SecretBytes::with_capacity(0);
    io::copy(&mut File::from(environment), &mut packed).map_err(RunError::io("read the environment"))?;
    setsid().map_err(RunError::io(failed))?;
    ioctl_tiocsctty(&terminal).map_err(RunError::io(failed))?;
    let mut signals = Signals::new().map_err(RunError::io("handle signals"))?;
    let (program, arguments) = command.split_first().ok_or_else(|| RunError::NotFound(String::new()))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::from(terminal));
    for variable in packed.expose().split(|byte| *byte == 0) {
        // A name may begin with a `=`, and has one more behind it.
        if let Some(at) = variable.iter().skip(1).position(|byte| *byte == b'=') {
            command.env(OsStr::from_bytes(&variable[..=at]), OsStr::from_bytes(&variable[at + 2..]));
        }
    }
    drop(packed);
    let pid = child::start(command, Group::OwnForeground, signals.mask())?;
    loop {
        if let Some(code) = wait(pid)? {
            return Ok(code);
        }
        let _ = poll(&mut [PollFd::new(signals.came(), PollFlags::IN)], None);
        for came in signals.take() {
            if came.signal != Signal::CHILD {
                let _ = kill_process_group(pid, came.signal);
            }
        }
    }
}

/// What became of the program: its code, or nothing yet. Where it stopped, so do we, and then both go on.
fn wait(pid: Pid) -> Result<Option<u8>, RunError> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    while let Some((_, status)) = waitpid(Some(pid), options).map_err(RunError::io("wait for the program"))? {
        if let Some(code) = exit_code(status) {
            return Ok(Some(code));
        }
        if status.stopped() {
            // Who continues us has seen us stopped. In a session of our own nothing else than SIGSTOP stops us.
            let _ = kill_process(getpid(), Signal::STOP);
            let _ = kill_process_group(pid, Signal::CONT);
        }
    }
    Ok(None)
}
