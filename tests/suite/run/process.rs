//! A program starts in the same state as without `run`.

use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};

use crate::support::{PASSPHRASE, PATH, Sandbox, TOKEN, wrapped_in};

use super::{prepared, sandbox, script};

#[test]
fn a_caller_that_ignores_its_children_changes_nothing() {
    let sandbox = sandbox();
    let program =
        prepared(&sandbox, &["--no-mask", "--stdin", "api-token", "--", "sh", "-c", "cat; exit 5"]);
    let mut perl = wrapped_in(&["perl", "-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV"], &program);

    let Ok(output) = perl.output() else { return };
    assert_eq!((output.status.code(), output.stdout), (Some(5), TOKEN.as_bytes().to_vec()));
}

#[test]
fn credentials_of_the_vault_never_reach_the_program() {
    let sandbox = sandbox();
    sandbox.write("passphrase", PASSPHRASE);
    let command = script(&sandbox, "env | grep -c '^SECRETS_PASS\\|^SECRETS_TOK'");
    let command = command.env("SECRETS_PASSPHRASE_FILE", sandbox.path("passphrase"));

    command
        .run()
        .fails_with(1)
        .stdout("0\n")
        .stderr_has("other users can read the passphrase file");

    for name in ["SECRETS_PASSPHRASE", "SECRETS_PASSPHRASE_FILE", "SECRETS_TOKEN"] {
        let run = prepared(&sandbox, &["--env", &format!("{name}=x"), "--", "true"]).run();
        run.fails_with(125).stderr_has("is never passed to a program");
    }
}

#[test]
fn arguments_arrive_as_given_and_hold_no_placeholder() {
    let sandbox = sandbox();
    let odd = std::ffi::OsString::from_vec(b"\xff\xfe".to_vec());
    let mut command = prepared(&sandbox, &["--only", "pin", "--no-mask", "--", "printf", "[%s]"]);
    command
        .command
        .args(["", "a b", "$HOME", "*", "--only", "{{ .Values.x }}", "line\nbreak", "-"])
        .arg(odd);

    let printed = command.run().succeeds().bytes();
    assert_eq!(printed, b"[][a b][$HOME][*][--only][{{ .Values.x }}][line\nbreak][-][\xff\xfe]");
    for argument in [
        "{{ secrets.api-token }}",
        "x={{API_TOKEN}}",
        "--header=Bearer {{ secrets.api-token | url }}",
    ] {
        let run = prepared(&sandbox, &["--", "curl", argument]).run().fails_with(125).stdout("");
        run.stderr_has("argument 1 of the program contains a placeholder for `");
    }
}

#[test]
fn the_process_state_is_the_same_as_without_run() {
    let sandbox = sandbox();
    let line = "umask; ulimit -Sc; ulimit -Hc; pwd; ls /proc/self/fd | wc -l; grep 'Sig\\(Ign\\|Blk\\)' /proc/self/status; \
                id -u; nice; cat";
    let with = script(&sandbox, line).stdin("what is typed").run().succeeds().bytes();
    let without = sandbox.command(["x"]).command;
    let mut plain = Command::new("sh");

    plain
        .arg("-c")
        .arg(line)
        .env_clear()
        .env("PATH", PATH)
        .current_dir(without.get_current_dir().unwrap());

    let mut child = plain.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"what is typed").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(with).unwrap(), String::from_utf8(output.stdout).unwrap());
}

