//! Many secrets at once: a store is asked for each bucket once, and gets rows in the order in which
//! they lie in its file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use terminal_secrets::model::{Metadata, ProjectName, Secret, SecretRef, Tag};
use terminal_secrets::vault::{
    CopyRequest, Import, IncomingSecret, Locked, NewSecret, OnConflict, Reveal, Revealed,
    SecretChanges, Vault, VaultError,
};

use crate::support::backends::{FailingStore, Log, MemoryStore};
use crate::support::specimen::{begin, root};
use crate::support::values::reveal;
use crate::support::{project, secret, value};

/// Secrets of the project `web`: enough for several in nearly every bucket.
const COUNT: usize = 1000;

fn tag(number: usize) -> String {
    format!("tag-{number:04}")
}

/// Numbers below `COUNT` in an order that is neither theirs nor that of any index.
fn shuffled() -> impl Iterator<Item = usize> {
    (0..COUNT).map(|number| number * 389 % COUNT)
}

fn new(numbers: impl Iterator<Item = usize>, text: &str) -> Vec<NewSecret> {
    numbers.map(|number| secret(&tag(number), format!("{text} {number}").as_bytes())).collect()
}

/// A vault over a store that notes what it is asked for.
struct Watched {
    vault: Vault,
    store: FailingStore<MemoryStore>,
}

impl Watched {
    fn empty() -> Self {
        let store = FailingStore::healthy(MemoryStore::new(begin));
        Self { vault: Locked::with_store(Box::new(store.clone())).unlocked(root()), store }
    }

    /// With `COUNT` secrets in the project `web`.
    fn full() -> Self {
        let watched = Self::empty();
        watched.vault.create_all(&web(), new(shuffled(), "value")).unwrap();
        watched
    }

    /// Returns what `act` returns, and what it asked the store for.
    fn watch<T>(&self, act: impl FnOnce(&Vault) -> T) -> (T, Log) {
        self.store.take_log();
        let outcome = act(&self.vault);
        (outcome, self.store.take_log())
    }
}

fn web() -> ProjectName {
    project("web")
}

/// How often the bucket was read that was read most often.
fn most_reads(log: &Log) -> usize {
    let mut reads: BTreeMap<u8, usize> = BTreeMap::new();
    log.buckets.iter().for_each(|bucket| *reads.entry(*bucket).or_default() += 1);
    assert!(reads.len() > 200, "{} buckets were read: too few for this test", reads.len());
    reads.into_values().max().unwrap()
}

#[track_caller]
fn assert_in_order(log: &Log) {
    assert_eq!((log.values.len(), log.records.len()), (COUNT, COUNT));
    assert!(log.values.is_sorted(), "the values are not in the order of their ids");
    assert!(log.records.is_sorted(), "the records are not in the order of their indexes");
}

#[test]
fn many_tags_are_revealed_with_one_reading_of_each_bucket() {
    let watched = Watched::full();
    let mut tags: Vec<Tag> = shuffled().map(|number| Tag::parse(&tag(number)).unwrap()).collect();
    tags[7] = Tag::parse("tag-000x").unwrap();
    tags[8] = tags[9].clone();

    let (found, log) = watched.watch(|vault| vault.scope(&web()).reveal(&tags).unwrap());
    assert_eq!(most_reads(&log), 1);
    assert_eq!(log.projects.len(), 1);

    for (asked, (tag, found)) in tags.iter().zip(&found).enumerate() {
        match found {
            Revealed::Value { tag: stored, value } => {
                let number: usize = tag.as_str()[4..].parse().unwrap();
                assert_eq!((stored, value.expose()), (tag, format!("value {number}").as_bytes()));
            }
            Revealed::Missing { nearest } => {
                assert_eq!(asked, 7);
                assert!(nearest.as_ref().unwrap().as_str().starts_with("tag-000"));
            }
        }
    }
}

#[test]
fn many_secrets_are_found_and_deleted_with_one_reading_of_each_bucket() {
    let watched = Watched::full();
    let mut wanted: Vec<SecretRef> =
        shuffled().skip(100).map(|number| tag(number).parse().unwrap()).collect();
    let (found, log) = watched.watch(|vault| vault.get_all(&web(), &wanted).unwrap());
    assert_eq!((most_reads(&log), log.projects.len()), (1, 1));

    let tags = |secrets: &[Secret]| {
        secrets.iter().map(|one| one.metadata.tag.to_string()).collect::<Vec<_>>()
    };

    let expected: Vec<String> = shuffled().skip(100).map(tag).collect();
    assert_eq!(tags(&found), expected, "not in the order in which they were asked for");

    // Half of them by their ids, one also by its tag.
    for (at, secret) in found.iter().enumerate().skip(1).step_by(2) {
        wanted[at] = SecretRef::Id(secret.id);
    }

    wanted.push(tag(389 * 101 % COUNT).parse().unwrap());
    let (deleted, log) = watched.watch(|vault| vault.delete(&web(), &wanted).unwrap());
    assert_eq!(tags(&deleted), expected);

    // Once to find them, once to change the bucket.
    assert_eq!(most_reads(&log), 2);
    assert_eq!(log.projects.len(), 1);
    let left: BTreeSet<String> = shuffled().take(100).map(tag).collect();
    let kept = watched.vault.list(None, |_| true).unwrap();

    assert_eq!(tags(&kept).into_iter().collect::<BTreeSet<_>>(), left);
}

