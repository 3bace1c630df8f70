//! The contract of `trait Store`, tested on every backend, and the vault's reaction to a failing
//! store.

use std::cell::Cell;

use tempfile::TempDir;
use terminal_secrets::crypto::rows::{AuditRow, GrantRow, PolicyRow, Record, Slot, VaultRow};
use terminal_secrets::store::{
    Change, Doubt, Location, Snapshot, SqliteStore, Store, StoreError, Transaction,
};
use terminal_secrets::vault::{CopyRequest, Locked, OnConflict, SecretChanges, Vault, VaultError};

use crate::support::backends::{FailingStore, MemoryStore};
use crate::support::contract::{
    bucket, index, next_head, on_every_backend, project_row, projects, record, vault_rows_of, write,
};
use crate::support::specimen::{begin, root};
use crate::support::values::reveal;
use crate::support::{project, secret, value};

#[test]
fn committed_rows_are_read_back_in_order() {
    on_every_backend(|store, other| {
        let (row, slot) = vault_rows_of(store);
        let second = Slot { slot_id: vec![0; 16], ..slot.clone() };
        let changed = VaultRow { past: vec![7; 40], ..row.clone() };
        let (low, high) = (project_row([1; 16]), project_row([2; 16]));
        let (first, next, far) = ([5; 16], index(5, 6), [255; 16]);
        let records = [(far, [9; 8]), (next, [8; 8]), (first, [7; 8])]
            .map(|(index, rid)| record(&low.pid, index, rid, 1, b"value"));

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
                Change::Bucket(&high.pid, 255, Some(&[1; 32])),
                Change::Bucket(&high.pid, 0, Some(&[2; 32])),
            ],
        );

        for handle in [other, store] {
            let view = handle.read().unwrap();
            assert_eq!(view.vault().unwrap(), changed);
            assert_eq!(view.slots().unwrap(), [second.clone(), slot.clone()]);
            assert_eq!(view.grants().unwrap(), []);
            assert_eq!(view.buckets(&high.pid).unwrap(), [(0, [2; 32]), (255, [1; 32])]);

            let hashes = [&records[1..], &records[..1]]
                .map(|records| bucket(&low.pid, &records.iter().collect::<Vec<_>>()));
            assert_eq!(view.buckets(&low.pid).unwrap(), [(5, hashes[0]), (255, hashes[1])]);

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
            assert_eq!(projects(&*view), [low.clone(), high.clone()]);
        }
    });
}

#[test]
fn rows_are_replaced_and_removed_with_their_dependents() {
    on_every_backend(|store, other| {
        let (kept, doomed) = (project_row([1; 16]), project_row([2; 16]));
        let one = record(&kept.pid, [5; 16], [7; 8], 1, b"first");
        let two = record(&kept.pid, [6; 16], [8; 8], 1, b"second");
        let three = record(&doomed.pid, [5; 16], [9; 8], 1, b"third");
        write(store, vec![Change::Project(&kept), Change::Project(&doomed)]);
        write(store, vec![Change::Record(&kept.pid, &one), Change::Value(&one.rid, b"first")]);
        write(store, vec![Change::Record(&kept.pid, &two), Change::Value(&two.rid, b"second")]);
        write(
            store,
            vec![Change::Record(&doomed.pid, &three), Change::Value(&three.rid, b"third")],
        );

        let kept = next_head(&kept);
        let newer = record(&kept.pid, one.tag_ix, one.rid, 2, b"newer");
        write(
            store,
            vec![
                Change::Record(&kept.pid, &newer),
                Change::Value(&one.rid, b"newer"),
                Change::Project(&kept),
            ],
        );

        let hashes = [&newer, &two].map(|record| bucket(&kept.pid, &[record]));
        for handle in [store, other] {
            let view = handle.read().unwrap();
            assert_eq!(view.record(&kept.pid, &one.tag_ix).unwrap().unwrap(), newer);
            assert_eq!(view.value(&one.rid).unwrap().unwrap(), b"newer");
            assert_eq!(view.value(&three.rid).unwrap().unwrap(), b"third");
            assert_eq!(view.buckets(&kept.pid).unwrap(), [(5, hashes[0]), (6, hashes[1])]);
        }

        write(store, vec![Change::DropRecord(&kept.pid, &two), Change::Bucket(&kept.pid, 6, None)]);
        write(store, vec![Change::DropProject(&doomed.pid)]);
        for handle in [store, other] {
            let view = handle.read().unwrap();
            for gone in [&two.rid, &three.rid] {
                assert_eq!((view.locate(gone).unwrap(), view.value(gone).unwrap()), (None, None));
            }

            assert_eq!(view.leaves(&doomed.pid, 5).unwrap(), []);
            assert_eq!(view.buckets(&kept.pid).unwrap(), [(5, hashes[0])]);
            assert_eq!(view.buckets(&doomed.pid).unwrap(), []);
            assert_eq!(view.value(&one.rid).unwrap().unwrap(), b"newer");
            assert_eq!(projects(&*view), std::slice::from_ref(&kept));
        }
    });
}

