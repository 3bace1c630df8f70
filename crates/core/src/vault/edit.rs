//! Changes a project: verifies every bucket that will be signed again, applies the changes, and
//! signs once (docs/format.md, section 5).

use std::borrow::Borrow;

use super::VaultError;
use super::access::{SignRequest, WantedKey};
use super::buckets::{self, BucketEdit, leaf_at};
use super::next_head::{self, HeadPlace};
use super::project::{Project, VerifiedRecord, checkpoint};
use crate::crypto::CryptoError;
use crate::crypto::aead::MessageKey;
use crate::crypto::audit::{Action, AuditChange, PruneMark};
use crate::crypto::checkpoint::Checkpoint;
use crate::crypto::head::MAX_COUNT;
use crate::crypto::ids::RecordId;
use crate::crypto::random;
use crate::crypto::record::{ValueBinding, seal_value};
use crate::crypto::rows::Record;
use crate::crypto::tree::{self, Leaf};
use crate::model::{Metadata, Secret, SecretValue, Tag, TagKey};
use crate::store::{Change, Snapshot, Transaction, Want};

/// The number of values that are sealed together. One request to the agent asks for all their keys.
const VALUES_AT_ONCE: usize = 1000;

/// A record whose next version will be stored, with a number by which the caller knows it.
pub(super) struct Draft {
    pub(super) number: usize,
    pub(super) record: Record,
    /// The binding of its value
    pub(super) binding: ValueBinding,
}

/// A project that is being changed in a transaction. The caller commits, because one transaction may
/// change several projects, one after the other.
pub(super) struct Edit<'a> {
    transaction: &'a mut dyn Transaction,
    project: Project,
    buckets: BucketEdit,
    count: u64,
    change: AuditChange,
}

impl<'a> Edit<'a> {
    pub(super) fn new(
        transaction: &'a mut dyn Transaction,
        project: Project,
        action: Action,
    ) -> Self {
        let buckets = BucketEdit::new(project.row.pid, project.buckets.clone());
        let count = project.head.count;
        let change = AuditChange::new(action);
        Self { transaction, project, buckets, count, change }
    }

    fn leaves(&mut self, bucket: u8) -> Result<&mut Vec<Leaf>, VaultError> {
        let leaves = self.buckets.leaves(&*self.transaction, bucket)?;
        leaves.ok_or_else(|| self.project.damaged("a bucket"))
    }

