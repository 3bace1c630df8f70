//! Stores for tests: one in memory, and one that fails at a given call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use terminal_secrets::crypto::ids::{DIRECTORY, Hash, ProjectId, RecordId, TokenId};
use terminal_secrets::crypto::rows::{
    AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow,
};
use terminal_secrets::crypto::tree::Leaf;
use terminal_secrets::store::{
    Change, CommitError, Inspection, Location, OrphanRows, Snapshot, Store, StoreError, Transaction,
};
use terminal_secrets::vault::VaultError;

/// The rows of a store in memory.
#[derive(Clone, Default)]
struct Rows {
    vault: Option<VaultRow>,
    slots: BTreeMap<Vec<u8>, Slot>,
    projects: BTreeMap<ProjectId, ProjectRow>,
    buckets: BTreeMap<(ProjectId, u8), Hash>,
    records: BTreeMap<(ProjectId, [u8; 16]), Record>,
    values: BTreeMap<RecordId, Vec<u8>>,
    grants: BTreeMap<TokenId, GrantRow>,
    policies: BTreeMap<ProjectId, PolicyRow>,
    audit: BTreeMap<(ProjectId, u64), AuditRow>,
}

/// A store in memory. A snapshot is a copy, and a commit replaces the rows with the copy.
#[derive(Clone)]
pub struct MemoryStore {
    rows: Arc<Mutex<Arc<Rows>>>,
}

impl MemoryStore {
    /// Creates a store with the rows that `fill` applies.
    pub fn new(fill: impl FnOnce(&mut dyn Transaction) -> Result<(), VaultError>) -> Self {
        let store = Self { rows: Arc::default() };
        let mut transaction = store.write().unwrap();
        fill(&mut *transaction).unwrap();
        transaction.commit().unwrap();
        store
    }

    fn now(&self) -> Arc<Rows> {
        self.rows.lock().unwrap().clone()
    }
}

impl Store for MemoryStore {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        Ok(Box::new(View { store: self, rows: self.now() }))
    }

    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(Box::new(View { store: self, rows: self.now() }))
    }

    fn location(&self) -> Location {
        Location::Remote([0; 16])
    }

    fn compact(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct View<'a> {
    store: &'a MemoryStore,
    rows: Arc<Rows>,
}

impl Snapshot for View<'_> {
    fn vault(&self) -> Result<VaultRow, StoreError> {
        Ok(self.rows.vault.clone().unwrap())
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        Ok(self.rows.slots.values().cloned().collect())
    }

    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        Ok(self.rows.projects.get(pid).cloned())
    }

    fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        Ok(self.rows.grants.values().cloned().collect())
    }

    fn grant(&self, token_id: &TokenId) -> Result<Option<GrantRow>, StoreError> {
        Ok(self.rows.grants.get(token_id).cloned())
    }

    fn policy(&self, pid: &ProjectId) -> Result<Option<PolicyRow>, StoreError> {
        Ok(self.rows.policies.get(pid).cloned())
    }

    fn audit(
        &self,
        pid: &ProjectId,
        from: u64,
        visit: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError> {
        let entries = self.rows.audit.range((*pid, from)..=(*pid, u64::MAX));
        let _ = entries.into_iter().all(|(_, entry)| visit(entry.clone()));
        Ok(())
    }

    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError> {
        Ok(self
            .rows
            .buckets
            .range((*pid, 0)..=(*pid, 255))
            .map(|((_, number), hash)| (*number, *hash))
            .collect())
    }

    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError> {
        let records = self
            .rows
            .records
            .iter()
            .filter(|((owner, tag_ix), _)| owner == pid && tag_ix[0] == bucket);

        Ok(records.map(|(_, r)| Leaf { tag_ix: r.tag_ix, rid: r.rid, leaf: r.leaf }).collect())
    }

    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError> {
        Ok(self.rows.records.get(&(*pid, *tag_ix)).cloned())
    }

    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        let _ = self
            .rows
            .records
            .iter()
            .filter(|((owner, _), _)| owner == pid)
            .all(|(_, record)| visit(record.clone()));

        Ok(())
    }

    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError> {
        Ok(self.rows.records.iter().find(|(_, record)| record.rid == *rid).map(|(place, _)| *place))
    }

    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.values.get(rid).cloned())
    }
    fn inspection(&self) -> Result<&dyn Inspection, StoreError> {
        Ok(self)
    }
}

