//! A private file lives as long as the program, and no kill leaves one.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::support::TOKEN;
use crate::support::programs::{is_alive, until};

use super::{Running, prepared, private_directories, sandbox};

#[test]
fn a_private_file_lives_as_long_as_the_program() {
    let sandbox = sandbox();
    let line = "stat -c '%a %s' \"$KEY\"; stat -c %a \"$(dirname \"$KEY\")\"; cat \"$KEY\"; echo \"$KEY\" >&2";
    let run = prepared(&sandbox, &["--file", "KEY=api-token", "--", "sh", "-c", line]).run();
    let (code, stdout, stderr) = run.everything();

    assert_eq!(
        (code, String::from_utf8(stdout).unwrap()),
        (Some(0), format!("600 {}\n700\n‹api-token›", TOKEN.len()))
    );

    let path = PathBuf::from(stderr.trim());
    assert!(
        path.starts_with(sandbox.path("secrets"))
            && !path.exists()
            && !path.parent().unwrap().exists()
    );

    stderr!(prepared(&sandbox, &["--file", "KEY=nope", "--", "true"]).run().fails_with(125), @"
    error: no secret `nope` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");

    assert!(private_directories(&sandbox).is_empty());
}

#[test]
fn a_killed_run_leaves_no_program_and_no_file() {
    let sandbox = sandbox();
    let line = "echo $$; echo $KEY; trap '' TERM HUP INT; sleep 20 & wait; sleep 20";
    let command =
        prepared(&sandbox, &["--no-mask", "--file", "KEY=api-token", "--", "sh", "-c", line]);
    let mut running = Running::new(command);
    let mut output = running.output();
    let (pid, path) = (Running::line(&mut output), Running::line(&mut output));

    assert!(PathBuf::from(&path).exists() && is_alive(&pid));
    running.signal(Signal::KILL);
    running.code();
    until("the program is still running", || !is_alive(&pid));
    until("the file still exists", || private_directories(&sandbox).is_empty());
}

#[test]
#[ignore = "300 kills at any moment"]
fn a_kill_at_any_moment_leaves_nothing() {
    let sandbox = sandbox();
    for n in 0..300_u64 {
        let command = prepared(&sandbox, &["--file", "KEY=api-token", "--", "sleep", "1000"]);
        let mut running = Running::new(command);
        std::thread::sleep(Duration::from_micros(n * 300));
        running.signal(Signal::KILL);
        running.code();
    }

    until("files still exist", || private_directories(&sandbox).is_empty());
    let marker = sandbox.path("").display().to_string();
    until("a process is still running", || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        !entries
            .filter(|entry| {
                entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok())
            })
            .any(|entry| {
                let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(&marker)
            })
    });
}

#[test]
fn private_files_are_removed_in_any_state() {
    let sandbox = sandbox();
    sandbox.write("kept", "x");
    let place = sandbox.path("").display().to_string();

    for (line, code) in [
        ("[ \"$A\" = \"$B\" ] && [ \"$A\" != \"$C\" ]".to_owned(), 0),
        ("rm -r \"$(dirname \"$A\")\"".to_owned(), 0),
        (
            format!(
                "d=$(dirname \"$A\"); mkdir $d/more; : >$d/more/x; ln -s {place}/kept $d/link; chmod 0 $A"
            ),
            0,
        ),
        ("kill -KILL $$".to_owned(), 137),
        ("exit 9".to_owned(), 9),
    ] {
        let options = [
            "--file",
            "A=api-token",
            "--file",
            "B=api-token",
            "--file",
            "C=database-url",
            "--",
            "sh",
            "-c",
        ];
        let run = prepared(&sandbox, &[&options[..], &[&line]].concat()).run().fails_with(code);
        run.stdout("").stderr("");
        assert!(private_directories(&sandbox).is_empty(), "{line}");
    }

    assert_eq!(sandbox.read("kept"), b"x");
    let run = prepared(&sandbox, &["--file", "A=api-token", "--", "no-such-program"])
        .run()
        .fails_with(127);

    stderr!(run, @"error: program `no-such-program` not found");
    assert!(private_directories(&sandbox).is_empty());

    // A process that no longer exists left this behind, for example after a power failure.
    let old = sandbox.path("secrets/run-999999999-0");
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("api_token"), TOKEN).unwrap();
    prepared(&sandbox, &["--file", "A=api-token", "--", "true"]).run().succeeds();
    assert!(!old.exists());
}

#[test]
fn a_killed_process_group_leaves_no_file() {
    let sandbox = sandbox();
    for signal in [Signal::KILL, Signal::TERM, Signal::HUP] {
        let line = ["--file", "KEY=api-token", "--", "sh", "-c", "echo ready; exec sleep 1000"];
        let mut command = prepared(&sandbox, &line).command;
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut running =
            Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        assert_eq!(Running::line(&mut running.output()), "ready");
        assert_eq!(private_directories(&sandbox).len(), 1);

        let group = Pid::from_raw(running.0.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process_group(group, signal).unwrap();
        running.code();
        until("the file still exists", || private_directories(&sandbox).is_empty());
    }
}