#[test]
fn the_first_that_is_missing_in_the_order_of_asking_is_the_one_that_is_named() {
    let watched = Watched::full();
    let wanted = ["tag-0001", "tag-zzz1", "se0000000000000001", "tag-zzz2"]
        .map(|word| word.parse().unwrap());
    let named = |wanted: &[SecretRef]| match watched.vault.delete(&web(), wanted) {
        Err(VaultError::NoSecret { wanted, .. }) => wanted.to_string(),
        other => panic!("{other:?}"),
    };

    assert_eq!(named(&wanted), "tag-zzz1");
    assert_eq!(named(&wanted[2..]), "se0000000000000001");
    assert_eq!(watched.vault.list(None, |_| true).unwrap().len(), COUNT);
}

#[test]
fn an_import_reads_each_bucket_twice_and_writes_in_the_order_of_the_file() {
    let watched = Watched::empty();
    let to = web();
    let import = |text: &str| Import::into_one(&to, new(shuffled(), text), OnConflict::Overwrite);
    let first = import("first");
    let (outcome, log) = watched.watch(|vault| vault.import(&first, &|_| {}).unwrap());

    assert_in_order(&log);
    let tags = |secrets: &[Secret]| {
        secrets.iter().map(|one| one.metadata.tag.to_string()).collect::<Vec<_>>()
    };

    let expected: Vec<String> = shuffled().map(tag).collect();
    assert_eq!(tags(&outcome.secrets), expected, "not in the order of the import");
    let (differs, log) = watched.watch(|vault| vault.verify_import(&first, &outcome).unwrap());
    assert_eq!((differs, most_reads(&log)), (None, 1));

    // Once to look for what is there, once to change the bucket.
    let second = import("second");
    let (outcome, log) = watched.watch(|vault| vault.import(&second, &|_| {}).unwrap());
    assert_eq!(most_reads(&log), 2);
    assert_in_order(&log);
    assert_eq!(tags(&outcome.secrets), expected);
    assert!(outcome.secrets.iter().all(|secret| secret.version == 2));
    assert_eq!(reveal(&watched.vault, "web", &tag(17)).unwrap().unwrap(), b"second 17");

    let (plan, log) = watched.watch(|vault| vault.plan_import(&second).unwrap());
    assert_eq!((plan.steps.len(), most_reads(&log)), (COUNT, 1));
}

