//! A rollback is refused at any distance, and a later revision is accepted.

use std::fs;

use tempfile::TempDir;
use terminal_secrets::crypto::history::Relation;
use terminal_secrets::vault::{Divergence, VaultError};

use crate::support::specimen::Specimen;
use crate::support::{Sandbox, project, secret};

use super::Seen;

fn alpha(departure: &Divergence) -> Relation {
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

        assert_eq!((alpha(&departure), departure.is_fork()), (Relation::Behind(by), false), "{by}");

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
        let pid = "(SELECT pid FROM main.records WHERE pid <> zeroblob(16) GROUP BY pid HAVING count(*) = 2)";
        seen.specimen.sql(&format!(
            "ATTACH '{}' AS old; CREATE TEMP TABLE which AS SELECT {pid} AS pid; \
             DELETE FROM main.vals WHERE rid IN (SELECT rid FROM main.records WHERE pid = {pid}); \
             INSERT INTO main.vals SELECT * FROM old.vals WHERE rid IN (SELECT rid FROM old.records WHERE pid = {pid}); \
             DELETE FROM main.records WHERE pid = (SELECT pid FROM which); \
             INSERT INTO main.records SELECT * FROM old.records WHERE pid = (SELECT pid FROM which); \
             DELETE FROM main.buckets WHERE pid = (SELECT pid FROM which); \
             INSERT INTO main.buckets SELECT * FROM old.buckets WHERE pid = (SELECT pid FROM which); \
             DELETE FROM main.audit WHERE pid = (SELECT pid FROM which); \
             INSERT INTO main.audit SELECT * FROM old.audit WHERE pid = (SELECT pid FROM which); \
             REPLACE INTO main.projects SELECT * FROM old.projects WHERE pid = (SELECT pid FROM which);",
            old.path().display()
        ));

        // The file itself is valid. Without a checkpoint it would be accepted.
        assert!(seen.specimen.vault().unwrap().verify(&|_| {}).unwrap().damage.is_empty());
        let departure = seen.departure();
        assert_eq!(
            (departure.vault, alpha(&departure)),
            (Some(Relation::Equal), Relation::Behind(by)),
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
    let file = &seen.file_of(&seen.alpha());
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
            assert!(found.is_fork() && alpha(&found) == Relation::Diverged, "{at}");
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
        assert_eq!(seen.files().len(), 3);
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

    // A project was created here, and another one in a copy.
    let seen = Seen::new();
    let before = seen.specimen.bytes();
    seen.vault().create(&project("gamma"), secret("key", b"value")).unwrap();
    seen.specimen.overwrite(&before);
    seen.specimen.vault().unwrap().create(&project("delta"), secret("key", b"value")).unwrap();

    let departure = seen.departure();
    assert_eq!((departure.vault, departure.is_fork()), (Some(Relation::Diverged), true));
    assert_eq!(departure.projects, []);
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
