//! The checks that a client makes before it uses an answer.
//!
//! A client cannot know who listens. So it verifies the owner's signatures and compares the answer
//! with the vault's rows and with its own request. A process in the agent's place that does not
//! have the owner's key can refuse, but nothing that it answers is written.

use secrets_core::crypto::audit::{AuditEntry, SignedEntry};
use secrets_core::crypto::head::Head;
use secrets_core::crypto::ids::{DIRECTORY, OWNER, ProjectId, RecordId, VaultId, record_of};
use secrets_core::crypto::rows::{ProjectRow, Record};
use secrets_core::crypto::signing::PublicKey;
use secrets_core::crypto::tree::{self, BUCKETS, EMPTY_BUCKET};
use secrets_core::model::ProjectName;
use secrets_core::store::{OwnedChange, RowSet, Snapshot, StoreError, Transaction};
use secrets_core::vault::{KeyServiceError, OpenedProject, SignRequest, SignedHead, VaultError};

use super::protocol::{Answer, ChangeKind};

/// The directory as the agent has opened it.
#[derive(Clone)]
pub(super) struct KnownDirectory {
    pub(super) head: Head,
    pub(super) epoch: u32,
    pub(super) owner: PublicKey,
}

impl KnownDirectory {
    /// Returns the directory if this is the head that the vault's row is signed over.
    pub(super) fn of(
        vault_id: &VaultId,
        row: &ProjectRow,
        epoch: u32,
        owner: PublicKey,
        head: &[u8],
    ) -> Option<Self> {
        let is_this = row.epoch == epoch && owner.verifies(head, &row.sig);
        let head = Head::decode_for(head, vault_id, &DIRECTORY, epoch)?;
        is_this.then_some(Self { head, epoch, owner })
    }
}

/// Returns true if the directory's rows have this project at an index, or none there.
pub(super) fn is_at(
    rows: &RowSet,
    index: &[u8; 16],
    found: Option<&OpenedProject>,
) -> Result<bool, StoreError> {
    let leaves = rows.leaves(&DIRECTORY, index[0])?;
    let leaf = leaves.iter().find(|leaf| leaf.tag_ix == *index);
    Ok(leaf.map(|leaf| leaf.rid) == found.map(|found| record_of(&found.entry.pid)))
}

/// Returns the signed head of an answer, if it is the one that was asked for and the owner has
/// signed it.
pub(super) fn signed(
    owner: &PublicKey,
    vault_id: &VaultId,
    request: &SignRequest<'_>,
    answer: &Answer<'_>,
) -> Option<SignedHead> {
    let Answer::Signed { head: encoded, sig, entry, entry_sig } = answer else { return None };
    let (pid, epoch) = (&request.project.entry.pid, request.project.entry.epoch);
    let entry = AuditEntry::decode(entry).ok()?;
    let entry = SignedEntry { entry, sig: (*entry_sig).try_into().ok()? };
    let head = Head::decode_for(encoded, vault_id, pid, epoch)?;

    let asked = AuditEntry {
        previous: request.head.audit_head,
        signer_id: OWNER,
        time: request.head.time,
        root_hash: request.head.root_hash,
        change: request.change.clone(),
    };

    // Only the hash of the entry may differ from the request.
    let expected = Head { audit_head: entry.hash(), ..request.head.clone() };
    let is_asked = entry.entry == asked && head == expected;
    let is_signed =
        owner.verifies(encoded, sig) && entry.is_signed_by(owner, vault_id, pid, head.seq);
    let made = SignedHead { head, sig: (*sig).try_into().ok()?, entry };
    (is_asked && is_signed).then_some(made)
}

/// A change of the directory that the agent was asked for.
#[derive(Clone, Copy)]
pub(super) struct AskedChange<'a> {
    pub(super) kind: ChangeKind,
    pub(super) names: &'a [&'a ProjectName],
    /// The indexes of the names
    pub(super) indexes: &'a [[u8; 16]],
}

/// Compares the rows that the agent wants to be written with the change that was asked for.
pub(super) struct ChangeCheck<'a> {
    vault_id: &'a VaultId,
    before: &'a KnownDirectory,
    asked: AskedChange<'a>,
    head: &'a Head,
    /// The records at the indexes, without those that do not exist
    existing: Vec<Record>,
    /// The ids of the projects that were added
    added: Vec<ProjectId>,
}

impl<'a> ChangeCheck<'a> {
    /// Begins with the answered head and projects. `rows` are those that were sent to the agent.
    pub(super) fn new(
        vault_id: &'a VaultId,
        before: &'a KnownDirectory,
        asked: AskedChange<'a>,
        rows: &RowSet,
        head: &'a Head,
        added: &[OpenedProject],
    ) -> Result<Self, VaultError> {
        let mut existing = Vec::new();
        for index in asked.indexes {
            existing.extend(rows.record(&DIRECTORY, index)?);
        }

        let wanted = if asked.kind == ChangeKind::Add { asked.names } else { &[] };
        let names_fit = added.iter().map(|project| &project.entry.name).eq(wanted.iter().copied());
        let added = added.iter().map(|project| project.entry.pid).collect();
        let check = Self { vault_id, before, asked, head, existing, added };
        if names_fit && check.follows() { Ok(check) } else { Err(invalid()) }
    }

