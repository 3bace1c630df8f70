//! `secrets access`, and restricted secrets in every command.

use std::fs;

use serde_json::json;
use terminal_secrets::crypto::audit::{Action, SignedEntry};
use terminal_secrets::crypto::ids::DIRECTORY;
use terminal_secrets::model::{Class, Secret};
use terminal_secrets::store::{SqliteStore, Store};
use terminal_secrets::vault::{Directory, Locked, NewSecret};

use crate::support::files::passphrase_file;
use crate::support::terminal::Terminal;
use crate::support::values::{reveal, revealed};
use crate::support::{PASSPHRASE, PATH, Sandbox, passphrase, project, secret};

const TEAM: &str = "a-team-value-abcdefghijklmnop";
const VALUE: &str = "r3strict-abcdefghijklmnopqrstuvwx";

/// Returns a vault with the team secret `api-key` and the restricted secret `signing-key`.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&[("api-key", TEAM)]);
    let new = NewSecret { class: Class::Restricted, ..secret("signing-key", VALUE.as_bytes()) };
    sandbox.vault().create(&project("default"), new).unwrap();
    sandbox
}

fn get(sandbox: &Sandbox, tag: &str) -> Secret {
    sandbox.vault().get(&project("default"), &tag.parse().unwrap()).unwrap()
}

fn class(sandbox: &Sandbox, tag: &str) -> (Class, String) {
    let metadata = get(sandbox, tag).metadata;
    (metadata.class, metadata.hint.as_str().to_owned())
}

fn no_hint() -> (Class, String) {
    (Class::Restricted, String::new())
}

#[test]
fn a_restricted_secret_is_created_with_and_without_an_agent() {
    for sandbox in [Sandbox::new(), Sandbox::new().unlocked()] {
        let run = sandbox.command(["create", "--tag", "key", "--restricted"]).stdin(VALUE).run();
        stderr!(run.succeeds(), @"created `key` in project `default` (restricted, no hint)");
        assert_eq!(class(&sandbox, "key"), no_hint());
        assert_eq!(revealed(&sandbox, "key"), VALUE.as_bytes());

        let found = sandbox.run(["get", "key", "--json"]).succeeds().json();
        assert_eq!((&found["hint"], &found["access"]), (&json!(""), &json!("restricted")));
        let text = sandbox.run(["get", "key"]).succeeds().bytes();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("\naccess       restricted\n") && !text.contains("hint"), "{text}");

        // A new value has no hint either, and the class stays.
        let run = sandbox.command(["update", "key"]).stdin(TEAM).run();
        stderr!(run.succeeds(), @"updated `key` in project `default` (restricted, no hint)");
        assert_eq!(class(&sandbox, "key"), no_hint());
        assert_eq!(revealed(&sandbox, "key"), TEAM.as_bytes());
        stderr!(sandbox.run(["update", "key", "--name", "x"]).succeeds(), @"updated `key` in project `default`");
    }
}

#[test]
fn lists_show_and_filter_the_access() {
    let sandbox = sandbox().unlocked();
    let listed = |arguments: &[&str]| {
        let run = sandbox.run([&["list"], arguments].concat()).succeeds();
        let text = String::from_utf8(run.bytes()).unwrap();
        text.lines()
            .map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };

    assert_eq!(listed(&[]), ["api-key a-t…nop", "signing-key restricted"]);
    assert_eq!(listed(&["--access", "team"]), ["api-key a-t…nop"]);
    assert_eq!(listed(&["--access", "restricted"]), ["signing-key restricted"]);
    assert_eq!(listed(&["--access", "restricted", "--page-size", "1"]).len(), 1);

    let page = sandbox.run(["list", "--access", "restricted", "--json"]).succeeds().json();
    assert_eq!((&page["total"], &page["secrets"][0]["access"]), (&json!(1), &json!("restricted")));
    let run = sandbox.run(["list", "--access", "team", "--filter", "signing"]);
    stderr!(run.succeeds().stdout(""), @"no matching secrets in project `default`");
    sandbox.run(["list", "--access", "ours"]).fails_with(2).stderr_has("--access");

    // Forty columns have room for the word.
    let mut terminal = Terminal::shell(&sandbox, "stty cols 40; \"$secrets\" list");
    terminal.waits_for("signing-key  restricted");
    terminal.ends_with(0);
}

