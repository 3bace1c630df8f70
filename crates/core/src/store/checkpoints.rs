//! Stores checkpoints: small files in the state directory, one for each project at each path of a
//! vault, and one for the newest state of each project.
//!
//! Nothing here is flushed to the disk. After a power cut a checkpoint may be older or empty. A
//! rollback that only the lost state would reveal then goes unnoticed. This file never looks at the
//! content of a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use secrets_files::{Records, RecordsLock};

use super::{Location, StoreError};
use crate::crypto::ids::{Hash, ProjectId, TokenId, VaultId};

/// The largest size of a checkpoint. A path of 4,096 characters is the longest part of one.
const MAX_SIZE: u64 = 16 * 1024;

/// The checkpoints of one vault.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    records: Records,
    newest: Records,
    /// The name of the vault's location
    path: PathBuf,
    is_remote: bool,
    /// The hashes of the vault's location
    path_hashes: Vec<Hash>,
    /// The token whose checkpoints these are; without one, they are the owner's
    holder: Option<TokenId>,
}

impl CheckpointStore {
    /// Opens the checkpoints in `directory` of the vault at a location. The directory is created when
    /// it is first needed. The newest states of vaults are in the directory `newest` next to it. A
    /// copy of the vault at another location has its own checkpoints, so opening a backup is not a
    /// rollback.
    pub fn new(directory: &Path, location: &Location) -> Self {
        Self {
            records: Records::new(directory, MAX_SIZE),
            newest: Records::new(&directory.with_file_name("newest"), MAX_SIZE),
            path: location.name(),
            is_remote: matches!(location, Location::Remote(_)),
            path_hashes: location.hashes(),
            holder: None,
        }
    }

    /// Returns the checkpoints of a token, or those of the owner.
    #[must_use]
    pub fn held_by(self, holder: Option<TokenId>) -> Self {
        Self { holder, ..self }
    }

    /// Returns the directory of the checkpoints.
    pub fn directory(&self) -> &Path {
        self.records.directory()
    }

    /// Returns the name of the vault's location, which is the canonical path of a file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if the vault is on a server.
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// Returns the hashes that a checkpoint is bound to, see [`Location::hashes`].
    pub fn path_hashes(&self) -> &[Hash] {
        &self.path_hashes
    }

    /// Returns the name of a file. Each token has files of its own.
    fn name(&self, subject: &[&[u8]]) -> String {
        let holder: &[u8] = self.holder.as_ref().map_or(&[], |token_id| token_id);
        Records::name_of(&[subject, &[holder]].concat())
    }

    /// Waits until no other process reads and replaces checkpoints. The lock ends on drop.
    pub fn lock(&self) -> io::Result<RecordsLock> {
        self.records.lock()
    }

    /// Reads the checkpoint of a project for a path. Returns `None` if none was written, or if it did not reach
    /// the disk.
    pub fn read(
        &self,
        vault_id: &VaultId,
        path_hash: &Hash,
        pid: &ProjectId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let name = self.name(&[vault_id, path_hash, pid]);
        self.records
            .read(&name)
            .map_err(|source| StoreError::Checkpoint { path: self.records.path(&name), source })
    }

    /// Replaces the checkpoint of a project for a path atomically.
    pub fn write(
        &self,
        vault_id: &VaultId,
        path_hash: &Hash,
        pid: &ProjectId,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.records.write(&self.name(&[vault_id, path_hash, pid]), bytes)
    }

    /// Reads the record of a project's newest state. Returns `None` also if it cannot be read,
    /// because it only leads to a warning.
    pub fn read_newest(&self, vault_id: &VaultId, pid: &ProjectId) -> Option<Vec<u8>> {
        self.newest.read(&self.name(&[vault_id, pid])).ok().flatten()
    }

    /// Replaces the record of a project's newest state.
    pub fn write_newest(
        &self,
        vault_id: &VaultId,
        pid: &ProjectId,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.newest.write(&self.name(&[vault_id, pid]), bytes)
    }

    /// Fails if checkpoints are kept and none can be written. In that case a restored vault would
    /// look like a rollback, because its checkpoint could not be replaced.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        let path = || self.directory().to_owned();
        self.records.check_writable().map_err(|source| StoreError::Io {
            action: "write to",
            path: path(),
            source,
        })
    }

    /// Removes the checkpoints of these projects of the vault at its path, and their newest states.
    pub fn remove(&self, vault_id: &VaultId, pids: &[ProjectId]) -> Result<(), StoreError> {
        for pid in pids {
            for path_hash in &self.path_hashes {
                let name = self.name(&[vault_id, path_hash, pid]);
                let failed = |source| StoreError::Io {
                    action: "remove",
                    path: self.records.path(&name),
                    source,
                };

                self.records.remove(&name).map(drop).map_err(failed)?;
            }

            let _ = self.newest.remove(&self.name(&[vault_id, pid]));
        }

        Ok(())
    }
}
