//! Copies of a whole vault: backup, restore and salvage.
//!
//! A copy gets its name only after it was fully verified. Rows are copied in their sealed form.
//! Only `salvage` re-encrypts, because it stores what it can read in a new vault.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use super::edit::{Edit, open_or_create};
use super::inspect::{Report, inspect};
use super::slots::strongest_params;
use super::state::{Project, State, checked_row};
use super::{Locked, Vault, VaultError, detect_slot_change};
use crate::crypto::CryptoError;
use crate::crypto::head::Head;
use crate::crypto::history::{Relation, Revision};
use crate::crypto::kdf::Passphrase;
use crate::crypto::random;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{ProjectRow, Slot, VaultRow};
use crate::crypto::slot::Credential;
use crate::crypto::tree::EMPTY_BUCKET;
use crate::model::{ProjectName, Secret, SecretId, TAG_MAX, Tag};
use crate::store::{
    Change, CheckpointStore, IfExists, NewFile, Snapshot, SqliteStore, Store, StoreError,
    Transaction, Walk, check_new,
};

/// The secrets that differ between the current vault and a restored one, sorted by project and tag.
#[derive(Debug, Default)]
pub struct Difference {
    /// Secrets that the restored vault adds
    pub added: Vec<Secret>,
    /// Secrets that the restored vault removes
    pub removed: Vec<Secret>,
    /// Secrets that exist in both in different versions, as they will be after the restore
    pub changed: Vec<Secret>,
}

impl Difference {
    /// Returns true if both vaults hold the same secrets.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Returns the changes if `then` replaces `now`.
    pub fn between(now: &[Secret], then: Vec<Secret>) -> Self {
        let mut before: HashMap<SecretId, &Secret> =
            now.iter().map(|secret| (secret.id, secret)).collect();
        let mut difference = Self::default();
        for secret in then {
            match before.remove(&secret.id) {
                None => difference.added.push(secret),
                Some(existing)
                    if existing.version == secret.version
                        && existing.metadata == secret.metadata => {}
                Some(_) => difference.changed.push(secret),
            }
        }

        difference.removed =
            now.iter().filter(|secret| before.contains_key(&secret.id)).cloned().collect();
        difference
    }
}

/// A fingerprint of the vault's state that is readable without a key. Every commit changes it.
#[derive(PartialEq, Eq)]
pub struct StateFingerprint(VaultRow, Vec<ProjectRow>);

impl StateFingerprint {
    fn read(snapshot: &dyn Snapshot) -> Result<Self, VaultError> {
        Ok(Self(snapshot.vault()?, snapshot.projects()?))
    }
}

/// The result of salvaging a damaged vault.
pub struct SalvageOutcome {
    /// The findings of the inspection
    pub report: Report,
    /// The number of secrets in the new vault
    pub saved: u64,
    /// The secrets that cannot be verified as current; they are genuine, but may be old versions
    pub unproven: Vec<(ProjectName, Tag)>,
}

impl Locked {
    /// Checks the path of a backup as far as that is possible before unlocking, see
    /// [`Vault::backup`].
    pub fn check_backup(&self, path: &Path, replace: bool) -> Result<(), VaultError> {
        if replace {
            match Locked::open(path) {
                Ok(existing) if existing.vault_id()? != self.vault_id()? => {
                    return Err(VaultError::AnotherVault(path.to_owned()));
                }
                Ok(_) | Err(VaultError::Store(StoreError::Missing(_))) => {}
                Err(error) => return Err(error),
            }
        }

        let if_exists = if replace { IfExists::Replaced } else { IfExists::Refused };
        Ok(check_new(path, if_exists).map(drop)?)
    }
}

impl Vault {
    /// Copies the vault to `path`. The copy is flushed and fully verified before it gets that name.
    /// With `replace`, it replaces an existing file, which must be an earlier copy of the same
    /// vault. Calls `on_progress` with the number of secrets verified so far. Returns the number of
    /// secrets.
    pub fn backup(
        &self,
        path: &Path,
        replace: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<u64, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;

        if replace {
            match Locked::open(path) {
                Ok(existing) => Self::check_replaceable(&state, &*snapshot, &existing, path)?,
                Err(VaultError::Store(StoreError::Missing(_))) => {}
                Err(error) => return Err(error),
            }
        }

        let if_exists = if replace { IfExists::Replaced } else { IfExists::Refused };
        let (copy, secrets) =
            self.copy_and_verify(&*snapshot, SqliteStore::begin(path, if_exists)?, on_progress)?;
        copy.persist()?;
        Ok(secrets)
    }