#[test]
fn access_shows_who_may_do_what() {
    let sandbox = sandbox().unlocked();
    let (team, restricted) =
        ("api-key\towner\tmanage\tteam\n", "signing-key\towner\tmanage\trestricted\n");
    sandbox.run(["access"]).succeeds().stdout(format!("{team}{restricted}"));
    sandbox.run(["access", "SIGNING_KEY"]).succeeds().stdout(restricted);

    let id = get(&sandbox, "api-key").id.to_string();
    sandbox.run(["access", &id, "-p", "web"]).succeeds().stdout(team);
    let report = sandbox.run(["access", &id, "--json"]).succeeds().json();
    let owner = json!({ "kind": "owner", "may": ["read", "use", "manage"] });
    let expected = json!({
        "project": "default",
        "secrets": [{ "id": id, "tag": "api-key", "access": "team", "holders": [owner] }],
        "tokens": [],
    });
    assert_eq!(report, expected);

    stderr!(sandbox.run(["access", "signin-key"]).fails_with(3), @"
    error: no secret `signin-key` in project `default`
    hint: did you mean `signing-key`?
    ");
    stderr!(sandbox.run(["access", "-p", "web"]).fails_with(3), @"
    error: no project `web`
    hint: `secrets project list` shows every project
    ");
    sandbox.run(["access", "--restricted"]).fails_with(2).stderr_has("error: ");
    sandbox.run(["access", "api-key", "--restricted", "--team"]).fails_with(2).stderr_has("--team");
    let help = String::from_utf8(sandbox.run(["access", "--help"]).succeeds().bytes()).unwrap();
    assert!(help.contains("People and groups will come with teams"), "{help}");
}

#[test]
fn the_class_of_a_secret_is_changed_as_one_version() {
    let sandbox = sandbox();
    let before = get(&sandbox, "api-key");
    let log = actions(&sandbox).len();
    let run = sandbox.run(["access", "api-key", "--restricted"]).succeeds();
    stderr!(run, @"`api-key` in project `default` is now restricted");
    let after = get(&sandbox, "api-key");
    assert_eq!(class(&sandbox, "api-key"), no_hint());
    assert_eq!((after.version, after.id), (before.version + 1, before.id));
    assert_eq!(after.metadata.created, before.metadata.created);
    assert_eq!(revealed(&sandbox, "api-key"), TEAM.as_bytes());

    // Nothing has to change, so nothing is written.
    let bytes = sandbox.read("vault.db");
    let run = sandbox.run(["access", "api-key", "--restricted"]).succeeds();
    stderr!(run, @"`api-key` in project `default` is already restricted");
    assert_eq!(sandbox.read("vault.db"), bytes);

    let report = sandbox.run(["access", "api-key", "--team", "--json"]).succeeds().json();
    assert_eq!(report["secrets"][0]["access"], "team");
    let again = get(&sandbox, "api-key");
    assert_eq!(again.metadata.hint, before.metadata.hint);
    assert_eq!(again.version, before.version + 2);
    assert_eq!(revealed(&sandbox, "api-key"), TEAM.as_bytes());
    assert_eq!(actions(&sandbox)[log..], [(Action::Access, 1), (Action::Access, 1)]);
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("");
}

/// Returns the actions in the audit log of project `default`, with their numbers of items.
fn actions(sandbox: &Sandbox) -> Vec<(Action, u64)> {
    let locked = Locked::open(&sandbox.vault_path()).unwrap();
    let root = locked.root_key(&passphrase()).unwrap();
    let store = SqliteStore::open(&sandbox.vault_path()).unwrap();
    let snapshot = store.read().unwrap();
    let vault_id = snapshot.vault().unwrap().vault_id;
    let directory = Directory::new(&root, vault_id);
    let state = directory.read(&*snapshot).unwrap();
    let index = directory.index(&project("default"));
    let found = directory.projects(&state, &*snapshot, &[index]).unwrap().remove(0).unwrap();
    let pid = found.entry.pid;
    assert_ne!(pid, DIRECTORY);

    let key = found.ring().unwrap().audit_key(&pid);
    let mut actions = Vec::new();
    let mut visit = |row| {
        let change = SignedEntry::open(&key, &vault_id, &pid, &row).unwrap().entry.change;
        actions.push((change.action, change.count));
        true
    };
    snapshot.audit(&pid, 0, &mut visit).unwrap();
    actions
}

#[test]
fn changing_the_class_takes_the_passphrase_even_if_the_vault_is_unlocked() {
    let sandbox = sandbox().unlocked();
    for line in [["access", "api-key", "--restricted"], ["access", "signing-key", "--team"]] {
        stderr!(sandbox.run(line).fails_with(5), @"
        error: no passphrase was given and there is no terminal to ask on
        hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
        ");
    }

    assert_eq!(class(&sandbox, "signing-key"), no_hint());
    let wrong = ["access", "signing-key", "--team", "-q"];
    let run = sandbox.command(wrong).env("SECRETS_PASSPHRASE", "not this one").run();
    run.fails_with(5).stderr_has("error: wrong passphrase");
    assert_eq!(class(&sandbox, "signing-key"), no_hint());

    // What is so already needs none.
    stderr!(sandbox.run(["access", "api-key", "--team"]).succeeds(), @"`api-key` in project `default` is already a team secret");

    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" access signing-key --team");
    terminal.waits_for("Passphrase for ").types(&format!("{PASSPHRASE}\n"));
    terminal.waits_for("`signing-key` in project `default` is now a team secret");
    terminal.ends_with(0);

    // The agent goes on from the new state.
    sandbox.run(["get", "signing-key"]).succeeds().stdout_has("hint         r3st…uvwx\n");
    sandbox.run(["render", "-e", "{{ SIGNING_KEY }}"]).succeeds().stdout(VALUE);
    sandbox.run(["update", "signing-key", "--name", "x", "-q"]).succeeds();
}

#[test]
fn copies_of_a_restricted_secret_are_restricted() {
    let sandbox = sandbox().unlocked();
    sandbox.run(["clone", "--all", "--to", "web", "-q"]).succeeds();
    sandbox.run(["clone", "signing-key", "--tag", "other", "-q"]).succeeds();
    assert_eq!(class(&sandbox, "other"), no_hint());
    let of_web = sandbox.run(["list", "-p", "web", "--access", "restricted"]).succeeds();
    of_web.stdout_has("signing-key\trestricted\t");

    // The stricter class wins, whichever of the two values is overwritten.
    let overwrite = |from: &str, to: &str| {
        let line = ["clone", from, "--tag", to, "--on-conflict", "overwrite", "-q", "-y"];
        sandbox.run(line).succeeds();
    };
    overwrite("api-key", "other");
    assert_eq!((class(&sandbox, "other"), revealed(&sandbox, "other")), (no_hint(), TEAM.into()));
    overwrite("signing-key", "api-key");
    let found = (class(&sandbox, "api-key"), revealed(&sandbox, "api-key"));
    assert_eq!(found, (no_hint(), VALUE.into()));

    // An export carries the class.
    passphrase_file(&sandbox, "pass", "a passphrase for the file");
    let line = ["export", "--encrypted", "f.age", "--export-passphrase-file", "pass", "-q"];
    sandbox.run(line).succeeds();
    sandbox.command(["create", "--tag", "other", "-p", "new", "-q"]).stdin("mine").run().succeeds();
    let line = ["import", "f.age", "--import-passphrase-file", "pass", "-p", "new", "-q"];
    sandbox.run([&line[..], &["--on-conflict", "overwrite", "-y"]].concat()).succeeds();
    let listed = sandbox.vault().list(Some(&project("new")), |_| true).unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|secret| secret.metadata.class == Class::Restricted));
    assert_eq!(reveal(&sandbox.vault(), "new", "other").unwrap().unwrap(), TEAM.as_bytes());
}