    /// Returns the indexes of tags whose secrets will be looked up or stored. Their buckets are
    /// fetched together.
    pub(super) fn expect<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k TagKey>,
    ) -> Result<Vec<[u8; 16]>, VaultError> {
        let ring = self.project.ring()?;
        let indexes: Vec<_> = keys.into_iter().map(|key| ring.tag_ix(key.as_str())).collect();
        let (pid, values) = (&self.project.row.pid, false);
        self.transaction.fetch(&[Want::Records { pid, indexes: &indexes, values }])?;
        Ok(indexes)
    }

    /// Returns the secret at the index of its tag, including changes of this edit.
    pub(super) fn find(&mut self, tag_ix: &[u8; 16]) -> Result<Option<Secret>, VaultError> {
        let Some(leaf) = leaf_at(self.leaves(tag_ix[0])?, tag_ix).copied() else {
            return Ok(None);
        };

        let found = self.project.by_leaf(&*self.transaction, &leaf)?;
        Ok(Some(self.project.secret(found)))
    }

    /// Stores a new secret under an id that no other secret has.
    pub(super) fn add_as(
        &mut self,
        rid: RecordId,
        metadata: Metadata,
        value: &SecretValue,
    ) -> Result<Secret, VaultError> {
        let tag_ix = self.project.ring()?.tag_ix(metadata.tag.key().as_str());
        let record = self.first_draft(rid, tag_ix);
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
            let binding = ValueBinding::of(&metadata);
            let keys = self.seal_keys(&[(record.rid, binding)])?;
            let key = keys.into_iter().next();
            let key = key.ok_or(VaultError::Internal("no key for a new seal"))?;
            self.put_value(&mut record, binding, key, value)?;
        }

        self.put_record(record, metadata)
    }

    /// Stores the next version of a secret under a tag that no other secret has. The value is sealed
    /// again, because its seal is bound to the tag.
    pub(super) fn rename(
        &mut self,
        found: VerifiedRecord,
        tag: &Tag,
        value: &SecretValue,
    ) -> Result<Secret, VaultError> {
        let VerifiedRecord { mut record, mut metadata } = found;
        let tag_ix = self.project.ring()?.tag_ix(tag.key().as_str());
        if tag_ix != record.tag_ix {
            buckets::remove(self.leaves(record.tag_ix[0])?, &record.tag_ix);
            self.transaction.apply(Change::DropRecord(&self.project.row.pid, &record))?;
            record.tag_ix = tag_ix;
        }

        self.change.add_before(record.rid, metadata.tag.as_str());
        metadata.tag = tag.clone();
        self.put(VerifiedRecord { record, metadata }, Some(value))
    }

    /// Begins a new secret for [`Edit::put_all`], under a new id. The store refuses an id that is
    /// taken, which 64 random bits hardly ever are.
    pub(super) fn draft(&mut self, tag_ix: [u8; 16]) -> Result<Record, VaultError> {
        Ok(self.first_draft(random::array()?, tag_ix))
    }

    /// Does the same as [`Edit::draft`] for a tag.
    pub(super) fn draft_of(&mut self, key: &TagKey) -> Result<Record, VaultError> {
        self.draft(self.project.ring()?.tag_ix(key.as_str()))
    }

    /// Stores the next versions of many records. `value` and `metadata` return the content for a
    /// number. `take` gets the stored secret.
    ///
    /// Values are written in the order of their ids and records in the order of their indexes,
    /// because that is how they are stored. In any other order, every page of a large file would be
    /// read and written many times.
    pub(super) fn put_all<V: Borrow<SecretValue>>(
        &mut self,
        mut drafts: Vec<Draft>,
        mut value: impl FnMut(&dyn Snapshot, usize) -> Result<V, VaultError>,
        mut metadata: impl FnMut(usize) -> Metadata,
        mut take: impl FnMut(usize, Secret),
    ) -> Result<(), VaultError> {
        drafts.sort_unstable_by_key(|draft| draft.record.rid);
        for drafts in drafts.chunks_mut(VALUES_AT_ONCE) {
            let wanted: Vec<_> =
                drafts.iter().map(|draft| (draft.record.rid, draft.binding)).collect();
            for (draft, key) in drafts.iter_mut().zip(self.seal_keys(&wanted)?) {
                draft.record.ver += 1;
                let value = value(&*self.transaction, draft.number)?;
                self.put_value(&mut draft.record, draft.binding, key, value.borrow())?;
            }
        }

        drafts.sort_unstable_by_key(|draft| draft.record.tag_ix);
        for Draft { number, record, .. } in drafts {
            take(number, self.put_record(record, metadata(number))?);
        }

        Ok(())
    }

    /// Returns a record with nothing stored yet, and counts it.
    fn first_draft(&mut self, rid: RecordId, tag_ix: [u8; 16]) -> Record {
        self.count += 1;
        Record {
            tag_ix,
            rid,
            epoch: self.project.row.epoch,
            ver: 0,
            vver: 0,
            meta: Vec::new(),
            val_hash: [0; 32],
            leaf: [0; 32],
        }
    }

    /// Returns a fresh key for the seal of each value.
    fn seal_keys(
        &self,
        values: &[(RecordId, ValueBinding)],
    ) -> Result<Vec<MessageKey>, VaultError> {
        let wanted: Vec<WantedKey> = values
            .iter()
            .map(|(rid, binding)| WantedKey {
                rid: *rid,
                generation: binding.generation,
                class: binding.class,
                salt: None,
            })
            .collect();

        let Project { access, vault_id, opened, .. } = &self.project;
        access.message_keys(vault_id, opened, &wanted)
    }

    /// Stores the value of a record's current version.
    fn put_value(
        &mut self,
        record: &mut Record,
        binding: ValueBinding,
        key: MessageKey,
        value: &SecretValue,
    ) -> Result<(), VaultError> {
        record.vver = record.ver;
        let context = self.project.context(&record.rid);
        let sealed = seal_value(key, context, record.vver, binding, value)?;
        record.val_hash = tree::value_hash(&sealed);
        Ok(self.transaction.apply(Change::Value(&record.rid, &sealed))?)
    }

    /// Stores the current version of a record whose value is already stored.
    fn put_record(&mut self, mut record: Record, metadata: Metadata) -> Result<Secret, VaultError> {
        if record.ver > MAX_COUNT {
            return Err(CryptoError::Unsupported("the secret cannot be changed any more").into());
        }

        record.meta = self.project.ring()?.seal_metadata(
            self.project.context(&record.rid),
            record.ver,
            &metadata,
        )?;

        record.leaf = tree::leaf(&self.project.vault_id, &self.project.row.pid, &record);

        // The bucket is read before the record is written, so its old content is verified.
        let leaf = Leaf { tag_ix: record.tag_ix, rid: record.rid, leaf: record.leaf };
        buckets::put(self.leaves(record.tag_ix[0])?, leaf);
        self.transaction.apply(Change::Record(&self.project.row.pid, &record))?;
        self.change.add(record.rid, metadata.tag.as_str());
        Ok(self.project.secret(VerifiedRecord { record, metadata }))
    }

    pub(super) fn remove(&mut self, found: VerifiedRecord) -> Result<Secret, VaultError> {
        let record = &found.record;
        buckets::remove(self.leaves(record.tag_ix[0])?, &record.tag_ix);
        self.count = self
            .count
            .checked_sub(1)
            .ok_or_else(|| self.project.damaged("the number of records"))?;

        self.transaction.apply(Change::DropRecord(&self.project.row.pid, record))?;
        self.change.add(record.rid, found.metadata.tag.as_str());
        Ok(self.project.secret(found))
    }

    /// Removes the entries of the audit log up to the mark, and counts them.
    pub(super) fn prune(&mut self, mark: PruneMark, count: u64) -> Result<(), VaultError> {
        self.transaction.apply(Change::DropAudit(&self.project.row.pid, mark.seq))?;
        (self.change.count, self.change.pruned) = (count, Some(mark));
        Ok(())
    }

    /// Writes the changed buckets, the new head and its entry of the audit log. Returns the state to
    /// remember.
    pub(super) fn sign(self) -> Result<Checkpoint, VaultError> {
        let Self { transaction, project, buckets, count, change, .. } = self;
        let root_hash = buckets.write(transaction)?;
        let Project { vault_id, opened, access, row, policy, head, .. } = &project;
        let place = HeadPlace { vault_id, pid: &row.pid, epoch: row.epoch };
        let request = SignRequest {
            project: opened,
            previous: row,
            policy: policy.as_ref().map(|(row, _)| row),
            head: next_head::next(place, head, row.epoch, root_hash, count),
            change,
        };

        let signed = access.sign(vault_id, request)?;
        next_head::write(transaction, place, project.ring()?, &signed)?;
        Ok(Checkpoint { grant: project.grant, ..checkpoint(vault_id, opened, &signed.head) })
    }
}
