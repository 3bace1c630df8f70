//! The directory: the project whose records are the projects (docs/format.md, section 4). A project
//! is found in it as a secret is found in its project.
//!
//! Only the owner of the root key opens and changes it, either in this process or in an agent. The
//! code is the same for both: an agent gets the rows that it needs and returns the rows to write.

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};

use super::access::{ChangedDirectory, DirectoryChange, OpenedProject, SignRequest};
use super::audit_log::AuditLog;
use super::buckets::{self, BucketEdit, BucketHashes, leaf_at};
use super::next_head::{self, HeadPlace, SignedHead};
use super::{VaultError, nearest};
use crate::crypto::aead::Key;
use crate::crypto::audit::{Action, AuditChange, PruneMark};
use crate::crypto::head::Head;
use crate::crypto::ids::{DIRECTORY, Hash, OWNER, ProjectId, RecordId, VaultId, record_of};
use crate::crypto::keyring::Keyring;
use crate::crypto::policy::Policy;
use crate::crypto::project_entry::{PolicyId, ProjectEntry};
use crate::crypto::record::{RecordContext, VALUE_LABEL};
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{PolicyRow, ProjectRow, Record};
use crate::crypto::signing::{PublicKey, Signer};
use crate::crypto::tree::{self, Leaf};
use crate::crypto::{CryptoError, random};
use crate::model::{Class, ProjectName, Timestamp};
use crate::store::{Change, MAX_PROJECTS, Snapshot, Transaction};

/// The name of the directory in messages.
pub const DIRECTORY_NAME: &str = "the vault's list of projects";
const DAMAGED: VaultError = VaultError::Crypto(CryptoError::Damaged(DIRECTORY_NAME));

/// The keys of a vault's directory and the owner's signing key.
pub struct Directory {
    vault_id: VaultId,
    keys: Keyring,
    signer: Signer,
    owner: PublicKey,
    /// The hash of the sealed head that was verified last, so that its signature is verified once
    verified: Cell<Option<Hash>>,
}

/// The directory in one state of the vault, verified.
pub struct DirectoryState {
    /// The row of its head
    pub row: ProjectRow,
    /// Its head
    pub head: Head,
    buckets: BucketHashes,
}

/// A project's record in the directory, opened.
pub(super) struct FoundProject {
    record: Record,
    pub(super) project: OpenedProject,
}

impl Directory {
    /// Derives the keys from the root key.
    pub fn new(root: &RootKey, vault_id: VaultId) -> Self {
        let signer = root.signer();
        let owner = signer.public();
        let (keys, verified) = (root.directory_keys(), Cell::new(None));
        Self { vault_id, keys, signer, owner, verified }
    }

    /// Sets the hash of a sealed head that [`Self::verified`] returned. Its signature is not
    /// verified again.
    #[must_use]
    pub fn with_verified(self, verified: Option<Hash>) -> Self {
        self.verified.set(verified);
        self
    }

    /// Returns the hash of the sealed head that was verified last.
    pub fn verified(&self) -> Option<Hash> {
        self.verified.get()
    }

    /// Returns the vault's id.
    pub fn vault_id(&self) -> &VaultId {
        &self.vault_id
    }

    /// Returns the key that verifies what the owner signs.
    pub fn owner(&self) -> PublicKey {
        self.owner
    }

    /// Returns the index of a project's name.
    pub fn index(&self, name: &ProjectName) -> [u8; 16] {
        self.keys.tag_ix(name.as_str())
    }

    /// Opens and verifies the directory's head.
    pub fn read(&self, rows: &dyn Snapshot) -> Result<DirectoryState, VaultError> {
        let row = rows.project(&DIRECTORY)?.ok_or(DAMAGED)?;
        let head = Head::open(&self.keys.head_key(&DIRECTORY), &self.vault_id, &row)
            .map_err(|_| DAMAGED)?;

        // A command reads the same head several times.
        let sealed = Sha256::new().chain_update(&row.head).chain_update(&row.sig).finalize().into();
        if self.verified.get() != Some(sealed) {
            let message = head.encode(&self.vault_id, &DIRECTORY, row.epoch);
            if head.signer_id != OWNER || !self.owner.verifies(&message, &row.sig) {
                return Err(DAMAGED);
            }

            self.verified.set(Some(sealed));
        }

        let buckets = buckets::read(rows, &DIRECTORY, &head.root_hash)?.ok_or(DAMAGED)?;
        Ok(DirectoryState { row, head, buckets })
    }

