//! A project with a verified head, and its records (docs/format.md, section 5).

use std::rc::Rc;

use super::VaultError;
use super::access::{OpenedProject, VaultAccess, WantedKey};
use super::buckets::{self, BucketHashes, leaf_at};
use super::token_access::{Needed, OpenGrant};
use crate::crypto::CryptoError;
use crate::crypto::aead::salt_of;
use crate::crypto::checkpoint::{Checkpoint, GrantState};
use crate::crypto::grant::GrantedKeys;
use crate::crypto::head::{Head, MAX_COUNT};
use crate::crypto::ids::{OWNER, RecordId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::policy::Policy;
use crate::crypto::record::{RecordContext, ValueBinding, open_metadata, open_value};
use crate::crypto::rows::{PolicyRow, ProjectRow, Record};
use crate::crypto::signing::PublicKey;
use crate::crypto::tree::{self, Leaf};
use crate::model::{Metadata, ProjectName, Secret, SecretId, SecretValue, TagKey};
use crate::store::{Extent, Snapshot, Want};

/// A verified record with its metadata.
#[derive(Clone)]
pub(super) struct VerifiedRecord {
    pub(super) record: Record,
    pub(super) metadata: Metadata,
}

/// A record whose value will be opened.
#[derive(Clone, Copy)]
pub(super) struct ValueRef {
    pub(super) rid: [u8; 8],
    pub(super) vver: u64,
    pub(super) val_hash: [u8; 32],
    pub(super) binding: ValueBinding,
}

impl ValueRef {
    pub(super) fn of(record: &Record, binding: ValueBinding) -> Self {
        let Record { rid, vver, val_hash, .. } = *record;
        Self { rid, vver, val_hash, binding }
    }
}

impl From<&VerifiedRecord> for ValueRef {
    fn from(found: &VerifiedRecord) -> Self {
        Self::of(&found.record, ValueBinding::of(&found.metadata))
    }
}

/// The number of values that are opened together. One request to the agent names all their seals.
const VALUES_AT_ONCE: usize = 1000;

/// A project with a verified head and root hash.
pub(super) struct Project {
    pub(super) vault_id: VaultId,
    pub(super) opened: OpenedProject,
    pub(super) access: Rc<dyn VaultAccess>,
    pub(super) row: ProjectRow,
    /// The policy as it is stored, and opened
    pub(super) policy: Option<(PolicyRow, Policy)>,
    pub(super) head: Head,
    pub(super) buckets: BucketHashes,
    /// The state of the token's grant, if a token gives access
    pub(super) grant: Option<GrantState>,
}

impl Project {
    /// Returns a project whose head was not verified. Its records can be opened, but cannot be
    /// verified as current.
    pub(super) fn unverified(
        vault_id: VaultId,
        opened: OpenedProject,
        access: Rc<dyn VaultAccess>,
    ) -> Self {
        let (pid, epoch) = (opened.entry.pid, opened.entry.epoch);
        let row = ProjectRow { pid, epoch, head: Vec::new(), sig: Vec::new() };
        let (policy, head, buckets) = (None, Head::none(), buckets::empty());
        Self { vault_id, opened, access, row, policy, head, buckets, grant: None }
    }

    /// Opens and verifies the head of a project that the directory or a grant names.
    pub(super) fn open(
        snapshot: &dyn Snapshot,
        vault_id: VaultId,
        owner: &PublicKey,
        opened: OpenedProject,
        access: Rc<dyn VaultAccess>,
        grant: Option<&OpenGrant>,
    ) -> Result<Self, VaultError> {
        let OpenedProject { entry, keys, .. } = &opened;
        let (pid, name) = (&entry.pid, &entry.name);
        let damaged = |what| VaultError::Project { what, project: name.clone() };
        snapshot.fetch(&[Want::Projects(&[*pid], Extent::Head)])?;
        let row = snapshot.project(pid)?.ok_or_else(|| match grant {
            // Only the owner can tell a project that was deleted from one that was taken out.
            Some(_) => VaultError::NoProject { name: name.clone(), nearest: None },
            None => damaged("the head"),
        })?;
        match grant {
            // The project has newer keys than the grant.
            Some(_) if row.epoch > entry.epoch => {
                return Err(VaultError::TokenRevoked(name.clone()));
            }
            _ if row.epoch != entry.epoch => return Err(damaged("the head")),
            _ => {}
        }

        let head =
            Head::open(&keys.head_key(pid), &vault_id, &row).map_err(|_| damaged("the head"))?;
        let open_policy = |row: PolicyRow| {
            let policy = Policy::open(&keys.policy_key(pid), owner, &vault_id, pid, &row);
            policy.map(|policy| (row, policy)).map_err(|_| damaged("the policy"))
        };
        let policy = snapshot.policy(pid)?.map(open_policy).transpose()?;
        let opened_policy = policy.as_ref().map(|(_, policy)| policy);

        // The directory names the newest policy, so an older one that was put back is noticed. A grant
        // names the policy at the time when it was issued.
        let id = opened_policy.map(|policy| policy.id(&vault_id, pid)).unwrap_or_default();
        let is_newest = match grant {
            Some(_) if id.version > entry.policy.version => true,
            _ => id == entry.policy,
        };
        let is_of_epoch = opened_policy.is_none_or(|policy| policy.epoch == row.epoch);
        if !is_newest || head.policy != id.hash || !is_of_epoch {
            return Err(damaged("the policy"));
        }

        let signer = match head.signer_id {
            OWNER => Some(owner),
            token_id => opened_policy
                .and_then(|policy| policy.writer(&token_id))
                .filter(|writer| head.time <= writer.until)
                .map(|writer| &writer.key),
        };

        let message = head.encode(&vault_id, pid, row.epoch);
        let is_signed = signer.is_some_and(|key| key.verifies(&message, &row.sig));
        if head.directory != [0; 32] || !is_signed {
            return Err(damaged("the head"));
        }

        let state = match grant {
            Some(grant) => Some(grant.check(&vault_id, &head)?),
            None => None,
        };

        let buckets = buckets::read(snapshot, pid, &head.root_hash)?
            .ok_or_else(|| damaged("the table of buckets"))?;
        let mut opened = opened;
        opened.entry.policy = id;
        Ok(Self { vault_id, opened, access, row, policy, head, buckets, grant: state })
    }

    pub(super) fn name(&self) -> &ProjectName {
        &self.opened.entry.name
    }

    pub(super) fn keys(&self) -> &GrantedKeys {
        &self.opened.keys
    }

    /// Returns the keys of the whole project. Fails for a token that has only some of its secrets.
    pub(super) fn ring(&self) -> Result<&Keyring, VaultError> {
        self.opened.ring()
    }

    /// Returns the state to compare with the last checkpoint.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { grant: self.grant, ..checkpoint(&self.vault_id, &self.opened, &self.head) }
    }

    pub(super) fn damaged(&self, what: &'static str) -> VaultError {
        VaultError::Project { what, project: self.name().clone() }
    }

    fn damaged_record(&self, what: &'static str, rid: [u8; 8]) -> VaultError {
        VaultError::Record { what, id: SecretId(rid), project: self.name().clone() }
    }

    pub(super) fn context<'p>(&'p self, rid: &'p [u8; 8]) -> RecordContext<'p> {
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
        match self.index_of(snapshot, key)? {
            Some(tag_ix) => self.of_tag(self.by_index(snapshot, &tag_ix)?, key),
            None => Ok(None),
        }
    }

    /// Finds a record by its index. The bucket proves that the answer is right, also for `None`.
    pub(super) fn by_index(
        &self,
        snapshot: &dyn Snapshot,
        tag_ix: &[u8; 16],
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        let (pid, values) = (&self.row.pid, false);
        snapshot.fetch(&[Want::Records { pid, indexes: &[*tag_ix], values }])?;
        let leaves = self.bucket(snapshot, tag_ix[0])?;
        leaf_at(&leaves, tag_ix).map(|leaf| self.by_leaf(snapshot, leaf)).transpose()
    }

    /// Finds many records by their tags, reading each bucket once. Calls `visit` with a position in
    /// `keys` and the record, in the order of the buckets. The bucket proves the answer, also for
    /// `None`. With `values`, the caller will also read their values.
    pub(super) fn by_tags(
        &self,
        snapshot: &dyn Snapshot,
        keys: &[TagKey],
        values: bool,
        mut visit: impl FnMut(usize, Option<VerifiedRecord>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let mut wanted = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            match self.index_of(snapshot, key)? {
                Some(tag_ix) => wanted.push((tag_ix, at)),
                None => visit(at, None)?,
            }
        }

        self.by_indexes(snapshot, wanted, values, |at, found| {
            visit(at, self.of_tag(found, &keys[at])?)
        })
    }

    /// Checks that the record found at a tag's index has that tag.
    pub(super) fn of_tag(
        &self,
        found: Option<VerifiedRecord>,
        key: &TagKey,
    ) -> Result<Option<VerifiedRecord>, VaultError> {
        match found {
            Some(found) if found.metadata.tag.key() != *key => {
                Err(self.damaged_record("the metadata", found.record.rid))
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
        values: bool,
        mut visit: impl FnMut(usize, Option<VerifiedRecord>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        wanted.sort_unstable();
        let indexes: Vec<[u8; 16]> = wanted.iter().map(|(tag_ix, _)| *tag_ix).collect();
        snapshot.fetch(&[Want::Records { pid: &self.row.pid, indexes: &indexes, values }])?;
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
        let is_counted = record.ver <= MAX_COUNT && record.vver <= MAX_COUNT;
        if !current || !is_counted || record.epoch != self.row.epoch {
            return Err(self.damaged_record("the record", record.rid));
        }

        let key = self.keys().metadata_key(&self.row.pid, &record.rid);
        let key = key.ok_or(VaultError::Forbidden(Needed::InSet))?;
        let metadata = open_metadata(&key, self.context(&record.rid), record.ver, &record.meta)
            .map_err(|error| match error {
                CryptoError::Newer(_) => error.into(),
                _ => self.damaged_record("the metadata", record.rid),
            })?;

        // Without the key of the index, the place of a record cannot be compared with its tag. The
        // value is bound to the tag as well.
        let is_at = |ring: &Keyring| ring.tag_ix(metadata.tag.key().as_str()) == record.tag_ix;
        if !self.keys().whole().is_none_or(is_at) {
            return Err(self.damaged_record("the tag", record.rid));
        }

        Ok(VerifiedRecord { record, metadata })
    }

    /// Passes every record that the keys open to `visit`, verified. The order of records, every bucket and the count
    /// are verified as well, but only by the end. Keeps the leaves of one bucket in memory.
    pub(super) fn each(
        &self,
        snapshot: &dyn Snapshot,
        mut visit: impl FnMut(VerifiedRecord),
    ) -> Result<(), VaultError> {
        if let GrantedKeys::Set(set) = self.keys() {
            let rids = set.records.iter().map(|record| record.rid);
            return self.each_of(snapshot, rids, visit);
        }

        let mut walk = BucketWalk { project: self, number: 0, leaves: Vec::new(), count: 0 };
        let mut outcome = Ok(());
        snapshot.fetch(&[Want::Projects(&[self.row.pid], Extent::Records)])?;
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

    /// Opens one value.
    pub(super) fn value(
        &self,
        snapshot: &dyn Snapshot,
        wanted: impl Into<ValueRef>,
    ) -> Result<SecretValue, VaultError> {
        let mut found = None;
        self.values(snapshot, &[wanted.into()], |_, value| {
            found = Some(value);
            Ok::<_, VaultError>(())
        })?;
        found.ok_or(VaultError::Internal("no value was opened"))
    }

    /// Opens many values, and passes each with its position in `wanted` to `take`.
    pub(super) fn values<E: From<VaultError>>(
        &self,
        snapshot: &dyn Snapshot,
        wanted: &[ValueRef],
        mut take: impl FnMut(usize, SecretValue) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut position = 0;
        for wanted in wanted.chunks(VALUES_AT_ONCE) {
            let (mut seals, mut keys) = (Vec::new(), Vec::new());
            let rids: Vec<RecordId> = wanted.iter().map(|one| one.rid).collect();
            snapshot.fetch(&[Want::Values(&rids)]).map_err(VaultError::from)?;
            for one in wanted {
                let damaged = || self.damaged_record("the value", one.rid);
                let sealed = snapshot.value(&one.rid).map_err(VaultError::from)?;
                let sealed = sealed.ok_or_else(damaged)?;
                if tree::value_hash(&sealed) != one.val_hash {
                    return Err(damaged().into());
                }

                let ValueBinding { generation, class, .. } = one.binding;
                let salt = Some(salt_of(&sealed).ok_or_else(damaged)?);
                keys.push(WantedKey { rid: one.rid, generation, class, salt });
                seals.push(sealed);
            }

            let keys = self.access.message_keys(&self.vault_id, &self.opened, &keys)?;
            for ((one, sealed), key) in wanted.iter().zip(&seals).zip(&keys) {
                let context = self.context(&one.rid);
                let value = open_value(key, context, one.vver, one.binding, sealed)
                    .map_err(|_| self.damaged_record("the value", one.rid))?;
                take(position, value)?;
                position += 1;
            }
        }

        Ok(())
    }

    /// Returns a found record in the form in which it is shown.
    pub(super) fn secret(&self, found: VerifiedRecord) -> Secret {
        Secret {
            id: SecretId(found.record.rid),
            project: self.name().clone(),
            metadata: found.metadata,
            version: found.record.ver,
        }
    }
}

/// Returns what is remembered of a project's state.
pub(super) fn checkpoint(vault_id: &VaultId, opened: &OpenedProject, head: &Head) -> Checkpoint {
    let entry = &opened.entry;
    Checkpoint {
        epoch: entry.epoch,
        head: head.revision(vault_id, &entry.pid, entry.epoch),
        audit_head: head.audit_head,
        policy: entry.policy,
        grant: None,
    }
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
