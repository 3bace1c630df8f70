//! Runs one of our own commands in a process without a terminal, so that nothing is asked for.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use secrets_mcp::Cancelled;
use secrets_runtime::process::executable_path;
use secrets_runtime::run::in_own_session;

use crate::error::{Error, Kind};

/// How often a running command is checked for its time limit and a cancelled call.
const STEP: Duration = Duration::from_millis(50);
/// The time that a command has to end after it was told to.
const LAST_TIME: Duration = Duration::from_secs(3);

/// Starts our own commands.
pub(super) struct Runner {
    executable: PathBuf,
    /// The options that select the vault, the project and the token
    options: Vec<OsString>,
}

/// A run.
pub(super) struct Run<'a> {
    pub(super) arguments: &'a [&'a OsStr],
    pub(super) stdin: &'a [u8],
    /// True to run it without a token, for a command that needs no vault
    pub(super) is_without_token: bool,
    /// The most bytes of each output that are kept: at the beginning, and at the end
    pub(super) kept: (usize, usize),
    pub(super) time: Duration,
}

/// What a run has printed.
pub(super) struct Finished {
    /// The exit code, or 128 and the number of a signal
    pub(super) code: i32,
    pub(super) stdout: Kept,
    pub(super) stderr: Kept,
    /// True if it was ended because its time was over
    pub(super) is_late: bool,
}

/// The beginning and the end of an output.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) start: Vec<u8>,
    pub(super) end: Vec<u8>,
    /// The number of bytes between them
    pub(super) left_out: u64,
}

impl Kept {
    fn read(mut from: impl Read, (first, last): (usize, usize)) -> Self {
        let mut kept = Self::default();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let (start, rest) = buffer[..length].split_at(length.min(first - kept.start.len()));
            kept.start.extend_from_slice(start);
            kept.end.extend_from_slice(rest);
            if let Some(more) = kept.end.len().checked_sub(2 * last.max(1)) {
                // Only now and then, because it moves the bytes.
                let dropped = more + last.max(1);
                kept.end.drain(..dropped);
                kept.left_out += dropped as u64;
            }
        }

        let more = kept.end.len().saturating_sub(last);
        kept.end.drain(..more);
        kept.left_out += more as u64;
        kept
    }

    /// Returns it as text, with a line that says how much is missing.
    pub(super) fn text(&self) -> String {
        let start = String::from_utf8_lossy(&self.start);
        let end = String::from_utf8_lossy(&self.end);
        match self.left_out {
            0 => format!("{start}{end}"),
            bytes => format!("{start}\n[{bytes} bytes left out]\n{end}"),
        }
    }
}

impl Runner {
    pub(super) fn new(options: Vec<OsString>) -> Result<Self, Error> {
        let executable = executable_path().or_else(|| std::env::current_exe().ok());
        let executable = executable
            .ok_or_else(|| Error::new(Kind::Failure, "the path of this program is unknown"))?;
        Ok(Self { executable, options })
    }

    /// Runs a command to its end, until its time is over, or until the call is cancelled.
    pub(super) fn run(&self, run: &Run<'_>, cancelled: &Cancelled) -> io::Result<Finished> {
        let (name, rest) = run.arguments.split_at(run.arguments.len().min(1));
        let mut command = Command::new(&self.executable);
        command.args(name);
        let mut without = vec!["SECRETS_PASSPHRASE", "SECRETS_PASSPHRASE_FILE"];
        if run.is_without_token {
            without.extend(["SECRETS_TOKEN", "SECRETS_TOKEN_FILE"]);
        } else {
            command.args(&self.options);
        }

        for name in without {
            command.env_remove(name);
        }

        command.args(rest);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        in_own_session(&mut command);
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            scope.spawn(move || {
                // A command may end without reading it.
                let _ = stdin.map(|mut stdin| stdin.write_all(run.stdin));
            });
            let stdout = scope.spawn(|| stdout.map(|from| Kept::read(from, run.kept)));
            let stderr = scope.spawn(|| stderr.map(|from| Kept::read(from, run.kept)));

            let (sender, ended) = channel();
            scope.spawn(move || {
                // It is not reaped yet, so its number stays its own.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                let _ = waitid(WaitId::Pid(pid), options);
                let _ = sender.send(());
            });

            let (start, mut told) = (Instant::now(), None);
            let mut is_late = false;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(STEP) {
                is_late = is_late || start.elapsed() >= run.time;
                match told {
                    None if is_late || cancelled.is_set() => {
                        let _ = kill_process_group(pid, Signal::TERM);
                        told = Some(Instant::now());
                    }
                    Some(at) if at.elapsed() >= LAST_TIME => {
                        let _ = kill_process_group(pid, Signal::KILL);
                    }
                    _ => {}
                }
            }

            let status = child.wait()?;
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            let code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1);
            let stdout = stdout.join().ok().flatten().unwrap_or_default();
            let stderr = stderr.join().ok().flatten().unwrap_or_default();
            Ok(Finished { code, stdout, stderr, is_late })
        })
    }
}
