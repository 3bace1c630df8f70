//! Changes are shown and verified.

use serde_json::Value;
use terminal_secrets::vault::SecretChanges;

use crate::support::values::value;
use crate::support::{Sandbox, project};

use super::{changed, sql};

fn entries(sandbox: &Sandbox, options: &[&str]) -> Vec<Value> {
    let line = [&["audit", "--json"][..], options].concat();
    let run = sandbox.run(line).succeeds().without("m4rker");
    run.json()["entries"].as_array().unwrap().clone()
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

#[test]
fn each_command_is_one_entry_and_the_newest_is_last() {
    let sandbox = changed();
    let all = entries(&sandbox, &["--kind", "change"]);
    assert_eq!(actions(&all), ["begin", "create", "create", "update", "import"]);
    assert!(all.iter().all(|entry| entry["who"] == "owner" && entry["project"] == "default"));
    assert!(all.iter().zip(1..).all(|(entry, seq)| entry["seq"] == seq));
    assert_eq!((&all[1]["count"], &all[1]["items"][0]["name"]), (&1.into(), &"one".into()));
    assert!(all[1]["items"][0]["id"].as_str().unwrap().starts_with("se"));
    assert_eq!(all[4]["count"], 40);
    assert_eq!(all[4]["items"].as_array().unwrap().len(), 32);

    let run = sandbox.run(["audit", "--kind", "change"]).succeeds().without("m4rker");
    let text = String::from_utf8(run.bytes()).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[3][1..], ["owner", "update", "one"]);
    assert!(lines[4][3].ends_with("and 37 more"), "{text}");
}

#[test]
fn entries_are_filtered() {
    let sandbox = changed();
    let changes =
        |options: &[&str]| entries(&sandbox, &[&["--kind", "change"][..], options].concat());

    // The import names 32 of its 40 secrets, so it may have concerned any.
    assert_eq!(actions(&changes(&["--secret", "ONE"])), ["create", "update", "import"]);
    let id = changes(&[])[1]["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(actions(&changes(&["--secret", &id])), ["create", "update", "import"]);
    assert_eq!(changes(&["--since", "1h"]).len(), 5);
    sandbox.run(["audit", "--kind", "deny", "--json"]).succeeds().stdout("{\"entries\":[]}\n");
    sandbox.run(["audit", "--since", "7"]).fails_with(2).stderr_has("`90d`").stdout("");
    sandbox.run(["-p", "nowhere", "audit"]).fails_with(3).stderr_has("no project `nowhere`");
    Sandbox::new().run(["audit"]).succeeds().stdout("").stderr("no entries\n");
}

#[test]
fn the_log_of_the_vault_needs_the_passphrase() {
    let sandbox = changed();
    sandbox.run(["project", "rename", "default", "web", "-q"]).succeeds();
    sandbox.run(["recovery", "create", "-q"]).succeeds().stdout_has("-");
    let all = entries(&sandbox, &["--all-projects", "--kind", "change"]);
    let own: Vec<Value> = all.iter().filter(|entry| entry["project"].is_null()).cloned().collect();
    assert_eq!(actions(&own), ["begin", "project-add", "project-rename", "credentials"]);
    assert_eq!(own[1]["items"][0]["name"], "default");
    assert_eq!(all.len(), 9);

    let sandbox = sandbox.unlocked();
    for line in
        [&["audit", "--all-projects"][..], &["audit", "prune", "--before", "1h", "-y", "-p", "web"]]
    {
        sandbox.run(line).fails_with(5).stderr_has("no passphrase was given");
    }

    assert_eq!(entries(&sandbox, &["-p", "web", "--kind", "change"]).len(), 5);
    sandbox.run(["audit", "verify", "-p", "web", "-q"]).succeeds();
}

#[test]
fn a_complete_log_verifies() {
    let sandbox = changed();
    sandbox
        .run(["audit", "verify"])
        .succeeds()
        .stderr("verified 5 entries in 1 audit log, and 0 uses and refusals on this machine\n");
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    let verified = sandbox.run(["audit", "verify", "--all-projects", "--json"]).succeeds().json();
    let logs = verified["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 2);
    assert_eq!((&logs[1]["first"], &logs[1]["last"]), (&1.into(), &6.into()));
    Sandbox::new().run(["audit", "verify", "-q"]).succeeds();
}

#[test]
fn a_mistyped_secret_has_no_entries_and_is_named() {
    let sandbox = Sandbox::with_secrets(&[("api-key", "value")]);
    sandbox.run(["audit", "--secret", "api-key"]).succeeds().stdout_has("create");
    let typo = sandbox.run(["audit", "--secret", "api-kye"]).fails_with(3).stdout("");
    typo.stderr_has("did you mean `api-key`?");
    sandbox.run(["delete", "api-key", "-y", "-q"]).succeeds();
    sandbox.run(["audit", "--secret", "api-key"]).succeeds().stdout_has("delete");
    let none = sandbox.run(["audit", "--since", "1h", "--kind", "deny"]).succeeds().stdout("");
    none.stderr("no entries\n");
}

/// Attack 35 on changes.
#[test]
fn the_first_entry_that_does_not_hold_is_named() {
    let whole = changed();
    let of_project = "pid <> zeroblob(16)";
    for (attack, seq) in [
        (format!("DELETE FROM audit WHERE seq = 3 AND {of_project}"), 3),
        (format!("DELETE FROM audit WHERE seq = 1 AND {of_project}"), 1),
        (format!("DELETE FROM audit WHERE seq = 5 AND {of_project}"), 5),
        (format!("UPDATE audit SET ct = zeroblob(length(ct)) WHERE seq = 2 AND {of_project}"), 2),
        (
            format!(
                "UPDATE audit SET ct = (SELECT ct FROM audit WHERE seq = 4 AND {of_project}) \
                 WHERE seq = 3 AND {of_project}"
            ),
            3,
        ),
        (
            format!(
                "INSERT INTO audit SELECT pid, 6, epoch, ct FROM audit WHERE seq = 5 AND {of_project}"
            ),
            6,
        ),
    ] {
        let sandbox = Sandbox::new();
        std::fs::write(sandbox.vault_path(), whole.read("vault.db")).unwrap();
        sql(&sandbox, &attack);
        let message = format!("entry {seq} of the audit log of project `default` is missing");
        sandbox.run(["audit", "verify"]).fails_with(6).stderr_has(&message).stdout("");

        // The entries before it are shown.
        let run = sandbox.run(["audit", "--kind", "change"]).fails_with(6).stderr_has(&message);
        assert_eq!(String::from_utf8(run.bytes()).unwrap().lines().count(), seq - 1, "{attack}");
        sandbox.run(["audit", "checkpoint"]).fails_with(6).stderr_has(&message).stdout("");
    }
}

/// More than 32 changes later a project is not proven to follow. The log still is.
#[test]
fn the_entry_that_this_machine_has_seen_last_is_in_the_log() {
    let sandbox = changed();
    let before = sandbox.read("vault.db");
    sandbox.command(["update", "one", "-q"]).stdin("m4rker-seen").run().succeeds();
    sandbox.write("vault.db", before);

    let vault = sandbox.vault();
    for number in 0..34 {
        let text = format!("m4rker-{number}");
        let changes =
            SecretChanges { value: Some(value(text.as_bytes())), ..SecretChanges::default() };
        vault.update(&project("default"), &"one".parse().unwrap(), None, changes).unwrap();
    }

    let message = "entry 6 of the audit log of project `default` is missing";
    sandbox.run(["audit", "verify"]).fails_with(6).stderr_has(message);
}
