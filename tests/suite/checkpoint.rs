//! The checkpoint: a vault that does not descend from the state last seen here is refused, and the
//! error names the difference.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use terminal_secrets::crypto::history::Relation;
use terminal_secrets::store::CheckpointStore;
use terminal_secrets::vault::{Divergence, Locked, SecretChanges, Vault, VaultError};

use crate::support::specimen::{Specimen, root};
use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox, passphrase, project, secret, value};

/// A vault with checkpoints that belong to this test.
struct Seen {
    specimen: Specimen,
    state: TempDir,
}

impl Seen {
    fn new() -> Self {
        let seen = Self { specimen: Specimen::new(), state: TempDir::new().unwrap() };
        seen.look().unwrap();
        seen
    }

    fn checkpoints(&self, path: &Path) -> CheckpointStore {
        CheckpointStore::new(&self.state.path().join("anchors"), path).unwrap()
    }

    fn vault(&self) -> Vault {
        let path = self.specimen.path();
        Locked::open(&path).unwrap().with_checkpoints(self.checkpoints(&path)).unlocked(root())
    }

    fn look(&self) -> Result<(), VaultError> {
        self.vault().projects().map(drop)
    }

    fn departure(&self) -> Divergence {
        match self.look() {
            Err(VaultError::Diverged(departure)) => *departure,
            other => panic!("{other:?}"),
        }
    }

    /// Changes secret `one` of project `alpha` `times` times.
    fn change(&self, times: u64) {
        for number in 0..times {
            let changes = SecretChanges {
                value: Some(value(format!("value {number}").as_bytes())),
                ..SecretChanges::default()
            };

            self.vault().update(&project("alpha"), &"one".parse().unwrap(), None, changes).unwrap();
        }
    }

