//! A backup with other keys, of another time, or with damage is recognized.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::files::{names, passphrase_file};
use crate::support::values::{NEW_PASSPHRASE, revealed};

use super::sandbox;

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
fn restore_keeps_a_damaged_vault() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    connection
        .execute_batch(
            "DELETE FROM vals WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
        )
        .unwrap();
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
    connection.execute_batch("UPDATE vault SET past = zeroblob(136)").unwrap();
    drop(connection);
    stderr!(sandbox.run(["restore", "copy.db", "-y"]).fails_with(6), @"
    error: the vault's table of key slots is damaged or was tampered with
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
    error: the vault has format 99; this version of `secrets` reads format 3
    hint: use the version of `secrets` that created it
    ");

    stderr!(run, @"
    error: the vault has format 99; this version of `secrets` reads format 3
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
fn a_damaged_backup_changes_nothing() {
    let sandbox = sandbox();
    sandbox.run(["backup", "-q", "copy.db"]).succeeds();
    let connection = rusqlite::Connection::open(sandbox.path("copy.db")).unwrap();
    connection
        .execute_batch(
            "UPDATE vals SET val = zeroblob(length(val)) WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
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
