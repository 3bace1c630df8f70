//! `doctor` finds what is less safe than it could be, and prints no value.

use terminal_secrets::model::Timestamp;
use terminal_secrets::vault::NewSecret;

use crate::support::Sandbox;
use crate::support::files::set_mode;
use crate::support::{project, secret};

/// Returns state and message of each check, and what to do.
fn checks(sandbox: &Sandbox) -> Vec<[String; 3]> {
    let (_, json, _) = sandbox.run(["doctor", "--json"]).everything();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let row = |one: &serde_json::Value| {
        let message = format!("{}: {}", text(&one["check"]), text(&one["message"]));
        [text(&one["state"]), message, text(&one["fix"])]
    };
    json["checks"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn a_new_vault_is_checked() {
    let sandbox = Sandbox::with_secrets(&[("good", "8f14e45fceea167a-xyz")]).unlocked();
    let run = sandbox.run(["doctor"]).succeeds();
    let text = String::from_utf8(run.bytes()).unwrap();
    insta::assert_snapshot!(text, @"
    ok       vault: only you can read and replace its file
    ok       agent: the vault is unlocked
    warning  passphrase cost: each guess at the passphrase costs less than with the default
             `secrets passwd --kdf-memory 256` raises its memory
    warning  recovery: without a recovery code, a forgotten passphrase loses everything
             `secrets recovery create` prints one for a piece of paper
    warning  backup: no backup was made on this machine
             make one with `secrets backup PATH`
    ok       expired: no value has expired
    ok       unused: every secret older than 90 days was used on this machine
    ok       weak values: no value is easy to guess
    ok       equal values: no value is stored more than once
    ");

    sandbox.run(["backup", "copy.db", "-q"]).succeeds();
    let backup = ["ok", "backup: the last backup is 0 days old", ""].map(str::to_owned);
    assert!(checks(&sandbox).contains(&backup));
    sandbox.run(["lock", "-q"]).succeeds();
    let text = String::from_utf8(sandbox.run(["doctor"]).succeeds().bytes()).unwrap();
    assert!(text.contains("skipped  values: the vault is locked\n"), "{text}");
}

#[test]
fn values_are_compared_and_judged() {
    let secrets =
        [("one", "hunter2-the-same-value-8f14"), ("weak", "hunter2"), ("fine", "x7Kq-Zw3p-9vB2")];
    let sandbox = Sandbox::with_secrets(&secrets).unlocked();
    let same = ["-p", "other", "create", "two", "-q"];
    sandbox.command(same).stdin(secrets[0].1).run().succeeds();
    let expired = NewSecret {
        expires: Some(Timestamp(1_600_000_000_000)),
        ..secret("old", b"hunter2-8f14e45fceea167a")
    };
    sandbox.vault().create(&project("default"), expired).unwrap();
    let run = sandbox.run(["doctor"]).succeeds().without("hunter2");
    let text = String::from_utf8(run.bytes()).unwrap();
    let values =
        text.lines().skip_while(|line| !line.contains("expired:")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(values, @"
    warning  expired: `old` in default has expired
             store a new value with `secrets update TAG`
    ok       unused: every secret older than 90 days was used on this machine
    warning  weak values: `weak` in default is easy to guess
             `secrets update TAG --generate` draws a new value
    warning  equal values: `one` in default and `two` in other have the same value
             if one leaks, all are exposed; give each its own value
    ");
}

#[test]
fn problems_of_files_are_found() {
    let sandbox =
        Sandbox::with_secrets(&[("key", "8f14e45fceea167a-xyz")]).unlocked().without_trust();
    sandbox.git("", &["init", "-q", "."]);
    sandbox.write(".secrets.toml", "[[render]]\ntemplate = \"a.tmpl\"\noutput = \"out\"\n");
    sandbox.write("a.tmpl", "{{ secrets.key }}");
    sandbox.write("out", "old");
    sandbox.write(".env", "KEY=hunter2");
    sandbox.git("", &["add", ".env"]);
    let lines = |sandbox: &Sandbox| {
        let bad = checks(sandbox).into_iter().filter(|row| {
            row[0] == "problem" || row[1].starts_with("git") || row[1].starts_with("trust")
        });
        bad.map(|row| row.join(" | ")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(lines(&sandbox), @"
    problem | git: `.env` is tracked by git | `secrets template .env` makes a template of it; then `git rm --cached .env`, and change its values
    warning | trust: you have not trusted this directory's .secrets.toml | `secrets trust --show` shows what it asks for
    warning | git: git does not ignore `out` | `secrets setup` adds them to .gitignore
    ");

    sandbox.git("", &["rm", "-q", "--cached", ".env"]);
    sandbox.git("", &["add", "out"]);
    sandbox.run(["trust", "-y", "-q"]).succeeds().bytes();
    insta::assert_snapshot!(lines(&sandbox), @"
    ok | trust: you trust this directory's .secrets.toml | 
    problem | git: the output `out` is tracked by git | `git rm --cached -- out`, and change its values
    ");
    stderr!(sandbox.run(["doctor", "-q"]).fails_with(8).stdout_has("problem"), @"found 1 problem");

    set_mode(&sandbox.vault_path(), 0o644);
    let run = sandbox.run(["doctor"]).fails_with(8);
    let text = String::from_utf8(run.stderr_has("found").bytes()).unwrap();
    assert!(text.starts_with("problem  vault: ") && text.contains("chmod 600"), "{text}");
}

#[test]
fn a_passphrase_in_the_environment_is_a_warning() {
    let sandbox = Sandbox::new();
    let text = String::from_utf8(sandbox.run(["doctor"]).succeeds().bytes()).unwrap();
    assert!(text.contains("warning  passphrase: SECRETS_PASSPHRASE is set"), "{text}");
    let none = Sandbox::empty();
    none.run(["doctor"]).fails_with(3).stderr_has("no vault").bytes();
}

#[test]
fn a_tracked_file_below_the_manifest_is_not_its_output() {
    let sandbox = Sandbox::with_secrets(&[]).unlocked();
    sandbox.git("", &["init", "-q", "."]);
    sandbox.write(".secrets.toml", "[[render]]\ntemplate = \"a.tmpl\"\noutput = \".env\"\n");
    sandbox.write("a.tmpl", "A=1");
    std::fs::create_dir(sandbox.path("sub")).unwrap();
    sandbox.write("sub/.env", "KEY=hunter2");
    sandbox.git("", &["add", "sub/.env"]);
    let doctor = sandbox.command(["doctor"]).current_dir(sandbox.path("sub")).run();
    let doctor = doctor.fails_with(8).stderr_has("found 1 problem");
    doctor.stdout_has("`.env` is tracked by git").bytes();
}