#[test]
fn every_command_works_with_restricted_secrets() {
    let sandbox = sandbox().unlocked();
    let with_passphrase = |arguments: &[&str]| {
        sandbox.command(arguments).env("SECRETS_PASSPHRASE", PASSPHRASE).run().succeeds()
    };

    // These use the agent.
    let template = "{{ API_KEY }} {{ SIGNING_KEY }}";
    sandbox.run(["render", "-e", template]).succeeds().stdout(format!("{TEAM} {VALUE}"));
    let run = sandbox.command(["run", "--no-mask", "--", "printenv", "SIGNING_KEY"]);
    run.env("PATH", PATH).run().succeeds().stdout(format!("{VALUE}\n"));
    let run = sandbox.command(["run", "--", "printenv", "SIGNING_KEY"]).env("PATH", PATH).run();
    run.succeeds().stdout("‹signing-key›\n");
    let run = sandbox.command(["redact"]).stdin(format!("a {VALUE} b")).run();
    run.succeeds().stdout("a ‹signing-key› b");
    fs::create_dir(sandbox.path("texts")).unwrap();
    sandbox.write("texts/leak", format!("key: {VALUE}\n"));
    let run = sandbox.run(["scan", "texts"]).fails_with(8).stdout_has("signing-key");
    run.stderr_has("1 value in 1 file");
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("");
    sandbox.run(["backup", "copy.db", "-q"]).succeeds();

    // These take the passphrase. The restored state has other keys again.
    with_passphrase(&["rekey", "-p", "default", "-y", "-q"]);
    assert_eq!(class(&sandbox, "signing-key"), no_hint());
    assert_eq!(revealed(&sandbox, "signing-key"), VALUE.as_bytes());
    sandbox.run(["render", "-e", template]).succeeds().stdout(format!("{TEAM} {VALUE}"));
    with_passphrase(&["rekey", "-y", "-q"]);
    assert_eq!(class(&sandbox, "signing-key"), no_hint());
    assert_eq!(revealed(&sandbox, "signing-key"), VALUE.as_bytes());
    with_passphrase(&["salvage", "saved.db", "-q"]).stderr_has("");
    with_passphrase(&["restore", "copy.db", "-y", "-q"]).stderr_has("");
    assert_eq!(class(&sandbox, "signing-key"), no_hint());
    assert_eq!(revealed(&sandbox, "signing-key"), VALUE.as_bytes());
    with_passphrase(&["verify", "-q"]).stdout_has("");

    let saved = Locked::open(&sandbox.path("saved.db")).unwrap().unlock(&passphrase()).unwrap();
    let found = saved.get(&project("default"), &"signing-key".parse().unwrap()).unwrap();
    assert_eq!((found.metadata.class, found.metadata.hint.as_str()), (Class::Restricted, ""));
    assert_eq!(reveal(&saved, "default", "signing-key").unwrap().unwrap(), VALUE.as_bytes());
}
