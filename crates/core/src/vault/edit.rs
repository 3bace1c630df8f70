//! Changes a project: verifies every bucket that will be signed again, applies the changes, and
//! signs once (docs/format.md, section 5).
//!
//! A bucket is verified before its first change. Otherwise our signature would legitimise a change
//! that an attacker made.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::VaultError;
use super::key_handle::{RootKeyHandle, RootTables};
use super::state::{Project, State, VerifiedRecord};
use crate::crypto::head::{Head, HeadHistory};
use crate::crypto::history::Ancestors;
use crate::crypto::ids::{Hash, ProjectId, RecordId};
use crate::crypto::keyring::Keyring;
use crate::crypto::random;
use crate::crypto::rows::{Grant, ProjectRow, Record, Slot, VaultRow};
use crate::crypto::tree::{self, BUCKETS, EMPTY_BUCKET, Leaf};
use crate::model::{Metadata, ProjectName, Secret, SecretValue, TagKey, Timestamp};
use crate::store::{Change, MAX_PROJECTS, Snapshot, Transaction};

/// A project that is being created or changed in a transaction. The caller commits, because one
/// transaction may change several projects, one after the other.
pub(super) struct Edit<'a> {
    transaction: &'a mut dyn Transaction,
    project: Project,
    leaves: BTreeMap<u8, Vec<Leaf>>,
    count: u64,
    /// The ids of new secrets
    drawn: HashSet<RecordId>,
}

impl<'a> Edit<'a> {
    pub(super) fn new(transaction: &'a mut dyn Transaction, project: Project) -> Self {
        let count = project.head.count;
        Self { transaction, project, leaves: BTreeMap::new(), count, drawn: HashSet::new() }
    }

    fn leaves(&mut self, bucket: u8) -> Result<&mut Vec<Leaf>, VaultError> {
        if !self.leaves.contains_key(&bucket) {
            self.leaves.insert(bucket, self.project.bucket(self.transaction, bucket)?);
        }

        Ok(self.leaves.entry(bucket).or_default())
    }

    /// Returns the secret with this tag, including changes of this edit.
    pub(super) fn find(&mut self, key: &TagKey) -> Result<Option<Secret>, VaultError> {
        let tag_ix = self.project.keyring.tag_ix(key);
        let leaves = self.leaves(tag_ix[0])?;
        let Ok(at) = leaves.binary_search_by(|leaf| leaf.tag_ix.cmp(&tag_ix)) else {
            return Ok(None);
        };

        let leaf = leaves[at];
        let found = self.project.by_leaf(self.transaction, &leaf)?;
        Ok(Some(self.project.secret(found)))
    }

    /// Stores a new secret under an id that no other secret has.
    pub(super) fn add_as(
        &mut self,
        rid: RecordId,
        metadata: Metadata,
        value: &SecretValue,
    ) -> Result<Secret, VaultError> {
        let record = self.first_draft(rid, &metadata.tag.key());
        self.put(VerifiedRecord { record, metadata }, Some(value))
    }

    /// Stores the next version of a record. Without `value`, the record keeps its value.
    pub(super) fn put(
        &mut self,
        found: VerifiedRecord,
        value: Option<&SecretValue>,
    ) -> Result<Secret, VaultError> {
        let VerifiedRecord { mut record, metadata } = found;

        record.ver += 1;
        if let Some(value) = value {
            self.put_value(&mut record, value)?;
        }

        self.put_record(record, metadata)
    }

    /// Begins a new secret for [`Edit::put_all`], under a new id.
    pub(super) fn draft(&mut self, key: &TagKey) -> Result<Record, VaultError> {
        let rid = self.free_id()?;
        Ok(self.first_draft(rid, key))
    }

    /// Stores the next versions of many numbered records. `value` and `metadata` return the content
    /// for a number. `take` gets the stored secret.
    ///
    /// Values are written in the order of their ids and records in the order of their indexes,
    /// because that is how they are stored. In any other order, every page of a large file would be
    /// read and written many times.
    pub(super) fn put_all<V: Borrow<SecretValue>>(
        &mut self,
        mut drafts: Vec<(usize, Record)>,
        mut value: impl FnMut(&dyn Snapshot, usize) -> Result<V, VaultError>,
        mut metadata: impl FnMut(usize) -> Metadata,
        mut take: impl FnMut(usize, Secret),
    ) -> Result<(), VaultError> {
        drafts.sort_unstable_by_key(|(_, record)| record.rid);
        for (number, record) in &mut drafts {
            record.ver += 1;
            let value = value(self.transaction, *number)?;
            self.put_value(record, value.borrow())?;
        }

        drafts.sort_unstable_by_key(|(_, record)| record.tag_ix);
        for (number, record) in drafts {
            take(number, self.put_record(record, metadata(number))?);
        }

        Ok(())
    }

