//! Where a store is. Checkpoints are bound to it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::StoreError;
use super::vault_path::absolute;
use crate::crypto::ids::{Hash, VaultId};

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file on this machine
    File {
        /// The absolute path, whose parent is canonical
        path: PathBuf,
        /// The absolute path as it was typed; with a symbolic link, it may lead elsewhere next time
        typed: PathBuf,
    },
    /// A vault on a server
    Remote(VaultId),
}

impl Location {
    /// Returns the location of a file, which may not exist. Its directory must exist.
    pub fn of_file(typed: &Path) -> Result<Self, StoreError> {
        let path = absolute(typed)?;
        let typed = std::path::absolute(typed).unwrap_or_else(|_| path.clone());
        Ok(Self::File { path, typed })
    }

    /// Returns the hashes that a checkpoint is bound to: the SHA-256 of the canonical path, and that
    /// of the path as typed if it differs, or the SHA-256 of a remote vault's name.
    pub fn hashes(&self) -> Vec<Hash> {
        let hash_of = |name: &[u8]| Sha256::digest(name).into();
        let mut hashes = vec![hash_of(self.name().as_os_str().as_bytes())];
        if let Self::File { path, typed } = self
            && typed != path
        {
            hashes.push(hash_of(typed.as_os_str().as_bytes()));
        }

        hashes
    }

    /// Returns the canonical path, or the name of a remote vault. No absolute path equals that name.
    pub fn name(&self) -> PathBuf {
        match self {
            Self::File { path, .. } => path.clone(),
            Self::Remote(vault_id) => {
                PathBuf::from(format!("remote:{:032x}", u128::from_be_bytes(*vault_id)))
            }
        }
    }
}