#[test]
fn a_transaction_reads_its_own_changes_and_a_dropped_one_leaves_none() {
    on_every_backend(|store, other| {
        let row = project_row([1; 16]);
        let one = record(&row.pid, [5; 16], [7; 8], 1, b"value");
        let mut transaction = store.write().unwrap();
        transaction.apply(Change::Project(&row)).unwrap();
        transaction.apply(Change::Record(&row.pid, &one)).unwrap();
        transaction.apply(Change::Value(&one.rid, b"value")).unwrap();
        assert_eq!(transaction.locate(&one.rid).unwrap(), Some((row.pid, one.tag_ix)));
        assert_eq!(transaction.value(&one.rid).unwrap().unwrap(), b"value");
        assert_eq!(projects(&*transaction), std::slice::from_ref(&row));
        assert_eq!(transaction.locate(&one.rid).unwrap(), Some((row.pid, one.tag_ix)));
        assert_eq!(transaction.value(&one.rid).unwrap().unwrap(), b"value");
        assert_eq!(projects(&*other.read().unwrap()), []);
        drop(transaction);

        for handle in [store, other] {
            let view = handle.read().unwrap();
            assert_eq!(view.locate(&one.rid).unwrap(), None);
            assert_eq!(view.value(&one.rid).unwrap(), None);
            assert_eq!(projects(&*view), []);
        }

        write(store, vec![Change::Project(&row)]);
        store.compact().unwrap();
        assert_eq!(projects(&*other.read().unwrap()), [row]);
    });
}

/// A store on a server may find only at the commit that an id is taken.
#[test]
fn an_id_that_is_taken_is_refused() {
    on_every_backend(|store, other| {
        let row = project_row([1; 16]);
        let one = record(&row.pid, [5; 16], [7; 8], 1, b"value");
        write(store, vec![Change::NewProject(&row), Change::Record(&row.pid, &one)]);

        let refused = |store: &dyn Store, change: Change<'_>| {
            let mut transaction = store.write().unwrap();
            let refused = match transaction.apply(change) {
                Ok(()) => transaction.commit().map_err(StoreError::from),
                refused => refused,
            };
            assert!(matches!(refused, Err(StoreError::IdTaken)), "{refused:?}");
        };

        for handle in [store, other] {
            let new = |pid, index| record(pid, index, one.rid, 1, b"other");
            refused(handle, Change::NewProject(&next_head(&row)));
            refused(handle, Change::Record(&row.pid, &new(&row.pid, [6; 16])));
            refused(handle, Change::Record(&[2; 16], &new(&[2; 16], [5; 16])));
        }

        let newer = record(&row.pid, one.tag_ix, one.rid, 2, b"value");
        let row = next_head(&row);
        write(store, vec![Change::Record(&row.pid, &newer), Change::Project(&row)]);
        let view = other.read().unwrap();
        assert_eq!(view.record(&row.pid, &one.tag_ix).unwrap().unwrap().ver, 2);
        assert_eq!(projects(&*view), [row]);
    });
}

#[test]
fn grants_policies_and_logs_are_replaced_and_removed() {
    on_every_backend(|store, other| {
        let row = project_row([1; 16]);
        let pid = &row.pid;
        let grant = |generation| GrantRow {
            token_id: [7; 16],
            generation,
            grant: vec![1; 99],
            escrow: vec![2; 99],
        };
        let policy = |version| PolicyRow { version, body: vec![4; 296], sig: vec![5; 64] };
        let entry = |seq| AuditRow { seq, epoch: 1, ct: vec![6; 200] };
        let shows = |view: &dyn Snapshot, generation: Option<u64>, version: u64, seqs: &[u64]| {
            let grants: Vec<GrantRow> = generation.map(grant).into_iter().collect();
            assert_eq!(view.grant(&[7; 16]).unwrap().as_ref(), grants.first());
            assert_eq!(view.grants().unwrap(), grants);
            assert_eq!(view.policy(pid).unwrap(), Some(policy(version)));

            let mut found = Vec::new();
            let visit = &mut |row: AuditRow| {
                found.push(row.seq);
                true
            };
            view.audit(pid, 0, visit).unwrap();
            assert_eq!(found, seqs);
        };

        let mut head = row.clone();
        for number in [1, 2] {
            let (grant, policy, entry) = (grant(number), policy(number), entry(number));
            let changes = [
                Change::Project(&head),
                Change::Grant(&grant),
                Change::Policy(pid, &policy),
                Change::Audit(pid, &entry),
            ];
            write(store, changes.into());
            for handle in [store, other] {
                let seqs = &[1, 2][..number as usize];
                shows(&*handle.read().unwrap(), Some(number), number, seqs);
            }

            head = next_head(&head);
        }

        // What is read later in a transaction does not replace what it has changed.
        for handle in [store, other] {
            let mut transaction = handle.write().unwrap();
            transaction.apply(Change::Grant(&grant(3))).unwrap();
            transaction.apply(Change::Policy(pid, &policy(3))).unwrap();
            transaction.apply(Change::Audit(pid, &entry(3))).unwrap();
            shows(&*transaction, Some(3), 3, &[1, 2, 3]);
        }

        // Nothing else shows the first handle that the other one has removed them.
        write(other, vec![Change::DropGrant(&[7; 16]), Change::DropAudit(pid, 1)]);
        for handle in [store, other] {
            shows(&*handle.read().unwrap(), None, 2, &[2]);
        }

        write(other, vec![Change::DropAudit(pid, 2)]);
        for handle in [store, other] {
            shows(&*handle.read().unwrap(), None, 2, &[]);
        }
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
        let next = next_head(&head);
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
