//! The contract of `trait Store`, tested on every backend, and the vault's reaction to a failing
//! store.

use std::cell::Cell;

use tempfile::TempDir;
use terminal_secrets::crypto::ids::{DIRECTORY, ProjectId, RecordId};
use terminal_secrets::crypto::rows::{AuditRow, ProjectRow, Record, Slot, VaultRow};
use terminal_secrets::store::{
    Change, Doubt, Location, Snapshot, SqliteStore, Store, StoreError, Transaction,
};
use terminal_secrets::vault::{CopyRequest, Locked, OnConflict, SecretChanges, Vault, VaultError};

use crate::support::backends::{FailingStore, MemoryStore};
use crate::support::specimen::{begin, root};
use crate::support::values::reveal;
use crate::support::{project, secret, value};

/// Runs a test on every backend, with a store and a second handle on the same rows.
fn on_every_backend(story: impl Fn(&dyn Store, &dyn Store)) {
    let memory = MemoryStore::new(begin);
    story(&memory, &memory);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.db");
    let sqlite = SqliteStore::create(&path, begin).unwrap();

    story(&sqlite, &SqliteStore::open(&path).unwrap());
    let never = FailingStore::healthy(MemoryStore::new(begin));
    story(&never, &never);
}

fn record(tag_ix: [u8; 16], rid: RecordId, ver: u64) -> Record {
    let meta = vec![3; 296];
    Record { tag_ix, rid, epoch: 1, ver, vver: 1, meta, val_hash: [4; 32], leaf: [ver as u8; 32] }
}

fn project_row(pid: ProjectId) -> ProjectRow {
    ProjectRow { pid, epoch: 1, head: vec![2; 781], sig: vec![3; 64] }
}

fn write(store: &dyn Store, changes: Vec<Change<'_>>) {
    let mut transaction = store.write().unwrap();
    for change in changes {
        transaction.apply(change).unwrap();
    }

    transaction.commit().unwrap();
}

#[test]
fn committed_rows_are_read_back_in_order() {
    on_every_backend(|store, other| {
        let (row, slot) = vault_rows_of(store);
        let second = Slot { slot_id: vec![0; 16], ..slot.clone() };
        let changed = VaultRow { past: vec![7; 40], ..row.clone() };
        let (low, high) = (project_row([1; 16]), project_row([2; 16]));
        let (first, next, far) = ([5; 16], index(5, 6), [255; 16]);
        let records = [record(far, [9; 8], 1), record(next, [8; 8], 1), record(first, [7; 8], 1)];

        write(
            store,
            vec![
                Change::Slot(&second),
                Change::Vault(&changed),
                Change::Project(&high),
                Change::Project(&low),
            ],
        );

        write(store, records.iter().map(|record| Change::Record(&low.pid, record)).collect());
        write(
            store,
            vec![
                Change::Bucket(&low.pid, 255, Some(&[1; 32])),
                Change::Bucket(&low.pid, 0, Some(&[2; 32])),
            ],
        );

        let view = other.read().unwrap();
        assert_eq!(view.vault().unwrap(), changed);
        assert_eq!(view.slots().unwrap(), [second, slot]);
        assert_eq!(projects(&*view), [low.clone(), high.clone()]);
        assert_eq!(view.grants().unwrap(), []);
        assert_eq!(view.buckets(&low.pid).unwrap(), [(0, [2; 32]), (255, [1; 32])]);
        assert_eq!(view.buckets(&high.pid).unwrap(), []);

        let leaves = view.leaves(&low.pid, 5).unwrap();
        assert_eq!(leaves.iter().map(|leaf| leaf.tag_ix).collect::<Vec<_>>(), [first, next]);
        assert_eq!(view.leaves(&low.pid, 255).unwrap().len(), 1);
        assert_eq!(view.leaves(&high.pid, 5).unwrap(), []);
        assert_eq!(view.record(&low.pid, &next).unwrap().unwrap(), records[1]);
        assert_eq!(view.record(&high.pid, &next).unwrap(), None);
        assert_eq!(view.locate(&[8; 8]).unwrap(), Some((low.pid, next)));
        assert_eq!(view.locate(&[1; 8]).unwrap(), None);

        let mut visited = Vec::new();
        let visit = &mut |record: Record| {
            visited.push(record.tag_ix);
            visited.len() < 2
        };

        view.records(&low.pid, visit).unwrap();
        assert_eq!(visited, [first, next]);
    });
}