#[test]
fn ignored_signals_stay_ignored() {
    let sandbox = sandbox();
    let program = script(&sandbox, "grep SigIgn /proc/self/status");
    let mut shell = wrapped_in(&["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""], &program);
    let with = shell.output().unwrap().stdout;
    let without = Command::new("sh")
        .args(["-c", "trap '' HUP; exec grep SigIgn /proc/self/status"])
        .output()
        .unwrap();

    // The C library reserves two signals after the 31 that are counted here.
    let ignored = |line: Vec<u8>| {
        let line = String::from_utf8(line).unwrap();
        u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16).unwrap() & 0x7fff_ffff
    };

    assert_eq!((ignored(with), ignored(without.stdout)), (1, 1));
}

#[test]
fn blocked_signals_stay_blocked() {
    let sandbox = sandbox();
    let block = "use POSIX; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR1, SIGTERM, SIGCHLD)); exec @ARGV";

    // Shells have their own signal masks, so the test does not use one.
    let line = ["--", "grep", "SigBlk", "/proc/self/status"];
    for options in [
        &["--only", "api-token"][..],
        &["--no-mask", "--only", "api-token"],
        &["--no-mask", "--stdin", "pin"],
    ] {
        let program = prepared(&sandbox, &[options, &line].concat());
        let Ok(output) = wrapped_in(&["perl", "-e", block], &program).output() else { return };
        let printed = String::from_utf8(output.stdout).unwrap();
        let blocked =
            u64::from_str_radix(printed.trim_start_matches("SigBlk:").trim(), 16).unwrap();
        assert_eq!(
            (output.status.code(), blocked),
            (Some(0), 1 << 9 | 1 << 14 | 1 << 16),
            "{options:?}"
        );
    }
}

#[test]
fn only_descriptors_from_the_caller_reach_the_program() {
    let sandbox = sandbox();

    // The last descriptor belongs to the listing itself.
    let list = ["--", "sh", "-c", "exec ls /proc/self/fd"];
    for options in [
        &["--only", "api-token"][..],
        &["--no-mask", "--only", "pin"],
        &["--file", "F=api-token"],
        &["--stdin", "api-token"],
    ] {
        let program = prepared(&sandbox, &[options, &list].concat());
        let output =
            wrapped_in(&["sh", "-c", "exec \"$0\" \"$@\" 7</dev/null"], &program).output().unwrap();
        let with = String::from_utf8(output.stdout).unwrap();
        let line = ["-c", "exec \"$@\" 7</dev/null", "sh", "sh", "-c", "exec ls /proc/self/fd"];
        let without = Command::new("sh").args(line).stdin(Stdio::null()).output().unwrap();
        assert_eq!(with, String::from_utf8(without.stdout).unwrap(), "{options:?}");
        assert!(with.contains("7\n"));
    }
}

#[test]
fn a_vault_opens_without_threads() {
    let sandbox = sandbox();
    let places = [sandbox.path(""), sandbox.state()];
    let changed =
        Command::new("chown").args(["-R", "4444"]).args(&places).status().unwrap().success();
    let program = sandbox.command(["list", "-q"]);
    let line = "ulimit -u 1; exec \"$0\" \"$@\"";
    let wrapper =
        ["setpriv", "--reuid", "4444", "--regid", "4444", "--clear-groups", "bash", "-c", line];

    // Without root this cannot be tested.
    let Ok(output) = wrapped_in(&wrapper, &program).output() else { return };
    let errors = String::from_utf8(output.stderr).unwrap();
    if changed && !errors.contains("setpriv") && !errors.contains("Permission denied") {
        assert!(output.status.success() && output.stdout.starts_with(b"api-token"), "{errors}");
    }
}

#[test]
fn a_program_is_found_in_the_path_that_it_gets() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::with_secrets(&[("key", "a long value of a secret")]);
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    let program = sandbox.write("bin/own", "#!/bin/sh\necho found\n");
    let path = format!("PATH={}:/usr/bin:/bin", sandbox.path("bin").display());
    let run = |arguments: &[&str]| sandbox.run(arguments.iter().chain(&["--", "own"]));

    stderr!(run(&["run", "--only", "key"]).fails_with(127), @"error: program `own` not found");
    stderr!(run(&["run", "--only", "key", "--env", &path]).fails_with(126), @"error: cannot run `own`: Permission denied");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    run(&["run", "--only", "key", "--env", &path]).succeeds().stdout("found\n");

    let own = sandbox.command(["run", "--only", "key", "--", "own"]);
    own.env("PATH", path.trim_start_matches("PATH=")).run().succeeds().stdout("found\n");
}
