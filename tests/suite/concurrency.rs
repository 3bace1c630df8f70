//! Many processes use one vault: nothing is lost, no reader sees a false alarm, a killed writer
//! leaves the old state or the new one, and deleted bytes disappear from the file.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use terminal_secrets::model::{ProjectName, SecretRef, Tag};
use terminal_secrets::store::SqliteStore;
use terminal_secrets::vault::{Locked, SecretChanges, Vault, VaultError};

use crate::support::random::Dice;
use crate::support::specimen::{root, vault_rows};
use crate::support::values::reveal;
use crate::support::{Sandbox, project, secret, value};

/// Returns a vault whose root key is known, so a thread opens it without a key derivation.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::empty();
    let (row, slot) = vault_rows();
    SqliteStore::create(&sandbox.vault_path(), &row, &slot).unwrap();
    sandbox
}

fn open(path: &Path) -> Vault {
    Locked::open(path).unwrap().unlocked(root())
}

fn default() -> ProjectName {
    project("default")
}

/// Waits for all others when it is dropped, also after a panic. It must be dropped before the
/// connection that was opened before it.
struct Together<'a>(&'a Barrier);

impl Drop for Together<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

/// Runs writers, each with its own connection, and readers that list, get and reveal without a
/// pause.
///
/// Connections of one process are closed together, when nobody reads or writes any more: SQLite's
/// close can drop the locks of another connection to the same file
/// (docs/design/store-transactions.md). The program itself opens only one.
fn crowd(writers: usize, creates: usize, readers: usize) {
    let sandbox = sandbox();
    let path = sandbox.vault_path();
    open(&path).create(&default(), secret("first", b"the first value")).unwrap();
    let (working, reads) = (AtomicUsize::new(writers), AtomicUsize::new(0));
    let finish = Barrier::new(writers + readers);

    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (path, working, finish) = (&path, &working, &finish);
            scope.spawn(move || {
                let vault = open(path);
                let _together = Together(finish);
                for n in 0..creates {
                    let tag = format!("w{writer}-{n}");
                    vault.create(&default(), secret(&tag, tag.as_bytes())).unwrap();
                }

                working.fetch_sub(1, Ordering::Relaxed);
            });
        }

        for reader in 0..readers {
            let (path, working, reads, finish) = (&path, &working, &reads, &finish);
            scope.spawn(move || {
                let vault = open(path);
                let _together = Together(finish);
                let mut seen = 0;

                while working.load(Ordering::Relaxed) > 0 {
                    if reader % 2 == 0 {
                        let listed = vault.list(None, |_| true).unwrap().len();
                        assert!(listed >= seen, "{listed} secrets after {seen}");
                        seen = listed;
                    } else {
                        assert_eq!(
                            reveal(&vault, "default", "first").unwrap().unwrap(),
                            b"the first value"
                        );

                        assert!(
                            vault
                                .find(&default(), &Tag::parse("absent").unwrap())
                                .unwrap()
                                .is_none()
                        );
                    }

                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });

    let vault = open(&path);
    let tags = vault
        .list(None, |_| true)
        .unwrap()
        .into_iter()
        .map(|secret| secret.metadata.tag.as_str().to_owned());

    let mut expected: BTreeSet<String> =
        (0..writers).flat_map(|w| (0..creates).map(move |n| format!("w{w}-{n}"))).collect();
    expected.insert("first".into());
    assert_eq!(tags.collect::<BTreeSet<_>>(), expected);
    assert!(reads.load(Ordering::Relaxed) > readers, "the readers read too little");
}

#[test]
fn concurrent_writers_and_readers_lose_nothing() {
    crowd(10, 10, 5);
}

#[test]
#[ignore = "a minute"]
fn fifty_writers_and_twenty_readers_lose_nothing() {
    crowd(50, 20, 20);
}

#[test]
fn concurrent_processes_lose_nothing() {
    let sandbox = sandbox();
    let mut children = Vec::new();
    for n in 0..12 {
        let tag = format!("p{n}");
        children.push(spawn(&sandbox, &["create", "--tag", &tag, "--generate", "-q"]));
        children.push(spawn(&sandbox, &["list", "-q"]));
    }

    for mut child in children {
        assert!(child.wait().unwrap().success());
    }

    assert_eq!(sandbox.vault().list(None, |_| true).unwrap().len(), 12);
}

fn spawn(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = sandbox.command(arguments).command;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// The acknowledged changes of one writer, and those that may have happened in addition.
struct Ledger {
    /// The last acknowledged value of its own secret
    value: Option<String>,
    /// The value that it was writing when it was killed
    possible: Option<String>,
    /// Its acknowledged tags that were not deleted since
    tags: BTreeSet<String>,
    /// Tags whose creation or deletion was interrupted
    open: BTreeSet<String>,
}

const WRITERS: usize = 8;

/// Runs rounds of eight writers and kills them at random, until `kills` of them have died during an
/// operation.
fn kill_writers(kills: usize) {
    let sandbox = sandbox();
    let path = sandbox.vault_path();
    open(&path).create(&default(), secret("steady", b"the steady value")).unwrap();
    let mut ledgers: Vec<Ledger> = (0..WRITERS)
        .map(|_| Ledger {
            value: None,
            possible: None,
            tags: BTreeSet::new(),
            open: BTreeSet::new(),
        })
        .collect();

    let (mut dice, mut killed, mut acknowledged) = (Dice::new(), 0, 0);
    let seed = dice.0;
    let done = AtomicBool::new(false);

    // This process has one connection at a time (see `crowd`). The writers are separate processes.
    let turn = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1)); // give the others a turn
                    let _turn = turn.lock().unwrap();

                    // Each look opens a new connection, because opening rolls back what a killed
                    // writer left.
                    let vault = open(&path);
                    vault.list(None, |_| true).unwrap();
                    assert_eq!(
                        reveal(&vault, "default", "steady").unwrap().unwrap(),
                        b"the steady value"
                    );
                }
            });
        }

        let finish = Finish(&done);
        let mut round = 0;

        // This takes as long as the machine needs. Some writers are killed early, some late, and
        // some finish.
        let mut patience = 150;
        while killed < kills || acknowledged < kills / 4 {
            round += 1;
            let before = (killed, acknowledged);
            let mut running: Vec<_> =
                (0..WRITERS).map(|at| begin(&sandbox, at, round, &ledgers[at])).collect();
            std::thread::sleep(Duration::from_millis(10 + dice.below(patience)));

            for (at, (child, deed)) in running.iter_mut().enumerate() {
                if dice.below(4) == 0 {
                    std::thread::sleep(Duration::from_millis(dice.below(20)));
                }

                let _ = child.kill();
                let status = child.wait().unwrap();
                assert!(
                    status.success() || status.code().is_none(),
                    "seed {seed}: {deed:?} ended with {status}"
                );

                killed += usize::from(!status.success());
                acknowledged += usize::from(status.success());
                ledgers[at].enter(deed, status.success());
            }

            match (killed - before.0, acknowledged - before.1) {
                (_, 0) => patience += patience / 2,
                (0, _) => patience -= patience / 3,
                _ => {}
            }

            let _turn = turn.lock().unwrap();
            verify(&path, &mut ledgers, seed);
        }

        drop(finish);
    });
}