    /// Returns a flushed and fully verified copy for `path`. The caller moves the existing file
    /// away before it persists the copy.
    pub fn copy_for(&self, path: &Path) -> Result<NewFile, VaultError> {
        let snapshot = self.store.read()?;
        self.state(&*snapshot)?;
        Ok(self.copy_and_verify(&*snapshot, SqliteStore::begin(path, IfExists::Moved)?, &|_| {})?.0)
    }

    /// Copies all rows and verifies the whole copy.
    fn copy_and_verify(
        &self,
        snapshot: &dyn Snapshot,
        copy: NewFile,
        on_progress: &dyn Fn(u64),
    ) -> Result<(NewFile, u64), VaultError> {
        {
            let store = copy.open()?;
            let mut transaction = store.write()?;
            copy_rows(snapshot, &mut *transaction)?;
            transaction.commit()?;
        }

        let store = copy.open()?;
        let report = inspect(&*store.read()?, &*self.root, on_progress)?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::DamagedVault(Box::new(report)));
        }

        drop(store);
        Ok((copy, report.projects.iter().map(|project| project.secrets).sum()))
    }

    /// Fails unless `state` is the same as the vault at `path` or follows it. Projects whose keys
    /// were changed since cannot be compared.
    fn check_replaceable(
        state: &State,
        snapshot: &dyn Snapshot,
        existing: &Locked,
        path: &Path,
    ) -> Result<(), VaultError> {
        let before = existing.store.read()?;
        let vault = checked_row(&*before)?;
        if vault.vault_id != state.vault.vault_id {
            return Err(VaultError::AnotherVault(path.to_owned()));
        }

        let follows = |now: &Revision, before: &Revision| {
            matches!(now.compare(before), Relation::Equal | Relation::Ahead)
        };

        let mut is_earlier = follows(&state.vault.revision(), &vault.revision());
        let positions: HashMap<_, _> =
            state.rows.iter().enumerate().map(|(at, row)| (row.pid, at)).collect();
        for row in before.projects()? {
            let Some(at) = positions.get(&row.pid) else { continue };
            let revision = |head: Head| head.revision(&vault.vault_id, &row.pid, row.epoch);
            if let Ok(head) = state.keyrings[*at].open_head(&vault.vault_id, &row) {
                let now = revision(state.project(snapshot, *at)?.head);
                is_earlier &= follows(&now, &revision(head));
            }
        }

        if is_earlier { Ok(()) } else { Err(VaultError::NoEarlierCopy(path.to_owned())) }
    }

    /// Returns all secrets of all projects.
    pub fn list_all(&self) -> Result<Vec<Secret>, VaultError> {
        self.list(None, |_| true)
    }

    /// Replaces the content of `to` with this vault's, in one transaction. Fails if `to` no longer
    /// has the state `seen`.
    pub fn restore_into(
        &self,
        to: &Locked,
        seen: Option<&StateFingerprint>,
    ) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        self.state(&*snapshot)?;
        let mut transaction = to.store.write()?;

        if seen.is_some_and(|seen| {
            !StateFingerprint::read(&*transaction).is_ok_and(|now| now == *seen)
        }) {
            return Err(VaultError::VaultChanged);
        }

        transaction.apply(Change::Clear)?;
        copy_rows(&*snapshot, &mut *transaction)?;

        // This inspects what is stored there now, because the backup may have changed since it was
        // inspected.
        let report = inspect(&*transaction, &*self.root, &|_| {})?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::DamagedVault(Box::new(report)));
        }

        transaction.commit()?;
        Ok(())
    }

    /// Removes the vault's checkpoint here and records the current state instead.
    pub fn accept(&self) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.remove(&snapshot.vault()?.vault_id)?;
        }

        self.state(&*snapshot)?;
        Ok(())
    }

    /// Does the same as [`Vault::accept`] for a copy of this vault at the path that `checkpoints`
    /// belong to.
    pub fn accept_at(self, checkpoints: Option<CheckpointStore>) -> Result<(), VaultError> {
        let root = match checkpoints.as_ref().and(self.root.root_key()) {
            Some(root) => root.copy()?,
            None => return Ok(()),
        };

        Locked { checkpoints, ..Locked::with_store(self.store) }.unlocked(root).accept()
    }

    /// Creates a new vault at `path` from everything that can still be read, under `passphrase`.
    /// Secrets keep their ids and times. Calls `on_progress` with the number of secrets read so
    /// far.
    pub fn salvage(
        &self,
        path: &Path,
        passphrase: &Passphrase,
        on_progress: &dyn Fn(u64),
    ) -> Result<SalvageOutcome, VaultError> {
        let snapshot = self.store.read()?;
        let inspection = inspect(&*snapshot, &*self.root, on_progress)?;
        if inspection.readable.iter().all(Vec::is_empty) {
            return Err(VaultError::NothingToSave(Box::new(inspection.report)));
        }

        let root = RootKey::random()?;
        let mut row = VaultRow::first(random::array()?);
        let params = strongest_params(&inspection.slots);
        let slot = Slot::create(passphrase, params, &row.vault_id, &root)?;
        row.root_mac = root.mac(&row, std::slice::from_ref(&slot), &[], &[]);

        let copy = SqliteStore::begin(path, IfExists::Refused)?;
        let store = copy.open()?;
        {
            let mut transaction = store.write()?;
            transaction.apply(Change::Vault(&row))?;
            transaction.apply(Change::Slot(&slot))?;
            transaction.commit()?;
        }

        let (mut saved, mut unproven, mut names) = (0, Vec::new(), HashSet::new());
        for ((row, keyring), readable) in
            inspection.rows.iter().zip(&inspection.keyrings).zip(&inspection.readable)
        {
            let Some(keyring) = keyring.as_ref().filter(|_| !readable.is_empty()) else { continue };
            let from =
                Project::unverified(inspection.vault.vault_id, row.clone(), Rc::clone(keyring));
            let mut transaction = store.write()?;
            let state = State::read(&*transaction, &root)?;

            // A damaged vault may have two projects of the same name, for example after a rollback
            // of one of them. Both are saved.
            let name = unused_name(&keyring.name, &mut names);
            let target = open_or_create(&state, &root, &mut *transaction, &name)?;
            let mut edit = Edit::new(&mut *transaction, target);
            for one in readable {
                let found = from.by_leaf(&*snapshot, &one.leaf)?;
                if !one.proven {
                    unproven.push((name.clone(), found.metadata.tag.clone()));
                }

                let value = from.value(&*snapshot, &found.record)?;
                edit.add_as(found.record.rid, found.metadata, &value)?;
                saved += 1;
            }

            edit.sign()?;
            transaction.commit()?;
        }

        drop(store);
        copy.persist()?;
        Ok(SalvageOutcome { report: inspection.report, saved, unproven })
    }
}

