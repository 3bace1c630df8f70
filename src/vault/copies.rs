//! Copies of a whole vault: made, put back, saved from a damaged one.
//!
//! A copy has no name until it was looked at as a whole. Rows are copied as they are sealed, but for `salvage`, which seals what it
//! can read into a new vault.

use std::collections::HashMap;
use std::path::Path;

use super::edit::{Edit, target};
use super::examine::{Report, examine};
use super::holder::{KeyHolder, Tables};
use super::slots::dearest;
use super::state::{Project, State};
use super::{Locked, Vault, VaultError};
use crate::crypto::CryptoError;
use crate::crypto::integrity::EMPTY_BUCKET;
use crate::crypto::kdf::Passphrase;
use crate::crypto::keys::{ProjectRow, RootKey, VaultRow};
use crate::crypto::random;
use crate::crypto::slot::Slot;
use crate::model::{ProjectName, Secret, SecretId, Tag};
use crate::store::{Anchors, Change, Snapshot, SqliteStore, Store, StoreError, Transaction};

/// What a restored vault has that the present one has not, and the other way round; sorted by project and tag.
#[derive(Debug, Default)]
pub struct Difference {
    /// Secrets that come back
    pub added: Vec<Secret>,
    /// Secrets that go
    pub removed: Vec<Secret>,
    /// Secrets that are there in another version, as they will be
    pub changed: Vec<Secret>,
}

impl Difference {
    /// True where both hold the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// What changes where `then` takes the place of `now`.
    pub fn between(now: &[Secret], then: Vec<Secret>) -> Self {
        let mut before: HashMap<SecretId, &Secret> = now.iter().map(|secret| (secret.id, secret)).collect();
        let mut difference = Self::default();
        for secret in then {
            match before.remove(&secret.id) {
                None => difference.added.push(secret),
                Some(there) if there.version == secret.version && there.metadata == secret.metadata => {}
                Some(_) => difference.changed.push(secret),
            }
        }
        difference.removed = now.iter().filter(|secret| before.contains_key(&secret.id)).cloned().collect();
        difference
    }
}

/// What of a vault is another with every change, seen without a key.
#[derive(PartialEq, Eq)]
pub struct Shape(VaultRow, Vec<ProjectRow>);

impl Shape {
    fn of(snapshot: &dyn Snapshot) -> Result<Self, VaultError> {
        Ok(Self(snapshot.vault()?, snapshot.projects()?))
    }
}

/// What came of a damaged vault.
pub struct Salvaged {
    /// What was found
    pub report: Report,
    /// Secrets that the new vault holds
    pub saved: u64,
    /// Those of them that nothing vouches for: they are genuine, but may be older than they were
    pub unproven: Vec<(ProjectName, Tag)>,
}

