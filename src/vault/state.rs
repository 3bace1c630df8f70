//! Reading a vault: one snapshot, and nothing of it that is not verified (docs/format.md, section 5).

use std::collections::HashSet;

use super::VaultError;
use super::key_handle::{RootKeyHandle, RootTables};
use crate::crypto::CryptoError;
use crate::crypto::head::Head;
use crate::crypto::ids::{Hash, RecordId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::record::RecordContext;
use crate::crypto::rows::{Grant, ProjectRow, Record, SUITE, Slot, VaultRow};
use crate::crypto::tree::{self, BUCKETS, EMPTY_BUCKET, Leaf};
use crate::model::{Metadata, ProjectName, Secret, SecretId, SecretValue, TagKey};
use crate::store::Snapshot;

/// The vault's row, of the suite that this version knows.
pub(super) fn checked_row(snapshot: &dyn Snapshot) -> Result<VaultRow, VaultError> {
    let vault = snapshot.vault()?;
    if vault.suite != SUITE {
        return Err(CryptoError::Unsupported("this version does not support the vault's cipher suite").into());
    }

    Ok(vault)
}

/// What the root MAC covers, verified, and every project's key ring, opened.
pub(super) struct State {
    pub(super) vault: VaultRow,
    pub(super) slots: Vec<Slot>,
    pub(super) grants: Vec<Grant>,
    pub(super) rows: Vec<ProjectRow>,
    pub(super) keyrings: Vec<Keyring>,
}

impl State {
    pub(super) fn read(
        snapshot: &dyn Snapshot,
        root: &dyn RootKeyHandle,
    ) -> Result<Self, VaultError> {
        let (vault, slots) = (checked_row(snapshot)?, snapshot.slots()?);
        let (rows, grants) = (snapshot.projects()?, snapshot.grants()?);
        let keyrings = root.open(&RootTables {
            vault: &vault,
            slots: &slots,
            projects: &rows,
            grants: &grants,
        })?;

        let names: HashSet<&ProjectName> = keyrings.iter().map(|keyring| &keyring.name).collect();
        if names.len() != keyrings.len() {
            return Err(CryptoError::Damaged("the table of projects").into());
        }

        Ok(Self { vault, slots, grants, rows, keyrings })
    }

    /// What the root MAC covers.
    pub(super) fn tables(&self) -> RootTables<'_> {
        RootTables {
            vault: &self.vault,
            slots: &self.slots,
            projects: &self.rows,
            grants: &self.grants,
        }
    }

    pub(super) fn position(&self, name: &ProjectName) -> Option<usize> {
        self.keyrings.iter().position(|keyring| keyring.name == *name)
    }

    /// Opens a project of this state.
    pub(super) fn project(
        &self,
        snapshot: &dyn Snapshot,
        at: usize,
    ) -> Result<Project<'_>, VaultError> {
        Project::open(snapshot, &self.vault.vault_id, &self.rows[at], &self.keyrings[at])
    }

    /// Opens a project by its name; `None` where there is none.
    pub(super) fn named(
        &self,
        snapshot: &dyn Snapshot,
        name: &ProjectName,
    ) -> Result<Option<Project<'_>>, VaultError> {
        self.position(name).map(|at| self.project(snapshot, at)).transpose()
    }

    /// Finds a record by its id. `None` is proven: every head and every bucket has been verified.
    pub(super) fn by_id(
        &self,
        snapshot: &dyn Snapshot,
        rid: RecordId,
    ) -> Result<Option<(usize, VerifiedRecord)>, VaultError> {
        if let Some((pid, tag_ix)) = snapshot.locate(&rid)? {
            let row = self.rows.iter().position(|row| row.pid == pid);
            let at = row.ok_or(CryptoError::Damaged("the table of records"))?;
            let project = self.project(snapshot, at)?;
            let found =
                project.by_index(snapshot, &tag_ix)?.filter(|found| found.record.rid == rid);
            return found.map(|found| Some((at, found))).ok_or_else(|| project.damaged("a bucket"));
        }

        for at in 0..self.rows.len() {
            let project = self.project(snapshot, at)?;
            for bucket in 0..=u8::MAX {
                if project.bucket(snapshot, bucket)?.iter().any(|leaf| leaf.rid == rid) {
                    return Err(project.damaged("the index of ids"));
                }
            }
        }

        Ok(None)
    }
}