    /// Returns true if the head is the next one of the directory.
    fn follows(&self) -> bool {
        let KnownDirectory { head: before, epoch, .. } = self.before;
        let (added, existing) = (self.added.len() as u64, self.existing.len() as u64);
        let count = match self.asked.kind {
            ChangeKind::Add => before.count.checked_add(added),
            ChangeKind::Rename => Some(before.count),
            ChangeKind::Delete => before.count.checked_sub(existing),
        };

        let hash = before.hash(self.vault_id, &DIRECTORY, *epoch);
        Some(self.head.seq) == before.seq.checked_add(1)
            && Some(self.head.count) == count
            && self.head.ancestors == before.ancestors.then(&hash)
            && self.head.signer_id == OWNER
            && self.head.policy == before.policy
            && self.head.directory == before.directory
    }

    /// Applies the changes if each is part of what was asked for, and if together they lead to the
    /// signed head.
    pub(super) fn apply(
        &self,
        changes: &[OwnedChange],
        rows: &mut dyn Transaction,
    ) -> Result<(), VaultError> {
        if self.added.contains(&DIRECTORY) {
            return Err(invalid());
        }

        let heads = changes.iter().filter(|change| is_directory(change)).count();
        if heads != 1 || !changes.iter().all(|change| self.allows(change, changes)) {
            return Err(invalid());
        }

        // The store refuses a project or a record whose id is taken.
        for change in changes {
            change.apply(rows).map_err(|error| match error {
                StoreError::IdTaken => invalid(),
                error => error.into(),
            })?;
        }

        if self.is_reached(rows)? { Ok(()) } else { Err(invalid()) }
    }

    fn allows(&self, change: &OwnedChange, all: &[OwnedChange]) -> bool {
        let KnownDirectory { epoch, owner, .. } = self.before;
        let deletes = self.asked.kind == ChangeKind::Delete;
        match change {
            OwnedChange::Project(row) if row.pid == DIRECTORY => {
                let signed = self.head.encode(self.vault_id, &DIRECTORY, *epoch);
                row.epoch == *epoch && owner.verifies(&signed, &row.sig)
            }
            OwnedChange::Project(row) => self.added.contains(&row.pid),
            OwnedChange::DropProject(pid) => deletes && self.is_existing(record_of(pid)),
            OwnedChange::Bucket(number, _) => {
                self.asked.indexes.iter().any(|index| index[0] == *number)
            }
            OwnedChange::Record(record) => {
                self.asked.indexes.contains(&record.tag_ix)
                    && self.is_written(record.rid)
                    && tree::leaf(self.vault_id, &DIRECTORY, record) == record.leaf
            }
            OwnedChange::DropRecord(record) => {
                let is_this = |old: &Record| old.tag_ix == record.tag_ix && old.rid == record.rid;
                self.asked.kind != ChangeKind::Add && self.existing.iter().any(is_this)
            }
            OwnedChange::Value(rid, sealed) => {
                let hash = tree::value_hash(sealed);
                all.iter().any(|other| {
                    matches!(other, OwnedChange::Record(record)
                        if record.rid == *rid && record.val_hash == hash)
                })
            }
            OwnedChange::Audit(pid, row) if *pid == DIRECTORY => row.seq == self.head.seq,
            OwnedChange::Audit(pid, row) => self.added.contains(pid) && row.seq == 1,
        }
    }

    fn is_existing(&self, rid: RecordId) -> bool {
        self.existing.iter().any(|record| record.rid == rid)
    }

    /// Returns true for the record of a project that is added or renamed.
    fn is_written(&self, rid: RecordId) -> bool {
        match self.asked.kind {
            ChangeKind::Add => self.added.iter().any(|pid| record_of(pid) == rid),
            ChangeKind::Rename => self.existing.first().is_some_and(|from| from.rid == rid),
            ChangeKind::Delete => false,
        }
    }

    /// Returns true if the rows are those that the head is signed over.
    fn is_reached(&self, rows: &dyn Snapshot) -> Result<bool, StoreError> {
        let mut hashes = Box::new([EMPTY_BUCKET; BUCKETS]);
        for (number, hash) in rows.buckets(&DIRECTORY)? {
            hashes[usize::from(number)] = hash;
        }

        for index in self.asked.indexes {
            let leaves = rows.leaves(&DIRECTORY, index[0])?;
            if tree::bucket(&DIRECTORY, index[0], &leaves) != hashes[usize::from(index[0])] {
                return Ok(false);
            }
        }

        Ok(tree::root_hash(&DIRECTORY, &hashes) == self.head.root_hash)
    }
}

fn is_directory(change: &OwnedChange) -> bool {
    matches!(change, OwnedChange::Project(row) if row.pid == DIRECTORY)
}

fn invalid() -> VaultError {
    KeyServiceError::InvalidResponse.into()
}
