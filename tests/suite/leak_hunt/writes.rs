//! No command writes a secret anywhere else, gives it to a program, or leaves a core.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use memchr::memmem;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Sandbox;
use crate::support::faults::{skipped, strace_is_here};
use crate::support::programs::environment;
use crate::support::traces::forms;

use super::rows::{GIVEN, IN_ENVIRONMENT, PASSPHRASE, PLAIN, ROWS, Row, SAMPLE, STORED};
use super::{home, lock, under_strace};

/// Returns true if a line holds eight bytes of a secret in any likely form.
fn has_secret(line: &str) -> bool {
    [STORED, GIVEN, PLAIN].iter().any(|secret| {
        forms(secret).iter().any(|form| memmem::find(line.as_bytes(), form).is_some())
    })
}

/// Checks every byte that these commands and their programs write, and how the programs are
/// started.
fn check_writes(rows: &[Row]) {
    if !strace_is_here() {
        return;
    }

    let mut wrong = Vec::new();
    for row in rows {
        let sandbox = home();
        let calls = "trace=write,pwrite64,writev,pwritev,sendto,sendmsg,execve";
        let options = ["-f", "-v", "-y", "-x", "-s", "1000000", "-e", "signal=none", "-e", calls];
        let mut strace = under_strace(&sandbox, row, &options);
        let mut child = strace.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

        if row.0 == "unlock" {
            // strace runs until the agent ends.
            std::thread::sleep(Duration::from_millis(700));
            lock(&sandbox);
        }

        drop(child.stdout.take().map(std::io::read_to_string));
        child.wait().unwrap();
        let trace = sandbox.read("trace");
        let trace = String::from_utf8_lossy(&trace);

        assert!(trace.contains("execve(\""), "{}: {trace}", row.0);
        for line in trace.lines().filter(|line| has_secret(line)) {
            // A program of `run` gets its values only through its environment.
            let to_program = IN_ENVIRONMENT.contains(&row.0) && line.contains("execve(\"") && {
                let arguments = line.split("], [").next().unwrap_or_default();
                !has_secret(arguments) && !line.contains(PLAIN)
            };

            let descriptor = line
                .split_once('(')
                .map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default());
            let allowed =
                !line.contains("execve(") && row.3.iter().any(|place| descriptor.contains(place));
            if !to_program && !allowed {
                wrong.push(format!("{}: {}", row.0, &line[..line.len().min(300)]));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn some_commands_write_no_secret_elsewhere() {
    check_writes(&ROWS[..SAMPLE]);
}

#[test]
#[ignore = "half a minute; needs strace"]
fn every_command_writes_no_secret_elsewhere() {
    check_writes(ROWS);
}

/// Sends a crash signal to a process without a limit on core files. Returns true if it left one.
fn leaves_a_core(sandbox: &Sandbox, program: &Command, signal: Signal) -> bool {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args());

    shell.env_clear().envs(environment(program));
    shell
        .current_dir(sandbox.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());

    let mut child = shell.spawn().unwrap();

    // By now it has read its input and waits for more.
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), STORED.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(500));

    // The standard library handles the first signal from outside, because it checks for a stack
    // overflow.
    let status = loop {
        let _ = kill_process(Pid::from_child(&child), signal);
        std::thread::sleep(Duration::from_millis(20));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };

    // `run` passes the signal on and ends like its program.
    let died =
        status.signal() == Some(signal.as_raw()) || status.code() == Some(128 + signal.as_raw());
    assert!(died, "{:?}: {status}", program.get_args());
    status.core_dumped()
}

#[test]
fn no_signal_leaves_a_core() {
    let sandbox = home();
    let control = Sandbox::empty();
    if !leaves_a_core(
        &control,
        Command::new("sleep").arg("30").env("PATH", "/usr/bin:/bin"),
        Signal::SEGV,
    ) {
        skipped("no process leaves a core file on this machine");
        return;
    }

    let lines: [&[&str]; 4] =
        [&["create", "--tag", "x"], &["redact"], &["run", "--", "sleep", "30"], &["render", "-"]];
    std::thread::scope(|scope| {
        for signal in [Signal::SEGV, Signal::ABORT, Signal::BUS] {
            for line in lines {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    let program =
                        sandbox.command(line).env("SECRETS_PASSPHRASE", PASSPHRASE).command;
                    assert!(!leaves_a_core(sandbox, &program, signal), "{line:?} {signal:?}");
                });
            }
        }
    });
}
