//! `secrets compact` overwrites deleted bytes, needs no passphrase and loses nothing.

use crate::support::values::revealed;
use crate::support::{Run, Sandbox};

#[test]
fn compact_needs_no_passphrase() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let run = sandbox.command(["compact"]).without_env("SECRETS_PASSPHRASE").run();
    stderr!(run.succeeds().stdout(""), @"compacted the vault");
    assert_eq!(revealed(&sandbox, "key"), b"value");
    sandbox.run(["compact", "-q"]).succeeds().stdout("").stderr("");
}

#[test]
fn compact_frees_deleted_space() {
    let sandbox = Sandbox::with_secrets(&[("small", "value")]);
    let least = sandbox.vault_path().metadata().unwrap().len();
    for number in 0..9 {
        let tag = format!("large-{number}");
        sandbox
            .command(["create", "--tag", &tag, "-q"])
            .stdin(vec![b'x'; 1024 * 1024])
            .run()
            .succeeds();
    }

    let tags: Vec<String> = (0..9).map(|number| format!("large-{number}")).collect();

    // This amount of dead bytes is not overwritten immediately. The warning appears even with `-q`.
    let run =
        sandbox.run(["delete", "-y", "-q"].iter().copied().chain(tags.iter().map(String::as_str)));
    stderr!(run.succeeds(), @"warning: deleted bytes are still in the vault's file; overwrite them with `secrets compact`");
    assert!(sandbox.vault_path().metadata().unwrap().len() > 9 * 1024 * 1024);
    stderr!(sandbox.run(["compact"]).succeeds(), @"compacted the vault");
    assert!(sandbox.vault_path().metadata().unwrap().len() <= 2 * least);
    assert_eq!(revealed(&sandbox, "small"), b"value");
}

/// A VACUUM takes longer the larger the file is: a larger one waits until somebody asks for it.
#[test]
fn a_vault_of_up_to_a_mebibyte_is_compacted_with_every_change() {
    let sandbox = Sandbox::with_secrets(&[("small", "value")]);
    let (mark, size) =
        (sandbox.path("vault.db-compact"), || sandbox.vault_path().metadata().unwrap().len());
    let large = |tag: &str| {
        sandbox
            .command(["create", "--tag", tag, "-q"])
            .stdin(vec![b'x'; 470 * 1024])
            .run()
            .succeeds();
    };

    let is_due = |run: Run| {
        stderr!(run.succeeds(), @"warning: deleted bytes are still in the vault's file; overwrite them with `secrets compact`");
        assert!(mark.exists());
    };

    let update = || sandbox.command(["update", "small", "-q"]).stdin("other").run();
    let is_done = |run: Run| {
        run.succeeds().stderr("");
        assert!(!mark.exists());
    };

    large("one");
    is_done(update());
    large("two");
    assert!(
        (960 * 1024..=1024 * 1024).contains(&size()),
        "{} bytes, too far from 1 MiB for this test",
        size()
    );

    is_done(update());
    large("three");
    is_due(update());
    is_due(update());
    is_done(sandbox.run(["compact", "-q"]));
    assert!(size() > 1024 * 1024);

    is_due(sandbox.run(["delete", "three", "-y", "-q"]));
    is_done(sandbox.run(["compact", "-q"]));
    is_done(update());
}

#[test]
fn compact_creates_no_vault() {
    let sandbox = Sandbox::empty();
    let output = sandbox.run(["compact"]).fails_with(3).stdout("");
    stderr!(output, @"
    error: no vault at `[dir]/vault.db`
    hint: create one with `secrets init`, or restore a backup with `secrets restore PATH`
    ");

    assert!(!sandbox.vault_path().exists());
}

#[test]
fn compact_leaves_another_program_s_database_alone() {
    let sandbox = Sandbox::empty();
    let connection = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
    connection.execute_batch("CREATE TABLE notes(text); INSERT INTO notes VALUES('mine')").unwrap();
    drop(connection);
    std::process::Command::new("chmod").arg("600").arg(sandbox.vault_path()).status().unwrap();

    let before = sandbox.read("vault.db");
    stderr!(sandbox.run(["compact"]).fails_with(6).stdout(""), @"
    error: `[dir]/vault.db` is not a vault
    hint: set the vault's path with `--vault PATH` or SECRETS_VAULT
    hint: if it was a vault, restore a backup with `secrets restore PATH`; the damaged file is kept next to it
    ");

    assert_eq!(sandbox.read("vault.db"), before);
}
