//! Replaces the file at the vault's path with a backup. A vault that was compared is replaced in
//! one transaction. Any other file is kept under another name. If the backup is an earlier state of
//! the vault, the restored state follows on the present one.

use std::path::{Path, PathBuf};

use secrets_files::rename;

use super::copy_rows;
use super::follow::Followed;
use crate::crypto::output_digest::OutputKey;
use crate::crypto::rows::{ProjectRow, VaultRow};
use crate::model::{Secret, TokenName};
use crate::store::{self, Change, JOURNALS, Snapshot, Store, StoreError, rename_aside};
use crate::vault::inspect::inspect;
use crate::vault::tokens::has_tokens;
use crate::vault::{Locked, Vault, VaultError};

/// A fingerprint of the vault's state that is readable without a key. Every commit changes it.
#[derive(PartialEq, Eq)]
pub struct StateFingerprint(VaultRow, Vec<ProjectRow>);

impl StateFingerprint {
    pub(super) fn read(snapshot: &dyn Snapshot) -> Result<Self, VaultError> {
        Ok(Self(snapshot.vault()?, snapshot.inspection()?.projects()?))
    }
}

/// The file at the path of a vault that will be replaced.
pub(super) enum CurrentFile {
    Nothing,
    /// A file that cannot be compared and is kept under another name: it is not a vault, is
    /// damaged, or has another passphrase
    Kept(Option<(Locked, StateFingerprint)>),
    Compared(Current),
}

/// A vault that was compared with the backup.
pub(super) struct Current {
    pub(super) vault: Vault,
    /// Its state at that time
    pub(super) fingerprint: StateFingerprint,
    pub(super) secrets: Vec<Secret>,
    /// The vault with its checkpoints, if the backup is an earlier state of it
    pub(super) later: Option<Vault>,
    /// True if it does not follow its checkpoint
    pub(super) has_diverged: bool,
}

impl CurrentFile {
    /// Returns the secrets that are compared with those of the backup, or `None` if the file cannot
    /// be compared.
    pub(super) fn secrets(&self) -> Option<&[Secret]> {
        match self {
            Self::Nothing => Some(&[]),
            Self::Kept(_) => None,
            Self::Compared(current) => Some(&current.secrets),
        }
    }

    /// Replaces this file, which is at `place`, with the backup. Unless `keeps_tokens`, tokens that the
    /// present vault does not have are revoked.
    pub(super) fn replace_with(
        &self,
        backup: &Vault,
        place: &Path,
        keeps_tokens: bool,
    ) -> Result<Replaced, VaultError> {
        let unchanged = match self {
            Self::Compared(Current { later: Some(present), fingerprint, .. }) => {
                let Followed { left_out, removed, output_keys } =
                    backup.restore_onto(present, fingerprint, keeps_tokens)?;
                return Ok(Replaced {
                    kept: Vec::new(),
                    revoked: left_out,
                    removed,
                    output_keys: Some(output_keys),
                });
            }
            Self::Compared(Current { vault, fingerprint, has_diverged, .. }) => {
                let to = RestoreInto { seen: Some(fingerprint), is_trusted: !has_diverged };
                let revoked = backup.restore_into(&*vault.store, to, keeps_tokens)?;
                return Ok(Replaced { revoked, ..Replaced::default() });
            }
            Self::Kept(Some((vault, fingerprint))) => Some((vault, fingerprint)),
            // A journal would be applied to the restored vault, so it is moved away as well.
            Self::Nothing | Self::Kept(None) => None,
        };

        let (copy, revoked) = backup.copy_for(place, keeps_tokens)?;
        let kept = match unchanged {
            // A journal that appears in the meantime belongs to the lock and is removed with it.
            Some((vault, fingerprint)) => {
                vault.while_unchanged(fingerprint, || rename_aside(place, &[""]))?
            }
            None => rename_aside(place, &["", JOURNALS[0], JOURNALS[1]])?,
        };

        if let Err(error) = copy.persist() {
            // The old file is better than no file.
            for (from, aside) in &kept {
                let _ = rename::to_new_name(aside, from);
            }

            return Err(error.into());
        }

        let kept = kept.into_iter().map(|(_, aside)| aside).collect();
        Ok(Replaced { kept, revoked, ..Replaced::default() })
    }
}

/// The result of replacing a file.
#[derive(Default)]
pub(super) struct Replaced {
    /// The names of the files that were kept
    pub(super) kept: Vec<PathBuf>,
    /// The tokens that the backup would have brought back
    pub(super) revoked: Vec<TokenName>,
    /// The tokens of projects that the backup does not have
    pub(super) removed: Vec<TokenName>,
    /// The new keys for the digests of rendered files, if the restored state follows on the present
    /// one
    pub(super) output_keys: Option<Vec<OutputKey>>,
}

/// The vault that a restore overwrites.
#[derive(Clone, Copy)]
pub struct RestoreInto<'a> {
    /// The state that it must still have
    pub seen: Option<&'a StateFingerprint>,
    /// True if its list of tokens says which ones were not revoked
    pub is_trusted: bool,
}

impl Vault {
    /// Replaces the content of `to` with this vault's, in one transaction. Unless `keeps_tokens`,
    /// revokes the tokens that `to` does not have, and returns their names.
    pub fn restore_into(
        &self,
        to: &dyn Store,
        RestoreInto { seen, is_trusted }: RestoreInto<'_>,
        keeps_tokens: bool,
    ) -> Result<Vec<TokenName>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let mut transaction = to.write()?;

        if seen.is_some_and(|seen| {
            !StateFingerprint::read(&*transaction).is_ok_and(|now| now == *seen)
        }) {
            return Err(VaultError::VaultChanged);
        }

        let present = if is_trusted { transaction.grants()? } else { Vec::new() };
        transaction.apply(Change::Clear)?;
        copy_rows(snapshot.inspection()?, &mut *transaction)?;
        let mut revoked = Vec::new();
        if !keeps_tokens && has_tokens(&state) {
            (transaction, revoked) = self.revoke_returned(transaction, &present)?;
        }

        // This inspects what is stored there now, because the backup may have changed since it was
        // inspected.
        let report = inspect(transaction.inspection()?, self, &|_| {})?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::DamagedVault(Box::new(report)));
        }

        store::commit(to, transaction)?;
        Ok(revoked)
    }
}

impl Locked {
    /// Returns the fingerprint of the current state.
    pub fn fingerprint(&self) -> Result<StateFingerprint, VaultError> {
        StateFingerprint::read(&*self.store.read()?)
    }

    /// Calls `act` while no other process can change this vault, if its state is still `seen`.
    fn while_unchanged<T>(
        &self,
        seen: &StateFingerprint,
        act: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, VaultError> {
        let held = match self.store.write() {
            Ok(held) => Some(held),
            // Nobody can change a vault that cannot be written.
            Err(StoreError::Damaged(_) | StoreError::ReadOnly) => None,
            Err(error) => return Err(error.into()),
        };

        if held
            .as_ref()
            .is_some_and(|held| !StateFingerprint::read(&**held).is_ok_and(|now| now == *seen))
        {
            return Err(VaultError::VaultChanged);
        }

        Ok(act()?)
    }
}