/// Returns a project's name, or the first free one with a number, for example `web-2`.
fn unused_name(name: &ProjectName, taken: &mut HashSet<ProjectName>) -> ProjectName {
    let numbered = |number: u32| {
        let end = format!("-{number}");
        let start: String = name.as_str().chars().take(TAG_MAX.saturating_sub(end.len())).collect();
        ProjectName::parse(&format!("{start}{end}")).ok()
    };

    let mut names = std::iter::once(name.clone()).chain((2..=u32::MAX).filter_map(numbered));
    let found = names.find(|name| !taken.contains(name)).unwrap_or_else(|| name.clone());
    taken.insert(found.clone());
    found
}

/// Copies every row that belongs to the vault.
fn copy_rows(from: &dyn Snapshot, to: &mut dyn Transaction) -> Result<(), VaultError> {
    let _walk = Walk::begin(from)?;
    to.apply(Change::Vault(&from.vault()?))?;
    from.slots()?.iter().try_for_each(|slot| to.apply(Change::Slot(slot)))?;
    from.grants()?.iter().try_for_each(|grant| to.apply(Change::Grant(grant)))?;

    for project in from.projects()? {
        to.apply(Change::Project(&project))?;
        for (number, hash) in from.buckets(&project.pid)? {
            to.apply(Change::Bucket(
                &project.pid,
                number,
                Some(&hash).filter(|hash| **hash != EMPTY_BUCKET),
            ))?;
        }

        let mut rids = Vec::new();
        let mut outcome = Ok(());
        let mut last: Option<[u8; 16]> = None;
        from.records(&project.pid, &mut |record| {
            // Pages that point at each other would repeat their records forever.
            outcome = if last.replace(record.tag_ix) < Some(record.tag_ix) {
                to.apply(Change::Record(&project.pid, &record))
            } else {
                Err(StoreError::Damaged("table of records"))
            };

            rids.push(record.rid);
            outcome.is_ok()
        })?;

        outcome?;

        // Values are copied in the order in which they are stored.
        rids.sort_unstable();
        for rid in rids {
            let value = from.value(&rid)?.ok_or(CryptoError::Damaged("the table of values"))?;
            to.apply(Change::Value(&rid, &value))?;
        }
    }

    Ok(())
}

