//! The difference is reported, and a typed word accepts the vault.

use std::fs;

use rusqlite::Connection;
use terminal_secrets::vault::Locked;

use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox, passphrase, project, secret};

use super::Seen;

#[test]
fn the_difference_is_reported() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let vault = sandbox.vault();
    vault.create(&project("web"), secret("key", b"value")).unwrap();
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");

    let before = sandbox.read("vault.db");
    for value in ["one", "two"] {
        sandbox.command(["update", "key", "-q"]).stdin(value).run().succeeds();
    }

    let after = sandbox.read("vault.db");
    sandbox.write("vault.db", &before);
    let text = "error: the vault was rolled back to a state before its last checkpoint here\n  \
                project `default`: 2 changes behind\nhint: put the right file back, or restore a \
                backup with `secrets restore PATH`; nothing was used\nhint: if you want this \
                state, accept it with `secrets restore --accept`\n";

    for line in [&["list"][..], &["get", "key"], &["render", "-e", "{{ KEY }}"], &["rekey", "-y"]] {
        sandbox.run(line).fails_with(6).stdout("").stderr(text);
    }

    sandbox
        .command(["create", "--tag", "new"])
        .stdin("x")
        .run()
        .fails_with(6)
        .stdout("")
        .stderr(text);

    let error = sandbox.run(["list", "--json"]).fails_with(6).json_error();
    assert_eq!(error["type"], "UNPROCESSABLE_CONTENT");
    assert_eq!(error["details"]["projects"], serde_json::json!(["default"]));
    assert_eq!(error["details"]["forked"], false);

    // A command compares the projects that it uses, and `verify` compares all.
    sandbox.run(["-p", "web", "list", "-q"]).succeeds().stdout_has("key");
    sandbox.run(["verify"]).fails_with(6).stdout_has("secrets      2\n").stderr(text);
    assert_eq!(sandbox.read("vault.db"), before);
    sandbox.write("vault.db", &after);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
}

#[test]
fn a_typed_word_accepts_the_vault() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let output = sandbox.run(["restore", "--accept", "-y"]).succeeds().stdout("");
    stderr!(output, @"the vault matches its checkpoint or continues from it");
    let before = sandbox.read("vault.db");

    sandbox.command(["update", "key", "-q"]).stdin("another").run().succeeds();
    sandbox.write("vault.db", &before);
    stderr!(sandbox.run(["restore", "--accept"]).fails_with(7), @"
    error: restoring requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    for (typed, code) in [("y\n", 7), ("\n", 7), ("\x04", 7), ("accept\n", 0)] {
        let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" restore --accept");
        terminal.waits_for("Passphrase for ").types(&format!("{PASSPHRASE}\n"));
        terminal.waits_for("warning: the vault was rolled back").waits_for("1 change behind");
        terminal.waits_for("type `accept`: ").types(typed);
        terminal.ends_with(code);

        let list = sandbox.run(["list", "-q"]);
        if code == 0 {
            list.succeeds().stdout_has("key")
        } else {
            stderr!(list.fails_with(6), @"
            error: the vault was rolled back to a state before its last checkpoint here
              project `default`: 1 change behind
            hint: put the right file back, or restore a backup with `secrets restore PATH`; nothing was used
            hint: if you want this state, accept it with `secrets restore --accept`
            ")
        };
    }

    // A damaged vault cannot be accepted.
    Connection::open(sandbox.vault_path())
        .unwrap()
        .execute_batch("UPDATE vals SET val = x'00' WHERE rid IN (SELECT rid FROM records WHERE pid <> zeroblob(16))")
        .unwrap();

    stderr!(sandbox.run(["restore", "--accept", "-y"]).fails_with(6), @"
    error: the vault is damaged or was tampered with
      the value of `key` of project `default`
    hint: save what can be read into a new vault with `secrets salvage OUT`
    ");
}

#[test]
fn hints_name_the_vault_of_the_command() {
    let sandbox = Sandbox::with_secrets(&[("one", "value one")]);
    sandbox.run(["backup", "-q", "my vault.db"]).succeeds();
    let before = sandbox.read("my vault.db");
    let line = ["--vault", "my vault.db", "create", "--tag", "two", "--generate", "-q"];

    sandbox.run(line).succeeds();
    fs::write(sandbox.path("my vault.db"), before).unwrap();
    let run = sandbox.run(["--vault", "my vault.db", "list"]).fails_with(6);
    let run = stderr!(run, @"
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: put the right file back, or restore a backup with `secrets --vault 'my vault.db' restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets --vault 'my vault.db' restore --accept`
    ");

    stderr!(run, @"
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: put the right file back, or restore a backup with `secrets --vault 'my vault.db' restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets --vault 'my vault.db' restore --accept`
    ");

    stderr!(sandbox.run(["--vault", "my vault.db", "passwd"]).fails_with(5), @"
    error: no new passphrase was given and there is no terminal to ask on
    hint: use `--new-passphrase-file PATH`
    ");
}

/// Concurrent readers and writers never mistake each other's changes for a rollback.
#[test]
fn there_is_no_false_alarm_under_load() {
    let seen = Seen::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let seen = &seen;
            scope.spawn(move || {
                for number in 0..25 {
                    if thread % 2 == 0 {
                        let tag = format!("tag-{thread}-{number}");
                        seen.vault().create(&project("alpha"), secret(&tag, b"value")).unwrap();
                    }

                    seen.look().unwrap();
                }
            });
        }
    });

    assert_eq!(seen.vault().list(Some(&project("alpha")), |_| true).unwrap().len(), 52);
    assert!(Locked::open(&seen.specimen.path()).unwrap().unlock(&passphrase()).is_ok());
}
