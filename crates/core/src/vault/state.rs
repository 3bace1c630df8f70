//! Reads a vault from one snapshot, and uses nothing that is not verified (docs/format.md, section
//! 5).

use std::collections::HashSet;
use std::rc::Rc;

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

/// Returns the vault's row. Fails if this version does not know its suite.
pub(super) fn checked_row(snapshot: &dyn Snapshot) -> Result<VaultRow, VaultError> {
    let vault = snapshot.vault()?;
    if vault.suite != SUITE {
        return Err(CryptoError::Unsupported(
            "this version does not support the vault's cipher suite",
        )
        .into());
    }

    Ok(vault)
}

/// The verified tables under the root MAC, and every project's opened key ring.
pub(super) struct State {
    pub(super) vault: VaultRow,
    pub(super) slots: Vec<Slot>,
    pub(super) grants: Vec<Grant>,
    pub(super) rows: Vec<ProjectRow>,
    pub(super) keyrings: Vec<Rc<Keyring>>,
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

        let keyrings = keyrings.into_iter().map(Rc::new).collect();
        Ok(Self { vault, slots, grants, rows, keyrings })
    }

    /// Returns the tables under the root MAC.
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
    ) -> Result<Project, VaultError> {
        Project::open(
            snapshot,
            self.vault.vault_id,
            self.rows[at].clone(),
            Rc::clone(&self.keyrings[at]),
        )
    }

    /// Opens a project by its name. Returns `None` if it does not exist.
    pub(super) fn named(
        &self,
        snapshot: &dyn Snapshot,
        name: &ProjectName,
    ) -> Result<Option<Project>, VaultError> {
        self.position(name).map(|at| self.project(snapshot, at)).transpose()
    }

    /// Looks up a record in the index of ids. Returns the project's position and the record's blind
    /// index, which are not verified yet.
    pub(super) fn locate(
        &self,
        snapshot: &dyn Snapshot,
        rid: RecordId,
    ) -> Result<Option<(usize, [u8; 16])>, VaultError> {
        let Some((pid, tag_ix)) = snapshot.locate(&rid)? else { return Ok(None) };
        let at = self.rows.iter().position(|row| row.pid == pid);
        Ok(Some((at.ok_or(CryptoError::Damaged("the table of records"))?, tag_ix)))
    }

    /// Proves that no project has a record with this id, by verifying every head and every bucket.
    pub(super) fn check_absent(
        &self,
        snapshot: &dyn Snapshot,
        rid: RecordId,
    ) -> Result<(), VaultError> {
        for at in 0..self.rows.len() {
            let project = self.project(snapshot, at)?;
            for bucket in 0..=u8::MAX {
                if project.bucket(snapshot, bucket)?.iter().any(|leaf| leaf.rid == rid) {
                    return Err(project.damaged("the index of ids"));
                }
            }
        }

        Ok(())
    }
}

/// A verified record with its metadata.
#[derive(Clone)]
pub(super) struct VerifiedRecord {
    pub(super) record: Record,
    pub(super) metadata: Metadata,
}

/// A project with a verified head and root hash.
pub(super) struct Project {
    pub(super) vault_id: VaultId,
    pub(super) row: ProjectRow,
    pub(super) keyring: Rc<Keyring>,
    pub(super) head: Head,
    pub(super) buckets: Box<[Hash; BUCKETS]>,
}