    /// Does the same as somebody without our checkpoint.
    fn change_elsewhere(&self, times: u64) {
        for number in 0..times {
            let changes = SecretChanges {
                value: Some(value(format!("other {number}").as_bytes())),
                ..SecretChanges::default()
            };

            let vault = self.specimen.vault().unwrap();
            vault.update(&project("alpha"), &"one".parse().unwrap(), None, changes).unwrap();
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state.path().join("anchors")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn alpha(departure: &Divergence) -> Option<Relation> {
    let (_, relation) =
        departure.projects.iter().find(|(name, _)| *name == project("alpha")).unwrap();
    *relation
}

#[test]
fn a_rollback_of_any_distance_is_refused() {
    let seen = Seen::new();
    let before = seen.specimen.bytes();
    for by in 1..=50 {
        seen.change(1);
        let after = seen.specimen.bytes();
        seen.specimen.overwrite(&before);
        let departure = seen.departure();

        assert_eq!(
            (alpha(&departure), departure.is_fork()),
            (Some(Relation::Behind(by)), false),
            "{by}"
        );

        // Writing is refused as well.
        let create = seen.vault().create(&project("alpha"), secret("four", b"value"));
        assert!(matches!(create, Err(VaultError::Diverged(_))), "{by}");
        assert_eq!(seen.specimen.bytes(), before, "{by}");
        seen.specimen.overwrite(&after);
        seen.look().unwrap();
    }
}

#[test]
fn a_rollback_of_one_project_is_refused() {
    let seen = Seen::new();
    let old = Specimen::of(&seen.specimen.bytes());
    for by in 1..=50 {
        seen.change(1);
        let after = seen.specimen.bytes();

        // Replace every row of the project with an older copy. The other project and the vault's
        // own rows stay.
        let pid = "(SELECT pid FROM main.records GROUP BY pid HAVING count(*) = 2)";
        seen.specimen.sql(&format!(
            "ATTACH '{}' AS old; CREATE TEMP TABLE which AS SELECT {pid} AS pid; \
             DELETE FROM main.vals WHERE rid IN (SELECT rid FROM main.records WHERE pid = {pid}); \
             INSERT INTO main.vals SELECT * FROM old.vals WHERE rid IN (SELECT rid FROM old.records WHERE pid = {pid}); \
             DELETE FROM main.records WHERE pid = (SELECT pid FROM which); \
             INSERT INTO main.records SELECT * FROM old.records WHERE pid = (SELECT pid FROM which); \
             DELETE FROM main.buckets WHERE pid = (SELECT pid FROM which); \
             INSERT INTO main.buckets SELECT * FROM old.buckets WHERE pid = (SELECT pid FROM which); \
             REPLACE INTO main.projects SELECT * FROM old.projects WHERE pid = (SELECT pid FROM which);",
            old.path().display()
        ));

        // The file itself is valid. Without a checkpoint it would be accepted.
        assert!(seen.specimen.vault().unwrap().verify(&|_| {}).unwrap().damage.is_empty());
        let departure = seen.departure();
        assert_eq!(
            (departure.vault, alpha(&departure)),
            (Some(Relation::Equal), Some(Relation::Behind(by))),
            "{by}"
        );

        assert_eq!(departure.projects.len(), 1);
        seen.specimen.overwrite(&after);
    }
}

#[test]
fn a_fork_is_distinguished_from_a_rollback() {
    let seen = Seen::new();
    let common = seen.specimen.bytes();
    let [file] = &seen.files()[..] else { panic!("one file") };
    let grown = |change: &dyn Fn()| -> Vec<_> {
        seen.specimen.overwrite(&common);
        let step = |_| {
            change();
            (seen.specimen.bytes(), fs::read(file).unwrap())
        };

        (0..25).map(step).collect()
    };

    let theirs = grown(&|| seen.change_elsewhere(1));
    let ours = grown(&|| seen.change(1));
    for (at, (_, memory)) in ours.iter().enumerate() {
        for (vault, _) in [&theirs[0], &theirs[at], &theirs[24]] {
            fs::write(file, memory).unwrap();
            seen.specimen.overwrite(vault);
            let found = seen.departure();
            assert!(found.is_fork() && alpha(&found) == Some(Relation::Diverged), "{at}");
        }
    }
}

#[test]
fn a_revision_beyond_the_known_ancestors_is_accepted() {
    let seen = Seen::new();
    let common = seen.specimen.bytes();
    seen.change(3);
    seen.specimen.overwrite(&common);

    // A revision names 32 ancestors. Their 36th revision no longer names their third, so a fork at
    // our third cannot be recognized.
    seen.change_elsewhere(35);
    assert!(seen.departure().is_fork());
    seen.change_elsewhere(1);
    seen.look().unwrap();
}

#[test]
fn a_later_revision_of_any_distance_is_accepted() {
    for by in [1, 2, 31, 32, 33, 80] {
        let seen = Seen::new();
        seen.change_elsewhere(by);
        seen.look().unwrap();
        assert_eq!(seen.files().len(), 1);
    }
}

#[test]
fn projects_may_be_created_and_deleted() {
    let seen = Seen::new();
    let elsewhere = || seen.specimen.vault().unwrap();
    elsewhere().create(&project("gamma"), secret("key", b"value")).unwrap();
    seen.look().unwrap();

    let with_gamma = seen.specimen.bytes();
    elsewhere().delete_projects(&[project("alpha"), project("gamma")]).unwrap();
    seen.look().unwrap();

    // A deleted project comes back with an old copy.
    seen.specimen.overwrite(&with_gamma);
    let departure = seen.departure();
    assert_eq!(departure.vault, Some(Relation::Behind(1)));
    assert!(departure.projects.is_empty(), "{departure:?}");

    // A project that was created here is missing in a copy that diverged.
    let seen = Seen::new();
    let before = seen.specimen.bytes();
    seen.vault().create(&project("gamma"), secret("key", b"value")).unwrap();
    seen.specimen.overwrite(&before);
    seen.specimen.vault().unwrap().create(&project("delta"), secret("key", b"value")).unwrap();

    let departure = seen.departure();
    assert_eq!((departure.vault, departure.is_fork()), (Some(Relation::Diverged), true));
    assert_eq!(departure.projects, [(project("gamma"), None)]);
}

#[test]
fn keys_changed_elsewhere_are_accepted_and_old_ones_are_not() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
    let before = sandbox.read("vault.db");

    // Another machine, with its own checkpoints, changed the keys.
    let elsewhere = TempDir::new().unwrap();
    let run = sandbox.command(["rekey", "-y", "-q"]).env("XDG_STATE_HOME", elsewhere.path()).run();
    run.succeeds();
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
    sandbox.write("vault.db", &before);

    let text = "error: the vault has different keys than at its last checkpoint here, or that \
                checkpoint is damaged\n";
    sandbox.run(["list"]).fails_with(6).stdout("").stderr_has(text);

    // Further changes under the old keys do not help an attacker.
    for number in 0..5 {
        let name = project(&format!("project-{number}"));
        sandbox.vault().create(&name, secret("key", b"planted")).unwrap();
    }

    sandbox.run(["list"]).fails_with(6).stdout("").stderr_has(text);
}

#[test]
fn several_key_changes_elsewhere_are_accepted() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let elsewhere = TempDir::new().unwrap();
    let rekey = |times: usize| {
        for _ in 0..times {
            sandbox
                .command(["rekey", "-y", "-q"])
                .env("XDG_STATE_HOME", elsewhere.path())
                .run()
                .succeeds();
        }
    };

    for times in [0, 1, 8] {
        rekey(times);
        sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
    }

    rekey(9);
    stderr!(sandbox.run(["list"]).fails_with(6), @"
    error: the vault has different keys than at its last checkpoint here, or that checkpoint is damaged
    hint: put the right file back, or restore a backup with `secrets restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets restore --accept`
    ");

    sandbox.run(["restore", "--accept", "-y", "-q"]).succeeds();
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
}

#[test]
fn a_copy_at_another_path_has_its_own_checkpoint() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
    fs::copy(sandbox.vault_path(), sandbox.path("copy.db")).unwrap();
    sandbox.command(["update", "key", "-q"]).stdin("another value").run().succeeds();

    // Looking at an older copy is not a rollback.
    let newer = format!(
        "warning: this copy is older than the vault that was used at `{}`\n",
        sandbox.vault_path().display()
    );

    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("key").stderr(&newer);
    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("key");
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");

    // The rollback is noticed even if a link leads to the directory.
    std::os::unix::fs::symlink(sandbox.path(""), sandbox.path("link")).unwrap();
    fs::copy(sandbox.path("copy.db"), sandbox.vault_path()).unwrap();
    stderr!(sandbox.run(["--vault", "link/vault.db", "list"]).fails_with(6), @"
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: put the right file back, or restore a backup with `secrets --vault link/vault.db restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets --vault link/vault.db restore --accept`
    ");
}

#[test]
fn a_link_that_leads_to_an_older_copy_is_refused() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let (old, new) = (sandbox.path("vault.old"), sandbox.path("vault"));
    for directory in [&old, &new] {
        fs::create_dir(directory).unwrap();
        fs::copy(sandbox.vault_path(), directory.join("v.db")).unwrap();
    }

    let on = |line: &[&str]| sandbox.run([&["--vault", "vault/v.db"][..], line].concat());
    on(&["create", "--tag", "new", "--generate", "-q"]).succeeds();

    // The typed path is the same as before. The canonical path was never seen.
    fs::rename(&new, sandbox.path("current")).unwrap();
    std::os::unix::fs::symlink("vault.old", &new).unwrap();
    for line in [&["list"][..], &["get", "key"], &["create", "--tag", "x", "--generate"]] {
        stderr!(on(line).fails_with(6).stdout(""), @"
        error: the vault was rolled back to a state before its last checkpoint here
          project `default`: 1 change behind
        hint: put the right file back, or restore a backup with `secrets --vault vault/v.db restore PATH`; nothing was used
        hint: if you want this state, accept it with `secrets --vault vault/v.db restore --accept`
        ");
    }

    // The same holds for a link that existed from the start and now leads elsewhere.
    fs::remove_file(&new).unwrap();
    std::os::unix::fs::symlink("current", &new).unwrap();
    on(&["list", "-q"]).succeeds().stdout_has("new");
    fs::remove_file(&new).unwrap();
    std::os::unix::fs::symlink("vault.old", &new).unwrap();
    stderr!(on(&["list"]).fails_with(6).stdout(""), @"
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: put the right file back, or restore a backup with `secrets --vault vault/v.db restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets --vault vault/v.db restore --accept`
    ");

    on(&["restore", "--accept", "-y", "-q"]).succeeds();
    on(&["list", "-q"]).succeeds().stdout_has("key");
}

#[test]
fn a_fork_is_a_warning_at_a_new_path_and_refused_at_a_known_one() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
    fs::copy(sandbox.vault_path(), sandbox.path("copy.db")).unwrap();
    fs::copy(sandbox.vault_path(), sandbox.path("same.db")).unwrap();
    Locked::open(&sandbox.path("copy.db"))
        .unwrap()
        .unlock(&passphrase())
        .unwrap()
        .create(&project("default"), secret("theirs", b"value"))
        .unwrap();

    // A copy with the same state is not reported.
    sandbox.run(["--vault", "same.db", "list", "-q"]).succeeds().stdout_has("key");
    sandbox.run(["create", "--tag", "ours", "--generate", "-q"]).succeeds();

    let text = format!(
        "warning: this copy has diverged from the vault that was used at `{}`\n",
        sandbox.vault_path().display()
    );

    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("theirs").stderr(&text);
    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("theirs");
    sandbox.run(["list", "-q"]).succeeds().stdout_has("ours");
    fs::copy(sandbox.path("copy.db"), sandbox.vault_path()).unwrap();
    stderr!(sandbox.run(["list"]).fails_with(6).stdout(""), @"
    error: the vault has diverged from its last checkpoint here
      project `default`: diverged
    hint: put the right file back, or restore a backup with `secrets restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets restore --accept`
    ");
}

#[test]
fn a_copy_from_before_rekey_is_a_warning_at_a_new_path() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    fs::copy(sandbox.vault_path(), sandbox.path("copy.db")).unwrap();
    sandbox.run(["rekey", "-y", "-q"]).succeeds();
    let text = "warning: this vault was used at another path with different keys; this copy may be older\n";

    sandbox.run(["--vault", "copy.db", "list", "-q"]).succeeds().stdout_has("key").stderr(text);
    sandbox.run(["list", "-q"]).succeeds().stdout_has("key");
}

#[test]
fn commands_work_without_a_state_directory() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let list = |state: &str| sandbox.command(["list", "-q"]).env("XDG_STATE_HOME", state).run();
    sandbox.write("file", "no directory");
    for state in [sandbox.path("file"), "/proc/no/such".into(), "/dev/null".into()] {
        list(state.to_str().unwrap()).succeeds().stdout_has("key");
    }

    // A relative path is ignored, as the XDG specification requires, and the default is used.
    list("relative").succeeds().stdout_has("key");
    assert!(!sandbox.path("relative").exists());
    assert!(sandbox.path(".local/state/secrets/anchors").exists());
}

#[test]
fn a_checkpoint_is_private_and_reveals_nothing() {
    let sandbox = Sandbox::with_secrets(&[("a-telling-tag", "value")]);
    sandbox.run(["-p", "default", "list", "-q"]).succeeds().stdout_has("a-telling-tag");
    let directory = sandbox.state().join("secrets/anchors");
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o7777, 0o700);

