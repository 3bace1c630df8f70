//! Copies of a whole vault: made, put back, saved from a damaged one.
//!
//! A copy has no name until it was looked at as a whole. Rows are copied as they are sealed, but for `salvage`, which seals what it
//! can read into a new vault.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::edit::{Edit, target};
use super::inspect::{Report, examine};
use super::slots::dearest;
use super::state::{Project, State, checked_row};
use super::{Locked, Vault, VaultError, told_apart};
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
        let mut before: HashMap<SecretId, &Secret> =
            now.iter().map(|secret| (secret.id, secret)).collect();
        let mut difference = Self::default();
        for secret in then {
            match before.remove(&secret.id) {
                None => difference.added.push(secret),
                Some(there)
                    if there.version == secret.version && there.metadata == secret.metadata => {}
                Some(_) => difference.changed.push(secret),
            }
        }

        difference.removed =
            now.iter().filter(|secret| before.contains_key(&secret.id)).cloned().collect();
        difference
    }
}

/// What of a vault is another with every change, seen without a key.
#[derive(PartialEq, Eq)]
pub struct StateFingerprint(VaultRow, Vec<ProjectRow>);

impl StateFingerprint {
    fn of(snapshot: &dyn Snapshot) -> Result<Self, VaultError> {
        Ok(Self(snapshot.vault()?, snapshot.projects()?))
    }
}

/// What came of a damaged vault.
pub struct SalvageOutcome {
    /// What was found
    pub report: Report,
    /// Secrets that the new vault holds
    pub saved: u64,
    /// Those of them that nothing vouches for: they are genuine, but may be older than they were
    pub unproven: Vec<(ProjectName, Tag)>,
}

impl Locked {
    /// Checks what can be checked of the place of a backup before the vault is unlocked; see [`Vault::backup`].
    pub fn check_backup(&self, path: &Path, replace: bool) -> Result<(), VaultError> {
        if replace {
            match Locked::open(path) {
                Ok(there) if there.vault_id()? != self.vault_id()? => {
                    return Err(VaultError::AnotherVault(path.to_owned()));
                }
                Ok(_) | Err(VaultError::Store(StoreError::Missing(_))) => {}
                Err(error) => return Err(error),
            }
        }

        let there = if replace { IfExists::Replaced } else { IfExists::Refused };
        Ok(check_new(path, there).map(drop)?)
    }
}