    /// Opens the projects at these indexes. Their buckets prove that each answer is right, also for
    /// `None`.
    pub fn projects(
        &self,
        state: &DirectoryState,
        rows: &dyn Snapshot,
        indexes: &[[u8; 16]],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError> {
        let mut verified: BTreeMap<u8, Vec<Leaf>> = BTreeMap::new();
        let mut found = Vec::with_capacity(indexes.len());
        for index in indexes {
            let leaves = match verified.entry(index[0]) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(state.leaves(rows, index[0])?),
            };

            let leaf = leaf_at(leaves, index);
            let project = leaf.map(|leaf| self.open(rows, state.row.epoch, leaf)).transpose()?;
            found.push(project.map(|found| found.project));
        }

        Ok(found)
    }

    /// Opens the record of a verified leaf.
    fn open(
        &self,
        rows: &dyn Snapshot,
        epoch: u32,
        leaf: &Leaf,
    ) -> Result<FoundProject, VaultError> {
        let record = rows.record(&DIRECTORY, &leaf.tag_ix)?.ok_or(DAMAGED)?;
        let is_current = record.leaf == leaf.leaf
            && record.rid == leaf.rid
            && record.epoch == epoch
            && tree::leaf(&self.vault_id, &DIRECTORY, &record) == record.leaf;
        if !is_current {
            return Err(DAMAGED);
        }

        let project = self.open_record(rows, &record)?;
        let entry = &project.entry;
        if self.index(&entry.name) != record.tag_ix || record_of(&entry.pid) != record.rid {
            return Err(DAMAGED);
        }

        Ok(FoundProject { record, project })
    }

    /// Opens a record and its value, whatever its leaf says.
    pub(super) fn open_record(
        &self,
        rows: &dyn Snapshot,
        record: &Record,
    ) -> Result<OpenedProject, VaultError> {
        let context = self.context(&record.rid, record.epoch);
        let newer = |error| match error {
            CryptoError::Newer(what) => VaultError::Crypto(CryptoError::Newer(what)),
            _ => DAMAGED,
        };
        let entry =
            ProjectEntry::open(&self.keys, context, record.ver, &record.meta).map_err(newer)?;
        let sealed = rows.value(&record.rid)?.ok_or(DAMAGED)?;
        if tree::value_hash(&sealed) != record.val_hash {
            return Err(DAMAGED);
        }

        let salt = crate::crypto::aead::salt_of(&sealed).ok_or(DAMAGED)?;
        let key = self.ring_key(record.rid)?.message_key(VALUE_LABEL, &salt);
        let keys = entry.open_keyring(&key, context, record.vver, &sealed).map_err(newer)?;
        Ok(OpenedProject::new(entry, keys))
    }

    fn context<'c>(&'c self, rid: &'c RecordId, epoch: u32) -> RecordContext<'c> {
        RecordContext { vault_id: &self.vault_id, pid: &DIRECTORY, rid, epoch }
    }

    fn ring_key(&self, rid: RecordId) -> Result<Key, VaultError> {
        let key = self.keys.value_key(&DIRECTORY, &rid, Class::Team, 0);
        Ok(key.ok_or(CryptoError::Internal("the directory's keys open no key rings"))?)
    }

    /// Signs the next head of a project. The caller has verified the one before.
    pub fn sign(&self, request: SignRequest<'_>) -> SignedHead {
        let SignRequest { project, head, change, .. } = request;
        let entry = &project.entry;
        let (pid, epoch) = (&entry.pid, entry.epoch);
        let place = HeadPlace { vault_id: &self.vault_id, pid, epoch };
        next_head::sign(place, head, change, &self.signer)
    }

