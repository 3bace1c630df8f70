//! The system calls of a run under strace, and the fault at one of them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::Sandbox;
use crate::support::programs::environment;

use super::cases::{Case, directory};
use super::disk::Disk;
use super::states::Tree;

/// One system call of a trace.
#[derive(Debug)]
pub struct Call {
    pub pid: String,
    pub name: String,
    /// Its number among its thread's calls of this name, from 1
    pub ordinal: usize,
    pub arguments: String,
    pub result: String,
}

impl Call {
    /// Returns the path of the descriptor that the call uses.
    pub fn on(&self) -> Option<&str> {
        let (number, rest) = self.arguments.split_once('<')?;
        number.parse::<u32>().ok()?;
        Some(rest.split_once('>')?.0)
    }

    /// Returns the paths that the call names.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.arguments.split('"').skip(1).step_by(2)
    }

    pub fn succeeded(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    pub fn creates(&self) -> bool {
        self.name.starts_with("open") && self.arguments.contains("O_CREAT")
    }

    /// Returns true for a call that changes the disk.
    pub fn changes(&self) -> bool {
        const CHANGE: [&str; 14] = [
            "write",
            "pwrite64",
            "writev",
            "ftruncate",
            "fallocate",
            "fsync",
            "fdatasync",
            "unlink",
            "rename",
            "link",
            "mkdir",
            "rmdir",
            "fchmod",
            "fchown",
        ];

        let opens = self.name.starts_with("open")
            && ["O_CREAT", "O_TMPFILE"].iter().any(|f| self.arguments.contains(f));
        opens || CHANGE.iter().any(|name| self.name.starts_with(name))
    }

    /// Returns true if the call touches something below a directory. It ignores the debug build's
    /// check whether a descriptor is open.
    pub fn touches(&self, directory: &str) -> bool {
        let below = |path: &str| path.starts_with(directory);
        !self.arguments.contains("F_GETFD")
            && self.name != "getcwd"
            && (self.on().is_some_and(below) || self.paths().any(below))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Kill,
    Full,
    Broken,
}

/// A fault at one call.
#[derive(Debug, Clone)]
pub struct Fault {
    pub call: String,
    pub when: usize,
    pub what: What,
}

/// A run under strace, and its calls.
pub struct Trace {
    pub calls: Vec<Call>,
    pub killed: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub fn traced(sandbox: &Sandbox, case: &Case, fault: Option<&Fault>) -> Trace {
    let log = TempDir::new().unwrap();
    let log = log.path().join("log");
    let mut prepared = sandbox.command(case.words(sandbox));
    let mut strace = Command::new("strace");

    strace.args([
        "-f",
        "-y",
        "-s",
        "16",
        "-e",
        "trace=%file,%desc,exit_group",
        "-e",
        "signal=none",
        "-o",
    ]);

    strace.arg(&log);
    if let Some(fault) = fault {
        let what = match fault.what {
            What::Kill => "signal=KILL",
            What::Full => "error=ENOSPC",
            What::Broken => "error=EIO",
        };

        strace.args(["-e", &format!("inject={}:{what}:when={}", fault.call, fault.when)]);
    }

    let program = std::mem::replace(&mut prepared.command, strace);
    prepared.command.arg(program.get_program()).args(program.get_args()).env_clear();
    prepared.command.current_dir(program.get_current_dir().unwrap());
    prepared.command.envs(environment(&program));

    let (_, stdout, stderr) = prepared.run().everything();
    let log = fs::read(log).unwrap_or_default();
    Trace::of(&String::from_utf8_lossy(&log), String::from_utf8_lossy(&stdout).into_owned(), stderr)
}

impl Trace {
    pub fn of(log: &str, stdout: String, stderr: String) -> Self {
        let mut trace = Self { calls: Vec::new(), killed: false, code: None, stdout, stderr };
        let main = log.split(' ').next().unwrap_or_default();
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();

        for line in log.lines() {
            let (pid, rest) = line.split_once(' ').unwrap();
            let rest = rest.trim_start();
            if let Some(end) = rest.strip_prefix("+++ ") {
                if pid == main {
                    trace.code = end
                        .strip_prefix("exited with ")
                        .and_then(|code| code.split(' ').next()?.parse().ok());
                }
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let call = &mut trace.calls[open.remove(pid).unwrap()];
                resumed.rsplit_once(" = ").unwrap_or_default().1.clone_into(&mut call.result);
            } else if let Some((name, arguments)) = rest.split_once('(') {
                let (arguments, result) = arguments.rsplit_once(" = ").unwrap_or((arguments, ""));
                if result.is_empty() {
                    open.insert(pid, trace.calls.len());
                }

                let ordinal = counts.entry((pid, name)).or_default();
                *ordinal += 1;
                let (pid, name, ordinal) = (pid.to_owned(), name.to_owned(), *ordinal);
                let (arguments, result) = (arguments.to_owned(), result.to_owned());

                trace.calls.push(Call { pid, name, ordinal, arguments, result });
            }
        }

        // strace dies of the same signal as its program and does not always get to report that.
        trace.killed = trace.code.is_none() && !trace.calls.is_empty();
        trace
    }

    /// Returns the calls that touch the sandbox. All of them belong to the main thread.
    pub fn calls_in<'t>(&'t self, sandbox: &Sandbox) -> impl Iterator<Item = &'t Call> {
        let main = &self.calls[0].pid;
        let directory = directory(sandbox);
        self.calls.iter().filter(move |call| {
            let ours = call.touches(directory.to_str().unwrap()) && call.name != "execve";
            assert!(!ours || call.pid == *main, "another thread's: {call:?}");
            ours
        })
    }

    /// Returns true if the fault hit a call that touches the sandbox, and no other call.
    pub fn hit_only(&self, fault: &Fault, sandbox: &Sandbox) -> bool {
        let directory = directory(sandbox);
        let touches_sandbox = |call: &Call| {
            call.pid == self.calls[0].pid && call.touches(directory.to_str().unwrap())
        };

        if fault.what == What::Kill {
            let last = self.calls.iter().rev().find(|call| call.pid == self.calls[0].pid);
            return self.killed
                && last.is_some_and(|call| touches_sandbox(call) && call.name == fault.call);
        }

        let hit: Vec<&Call> =
            self.calls.iter().filter(|call| call.result.contains("(INJECTED)")).collect();
        hit.len() == 1 && touches_sandbox(hit[0])
    }

    /// Returns what was not flushed when success was reported, or was done in the wrong order.
    /// After a power cut, only the state before the run or the acknowledged state may come back.
    pub fn unflushed(&self, before: &Tree, sandbox: &Sandbox) -> Vec<String> {
        let directory = directory(sandbox);
        let faulted = self.calls.iter().any(|call| call.result.contains("(INJECTED)"));
        let mut disk = Disk::new(before, &directory, faulted);
        for call in &self.calls {
            disk.take(call);
        }

        disk.wrong
    }
}
