//! Restores a backup: opens it next to the vault that it replaces, compares both, verifies the
//! backup, replaces the vault and resets its checkpoint.
//!
//! The caller asks for the credential and for consent, and shows what a [`RestoreObserver`]
//! receives. Everything else, and the order of it, is decided here.

use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;

use super::difference::Difference;
use super::follow::BackupRelation;
use super::replace::{Current, CurrentFile};
use crate::crypto::CryptoError;
use crate::crypto::ids::{DIRECTORY, ProjectId};
use crate::crypto::output_digest::OutputKey;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::VaultRow;
use crate::crypto::slot::Credential;
use crate::model::{Class, Secret, SecretId, TokenName};
use crate::store::{self, CheckpointStore, Location, Snapshot, StoreError};
use crate::vault::access::{LocalOwner, VaultAccess};
use crate::vault::checkpoints::Checkpoints;
use crate::vault::directory::Directory;
use crate::vault::state::{State, checked_row};
use crate::vault::{Locked, Vault, VaultError, detect_slot_change};

/// The vault that a backup will replace.
pub struct RestoreTarget {
    /// The path of the vault, which may not exist
    pub path: PathBuf,
    /// The directory of the checkpoints on this machine, if there is one
    pub checkpoints: Option<PathBuf>,
}

impl RestoreTarget {
    /// Fails if the vault's directory or its checkpoint could not be written. Call it before asking
    /// for a credential.
    pub fn check(&self) -> Result<(), VaultError> {
        store::check_directory_for(&self.path)?;

        // Without the vault's directory there are no checkpoints.
        if let Ok(Some(checkpoints)) = self.open_checkpoints() {
            checkpoints.check_writable()?;
        }

        Ok(())
    }

    /// Opens the present vault with its checkpoints.
    fn open(&self) -> Result<Locked, VaultError> {
        let locked = Locked::open(&self.path)?.keeping_copies();
        Ok(match &self.checkpoints {
            Some(directory) => locked.with_checkpoints(directory),
            None => locked,
        })
    }

    /// Opens the checkpoints of the vault. Its path may lead elsewhere once the file is replaced.
    fn open_checkpoints(&self) -> Result<Option<CheckpointStore>, StoreError> {
        let Some(directory) = &self.checkpoints else { return Ok(None) };
        Ok(Some(CheckpointStore::new(directory, &Location::of_file(&self.path)?)))
    }
}

/// What a restore finds and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreEvent {
    /// The backup is a different vault from the current one
    OtherVault,
    /// The backup brings back keys that were replaced after it was made
    OldKeys,
    /// The backup brings back a passphrase or a recovery code that was replaced after it was made
    OldCredentials,
    /// The current file is damaged or has another passphrase, so it will be kept
    NotCompared,
    /// The current file, or a journal of it, now has this name
    Kept(PathBuf),
    /// These tokens of the backup were revoked
    Revoked(Vec<TokenName>),
    /// These tokens were removed, because the backup does not have their projects
    RemovedTokens(Vec<TokenName>),
    /// These secrets are restricted and will be team secrets
    LessRestricted(Vec<Secret>),
    /// The vault was replaced. Its old state must be forgotten wherever else it is remembered.
    Replaced,
}

/// The parts of a restore that take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreWork {
    /// Verifying the current vault
    Compare,
    /// Verifying the backup
    Verify,
}

/// Receives what a restore finds and does, in the order in which it happens.
pub trait RestoreObserver {
    /// Receives an event.
    fn on_event(&self, event: RestoreEvent);
    /// Begins a part that takes long. The result is called with the number of secrets so far, and
    /// dropped at the end of that part.
    fn begin(&self, work: RestoreWork) -> Box<dyn Fn(u64) + '_>;
}

/// A backup, opened next to the vault that it will replace. Nothing is unlocked yet.
pub struct Restore<'o> {
    backup: Locked,
    current: Option<Locked>,
    target: RestoreTarget,
    observer: &'o dyn RestoreObserver,
}

