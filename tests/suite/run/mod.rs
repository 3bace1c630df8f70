//! `run` without a terminal: what the program gets, what is masked in its output, and how it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATH, Prepared, Sandbox, TOKEN};

mod endings;
mod inherited;
mod masking;
mod private_files;
mod process;
mod streams;
mod variables;

const URL: &str = "postgres://app:p%40ss@db/dev";

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("api-token", TOKEN), ("database-url", URL), ("pin", "1234")])
}

fn prepared(sandbox: &Sandbox, arguments: &[&str]) -> Prepared {
    sandbox.command([&["run"], arguments].concat()).env("PATH", PATH)
}

/// Runs a shell script with one secret, which is masked.
fn script(sandbox: &Sandbox, script: &str) -> Prepared {
    prepared(sandbox, &["--only", "api-token", "--", "sh", "-c", script])
}

/// A run that continues while the test observes it.
struct Running(Child);

impl Running {
    fn new(prepared: Prepared) -> Self {
        let mut command = prepared.command;

        // The group needs a parent outside of it. The system never stops an orphaned group, as
        // under `setsid`.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// Returns the next line of stdout.
    fn line(reader: &mut impl BufRead) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn output(&mut self) -> BufReader<std::process::ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Returns the exit code as a shell reports it.
    fn code(&mut self) -> Option<i32> {
        let status = self.0.wait().unwrap();
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    }
}

/// Returns the private directories that still exist.
fn private_directories(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path("secrets")).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.display().to_string().contains("/run-"))
        .collect()
}

/// Creates a named pipe that lets a test release a process.
fn fifo(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.path(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}
