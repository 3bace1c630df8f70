//! `restore` shows the difference, asks, and replaces the vault without leaving its bytes.

use std::os::unix::fs::PermissionsExt;

use terminal_secrets::store::SqliteStore;
use terminal_secrets::vault::{Locked, RestoreInto};

use crate::support::files::{is_left, names, write_private};
use crate::support::terminal::Terminal;
use crate::support::values::revealed;
use crate::support::{PASSPHRASE, passphrase, project, secret, specimen};

use super::{change, sandbox, too_small};

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
    let into = |seen| RestoreInto { seen: Some(seen), is_trusted: true };

    sandbox.vault().create(&project("default"), secret("meanwhile", b"written meanwhile")).unwrap();
    let store = SqliteStore::open(&sandbox.vault_path()).unwrap();
    let refused = copy.restore_into(&store, into(&seen), false).err().unwrap();
    assert_eq!(
        (specimen::code(&refused), refused.to_string()),
        (4, "another process changed the vault in the meantime".into())
    );

    assert_eq!(revealed(&sandbox, "meanwhile"), b"written meanwhile");
    copy.restore_into(&store, into(&present.fingerprint().unwrap()), false).unwrap();
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
