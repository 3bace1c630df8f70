//! A change of a vault on a server. It is made in the cache, where it can be read at once. Its net
//! effect is then committed on the server, and afterwards in the cache.

use std::collections::{BTreeMap, BTreeSet};

use super::super::sqlite::SqliteTransaction;
use super::super::{Change, CommitError, Doubt, NearRows, Snapshot, StoreError, Transaction};
use super::Answered;
use super::message::{Ask, Begin, Request, Rows, Scope, Update, UpdateError};
use super::plan::Plan;
use super::snapshot::{Mode, RemoteSnapshot};
use crate::crypto::ids::{DIRECTORY, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{AuditRow, ProjectRow};
use crate::model::Timestamp;

/// The rows that a change has touched. What they are at its end is sent.
#[derive(Default)]
pub(super) struct Touched {
    clears: bool,
    vault: bool,
    slots: BTreeSet<Vec<u8>>,
    projects: BTreeSet<ProjectId>,
    /// Those of `projects` whose ids must be free
    new_projects: BTreeSet<ProjectId>,
    dropped_projects: BTreeSet<ProjectId>,
    buckets: BTreeSet<(ProjectId, u8)>,
    records: BTreeSet<(ProjectId, [u8; 16])>,
    values: BTreeSet<RecordId>,
    policies: BTreeSet<ProjectId>,
    grants: BTreeSet<TokenId>,
    audit: BTreeSet<(ProjectId, u64)>,
    dropped_audit: BTreeMap<ProjectId, u64>,
    /// The near file that takes effect with the commit
    near: Option<NearRows>,
    /// A project, a record or a slot was added under a new id
    has_new_id: bool,
    /// The last head and the last entry of an audit log that were written
    head: Option<ProjectRow>,
    entry: Option<(ProjectId, AuditRow)>,
}

impl Touched {
    /// Returns true if the change has replaced everything.
    pub(super) fn clears(&self) -> bool {
        self.clears
    }

    /// Returns true if the head of a project was written.
    pub(super) fn has_head(&self, pid: &ProjectId) -> bool {
        self.clears || self.projects.contains(pid) || self.dropped_projects.contains(pid)
    }

    fn add(&mut self, change: &Change<'_>) {
        match change {
            Change::Clear => *self = Self { clears: true, ..Self::default() },
            Change::Vault(_) => self.vault = true,
            Change::Slot(slot) => drop(self.slots.insert(slot.slot_id.clone())),
            Change::DropSlot(slot_id) => drop(self.slots.insert(slot_id.to_vec())),
            Change::Near(rows) => self.near = Some((*rows).clone()),
            Change::Project(row) | Change::NewProject(row) => {
                if matches!(change, Change::NewProject(_)) && !self.clears {
                    self.new_projects.insert(row.pid);
                }

                self.projects.insert(row.pid);
                self.head = Some((*row).clone());
            }
            Change::DropProject(pid) => {
                self.forget_project(pid);
                self.dropped_projects.insert(**pid);
            }
            Change::Bucket(pid, number, _) => drop(self.buckets.insert((**pid, *number))),
            Change::Record(pid, record) => {
                self.records.insert((**pid, record.tag_ix));
            }
            Change::MoveRecord(pid, from, record) => {
                self.records.extend([(**pid, **from), (**pid, record.tag_ix)]);
            }
            Change::DropRecord(pid, record) => {
                self.records.insert((**pid, record.tag_ix));
                self.values.insert(record.rid);
            }
            Change::Value(rid, _) => drop(self.values.insert(**rid)),
            Change::Policy(pid, _) => drop(self.policies.insert(**pid)),
            Change::Grant(grant) => drop(self.grants.insert(grant.token_id)),
            Change::DropGrant(token_id) => drop(self.grants.insert(**token_id)),
            Change::Audit(pid, row) => {
                self.audit.insert((**pid, row.seq));
                self.entry = (!self.clears).then(|| (**pid, (*row).clone()));
            }
            Change::DropAudit(pid, last) => {
                self.audit.retain(|(of, seq)| of != *pid || *seq > *last);
                self.dropped_audit.insert(**pid, *last);
            }
        }
    }

    /// Notes whether a change that will be applied to the cache adds something under a new id.
    fn note_new_id(
        &mut self,
        change: &Change<'_>,
        cache: &SqliteTransaction<'_>,
    ) -> Result<(), StoreError> {
        self.has_new_id = self.has_new_id
            || match change {
                Change::Slot(_) | Change::NewProject(_) => true,
                Change::Record(pid, record) => {
                    let before = cache.record(pid, &record.tag_ix)?;
                    before.is_none_or(|before| before.rid != record.rid)
                }
                _ => false,
            };

        Ok(())
    }

    fn forget_project(&mut self, dropped: &ProjectId) {
        self.projects.remove(dropped);
        self.new_projects.remove(dropped);
        self.buckets.retain(|(pid, _)| pid != dropped);
        self.records.retain(|(pid, _)| pid != dropped);
        self.policies.remove(dropped);
        self.audit.retain(|(pid, _)| pid != dropped);
        self.dropped_audit.remove(dropped);
    }

    /// Returns the changes of rows that an answer of the server replaces in the cache, although the
    /// server does not know the changes yet.
    pub(super) fn replaceable(&self, cache: &SqliteTransaction<'_>) -> Result<Update, StoreError> {
        let dropped_audit = self.dropped_audit.iter().map(|(pid, last)| (*pid, *last)).collect();
        let mut update = Update { dropped_audit, ..Update::default() };
        self.add_vault(cache, &mut update)?;
        self.add_audit(cache, &mut update)?;
        let added = update.rows.slots.iter().map(|slot| slot.slot_id.clone());
        update.dropped_slots.extend(added);
        Ok(update)
    }

    /// Returns the net effect: the rows as the cache has them now.
    fn update(&self, cache: &SqliteTransaction<'_>) -> Result<Update, StoreError> {
        let mut update = Update {
            clears: self.clears,
            dropped_projects: self.dropped_projects.iter().copied().collect(),
            dropped_audit: self.dropped_audit.iter().map(|(pid, last)| (*pid, *last)).collect(),
            ..Update::default()
        };

        self.add_vault(cache, &mut update)?;
        self.add_projects(cache, &mut update)?;
        self.add_records(cache, &mut update)?;
        self.add_audit(cache, &mut update)?;
        Ok(update)
    }

    fn add_vault(
        &self,
        cache: &SqliteTransaction<'_>,
        update: &mut Update,
    ) -> Result<(), StoreError> {
        if self.vault {
            update.rows.vault = cache.cached_vault()?;
        }

        let slots = cache.slots()?;
        for slot_id in &self.slots {
            match slots.iter().find(|slot| slot.slot_id == *slot_id) {
                Some(slot) => update.rows.slots.push(slot.clone()),
                None => update.dropped_slots.push(slot_id.clone()),
            }
        }

        for token_id in &self.grants {
            match cache.grant(token_id)? {
                Some(grant) => update.rows.grants.push(grant),
                None => update.dropped_grants.push(*token_id),
            }
        }

        Ok(())
    }

    fn add_projects(
        &self,
        cache: &SqliteTransaction<'_>,
        update: &mut Update,
    ) -> Result<(), StoreError> {
        for pid in &self.projects {
            let is_new = self.new_projects.contains(pid);
            let to = if is_new { &mut update.new_projects } else { &mut update.rows.projects };
            to.extend(cache.project(pid)?);
        }

        for pid in &self.policies {
            update.rows.policies.extend(cache.policy(pid)?.map(|policy| (*pid, policy)));
        }

        for (pid, number) in &self.buckets {
            match cache.bucket_hash(pid, *number)? {
                Some(hash) => update.rows.buckets.push((*pid, *number, hash)),
                None => update.dropped_buckets.push((*pid, *number)),
            }
        }

        Ok(())
    }

    fn add_records(
        &self,
        cache: &SqliteTransaction<'_>,
        update: &mut Update,
    ) -> Result<(), StoreError> {
        for (pid, index) in &self.records {
            update.dropped_records.push((*pid, *index));
            update.rows.records.extend(cache.record(pid, index)?.map(|record| (*pid, record)));
        }

        for rid in &self.values {
            match cache.value(rid)? {
                Some(value) => update.rows.values.push((*rid, value)),
                None => update.dropped_values.push(*rid),
            }
        }

        Ok(())
    }

    /// Adds the entries of audit logs. The last one of each log must be new: two writers who follow
    /// on the same head both write it, and only one of them can.
    fn add_audit(
        &self,
        cache: &SqliteTransaction<'_>,
        update: &mut Update,
    ) -> Result<(), StoreError> {
        let mut last: BTreeMap<ProjectId, u64> = BTreeMap::new();
        for (pid, seq) in &self.audit {
            last.insert(*pid, *seq);
        }

        for (pid, seq) in &self.audit {
            let mut entry = None;
            cache.audit(pid, *seq, &mut |row| {
                entry = Some(row).filter(|row| row.seq == *seq);
                false
            })?;

            let Some(entry) = entry else { continue };
            let is_new = last.get(pid) == Some(seq) && !self.clears;
            let to = if is_new { &mut update.entries } else { &mut update.rows.audit };
            to.push((*pid, entry));
        }

        Ok(())
    }
}

impl Transaction for RemoteSnapshot<'_> {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        self.forget_everything();

        // A head that the caller replaces was read before. A project that it adds was not there, and
        // the server finds at the commit whether its id is taken.
        match &change {
            Change::NewProject(row) => {
                if self.cache()?.project(&row.pid)?.is_some() {
                    return Err(StoreError::IdTaken);
                }

                self.add_project(&row.pid);
            }
            Change::Project(row) if !self.touched.borrow().clears() => {
                drop(self.project(&row.pid)?);
            }
            // A head that came later would replace these rows.
            Change::Policy(pid, _)
            | Change::Bucket(pid, ..)
            | Change::Record(pid, _)
            | Change::MoveRecord(pid, ..)
            | Change::DropRecord(pid, _) => self.read_head(pid)?,
            _ => {}
        }

        let mut cache = self.changing()?;
        let completed = match &change {
            Change::Bucket(pid, number, Some(_)) => Some((**pid, *number)),
            _ => None,
        };
        let removed = match &change {
            Change::DropProject(pid) => Some(**pid),
            _ => None,
        };

        self.touched.borrow_mut().add(&change);
        self.touched.borrow_mut().note_new_id(&change, &cache)?;
        match change {
            Change::Near(_) => {}
            Change::Clear => cache.forget_all()?,
            change => cache.apply(change)?,
        }

        if let Some((pid, number)) = completed {
            cache.mark_complete(&pid, number)?;
        }

        drop(cache);
        if let Some(pid) = removed {
            self.remove_project(&pid);
        }

        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        self.fetch_changed()?;
        let update = self.update()?;
        let server = self.store.server()?;
        let near = self.touched.borrow_mut().near.take();
        self.store.stage_near(near.as_ref())?;
        let committed = server.update(&update);
        self.state.borrow_mut().has_begun = false;
        self.store.has_only_assumed.set(false);
        match committed {
            Ok(committed) => {
                self.store.is_replicated.set(committed.replicated);
                self.store.settle_near(true)?;

                // The change is durable. A cache that misses it learns it from the server.
                let _ = self.keep_changes();

                Ok(())
            }
            Err(UpdateError::Overtaken(rows)) => {
                self.store.settle_near(false)?;
                self.store.locks_directory.set(self.has_changed_directory());
                let answered = update.or_ask.map(|request| Answered { request, rows: *rows });
                self.store.next.replace(answered);
                Err(CommitError::Failed(StoreError::Raced))
            }
            Err(UpdateError::Failed(cause)) => {
                self.store.settle_near(false)?;
                self.store.locks_directory.set(self.has_changed_directory());

                // Without a new id, the server has an id of the vault at another place.
                Err(CommitError::Failed(match cause {
                    StoreError::IdTaken if !self.touched.borrow().has_new_id => {
                        StoreError::Damaged("table of records")
                    }
                    cause => cause,
                }))
            }
            Err(UpdateError::Unknown(cause)) => {
                let mut touched = self.touched.borrow_mut();
                let (head, entry) = (touched.head.take(), touched.entry.take());
                Err(CommitError::Unknown(Box::new(Doubt { head, entry, cause })))
            }
        }
    }
}

