//! The number of trips to a store on a network, for the first use of a vault and for later ones
//! (docs/design/store-trips.md). A commit is a trip as well.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use terminal_secrets::crypto::kdf::KdfParams;
use terminal_secrets::model::{ProjectName, SecretRef, Tag};
use terminal_secrets::store::StoreError;
use terminal_secrets::vault::{
    CopyRequest, Import, IncomingSecret, Locked, OnConflict, Reveal, SecretChanges, Vault,
    VaultError,
};

use crate::support::remote::{LostAnswer, RemoteStore};
use crate::support::specimen::{create, root};
use crate::support::values::Remembered;
use crate::support::{passphrase, project, secret, value};

/// The secrets of each project. Those of `large` take more than 64 KiB together, see
/// `terminal_secrets::store::SMALL`.
const COUNT: usize = 40;

/// A vault with the projects `small` and `large`.
pub struct World {
    directory: TempDir,
    trips: Arc<AtomicUsize>,
}

impl World {
    pub fn new() -> Self {
        let world = Self { directory: TempDir::new().unwrap(), trips: Arc::default() };
        drop(create(&world.path()));
        let vault = Locked::open(&world.path()).unwrap().unlocked(root());
        for (name, size) in [("small", 20), ("large", 4000)] {
            let new = (0..COUNT).map(|number| secret(&tag(number), &vec![b'x'; size]));
            vault.create_all(&project(name), new).unwrap();
        }

        world
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("vault.db")
    }

    /// Gives a project the secrets that an operation deletes.
    fn prepare(&self, name: &ProjectName) {
        let vault = Locked::open(&self.path()).unwrap().unlocked(root());
        for tag in ["doomed", "lost"] {
            if vault.find(name, &Tag::parse(tag).unwrap()).unwrap().is_none() {
                vault.create(name, secret(tag, b"value")).unwrap();
            }
        }
    }

    fn store(&self) -> RemoteStore {
        RemoteStore::open(&self.path(), &self.trips)
    }

    /// Returns the number of trips that `act` makes.
    fn trips(&self, act: impl FnOnce()) -> usize {
        self.trips.store(0, Ordering::Relaxed);
        act();
        self.trips.load(Ordering::Relaxed)
    }
}

fn tag(number: usize) -> String {
    format!("tag-{number:03}")
}

fn tags(numbers: std::ops::Range<usize>) -> Vec<Tag> {
    numbers.map(|number| Tag::parse(&tag(number)).unwrap()).collect()
}

fn refs(numbers: std::ops::Range<usize>) -> Vec<SecretRef> {
    tags(numbers).into_iter().map(SecretRef::Tag).collect()
}

type Operation = fn(&Vault, &ProjectName);

/// Reads: the trips in a small project, in a large one, and in a large one that was read before.
const READS: &[(&str, [usize; 3], Operation)] = &[
    ("get", [1, 2, 1], |vault, name| drop(vault.get(name, &refs(0..1)[0]).unwrap())),
    ("render of 20", [1, 2, 1], |vault, name| {
        drop(vault.scope(name).reveal(&tags(0..20)).unwrap());
    }),
    ("run with some", [1, 2, 1], |vault, name| {
        drop(vault.scope(name).reveal_existing(&tags(3..COUNT + 3)).unwrap());
    }),
    ("run with all", [1, 1, 1], |vault, name| drop(vault.scope(name).reveal_all().unwrap())),
    ("list", [1, 1, 1], |vault, name| drop(vault.list(Some(name), |_| true).unwrap())),
    ("a page", [1, 1, 1], |vault, name| {
        drop(vault.list_page(Some(name), |_| true, 10, 10).unwrap());
    }),
    ("list of all", [1, 1, 1], |vault, _| drop(vault.list(None, |_| true).unwrap())),
    ("get of many", [1, 2, 1], |vault, name| drop(vault.get_all(name, &refs(0..20)).unwrap())),
    ("project list", [1, 1, 1], |vault, _| drop(vault.projects().unwrap())),
];