/// Stops the readers, also if the round panics.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The operation that a writer performs.
#[derive(Debug)]
enum Deed {
    Create(String),
    Update(String),
    Delete(String),
}

/// Starts a writer that changes its own secret, creates another one, or deletes one that it
/// created.
fn begin(sandbox: &Sandbox, at: usize, round: usize, ledger: &Ledger) -> (Child, Deed) {
    let own = format!("own{at}");
    let oldest = ledger.tags.first().filter(|_| ledger.tags.len() > 2 && round.is_multiple_of(3));
    if let Some(tag) = oldest {
        return (spawn(sandbox, &["delete", tag, "--yes", "-q"]), Deed::Delete(tag.clone()));
    }

    if round % 3 == 1 || (ledger.value.is_none() && ledger.possible.is_some()) {
        let tag = format!("t{at}-{round}");
        return (spawn(sandbox, &["create", "--tag", &tag, "--generate", "-q"]), Deed::Create(tag));
    }

    let text = format!("value {at} of round {round}, long enough for a hint");
    let file = sandbox.write(&format!("{own}.txt"), &text);
    let verb: &[&str] =
        if ledger.value.is_some() { &["update", &own] } else { &["create", "--tag", &own] };
    let arguments = [verb, &["--value-file", file.to_str().unwrap(), "-q"]].concat();

    (spawn(sandbox, &arguments), Deed::Update(text))
}

impl Ledger {
    fn enter(&mut self, deed: &Deed, acknowledged: bool) {
        match (deed, acknowledged) {
            (Deed::Create(tag), true) => drop(self.tags.insert(tag.clone())),
            (Deed::Delete(tag), true) => drop(self.tags.remove(tag)),
            (Deed::Create(tag) | Deed::Delete(tag), false) => {
                self.tags.remove(tag);
                self.open.insert(tag.clone());
            }
            (Deed::Update(text), true) => (self.value, self.possible) = (Some(text.clone()), None),
            (Deed::Update(text), false) => self.possible = Some(text.clone()),
        }
    }
}