impl Project {
    /// Returns a project whose head was not verified. Its records can be opened, but cannot be
    /// verified as current.
    pub(super) fn unverified(vault_id: VaultId, row: ProjectRow, keyring: Rc<Keyring>) -> Self {
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
        vault_id: VaultId,
        row: ProjectRow,
        keyring: Rc<Keyring>,
    ) -> Result<Self, VaultError> {
        let damaged = |what| VaultError::Project { what, project: keyring.name.clone() };
        let head = keyring.open_head(&vault_id, &row).map_err(|_| damaged("the head"))?;
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

    pub(super) fn context<'p>(&'p self, rid: &'p RecordId) -> RecordContext<'p> {
        RecordContext { vault_id: &self.vault_id, pid: &self.row.pid, rid, epoch: self.row.epoch }
    }

    /// Returns the leaves of one bucket, verified against its hash.
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

    /// Finds a record by tag. The bucket proves that the answer is right, also for `None`.
    pub(super) fn by_tag(
        &self,
        snapshot: &dyn Snapshot,
        key: &TagKey,
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        self.of_tag(self.by_index(snapshot, &self.keyring.tag_ix(key))?, key)
    }

    /// Finds a record by its index. The bucket proves that the answer is right, also for `None`.
    pub(super) fn by_index(
        &self,
        snapshot: &dyn Snapshot,
        tag_ix: &[u8; 16],
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        let leaves = self.bucket(snapshot, tag_ix[0])?;
        leaf_at(&leaves, tag_ix).map(|leaf| self.by_leaf(snapshot, leaf)).transpose()
    }

    /// Finds many records by their tags, reading each bucket once. Calls `visit` with a position in
    /// `keys` and the record, in the order of the buckets. The bucket proves the answer, also for
    /// `None`.
    pub(super) fn by_tags(
        &self,
        snapshot: &dyn Snapshot,
        keys: &[TagKey],
        mut visit: impl FnMut(usize, Option<VerifiedRecord>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let wanted = keys.iter().map(|key| self.keyring.tag_ix(key)).zip(0..).collect();
        self.by_indexes(snapshot, wanted, |at, found| visit(at, self.of_tag(found, &keys[at])?))
    }

    /// Checks that the record found at a tag's index has that tag.
    pub(super) fn of_tag(
        &self,
        found: Option<VerifiedRecord>,
        key: &TagKey,
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        match found {
            Some(found) if found.metadata.tag.key() != *key => {
                Err(self.damaged_record("the metadata", &found.record))
            }
            found => Ok(found),
        }
    }

    /// Finds many records by their indexes, each with a number for `visit`. Because they are sorted
    /// by index, each bucket is read once and only one is kept in memory.
    pub(super) fn by_indexes(
        &self,
        snapshot: &dyn Snapshot,
        mut wanted: Vec<([u8; 16], usize)>,
        mut visit: impl FnMut(usize, Option<VerifiedRecord>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        wanted.sort_unstable();

        for of_bucket in wanted.chunk_by(|(one, _), (next, _)| one[0] == next[0]) {
            let leaves = self.bucket(snapshot, of_bucket[0].0[0])?;

            for (tag_ix, at) in of_bucket {
                let leaf = leaf_at(&leaves, tag_ix);
                visit(*at, leaf.map(|leaf| self.by_leaf(snapshot, leaf)).transpose()?)?;
            }
        }

        Ok(())
    }

    /// Returns the record of a verified leaf.
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
        let current = tree::leaf(&self.vault_id, &self.row.pid, &record) == record.leaf;
        if !current || record.epoch != self.row.epoch {
            return Err(self.damaged_record("the record", &record));
        }

        let metadata = self
            .keyring
            .open_metadata(self.context(&record.rid), record.ver, &record.meta)
            .map_err(|_| self.damaged_record("the metadata", &record))?;

        if self.keyring.tag_ix(&metadata.tag.key()) != record.tag_ix {
            return Err(self.damaged_record("the tag", &record));
        }

        Ok(VerifiedRecord { record, metadata })
    }

    /// Passes every record to `visit`, verified. The order of records, every bucket and the count
    /// are verified as well, but only by the end. Keeps the leaves of one bucket in memory.
    pub(super) fn each(
        &self,
        snapshot: &dyn Snapshot,
        mut visit: impl FnMut(VerifiedRecord),
    ) -> Result<(), VaultError> {
        let mut walk = BucketWalk { project: self, number: 0, leaves: Vec::new(), count: 0 };
        let mut outcome = Ok(());
        snapshot.records(&self.row.pid, &mut |record| {
            let Record { tag_ix, rid, leaf, .. } = record;
            outcome = walk
                .next(Leaf { tag_ix, rid, leaf })
                .and_then(|()| self.opened(record))
                .map(&mut visit);

            outcome.is_ok()
        })?;

        outcome?;
        walk.finish()
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
            .open_value(self.context(&record.rid), record.vver, &sealed)
            .map_err(|_| damaged())
    }

    /// Returns a found record in the form in which it is shown.
    pub(super) fn secret(&self, found: VerifiedRecord) -> Secret {
        Secret {
            id: SecretId(found.record.rid),
            project: self.keyring.name.clone(),
            metadata: found.metadata,
            version: found.record.ver,
        }
    }
}

/// Returns the leaf of a record among the sorted leaves of its bucket.
fn leaf_at<'l>(leaves: &'l [Leaf], tag_ix: &[u8; 16]) -> Option<&'l Leaf> {
    leaves.binary_search_by(|leaf| leaf.tag_ix.cmp(tag_ix)).ok().map(|at| &leaves[at])
}

/// The leaves of a project in the order of the store, verified bucket by bucket.
struct BucketWalk<'a> {
    project: &'a Project,
    /// The current bucket
    number: u8,
    /// Its leaves so far
    leaves: Vec<Leaf>,
    /// The number of leaves so far
    count: u64,
}

impl BucketWalk<'_> {
    fn next(&mut self, leaf: Leaf) -> Result<(), VaultError> {
        let is_behind = leaf.tag_ix[0] < self.number
            || self.leaves.last().is_some_and(|last| last.tag_ix >= leaf.tag_ix);

        // Pages that point at each other would repeat their records forever.
        if is_behind {
            return Err(self.project.damaged("the table of records"));
        }

        while self.number < leaf.tag_ix[0] {
            self.check()?;
            self.number += 1;
        }

        self.leaves.push(leaf);
        self.count += 1;
        Ok(())
    }

    /// Verifies the current bucket.
    fn check(&mut self) -> Result<(), VaultError> {
        self.project.check_bucket(self.number, &self.leaves)?;
        self.leaves.clear();
        Ok(())
    }

    /// Verifies the last bucket, the empty ones after it and the number of records.
    fn finish(mut self) -> Result<(), VaultError> {
        self.check()?;
        for number in (self.number..=u8::MAX).skip(1) {
            self.project.check_bucket(number, &[])?;
        }

        if self.count == self.project.head.count {
            Ok(())
        } else {
            Err(self.project.damaged("the number of records"))
        }
    }
}
