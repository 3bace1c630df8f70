//! Where anchors lie: a small file for each vault and place, in the state directory.
//!
//! Nothing here is flushed to the disk: after a power cut an anchor may be older, or empty, and that costs only what it
//! would have noticed. It never says what is in a file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::StoreError;
use super::place::{NEW, absolute, left_behind};
use crate::crypto::integrity::Hash;
use crate::crypto::keys::VaultId;

/// As large as that of 10,000 projects, and some.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The place of a vault's anchors.
#[derive(Debug, Clone)]
pub struct Anchors {
    directory: PathBuf,
    place: Hash,
}

impl Anchors {
    /// In `directory`, which is made when it is first needed, for the vault at `path`. A copy of the vault at another path has
    /// an anchor of its own: to look into a backup is no rollback.
    pub fn new(directory: &Path, path: &Path) -> Result<Self, StoreError> {
        let path = absolute(path)?;
        Ok(Self { directory: directory.to_owned(), place: Sha256::digest(path.as_os_str().as_bytes()).into() })
    }

    /// Where they lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// SHA-256 of the vault's canonical path: what its anchors are bound to.
    pub fn place(&self) -> &Hash {
        &self.place
    }

    fn file(&self, vault_id: &VaultId) -> PathBuf {
        let digest: Hash = Sha256::new().chain_update(vault_id).chain_update(self.place).finalize().into();
        let (name, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        self.directory.join(format!("{:032x}", u128::from_be_bytes(*name)))
    }

    /// What was written last; `None` where nothing was, or where it did not reach the disk.
    pub fn read(&self, vault_id: &VaultId) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.file(vault_id);
        let mut bytes = Vec::new();
        let mut read = || {
            // Not to wait for who writes into a FIFO; what is no file was not written here.
            let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(&path)?;
            if file.metadata()?.is_file() { file.take(LARGEST).read_to_end(&mut bytes) } else { Ok(0) }
        };
        match read() {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(bytes)),
            Err(source) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&source.kind()) => Ok(None),
            Err(source) => Err(StoreError::Anchor { path, source }),
        }
    }

    /// Puts `bytes` in the place of what was written last, whole or not at all.
    pub fn write(&self, vault_id: &VaultId, bytes: &[u8]) -> io::Result<()> {
        let mut directory = DirBuilder::new();
        directory.recursive(true).mode(0o700).create(&self.directory)?;
        let mut file = tempfile::Builder::new().prefix(&Self::mine()).tempfile_in(&self.directory)?;
        file.write_all(bytes)?;
        // What cannot be replaced by a file was not made here.
        let path = self.file(vault_id);
        if path.is_dir() {
            fs::remove_dir(&path)?;
        }
        file.persist(path)?;
        let _ = self.clear_away();
        Ok(())
    }

    /// How names of what this process is writing begin.
    fn mine() -> String {
        format!("{NEW}{}-", rustix::process::getpid().as_raw_nonzero())
    }

    /// Removes what processes that are no more were writing when they were killed.
    fn clear_away(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if left_behind(&entry.file_name()).is_some() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// An error where anchors are kept and none can be written: what was seen could not be taken back.
    pub fn can_be_replaced(&self) -> Result<(), StoreError> {
        if !self.directory.is_dir() {
            return Ok(());
        }
        let path = self.directory.clone();
        let written = tempfile::Builder::new().prefix(&Self::mine()).tempfile_in(&path).map(drop);
        // In the system's words, without the name that was tried.
        written.map_err(|error| StoreError::Io { action: "write to", path, source: error.kind().into() })
    }

    /// Forgets what was seen.
    pub fn remove(&self, vault_id: &VaultId) -> Result<(), StoreError> {
        let path = self.file(vault_id);
        // Where there can be no file, nothing was seen.
        let nothing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        match if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) } {
            Err(source) if !nothing.contains(&source.kind()) => Err(StoreError::Io { action: "remove", path, source }),
            _ => Ok(()),
        }
    }
}