/// The root keys of a backup and of the vault that it will replace.
pub struct RestoreKeys {
    backup: RootKey,
    /// `None` if the credential does not open the current vault
    current: Option<RootKey>,
}

impl<'o> Restore<'o> {
    /// Opens the vault that `backup` will replace, if it can be opened.
    pub fn new(
        backup: Locked,
        target: RestoreTarget,
        observer: &'o dyn RestoreObserver,
    ) -> Result<Self, VaultError> {
        let current = match Locked::open(&target.path) {
            // The backup may be one of the copies that the vault keeps.
            Ok(current) => Some(current.keeping_copies()),
            Err(VaultError::Store(
                StoreError::Missing(_) | StoreError::NotAVault(_) | StoreError::Damaged(_),
            )) => None,
            Err(error) => return Err(error),
        };

        Ok(Self { backup, current, target, observer })
    }

    /// Opens the root keys of both vaults with one credential. If it opens only the current vault,
    /// that root key is tried on the backup, because only the passphrase may have been changed.
    pub fn root_keys(&self, by: &dyn Credential) -> Result<RestoreKeys, VaultError> {
        let is_other = |error: &VaultError| match error {
            VaultError::Crypto(error) => {
                *error == by.wrong() || *error == CryptoError::NoRecoveryCode
            }
            _ => false,
        };

        let backup = match (self.backup.own_root_key(by), &self.current) {
            (Err(wrong), Some(current)) if is_other(&wrong) => {
                let root = match current.own_root_key(by) {
                    Err(error) if is_other(&error) || error.is_damage() => return Err(wrong),
                    root => root?,
                };

                return match self.backup.check_root_key(&root) {
                    Err(error) if error.is_damage() => Err(VaultError::OtherKeys),
                    checked => {
                        checked?;
                        Ok(RestoreKeys { backup: root.copy()?, current: Some(root) })
                    }
                };
            }
            (root, _) => root?,
        };

        let Some(current) = &self.current else {
            return Ok(RestoreKeys { backup, current: None });
        };

        let current = match current.check_root_key(&backup) {
            Err(error) if error.is_damage() => match current.own_root_key(by) {
                Err(error) if is_other(&error) || error.is_damage() => None,
                root => Some(root?),
            },
            checked => {
                checked?;
                Some(backup.copy()?)
            }
        };

        Ok(RestoreKeys { backup, current })
    }

    /// Compares the backup with the current vault and verifies every record of it. Changes nothing.
    pub fn plan(mut self, keys: RestoreKeys) -> Result<RestorePlan<'o>, VaultError> {
        let mut current = match self.current.take() {
            Some(vault) => self.compare(vault, keys.current, &keys.backup)?,
            None if self.target.path.symlink_metadata().is_err() => CurrentFile::Nothing,
            None => CurrentFile::Kept(None),
        };

        let Self { backup, target, observer, .. } = self;
        if let CurrentFile::Kept(_) = current {
            observer.on_event(RestoreEvent::NotCompared);
        }

        let backup = backup.unlocked(keys.backup);
        if let CurrentFile::Compared(current) = &mut current {
            let root = current.vault.root_key()?.copy()?;
            let present = target.open()?.unlocked(root);
            let relation = backup.relation_to(&present)?;
            current.has_diverged = relation == BackupRelation::PresentDiverged;
            current.later = (relation == BackupRelation::Earlier).then_some(present);
            if let Some(event) = less_restricted(&current.secrets, &backup)? {
                observer.on_event(event);
            }
        }

        let report = backup.verify(&*observer.begin(RestoreWork::Verify))?;
        if !report.damage.is_empty() {
            return Err(VaultError::DamagedVault(Box::new(report)));
        }

