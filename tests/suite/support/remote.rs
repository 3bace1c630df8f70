//! A vault's file as if it were on a network: a store that counts trips, and whose commits can lose
//! their answers.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use terminal_secrets::crypto::ids::{DIRECTORY, Hash, ProjectId, RecordId, TokenId, record_of};
use terminal_secrets::crypto::rows::{
    AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow,
};
use terminal_secrets::crypto::tree::Leaf;
use terminal_secrets::store::{
    Change, CommitError, Doubt, Extent, Inspection, Location, SMALL, Snapshot, SqliteStore, Store,
    StoreError, Transaction, Want,
};

/// What happens to a commit whose answer gets lost.
#[derive(Clone, Copy, Debug)]
pub enum LostAnswer {
    /// The change is stored
    Stored,
    /// The change is not stored
    Discarded,
    /// The change is stored, and another one follows before anybody looks
    Overtaken(fn(&Path)),
    /// The change is stored, and the store cannot be reached afterwards
    Unreachable,
}

/// A SQLite store behind a network.
pub struct RemoteStore {
    inner: SqliteStore,
    trips: Arc<AtomicUsize>,
    lost: Mutex<Option<LostAnswer>>,
}

impl RemoteStore {
    /// Opens a vault's file. Adds each trip to `trips`.
    pub fn open(path: &Path, trips: &Arc<AtomicUsize>) -> Self {
        let inner = SqliteStore::open(path).unwrap();
        Self { inner, trips: trips.clone(), lost: Mutex::new(None) }
    }

    /// Loses the answer of every commit.
    pub fn losing(self, lost: LostAnswer) -> Self {
        Self { lost: Mutex::new(Some(lost)), ..self }
    }

    fn view<T: ?Sized>(&self, inner: Box<T>) -> View<'_, T> {
        View { store: self, inner, known: RefCell::default(), head: None, entry: None }
    }

    fn trip(&self) {
        self.trips.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&self) -> Option<LostAnswer> {
        *self.lost.lock().unwrap()
    }
}

impl Store for RemoteStore {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        Ok(Box::new(self.view(self.inner.read()?)))
    }

    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(Box::new(self.view(self.inner.write()?)))
    }

    fn location(&self) -> Location {
        Location::Remote([9; 16])
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn settle(&self, doubt: &Doubt) -> Result<bool, StoreError> {
        match self.lost() {
            Some(LostAnswer::Unreachable) => Err(StoreError::Busy),
            _ => doubt.is_stored(&*self.read()?),
        }
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.inner.compact()
    }
}

/// A row that was fetched, or several.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Known {
    Directory,
    Head(ProjectId),
    Leaves(ProjectId, u8),
    Record(ProjectId, [u8; 16]),
    Value(RecordId),
    Located(RecordId),
    AllRecords(ProjectId),
    Log(ProjectId),
    Grants,
    Grant(TokenId),
}

/// A snapshot or a transaction that notes what was fetched.
struct View<'a, T: ?Sized> {
    store: &'a RemoteStore,
    inner: Box<T>,
    known: RefCell<HashSet<Known>>,
    /// The last head and the last entry of an audit log that were written
    head: Option<ProjectRow>,
    entry: Option<(ProjectId, AuditRow)>,
}

impl<T: Snapshot + ?Sized> View<'_, T> {
    fn is_known(&self, row: Known) -> bool {
        let known = self.known.borrow();
        let whole = match row {
            Known::Leaves(pid, _) | Known::Record(pid, _) => {
                known.contains(&Known::AllRecords(pid))
            }
            Known::Head(DIRECTORY) => known.contains(&Known::Directory),
            _ => false,
        };

        whole || known.contains(&row)
    }

    /// Makes a trip for a row that was not fetched.
    fn need(&self, row: Known) {
        if !self.is_known(row) {
            self.store.trip();
            self.known.borrow_mut().insert(row);
        }
    }

    fn all_records(&self, pid: &ProjectId) -> Vec<Record> {
        let mut records = Vec::new();
        let visit = &mut |record| {
            records.push(record);
            true
        };

        self.inner.records(pid, visit).unwrap();
        records
    }

    fn size(&self, pid: &ProjectId) -> u64 {
        let size = |record: &Record| {
            let value = self.inner.value(&record.rid).unwrap().map_or(0, |value| value.len());
            (record.meta.len() + value + 120) as u64
        };

        self.all_records(pid).iter().map(size).sum()
    }

    fn project_rows(&self, pid: &ProjectId, extent: Extent, rows: &mut Vec<Known>) {
        let extent = match extent {
            Extent::IfSmall if self.size(pid) <= SMALL => Extent::Values,
            Extent::IfSmall => Extent::Head,
            extent => extent,
        };

        if extent >= Extent::Head {
            rows.push(Known::Head(*pid));
        }

        if extent >= Extent::Records {
            rows.push(Known::AllRecords(*pid));
        }

        if extent >= Extent::Values {
            rows.extend(self.all_records(pid).iter().map(|record| Known::Value(record.rid)));
        }

        if extent >= Extent::Everything {
            rows.push(Known::Log(*pid));
        }
    }

    fn record_rows(&self, pid: &ProjectId, index: &[u8; 16], values: bool, rows: &mut Vec<Known>) {
        rows.extend([Known::Leaves(*pid, index[0]), Known::Record(*pid, *index)]);
        let record = self.inner.record(pid, index).unwrap().filter(|_| values);
        rows.extend(record.map(|record| Known::Value(record.rid)));
    }

    fn rows_of(&self, want: &Want<'_>, rows: &mut Vec<Known>) {
        match want {
            Want::Directory => rows.push(Known::Directory),
            Want::Entries(indexes, extent) => {
                let all = self.inner.inspection().unwrap().projects().unwrap();
                for index in *indexes {
                    self.record_rows(&DIRECTORY, index, true, rows);
                    let Some(entry) = self.inner.record(&DIRECTORY, index).unwrap() else {
                        continue;
                    };

                    let project = all.iter().find(|row| record_of(&row.pid) == entry.rid).unwrap();
                    self.project_rows(&project.pid, *extent, rows);
                }
            }
            Want::AllProjects(extent) => {
                self.project_rows(&DIRECTORY, Extent::Values, rows);
                for row in self.inner.inspection().unwrap().projects().unwrap() {
                    self.project_rows(&row.pid, *extent, rows);
                }
            }
            Want::Projects(pids, extent) => {
                pids.iter().for_each(|pid| self.project_rows(pid, *extent, rows));
            }
            Want::Records { pid, indexes, values } => {
                indexes.iter().for_each(|index| self.record_rows(pid, index, *values, rows));
            }
            Want::Ids(rids) => {
                for rid in *rids {
                    rows.push(Known::Located(*rid));
                    let Some((pid, index)) = self.inner.locate(rid).unwrap() else { continue };
                    self.record_rows(&pid, &index, true, rows);
                    rows.extend([Known::Head(pid), Known::Located(record_of(&pid))]);
                    if let Some((of, index)) = self.inner.locate(&record_of(&pid)).unwrap() {
                        self.record_rows(&of, &index, true, rows);
                    }
                }
            }
            Want::Grants => rows.push(Known::Grants),
            Want::Grant(token_id) => rows.push(Known::Grant(**token_id)),
            Want::Values(rids) => rows.extend(rids.iter().map(|rid| Known::Value(*rid))),
        }
    }
}