/// Writes. In a large project that was not read before, the keys must be known before the buckets
/// are: one trip for the keys, one for the buckets, one for the commit.
const WRITES: &[(&str, [usize; 3], Operation)] = &[
    ("create", [2, 3, 2], |vault, name| {
        drop(vault.create(name, secret(&fresh(), b"value")).unwrap());
    }),
    ("create in a new project", [2, 2, 2], |vault, _| {
        drop(vault.create(&project(&fresh()), secret("first", b"value")).unwrap());
    }),
    ("update", [2, 3, 2], |vault, name| {
        let changes = SecretChanges { value: Some(value(b"new")), ..SecretChanges::default() };
        drop(vault.update(name, &refs(1..2)[0], None, changes).unwrap());
    }),
    ("update without a value", [2, 3, 2], |vault, name| {
        drop(vault.update(name, &refs(2..3)[0], None, SecretChanges::default()).unwrap());
    }),
    ("delete", [2, 3, 2], |vault, name| {
        drop(vault.delete(name, &["doomed".parse().unwrap(), "lost".parse().unwrap()]).unwrap());
    }),
    ("get and rename", [3, 4, 3], |vault, name| {
        let secret = vault.get(name, &"doomed".parse().unwrap()).unwrap();
        drop(vault.rename(&[secret], &Tag::parse(&fresh()).unwrap()).unwrap());
    }),
    ("import of 30", [2, 3, 2], |vault, name| {
        let new = |number| secret(&tag(number), &[fresh().as_bytes(), &[b'.'; 200]].concat());
        let import = Import::into_one(name, (10..COUNT).map(new).collect(), OnConflict::Overwrite);
        drop(vault.import(&import, &|_| {}).unwrap());
    }),
    ("import into several projects", [3, 3, 2], |vault, _| {
        let (small, large, new) = (project("small"), project("large"), project(&fresh()));
        let incoming = |to| IncomingSecret { to, new: secret(&fresh(), b"v"), times: None };
        let to = [&small, &large, &new, &small, &large, &new];
        let secrets = to.into_iter().map(incoming).collect();
        let import = Import { secrets, on_conflict: OnConflict::Fail };
        drop(vault.import(&import, &|_| {}).unwrap());
    }),
    ("clone to a new project", [2, 3, 2], |vault, name| {
        copy(vault, name, &project(&fresh()), Some(&refs(0..5)), None);
    }),
    ("clone within a project", [2, 3, 2], |vault, name| {
        let tag = Tag::parse(&fresh()).unwrap();
        copy(vault, name, name, Some(&refs(0..1)), Some(&tag));
    }),
    ("clone to another project", [3, 3, 2], |vault, _| {
        copy(vault, &project("large"), &project("small"), Some(&refs(0..5)), None);
    }),
    ("clone of all", [2, 2, 2], |vault, name| {
        copy(vault, name, &project(&fresh()), None, None);
    }),
];

/// Returns a tag or a name that was not used yet.
fn fresh() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("fresh-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn copy(
    vault: &Vault,
    from: &ProjectName,
    to: &ProjectName,
    secrets: Option<&[SecretRef]>,
    tag: Option<&Tag>,
) {
    let on_conflict = OnConflict::Overwrite;
    vault.copy(&CopyRequest { secrets, from, to, tag, on_conflict }).unwrap();
}