impl Locked {
    /// Returns the fingerprint of the current state.
    pub fn fingerprint(&self) -> Result<StateFingerprint, VaultError> {
        StateFingerprint::read(&*self.store.read()?)
    }

    /// Checks that `root` is this vault's root key, which means that the root MAC is valid under
    /// it.
    pub fn check_root_key(&self, root: &RootKey) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        detect_slot_change(State::read(&*snapshot, root), &self.opened, &*snapshot).map(drop)
    }

    /// Calls `act` while no other process can change this vault, if its state is still `seen`.
    pub fn while_unchanged<T, E: From<VaultError>>(
        &self,
        seen: &StateFingerprint,
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let held = match self.store.write() {
            Ok(held) => Some(held),
            // Nobody can change a vault that cannot be written.
            Err(StoreError::Damaged(_) | StoreError::ReadOnly) => None,
            Err(error) => return Err(VaultError::from(error).into()),
        };

        if held
            .as_ref()
            .is_some_and(|held| !StateFingerprint::read(&**held).is_ok_and(|now| now == *seen))
        {
            return Err(VaultError::VaultChanged.into());
        }

        act()
    }

    /// Returns the number of changes of the vault's keys, slots and projects. It is not verified.
    pub fn root_seq(&self) -> Result<u64, VaultError> {
        Ok(checked_row(&*self.store.read()?)?.root_seq)
    }

    /// Returns true if the same credentials open both vaults.
    pub fn has_same_slots(&self, other: &Self) -> Result<bool, VaultError> {
        Ok(self.store.read()?.slots()? == other.store.read()?.slots()?)
    }

    /// Returns the root keys of this vault and of `present`, which it will replace, both opened by
    /// one credential. Returns no second key if the credential does not open `present`. If the
    /// credential opens only `present`, its root key is tried on this vault, because only the
    /// passphrase may have been changed.
    pub fn root_keys(
        &self,
        present: Option<&Self>,
        by: &dyn Credential,
    ) -> Result<(RootKey, Option<RootKey>), VaultError> {
        let opened = |vault: &Self| {
            let root = vault.root_key(by)?;

            // This key came from a slot, so anything that does not open with it is damaged.
            vault.check_root_key(&root)?;
            Ok::<_, VaultError>(root)
        };

        let is_other = |error: &VaultError| match error {
            VaultError::Crypto(error) => {
                *error == by.wrong() || *error == CryptoError::NoRecoveryCode
            }
            _ => false,
        };

        let root = match (opened(self), present) {
            (Err(wrong), Some(present)) if is_other(&wrong) => {
                let root = match opened(present) {
                    Err(error) if is_other(&error) || error.is_damage() => return Err(wrong),
                    root => root?,
                };

                return match self.check_root_key(&root) {
                    Err(error) if error.is_damage() => Err(VaultError::OtherKeys),
                    checked => checked.and_then(|()| Ok((root.copy()?, Some(root)))),
                };
            }
            (root, _) => root?,
        };

        let Some(present) = present else { return Ok((root, None)) };
        let present = match present.check_root_key(&root) {
            Err(error) if error.is_damage() => match opened(present) {
                Err(error) if is_other(&error) || error.is_damage() => None,
                root => Some(root?),
            },
            checked => checked.and_then(|()| Ok(Some(root.copy()?)))?,
        };

        Ok((root, present))
    }
}