    /// Returns a record with nothing stored yet, and counts it.
    fn first_draft(&mut self, rid: RecordId, key: &TagKey) -> Record {
        self.count += 1;
        Record {
            tag_ix: self.project.keyring.tag_ix(key),
            rid,
            epoch: self.project.row.epoch,
            ver: 0,
            vver: 0,
            meta: Vec::new(),
            val_hash: [0; 32],
            leaf: [0; 32],
        }
    }

    /// Stores the value of a record's current version.
    fn put_value(&mut self, record: &mut Record, value: &SecretValue) -> Result<(), VaultError> {
        record.vver = record.ver;
        let sealed = self.project.keyring.seal_value(
            self.project.context(&record.rid),
            record.vver,
            value,
        )?;
        record.val_hash = tree::value_hash(&sealed);

        Ok(self.transaction.apply(Change::Value(&record.rid, &sealed))?)
    }

    /// Stores the current version of a record whose value is already stored.
    fn put_record(&mut self, mut record: Record, metadata: Metadata) -> Result<Secret, VaultError> {
        record.meta = self.project.keyring.seal_metadata(
            self.project.context(&record.rid),
            record.ver,
            &metadata,
        )?;

        record.leaf = tree::leaf(&self.project.vault_id, &self.project.row.pid, &record);

        // The bucket is read before the record is written, so its old content is verified.
        let leaves = self.leaves(record.tag_ix[0])?;
        let leaf = Leaf { tag_ix: record.tag_ix, rid: record.rid, leaf: record.leaf };
        match leaves.binary_search_by(|other| other.tag_ix.cmp(&record.tag_ix)) {
            Ok(at) => leaves[at] = leaf,
            Err(at) => leaves.insert(at, leaf),
        }

        self.transaction.apply(Change::Record(&self.project.row.pid, &record))?;
        Ok(self.project.secret(VerifiedRecord { record, metadata }))
    }

    /// Draws an id that neither the vault nor this edit uses yet.
    fn free_id(&mut self) -> Result<RecordId, VaultError> {
        loop {
            let rid: RecordId = random::array()?;
            if self.transaction.locate(&rid)?.is_none() && self.drawn.insert(rid) {
                return Ok(rid);
            }
        }
    }

    pub(super) fn remove(&mut self, found: VerifiedRecord) -> Result<Secret, VaultError> {
        let record = &found.record;
        let leaves = self.leaves(record.tag_ix[0])?;
        if let Ok(at) = leaves.binary_search_by(|leaf| leaf.tag_ix.cmp(&record.tag_ix)) {
            leaves.remove(at);
        }

        self.count = self
            .count
            .checked_sub(1)
            .ok_or_else(|| self.project.damaged("the number of records"))?;

        self.transaction.apply(Change::DropRecord(&self.project.row.pid, record))?;
        Ok(self.project.secret(found))
    }

    /// Writes the changed buckets and the new head.
    pub(super) fn sign(self) -> Result<(), VaultError> {
        let Self { transaction, project, leaves, count, .. } = self;
        let Project { row, keyring, .. } = &project;
        let mut buckets = project.buckets.clone();
        for (number, leaves) in &leaves {
            buckets[usize::from(*number)] = write_bucket(transaction, &row.pid, *number, leaves)?;
        }

        sign_next(transaction, &project, row, keyring, &buckets, count).map(drop)
    }
}

/// Writes the hash of a bucket and returns it.
pub(super) fn write_bucket(
    transaction: &mut dyn Transaction,
    pid: &ProjectId,
    number: u8,
    leaves: &[Leaf],
) -> Result<Hash, VaultError> {
    let hash = tree::bucket(pid, number, leaves);
    transaction.apply(Change::Bucket(pid, number, (hash != EMPTY_BUCKET).then_some(&hash)))?;
    Ok(hash)
}

/// Signs the revision after `project`'s, with `buckets` and `count` records, under the keys of
/// `row`. Returns the row that was written.
pub(super) fn sign_next(
    transaction: &mut dyn Transaction,
    project: &Project,
    row: &ProjectRow,
    keyring: &Keyring,
    buckets: &[Hash; BUCKETS],
    count: u64,
) -> Result<ProjectRow, VaultError> {
    let Project { vault_id, head, row: before, .. } = project;
    let now = head.revision(vault_id, &before.pid, before.epoch);
    let ancestors = if head.seq == 0 { Ancestors::none() } else { now.ancestors.then(&now.hash) };
    let next = Head {
        seq: head.seq + 1,
        count,
        root_hash: tree::root_hash(&row.pid, buckets),
        audit_head: head.audit_head,
        time: Timestamp::now().0,
        signer_id: [0; 16],
        past: HeadHistory::Ancestors(ancestors),
    };

    let (head, sig) = keyring.sign_head(vault_id, &row.pid, row.epoch, &next)?;
    let written = ProjectRow { head, sig, ..row.clone() };
    transaction.apply(Change::Project(&written))?;
    Ok(written)
}