impl<T: Snapshot + ?Sized> Snapshot for View<'_, T> {
    fn fetch(&self, wants: &[Want<'_>]) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for want in wants {
            self.rows_of(want, &mut rows);
        }

        if !rows.iter().all(|row| self.is_known(*row)) {
            self.store.trip();
        }

        self.known.borrow_mut().extend(rows);
        Ok(())
    }

    fn vault(&self) -> Result<VaultRow, StoreError> {
        self.need(Known::Directory);
        self.inner.vault()
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.need(Known::Directory);
        self.inner.slots()
    }

    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        self.need(Known::Head(*pid));
        self.inner.project(pid)
    }

    fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        self.need(Known::Grants);
        self.inner.grants()
    }

    fn grant(&self, token_id: &TokenId) -> Result<Option<GrantRow>, StoreError> {
        self.need(Known::Grant(*token_id));
        self.inner.grant(token_id)
    }

    fn policy(&self, pid: &ProjectId) -> Result<Option<PolicyRow>, StoreError> {
        self.need(Known::Head(*pid));
        self.inner.policy(pid)
    }

    fn audit(
        &self,
        pid: &ProjectId,
        from: u64,
        visit: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError> {
        self.need(Known::Log(*pid));
        self.inner.audit(pid, from, visit)
    }

    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError> {
        self.need(Known::Head(*pid));
        self.inner.buckets(pid)
    }

    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError> {
        self.need(Known::Leaves(*pid, bucket));
        self.inner.leaves(pid, bucket)
    }

    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError> {
        self.need(Known::Record(*pid, *tag_ix));
        self.inner.record(pid, tag_ix)
    }

    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        self.need(Known::AllRecords(*pid));
        self.inner.records(pid, visit)
    }

    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError> {
        self.need(Known::Located(*rid));
        self.inner.locate(rid)
    }

    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.need(Known::Value(*rid));
        self.inner.value(rid)
    }

    fn inspection(&self) -> Result<&dyn Inspection, StoreError> {
        Err(StoreError::Busy)
    }
}

impl Transaction for View<'_, dyn Transaction + '_> {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        let mut known = self.known.borrow_mut();
        match &change {
            Change::NewProject(row) => {
                self.head = Some((*row).clone());
                known.extend([
                    Known::Head(row.pid),
                    Known::AllRecords(row.pid),
                    Known::Log(row.pid),
                ]);
            }
            Change::Project(row) => self.head = Some((*row).clone()),
            Change::Audit(pid, row) => self.entry = Some((**pid, (*row).clone())),
            Change::Record(pid, record) | Change::MoveRecord(pid, _, record) => {
                known.insert(Known::Record(**pid, record.tag_ix));
            }
            Change::Value(rid, _) => drop(known.insert(Known::Value(**rid))),
            _ => {}
        }

        drop(known);
        self.inner.apply(change)
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        let Self { store, inner, head, entry, .. } = *self;
        store.trip();
        let Some(lost) = store.lost() else { return inner.commit() };
        match lost {
            LostAnswer::Discarded => drop(inner),
            _ => inner.commit()?,
        }

        if let LostAnswer::Overtaken(by) = lost {
            by(store.inner.path());
        }

        Err(CommitError::Unknown(Box::new(Doubt { head, entry, cause: StoreError::Full })))
    }
}