/// Returns the projects without the directory.
fn projects(view: &dyn Snapshot) -> Vec<ProjectRow> {
    let mut rows = view.inspection().unwrap().projects().unwrap();
    assert_eq!(rows.remove(0).pid, DIRECTORY);
    rows
}

fn vault_rows_of(store: &dyn Store) -> (VaultRow, Slot) {
    let view = store.read().unwrap();
    (view.vault().unwrap(), view.slots().unwrap().remove(0))
}

fn index(first: u8, last: u8) -> [u8; 16] {
    let mut index = [first; 16];
    index[15] = last;
    index
}

#[test]
fn rows_are_replaced_and_removed_with_their_dependents() {
    on_every_backend(|store, other| {
        let (kept, doomed) = (project_row([1; 16]), project_row([2; 16]));
        let (one, two, three) =
            (record([5; 16], [7; 8], 1), record([6; 16], [8; 8], 1), record([5; 16], [9; 8], 1));
        write(store, vec![Change::Project(&kept), Change::Project(&doomed)]);
        write(store, vec![Change::Record(&kept.pid, &one), Change::Value(&one.rid, b"first")]);
        write(store, vec![Change::Record(&kept.pid, &two), Change::Value(&two.rid, b"second")]);
        write(
            store,
            vec![Change::Record(&doomed.pid, &three), Change::Value(&three.rid, b"third")],
        );

        write(
            store,
            vec![
                Change::Bucket(&doomed.pid, 5, Some(&[1; 32])),
                Change::Bucket(&kept.pid, 5, Some(&[1; 32])),
            ],
        );

        let newer = Record { ver: 2, ..one.clone() };
        write(store, vec![Change::Record(&kept.pid, &newer), Change::Value(&one.rid, b"newer")]);
        write(store, vec![Change::Bucket(&kept.pid, 5, Some(&[2; 32]))]);
        let view = other.read().unwrap();

        assert_eq!(view.record(&kept.pid, &one.tag_ix).unwrap().unwrap(), newer);
        assert_eq!(view.value(&one.rid).unwrap().unwrap(), b"newer");
        assert_eq!(view.buckets(&kept.pid).unwrap(), [(5, [2; 32])]);
        drop(view);

        write(store, vec![Change::DropRecord(&kept.pid, &two), Change::Bucket(&kept.pid, 5, None)]);
        write(store, vec![Change::DropProject(&doomed.pid)]);
        let view = other.read().unwrap();
        assert_eq!(projects(&*view), std::slice::from_ref(&kept));
        for gone in [&two.rid, &three.rid] {
            assert_eq!((view.locate(gone).unwrap(), view.value(gone).unwrap()), (None, None));
        }

        assert_eq!(view.leaves(&doomed.pid, 5).unwrap(), []);
        assert_eq!(
            (view.buckets(&kept.pid).unwrap(), view.buckets(&doomed.pid).unwrap()),
            (vec![], vec![])
        );

        assert_eq!(view.value(&one.rid).unwrap().unwrap(), b"newer");
    });
}

#[test]
fn a_transaction_reads_its_own_changes_and_a_dropped_one_leaves_none() {
    on_every_backend(|store, other| {
        let (row, one) = (project_row([1; 16]), record([5; 16], [7; 8], 1));
        let mut transaction = store.write().unwrap();
        transaction.apply(Change::Project(&row)).unwrap();
        transaction.apply(Change::Record(&row.pid, &one)).unwrap();
        transaction.apply(Change::Value(&one.rid, b"value")).unwrap();
        assert_eq!(projects(&*transaction), std::slice::from_ref(&row));
        assert_eq!(transaction.locate(&one.rid).unwrap(), Some((row.pid, one.tag_ix)));
        assert_eq!(transaction.value(&one.rid).unwrap().unwrap(), b"value");
        assert_eq!(projects(&*other.read().unwrap()), []);
        drop(transaction);

        for handle in [store, other] {
            let view = handle.read().unwrap();
            assert_eq!((projects(&*view), view.locate(&one.rid).unwrap()), (vec![], None));
            assert_eq!(view.value(&one.rid).unwrap(), None);
        }

        write(store, vec![Change::Project(&row)]);
        store.compact().unwrap();
        assert_eq!(projects(&*other.read().unwrap()), [row]);
    });
}

