//! `salvage` saves every secret that can be read into a new vault.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use terminal_secrets::vault::Locked;

use crate::support::files::passphrase_file;
use crate::support::passphrase;
use crate::support::values::{NEW_PASSPHRASE, recovery_code};

use super::{sandbox, sql};

#[test]
fn readable_secrets_are_saved_with_ids_and_times() {
    let sandbox = sandbox();
    let before = sandbox.vault().list(None, |_| true).unwrap();
    let one =
        before.iter().find(|secret| secret.metadata.tag.as_str() == "one").unwrap().id.to_string();
    sql(
        &sandbox,
        &format!("UPDATE vals SET val = zeroblob(length(val)) WHERE rid = x'{}'", &one[2..]),
    );

    let damaged = sandbox.read("vault.db");
    stderr!(sandbox.run(["salvage", "out.db"]).fails_with(6).stdout(""), @"
    saved 41 secrets into `out.db`
    to use it as the vault, run `secrets restore out.db`, which keeps the damaged file
    error: 1 secret could not be read
      the value of `one` of project `default`
    hint: use `out.db`, which contains what could be read
    ");

    assert_eq!(sandbox.read("vault.db"), damaged);
    assert_eq!(sandbox.path("out.db").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let saved = Locked::open(&sandbox.path("out.db")).unwrap().unlock(&passphrase()).unwrap();
    let after = saved.list(None, |_| true).unwrap();
    let kept: Vec<_> = before.iter().filter(|secret| secret.id.to_string() != one).collect();
    let same =
        |one: &terminal_secrets::model::Secret| (one.id, one.project.clone(), one.metadata.clone());
    assert_eq!(
        after.iter().map(same).collect::<Vec<_>>(),
        kept.into_iter().map(same).collect::<Vec<_>>()
    );

    let run = sandbox.run(["--vault", "out.db", "-p", "web", "render", "-e", "{{ KEY_7 }}"]);
    run.succeeds().stdout("web value 7");

    // No file is overwritten.
    stderr!(sandbox.run(["salvage", "out.db"]).fails_with(4), @"
    error: `[dir]/out.db` already exists
    hint: choose a file that does not exist
    ");

    // The command from the hint works.
    stderr!(sandbox.run(["restore", "out.db", "-y", "-q"]).succeeds(), @"
    warning: the backup is a different vault from the current one, for example one created by `salvage`
    warning: the current file is damaged or has another passphrase, so it was not compared; it will be kept under another name
    warning: the old file was renamed to `[dir]/vault.db.replaced-1`
    ");

    sandbox.run(["-p", "web", "render", "-e", "{{ KEY_7 }}"]).succeeds().stdout("web value 7");
    assert_eq!(sandbox.read("vault.db.replaced-1"), damaged);
}

#[test]
fn secrets_that_cannot_be_verified_are_named() {
    let sandbox = sandbox();
    sql(
        &sandbox,
        "UPDATE projects SET head = zeroblob(length(head)) WHERE pid IN (SELECT pid FROM records \
         WHERE pid <> zeroblob(16) GROUP BY pid HAVING count(*) = 2)",
    );

    let run = sandbox.run(["salvage", "out.db", "--json"]).fails_with(6);
    let (code, stdout, stderr) = run.everything();
    assert_eq!(code, Some(6));
    let found: serde_json::Value = serde_json::from_slice(&stdout).unwrap();

    assert_eq!(
        (found["saved"].as_u64(), found["damage"].as_array().map(Vec::len)),
        (Some(42), Some(1))
    );

    let mut tags: Vec<_> =
        found["unproven"].as_array().unwrap().iter().map(|one| one["tag"].to_string()).collect();
    tags.sort();
    assert_eq!(tags, ["\"one\"", "\"two\""]);
    let text = "the vault is damaged, but every secret that was found could be read";

    assert!(stderr.contains(text), "{stderr}");
    let run = sandbox.run(["salvage", "again.db"]).fails_with(6);
    run.stderr_has(
        "warning: `one` of project `default` is genuine, but may not be the latest \
                    version\n",
    );
}

#[test]
fn salvage_creates_no_file_if_nothing_can_be_read() {
    let sandbox = sandbox();
    sql(&sandbox, "DELETE FROM vals");
    let output = sandbox.run(["salvage", "out.db"]).fails_with(6).stdout("");
    stderr!(output, @"
    error: no secret in the vault can be read
      the vault's list of projects
      a project that is not in the vault's list of projects
    hint: restore a backup with `secrets restore PATH`; nothing was written
    ");

    assert!(!sandbox.path("out.db").exists());
    let left: Vec<_> = std::fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();

    assert_eq!(left, ["vault.db"]);
}

#[test]
fn salvage_reports_a_rollback() {
    let sandbox = sandbox();
    sandbox.run(["list", "-q"]).succeeds().stdout_has("one");
    let before = sandbox.read("vault.db");
    sandbox.command(["update", "one", "-q"]).stdin("a newer value").run().succeeds();
    sandbox.write("vault.db", before);
    stderr!(sandbox.run(["salvage", "out.db"]).fails_with(6).stdout(""), @"
    saved 42 secrets into `out.db`
    to use it as the vault, run `secrets restore out.db`
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: use `out.db`, which contains what could be read
    ");

    // Additional damage is reported as well.
    sql(
        &sandbox,
        "DELETE FROM vals WHERE rid = (SELECT max(rid) FROM records WHERE pid <> zeroblob(16))",
    );
    let run = sandbox.run(["salvage", "another.db"]).fails_with(6);
    run.stderr_has(
        "project `default`: 1 change behind\n1 secret could not be read\n  the value of ",
    );
}

#[test]
fn two_projects_of_one_name_are_both_saved() {
    let sandbox = sandbox();
    std::fs::copy(sandbox.vault_path(), sandbox.path("old.db")).unwrap();
    sandbox.run(["project", "rename", "default", "before", "-q"]).succeeds();
    sandbox
        .command(["-p", "default", "create", "--tag", "one", "-q"])
        .stdin("another one")
        .run()
        .succeeds();

    // The entry from before the renaming comes back, at an index that is free.
    let renamed = "(SELECT n.rid FROM main.records n JOIN old.records o USING(rid) WHERE n.pid = \
                   zeroblob(16) AND n.ver <> o.ver)";
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    connection
        .execute_batch(&format!(
            "ATTACH '{}' AS old; CREATE TEMP TABLE which AS SELECT {renamed} AS rid; \
             DELETE FROM main.records WHERE rid = (SELECT rid FROM which); \
             INSERT INTO main.records SELECT pid, randomblob(16), rid, epoch, ver, vver, val_hash, leaf, meta \
             FROM old.records WHERE rid = (SELECT rid FROM which); \
             REPLACE INTO main.vals SELECT * FROM old.vals WHERE rid = (SELECT rid FROM which)",
            sandbox.path("old.db").display()
        ))
        .unwrap();

    drop(connection);
    std::fs::remove_file(sandbox.path("old.db")).unwrap();
    let run = stderr!(sandbox.run(["salvage", "out.db"]).fails_with(6), @"
    saved 43 secrets into `out.db`
    to use it as the vault, run `secrets restore out.db`, which keeps the damaged file
    error: the vault is damaged, but every secret that was found could be read
      the vault's list of projects
    hint: use `out.db`, which contains what could be read
    ");

    stderr!(run, @"
    saved 43 secrets into `out.db`
    to use it as the vault, run `secrets restore out.db`, which keeps the damaged file
    error: the vault is damaged, but every secret that was found could be read
      the vault's list of projects
    hint: use `out.db`, which contains what could be read
    ");

    let mut values: Vec<Vec<u8>> = ["default", "default-2"]
        .map(|project| {
            let line = ["--vault", "out.db", "-p", project, "render", "-e", "{{ ONE }}"];
            sandbox.run(line).succeeds().bytes()
        })
        .into();

    values.sort();
    assert_eq!(values, [b"another one".to_vec(), b"value one".to_vec()]);
}

#[test]
fn with_the_recovery_code_the_new_vault_gets_its_own_passphrase() {
    let sandbox = sandbox();
    recovery_code(&sandbox, &[]);
    passphrase_file(&sandbox, "new", NEW_PASSPHRASE);
    let line = ["salvage", "out.db", "--recovery", "--passphrase-file", "code"];
    let run = sandbox.run(line).fails_with(5);

    stderr!(run, @"
    error: no new passphrase was given and there is no terminal to ask on
    hint: use `--new-passphrase-file PATH`
    ");

    sandbox
        .run([&line[..], &["--new-passphrase-file", "new", "-q"]].concat())
        .succeeds()
        .stdout("");

    sandbox
        .run(["--vault", "out.db", "list", "-q", "--passphrase-file", "new"])
        .succeeds()
        .stdout_has("one");
}
