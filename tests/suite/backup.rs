//! `secrets backup` and `secrets restore`.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use terminal_secrets::vault::Locked;

use crate::support::faults::Small;
use crate::support::files::{is_left, names, passphrase_file, set_mode, write_private};
use crate::support::terminal::Terminal;
use crate::support::values::{NEW_PASSPHRASE, revealed};
use crate::support::{PASSPHRASE, Sandbox, passphrase, project, secret, specimen, wrapped_in};

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("one", "value one"), ("two", "value two")])
}

/// Mounts a disk of 1 MiB at `small`, and fills the vault with four times that.
fn too_small(sandbox: &Sandbox) -> Option<Small> {
    let small = Small::mounted(sandbox.path("small"))?;
    let large = (0..4).map(|number| secret(&format!("large-{number}"), &vec![b'x'; 1024 * 1024]));
    sandbox.vault().create_all(&project("default"), large).unwrap();
    Some(small)
}

fn change(sandbox: &Sandbox, tag: &str, value: &str) {
    sandbox.command(["update", tag, "-q"]).stdin(value).run().succeeds();
}

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
    connection.execute_batch("UPDATE vals SET val = zeroblob(length(val))").unwrap();
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
fn restore_shows_the_difference_and_asks() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    change(&sandbox, "two", "another value of two");
    sandbox.run(["delete", "one", "-y", "-q"]).succeeds();
    sandbox.command(["create", "--tag", "three", "-q"]).stdin("value three").run().succeeds();

    let before = sandbox.read("vault.db");
    let shown = "+ default/one\n- default/three\n~ default/two\n1 added, 1 removed, 1 changed\n";
    sandbox.run(["restore", "copy.db", "--dry-run"]).succeeds().stdout("").stderr(shown);
    let run = sandbox.run(["restore", "copy.db", "--dry-run", "--json"]).succeeds();
    let found = run.json();
    let tag = |member: &str| found[member][0]["tag"].as_str().unwrap().to_owned();

    assert_eq!([tag("added"), tag("removed"), tag("changed")], ["one", "three", "two"]);
    stderr!(sandbox.run(["restore", "copy.db"]).fails_with(7).stdout(""), @"
    error: restoring requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" restore copy.db");
    terminal.waits_for("Passphrase for copy.db: ").types(&format!("{PASSPHRASE}\n"));
    terminal.waits_for("1 added, 1 removed, 1 changed").waits_for("Replace `");
    terminal.types("n\n");
    terminal.ends_with(7);
    assert_eq!(sandbox.read("vault.db"), before);

    let run = sandbox.run(["restore", "copy.db", "-y"]).succeeds();
    run.stderr(&format!("{shown}restored `{}`\n", sandbox.vault_path().display()));
    assert_eq!(
        (revealed(&sandbox, "one"), revealed(&sandbox, "two")),
        (b"value one".into(), b"value two".into())
    );

    stderr!(sandbox.run(["get", "three"]).fails_with(3), @"
    error: no secret `three` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");

    // The restored state is the checkpoint now.
    change(&sandbox, "one", "and on it goes");
    let run = sandbox.run(["restore", "copy.db", "-y"]).succeeds();
    stderr!(run, @"
    ~ default/one
    0 added, 0 removed, 1 changed
    restored `[dir]/vault.db`
    ");

    let run = sandbox.run(["restore", "copy.db", "-y"]).succeeds();
    stderr!(run, @"
    the backup contains the same secrets as the vault
    restored `[dir]/vault.db`
    ");

    assert_eq!(names(&sandbox.path("")), ["copy.db", "vault.db"]);
}

#[test]
fn restore_leaves_no_bytes_of_the_replaced_vault() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    change(&sandbox, "one", "a value that goes");
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    let sealed: Vec<u8> = connection
        .query_row(
            "SELECT val FROM vals ORDER BY rid = (SELECT rid FROM records WHERE ver = 2) DESC",
            [],
            |row| row.get(0),
        )
        .unwrap();

    drop(connection);
    assert!(is_left(&sandbox, &sealed));
    sandbox.run(["restore", "copy.db", "-y", "-q"]).succeeds();
    assert!(!is_left(&sandbox, &sealed));
}

#[test]
fn restore_creates_a_missing_vault() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    std::fs::remove_file(sandbox.vault_path()).unwrap();
    stderr!(sandbox.run(["restore", "copy.db", "-y"]).succeeds(), @"
    + default/one
    + default/two
    2 added, 0 removed, 0 changed
    restored `[dir]/vault.db`
    ");

    assert_eq!(revealed(&sandbox, "one"), b"value one");
    assert_eq!(sandbox.vault_path().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn restore_keeps_a_file_that_is_no_longer_a_vault() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let mut broken = sandbox.read("vault.db");

    for (case, at) in [(1, 0), (2, 4096 * 3)] {
        let end = broken.len().min(at + 5000);
        broken[at..end].fill(0xaa);
        sandbox.write("vault.db", &broken);
        let run = sandbox.run(["restore", "copy.db", "-y"]).succeeds();
        let aside = sandbox.path(&format!("vault.db.replaced-{case}"));

        run.stderr_has(&format!("warning: the old file was renamed to `{}`\n", aside.display()));
        assert_eq!(std::fs::read(&aside).unwrap(), broken);
        assert_eq!(revealed(&sandbox, "two"), b"value two");
    }
}

#[test]
fn a_backup_opens_with_the_passphrase_of_its_time() {
    let sandbox = sandbox();
    passphrase_file(&sandbox, "new", NEW_PASSPHRASE);
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "new"]).succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");

    // If the keys are the same, the present passphrase opens the backup.
    let output =
        sandbox.run(["restore", "copy.db", "--dry-run", "--passphrase-file", "new"]).succeeds();
    stderr!(output, @"
    warning: the passphrase or the recovery code was changed after the backup was made; the old ones will work again
    the backup contains the same secrets as the vault
    ");

    let run =
        sandbox.run(["restore", "copy.db", "-y", "-q", "--passphrase-file", "new"]).succeeds();
    stderr!(run, @"warning: the passphrase or the recovery code was changed after the backup was made; the old ones will work again");
    stderr!(sandbox.run(["list", "--passphrase-file", "new"]).fails_with(5), @"
    error: wrong passphrase
    hint: enter the one last set with `secrets init` or `secrets passwd`, or use a recovery code with `--recovery`
    ");

    assert_eq!(revealed(&sandbox, "one"), b"value one");

    // After `rekey` the backup has other keys.
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "new"]).succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");
    let run = sandbox.run(["restore", "copy.db", "-y", "--passphrase-file", "new"]).fails_with(5);
    stderr!(run, @"
    error: the backup has different keys from the vault: it opens with the passphrase it was made with
    hint: if its passphrase slot is damaged, use its recovery code with `--recovery`
    ");

    // The replaced vault opens with another passphrase, so it is kept.
    let run = stderr!(sandbox.run(["restore", "copy.db", "--dry-run", "--json"]).succeeds(), @"warning: the current file is damaged or has another passphrase, so it was not compared; it will be kept under another name");
    let found = run.json();
    assert_eq!((&found["removed"], found["added"].as_array().unwrap().len()), (&json!(null), 2));
    let run = sandbox.run(["restore", "copy.db", "-y"]).succeeds();

    stderr!(run, @"
    warning: the current file is damaged or has another passphrase, so it was not compared; it will be kept under another name
    the backup contains 2 secrets
    warning: the old file was renamed to `[dir]/vault.db.replaced-1`
    restored `[dir]/vault.db`
    ");

    assert_eq!(revealed(&sandbox, "one"), b"value one");
    sandbox
        .run(["--vault", "vault.db.replaced-1", "list", "--passphrase-file", "new"])
        .succeeds()
        .stdout_has("one");
}

#[test]
fn restore_compares_a_backup_from_before_rekey() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    sandbox.command(["create", "--tag", "three", "-q"]).stdin("value three").run().succeeds();

    let shown = "warning: the backup was made before `secrets rekey` and brings the old keys back; \
                 run `secrets rekey` after restoring it\n- default/three\n0 added, 1 removed, 0 \
                 changed\n";
    sandbox.run(["restore", "copy.db", "--dry-run"]).succeeds().stderr(shown);
    stderr!(sandbox.run(["restore", "copy.db", "-y"]).succeeds(), @"
    warning: the backup was made before `secrets rekey` and brings the old keys back; run `secrets rekey` after restoring it
    - default/three
    0 added, 1 removed, 0 changed
    restored `[dir]/vault.db`
    ");

    assert_eq!(names(&sandbox.path("")), ["copy.db", "vault.db"]);
    passphrase_file(&sandbox, "new", NEW_PASSPHRASE);
    stderr!(sandbox.run(["passwd", "-q", "--new-passphrase-file", "new"]).succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");
    let run =
        sandbox.run(["restore", "copy.db", "--dry-run", "--passphrase-file", "new"]).succeeds();
    stderr!(run, @"
    warning: the passphrase or the recovery code was changed after the backup was made; the old ones will work again
    the backup contains the same secrets as the vault
    ");

    let other = self::sandbox();
    let theirs = other.vault_path();
    let run = sandbox
        .run(["restore", "--dry-run", theirs.to_str().unwrap(), "--passphrase-file", "new"])
        .fails_with(5);

    stderr!(run, @"
    error: the backup has different keys from the vault: it opens with the passphrase it was made with
    hint: if its passphrase slot is damaged, use its recovery code with `--recovery`
    ");
}

#[test]
fn restore_works_on_a_new_machine() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    std::fs::create_dir(sandbox.path("home")).unwrap();
    let new = |arguments: &[&str]| {
        let home = sandbox.path("home");
        let command =
            sandbox.command(arguments).without_env("SECRETS_VAULT").without_env("XDG_STATE_HOME");
        command.env("HOME", home.to_str().unwrap()).run()
    };

    stderr!(new(&["list"]).fails_with(3), @"
    error: no vault at `[dir]/home/.local/share/secrets/vault.db`
    hint: create one with `secrets init`, or restore a backup with `secrets restore PATH`
    ");

    stderr!(new(&["restore", "copy.db", "--dry-run"]).succeeds(), @"
    + default/one
    + default/two
    2 added, 0 removed, 0 changed
    ");

    assert_eq!(std::fs::read_dir(sandbox.path("home")).unwrap().count(), 0);
    stderr!(new(&["restore", "copy.db", "-y"]).succeeds(), @"
    + default/one
    + default/two
    2 added, 0 removed, 0 changed
    restored `[dir]/home/.local/share/secrets/vault.db`
    ");

    new(&["verify", "-q"]).succeeds().stdout_has("secrets      2\n");
    let directory = sandbox.path("home/.local/share/secrets");
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn restore_keeps_a_damaged_vault() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    connection.execute_batch("DELETE FROM vals WHERE rid = (SELECT max(rid) FROM vals)").unwrap();
    drop(connection);

    let damaged = sandbox.read("vault.db");
    let run = stderr!(sandbox.run(["restore", "copy.db", "-y"]).succeeds(), @"
    warning: the current file is damaged or has another passphrase, so it was not compared; it will be kept under another name
    the backup contains 2 secrets
    warning: the old file was renamed to `[dir]/vault.db.replaced-1`
    restored `[dir]/vault.db`
    ");

    stderr!(run, @"
    warning: the current file is damaged or has another passphrase, so it was not compared; it will be kept under another name
    the backup contains 2 secrets
    warning: the old file was renamed to `[dir]/vault.db.replaced-1`
    restored `[dir]/vault.db`
    ");

    assert_eq!(sandbox.read("vault.db.replaced-1"), damaged);
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("secrets      2\n");
}

#[test]
fn a_damaged_backup_is_not_reported_as_having_other_keys() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let connection = rusqlite::Connection::open(sandbox.path("copy.db")).unwrap();
    connection.execute_batch("UPDATE vault SET root_seq = root_seq + 1").unwrap();
    drop(connection);
    stderr!(sandbox.run(["restore", "copy.db", "-y"]).fails_with(6), @"
    error: the vault's table of slots, projects and grants is damaged or was tampered with
    hint: run `secrets --vault copy.db verify` for details about the backup; nothing was changed
    ");
}

#[test]
fn a_vault_of_a_later_version_is_left_alone_and_reported() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);

    let before = sandbox.read("vault.db");
    let run = stderr!(sandbox.run(["restore", "copy.db", "-y"]).fails_with(6), @"
    error: the vault has format 99; this version of `secrets` reads formats 1 to 2
    hint: use the version of `secrets` that created it
    ");

    stderr!(run, @"
    error: the vault has format 99; this version of `secrets` reads formats 1 to 2
    hint: use the version of `secrets` that created it
    ");

    assert_eq!(sandbox.read("vault.db"), before);
}

#[test]
fn a_newer_backup_is_not_reported_as_an_earlier_one() {
    let sandbox = sandbox();
    let before = sandbox.read("vault.db");
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    sandbox.run(["backup", "-q", "newer.db"]).succeeds();
    sandbox.write("vault.db", before);

    let run = sandbox.run(["restore", "newer.db", "-y"]).succeeds();
    run.stderr(&format!(
        "the backup contains the same secrets as the vault\nrestored `{}`\n",
        sandbox.vault_path().display()
    ));
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

#[test]
fn restore_keeps_the_vault_if_the_disk_is_too_small() {
    let sandbox = sandbox();
    let Some(small) = too_small(&sandbox) else { return };

    // It is damaged, so a successful restore would keep it next to the vault.
    write_private(&sandbox.path("small/vault.db"), "no vault any more");
    let run = sandbox
        .run(["--vault", "small/vault.db", "restore", "vault.db", "-y"])
        .fails_with(1)
        .stdout("");

    stderr!(run, @"
    warning: the current file is damaged or has another passphrase, so it was not compared; it will be kept under another name
    the backup contains 6 secrets
    error: no space left on the vault's file system; nothing was changed
    ");

    assert_eq!(sandbox.read("small/vault.db"), b"no vault any more");
    assert_eq!(std::fs::read_dir(sandbox.path("small")).unwrap().count(), 1);
    drop(small);
}

#[test]
fn restore_works_without_checkpoints() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    change(&sandbox, "one", "newer");
    let nowhere =
        |arguments: &[&str]| sandbox.command(arguments).env("XDG_STATE_HOME", "/dev/null").run();
    stderr!(nowhere(&["restore", "copy.db", "-y"]).succeeds(), @"
    ~ default/one
    0 added, 0 removed, 1 changed
    restored `[dir]/vault.db`
    ");

    nowhere(&["restore", "--accept", "-y", "-q"]).succeeds();
    assert_eq!(revealed(&sandbox, "one"), b"value one");

    // Directories take the place of the checkpoint files.
    let checkpoints = sandbox.state().join("secrets/anchors");
    for entry in std::fs::read_dir(&checkpoints).unwrap() {
        let path = entry.unwrap().path();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
    }

    stderr!(sandbox.run(["restore", "copy.db", "-y"]).succeeds(), @"
    the backup contains the same secrets as the vault
    restored `[dir]/vault.db`
    ");

    // An agent may remember a state even if no checkpoint was written.
    nowhere(&["unlock", "-q"]).succeeds();
    let bare = |arguments: &[&str]| {
        let command = sandbox.command(arguments).without_env("SECRETS_PASSPHRASE");
        command.env("XDG_STATE_HOME", "/dev/null").run()
    };

    let before = sandbox.read("vault.db");
    bare(&["create", "--tag", "new", "--generate", "-q"]).succeeds();
    bare(&["list"]).succeeds().stdout_has("new");
    sandbox.write("vault.db", before);
    stderr!(bare(&["list"]).fails_with(6), @"
    error: the agent has seen a newer state of project `default`
    hint: put the newest copy back, or accept this older one with `secrets restore --accept`
    hint: if this is the newest copy, stop the agent with `secrets lock`, then run `secrets unlock` again
    ");

    nowhere(&["restore", "--accept", "-y", "-q"]).succeeds();
    stderr!(bare(&["list"]).fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    nowhere(&["lock", "--all", "-q"]).everything();
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let connection = rusqlite::Connection::open(sandbox.path("copy.db")).unwrap();
    connection
        .execute_batch(
            "UPDATE vals SET val = zeroblob(length(val)) WHERE rid = (SELECT max(rid) FROM vals)",
        )
        .unwrap();

    drop(connection);
    let before = sandbox.read("vault.db");
    let run = sandbox.run(["restore", "copy.db", "-y"]).fails_with(6).stdout("");
    run.stderr_has("error: the vault is damaged or was tampered with\n  the value of `")
        .stderr_has("save what can be read of it with `secrets --vault copy.db salvage OUT`");

    let run = sandbox.run(["restore", "none.db", "-y"]).fails_with(3);
    stderr!(run, @"
    error: no vault at `[dir]/none.db`
    hint: choose a copy that `secrets backup` created
    ");

    stderr!(sandbox.run(["restore", "vault.db", "-y"]).fails_with(2), @"
    error: that is the vault itself
    hint: to accept it as it is, run `secrets restore --accept`
    ");

    stderr!(sandbox.run(["restore", "-y"]).fails_with(2), @"
    error: `<PATH>` is missing
    hint: usage: secrets restore [OPTIONS] [PATH]
    ");

    std::fs::set_permissions(sandbox.path("copy.db"), PermissionsExt::from_mode(0o644)).unwrap();
    stderr!(sandbox.run(["restore", "copy.db", "-y"]).fails_with(7), @"
    error: `[dir]/copy.db` can be accessed by other users
    hint: fix it with `chmod 600 [dir]/copy.db`
    ");

    assert_eq!(sandbox.read("vault.db"), before);
}

#[test]
fn restore_makes_the_agent_forget_what_it_saw() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    sandbox.run(["unlock", "-q"]).succeeds();
    let bare =
        |arguments: &[&str]| sandbox.command(arguments).without_env("SECRETS_PASSPHRASE").run();
    bare(&["delete", "one", "-y", "-q"]).succeeds();
    sandbox.run(["restore", "copy.db", "-y", "-q"]).succeeds();
    stderr!(bare(&["list"]).fails_with(5), @"
    error: no passphrase was given and there is no terminal to ask on
    hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
    hint: or unlock the vault for a while with `secrets unlock` on a terminal
    ");

    sandbox.run(["unlock", "-q"]).succeeds();
    bare(&["list"]).succeeds().stdout_has("one");
    bare(&["lock", "--all", "-q"]).succeeds();
    assert!(Locked::open(&sandbox.vault_path()).unwrap().unlock(&passphrase()).is_ok());
}

/// SQLite would replay another file's journal into a new vault of that name.
#[test]
fn no_vault_is_created_next_to_a_journal() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    std::fs::remove_file(sandbox.vault_path()).unwrap();

    for journal in ["vault.db-journal", "vault.db-wal"] {
        sandbox.write(journal, "of a file that is gone");
        let text = format!("error: `{}` already exists\n", sandbox.path(journal).display());
        let init = ["init", "--kdf-memory", "19", "--kdf-iterations", "1"];
        sandbox.run(init).fails_with(4).stdout("").stderr_has(&text);
        sandbox
            .run(["--vault", "copy.db", "backup", "vault.db"])
            .fails_with(4)
            .stdout("")
            .stderr_has(&text);

        let run = sandbox.run(["--vault", "copy.db", "salvage", "vault.db"]).fails_with(4);
        run.stdout("").stderr_has(&text);
        assert!(!sandbox.vault_path().exists());
        std::fs::remove_file(sandbox.path(journal)).unwrap();
    }

    sandbox.write("vault.db-journal", "of a file that is gone");
    let run = sandbox.run(["restore", "copy.db", "-y"]).succeeds();
    run.stderr_has(&format!(
        "warning: the old file was renamed to `{}.replaced-1-journal`\n",
        sandbox.vault_path().display()
    ));

    assert_eq!(names(&sandbox.path("")), ["copy.db", "vault.db", "vault.db.replaced-1-journal"]);
    assert_eq!(revealed(&sandbox, "one"), b"value one");
}

#[test]
fn restore_removes_only_what_the_difference_showed() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let copy = Locked::open(&sandbox.path("copy.db")).unwrap().unlock(&passphrase()).unwrap();
    let present = Locked::open(&sandbox.vault_path()).unwrap();
    let seen = present.fingerprint().unwrap();

    sandbox.vault().create(&project("default"), secret("meanwhile", b"written meanwhile")).unwrap();
    let refused = copy.restore_into(&present, Some(&seen)).err().unwrap();
    assert_eq!(
        (specimen::code(&refused), refused.to_string()),
        (4, "another process changed the vault in the meantime".into())
    );

    assert_eq!(revealed(&sandbox, "meanwhile"), b"written meanwhile");
    copy.restore_into(&present, Some(&present.fingerprint().unwrap())).unwrap();
}

#[test]
fn restore_changes_nothing_if_the_checkpoint_cannot_be_reset() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    change(&sandbox, "one", "a newer value");
    let before = sandbox.read("vault.db");

    // A plain file in the directory's place would count as no checkpoints. Nobody can write to
    // /proc.
    let checkpoints = sandbox.state().join("secrets/anchors");
    std::fs::remove_dir_all(&checkpoints).unwrap();
    std::os::unix::fs::symlink("/proc/self/fdinfo", &checkpoints).unwrap();
    let run = sandbox.run(["restore", "copy.db", "-y"]).fails_with(1);

    run.stdout("").stderr_has("error: cannot write to `");
    assert_eq!(sandbox.read("vault.db"), before);
}