/// A record with its metadata, verified.
#[derive(Clone)]
pub(super) struct VerifiedRecord {
    pub(super) record: Record,
    pub(super) metadata: Metadata,
}

/// A project whose head and top are verified.
pub(super) struct Project<'a> {
    pub(super) vault_id: &'a VaultId,
    pub(super) row: &'a ProjectRow,
    pub(super) keyring: &'a Keyring,
    pub(super) head: Head,
    pub(super) buckets: Box<[Hash; BUCKETS]>,
}

impl<'a> Project<'a> {
    /// One whose head was not looked at: its records can be opened, and nothing vouches for them.
    pub(super) fn unverified(
        vault_id: &'a VaultId,
        row: &'a ProjectRow,
        keyring: &'a Keyring,
    ) -> Self {
        Self {
            vault_id,
            row,
            keyring,
            head: Head::none(),
            buckets: Box::new([EMPTY_BUCKET; BUCKETS]),
        }
    }

    pub(super) fn open(
        snapshot: &dyn Snapshot,
        vault_id: &'a VaultId,
        row: &'a ProjectRow,
        keyring: &'a Keyring,
    ) -> Result<Self, VaultError> {
        let damaged = |what| VaultError::Project { what, project: keyring.name.clone() };
        let head = keyring.open_head(vault_id, row).map_err(|_| damaged("the head"))?;
        let mut buckets = Box::new([EMPTY_BUCKET; BUCKETS]);
        let mut empty_row = false;

        for (number, hash) in snapshot.buckets(&row.pid)? {
            empty_row |= hash == EMPTY_BUCKET;
            buckets[usize::from(number)] = hash;
        }

        if empty_row || tree::root_hash(&row.pid, &buckets) != head.root_hash {
            return Err(damaged("the table of buckets"));
        }

        Ok(Self { vault_id, row, keyring, head, buckets })
    }

    pub(super) fn damaged(&self, what: &'static str) -> VaultError {
        VaultError::Project { what, project: self.keyring.name.clone() }
    }

    fn damaged_record(&self, what: &'static str, record: &Record) -> VaultError {
        VaultError::Record { what, id: SecretId(record.rid), project: self.keyring.name.clone() }
    }

    pub(super) fn place<'p>(&'p self, rid: &'p RecordId) -> RecordContext<'p> {
        RecordContext { vault_id: self.vault_id, pid: &self.row.pid, rid, epoch: self.row.epoch }
    }

    /// The leaves of one bucket, which give its hash.
    pub(super) fn bucket(
        &self,
        snapshot: &dyn Snapshot,
        number: u8,
    ) -> Result<Vec<Leaf>, VaultError> {
        let leaves = snapshot.leaves(&self.row.pid, number)?;
        self.check_bucket(number, &leaves)?;
        Ok(leaves)
    }

    fn check_bucket(&self, number: u8, leaves: &[Leaf]) -> Result<(), VaultError> {
        if tree::bucket(&self.row.pid, number, leaves) == self.buckets[usize::from(number)] {
            Ok(())
        } else {
            Err(self.damaged("a bucket"))
        }
    }

    /// Finds a record by tag. `None` is proven by its bucket.
    pub(super) fn by_tag(
        &self,
        snapshot: &dyn Snapshot,
        key: &TagKey,
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        let found = self.by_index(snapshot, &self.keyring.tag_ix(key))?;
        match found {
            Some(found) if found.metadata.tag.key() != *key => {
                Err(self.damaged_record("the metadata", &found.record))
            }
            found => Ok(found),
        }
    }

