//! The backends on which the stories about `trait Store` run, and the rows of these stories.

use std::collections::BTreeMap;

use tempfile::TempDir;
use terminal_secrets::crypto::ids::{DIRECTORY, Hash, ProjectId, RecordId};
use terminal_secrets::crypto::rows::{ProjectRow, Record, Slot, VaultRow};
use terminal_secrets::crypto::tree::{self, Leaf};
use terminal_secrets::store::{Change, Snapshot, SqliteStore, Store};

use super::backends::{FailingStore, MemoryStore};
use super::server::VaultServer;
use super::specimen::{VAULT_ID, begin};

/// Runs a test on every backend, with a store and a second handle on the same rows. On a server,
/// these are two machines with a cache each.
pub fn on_every_backend(story: impl Fn(&dyn Store, &dyn Store)) {
    let memory = MemoryStore::new(begin);
    story(&memory, &memory);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("vault.db");
    let sqlite = SqliteStore::create(&path, begin).unwrap();

    story(&sqlite, &SqliteStore::open(&path).unwrap());
    let never = FailingStore::healthy(MemoryStore::new(begin));
    story(&never, &never);

    if let Some(server) = VaultServer::new() {
        story(&server.store("founder"), &server.store("other"));
    }
}

/// Returns a record with this value. Its hashes are valid, because a remote store checks them.
pub fn record(pid: &ProjectId, tag_ix: [u8; 16], rid: RecordId, ver: u64, value: &[u8]) -> Record {
    let (meta, val_hash) = (vec![3; 296], tree::value_hash(value));
    let record = Record { tag_ix, rid, epoch: 1, ver, vver: 1, meta, val_hash, leaf: [0; 32] };
    Record { leaf: tree::leaf(&VAULT_ID, pid, &record), ..record }
}

/// Returns the hash of the bucket that has exactly these records.
pub fn bucket(pid: &ProjectId, records: &[&Record]) -> Hash {
    let leaf =
        |record: &&Record| Leaf { tag_ix: record.tag_ix, rid: record.rid, leaf: record.leaf };
    let mut leaves: Vec<Leaf> = records.iter().map(leaf).collect();
    leaves.sort_unstable();
    tree::bucket(pid, records[0].tag_ix[0], &leaves)
}

pub fn project_row(pid: ProjectId) -> ProjectRow {
    ProjectRow { pid, epoch: 1, head: vec![2; 781], sig: vec![3; 64] }
}

/// Returns the next head of a project. Its signature differs from the one before.
pub fn next_head(before: &ProjectRow) -> ProjectRow {
    let add = |bytes: &[u8]| bytes.iter().map(|byte| byte + 1).collect();
    ProjectRow { head: add(&before.head), sig: add(&before.sig), ..before.clone() }
}

/// Commits changes. The hash of each bucket is that of the records that are written to it here.
pub fn write(store: &dyn Store, changes: Vec<Change<'_>>) {
    let mut transaction = store.write().unwrap();
    let mut buckets: BTreeMap<(&ProjectId, u8), Vec<&Record>> = BTreeMap::new();
    for change in &changes {
        if let Change::Record(pid, record) = change {
            buckets.entry((*pid, record.tag_ix[0])).or_default().push(*record);
        }
    }

    for change in changes {
        transaction.apply(change).unwrap();
    }

    for ((pid, number), records) in buckets {
        transaction.apply(Change::Bucket(pid, number, Some(&bucket(pid, &records)))).unwrap();
    }

    transaction.commit().unwrap();
}

/// Returns the projects without the directory.
pub fn projects(view: &dyn Snapshot) -> Vec<ProjectRow> {
    let mut rows = view.inspection().unwrap().projects().unwrap();
    assert_eq!(rows.remove(0).pid, DIRECTORY);
    rows
}

pub fn vault_rows_of(store: &dyn Store) -> (VaultRow, Slot) {
    let view = store.read().unwrap();
    (view.vault().unwrap(), view.slots().unwrap().remove(0))
}

pub fn index(first: u8, last: u8) -> [u8; 16] {
    let mut index = [first; 16];
    index[15] = last;
    index
}
