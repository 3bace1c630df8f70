//! No value is left in a file, and no other process sees one.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::PASSPHRASE;
use crate::support::files::root;
use crate::support::programs::NOBODY;

use super::{VALUE, clean, clean_directory, silent, with_value};

#[test]
fn while_a_program_runs_only_it_has_its_values() {
    let sandbox = with_value();
    let line = [
        "run",
        "--env",
        "A={{ KEY }}",
        "--file",
        "F=other",
        "--",
        "/bin/sh",
        "-c",
        "echo go; exec /bin/sleep 1000",
    ];

    for more in [&[][..], &["--no-mask"]] {
        let mut command = sandbox.command([&line[..1], more, &line[1..]].concat()).command;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 3]).unwrap();
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        let children: Vec<&str> = children.split_whitespace().collect();
        let read = |pid: &str, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        let begun = Instant::now();

        while !children.iter().any(|pid| read(pid, "comm") == b"sleep\n") {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }

        let us = child.id().to_string();
        let mut holders = 0;
        for pid in children.iter().copied().chain([&*us]) {
            clean("a command line", &read(pid, "cmdline"));
            let environment = read(pid, "environ");
            if read(pid, "comm") == b"sleep\n" {
                holders +=
                    usize::from(memchr::memmem::find(&environment, VALUE.as_bytes()).is_some());
                assert!(memchr::memmem::find(&environment, PASSPHRASE.as_bytes()).is_none());
            } else if pid == us {
                // The passphrase is there because this test put it there.
                assert!(memchr::memmem::find(&environment, &VALUE.as_bytes()[..16]).is_none());
            } else {
                clean("the environment of the guard", &environment);
            }
        }

        assert_eq!((children.len(), holders), (2, 1), "the guard and the program");
        child.kill().unwrap();
        child.wait().unwrap();
        let begun = Instant::now();
        let left = || {
            std::fs::read_dir(sandbox.path("secrets"))
                .unwrap()
                .flatten()
                .any(|entry| entry.path().is_dir())
        };

        while left() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the private file still exists");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    clean_directory(&sandbox.path(""));
}

#[test]
fn a_writer_that_is_killed_leaves_no_value_behind() {
    let sandbox = with_value();
    let value = VALUE.repeat(16_000); // most of a MiB, so that the write takes long enough
    for round in 0..12 {
        let tag = format!("t{round}");
        let line =
            if round % 2 == 0 { vec!["create", "--tag", &tag] } else { vec!["update", "key"] };
        let mut command = sandbox.command(line).env("TMPDIR", sandbox.path("tmp")).command;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        let mut stdin = child.stdin.take().unwrap();
        let bytes = value.clone();
        let feeder = std::thread::spawn(move || {
            drop(std::io::Write::write_all(&mut stdin, bytes.as_bytes()));
        });

        std::thread::sleep(Duration::from_millis(30 + 12 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        feeder.join().unwrap();

        // A journal and a staged file may exist now.
        clean_directory(&sandbox.path(""));
    }

    assert_eq!(silent(sandbox.run(["list"])), Some(0));
    clean_directory(&sandbox.path(""));
}

#[test]
fn a_large_template_on_stdin_leaves_no_value_behind() {
    let sandbox = with_value();
    let template = format!("{}{{{{ secrets.key }}}}", "x".repeat(9 * 1024 * 1024));
    let line = ["render", "-", "-o", "out"];
    let run = sandbox.command(line).env("TMPDIR", sandbox.path("tmp")).stdin(template).run();

    assert_eq!(silent(run), Some(0));
    assert!(sandbox.read("out").ends_with(VALUE.as_bytes()));
    std::fs::remove_file(sandbox.path("out")).unwrap();
    clean_directory(&sandbox.path(""));
}

#[test]
fn only_known_files_start_programs() {
    const STARTERS: [&str; 8] = [
        "runtime/src/captured.rs",
        "runtime/src/clipboard.rs",
        "runtime/src/editor.rs",
        "runtime/src/helper.rs",
        "runtime/src/run/child.rs",
        "runtime/src/run/monitor.rs",
        "runtime/src/run/supervise.rs",
        "runtime/src/source.rs",
    ];

    fn look(directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                // Tests may start programs.
                if entry.file_name() != "tests" {
                    look(&entry.path());
                }
            } else {
                let source = std::fs::read_to_string(entry.path()).unwrap();
                let imports = source.contains("process::Command")
                    || source.contains("process::{Child, Command")
                    || source.contains("process::{Command");
                let path = entry.path().display().to_string();

                assert!(!imports || STARTERS.iter().any(|known| path.ends_with(known)), "{path}");
            }
        }
    }

    look(&root().join("src"));
    look(&root().join("crates"));
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

/// Returns true if user `nobody` can read the memory or the environment of its own process.
fn is_open_to_its_user(child: &Child) -> bool {
    let can_read = |file: &str| {
        let path = format!("/proc/{}/{file}", child.id());

        // Opening the file is the permission check. The first page of memory cannot be read anyway.
        let mut probe = as_nobody(Path::new("sh"));
        probe
            .args(["-c", "exec 3< \"$0\"", &path])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };

    let open = ["mem", "environ"].map(can_read);
    assert_eq!(open[0], open[1]);
    open[0]
}

#[test]
fn a_running_instance_is_closed_to_other_processes_of_its_user() {
    let sandbox = with_value();

    // User `nobody` may not have access to the build's directory, so the test runs a copy. Another
    // process writes it: a file that this one had open for writing, and that a test running at the
    // same time passed on with fork, could not be executed (ETXTBSY).
    let program = sandbox.path("program");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_secrets")).arg(&program).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(sandbox.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    if chown(sandbox.vault_path(), Some(NOBODY), Some(NOBODY)).is_err() {
        return; // only root can switch to another user
    }

    chown(sandbox.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = as_nobody(&program);
    command.args(["create", "--tag", "new"]).env("SECRETS_VAULT", sandbox.vault_path());
    command
        .env("SECRETS_PASSPHRASE", PASSPHRASE)
        .current_dir(sandbox.path(""))
        .stdin(Stdio::piped());

    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    // The process waits for its stdin. By then it is no longer setpriv.
    let begun = Instant::now();
    let is_itself = || {
        std::fs::read(format!("/proc/{}/comm", child.id())).is_ok_and(|name| name == b"program\n")
    };

    while !is_itself() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }

    std::thread::sleep(Duration::from_millis(200));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let open = is_open_to_its_user(&child);
    drop(child.stdin.take());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!open, "memory and environment can be read");

    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();

    // The soft limit counts. The hard limit stays, so that `run` can restore a program's own limit.
    assert_eq!(core.split_whitespace().nth(4), Some("0"));

    // Another program of the same user can be inspected, so the check works.
    let mut sleeper = as_nobody(Path::new("sleep")).arg("30").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let open = is_open_to_its_user(&sleeper);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(open);
}
