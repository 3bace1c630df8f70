//! A copy is a private vault without orphan rows, and replaces only an earlier copy of the same
//! vault.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::files::{names, set_mode};
use crate::support::values::revealed;
use crate::support::wrapped_in;

use super::{change, sandbox, too_small};

#[test]
fn a_copy_is_a_private_vault() {
    let sandbox = sandbox();

    // The umask of the caller does not matter.
    let umask = ["sh", "-c", "umask 000; exec \"$0\" \"$@\""];
    let output = wrapped_in(&umask, &sandbox.command(["backup", "copy.db"])).output().unwrap();

    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "copied the vault with its 2 secrets to `copy.db`\n"
    );

    assert!(output.status.success() && output.stdout.is_empty());
    let copy = sandbox.path("copy.db");
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    sandbox.run(["--vault", "copy.db", "render", "-e", "{{ ONE }}"]).succeeds().stdout("value one");
    sandbox.run(["--vault", "copy.db", "verify", "-q"]).succeeds().stdout_has("secrets      2\n");
    assert_eq!(names(&sandbox.path("")), ["copy.db", "vault.db"]);

    let found = sandbox.run(["backup", "--json", "./another.db"]).succeeds().json();
    assert_eq!(found, json!({ "vault": "./another.db", "secrets": 2 }));

    // The directory is missing, for example because a disk is not mounted.
    let run = sandbox.run(["backup", "disk/backups/copy.db"]).fails_with(3).stdout("");
    stderr!(run, @"
    error: the directory `disk/backups` does not exist
    hint: check that the disk is mounted, or create it with `mkdir -p`; nothing was written
    ");

    assert!(!sandbox.path("disk").exists());
}

#[test]
fn backup_replaces_only_an_earlier_copy_of_the_same_vault() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    sandbox.write("note", "mine");

    for name in ["copy.db", "note", "vault.db"] {
        let before = sandbox.read(name);
        sandbox
            .run(["backup", name])
            .fails_with(4)
            .stdout("")
            .stderr_has("hint: use `--replace` to replace an earlier copy of the same vault\n");

        assert_eq!(sandbox.read(name), before);
    }

    change(&sandbox, "one", "a newer value");
    sandbox.run(["backup", "-q", "--replace", "copy.db"]).succeeds();
    sandbox.run(["backup", "-q", "--replace", "another.db"]).succeeds();
    sandbox
        .run(["--vault", "copy.db", "render", "-e", "{{ ONE }}"])
        .succeeds()
        .stdout("a newer value");

    set_mode(&sandbox.path("note"), 0o600);
    sandbox.run(["backup", "--replace", "note"]).fails_with(6).stderr_has("is not a vault\n");
    assert_eq!(sandbox.read("note"), b"mine");

    let other = self::sandbox();
    let theirs = other.vault_path();
    let run = sandbox.run(["backup", "--replace", theirs.to_str().unwrap()]).fails_with(7);
    run.stderr_has("is not a copy of this vault\nhint: choose another file; nothing was written\n");

    // A newer copy is not replaced by an older one, nor by one that diverged.
    for command in [&["backup", "-q", "old.db"][..], &["update", "one", "--generate", "-q"]] {
        sandbox.run(command).succeeds();
    }

    let newest = sandbox.read("vault.db");
    let backwards = |tag: &str| {
        let vault = sandbox.vault_path();
        let run = sandbox
            .run(["--vault", "old.db", "backup", "--replace", vault.to_str().unwrap()])
            .fails_with(7);

        run.stderr_has(
            "is not an earlier copy of this vault: it contains changes that the vault \
                        does not have\n",
        );

        assert_eq!(sandbox.read("vault.db"), newest, "{tag}");
    };

    backwards("older");
    sandbox.run(["--vault", "old.db", "create", "--tag", "other", "--generate", "-q"]).succeeds();
    sandbox.run(["--vault", "old.db", "update", "one", "--generate", "-q"]).succeeds();
    backwards("another way");
    sandbox.run(["--vault", "old.db", "rekey", "-y", "-q"]).succeeds();

    // A copy under newer keys cannot be read, but its keys were changed more often.
    let run = sandbox.run(["backup", "--replace", "old.db"]).fails_with(7);
    run.stderr_has("is not an earlier copy of this vault");
    change(&sandbox, "one", "a newer value");

    // The vault itself is never replaced by its backup.
    sandbox
        .run(["backup", "--replace", "vault.db"])
        .fails_with(2)
        .stderr_has("that is the vault itself");

    assert_eq!(revealed(&sandbox, "one"), b"a newer value");
}

