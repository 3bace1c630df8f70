//! `run` ends, stops and continues with its program, and passes signals on.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::programs::until;
use crate::support::{PATH, Sandbox, wrapped_in};

use super::{Running, prepared, private_directories, sandbox, script};

#[test]
fn exit_codes_are_the_programs_or_our_own() {
    let sandbox = sandbox();
    for code in [0, 1, 7, 125, 130, 255] {
        script(&sandbox, &format!("exit {code}")).run().fails_with(code);
    }

    for (signal, code) in [("TERM", 143), ("KILL", 137), ("HUP", 129), ("SEGV", 139)] {
        script(&sandbox, &format!("kill -{signal} $$")).run().fails_with(code);
    }

    let fails = |line: &[&str], code, words: &str| {
        prepared(&sandbox, line).run().fails_with(code).stderr_has(words);
    };

    fails(
        &["--only", "api-token", "no-such-program"],
        127,
        "error: program `no-such-program` not found",
    );

    fails(
        &["--only", "api-token", "/etc/passwd"],
        126,
        "error: cannot run `/etc/passwd`: Permission denied",
    );

    fails(&["--only", "nope", "true"], 125, "error: no secret `nope` in project `default`");
    fails(&["--bogus", "true"], 125, "error: unknown option `--bogus`");
    fails(&[], 125, "is missing");
    fails(&["--only", "not a tag", "true"], 125, "`--only <TAG,...>`");

    let locked = script(&sandbox, "true").without_env("SECRETS_PASSPHRASE").run();
    stderr!(locked.fails_with(125), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    let error = sandbox
        .command(["run", "--json", "--only", "nope", "true"])
        .run()
        .fails_with(125)
        .json_error();

    assert_eq!(error["type"], "NOT_FOUND");
}

#[test]
fn run_dies_of_the_programs_keyboard_signals_only() {
    let sandbox = sandbox();
    let ended = |line: &[&str]| {
        let program = prepared(&sandbox, line);
        let mut command = wrapped_in(&["env", "--default-signal=INT,QUIT"], &program);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    };

    for (name, signal) in [("INT", 2), ("QUIT", 3)] {
        for options in [
            &["--only", "api-token"][..],
            &["--only", "api-token", "--file", "F=api-token", "--no-mask"],
        ] {
            let kill = format!("kill -{name} $$");
            let status = ended(&[options, &["--", "sh", "-c", &kill]].concat());
            assert_eq!(
                (status.signal(), status.core_dumped()),
                (Some(signal), false),
                "{name} {options:?}"
            );
        }
    }

    assert!(private_directories(&sandbox).is_empty());

    // A program that handles the signal and exits with this code did not die of it.
    let line = "trap 'exit 130' INT; kill -INT $$";
    let status = ended(&["--only", "api-token", "--", "sh", "-c", line]);
    assert_eq!((status.signal(), status.code()), (None, Some(130)));
}

#[test]
fn every_signal_that_can_be_caught_is_passed_on() {
    let sandbox = sandbox();
    let names = "HUP INT QUIT TRAP ABRT USR1 USR2 PIPE ALRM TERM STKFLT TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR \
                 RTMIN RTMIN+3 RTMAX";
    let line = format!(
        "for s in {names}; do trap \"echo got $s\" $s; done; echo ready; while :; do sleep 1 & wait $!; done"
    );
    let program = prepared(&sandbox, &["--only", "api-token", "--", "bash", "-c", &line]);
    let mut command = wrapped_in(&["env", "--default-signal"], &program);
    let mut running =
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());

    let mut output = running.output();
    assert_eq!(Running::line(&mut output), "ready");
    let pid = running.0.id().to_string();

    for name in names.split_whitespace() {
        let sent = Command::new("bash")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
            .status()
            .unwrap();

        assert!(sent.success(), "{name}");
        assert_eq!(Running::line(&mut output), format!("got {name}"));
    }

    running.signal(Signal::KILL);
    running.code();
}

#[test]
fn a_signal_ends_run_with_the_program_s_code() {
    let sandbox = sandbox();
    let mut running = Running::new(script(
        &sandbox,
        "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.01; done",
    ));

    let mut output = running.output();
    assert_eq!(Running::line(&mut output), "ready");
    running.signal(Signal::TERM);
    assert_eq!((Running::line(&mut output).as_str(), running.code()), ("got", Some(9)));

    let mut running = Running::new(script(&sandbox, "echo ready; exec sleep 1000"));
    let mut output = running.output();
    assert_eq!(Running::line(&mut output), "ready");
    running.signal(Signal::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(143));
}