    fn by_index(
        &self,
        snapshot: &dyn Snapshot,
        tag_ix: &[u8; 16],
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        let leaves = self.bucket(snapshot, tag_ix[0])?;
        leaves
            .iter()
            .find(|leaf| leaf.tag_ix == *tag_ix)
            .map(|leaf| self.by_leaf(snapshot, leaf))
            .transpose()
    }

    /// The record of a verified leaf.
    pub(super) fn by_leaf(
        &self,
        snapshot: &dyn Snapshot,
        leaf: &Leaf,
    ) -> Result<VerifiedRecord, VaultError> {
        match snapshot.record(&self.row.pid, &leaf.tag_ix)? {
            Some(record) if record.leaf == leaf.leaf && record.rid == leaf.rid => {
                self.opened(record)
            }
            _ => Err(self.damaged("a record")),
        }
    }

    /// Checks a record against its leaf and opens its metadata.
    fn opened(&self, record: Record) -> Result<VerifiedRecord, VaultError> {
        let current = tree::leaf(self.vault_id, &self.row.pid, &record) == record.leaf;
        if !current || record.epoch != self.row.epoch {
            return Err(self.damaged_record("the record", &record));
        }

        let metadata = self
            .keyring
            .open_metadata(self.place(&record.rid), record.ver, &record.meta)
            .map_err(|_| self.damaged_record("the metadata", &record))?;

        if self.keyring.tag_ix(&metadata.tag.key()) != record.tag_ix {
            return Err(self.damaged_record("the tag", &record));
        }

        Ok(VerifiedRecord { record, metadata })
    }

    /// Hands over every record, each one, each bucket and the count verified by the end.
    pub(super) fn each(
        &self,
        snapshot: &dyn Snapshot,
        mut visit: impl FnMut(VerifiedRecord),
    ) -> Result<(), VaultError> {
        let mut leaves: Vec<Vec<Leaf>> = vec![Vec::new(); BUCKETS];
        let mut outcome = Ok(());
        let mut last: Option<[u8; 16]> = None;
        snapshot.records(&self.row.pid, &mut |record| {
            let Record { tag_ix, rid, leaf, .. } = record;

            // Pages that point at each other would repeat their records without end.
            if last.replace(tag_ix).is_some_and(|last| last >= tag_ix) {
                outcome = Err(self.damaged("the table of records"));
                return false;
            }

            leaves[usize::from(tag_ix[0])].push(Leaf { tag_ix, rid, leaf });
            outcome = self.opened(record).map(&mut visit);
            outcome.is_ok()
        })?;

        outcome?;
        for (number, leaves) in (0..=u8::MAX).zip(&leaves) {
            self.check_bucket(number, leaves)?;
        }

        let count: usize = leaves.iter().map(Vec::len).sum();
        if u64::try_from(count) == Ok(self.head.count) {
            Ok(())
        } else {
            Err(self.damaged("the number of records"))
        }
    }

    /// Opens a value.
    pub(super) fn value(
        &self,
        snapshot: &dyn Snapshot,
        record: &Record,
    ) -> Result<SecretValue, VaultError> {
        let damaged = || self.damaged_record("the value", record);
        let sealed = snapshot.value(&record.rid)?.ok_or_else(damaged)?;
        if tree::value_hash(&sealed) != record.val_hash {
            return Err(damaged());
        }

        self.keyring
            .open_value(self.place(&record.rid), record.vver, &sealed)
            .map_err(|_| damaged())
    }

    /// A found record as it is shown.
    pub(super) fn secret(&self, found: VerifiedRecord) -> Secret {
        Secret {
            id: SecretId(found.record.rid),
            project: self.keyring.name.clone(),
            metadata: found.metadata,
            version: found.record.ver,
        }
    }
}