    /// Seals and signs a policy under a project's new keys.
    pub(super) fn seal_policy(
        &self,
        keys: &Keyring,
        pid: &ProjectId,
        policy: &Policy,
    ) -> Result<PolicyRow, VaultError> {
        Ok(policy.seal(&keys.policy_key(pid), &self.signer, &self.vault_id, pid)?)
    }

    /// Returns the key of the directory's audit log.
    pub(super) fn audit_key(&self) -> Key {
        self.keys.audit_key(&DIRECTORY)
    }

    /// Returns the directory's audit log.
    pub(super) fn audit_log(&self) -> AuditLog<'_> {
        let (key, owner) = (self.audit_key(), self.owner);
        AuditLog { key, vault_id: &self.vault_id, pid: &DIRECTORY, owner }
    }

    /// Makes one change of the directory and signs it.
    pub fn change(
        &self,
        rows: &mut dyn Transaction,
        change: DirectoryChange<'_>,
    ) -> Result<ChangedDirectory, VaultError> {
        let state = self.read(rows)?;
        match change {
            DirectoryChange::Add(names) => {
                let mut edit = DirectoryEdit::new(self, state, rows, Action::AddProjects);
                let added =
                    names.iter().map(|name| edit.add(name)).collect::<Result<Vec<_>, _>>()?;
                Ok(ChangedDirectory { head: edit.sign()?, added })
            }
            DirectoryChange::Rename { from, to } => {
                let mut edit = DirectoryEdit::new(self, state, rows, Action::RenameProject);
                edit.rename(from, to)?;
                Ok(ChangedDirectory { head: edit.sign()?, added: Vec::new() })
            }
            DirectoryChange::Delete(names) => {
                let mut edit = DirectoryEdit::new(self, state, rows, Action::DeleteProjects);
                let mut seen = HashSet::new();
                for name in names.iter().filter(|name| seen.insert(**name)) {
                    edit.delete(name)?;
                }

                Ok(ChangedDirectory { head: edit.sign()?, added: Vec::new() })
            }
        }
    }

    /// Writes the first head of a new vault's directory, which has no projects. `slots` is the hash
    /// of its slots, and `tokens` that of an empty list.
    pub(super) fn begin(
        &self,
        rows: &mut dyn Transaction,
        slots: Hash,
        tokens: Hash,
        change: AuditChange,
    ) -> Result<Head, VaultError> {
        let place = HeadPlace { vault_id: &self.vault_id, pid: &DIRECTORY, epoch: 1 };
        let before = Head { policy: tokens, directory: slots, ..Head::none() };
        let root_hash = tree::root_hash(&DIRECTORY, &buckets::empty());
        let head = next_head::next(place, &before, 1, root_hash, 0);
        let signed = next_head::sign(place, head, change, &self.signer);
        next_head::write(rows, place, &self.keys, &signed)?;
        Ok(signed.head)
    }
}

impl DirectoryState {
    fn leaves(&self, rows: &dyn Snapshot, bucket: u8) -> Result<Vec<Leaf>, VaultError> {
        let leaves = rows.leaves(&DIRECTORY, bucket)?;
        if tree::bucket(&DIRECTORY, bucket, &leaves) == self.buckets[usize::from(bucket)] {
            Ok(leaves)
        } else {
            Err(DAMAGED)
        }
    }
}

/// A change of the directory, which is signed once at its end.
pub(super) struct DirectoryEdit<'a> {
    directory: &'a Directory,
    rows: &'a mut dyn Transaction,
    /// The generation of the keys that the directory gets
    epoch: u32,
    before: Head,
    /// The generation of the keys that sealed the head before
    epoch_before: u32,
    buckets: BucketEdit,
    count: u64,
    change: AuditChange,
    /// The hash of the slots after the change
    pub(super) slots: Hash,
    /// The hash of the tokens after the change
    pub(super) tokens: Hash,
}

impl<'a> DirectoryEdit<'a> {
    pub(super) fn new(
        directory: &'a Directory,
        state: DirectoryState,
        rows: &'a mut dyn Transaction,
        action: Action,
    ) -> Self {
        let DirectoryState { row, head, buckets } = state;
        Self {
            directory,
            rows,
            epoch: row.epoch,
            epoch_before: row.epoch,
            buckets: BucketEdit::new(DIRECTORY, buckets),
            count: head.count,
            change: AuditChange::new(action),
            slots: head.directory,
            tokens: head.policy,
            before: head,
        }
    }

