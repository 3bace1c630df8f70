//! Backups: writes a verified copy of the vault, or replaces an earlier copy.

use std::path::Path;

use super::copy_rows;
use crate::crypto::checkpoint::{PastKeys, open_past_keys};
use crate::crypto::head::Head;
use crate::crypto::history::{Relation, Revision};
use crate::crypto::ids::DIRECTORY;
use crate::model::TokenName;
use crate::store::{
    IfExists, NearRows, NewFile, Snapshot, SqliteStore, Store, StoreError, check_new,
};
use crate::vault::inspect::inspect;
use crate::vault::state::{State, checked_row};
use crate::vault::tokens::has_tokens;
use crate::vault::{Locked, Vault, VaultError};

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
                Ok(existing) => self.check_replaceable(&state, &*snapshot, &existing, path)?,
                Err(VaultError::Store(StoreError::Missing(_))) => {}
                Err(error) => return Err(error),
            }
        }

        let if_exists = if replace { IfExists::Replaced } else { IfExists::Refused };
        let copy = self.begin_copy(path, if_exists)?;
        let (copy, secrets, _) = self.copy_and_verify(&*snapshot, copy, false, on_progress)?;
        copy.persist()?;
        Ok(secrets)
    }

    /// Returns a flushed and fully verified copy for `path`. The caller moves the existing file
    /// away before it persists the copy. Unless `keeps_tokens`, the copy has no tokens; returns the
    /// names of those that were revoked.
    pub(in crate::vault) fn copy_for(
        &self,
        path: &Path,
        keeps_tokens: bool,
    ) -> Result<(NewFile, Vec<TokenName>), VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let copy = self.begin_copy(path, IfExists::Moved)?;
        let drops_tokens = !keeps_tokens && has_tokens(&state);
        let (copy, _, revoked) = self.copy_and_verify(&*snapshot, copy, drops_tokens, &|_| {})?;
        Ok((copy, revoked))
    }

    /// Begins a copy. That of a vault on a server has the key slots of this machine.
    fn begin_copy(&self, path: &Path, if_exists: IfExists) -> Result<NewFile, VaultError> {
        Ok(match self.near()? {
            Some(near) => {
                let near = NearRows { address: Vec::new(), ..near };
                SqliteStore::begin_near(path, &near, if_exists)?
            }
            None => SqliteStore::begin(path, if_exists)?,
        })
    }

    fn copy_and_verify(
        &self,
        snapshot: &dyn Snapshot,
        copy: NewFile,
        drops_tokens: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<(NewFile, u64, Vec<TokenName>), VaultError> {
        let mut revoked = Vec::new();
        {
            let store = copy.open()?;
            let mut transaction = store.write()?;
            copy_rows(snapshot.inspection()?, &mut *transaction)?;
            if drops_tokens {
                (transaction, revoked) = self.revoke_returned(transaction, &[])?;
            }

            transaction.commit().map_err(StoreError::from)?;
        }

        let store = copy.open()?;
        let report = inspect(store.read()?.inspection()?, self, on_progress)?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::DamagedVault(Box::new(report)));
        }

        drop(store);
        Ok((copy, report.projects.iter().map(|project| project.secrets).sum(), revoked))
    }

    /// Fails unless `state` is the same as the vault at `path` or follows it. Projects whose keys
    /// were changed since cannot be compared.
    fn check_replaceable(
        &self,
        state: &State,
        snapshot: &dyn Snapshot,
        existing: &Locked,
        path: &Path,
    ) -> Result<(), VaultError> {
        let before = existing.store.read()?;
        let vault_id = checked_row(&*before)?.vault_id;
        if vault_id != *state.vault_id() {
            return Err(VaultError::AnotherVault(path.to_owned()));
        }

        let follows = |now: &Revision, before: &Revision| {
            matches!(now.compare(before), Relation::Equal | Relation::Ahead)
        };

        let directory = self.earlier_directory(state, &*before)?;
        let now = state.checkpoint(&state.directory).head;
        let mut is_earlier = directory.is_some_and(|directory| follows(&now, &directory));
        for project in state.all(snapshot)? {
            let (pid, key) = (project.entry.pid, project.keys.head_key(&project.entry.pid));
            let Some(row) = before.project(&pid)? else { continue };
            if let Ok(head) = Head::open(&key, &vault_id, &row) {
                let before = head.revision(&vault_id, &pid, row.epoch);
                let now = state.open(snapshot, project)?.checkpoint().head;
                is_earlier &= follows(&now, &before);
            }
        }

        if is_earlier { Ok(()) } else { Err(VaultError::NoEarlierCopy(path.to_owned())) }
    }

    /// Returns the revision of the directory in another copy, which may have an earlier root key.
    fn earlier_directory(
        &self,
        state: &State,
        before: &dyn Snapshot,
    ) -> Result<Option<Revision>, VaultError> {
        let vault_id = state.vault_id();
        match self.access.directory_of_copy(vault_id, before) {
            Ok(opened) => {
                return Ok(Some(opened.head.revision(vault_id, &DIRECTORY, opened.epoch)));
            }
            // A file that cannot be read says nothing about its age.
            Err(error @ VaultError::Store(_)) => return Err(error),
            Err(_) => {}
        }

        let Some(row) = before.project(&DIRECTORY)? else { return Ok(None) };
        let past = open_past_keys(&self.access.checkpoint_key()?, vault_id, &state.vault.past)?;
        let open = |keys: &PastKeys| {
            let head = Head::open(&keys.head, vault_id, &row).ok()?;
            let signed = head.encode(vault_id, &DIRECTORY, row.epoch);
            keys.owner.verifies(&signed, &row.sig).then_some(head)
        };

        let head = past.iter().find_map(open);
        Ok(head.map(|head| head.revision(vault_id, &DIRECTORY, row.epoch)))
    }
}