#[test]
fn what_an_import_does_not_find_again_is_the_first_in_its_order() {
    let watched = Watched::empty();
    let to = web();
    let import = Import::into_one(&to, new(shuffled(), "value"), OnConflict::Fail);
    let outcome = watched.vault.import(&import, &|_| {}).unwrap();

    for at in [900, 40, 500] {
        let changes = SecretChanges { value: Some(value(b"another")), ..SecretChanges::default() };
        watched
            .vault
            .update(&web(), &outcome.steps[at].0.as_str().parse().unwrap(), None, changes)
            .unwrap();
    }

    watched.vault.delete(&web(), &[outcome.steps[30].0.as_str().parse().unwrap()]).unwrap();
    assert_eq!(watched.vault.verify_import(&import, &outcome).unwrap(), Some(30));

    // So is what is in the way.
    let names: Vec<&Tag> = [40, 500, 900].iter().map(|at| &outcome.steps[*at].0).collect();
    match watched.vault.import(&import, &|_| {}) {
        Err(VaultError::Exists(secrets)) => {
            assert_eq!(
                secrets.iter().map(|secret| &secret.metadata.tag).collect::<Vec<_>>(),
                names
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn new_secrets_are_written_in_the_order_of_the_file() {
    let watched = Watched::empty();
    let (count, log) =
        watched.watch(|vault| vault.create_all(&web(), new(shuffled(), "value")).unwrap());
    assert_eq!(count, COUNT as u64);
    assert_in_order(&log);
    assert_eq!(reveal(&watched.vault, "web", &tag(17)).unwrap().unwrap(), b"value 17");

    let twice = ["new", "other", "New"].map(|tag| secret(tag, b"x"));
    match watched.vault.create_all(&web(), twice) {
        Err(VaultError::SameTarget(one, other)) => {
            assert_eq!((one.as_str(), other.as_str()), ("new", "New"));
        }
        other => panic!("{other:?}"),
    }

    match watched.vault.create_all(&web(), [secret("fresh", b"x"), secret(&tag(5), b"x")]) {
        Err(VaultError::Exists(secrets)) => assert_eq!(secrets[0].metadata.tag.as_str(), tag(5)),
        other => panic!("{other:?}"),
    }

    assert_eq!(watched.vault.list(None, |_| true).unwrap().len(), COUNT);
}

#[test]
fn copies_read_each_bucket_twice_and_are_written_in_the_order_of_the_file() {
    let watched = Watched::full();
    let (from, to) = (web(), project("copy"));
    let named: Vec<SecretRef> = shuffled().map(|number| tag(number).parse().unwrap()).collect();

    for secrets in [None, Some(&named[..])] {
        let request = CopyRequest {
            secrets,
            from: &from,
            to: &to,
            tag: None,
            on_conflict: OnConflict::Overwrite,
        };

        let (outcome, log) = watched.watch(|vault| vault.copy(&request).unwrap());
        assert_in_order(&log);

        // Once in the source, twice in the target.
        assert!(most_reads(&log) <= 3);
        let sorted: Vec<String> = (0..COUNT).map(tag).collect();
        assert_eq!(
            outcome.secrets.iter().map(|one| one.metadata.tag.to_string()).collect::<Vec<_>>(),
            sorted
        );

        assert_eq!(reveal(&watched.vault, "copy", &tag(17)).unwrap().unwrap(), b"value 17");
    }
}

/// The list of projects is searched as a project's secrets are, so other projects are not read.
#[test]
fn no_operation_asks_for_more_when_there_are_more_projects() {
    type Operation = fn(&Vault);
    fn one(tag: &str) -> SecretRef {
        tag.parse().unwrap()
    }

    let (few, many) = (Watched::empty(), Watched::empty());
    for (watched, count) in [(&few, 1), (&many, 1500)] {
        let names: Vec<ProjectName> = (0..count).map(|n| project(&format!("other-{n}"))).collect();
        let web = web();
        let incoming = |to| IncomingSecret { to, new: secret("a", b"value"), times: None };
        let secrets = names.iter().chain([&web]).map(incoming).collect();
        let import = Import { secrets, on_conflict: OnConflict::Skip };
        watched.vault.import(&import, &|_| {}).unwrap();
    }

    let operations: [(&str, Operation); 8] = [
        ("get", |vault| drop(vault.get(&web(), &one("a")).unwrap())),
        ("reveal", |vault| assert!(reveal(vault, "web", "a").unwrap().is_some())),
        ("list", |vault| assert_eq!(vault.list(Some(&web()), |_| true).unwrap().len(), 1)),
        ("create", |vault| drop(vault.create(&web(), secret("b", b"value")).unwrap())),
        ("create in a new project", |vault| {
            drop(vault.create(&project("new"), secret("b", b"value")).unwrap());
        }),
        ("update", |vault| {
            let changes = SecretChanges { value: Some(value(b"other")), ..Default::default() };
            drop(vault.update(&web(), &one("a"), None, changes).unwrap());
        }),
        ("delete", |vault| drop(vault.delete(&web(), &[one("a")]).unwrap())),
        ("rename", |vault| vault.rename_project(&web(), &project("site")).unwrap()),
    ];

    for (what, operation) in operations {
        let calls = [&few, &many].map(|watched| {
            let before = watched.store.calls.load(Ordering::Relaxed);
            operation(&watched.vault);
            watched.store.calls.load(Ordering::Relaxed) - before
        });

        // The hash of a bucket is written after its leaves were read, and one that had none is not
        // read first.
        assert!(calls[1] <= calls[0] + 2, "{what}: {calls:?}");
    }
}

#[test]
fn pages_joined_are_the_whole_list() {
    let watched = Watched::full();
    for (name, count) in [("api", 7), ("web.api", 23)] {
        watched.vault.create_all(&project(name), new((0..count).rev(), "value")).unwrap();
    }

    let odd = |metadata: &Metadata| metadata.tag.as_str().ends_with(['1', '3', '5', '7', '9']);
    let (only, all) = (project("web"), |_: &Metadata| true);
    let filters: [&dyn Fn(&Metadata) -> bool; 2] = [&odd, &all];

    for (project, keep) in [(None, filters[0]), (None, filters[1]), (Some(&only), filters[0])] {
        let whole = watched.vault.list(project, keep).unwrap();
        for size in [1, 37, 1000] {
            let mut joined: Vec<Secret> = Vec::new();

            // With pages of one, a few: each is a walk through everything.
            for skipped in (0..whole.len() + size).step_by(size).take(12) {
                let page = watched.vault.list_page(project, keep, skipped, size).unwrap();
                assert_eq!(page.total, whole.len());
                assert!(page.secrets.len() <= size);
                joined.extend(page.secrets);
            }

            assert!(joined == whole[..joined.len()], "pages of {size}");
            assert!(joined.len() == whole.len() || joined.len() == 12 * size);
        }
    }

    let beyond = watched.vault.list_page(None, all, usize::MAX, 1000).unwrap();
    assert_eq!((beyond.secrets.len(), beyond.total), (0, COUNT + 30));
}