/// Asserts the numbers of trips of a vault that `unlocked` unlocks.
pub fn assert_trips(world: &World, unlocked: impl Fn(RemoteStore) -> Vault) {
    let mut wrong = Vec::new();
    for (what, expected, operation) in READS.iter().chain(WRITES) {
        let count = |name: &str, is_read_before: bool| {
            let name = project(name);
            world.prepare(&name);
            let vault = unlocked(world.store());
            if is_read_before {
                for name in ["small", "large"] {
                    vault.get(&project(name), &refs(0..1)[0]).unwrap();
                }
            }

            world.trips(|| operation(&vault, &name))
        };

        let found = [count("small", false), count("large", false), count("large", true)];
        if found != *expected {
            wrong.push(format!("{what}: {found:?} instead of {expected:?}"));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_read_takes_two_trips_at_most_and_every_write_two_if_its_project_is_small_or_known() {
    let world = World::new();
    assert_trips(&world, |store| Locked::with_store(Box::new(store)).unlocked(root()));
}

#[test]
fn a_secret_is_found_by_its_id_in_one_trip() {
    let world = World::new();
    let large = project("large");
    let open = || Locked::with_store(Box::new(world.store())).unlocked(root());
    let ids: Vec<SecretRef> = {
        let secrets = open().get_all(&large, &refs(0..20)).unwrap();
        secrets.iter().map(|secret| SecretRef::Id(secret.id)).collect()
    };

    let any = project("nothing");
    assert_eq!(world.trips(|| drop(open().get(&any, &ids[0]).unwrap())), 1);
    assert_eq!(world.trips(|| drop(open().get_all(&any, &ids).unwrap())), 1);
    assert_eq!(world.trips(|| drop(open().delete(&any, &ids).unwrap())), 2);
}

#[test]
fn whole_projects_and_key_slots_are_changed_in_two_trips() {
    let world = World::new();
    for name in ["small", "large"] {
        let open = || Locked::with_store(Box::new(world.store())).unlocked(root());
        let rename = |from: &str, to: &str| {
            open().rename_project(&project(from), &project(to)).unwrap();
        };

        assert_eq!(world.trips(|| drop(open().rekey_project(&project(name), &|_| {}).unwrap())), 2);
        assert_eq!(world.trips(|| rename(name, "renamed")), 2);
        assert_eq!(world.trips(|| rename("renamed", name)), 2);
        assert_eq!(world.trips(|| drop(open().delete_projects(&[project(name)]).unwrap())), 2);
    }

    let locked = Locked::with_store(Box::new(world.store()));
    let vault = locked.unlock(&Remembered(passphrase())).unwrap();
    assert_eq!(world.trips(|| vault.set_passphrase(&passphrase(), KdfParams::LEAST).unwrap()), 2);
}

/// Adds a secret while the answer to the commit gets lost.
fn create_without_an_answer(world: &World, lost: LostAnswer) -> Result<(), VaultError> {
    let store = world.store().losing(lost);
    let vault = Locked::with_store(Box::new(store)).unlocked(root());
    vault.create(&project("small"), secret("new", b"value")).map(drop)
}

fn has_new(path: &Path) -> bool {
    let vault = Locked::open(path).unwrap().unlocked(root());
    vault.find(&project("small"), &Tag::parse("new").unwrap()).unwrap().is_some()
}

#[test]
fn a_commit_without_an_answer_succeeds_if_the_change_is_stored() {
    let overtake = |path: &Path| {
        let vault = Locked::open(path).unwrap().unlocked(root());
        vault.create(&project("small"), secret("another", b"value")).unwrap();
    };

    for lost in [LostAnswer::Stored, LostAnswer::Overtaken(overtake)] {
        let world = World::new();
        create_without_an_answer(&world, lost).unwrap();
        assert!(has_new(&world.path()), "{lost:?}");
    }
}

#[test]
fn a_commit_without_an_answer_fails_if_the_change_is_not_stored() {
    let world = World::new();
    let outcome = create_without_an_answer(&world, LostAnswer::Discarded);
    assert!(matches!(outcome, Err(VaultError::Store(StoreError::Full))), "{outcome:?}");
    assert!(!has_new(&world.path()));
}

#[test]
fn a_commit_without_an_answer_is_reported_if_the_store_cannot_be_reached() {
    let world = World::new();
    let outcome = create_without_an_answer(&world, LostAnswer::Unreachable);
    assert!(matches!(outcome, Err(VaultError::Store(StoreError::UnknownOutcome))), "{outcome:?}");
    assert!(has_new(&world.path()));
}