        let secrets = backup.list(None, |_| true)?;
        let difference = Difference::between(current.secrets().unwrap_or_default(), secrets);
        Ok(RestorePlan { backup, current, target, observer, difference })
    }

    /// Reads the current vault, if `root` opens it and it is not damaged.
    fn compare(
        &self,
        vault: Locked,
        root: Option<RootKey>,
        backup_root: &RootKey,
    ) -> Result<CurrentFile, VaultError> {
        // Nothing is removed that was not shown to the user as removed.
        let Ok(fingerprint) = vault.fingerprint() else { return Ok(CurrentFile::Kept(None)) };
        let Some(root) = root else { return Ok(CurrentFile::Kept(Some((vault, fingerprint)))) };
        if let Some(event) = brings_back((&self.backup, backup_root), (&vault, &root))? {
            self.observer.on_event(event);
        }

        let present = Locked::open(&self.target.path)?.keeping_copies().unlocked(root);
        Ok(match secrets_of(&present, &*self.observer.begin(RestoreWork::Compare))? {
            Some(secrets) => CurrentFile::Compared(Current {
                vault: present,
                fingerprint,
                secrets,
                later: None,
                has_diverged: false,
            }),
            None => CurrentFile::Kept(Some((vault, fingerprint))),
        })
    }
}

/// Returns what the backup brings back: keys, a passphrase or a recovery code that were replaced
/// since it was made.
fn brings_back(
    backup: (&Locked, &RootKey),
    current: (&Locked, &RootKey),
) -> Result<Option<RestoreEvent>, VaultError> {
    let is_same_root = backup.1.is_same(current.1);
    let (then, now) = (backup.0.store.read()?, current.0.store.read()?);
    let (old, new) = (checked_row(&*then)?, checked_row(&*now)?);
    let seq = |row: &VaultRow, rows: &dyn Snapshot, root: &RootKey| {
        let directory = Directory::new(root, row.vault_id).read(rows);
        directory.map(|directory| directory.head.seq)
    };

    // If one of the two is damaged, the inspection that follows says so.
    let (Ok(before), Ok(after)) = (seq(&old, &*then, backup.1), seq(&new, &*now, current.1)) else {
        return Ok((old.vault_id != new.vault_id).then_some(RestoreEvent::OtherVault));
    };

    Ok(if old.vault_id != new.vault_id {
        Some(RestoreEvent::OtherVault)
    } else if before < after && !is_same_root {
        Some(RestoreEvent::OldKeys)
    } else if before < after && then.slots()? != now.slots()? {
        Some(RestoreEvent::OldCredentials)
    } else {
        None
    })
}

/// Finds secrets that were made restricted after the backup was made.
fn less_restricted(now: &[Secret], backup: &Vault) -> Result<Option<RestoreEvent>, VaultError> {
    let is_restricted = |class| class == Class::Restricted;
    let restricted: HashSet<SecretId> =
        now.iter().filter(|it| is_restricted(it.metadata.class)).map(|it| it.id).collect();
    if restricted.is_empty() {
        return Ok(None);
    }

    let mut secrets = backup.list(None, |metadata| !is_restricted(metadata.class))?;
    secrets.retain(|secret| restricted.contains(&secret.id));
    Ok((!secrets.is_empty()).then_some(RestoreEvent::LessRestricted(secrets)))
}