/// Opens the vault as after a crash, reads everything, and settles interrupted operations.
fn verify(path: &Path, ledgers: &mut [Ledger], seed: u64) {
    let vault = open(path);
    let listed = vault.list(None, |_| true).unwrap();
    let mut found: BTreeSet<String> =
        listed.iter().map(|secret| secret.metadata.tag.as_str().to_owned()).collect();
    for tag in &found {
        assert!(reveal(&vault, "default", tag).unwrap().is_some(), "seed {seed}: {tag}");
    }

    assert!(found.remove("steady"));
    for (at, ledger) in ledgers.iter_mut().enumerate() {
        let own = format!("own{at}");
        let present =
            reveal(&vault, "default", &own).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
        let known = present == ledger.value || (present.is_some() && present == ledger.possible);
        assert!(known, "seed {seed}: {own} is {present:?}, not {:?}", ledger.value);
        (ledger.value, ledger.possible) = (present, None);
        found.remove(&own);
        for tag in &ledger.tags {
            assert!(found.remove(tag), "seed {seed}: {tag} was acknowledged and then lost");
        }

        for tag in std::mem::take(&mut ledger.open) {
            if found.remove(&tag) {
                ledger.tags.insert(tag);
            }
        }
    }

    assert!(found.is_empty(), "seed {seed}: no writer created {found:?}");
}

#[test]
fn killed_writers_leave_the_old_state_or_the_new_one() {
    kill_writers(40);
}

#[test]
#[ignore = "minutes"]
fn a_thousand_killed_writers_leave_the_old_state_or_the_new_one() {
    kill_writers(1000);
}

#[test]
fn the_second_update_of_a_version_is_refused() {
    let sandbox = sandbox();
    let (first, second) = (open(&sandbox.vault_path()), open(&sandbox.vault_path()));
    let seen = first.create(&default(), secret("shared", b"old")).unwrap().value.version;
    let wanted: SecretRef = "shared".parse().unwrap();
    let change =
        |text: &[u8]| SecretChanges { value: Some(value(text)), ..SecretChanges::default() };
    first.update(&default(), &wanted, Some(seen), change(b"from the first")).unwrap();

    let refused = second.update(&default(), &wanted, Some(seen), change(b"from the second"));
    assert!(matches!(refused, Err(VaultError::Changed(tag)) if tag.as_str() == "shared"));
    assert_eq!(reveal(&second, "default", "shared").unwrap().unwrap(), b"from the first");
    let seen = second.get(&default(), &wanted).unwrap().version;

    second.update(&default(), &wanted, Some(seen), change(b"from the second")).unwrap();
    assert_eq!(reveal(&first, "default", "shared").unwrap().unwrap(), b"from the second");
}

type Attempt<'a> = dyn Fn(&Vault, &[u8]) -> Result<(), VaultError> + Sync + 'a;

/// Two writers start at the same time, many times. Exactly one of them wins.
#[test]
fn one_of_two_concurrent_writers_wins() {
    let sandbox = sandbox();
    let path = sandbox.vault_path();
    for round in 0..10 {
        let (tag, start) = (format!("tag{round}"), Barrier::new(2));
        let race = |attempt: &Attempt<'_>| {
            let run = |text: &'static [u8]| {
                let vault = open(&path);
                start.wait();
                attempt(&vault, text).map(|()| text)
            };

            std::thread::scope(|scope| {
                let other = scope.spawn(|| run(b"of the one"));
                (run(b"of the other"), other.join().unwrap())
            })
        };

        let winner = match race(&|vault, text| {
            vault.create(&default(), secret(&tag, text)).map(drop)
        }) {
            (Ok(text), Err(VaultError::Exists(_))) | (Err(VaultError::Exists(_)), Ok(text)) => text,
            both => panic!("{both:?}"),
        };

        assert_eq!(reveal(&open(&path), "default", &tag).unwrap().unwrap(), winner);
        let update = |vault: &Vault, text: &[u8]| {
            let changes = SecretChanges { value: Some(value(text)), ..SecretChanges::default() };
            vault.update(&default(), &tag.parse().unwrap(), Some(1), changes).map(drop)
        };

        let winner = match race(&update) {
            (Ok(text), Err(VaultError::Changed(_))) | (Err(VaultError::Changed(_)), Ok(text)) => {
                text
            }
            both => panic!("{both:?}"),
        };

        assert_eq!(reveal(&open(&path), "default", &tag).unwrap().unwrap(), winner);
    }
}

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

        let due = vault.update(&default(), &tag, None, changes).unwrap().compaction_due;
        assert!(!due);
        assert_gone(&sandbox, &first, round);
        let second = new_ones(&sandbox.vault_path(), &before);

        assert!(!vault.delete(&default(), &[tag]).unwrap().compaction_due);
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
fn a_thousand_deleted_and_replaced_values_disappear_from_the_file() {
    no_dead_bytes(1000);
}
