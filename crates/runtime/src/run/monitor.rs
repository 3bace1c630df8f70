//! The process between us and a program on a pseudo-terminal. It leads the session to which the
//! terminal belongs.
//!
//! Without the monitor, the program would lead that session in a process group that the kernel
//! never stops, and Ctrl-Z would have no effect. The monitor stops when the program stops, and ends
//! as the program ends. It runs without the program's environment and only passes it on, so that
//! variables which make programs load other code affect only the program itself.

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
use secrets_core::model::{STACK_DEPTH, SecretBytes, overwrite_stack};

use super::child::{self, Group, Started};
use super::signals::Signals;
use super::{Outcome, RunError};
use crate::process;

/// Encodes the program's environment for the monitor. Each variable ends with a NUL byte.
pub(super) fn pack_environment(environment: &[(OsString, OsString)]) -> SecretBytes {
    let mut packed = SecretBytes::with_capacity(4096);
    for (name, value) in environment {
        for part in [name.as_bytes(), b"=", value.as_bytes(), b"\0"] {
            packed.extend(part);
        }
    }

    packed
}

/// Runs a program in a new session on `terminal`. Returns how it ended.
///
/// `environment` is a file shared with our parent. The environment is read and removed from it, and
/// the program's process group is then written to it.
pub fn monitor(
    command: &[OsString],
    environment: OwnedFd,
    terminal: &OwnedFd,
) -> Result<Outcome, RunError> {
    let failed = "take the pseudo-terminal";
    let shared = File::from(environment);
    let mut packed = SecretBytes::with_capacity(0);
    io::copy(&mut &shared, &mut packed).map_err(RunError::io("read the environment"))?;

    overwrite_stack::<STACK_DEPTH>(); // the buffer of the copy
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
        // A name may start with `=`, so the first character is skipped in the search for the `=`
        // after the name.
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
            // When a session leader exits, the terminal's foreground group receives SIGHUP. Without
            // us the program would not lead a session, so the processes that it left behind must
            // survive. We therefore take the foreground first.
            let _ = child::take_foreground(terminal);
            return Ok(outcome);
        }

        let _ = poll(&mut [PollFd::new(signals.descriptor(), PollFlags::IN)], None);
        for received in signals.take() {
            // The hang-up of a terminal concerns all processes on it. A signal that was sent to a
            // single process is meant for the program.
            let _ = match received.signal {
                Signal::CHILD => Ok(()),
                _ if received.by_us => Ok(()),
                signal if received.by_kernel => kill_process_group(group_of(pid), signal),
                signal => kill_process(pid, signal),
            };
        }
    }
}

/// Returns the program's current process group. A shell creates one for itself.
fn group_of(program: Pid) -> Pid {
    process::group_of(program).unwrap_or(program)
}

/// Returns how the program ended, if it has. If it was stopped, stops this process too. Afterwards
/// both continue.
fn wait(pid: Pid) -> Result<Option<Outcome>, RunError> {
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    while let Some((_, status)) =
        waitpid(Some(pid), options).map_err(RunError::io("wait for the program"))?
    {
        if let Some(outcome) = Outcome::of(status) {
            return Ok(Some(outcome));
        }

        if status.stopped() {
            // The process that continues us has seen that we stopped. In a separate session, only
            // SIGSTOP can stop us.
            let _ = kill_process(getpid(), Signal::STOP);
            let _ = kill_process_group(group_of(pid), Signal::CONT);
        }
    }

    Ok(None)
}
