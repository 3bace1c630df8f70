//! The real `age` reads our files, and we read its files.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::files::write_private;
use crate::support::terminal::Terminal;
use crate::support::values::reveal;

use super::{assert_values, carry, key, listed, opened, with_values};

/// Returns the real program if it is installed: `age`, or else `rage`.
fn real_age() -> Option<&'static str> {
    ["age", "rage"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())
}

fn piped(program: &str, arguments: &[&str], directory: &Path, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();

    feeder.join().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

#[test]
fn the_real_program_reads_our_files_and_we_read_its_files() {
    let Some(age) = real_age() else { return };
    let from = with_values();
    let to = key(&from, "key");

    for armor in [&[][..], &["--armor"]] {
        let line =
            ["export", "--encrypted", "all.age", "--all-projects", "-r", &to, "-q", "--replace"];
        from.run([&line[..], armor].concat()).succeeds();
        let document = piped(age, &["-d", "-i", "key", "all.age"], &from.path(""), b"");
        assert!(document == opened(&from, "all.age", "key"));

        // The other direction: the real program writes the file.
        let file = piped(
            age,
            &[&["-r", &to][..], if armor.is_empty() { &[] } else { &["-a"] }].concat(),
            &from.path(""),
            &document,
        );

        let other = Sandbox::new();
        other.write("theirs", file);
        carry(&from, &other, &["key"]);
        other.run(["import", "theirs", "-i", "key", "-q"]).succeeds();
        assert_eq!(listed(&other), listed(&from));
        assert_values(&other);
    }

    // Run the jq command from the page.
    if Command::new("jq").arg("--version").output().is_ok() {
        let line = "\"$AGE\" -d -i key all.age | jq -j '.projects[] | select(.name == \"web\").secrets[] | \
                    select(.tag == \"plain\") | .value // (.valueBase64 | @base64d)'";
        let output = Command::new("sh")
            .args(["-c", line])
            .env("AGE", age)
            .current_dir(from.path(""))
            .output()
            .unwrap();

        assert_eq!(output.stdout, b"hunter2");
        let raw = "\"$AGE\" -d -i key all.age | jq -r '.projects[].secrets[] | select(.tag == \"not-utf8\").valueBase64' | base64 -d";
        let output = Command::new("sh")
            .args(["-c", raw])
            .env("AGE", age)
            .current_dir(from.path(""))
            .output()
            .unwrap();

        assert!(output.stdout == vec![0xff; 4097]);
    }
}

#[test]
fn the_real_program_accepts_our_passphrase_files() {
    if real_age() != Some("age") || Command::new("script").arg("--version").output().is_err() {
        return;
    }

    let sandbox = Sandbox::with_secrets(&[("key", "hunter2")]);
    write_private(&sandbox.path("pass"), "the export's own passphrase\n");
    sandbox
        .run(["export", "--encrypted", "f.age", "--export-passphrase-file", "pass", "-q"])
        .succeeds();

    let mut terminal = Terminal::shell(&sandbox, "age -d f.age > plain; age -p plain > theirs.age");
    terminal.waits_for("passphrase").types("the export's own passphrase\n");
    terminal.waits_for("passphrase").types("another passphrase\n");
    terminal.waits_for("onfirm passphrase").types("another passphrase\n");
    terminal.ends_with(0);

    let document: Value = serde_json::from_slice(&sandbox.read("plain")).unwrap();
    assert_eq!(document["projects"][0]["secrets"][0]["value"], "hunter2");
    write_private(&sandbox.path("other"), "another passphrase\n");
    let run =
        sandbox.run(["import", "theirs.age", "-p", "copy", "--import-passphrase-file", "other"]);
    stderr!(run.succeeds(), @"imported into project `copy`: 1 created");
    assert_eq!(reveal(&sandbox.vault(), "copy", "key").unwrap().unwrap(), b"hunter2");
}