#[test]
fn a_damaged_vault_is_not_copied() {
    let sandbox = sandbox();
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    connection.execute_batch("UPDATE vals SET val = zeroblob(length(val)) WHERE rid IN (SELECT rid FROM records WHERE pid <> zeroblob(16))").unwrap();
    drop(connection);

    let run = sandbox.run(["backup", "copy.db"]).fails_with(6).stdout("");
    run.stderr_has("error: the vault is damaged or was tampered with\n  the value of `")
        .stderr_has("hint: save what can be read into a new vault with `secrets salvage OUT`\n");

    assert_eq!(names(&sandbox.path("")), ["vault.db"]);
}

#[test]
fn a_full_disk_leaves_no_copy_behind() {
    let sandbox = sandbox();
    let Some(small) = too_small(&sandbox) else { return };
    stderr!(sandbox.run(["backup", "small/copy.db"]).fails_with(1).stdout(""), @"
    error: no space left on the file system of `small/copy.db`
    hint: free some space there, or choose a file elsewhere; the vault was not changed
    ");

    assert_eq!(std::fs::read_dir(sandbox.path("small")).unwrap().count(), 0);
    drop(small);
}

#[test]
fn the_next_backup_removes_what_a_killed_one_left() {
    let sandbox = sandbox();
    let left = |name: &str, hours: u64| {
        let file = std::fs::File::create(sandbox.path(name)).unwrap();
        file.set_modified(
            std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600),
        )
        .unwrap();

        name.to_owned()
    };

    let dead = ["", "-journal"]
        .map(|end| left(&format!(".new-999999999-0123456789abcdef-copy.db{end}"), 2));
    let kept = [
        // Another PID namespace may still be writing these.
        left(".new-999999999-0123456789abcdef-copy.db-wal", 2),
        left(".new-999999999-00000000000000aa-copy.db", 0),
        left(".new-999999999-0123456789abcdef-another.db", 2),
        left(&format!(".new-{}-0123456789abcdef-copy.db", std::process::id()), 2),
    ];

    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    assert!(dead.iter().all(|name| !sandbox.path(name).exists()));
    assert!(kept.iter().all(|name| sandbox.path(name).exists()));
    assert_eq!(names(&sandbox.path("")).len(), kept.len() + 2);
}

#[test]
fn orphan_rows_are_not_copied() {
    let sandbox = sandbox();
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    connection
        .execute_batch("INSERT INTO vals VALUES(x'0102030405060708', x'6d61726b6572')")
        .unwrap();
    drop(connection);
    stderr!(sandbox.run(["verify"]).fails_with(6).stdout_has("a value that belongs to no secret"), @"
    error: the vault is damaged or was tampered with: 1 finding
    hint: restore a backup with `secrets restore PATH`, or save what can be read with `secrets salvage OUT`
    ");

    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    sandbox.run(["--vault", "copy.db", "verify", "-q"]).succeeds().stdout_has("secrets      2\n");
    assert!(!sandbox.read("copy.db").windows(6).any(|bytes| bytes == b"marker"));
}

#[test]
fn backup_through_an_agent_replaces_only_an_earlier_copy() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let newer = ["--vault", "copy.db", "update", "one", "--generate", "-q"];
    sandbox.run(newer).succeeds();
    sandbox.run(["unlock", "-q"]).succeeds();

    let bare =
        |arguments: &[&str]| sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run();
    stderr!(bare(&["backup", "--replace", "copy.db"]).fails_with(7), @"
    error: `copy.db` is not an earlier copy of this vault: it contains changes that the vault does not have
    hint: choose another file; nothing was written
    ");

    bare(&["backup", "-q", "another.db"]).succeeds();
    change(&sandbox, "two", "newer");
    bare(&["backup", "-q", "--replace", "another.db"]).succeeds();
    bare(&["lock", "--all", "-q"]).succeeds();
}
