//! Concurrent writers and readers lose nothing, and of two changes of one version one wins.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use terminal_secrets::model::{SecretRef, Tag};
use terminal_secrets::vault::{SecretChanges, Vault, VaultError};

use crate::support::values::reveal;
use crate::support::{secret, value};

use super::{default, open, sandbox, spawn};

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

#[test]
fn the_second_update_of_a_version_is_refused() {
    let sandbox = sandbox();
    let (first, second) = (open(&sandbox.vault_path()), open(&sandbox.vault_path()));
    let seen = first.create(&default(), secret("shared", b"old")).unwrap().version;
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
