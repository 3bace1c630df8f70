//! Where checkpoints lie: small files in the state directory, for each vault one at each path, and one of its newest state.
//!
//! Nothing here is flushed to the disk: after a power cut a checkpoint may be older, or empty, and that costs only what it
//! would have noticed. It never says what is in a file.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::StoreError;
use super::records::Records;
use super::vault_path::absolute;
use crate::crypto::ids::{Hash, VaultId};

/// As large as that of 10,000 projects, and some.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The place of a vault's checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    records: Records,
    newest: Records,
    path: PathBuf,
    /// SHA-256 of the canonical path, and of the path as typed if that is another
    places: Vec<Hash>,
}

impl CheckpointStore {
    /// Takes the checkpoints in `directory`, which is created when it is first needed, of the vault at `path`; the newest states of
    /// vaults are in the directory `newest` next to it. A copy of the vault at another path has checkpoints of its own: to look into
    /// a backup is no rollback.
    pub fn new(directory: &Path, path: &Path) -> Result<Self, StoreError> {
        let canonical = absolute(path)?;
        let typed = std::path::absolute(path).unwrap_or_else(|_| canonical.clone());
        let place = |path: &Path| Sha256::digest(path.as_os_str().as_bytes()).into();
        let mut places = vec![place(&canonical)];

        // By a symbolic link, the path as typed may lead elsewhere next time.
        if typed != canonical {
            places.push(place(&typed));
        }

        let newest = Records::new(&directory.with_file_name("newest"), LARGEST);
        Ok(Self { records: Records::new(directory, LARGEST), newest, path: canonical, places })
    }

    /// Returns the directory of the checkpoints of paths.
    pub fn directory(&self) -> &Path {
        self.records.directory()
    }

    /// Returns the vault's canonical path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the places that a checkpoint is bound to: the SHA-256 of the canonical path, and of the path as typed.
    pub fn places(&self) -> &[Hash] {
        &self.places
    }

    /// Returns the checkpoint of a place. `None` if none was written, or if it did not reach the disk.
    pub fn read(&self, vault_id: &VaultId, place: &Hash) -> Result<Option<Vec<u8>>, StoreError> {
        let name = Records::name_of(&[vault_id, place]);
        self.records
            .read(&name)
            .map_err(|source| StoreError::Checkpoint { path: self.records.path(&name), source })
    }

    /// Replaces the checkpoint of a place as a whole or not at all.
    pub fn write(&self, vault_id: &VaultId, place: &Hash, bytes: &[u8]) -> io::Result<()> {
        self.records.write(&Records::name_of(&[vault_id, place]), bytes)
    }

    /// Returns the record of the newest state; `None` also if it cannot be read, because it only leads to a warning.
    pub fn read_newest(&self, vault_id: &VaultId) -> Option<Vec<u8>> {
        self.newest.read(&Records::name_of(&[vault_id])).ok().flatten()
    }

    /// Replaces the record of the newest state.
    pub fn write_newest(&self, vault_id: &VaultId, bytes: &[u8]) -> io::Result<()> {
        self.newest.write(&Records::name_of(&[vault_id]), bytes)
    }

    /// Fails if checkpoints are kept and none can be written: what was seen could not be taken back.
    pub fn can_be_replaced(&self) -> Result<(), StoreError> {
        let path = || self.directory().to_owned();
        self.records.check_writable().map_err(|source| StoreError::Io {
            action: "write to",
            path: path(),
            source,
        })
    }

    /// Forgets what was seen of the vault at its path, and its newest state.
    pub fn remove(&self, vault_id: &VaultId) -> Result<(), StoreError> {
        for place in &self.places {
            let name = Records::name_of(&[vault_id, place]);
            let failed = |source| StoreError::Io {
                action: "remove",
                path: self.records.path(&name),
                source,
            };

            self.records.remove(&name).map(drop).map_err(failed)?;
        }

        let _ = self.newest.remove(&Records::name_of(&[vault_id]));
        Ok(())
    }
}