/// A project to edit: one of the vault's by its position, or a new one, whose row has keys but no
/// head yet. Its buckets are not read before it is its turn.
pub(super) enum Target {
    Existing(usize),
    New(ProjectRow, Rc<Keyring>),
}

impl Target {
    fn new(
        state: &State,
        root: &dyn RootKeyHandle,
        name: &ProjectName,
    ) -> Result<Self, VaultError> {
        if let Some(at) = state.position(name) {
            return Ok(Self::Existing(at));
        }

        let pid: ProjectId = random::array()?;
        let keyring = Keyring::random(&pid, name.clone())?;
        let keys = root.seal_keyring(&state.vault.vault_id, &pid, 1, &keyring)?;
        let row = ProjectRow { pid, epoch: 1, keys, head: Vec::new(), sig: Vec::new() };
        Ok(Self::New(row, Rc::new(keyring)))
    }

    fn new_row(&self) -> Option<&ProjectRow> {
        match self {
            Self::Existing(_) => None,
            Self::New(row, _) => Some(row),
        }
    }

    /// Returns the verified project, or the empty new one.
    pub(super) fn open(
        self,
        state: &State,
        snapshot: &dyn Snapshot,
    ) -> Result<Project, VaultError> {
        match self {
            Self::Existing(at) => state.project(snapshot, at),
            Self::New(row, keyring) => Ok(Project::unverified(state.vault.vault_id, row, keyring)),
        }
    }
}

/// Fails if the vault would exceed the maximum number of projects with those of `names` that it
/// does not have.
pub(super) fn check_room(state: &State, names: &[&ProjectName]) -> Result<(), VaultError> {
    let absent = names.iter().filter(|name| state.position(name).is_none()).count();
    if state.rows.len() + absent > MAX_PROJECTS { Err(VaultError::TooManyProjects) } else { Ok(()) }
}

/// Opens the project of this name, or creates it. The caller then edits and signs it.
pub(super) fn open_or_create(
    state: &State,
    root: &dyn RootKeyHandle,
    transaction: &mut dyn Transaction,
    name: &ProjectName,
) -> Result<Project, VaultError> {
    check_room(state, &[name])?;
    let target = Target::new(state, root, name)?;
    create(state, root, transaction, std::slice::from_ref(&target))?;
    target.open(state, transaction)
}

/// Creates the missing projects among `names`, and returns one target for each name. The caller
/// then edits and signs each one.
pub(super) fn create_missing(
    state: &State,
    root: &dyn RootKeyHandle,
    transaction: &mut dyn Transaction,
    names: &[&ProjectName],
) -> Result<Vec<Target>, VaultError> {
    check_room(state, names)?;
    let targets: Vec<Target> =
        names.iter().map(|name| Target::new(state, root, name)).collect::<Result<_, _>>()?;

    create(state, root, transaction, &targets)?;
    Ok(targets)
}

/// Updates the root MAC once for all new projects.
fn create(
    state: &State,
    root: &dyn RootKeyHandle,
    transaction: &mut dyn Transaction,
    targets: &[Target],
) -> Result<(), VaultError> {
    let new: Vec<_> = targets.iter().filter_map(Target::new_row).cloned().collect();
    if new.is_empty() {
        return Ok(());
    }

    seal_root(state, root, [&state.rows[..], &new].concat(), transaction)
}

/// Writes the vault's row for the revision after `state`, with the projects `rows`.
pub(super) fn seal_root(
    state: &State,
    root: &dyn RootKeyHandle,
    rows: Vec<ProjectRow>,
    transaction: &mut dyn Transaction,
) -> Result<(), VaultError> {
    seal_tables(state.vault.next(), state.slots.clone(), rows, &state.grants, root, transaction)
}

/// Writes the vault's row with a MAC over these tables.
pub(super) fn seal_tables(
    mut vault: VaultRow,
    mut slots: Vec<Slot>,
    mut rows: Vec<ProjectRow>,
    grants: &[Grant],
    root: &dyn RootKeyHandle,
    transaction: &mut dyn Transaction,
) -> Result<(), VaultError> {
    slots.sort_by(|one, other| one.slot_id.cmp(&other.slot_id));
    rows.sort_by_key(|row| row.pid);
    vault.root_mac =
        root.mac(&RootTables { vault: &vault, slots: &slots, projects: &rows, grants })?;

    Ok(transaction.apply(Change::Vault(&vault))?)
}