    /// Removes every record of the directory, and begins it again. `epoch` is that of the head before.
    pub(super) fn empty(
        directory: &'a Directory,
        (before, epoch): (&Head, u32),
        rows: &'a mut dyn Transaction,
        action: Action,
    ) -> Result<Self, VaultError> {
        let mut entries: Vec<Record> = Vec::new();
        rows.records(&DIRECTORY, &mut |record| {
            entries.push(record);
            true
        })?;
        for entry in &entries {
            rows.apply(Change::DropRecord(&DIRECTORY, entry))?;
        }

        for number in 0..=u8::MAX {
            rows.apply(Change::Bucket(&DIRECTORY, number, None))?;
        }

        Ok(Self {
            directory,
            rows,
            epoch,
            epoch_before: epoch,
            buckets: BucketEdit::new(DIRECTORY, buckets::empty()),
            count: 0,
            change: AuditChange::new(action),
            slots: before.directory,
            tokens: before.policy,
            before: before.clone(),
        })
    }

    /// Gives the directory the next epoch.
    pub(super) fn begin_epoch(&mut self) {
        self.epoch = self.epoch_before.saturating_add(1);
    }

    /// Adds an existing project to a directory that was begun again.
    pub(super) fn adopt(&mut self, project: &OpenedProject) -> Result<(), VaultError> {
        self.count += 1;
        self.put(None, project)
    }

    fn leaves(&mut self, bucket: u8) -> Result<&mut Vec<Leaf>, VaultError> {
        self.buckets.leaves(&*self.rows, bucket)?.ok_or(DAMAGED)
    }

    fn find(&mut self, name: &ProjectName) -> Result<Option<FoundProject>, VaultError> {
        let index = self.directory.index(name);
        let leaf = leaf_at(self.leaves(index[0])?, &index).copied();
        let epoch = self.epoch;
        leaf.map(|leaf| self.directory.open(&*self.rows, epoch, &leaf)).transpose()
    }

    pub(super) fn require(&mut self, name: &ProjectName) -> Result<FoundProject, VaultError> {
        let missing = || VaultError::NoProject { name: name.clone(), nearest: None };
        self.find(name)?.ok_or_else(missing)
    }

    /// Adds an empty project and writes its first head.
    fn add(&mut self, name: &ProjectName) -> Result<OpenedProject, VaultError> {
        if self.find(name)?.is_some() {
            return Err(VaultError::ProjectExists(name.clone()));
        }

        if self.count >= MAX_PROJECTS as u64 {
            return Err(VaultError::TooManyProjects);
        }

        // The store refuses an id that is taken.
        let (pid, now) = (random::array()?, Timestamp::now());
        let entry = ProjectEntry {
            pid,
            name: name.clone(),
            created: now,
            updated: now,
            epoch: 1,
            policy: PolicyId::default(),
            due: None,
            later: Vec::new(),
        };
        let project = OpenedProject::new(entry, Keyring::random()?);

        self.count += 1;
        self.put(None, &project)?;

        let place = HeadPlace { vault_id: &self.directory.vault_id, pid: &pid, epoch: 1 };
        let root_hash = tree::root_hash(&pid, &buckets::empty());
        let head = next_head::next(place, &Head::none(), 1, root_hash, 0);
        let change = AuditChange::new(Action::Begin);
        let signed = next_head::sign(place, head, change, &self.directory.signer);
        next_head::write(self.rows, place, project.ring()?, &signed)?;
        Ok(project)
    }

    fn rename(&mut self, from: &ProjectName, to: &ProjectName) -> Result<(), VaultError> {
        let found = self.require(from)?;
        if from != to && self.find(to)?.is_some() {
            return Err(VaultError::ProjectExists(to.clone()));
        }

        let FoundProject { record, mut project } = found;
        project.entry.name = to.clone();
        project.entry.updated = Timestamp::now();
        self.put(Some(record), &project)
    }