    let files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let bytes = fs::read(&files[0]).unwrap();

    for word in ["default", "telling", "vault.db", "secrets"] {
        assert!(memchr::memmem::find(&bytes, word.as_bytes()).is_none(), "{word}");
    }
}

#[test]
fn a_garbled_checkpoint_is_refused_and_an_empty_one_counts_as_missing() {
    let seen = Seen::new();
    let [file] = &seen.files()[..] else { panic!("one file") };
    let whole = fs::read(file).unwrap();

    for at in (0..whole.len()).step_by(41) {
        let mut garbled = whole.clone();
        garbled[at] ^= 1;
        fs::write(file, &garbled).unwrap();
        assert_eq!(seen.departure().vault, None, "{at}");
    }

    // After a power cut the file may be empty or missing.
    fs::write(file, "").unwrap();
    seen.look().unwrap();
    assert_eq!(fs::read(file).unwrap().len(), whole.len());
    fs::remove_file(file).unwrap();
    seen.look().unwrap();
}

#[test]
fn a_checkpoint_of_another_vault_or_path_is_refused() {
    let (one, other) = (Seen::new(), Seen::new());
    other.change(3);
    let ([mine], [theirs]) = (&one.files()[..], &other.files()[..]) else {
        panic!("one file each")
    };

    // The vault id and the root key are the same, but the path differs.
    fs::copy(theirs, mine).unwrap();
    assert!(matches!(one.look(), Err(VaultError::Diverged(_))));
}

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

    for line in [
        &["list"][..],
        &["get", "key"],
        &["render", "-e", "{{ KEY }}"],
        &["unlock"],
        &["rekey", "-y"],
    ] {
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

    // An unchanged project is refused as well, because the vault is checked as a whole.
    sandbox.run(["-p", "web", "list"]).fails_with(6).stderr(text);
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
        .execute_batch("UPDATE vals SET val = x'00'")
        .unwrap();

    stderr!(sandbox.run(["restore", "--accept", "-y"]).fails_with(6), @"
    error: the vault is damaged or was tampered with
      the value of `key` of project `default`
    hint: save what can be read into a new vault with `secrets salvage OUT`
    ");
}

#[test]
fn a_checkpoint_replaces_anything_that_is_not_a_file() {
    let seen = Seen::new();
    let [file] = &seen.files()[..] else { panic!("one file") };
    fs::remove_file(file).unwrap();
    fs::create_dir(file).unwrap();
    seen.look().unwrap();
    assert!(file.metadata().unwrap().is_file());
    fs::remove_file(file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    seen.look().unwrap();
    assert!(file.metadata().unwrap().is_file());
}

#[test]
fn verify_reports_that_no_checkpoint_can_be_stored() {
    let sandbox = Sandbox::with_secrets(&[("one", "value one")]);
    let checkpoints = sandbox.state().join("secrets/anchors");
    fs::create_dir_all(checkpoints.parent().unwrap()).unwrap();
    fs::write(&checkpoints, "").unwrap();
    sandbox.run(["list", "-q"]).succeeds().stdout_has("one");

    let text = format!(
        "the vault is intact\nwarning: cannot write the vault's checkpoint in `{}`: a rollback \
         would not be detected\n",
        checkpoints.display()
    );

    sandbox.run(["verify"]).succeeds().stdout_has("secrets      1\n").stderr(&text);
    fs::remove_file(&checkpoints).unwrap();
    stderr!(sandbox.run(["verify"]).succeeds().stdout_has("secrets      1\n"), @"the vault is intact");

    // An unreadable checkpoint does not disable the check.
    let [file] =
        &fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
            [..]
    else {
        panic!("one file")
    };

    fs::remove_file(file).unwrap();
    std::os::unix::fs::symlink(file, file).unwrap();
    let run = sandbox
        .run(["list"])
        .fails_with(1)
        .stderr_has("error: cannot read the vault's checkpoint `");

    run.stderr_has("\nhint: fix or delete that file; deleting it skips rollback detection once\n");
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