/// Returns the exit code and the output of a script in a PID namespace where `first` is process 1.
/// Returns `None` without root.
fn in_a_pid_namespace(first: &[&str], line: &str) -> Option<(Option<i32>, String)> {
    let sandbox = sandbox();
    let wrapper = [&["unshare", "-pf", "--mount-proc"], first].concat();
    let mut unshare = wrapped_in(&wrapper, &script(&sandbox, line));
    let output =
        std::os::unix::process::CommandExt::process_group(&mut unshare, 0).output().unwrap();
    let refused = String::from_utf8_lossy(&output.stderr).contains("unshare");
    (!refused).then(|| (output.status.code(), String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn as_process_1_run_reaps_orphans() {
    let printed =
        in_a_pid_namespace(&[], "(sleep 0.05 &) ; sleep 0.3; ps -e -o stat= | grep -c Z; exit 4");
    assert!(printed.is_none_or(|printed| printed == (Some(4), "0\n".to_owned())));
}

#[test]
fn with_an_outside_session_and_group_leader_run_stops_and_continues() {
    // `sh` is process 1 here, because nothing can stop process 1.
    let line = "(for n in $(seq 500); do ps -o stat= -p $PPID | grep -q T && break; sleep 0.01; done; \
                [ $n = 500 ] && kill -KILL $$; kill -CONT $PPID) & kill -STOP $$; echo on";
    let printed = in_a_pid_namespace(&["sh", "-c", "\"$0\" \"$@\"; exit $?"], line);
    assert!(printed.is_none_or(|printed| printed == (Some(0), "on\n".to_owned())));
}

#[test]
fn without_a_job_control_shell_a_stopped_program_can_be_continued() {
    let line = "(sleep 0.3; echo first; kill -CONT $$) & kill -STOP $$; echo second";
    script(&sandbox(), line).run().succeeds().stdout("first\nsecond\n");
}

#[test]
fn the_program_stops_and_continues_with_run() {
    let sandbox = sandbox();
    let mut running = Running::new(script(&sandbox, "echo $$; while :; do sleep 0.01; done"));
    let mut output = running.output();
    let pid = Running::line(&mut output);
    let state = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0])
    };

    let ours = running.0.id().to_string();
    for round in 0..20 {
        running.signal(Signal::TSTP);

        // A shell waits until it has seen us stop. Other callers do not.
        let waits_for_us = round % 2 == 0;
        until("it does not stop", || {
            state(&pid) == Some(b'T') && (!waits_for_us || state(&ours) == Some(b'T'))
        });

        running.signal(Signal::CONT);
        let goes_on =
            || state(&pid).is_some_and(|state| state != b'T') && state(&ours) != Some(b'T');
        until("it does not continue", goes_on);
    }

    running.signal(Signal::TERM);
    assert_eq!(running.code(), Some(143));
}

#[test]
fn a_program_that_cannot_run_gets_the_exit_code_that_env_uses() {
    let sandbox = sandbox();
    sandbox.write("script", "echo no interpreter named");
    sandbox.write("lost", "#!/no/such/interpreter\n");
    sandbox.write("plain", "x");
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    sandbox.write("bin/ours", "#!/bin/sh\necho ours\n");
    for name in ["script", "lost", "bin/ours"] {
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(sandbox.path(name), executable).unwrap();
    }

    for name in ["", "no-such", "/etc/passwd/x", "/tmp", "./plain", "./lost", "./script"] {
        for options in [&["--only", "api-token"][..], &["--only", "api-token", "--no-mask"]] {
            let (with, stdout, _) =
                prepared(&sandbox, &[options, &["--", name]].concat()).run().everything();
            let mut env = Command::new("env");
            let without =
                env.arg(name).env("PATH", PATH).current_dir(sandbox.path("")).output().unwrap();
            assert_eq!((with, stdout), (without.status.code(), without.stdout), "`{name}`");
        }
    }

    // The program is searched in the new PATH.
    let path = format!("PATH={}:{PATH}", sandbox.path("bin").display());
    prepared(&sandbox, &["--env", &path, "--", "ours"]).run().succeeds().stdout("ours\n");

    // Each variable fits, but together they exceed the system's limit.
    let sandbox = Sandbox::with_secrets(&[("large", &"x".repeat(60_000))]);
    let many: Vec<String> =
        (0..80).map(|n| format!("--env=A{n}={{{{ LARGE }}}}{{{{ LARGE }}}}")).collect();
    let line: Vec<&str> = many.iter().map(String::as_str).chain(["--", "true"]).collect();
    let run = prepared(&sandbox, &line).run().fails_with(126);

    stderr!(run, @"
    error: cannot run `true`: Argument list too long
    hint: select fewer secrets with `--only TAG,...`, or pass large ones as files with `--file NAME=TAG`
    ");
}
