//! Where anchors lie: a small file for each vault and place, in the state directory.
//!
//! Nothing here is flushed to the disk: after a power cut an anchor may be older, or empty, and that costs only what it
//! would have noticed. It never says what is in a file.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::StoreError;
use super::place::absolute;
use super::records::Records;
use crate::crypto::integrity::Hash;
use crate::crypto::keys::VaultId;

/// As large as that of 10,000 projects, and some.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The place of a vault's anchors.
#[derive(Debug, Clone)]
pub struct Anchors {
    records: Records,
    place: Hash,
}

impl Anchors {
    /// In `directory`, which is made when it is first needed, for the vault at `path`. A copy of the vault at another path has
    /// an anchor of its own: to look into a backup is no rollback.
    pub fn new(directory: &Path, path: &Path) -> Result<Self, StoreError> {
        let path = absolute(path)?;
        let place = Sha256::digest(path.as_os_str().as_bytes()).into();
        Ok(Self { records: Records::new(directory, LARGEST), place })
    }

    /// Where they lie.
    pub fn directory(&self) -> &Path {
        self.records.directory()
    }

    /// SHA-256 of the vault's canonical path: what its anchors are bound to.
    pub fn place(&self) -> &Hash {
        &self.place
    }

    fn name(&self, vault_id: &VaultId) -> String {
        Records::name_of(&[vault_id, &self.place])
    }

    /// What was written last; `None` where nothing was, or where it did not reach the disk.
    pub fn read(&self, vault_id: &VaultId) -> Result<Option<Vec<u8>>, StoreError> {
        let name = self.name(vault_id);
        self.records.read(&name).map_err(|source| StoreError::Anchor { path: self.records.path(&name), source })
    }

    /// Puts `bytes` in the place of what was written last, whole or not at all.
    pub fn write(&self, vault_id: &VaultId, bytes: &[u8]) -> io::Result<()> {
        self.records.write(&self.name(vault_id), bytes)
    }

    /// An error where anchors are kept and none can be written: what was seen could not be taken back.
    pub fn can_be_replaced(&self) -> Result<(), StoreError> {
        let path = || self.directory().to_owned();
        self.records.check_writable().map_err(|source| StoreError::Io { action: "write to", path: path(), source })
    }

    /// Forgets what was seen.
    pub fn remove(&self, vault_id: &VaultId) -> Result<(), StoreError> {
        let name = self.name(vault_id);
        let failed = |source| StoreError::Io { action: "remove", path: self.records.path(&name), source };
        self.records.remove(&name).map(drop).map_err(failed)
    }
}
