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
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, ioctl_tiocsctty, kill_process, kill_process_group,
    setsid, waitpid,
};

use super::child::{self, Group, Started};
use super::signals::Signals;
use super::{Outcome, RunError};
use crate::model::SecretBytes;
use crate::process;

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

/// Runs a program in a session of its own, on `terminal`; returns how it ended.
///
/// `environment` is a file that is shared with our parent. What it holds is taken out, and the program's process group is
/// written there.
pub fn monitor(
    command: &[OsString],
    environment: OwnedFd,
    terminal: &OwnedFd,
) -> Result<Outcome, RunError> {
    let failed = "take the pseudo-terminal";
    let shared = File::from(environment);
    let mut packed = SecretBytes::with_capacity(0);
    io::copy(&mut &shared, &mut packed).map_err(RunError::io("read the environment"))?;

    let _ = shared.set_len(0);

    let leads = getppid().is_some_and(|parent| process::group() == Some(parent));
    setsid().map_err(RunError::io(failed))?;
    ioctl_tiocsctty(terminal).map_err(RunError::io(failed))?;
    let mut signals = Signals::new(true).map_err(RunError::io("handle signals"))?;

    let (program, arguments) =
        command.split_first().ok_or_else(|| RunError::NotFound(String::new()))?;
    let mut command = Command::new(program);
    let stdin = terminal.try_clone().map_err(RunError::io(failed))?;
    command.args(arguments).env_clear().stdin(Stdio::from(stdin));

    for variable in packed.expose().split(|byte| *byte == 0) {
        // A name may begin with a `=`, and has one more behind it.
        if let Some(at) = variable.iter().skip(1).position(|byte| *byte == b'=') {
            command
                .env(OsStr::from_bytes(&variable[..=at]), OsStr::from_bytes(&variable[at + 2..]));
        }
    }

    drop(packed);

    let Started { pid, group } =
        child::start(command, Group::Foreground { leads }, signals.mask())?;
    let group = group.unwrap_or(pid);
    let _ = shared.write_all_at(&group.as_raw_nonzero().get().to_ne_bytes(), 0);

    loop {
        if let Some(outcome) = wait(pid)? {
            // With the leader of a session its foreground group gets SIGHUP. The program leads no session without us, so
            // what it leaves in the background is to live on.
            let _ = child::take_foreground(terminal);
            return Ok(outcome);
        }

        let _ = poll(&mut [PollFd::new(signals.came(), PollFlags::IN)], None);
        for came in signals.take() {
            // A terminal that hangs up means everybody on it; who sends a signal to one process means the program.
            let _ = match came.signal {
                Signal::CHILD => Ok(()),
                _ if came.by_us => Ok(()),
                signal if came.by_kernel => kill_process_group(group_of(pid), signal),
                signal => kill_process(pid, signal),
            };
        }
    }
}

/// The process group that the program is in now: a shell makes one for itself.
fn group_of(program: Pid) -> Pid {
    process::group_of(program).unwrap_or(program)
}

/// How the program ended, or nothing yet. Where it stopped, so do we, and then both go on.
fn wait(pid: Pid) -> Result<Option<Outcome>, RunError> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    while let Some((_, status)) =
        waitpid(Some(pid), options).map_err(RunError::io("wait for the program"))?
    {
        if let Some(outcome) = Outcome::of(status) {
            return Ok(Some(outcome));
        }

        if status.stopped() {
            // Who continues us has seen us stopped. In a session of our own nothing else than SIGSTOP stops us.
            let _ = kill_process(getpid(), Signal::STOP);
            let _ = kill_process_group(group_of(pid), Signal::CONT);
        }
    }

    Ok(None)
}