#[test]
fn an_id_that_is_taken_is_refused() {
    on_every_backend(|store, other| {
        let (row, one) = (project_row([1; 16]), record([5; 16], [7; 8], 1));
        write(store, vec![Change::NewProject(&row), Change::Record(&row.pid, &one)]);

        let refused = |change: Change<'_>| {
            let mut transaction = store.write().unwrap();
            let refused = transaction.apply(change);
            assert!(matches!(refused, Err(StoreError::IdTaken)), "{refused:?}");
        };

        refused(Change::NewProject(&project_row([1; 16])));
        refused(Change::Record(&row.pid, &record([6; 16], one.rid, 1)));
        refused(Change::Record(&[2; 16], &record([5; 16], one.rid, 1)));

        write(store, vec![Change::Record(&row.pid, &Record { ver: 2, ..one.clone() })]);
        let view = other.read().unwrap();
        assert_eq!(view.record(&row.pid, &one.tag_ix).unwrap().unwrap().ver, 2);
        assert_eq!(projects(&*view), [row]);
    });
}

#[test]
fn a_commit_is_settled_by_its_head_or_by_its_entry_of_the_audit_log() {
    on_every_backend(|store, other| {
        let (pid, entry) = ([1; 16], AuditRow { seq: 1, epoch: 1, ct: vec![4; 200] });
        let head = project_row(pid);
        let doubt = |entry: Option<&AuditRow>| Doubt {
            head: Some(head.clone()),
            entry: entry.map(|entry| (pid, entry.clone())),
            cause: StoreError::Busy,
        };

        assert!(!other.settle(&doubt(Some(&entry))).unwrap());
        write(store, vec![Change::Project(&head), Change::Audit(&pid, &entry)]);
        assert!(other.settle(&doubt(None)).unwrap());

        // Another change follows.
        let next = ProjectRow { head: vec![9; 781], ..head.clone() };
        let next_entry = AuditRow { seq: 2, ..entry.clone() };
        write(store, vec![Change::Project(&next), Change::Audit(&pid, &next_entry)]);
        assert!(other.settle(&doubt(Some(&entry))).unwrap());
        assert!(!other.settle(&doubt(None)).unwrap());
        assert!(!other.settle(&doubt(Some(&AuditRow { seq: 3, ..entry.clone() }))).unwrap());

        let unknown = Doubt { head: None, entry: None, cause: StoreError::Busy };
        assert!(matches!(other.settle(&unknown), Err(StoreError::UnknownOutcome)));
    });
}

#[test]
fn checkpoints_are_bound_to_the_location_of_a_store() {
    let directory = TempDir::new().unwrap();
    let real = directory.path().canonicalize().unwrap().join("real");
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, directory.path().join("link")).unwrap();
    let (path, typed) = (real.join("vault.db"), directory.path().join("link/vault.db"));

    let created = SqliteStore::create(&typed, begin).unwrap().location();
    let opened = SqliteStore::open(&typed).unwrap().location();
    assert_eq!(created, Location::File { path: path.clone(), typed: typed.clone() });
    assert_eq!((&opened, &Location::of_file(&typed).unwrap()), (&created, &created));

    let direct = SqliteStore::open(&path).unwrap().location();
    assert_eq!((created.hashes().len(), direct.hashes().len()), (2, 1));
    assert_eq!(created.hashes()[0], direct.hashes()[0]);
    assert_eq!(created.name(), path);

    let remote = Location::Remote([0xab; 16]);
    assert_eq!(remote.name().to_str().unwrap(), format!("remote:{}", "ab".repeat(16)));
    assert_ne!(remote.hashes(), Location::Remote([0; 16]).hashes());
}

#[test]
fn a_store_can_be_moved_to_another_thread() {
    let directory = TempDir::new().unwrap();
    let store: Box<dyn Store> =
        Box::new(SqliteStore::create(&directory.path().join("vault.db"), begin).unwrap());
    let moved = std::thread::spawn(move || store.read().map(|view| view.slots().unwrap().len()));
    assert_eq!(moved.join().unwrap().unwrap(), 1);
}

#[test]
fn a_snapshot_does_not_change_while_others_write() {
    // In SQLite's rollback mode a writer's commit waits for readers. So this transaction is begun
    // and not committed.
    on_every_backend(|store, other| {
        let row = project_row([1; 16]);
        let view = other.read().unwrap();
        assert_eq!(projects(&*view), []);
        let mut transaction = store.write().unwrap();

        transaction.apply(Change::Project(&row)).unwrap();
        assert_eq!(projects(&*view), []);
        drop(view);
        transaction.commit().unwrap();
        assert_eq!(projects(&*other.read().unwrap()), [row]);
    });
}

