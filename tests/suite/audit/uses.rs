//! Uses and refusals are recorded, once for each command, and without a value.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::files::passphrase_file;
use crate::support::{Sandbox, wrapped_in};

use super::holds;

/// Returns the entries of a kind.
fn entries(sandbox: &Sandbox, options: &[&str]) -> Vec<Value> {
    let run = sandbox.run([&["audit", "--json"][..], options].concat()).succeeds();
    run.without("m4rker").json()["entries"].as_array().unwrap().clone()
}

fn uses(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let shown = |entry: &Value| {
        (entry["action"].as_str().unwrap().to_owned(), entry["count"].as_u64().unwrap())
    };

    entries(sandbox, &["--kind", "use"]).iter().map(shown).collect()
}

fn directory(sandbox: &Sandbox) -> PathBuf {
    sandbox.state().join("secrets/audit")
}

/// Returns a vault with two secrets whose tags and values are searched for.
fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("m4tag-one", "m4rker-value-1"), ("m4tag-two", "m4rker-value-2")])
}

fn render(sandbox: &Sandbox) -> crate::support::Run {
    sandbox.run(["render", "-e", "{{ secrets.m4tag-one }}"]).succeeds().stdout("m4rker-value-1")
}

#[test]
fn each_command_that_uses_values_is_one_entry() {
    let sandbox = sandbox();
    passphrase_file(&sandbox, "pass", "a passphrase of six plain words");
    sandbox.write(
        ".secrets.toml",
        "[[render]]\ntemplate = \"a.tmpl\"\noutput = \"a\"\n\
         [[render]]\ntemplate = \"b.tmpl\"\noutput = \"b\"\n",
    );
    sandbox.write("a.tmpl", "{{ secrets.m4tag-one }}\n");
    sandbox.write("b.tmpl", "{{ secrets.m4tag-two }}{{ secrets.m4tag-one }}\n");
    render(&sandbox);
    sandbox.run(["run", "--only", "m4tag-one,m4tag-two", "--", "true"]).succeeds();
    sandbox.command(["redact"]).stdin("nothing").run().succeeds().stdout("nothing");
    sandbox.run(["scan", ".secrets.toml"]).succeeds().stderr_has("");
    let line = ["export", "--encrypted", "out.age", "--export-passphrase-file", "pass", "-q"];
    sandbox.run(line).succeeds();
    sandbox.run(["setup", "-q"]).succeeds();
    sandbox.run(["check", "-q"]).succeeds().stdout_has("");
    sandbox.run(["render", "--all", "-q"]).succeeds();
    sandbox.write("b.tmpl", "nothing");
    sandbox.run(["run", "--only", "m4tag-one", "--dry-run"]).succeeds().stdout_has("M4TAG_ONE");
    sandbox.run(["list", "-q"]).succeeds().stdout_has("m4tag-one");

    let expected = [
        ("render", 1),
        ("run", 2),
        ("redact", 2),
        ("scan", 2),
        ("export", 2),
        ("setup", 2),
        ("check", 2),
        ("render", 2),
    ];
    assert_eq!(uses(&sandbox), expected.map(|(action, count)| (action.to_owned(), count)));

    let first = entries(&sandbox, &["--kind", "use"])[0].clone();
    assert_eq!((&first["who"], &first["project"]), (&"owner".into(), &"default".into()));
    assert_eq!(first["items"][0]["name"], "m4tag-one");
    let found = entries(&sandbox, &["--kind", "use", "--secret", "M4TAG_TWO"]);
    assert_eq!(found.len(), 7, "one use did not concern this secret");
    let both = entries(&sandbox, &[]);
    assert!(both.len() > 8 && both[0]["kind"] == "change");
    sandbox
        .run(["audit", "verify"])
        .succeeds()
        .stderr_has("and 8 uses and refusals on this machine");
}

#[test]
fn refusals_are_recorded() {
    let sandbox = sandbox();
    let delete = || sandbox.run(["delete", "m4tag-one"]).fails_with(7).stderr_has("--yes");
    delete();
    render(&sandbox);
    delete();
    sandbox.run(["run", "--", "echo", "{{ secrets.m4tag-one }}"]).fails_with(125).stderr_has("see");
    let refused = entries(&sandbox, &["--kind", "deny"]);
    let actions: Vec<&str> =
        refused.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert!(actions.ends_with(&["delete", "run"]), "{actions:?}");
    let run = sandbox.run(["audit", "--kind", "deny"]).succeeds().without("m4rker");
    run.stdout_has("\towner\tdelete refused\t");
}