    fn delete(&mut self, name: &ProjectName) -> Result<(), VaultError> {
        let FoundProject { record, project } = self.require(name)?;
        buckets::remove(self.leaves(record.tag_ix[0])?, &record.tag_ix);
        self.rows.apply(Change::DropRecord(&DIRECTORY, &record))?;
        self.rows.apply(Change::DropProject(&project.entry.pid))?;
        self.count = self.count.checked_sub(1).ok_or(DAMAGED)?;
        self.change.add(record.rid, name.as_str());
        Ok(())
    }

    /// Replaces a project's entry and key ring.
    pub(super) fn replace(
        &mut self,
        found: FoundProject,
        project: &OpenedProject,
    ) -> Result<(), VaultError> {
        self.put(Some(found.record), project)
    }

    /// Writes a project's record: a new one, or the next version of `before`, whose index may differ.
    fn put(&mut self, before: Option<Record>, project: &OpenedProject) -> Result<(), VaultError> {
        let (entry, keys) = (&project.entry, project.ring()?);
        let (directory, epoch) = (self.directory, self.epoch);
        let rid = record_of(&entry.pid);
        let ver = before.as_ref().map_or(1, |before| before.ver + 1);
        let context = directory.context(&rid, epoch);
        let key = directory.ring_key(rid)?.message_key(VALUE_LABEL, &random::array()?);
        let sealed = entry.seal_keyring(key, context, ver, keys)?;

        let mut record = Record {
            tag_ix: directory.index(&entry.name),
            rid,
            epoch,
            ver,
            vver: ver,
            meta: entry.seal(&directory.keys, context, ver)?,
            val_hash: tree::value_hash(&sealed),
            leaf: [0; 32],
        };
        record.leaf = tree::leaf(&directory.vault_id, &DIRECTORY, &record);

        if let Some(before) = before.filter(|before| before.tag_ix != record.tag_ix) {
            buckets::remove(self.leaves(before.tag_ix[0])?, &before.tag_ix);
            self.rows.apply(Change::DropRecord(&DIRECTORY, &before))?;
        }

        let leaf = Leaf { tag_ix: record.tag_ix, rid, leaf: record.leaf };
        buckets::put(self.leaves(record.tag_ix[0])?, leaf);
        self.rows.apply(Change::Record(&DIRECTORY, &record))?;
        self.rows.apply(Change::Value(&rid, &sealed))?;
        self.change.add(rid, entry.name.as_str());
        Ok(())
    }

    /// Removes the entries of the directory's audit log up to the mark, and counts them.
    pub(super) fn prune(&mut self, mark: PruneMark, count: u64) -> Result<(), VaultError> {
        self.rows.apply(Change::DropAudit(&DIRECTORY, mark.seq))?;
        (self.change.count, self.change.pruned) = (count, Some(mark));
        Ok(())
    }

    /// Adds to the description of the change.
    pub(super) fn change(&mut self) -> &mut AuditChange {
        &mut self.change
    }

    /// Writes the changed buckets and the signed head. Returns the head.
    pub(super) fn sign(self) -> Result<Head, VaultError> {
        let (slots, tokens) = (self.slots, self.tokens);
        let Self { directory, rows, epoch, before, epoch_before, buckets, count, change, .. } =
            self;
        let place = HeadPlace { vault_id: &directory.vault_id, pid: &DIRECTORY, epoch };
        let root_hash = buckets.write(rows)?;
        let head = Head {
            directory: slots,
            policy: tokens,
            ..next_head::next(place, &before, epoch_before, root_hash, count)
        };

        let signed = next_head::sign(place, head, change, &directory.signer);
        next_head::write(rows, place, &directory.keys, &signed)?;
        Ok(signed.head)
    }
}

/// Returns the name that was probably meant by `wanted`.
pub(super) fn nearest_name(wanted: &ProjectName, all: &[OpenedProject]) -> Option<ProjectName> {
    let names = all.iter().map(|project| &project.entry.name);
    nearest(wanted.as_str(), names, |other| other.as_str().to_owned()).cloned()
}