/// Returns everything in a vault, including values.
fn everything(vault: &Vault) -> Vec<(String, Vec<u8>)> {
    let listed = vault.list(None, |_| true).unwrap().into_iter();
    let with_value = |secret: terminal_secrets::model::Secret| {
        let value =
            reveal(vault, secret.project.as_str(), secret.metadata.tag.as_str()).unwrap().unwrap();
        (format!("{secret:?}"), value)
    };

    listed.map(with_value).collect()
}

type Write = fn(&Vault) -> Result<(), VaultError>;

const WRITES: &[(&str, Write)] = &[
    ("create", |vault| vault.create(&project("alpha"), secret("new", b"v")).map(drop)),
    ("create in a new project", |vault| {
        vault.create(&project("new"), secret("new", b"v")).map(drop)
    }),
    ("update", |vault| {
        let changes = SecretChanges { value: Some(value(b"newer")), ..SecretChanges::default() };
        vault.update(&project("alpha"), &"one".parse().unwrap(), None, changes).map(drop)
    }),
    ("delete two", |vault| {
        vault.delete(&project("alpha"), &["one".parse().unwrap(), "two".parse().unwrap()]).map(drop)
    }),
    ("copy", |vault| copy(vault, "beta")),
    ("copy to a new project", |vault| copy(vault, "new")),
    ("rename a project", |vault| {
        vault.rename_project(&project("alpha"), &project("new")).map(drop)
    }),
    ("delete projects", |vault| {
        vault.delete_projects(&[project("alpha"), project("beta")]).map(drop)
    }),
];

fn copy(vault: &Vault, to: &str) -> Result<(), VaultError> {
    let (from, to) = (project("alpha"), project(to));
    let request = CopyRequest {
        secrets: None,
        from: &from,
        to: &to,
        tag: None,
        on_conflict: OnConflict::Overwrite,
    };

    vault.copy(&request).map(drop)
}

fn fill(store: impl Store + 'static) {
    let vault = Locked::with_store(Box::new(store)).unlocked(root());
    for (name, tag) in [("alpha", "one"), ("alpha", "two"), ("beta", "two")] {
        vault.create(&project(name), secret(tag, tag.as_bytes())).unwrap();
    }
}

/// Fails every write at every call. `again` opens the rows again. Returns the number of calls.
fn fail_everywhere<S: Store + Clone + 'static>(
    make: impl Fn() -> S,
    with: fn() -> StoreError,
) -> usize {
    let mut calls = 0;
    for (name, write) in WRITES {
        let inner = make();
        let healthy = Locked::with_store(Box::new(inner.clone())).unlocked(root());
        let before = everything(&healthy);

        for fails_at in 1.. {
            let failing = FailingStore { fails_at, with, ..FailingStore::healthy(inner.clone()) };
            let outcome = write(&Locked::with_store(Box::new(failing)).unlocked(root()));
            if outcome.is_ok() {
                assert!(fails_at > 5, "{name} makes no call");
                assert!(everything(&healthy) != before, "{name} changes nothing");
                break;
            }

            calls += 1;
            let reported =
                matches!(outcome, Err(VaultError::Store(StoreError::Busy | StoreError::Full)));
            assert!(reported, "{name}, call {fails_at}: {outcome:?}");
            assert!(
                everything(&healthy) == before,
                "{name}, call {fails_at}: the rows have changed"
            );
        }
    }

    calls
}

#[test]
fn a_memory_store_that_fails_at_any_call_is_unchanged() {
    for with in [|| StoreError::Full, || StoreError::Busy] {
        let calls = fail_everywhere(
            || {
                let store = MemoryStore::new(begin);
                fill(store.clone());
                store
            },
            with,
        );

        assert!(calls > 100, "{calls}");
    }
}

/// A handle on a vault's file, which opens it again for each copy.
struct Shared(SqliteStore);

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self(SqliteStore::open(self.0.path()).unwrap())
    }
}

impl Store for Shared {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        self.0.read()
    }

    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        self.0.write()
    }

    fn location(&self) -> Location {
        self.0.location()
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.0.compact()
    }
}

#[test]
fn a_sqlite_store_that_fails_at_any_call_is_unchanged() {
    let directory = TempDir::new().unwrap();
    let number = Cell::new(0);
    let make = || {
        number.set(number.get() + 1);
        let path = directory.path().join(format!("{}.db", number.get()));
        let store = Shared(SqliteStore::create(&path, begin).unwrap());
        fill(store.clone());
        store
    };

    fail_everywhere(make, || StoreError::Full);
}