#[test]
fn the_files_are_private_and_show_nothing() {
    let sandbox = sandbox();
    render(&sandbox);
    sandbox.run(["delete", "m4tag-one"]).fails_with(7).stderr_has("--yes");
    sandbox.run(["run", "--only", "m4tag-two", "--", "true"]).succeeds();

    let mut files = 0;
    for entry in fs::read_dir(directory(&sandbox)).unwrap() {
        use std::os::unix::fs::MetadataExt;
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        for part in ["m4tag", "m4rker", "render", "default", "delete", "owner"] {
            assert!(!holds(&bytes, part.as_bytes()), "{} has {part}", path.display());
        }

        files += 1;
    }

    assert_eq!(files, 3);
    assert_eq!(fs::metadata(directory(&sandbox)).unwrap().permissions(), {
        use std::os::unix::fs::PermissionsExt;
        fs::Permissions::from_mode(0o40700)
    });
}

#[test]
fn an_unlocked_vault_records_and_shows_uses() {
    let sandbox = sandbox().unlocked();
    render(&sandbox);
    render(&sandbox);
    assert_eq!(uses(&sandbox).len(), 2);
    sandbox.run(["audit", "verify", "-q"]).succeeds();
}

#[test]
fn uses_before_a_rekey_stay_readable() {
    let sandbox = sandbox();
    render(&sandbox);
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    render(&sandbox);
    assert_eq!(uses(&sandbox).len(), 2);
    sandbox.run(["audit", "verify", "-q"]).succeeds();
}

#[test]
fn people_are_warned_once_a_day_if_nothing_can_be_recorded() {
    let sandbox = sandbox();
    let state = sandbox.state().join("secrets");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("audit"), "not a directory").unwrap();
    render(&sandbox).stderr_has("warning: cannot record this use in");
    render(&sandbox).stderr("");
    sandbox.run(["delete", "m4tag-one"]).fails_with(7).stderr_has("requires `--yes`");

    // A day later, people are warned again.
    let warned = fs::read_dir(state.join("audit-warned")).unwrap().next().unwrap().unwrap().path();
    fs::write(&warned, "2020-01-01T00:00:00.000Z").unwrap();
    render(&sandbox).stderr_has("warning: cannot record");
    render(&sandbox).stderr("");
}

#[test]
fn a_full_disk_is_no_reason_to_stop_and_leaves_the_log_whole() {
    let sandbox = sandbox();
    for _ in 0..16 {
        render(&sandbox);
    }

    // The log is larger than the limit, and every other file is smaller.
    let line = sandbox.command(["render", "-e", "{{ secrets.m4tag-one }}"]);
    let shell = ["sh", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"];
    let output = wrapped_in(&shell, &line).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"m4rker-value-1", "{stderr}");
    assert!(stderr.contains("cannot record this use in"), "{stderr}");

    render(&sandbox);
    assert_eq!(uses(&sandbox).len(), 17);
    sandbox.run(["audit", "verify", "-q"]).succeeds();
}

#[test]
fn a_checkpoint_shows_that_uses_were_removed() {
    let sandbox = sandbox();
    render(&sandbox);
    render(&sandbox);
    let checkpoint = sandbox.run(["audit", "checkpoint"]).succeeds().without("m4tag").bytes();
    sandbox.write("checkpoint.json", &checkpoint);
    let verify = ["audit", "verify", "--checkpoint", "checkpoint.json"];
    render(&sandbox);
    sandbox.run(verify).succeeds().stderr_has("and 3 uses and refusals on this machine");

    fs::remove_dir_all(directory(&sandbox)).unwrap();
    let message = "ends at entry 0, before the checkpoint at entry 2";
    sandbox.run(verify).fails_with(6).stderr_has(message);
    render(&sandbox);
    render(&sandbox);
    sandbox.run(verify).fails_with(6).stderr_has("entry 2 of the log of uses is not");
    sandbox.run(["audit", "verify", "-q"]).succeeds();
}

#[test]
fn a_changed_log_is_reported_and_shown_up_to_there() {
    let sandbox = sandbox();
    (0..3).for_each(|_| drop(render(&sandbox)));
    let log = fs::read_dir(directory(&sandbox)).unwrap().map(|entry| entry.unwrap().path());
    let log = log.into_iter().find(|path| path.extension().is_some_and(|it| it == "log")).unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&log, bytes).unwrap();
    let message = "entry 3 of the log of uses on this machine is missing, damaged";
    sandbox.run(["audit", "verify"]).fails_with(6).stderr_has(message);
    sandbox.run(["audit", "checkpoint"]).fails_with(6).stderr_has(message);
    let run = sandbox.run(["audit", "--kind", "use"]).fails_with(6).stderr_has(message);
    assert_eq!(String::from_utf8(run.bytes()).unwrap().lines().count(), 2);
}
