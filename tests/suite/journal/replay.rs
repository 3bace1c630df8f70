//! Our own journal is replayed, and the earlier state is kept until the vault was checked.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use terminal_secrets::store::StoreError;
use terminal_secrets::vault::{Locked, VaultError};

use crate::support::files::{names, write_private};
use crate::support::specimen::Specimen;
use crate::support::values::reveal;
use crate::support::{Sandbox, project, secret};

use super::{MAGIC, SECTOR, header, journal_of, next_to};

/// Returns a vault in its state after `changes` changes, and its bytes from before them.
fn changed(changes: usize) -> (Specimen, Vec<u8>) {
    let specimen = Specimen::new();
    let before = specimen.bytes();
    for number in 0..changes {
        specimen
            .vault()
            .unwrap()
            .create(&project("alpha"), secret(&format!("new-{number}"), b"value"))
            .unwrap();
    }

    (specimen, before)
}

#[test]
fn our_own_journal_is_replayed_and_the_earlier_state_kept_until_the_check() {
    let (specimen, before) = changed(1);
    let after = specimen.bytes();
    let journal = journal_of(&before);
    write_private(&next_to(&specimen.path(), "-journal"), &journal);

    let locked = Locked::open(&specimen.path()).unwrap();
    let kept = names(specimen.directory());
    assert_eq!(kept, ["vault.db", "vault.db.before-recovery", "vault.db.before-recovery.journal"]);
    assert!(specimen.bytes() == before, "the interrupted change was not rolled back");

    let copy = next_to(&specimen.path(), ".before-recovery");
    assert!(fs::read(&copy).unwrap() == after);
    assert!(fs::read(next_to(&copy, ".journal")).unwrap() == journal);
    assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o600);
    drop(locked);

    // Opening the vault without a key leaves them in place.
    Locked::open(&specimen.path()).unwrap().vault_id().unwrap();
    assert_eq!(names(specimen.directory()), kept);
    let vault = specimen.vault().unwrap();
    assert!(reveal(&vault, "alpha", "new-0").unwrap().is_none());
    assert_eq!(names(specimen.directory()), ["vault.db"]);
}

#[test]
fn copies_of_an_earlier_journal_are_replaced() {
    let (specimen, before) = changed(1);
    let (after, journal) = (specimen.bytes(), journal_of(&before));
    let copy = next_to(&specimen.path(), ".before-recovery");

    for old in [b"the journal of another change".to_vec(), vec![7; journal.len()]] {
        write_private(&specimen.path(), &after);
        write_private(&next_to(&specimen.path(), "-journal"), &journal);

        // A power cut brought these files back.
        write_private(&copy, b"another state");
        write_private(&next_to(&copy, ".journal"), &old);
        drop(Locked::open(&specimen.path()).unwrap());
        assert!(
            fs::read(&copy).unwrap() == after
                && fs::read(next_to(&copy, ".journal")).unwrap() == journal
        );
    }
}

#[test]
fn a_journal_for_another_state_is_refused_and_changes_nothing() {
    let (specimen, before) = changed(2);
    let good = specimen.bytes();
    let page_size = u32::from(u16::from_be_bytes([good[16], good[17]]));
    let last = Specimen::of(&before);

    last.vault().unwrap().create(&project("alpha"), secret("new-0", b"value")).unwrap();
    let recent = journal_of(&last.bytes());

    let mut other_page = recent.clone();
    other_page[SECTOR..SECTOR + 4].copy_from_slice(&7_u32.to_be_bytes());
    let mut wrong_sum = recent.clone();
    wrong_sum[SECTOR + 4 + page_size as usize] ^= 1;

    let mut other_database = recent.clone();
    other_database[SECTOR + 4 + 68] ^= 1;

    // The journal of a change to several files names another file at its end.
    let super_journal = [
        &recent[..],
        &1_u32.to_be_bytes(),
        b"x",
        &1_u32.to_be_bytes(),
        &120_u32.to_be_bytes(),
        &MAGIC,
    ];

    let cases = [
        ("two changes ago", journal_of(&before)),
        ("cuts the file", header(0, 1, page_size)),
        ("no page", recent[..SECTOR].to_vec()),
        ("no first page", other_page),
        ("a wrong checksum", wrong_sum),
        ("of another database", other_database),
        ("of another page size", header(0, 1, page_size / 2)),
        ("several files", super_journal.concat()),
        ("a text", b"the notes of somebody".to_vec()),
    ];

    for (name, bytes) in cases {
        write_private(&next_to(&specimen.path(), "-journal"), &bytes);
        let opened = Locked::open(&specimen.path()).map(drop);
        assert!(
            matches!(opened, Err(VaultError::Store(StoreError::ForeignJournal(_)))),
            "{name}: {opened:?}"
        );

        assert!(specimen.bytes() == good, "{name}: the vault was changed");
        assert_eq!(names(specimen.directory()), ["vault.db", "vault.db-journal"], "{name}");
    }

    // A journal of zeros belongs to a writer that was killed early. SQLite does not replay it.
    write_private(&next_to(&specimen.path(), "-journal"), [0; SECTOR]);
    assert!(reveal(&specimen.vault().unwrap(), "alpha", "new-1").unwrap().is_some());
}

#[test]
fn a_journal_of_a_running_writer_is_accepted() {
    let specimen = Specimen::new();
    let writer = specimen.connection();
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE vals SET val = zeroblob(9)").unwrap();
    assert!(next_to(&specimen.path(), "-journal").exists());

    let vault = specimen.vault().unwrap();
    assert!(reveal(&vault, "alpha", "two").unwrap().is_some());
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(names(specimen.directory()), ["vault.db"]);
}

/// Another machine's journal was interrupted in the same state. Only the resulting state
/// distinguishes it from ours.
#[test]
fn a_rollback_by_a_journal_is_noticed_and_can_be_undone() {
    let sandbox = Sandbox::with_secrets(&[("key", "value")]);
    let before = sandbox.read("vault.db");
    sandbox
        .command(["create", "--tag", "newest", "-q"])
        .stdin("value of the newest")
        .run()
        .succeeds();

    write_private(&sandbox.path("vault.db-journal"), journal_of(&before));

    let copy = sandbox.path("vault.db.before-recovery").display().to_string();
    let hint = format!(
        "hint: if it is intact, restore `{copy}` with `secrets restore {copy}`; it is a copy from \
         before an interrupted change was rolled back\n"
    );

    for _ in 0..2 {
        let list = sandbox.run(["list"]).fails_with(6).stdout("");
        stderr!(list, @"
        error: the vault was rolled back to a state before its last checkpoint here
          project `default`: 1 change behind
        hint: put the right file back, or restore a backup with `secrets restore PATH`; nothing was used
        hint: if you want this state, accept it with `secrets restore --accept`
        hint: if it is intact, restore `[dir]/vault.db.before-recovery` with `secrets restore [dir]/vault.db.before-recovery`; it is a copy from before an interrupted change was rolled back
        ")
            .stderr_has(&hint);
    }

    stderr!(sandbox.run(["restore", &copy, "-y"]).succeeds(), @"
    + default/newest
    1 added, 0 removed, 0 changed
    restored `[dir]/vault.db`
    ");

    sandbox.run(["list", "-q"]).succeeds().stdout_has("newest");
    assert!(!Path::new(&copy).exists());
}