impl Vault {
    /// Copies the vault to `path`: durable and looked at as a whole before it has that name. With `replace`, what is there, which
    /// must be a copy of the same vault, gives way. `reached` is told how many secrets were looked at.
    pub fn backup(&self, path: &Path, replace: bool, reached: &dyn Fn(u64)) -> Result<u64, VaultError> {
        let snapshot = self.store.read()?;
        let state = State::read(&*snapshot, &*self.root)?;
        if replace {
            match Locked::open(path).and_then(|there| there.vault_id()) {
                Ok(vault_id) if vault_id == state.vault.vault_id => {}
                Err(VaultError::Store(StoreError::Missing(_))) => {}
                Ok(_) => return Err(VaultError::AnotherVault(path.to_owned())),
                Err(error) => return Err(error),
            }
        }
        let copy = SqliteStore::begin(path, replace)?;
        {
            let store = copy.open()?;
            let mut transaction = store.write()?;
            copy_rows(&*snapshot, &mut *transaction)?;
            transaction.commit()?;
        }
        let store = copy.open()?;
        let report = examine(&*store.read()?, &*self.root, reached)?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::NotWhole(Box::new(report)));
        }
        drop(store);
        copy.settle()?;
        Ok(report.projects.iter().map(|project| project.secrets).sum())
    }

    /// All secrets of all projects.
    pub fn everything(&self) -> Result<Vec<Secret>, VaultError> {
        self.list(None, |_| true)
    }

    /// Puts everything of this vault into the place of what `to` holds, in one transaction; of what was `seen` there and nothing
    /// else.
    pub fn restore_into(&self, to: &Locked, seen: Option<&Shape>) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        State::read(&*snapshot, &*self.root)?;
        let mut transaction = to.store.write()?;
        if seen.is_some_and(|seen| !Shape::of(&*transaction).is_ok_and(|now| now == *seen)) {
            return Err(VaultError::ChangedBelow);
        }
        transaction.apply(Change::Clear)?;
        copy_rows(&*snapshot, &mut *transaction)?;
        // What lies there now, not what lay in the backup when it was looked at.
        let report = examine(&*transaction, &*self.root, &|_| {})?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::NotWhole(Box::new(report)));
        }
        transaction.commit()?;
        Ok(())
    }

    /// Forgets what was last seen of the vault here, and takes its present state for that.
    pub fn accept(&self) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        if let Some(anchors) = &self.anchors {
            anchors.remove(&snapshot.vault()?.vault_id)?;
        }
        State::read(&*snapshot, &*self.root)?;
        Ok(())
    }

    /// The same for a copy of this vault that lies where `anchors` are kept for.
    pub fn accepted_at(self, anchors: Option<Anchors>) -> Result<(), VaultError> {
        let root = match anchors.as_ref().and(self.root.root_key()) {
            Some(root) => RootKey::from_bytes(root.expose())?,
            None => return Ok(()),
        };
        Locked { store: self.store, anchors }.unlocked(root).accept()
    }

    /// Makes a new vault at `path` of all that can still be read, under `passphrase`. Ids and times stay.
    pub fn salvage(&self, path: &Path, passphrase: &Passphrase, reached: &dyn Fn(u64)) -> Result<Salvaged, VaultError> {
        let snapshot = self.store.read()?;
        let examined = examine(&*snapshot, &*self.root, reached)?;
        if examined.readable.iter().all(Vec::is_empty) {
            return Err(VaultError::NothingToSave(Box::new(examined.report)));
        }
        let root = RootKey::random()?;
        let mut row = VaultRow::first(random::array()?);
        let slot = Slot::create(passphrase, dearest(&examined.slots), &row.vault_id, &root)?;
        row.root_mac = root.mac(&row, std::slice::from_ref(&slot), &[], &[]);
        let copy = SqliteStore::begin(path, false)?;
        let store = copy.open()?;
        {
            let mut transaction = store.write()?;
            transaction.apply(Change::Vault(&row))?;
            transaction.apply(Change::Slot(&slot))?;
            transaction.commit()?;
        }
        let (mut saved, mut unproven) = (0, Vec::new());
        for ((row, keyring), readable) in examined.rows.iter().zip(&examined.keyrings).zip(&examined.readable) {
            let Some(keyring) = keyring.as_ref().filter(|_| !readable.is_empty()) else { continue };
            let from = Project::unverified(&examined.vault.vault_id, row, keyring);
            let mut transaction = store.write()?;
            let state = State::read(&*transaction, &root)?;
            let mut unborn = None;
            let mut edit = Edit::new(target(&state, &root, &mut *transaction, &keyring.name, &mut unborn)?);
            for one in readable {
                let found = from.by_leaf(&*snapshot, &one.leaf)?;
                // Where nothing vouches for the records there may be two of a tag.
                if edit.find(&*transaction, &found.metadata.tag.key())?.is_some() {
                    continue;
                }
                if !one.proven {
                    unproven.push((keyring.name.clone(), found.metadata.tag.clone()));
                }
                let value = from.value(&*snapshot, &found.record)?;
                edit.add_as(&mut *transaction, found.record.rid, found.metadata, &value)?;
                saved += 1;
            }
            edit.sign(&mut *transaction)?;
            transaction.commit()?;
        }
        drop(store);
        copy.settle()?;
        Ok(Salvaged { report: examined.report, saved, unproven })
    }
}

/// Copies every row that belongs to the vault.
fn copy_rows(from: &dyn Snapshot, to: &mut dyn Transaction) -> Result<(), VaultError> {
    to.apply(Change::Vault(&from.vault()?))?;
    from.slots()?.iter().try_for_each(|slot| to.apply(Change::Slot(slot)))?;
    from.grants()?.iter().try_for_each(|grant| to.apply(Change::Grant(grant)))?;
    for project in from.projects()? {
        to.apply(Change::Project(&project))?;
        for (number, hash) in from.buckets(&project.pid)? {
            to.apply(Change::Bucket(&project.pid, number, Some(&hash).filter(|hash| **hash != EMPTY_BUCKET)))?;
        }
        let mut rids = Vec::new();
        let mut outcome = Ok(());
        let mut last: Option<[u8; 16]> = None;
        from.records(&project.pid, &mut |record| {
            // Pages that point at each other would repeat their records without end.
            outcome = if last.replace(record.tag_ix) < Some(record.tag_ix) {
                to.apply(Change::Record(&project.pid, &record))
            } else {
                Err(StoreError::Damaged("table of records"))
            };
            rids.push(record.rid);
            outcome.is_ok()
        })?;
        outcome?;
        // In the order in which they will lie.
        rids.sort_unstable();
        for rid in rids {
            let value = from.value(&rid)?.ok_or(CryptoError::Damaged("the table of values"))?;
            to.apply(Change::Value(&rid, &value))?;
        }
    }
    Ok(())
}

impl Locked {
    /// What it looks like now.
    pub fn shape(&self) -> Result<Shape, VaultError> {
        Shape::of(&*self.store.read()?)
    }

    /// The root key of this vault, if it is `root`.
    pub fn opens_with(&self, root: &RootKey) -> Result<bool, VaultError> {
        let snapshot = self.store.read()?;
        let (vault, slots) = (super::state::checked_row(&*snapshot)?, snapshot.slots()?);
        let (projects, grants) = (snapshot.projects()?, snapshot.grants()?);
        let tables = Tables { vault: &vault, slots: &slots, projects: &projects, grants: &grants };
        Ok(KeyHolder::open(root, &tables).is_ok())
    }
}
