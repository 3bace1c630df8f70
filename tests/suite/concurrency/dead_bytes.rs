//! Deleted and replaced values disappear from the file.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use terminal_secrets::model::SecretRef;
use terminal_secrets::vault::SecretChanges;

use crate::support::random::Dice;
use crate::support::{Sandbox, secret, value};

use super::{default, open, sandbox};

/// Creates and removes values in one vault, and asserts that no run of 16 sealed bytes of a removed
/// value remains.
fn no_dead_bytes(rounds: usize) {
    let sandbox = sandbox();
    let vault = open(&sandbox.vault_path());
    let mut dice = Dice::new();
    for n in 0..10 {
        let size = 1 + dice.below(20_000) as usize;
        vault.create(&default(), secret(&format!("stays{n}"), &vec![b'x'; size])).unwrap();
    }

    for round in 0..rounds {
        let size = 1 + dice.below(if round % 10 == 0 { 40_000 } else { 3_000 }) as usize;
        let before = sealed(&sandbox.vault_path());
        let tag: SecretRef = "goes".parse().unwrap();
        vault.create(&default(), secret("goes", &vec![b'y'; size])).unwrap();

        let first = new_ones(&sandbox.vault_path(), &before);
        let changes = SecretChanges {
            value: Some(value(&vec![b'z'; size / 2 + 1])),
            ..SecretChanges::default()
        };

        vault.update(&default(), &tag, None, changes).unwrap();
        assert!(!vault.needs_compaction());
        assert_gone(&sandbox, &first, round);
        let second = new_ones(&sandbox.vault_path(), &before);

        vault.delete(&default(), &[tag]).unwrap();
        assert!(!vault.needs_compaction());
        assert_gone(&sandbox, &second, round);
    }
}

/// Returns every sealed value and every sealed metadata of the file.
fn sealed(path: &Path) -> BTreeSet<Vec<u8>> {
    let connection = Connection::open(path).unwrap();
    let mut statement =
        connection.prepare("SELECT val FROM vals UNION SELECT meta FROM records").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn new_ones(path: &Path, before: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let new: Vec<_> = sealed(path).difference(before).cloned().collect();
    assert_eq!(new.len(), 2, "a value and its metadata");
    let file = std::fs::read(path).unwrap();

    // The first bytes are always contiguous, even if the rest overflows to other pages. So the
    // search would find them.
    assert!(new.iter().all(|sealed| memchr::memmem::find(&file, &sealed[..16]).is_some()));
    new
}

fn assert_gone(sandbox: &Sandbox, dead: &[Vec<u8>], round: usize) {
    let names: Vec<_> =
        std::fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, [sandbox.vault_path()], "no file stays next to the vault");
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();

    assert_eq!(free, 0, "round {round}: the file was not rewritten");
    let file = std::fs::read(sandbox.vault_path()).unwrap();
    let windows: std::collections::HashSet<&[u8]> =
        dead.iter().flat_map(|sealed| sealed.chunks_exact(16)).collect();
    let alive = file.windows(16).find(|window| windows.contains(window));

    assert!(alive.is_none(), "round {round}: {alive:02x?} of a removed value remains");
}

#[test]
fn deleted_and_replaced_values_disappear_from_the_file() {
    no_dead_bytes(50);
}

#[test]
#[ignore = "minutes"]
fn five_hundred_deleted_and_replaced_values_disappear_from_the_file() {
    no_dead_bytes(500);
}