impl RemoteSnapshot<'_> {
    /// Keeps the changes in the cache, and the time at which it was equal to the server. Nothing is kept
    /// if the server has sent a head that the vault has not verified.
    fn keep_changes(&self) -> Result<(), StoreError> {
        if !self.is_verified() {
            return Ok(());
        }

        let Some(mut cache) = self.take_cache() else { return Ok(()) };
        let now = Timestamp::now().0;
        for pid in self.state.borrow().used.keys() {
            cache.set_seen(pid, now)?;
        }

        cache.keep()
    }

    /// Fetches what others have changed in the projects of this change since this machine has known them.
    /// Then it can put back all of that together with its own change. Rows that do not come are no reason
    /// to stop: somebody else has them, or a damaged project is being repaired.
    fn fetch_changed(&self) -> Result<(), StoreError> {
        let pids: Vec<ProjectId> = {
            let touched = self.touched.borrow();
            touched.projects.iter().filter(|_| !touched.clears).copied().collect()
        };
        let plan = |cache: &SqliteTransaction<'_>| {
            let mut asks = Vec::new();
            for pid in &pids {
                let missing = cache.missing(pid)?;
                if !missing.is_empty() {
                    asks.push(differing(cache, pid, &missing)?);
                }
            }

            Ok(Plan { asks, ..Plan::default() })
        };

        if plan(&*self.cache()?)?.is_empty() {
            return Ok(());
        }

        self.ask(plan)?;
        let mut cache = self.changing()?;
        pids.iter().try_for_each(|pid| cache.forget_changes(pid))
    }

    fn has_changed_directory(&self) -> bool {
        let touched = self.touched.borrow();
        touched.clears || touched.projects.contains(&DIRECTORY)
    }

    /// Returns the net effect of the changes so far.
    pub(super) fn changes(&self) -> Result<Update, StoreError> {
        self.touched.borrow().update(&*self.cache()?)
    }

    /// Returns what to commit. Without locks, every head that was read must still be the same.
    fn update(&self) -> Result<Update, StoreError> {
        let state = self.state.borrow();
        let mut update = self.changes()?;

        // The server itself refuses a new project whose id is taken. Another project that did not exist
        // cannot be locked.
        let touched = self.touched.borrow();
        let is_new =
            |pid: &ProjectId, sig: &[u8]| sig.is_empty() && touched.new_projects.contains(pid);
        update.begins = !matches!(state.mode, Mode::Locked) || !state.has_begun;
        update.expected = state
            .used
            .iter()
            .filter(|(pid, sig)| (update.begins || sig.is_empty()) && !is_new(pid, sig))
            .map(|(pid, sig)| (*pid, sig.clone()))
            .collect();
        if matches!(state.mode, Mode::Assumed) {
            update.or_ask = Some(self.if_overtaken()?);
        }

        Ok(update)
    }

    /// Returns what the next attempt needs if another writer comes first: the heads that were read, and
    /// what has changed in these projects.
    fn if_overtaken(&self) -> Result<Request, StoreError> {
        let mut scope = Scope::default();
        self.add_used(&mut scope)?;
        scope.known.retain(|known| !known.sig.is_empty());
        let touched = self.touched.borrow();
        for known in &mut scope.known {
            // The next attempt has no entry of this one.
            let own = touched.audit.range((known.pid, 0)..=(known.pid, u64::MAX)).next();
            known.last_entry = own.map_or(known.last_entry, |(_, seq)| seq.saturating_sub(1));
        }

        let begin = Some(Begin::Write { directory: self.has_changed_directory() });
        let cache = self.cache()?;
        let asks = scope.known.iter().map(|known| differing(&cache, &known.pid, &BTreeSet::new()));
        let asks = asks.collect::<Result<Vec<_>, _>>()?;
        Ok(Request { begin, scope, heads_only: false, asks })
    }
}

