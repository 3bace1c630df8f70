//! `redact`: any stream, with values masked.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::support::{Sandbox, project, secret};

const TOKEN: &str = "t0ken-abcdefghijklmnop";

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[
        ("api-token", TOKEN),
        ("pem", "-----BEGIN KEY-----\nfirst line of it\nsecond line of it\n-----END KEY-----\n"),
    ])
}

#[test]
fn stdin_and_files_are_copied_with_values_masked() {
    let sandbox = sandbox();
    let text = format!("a {TOKEN} b\r\nfirst line of it\n\0\u{ff}{TOKEN}{TOKEN}");
    let masked = "a ‹api-token› b\r\n‹pem›\n\0\u{ff}‹api-token›‹api-token›";
    sandbox.run(["redact"]).succeeds();
    sandbox.command(["redact"]).stdin(&text).run().succeeds().stdout(masked);
    sandbox.command(["redact", "-"]).stdin(&text).run().succeeds().stdout(masked);
    sandbox.write("log", &text);
    sandbox.run(["redact", "log"]).succeeds().stdout(masked);
    sandbox.run(["redact", "no-log"]).fails_with(1).stderr("error: cannot read `no-log`: No such file or directory\n");
}

#[test]
fn the_frame_of_a_key_is_no_secret() {
    let sandbox = sandbox();
    sandbox.command(["redact"]).stdin("-----BEGIN KEY-----\nx\n").run().succeeds().stdout("-----BEGIN KEY-----\nx\n");
}

#[test]
fn another_project_has_other_values() {
    let sandbox = sandbox();
    sandbox.vault().create(&project("web"), secret("other", b"another value")).unwrap();
    sandbox.command(["redact", "-p", "web"]).stdin(TOKEN).run().succeeds().stdout(TOKEN);
    // With a mistyped one nothing would be masked, found or given.
    for line in [&["redact"][..], &["scan", "."]] {
        let run = sandbox.run([line, &["-p", "defualt"]].concat()).fails_with(3).stdout("");
        run.stderr("error: no project `defualt`\nhint: did you mean `default`?\n");
    }
    let run = sandbox.run(["run", "-p", "defualt", "--", "true"]).fails_with(125);
    run.stderr("error: no project `defualt`\nhint: did you mean `default`?\n");
}

#[test]
fn a_stream_flows_while_it_comes() {
    let sandbox = sandbox();
    let mut command = sandbox.command(["redact"]).command;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for n in 0..3 {
        writeln!(stdin, "{n} {TOKEN}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{n} ‹api-token›\n"));
    }
    // A reader that goes away is quiet success.
    drop(stdout);
    let _ = stdin.write_all(&vec![b'x'; 1_000_000]);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn short_values_are_told() {
    let sandbox = Sandbox::with_secrets(&[("pin", "1234")]);
    let run = sandbox.command(["redact"]).stdin("1234").run().succeeds().stdout("1234");
    run.stderr("warning: values under 8 bytes are not masked: `pin`\n");
}