impl Inspection for View<'_> {
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError> {
        Ok((self.rows.projects.values().cloned().collect(), true))
    }

    fn id_index(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError> {
        self.rows.records.keys().for_each(|(pid, tag_ix)| visit(*pid, *tag_ix));
        Ok(())
    }

    fn orphans(&self) -> Result<OrphanRows, StoreError> {
        let known = |rid: &RecordId| self.rows.records.values().any(|record| record.rid == *rid);
        let owned = |pid: &ProjectId| self.rows.projects.contains_key(pid);
        let count = |n: usize| n.try_into().unwrap();
        Ok(OrphanRows {
            values: count(self.rows.values.keys().filter(|rid| !known(rid)).count()),
            records: count(self.rows.records.keys().filter(|(pid, _)| !owned(pid)).count()),
            buckets: count(self.rows.buckets.keys().filter(|(pid, _)| !owned(pid)).count()),
            policies: count(self.rows.policies.keys().filter(|pid| !owned(pid)).count()),
            audit: count(self.rows.audit.keys().filter(|(pid, _)| !owned(pid)).count()),
        })
    }

    fn is_sound(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}

impl Transaction for View<'_> {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        let rows = Arc::make_mut(&mut self.rows);
        match change {
            Change::Vault(vault) => rows.vault = Some(vault.clone()),
            Change::Slot(slot) => drop(rows.slots.insert(slot.slot_id.clone(), slot.clone())),
            Change::Clear => *rows = Rows::default(),
            Change::Grant(grant) => drop(rows.grants.insert(grant.token_id, grant.clone())),
            Change::DropGrant(token_id) => drop(rows.grants.remove(token_id)),
            Change::Policy(pid, policy) => drop(rows.policies.insert(*pid, policy.clone())),
            Change::Audit(pid, entry) => {
                drop(rows.audit.insert((*pid, entry.seq), entry.clone()));
            }
            Change::DropAudit(pid, last) => {
                rows.audit.retain(|(of, seq), _| of != pid || *seq > last);
            }
            Change::DropSlot(slot_id) => drop(rows.slots.remove(slot_id)),
            Change::Near(_) => {}
            Change::NewProject(row) if rows.projects.contains_key(&row.pid) => {
                return Err(StoreError::IdTaken);
            }
            Change::Project(row) | Change::NewProject(row) => {
                drop(rows.projects.insert(row.pid, row.clone()));
            }
            Change::DropProject(pid) => {
                rows.projects.remove(pid);
                rows.policies.remove(pid);
                rows.audit.retain(|(owner, _), _| owner != pid);
                rows.buckets.retain(|(owner, _), _| owner != pid);
                for ((owner, _), record) in &rows.records {
                    if owner == pid {
                        rows.values.remove(&record.rid);
                    }
                }

                rows.records.retain(|(owner, _), _| owner != pid);
            }
            Change::Bucket(pid, number, Some(hash)) => {
                rows.buckets.insert((*pid, number), *hash);
            }
            Change::Bucket(pid, number, None) => drop(rows.buckets.remove(&(*pid, number))),
            Change::Record(pid, record) => {
                let place = (*pid, record.tag_ix);
                if rows.records.iter().any(|(other, one)| one.rid == record.rid && *other != place)
                {
                    return Err(StoreError::IdTaken);
                }

                drop(rows.records.insert((*pid, record.tag_ix), record.clone()));
            }
            Change::MoveRecord(pid, from, record) => {
                rows.records.remove(&(*pid, *from));
                rows.records.insert((*pid, record.tag_ix), record.clone());
            }
            Change::DropRecord(pid, record) => {
                rows.records.remove(&(*pid, record.tag_ix));
                rows.values.remove(&record.rid);
            }
            Change::Value(rid, sealed) => drop(rows.values.insert(*rid, sealed.to_vec())),
        }

        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        *self.store.rows.lock().unwrap() = self.rows;
        Ok(())
    }
}

/// A store that fails at one call and at all later ones, as a full disk does. It notes which rows
/// were requested.
#[derive(Clone)]
pub struct FailingStore<S> {
    pub inner: S,
    pub calls: Arc<AtomicUsize>,
    pub log: Arc<Mutex<Log>>,
    pub fails_at: usize,
    pub with: fn() -> StoreError,
}