/// Returns the question for the buckets of a project that the cache does not have as they are now, and for
/// those in `missing`.
fn differing(
    cache: &SqliteTransaction<'_>,
    pid: &ProjectId,
    missing: &BTreeSet<u8>,
) -> Result<Ask, StoreError> {
    let mut prefixes = vec![0; 256 * 4];
    let known = cache.buckets(pid)?.into_iter().filter(|(number, _)| !missing.contains(number));
    for (number, hash) in known {
        let at = usize::from(number) * 4;
        prefixes[at..at + 4].copy_from_slice(&hash[..4]);
    }

    Ok(Ask::Differing(*pid, prefixes))
}

impl Update {
    /// Applies the update to all rows of a vault, as the server will.
    pub(in crate::store) fn apply(&self, to: &mut SqliteTransaction<'_>) -> Result<(), StoreError> {
        for pid in &self.dropped_projects {
            to.apply(Change::DropProject(pid))?;
        }

        for (pid, number) in &self.dropped_buckets {
            to.apply(Change::Bucket(pid, *number, None))?;
        }

        for (pid, index) in &self.dropped_records {
            to.drop_record(pid, index)?;
        }

        for rid in &self.dropped_values {
            to.drop_value(*rid)?;
        }

        for token_id in &self.dropped_grants {
            to.apply(Change::DropGrant(token_id))?;
        }

        for slot_id in &self.dropped_slots {
            to.apply(Change::DropSlot(slot_id))?;
        }

        for (pid, last) in &self.dropped_audit {
            to.apply(Change::DropAudit(pid, *last))?;
        }

        self.new_projects.iter().try_for_each(|row| to.apply(Change::Project(row)))?;
        self.rows.apply(to)?;
        self.entries.iter().try_for_each(|(pid, entry)| to.apply(Change::Audit(pid, entry)))
    }
}

impl Rows {
    /// Applies all rows to an empty vault.
    pub(in crate::store) fn apply(&self, to: &mut SqliteTransaction<'_>) -> Result<(), StoreError> {
        if let Some(vault) = &self.vault {
            to.apply(Change::Vault(vault))?;
        }

        for slot in &self.slots {
            to.apply(Change::Slot(slot))?;
        }

        for row in &self.projects {
            to.apply(Change::Project(row))?;
        }

        for (pid, policy) in &self.policies {
            to.apply(Change::Policy(pid, policy))?;
        }

        for grant in &self.grants {
            to.apply(Change::Grant(grant))?;
        }

        for (pid, number, hash) in &self.buckets {
            to.apply(Change::Bucket(pid, *number, Some(hash)))?;
        }

        for (pid, record) in &self.records {
            to.apply(Change::Record(pid, record))?;
        }

        for (rid, value) in &self.values {
            to.apply(Change::Value(rid, value))?;
        }

        for (pid, entry) in &self.audit {
            to.apply(Change::Audit(pid, entry))?;
        }

        Ok(())
    }
}