/// Returns the secrets of the current vault, or `None` if it is damaged.
fn secrets_of(vault: &Vault, on_progress: &dyn Fn(u64)) -> Result<Option<Vec<Secret>>, VaultError> {
    match vault.verify(on_progress) {
        Ok(report) if report.damage.is_empty() => Ok(Some(vault.list(None, |_| true)?)),
        Ok(_) => Ok(None),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A verified backup and what it would change.
pub struct RestorePlan<'o> {
    backup: Vault,
    current: CurrentFile,
    target: RestoreTarget,
    observer: &'o dyn RestoreObserver,
    difference: Difference,
}

impl RestorePlan<'_> {
    /// Returns what the restore would add, remove and change. If the current file cannot be
    /// compared, everything in the backup is added.
    pub fn difference(&self) -> &Difference {
        &self.difference
    }

    /// Returns the current vault, if it was compared.
    pub fn current(&self) -> Option<&Vault> {
        match &self.current {
            CurrentFile::Compared(current) => Some(&current.vault),
            CurrentFile::Nothing | CurrentFile::Kept(_) => None,
        }
    }

    /// Returns false if the current file cannot be compared.
    pub fn is_compared(&self) -> bool {
        self.current.secrets().is_some()
    }

    /// Replaces the current file, if it is still the one that was compared, and resets the
    /// checkpoint. A file that was not compared is kept under another name.
    ///
    /// Tokens that the current vault does not have are revoked, unless `keeps_tokens`.
    pub fn carry_out(self, keeps_tokens: bool) -> Result<RestoreOutcome, VaultError> {
        store::create_directory_for(&self.target.path)?;

        // If the checkpoint could not be replaced, the restored vault would be refused from then
        // on.
        if let Some(checkpoints) = self.target.open_checkpoints()? {
            checkpoints.check_writable()?;
        }

        let replaced = self.current.replace_with(&self.backup, &self.target.path, keeps_tokens)?;
        for kept in replaced.kept {
            self.observer.on_event(RestoreEvent::Kept(kept));
        }

        if !replaced.revoked.is_empty() {
            self.observer.on_event(RestoreEvent::Revoked(replaced.revoked));
        }

        if !replaced.removed.is_empty() {
            self.observer.on_event(RestoreEvent::RemovedTokens(replaced.removed));
        }

        self.observer.on_event(RestoreEvent::Replaced);

        // Unless it follows, the restored vault is older than its checkpoint on purpose.
        if replaced.output_keys.is_none()
            && let Some(checkpoints) = self.target.open_checkpoints()?
        {
            // A revocation has changed the restored vault.
            let restored = Locked::open(&self.target.path)?;
            let restored = restored.unlocked(self.backup.root_key()?.copy()?);
            restored.accept_at(&checkpoints)?;
        }

        let output_keys = replaced.output_keys.unwrap_or_default();
        Ok(RestoreOutcome { difference: self.difference, output_keys })
    }
}

/// The result of a restore.
pub struct RestoreOutcome {
    /// The secrets that it added, removed and changed
    pub difference: Difference,
    /// The new keys for the digests of rendered files; none if the restored vault has the backup's keys
    pub output_keys: Vec<OutputKey>,
}

impl Locked {
    /// Opens the root key. Everything that does not open with it is damaged, because it came from a
    /// slot of this vault.
    fn own_root_key(&self, by: &dyn Credential) -> Result<RootKey, VaultError> {
        let root = self.root_key(by)?;
        self.check_root_key(&root)?;
        Ok(root)
    }

    /// Checks that `root` is this vault's root key, which means that it opens the directory.
    pub fn check_root_key(&self, root: &RootKey) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        let access: Rc<dyn VaultAccess> = Rc::new(LocalOwner::new(root.copy()?));
        let read = State::read(&*snapshot, &access, None);
        detect_slot_change(read, &self.opened, &*snapshot).map(drop)
    }
}

impl Vault {
    /// Removes the vault's checkpoints here and records the current state instead.
    pub fn accept(&self) -> Result<(), VaultError> {
        match &self.checkpoints {
            Some(checkpoints) => self.accept_at(checkpoints.store()),
            None => Ok(()),
        }
    }

    /// Does the same as [`Vault::accept`] for a copy of this vault at the path that `checkpoints`
    /// belong to.
    fn accept_at(&self, checkpoints: &CheckpointStore) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        let all = State::read(&*snapshot, &self.access, None)?.all(&*snapshot)?;
        let mut pids: Vec<ProjectId> = all.iter().map(|project| project.entry.pid).collect();
        pids.push(DIRECTORY);
        checkpoints.remove(&snapshot.vault()?.vault_id, &pids)?;

        let checkpoints = Rc::new(Checkpoints::new(checkpoints.clone(), None));
        let state = State::read(&*snapshot, &self.access, Some(&checkpoints))?;
        for project in all {
            state.open(&*snapshot, project)?;
        }

        Ok(())
    }
}
