//! One of our own commands in a process without a terminal, which returns its output.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::run::in_bound_session;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How often a running command is checked for its time limit and a cancelled call.
const STEP: Duration = Duration::from_millis(50);
/// The time that a command has to end after SIGTERM.
const LAST_TIME: Duration = Duration::from_secs(1);

/// Starts our own commands.
pub struct Runner {
    executable: PathBuf,
    /// The options that select the vault, the project and the token
    options: Vec<OsString>,
}

/// A command line and its limits.
pub struct Captured<'a> {
    /// The arguments, beginning with the name of the command
    pub arguments: &'a [&'a OsStr],
    /// Its input
    pub stdin: &'a [u8],
    /// True to run it without a token, for a command that needs no vault
    pub is_without_token: bool,
    /// The most bytes of each output that are kept: at the beginning, and at the end
    pub kept: (usize, usize),
    /// The time limit
    pub time: Duration,
}

/// The output of a command that has ended.
pub struct Finished {
    /// The exit code, or 128 and the number of a signal
    pub code: i32,
    /// Its stdout
    pub stdout: Kept,
    /// Its stderr
    pub stderr: Kept,
    /// True if it was ended because its time was over
    pub is_late: bool,
}

/// The beginning and the end of an output.
#[derive(Default)]
pub struct Kept {
    /// The beginning
    pub start: Vec<u8>,
    /// The end, if the beginning is not all
    pub end: Vec<u8>,
    /// The number of bytes between them
    pub left_out: u64,
}

/// An output that is read on another thread, until all its writers have ended.
struct Reading {
    kept: Arc<Mutex<Kept>>,
    ended: Receiver<()>,
}

impl Reading {
    fn start(mut from: impl Read + Send + 'static, bounds: (usize, usize)) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let (sender, ended) = channel();
        let shared = Arc::clone(&kept);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                kept.add(&buffer[..length], bounds);
            }

            let _ = sender.send(());
        });
        Self { kept, ended }
    }

    /// Returns what was read. Processes in the background may keep an output open for as long as they
    /// run, so it is waited for only a moment.
    fn finish(self, (_, last): (usize, usize)) -> Kept {
        let _ = self.ended.recv_timeout(LAST_TIME / 2);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = std::mem::take(&mut *kept);
        let more = kept.end.len().saturating_sub(last);
        kept.end.drain(..more);
        kept.left_out += more as u64;
        kept
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8], (first, last): (usize, usize)) {
        let room = first.saturating_sub(self.start.len());
        let (start, rest) = bytes.split_at(bytes.len().min(room));
        self.start.extend_from_slice(start);
        self.end.extend_from_slice(rest);
        if let Some(more) = self.end.len().checked_sub(2 * last.max(1)) {
            // Only now and then, because it moves the bytes.
            let dropped = more + last.max(1);
            self.end.drain(..dropped);
            self.left_out += dropped as u64;
        }
    }

    /// Returns it as text, with a line that says how much is missing.
    pub fn text(&self) -> String {
        let start = String::from_utf8_lossy(&self.start);
        let end = String::from_utf8_lossy(&self.end);
        match self.left_out {
            0 => format!("{start}{end}"),
            bytes => format!("{start}\n[{bytes} bytes left out]\n{end}"),
        }
    }
}

impl Runner {
    /// Prepares to start commands with these options, which select the vault, the project and the token.
    pub fn new(executable: PathBuf, options: Vec<OsString>) -> Self {
        Self { executable, options }
    }

    /// Runs a command to its end, until its time is over, or until it is cancelled.
    pub fn run(&self, run: &Captured<'_>, is_cancelled: &dyn Fn() -> bool) -> io::Result<Finished> {
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
        in_bound_session(&mut command);
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            scope.spawn(move || {
                // A command may end without reading it.
                let _ = stdin.map(|mut stdin| stdin.write_all(run.stdin));
            });
            let stdout = stdout.map(|from| Reading::start(from, run.kept));
            let stderr = stderr.map(|from| Reading::start(from, run.kept));

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
                    None if is_late || is_cancelled() => {
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
            let finish = |reading: Reading| reading.finish(run.kept);
            let stdout = stdout.map(finish).unwrap_or_default();
            let stderr = stderr.map(finish).unwrap_or_default();
            Ok(Finished { code, stdout, stderr, is_late })
        })
    }
}
