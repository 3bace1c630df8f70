//! A killed writer leaves the old state or the new one.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::random::Dice;
use crate::support::values::reveal;
use crate::support::{Sandbox, secret};

use super::{default, open, sandbox, spawn};

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
