//! The process between us and a program on a pseudo-terminal: it leads the session that the terminal belongs to.
//!
//! Without it the program would lead that session itself, in a process group that the kernel never stops: Ctrl-Z would do
//! nothing. It stops when the program stops, and ends as the program ends; it reads and writes nothing.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, ioctl_tiocsctty, kill_process_group, setsid, waitpid};
use rustix::stdio::stdin;

use super::RunError;
use super::child::{self, Group};
use super::signals::Signals;
use super::supervise::exit_code;
use super::terminal::stop;

/// Runs a program in a session of its own, on the terminal that is stdin; returns its exit code.
pub fn monitor(command: &[OsString]) -> Result<u8, RunError> {
    let failed = "take the pseudo-terminal";
    let terminal: BorrowedFd<'_> = stdin();
    setsid().map_err(RunError::io(failed))?;
    ioctl_tiocsctty(terminal).map_err(RunError::io(failed))?;
    let mut signals = Signals::new().map_err(RunError::io("handle signals"))?;
    let (program, arguments) = command.split_first().ok_or_else(|| RunError::NotFound(String::new()))?;
    let mut command = Command::new(program);
    command.args(arguments);
    let pid = child::start(command, Group::OwnForeground)?;
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
            stop();
            let _ = kill_process_group(pid, Signal::CONT);
        }
    }
    Ok(None)
}