impl Vault {
    /// Copies the vault to `path`: durable and looked at as a whole before it has that name. With `replace`, what is there, which
    /// must be a copy of the same vault, gives way. `reached` is told how many secrets were looked at.
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
                Ok(there) => Self::may_replace(&state, &*snapshot, &there, path)?,
                Err(VaultError::Store(StoreError::Missing(_))) => {}
                Err(error) => return Err(error),
            }
        }

        let there = if replace { IfExists::Replaced } else { IfExists::Refused };
        let (copy, secrets) =
            self.copied(&*snapshot, SqliteStore::begin(path, there)?, on_progress)?;
        copy.settle()?;
        Ok(secrets)
    }

    /// A copy that is to stand at `path` once what stands there has been moved away; durable and looked at as a whole.
    pub fn copy_for(&self, path: &Path) -> Result<NewFile, VaultError> {
        let snapshot = self.store.read()?;
        self.state(&*snapshot)?;
        Ok(self.copied(&*snapshot, SqliteStore::begin(path, IfExists::Moved)?, &|_| {})?.0)
    }

    /// Copies all rows, and looks at the whole copy.
    fn copied(
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
        let report = examine(&*store.read()?, &*self.root, on_progress)?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::NotWhole(Box::new(report)));
        }

        drop(store);
        Ok((copy, report.projects.iter().map(|project| project.secrets).sum()))
    }

    /// Refuses to put a copy of `state` over what it does not follow on. A project under earlier keys cannot be looked into.
    fn may_replace(
        state: &State,
        snapshot: &dyn Snapshot,
        there: &Locked,
        path: &Path,
    ) -> Result<(), VaultError> {
        let before = there.store.read()?;
        let vault = checked_row(&*before)?;
        if vault.vault_id != state.vault.vault_id {
            return Err(VaultError::AnotherVault(path.to_owned()));
        }

        let follows = |now: &Revision, before: &Revision| {
            matches!(now.since(before), Relation::Equal | Relation::Ahead)
        };

        let mut is_earlier = follows(&state.vault.moment(), &vault.moment());
        let places: HashMap<_, _> =
            state.rows.iter().enumerate().map(|(at, row)| (row.pid, at)).collect();
        for row in before.projects()? {
            let Some(at) = places.get(&row.pid) else { continue };
            let moment = |head: Head| head.moment(&vault.vault_id, &row.pid, row.epoch);
            if let Ok(head) = state.keyrings[*at].open_head(&vault.vault_id, &row) {
                is_earlier &= follows(&moment(state.project(snapshot, *at)?.head), &moment(head));
            }
        }

        if is_earlier { Ok(()) } else { Err(VaultError::NoEarlierCopy(path.to_owned())) }
    }

    /// All secrets of all projects.
    pub fn everything(&self) -> Result<Vec<Secret>, VaultError> {
        self.list(None, |_| true)
    }

    /// Puts everything of this vault into the place of what `to` holds, in one transaction; of what was `seen` there and nothing
    /// else.
    pub fn restore_into(
        &self,
        to: &Locked,
        seen: Option<&StateFingerprint>,
    ) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        self.state(&*snapshot)?;
        let mut transaction = to.store.write()?;

        if seen
            .is_some_and(|seen| !StateFingerprint::of(&*transaction).is_ok_and(|now| now == *seen))
        {
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
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.remove(&snapshot.vault()?.vault_id)?;
        }

        self.state(&*snapshot)?;
        Ok(())
    }

    /// The same for a copy of this vault that lies where `anchors` are kept for.
    pub fn accepted_at(self, checkpoints: Option<CheckpointStore>) -> Result<(), VaultError> {
        let root = match checkpoints.as_ref().and(self.root.root_key()) {
            Some(root) => root.copy()?,
            None => return Ok(()),
        };

        Locked { checkpoints, ..Locked::over(self.store) }.unlocked(root).accept()
    }

    /// Makes a new vault at `path` of all that can still be read, under `passphrase`. Ids and times stay.
    pub fn salvage(
        &self,
        path: &Path,
        passphrase: &Passphrase,
        on_progress: &dyn Fn(u64),
    ) -> Result<SalvageOutcome, VaultError> {
        let snapshot = self.store.read()?;
        let examined = examine(&*snapshot, &*self.root, on_progress)?;
        if examined.readable.iter().all(Vec::is_empty) {
            return Err(VaultError::NothingToSave(Box::new(examined.report)));
        }

        let root = RootKey::random()?;
        let mut row = VaultRow::first(random::array()?);
        let slot = Slot::create(passphrase, dearest(&examined.slots), &row.vault_id, &root)?;
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
            examined.rows.iter().zip(&examined.keyrings).zip(&examined.readable)
        {
            let Some(keyring) = keyring.as_ref().filter(|_| !readable.is_empty()) else { continue };
            let from = Project::unverified(&examined.vault.vault_id, row, keyring);
            let mut transaction = store.write()?;
            let state = State::read(&*transaction, &root)?;
            let mut new_project = None;

            // Two projects of one name, as where one was put back, are both saved.
            let name = unused(&keyring.name, &mut names);
            let mut edit =
                Edit::new(target(&state, &root, &mut *transaction, &name, &mut new_project)?);
            for one in readable {
                let found = from.by_leaf(&*snapshot, &one.leaf)?;
                if !one.proven {
                    unproven.push((name.clone(), found.metadata.tag.clone()));
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
        Ok(SalvageOutcome { report: examined.report, saved, unproven })
    }
}

/// A project's name, or the next one that is not taken: `web-2`.
fn unused(name: &ProjectName, taken: &mut HashSet<ProjectName>) -> ProjectName {
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
    pub fn shape(&self) -> Result<StateFingerprint, VaultError> {
        StateFingerprint::of(&*self.store.read()?)
    }

    /// Checks that `root` is this vault's root key: what the root MAC covers holds under it.
    pub fn opens_with(&self, root: &RootKey) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        told_apart(State::read(&*snapshot, root), &self.opened, &*snapshot).map(drop)
    }

    /// Does `act` while nobody else can change this vault, if it still looks as it was `seen`.
    pub fn while_unchanged<T, E: From<VaultError>>(
        &self,
        seen: &StateFingerprint,
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let held = match self.store.write() {
            Ok(held) => Some(held),
            // What cannot be written nobody changes.
            Err(StoreError::Damaged(_) | StoreError::ReadOnly) => None,
            Err(error) => return Err(VaultError::from(error).into()),
        };

        if held
            .as_ref()
            .is_some_and(|held| !StateFingerprint::of(&**held).is_ok_and(|now| now == *seen))
        {
            return Err(VaultError::ChangedBelow.into());
        }

        act()
    }

    /// How often the vault's keys, slots and projects were changed; as the file says, not verified.
    pub fn root_seq(&self) -> Result<u64, VaultError> {
        Ok(checked_row(&*self.store.read()?)?.root_seq)
    }

    /// True where the same credentials open both.
    pub fn has_same_slots(&self, other: &Self) -> Result<bool, VaultError> {
        Ok(self.store.read()?.slots()? == other.store.read()?.slots()?)
    }

    /// The root keys of this vault and of `present`, which it is to replace, both opened by one credential; of the second one only
    /// where that opens it. Where the first has been given another credential since, the second one's key may be its own.
    pub fn root_keys(
        &self,
        present: Option<&Self>,
        by: &dyn Credential,
    ) -> Result<(RootKey, Option<RootKey>), VaultError> {
        let opened = |vault: &Self| {
            let root = vault.root_key(by)?;

            // The slot gave it: what does not open with it now is damaged.
            vault.opens_with(&root)?;
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

                return match self.opens_with(&root) {
                    Err(error) if error.is_damage() => Err(VaultError::OtherKeys),
                    checked => checked.and_then(|()| Ok((root.copy()?, Some(root)))),
                };
            }
            (root, _) => root?,
        };

        let Some(present) = present else { return Ok((root, None)) };
        let present = match present.opens_with(&root) {
            Err(error) if error.is_damage() => match opened(present) {
                Err(error) if is_other(&error) || error.is_damage() => None,
                root => Some(root?),
            },
            checked => checked.and_then(|()| Ok(Some(root.copy()?)))?,
        };

        Ok((root, present))
    }
}