/// The rows of projects that a store was asked for, each list in the order of the calls.
#[derive(Default)]
pub struct Log {
    /// Projects whose buckets' hashes were read
    pub projects: Vec<ProjectId>,
    /// Buckets whose leaves were read
    pub buckets: Vec<u8>,
    /// Values that were written
    pub values: Vec<RecordId>,
    /// Projects that were written to the directory
    entries: BTreeSet<RecordId>,
    /// Records that were written, by their indexes
    pub records: Vec<[u8; 16]>,
}

impl<S> FailingStore<S> {
    /// A store that never fails.
    pub fn healthy(inner: S) -> Self {
        Self {
            inner,
            calls: Arc::default(),
            log: Arc::default(),
            fails_at: usize::MAX,
            with: || StoreError::Busy,
        }
    }
}

impl<S> FailingStore<S> {
    /// Returns which rows were requested since the last call of this method.
    pub fn take_log(&self) -> Log {
        std::mem::take(&mut *self.log())
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    fn call(&self) -> Result<(), StoreError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if number < self.fails_at { Ok(()) } else { Err((self.with)()) }
    }
}

/// A snapshot or a transaction whose calls are counted.
struct Counted<'a, S, T: ?Sized> {
    store: &'a FailingStore<S>,
    inner: Box<T>,
}

impl<S: Store> Store for FailingStore<S> {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        self.call()?;
        Ok(Box::new(Counted { store: self, inner: self.inner.read()? }))
    }

    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        self.call()?;
        Ok(Box::new(Counted { store: self, inner: self.inner.write()? }))
    }

    fn location(&self) -> Location {
        self.inner.location()
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.call()?;
        self.inner.compact()
    }
}

impl<S: Store, T: Snapshot + ?Sized> Snapshot for Counted<'_, S, T> {
    fn vault(&self) -> Result<VaultRow, StoreError> {
        self.store.call().and_then(|()| self.inner.vault())
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.store.call().and_then(|()| self.inner.slots())
    }

    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        self.store.call().and_then(|()| self.inner.project(pid))
    }

    fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        self.store.call().and_then(|()| self.inner.grants())
    }

    fn grant(&self, token_id: &TokenId) -> Result<Option<GrantRow>, StoreError> {
        self.store.call().and_then(|()| self.inner.grant(token_id))
    }

    fn policy(&self, pid: &ProjectId) -> Result<Option<PolicyRow>, StoreError> {
        self.store.call().and_then(|()| self.inner.policy(pid))
    }

    fn audit(
        &self,
        pid: &ProjectId,
        from: u64,
        visit: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError> {
        self.store.call().and_then(|()| self.inner.audit(pid, from, visit))
    }

    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError> {
        if *pid != DIRECTORY {
            self.store.log().projects.push(*pid);
        }

        self.store.call().and_then(|()| self.inner.buckets(pid))
    }

    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError> {
        if *pid != DIRECTORY {
            self.store.log().buckets.push(bucket);
        }

        self.store.call().and_then(|()| self.inner.leaves(pid, bucket))
    }

    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError> {
        self.store.call().and_then(|()| self.inner.record(pid, tag_ix))
    }

    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        self.store.call().and_then(|()| self.inner.records(pid, visit))
    }

    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError> {
        self.store.call().and_then(|()| self.inner.locate(rid))
    }

    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.call().and_then(|()| self.inner.value(rid))
    }
    fn inspection(&self) -> Result<&dyn Inspection, StoreError> {
        Ok(self)
    }
}

impl<S: Store, T: Snapshot + ?Sized> Inspection for Counted<'_, S, T> {
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError> {
        self.store.call()?;
        self.inner.inspection()?.readable_projects()
    }

    fn id_index(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError> {
        self.store.call()?;
        self.inner.inspection()?.id_index(visit)
    }

    fn orphans(&self) -> Result<OrphanRows, StoreError> {
        self.store.call()?;
        self.inner.inspection()?.orphans()
    }

    fn is_sound(&self) -> Result<bool, StoreError> {
        self.store.call()?;
        self.inner.inspection()?.is_sound()
    }
}

impl<S: Store> Transaction for Counted<'_, S, dyn Transaction + '_> {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        match change {
            Change::Record(pid, record) if *pid == DIRECTORY => {
                self.store.log().entries.insert(record.rid);
            }
            Change::Value(rid, _) if !self.store.log().entries.contains(rid) => {
                self.store.log().values.push(*rid);
            }
            Change::Record(_, record) => self.store.log().records.push(record.tag_ix),
            _ => {}
        }

        self.store.call().and_then(|()| self.inner.apply(change))
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        self.store.call()?;
        self.inner.commit()
    }
}
