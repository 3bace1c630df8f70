//! The near file of a vault on a server: a vault's file with this machine's key slots and the sealed
//! address of the server. A local copy of such a vault has these slots, the rows, and no address.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use rusqlite::params;
use secrets_files::directory;

use super::schema::FileKind;
use super::{NewFile, SqliteStore, SqliteTransaction};
use crate::crypto::ids::Hash;
use crate::crypto::rows::{Slot, VaultRow};
use crate::store::vault_path::{self, IfExists};
use crate::store::{Change, Snapshot, StoreError, Transaction};

/// The maximum size of a sealed address, with its certificates.
const MAX_ADDRESS: usize = 128 * 1024;

/// The content of a near file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearRows {
    /// The vault's row, as it was last seen
    pub vault: VaultRow,
    /// The key slots of this machine, in ascending order of their ids
    pub slots: Vec<Slot>,
    /// The MAC of these slots
    pub slots_mac: Hash,
    /// Where the vault is, sealed; empty in a local copy
    pub address: Vec<u8>,
}

impl SqliteStore {
    /// Returns true if the file is the near file of a vault on a server.
    pub fn is_near(&self) -> bool {
        self.kind.get() == FileKind::Near
    }

    /// Begins a near file for `path`. It appears there with [`NewFile::persist`].
    pub fn begin_near(
        path: &Path,
        rows: &NearRows,
        if_exists: IfExists,
    ) -> Result<NewFile, StoreError> {
        vault_path::create_directory_for(path)?;
        let new = Self::begin_kind(path, if_exists, FileKind::Near)?;
        new.open()?.write_near(rows)?;
        Ok(new)
    }

    /// Reads the near file.
    pub fn near_rows(&self) -> Result<NearRows, StoreError> {
        if self.connection.is_autocommit() {
            return self.reading()?.near_rows();
        }

        // The caller is reading a local copy. Its transaction goes on.
        ManuallyDrop::new(SqliteTransaction::new(self, self.size()?)).near_rows()
    }

    /// Replaces the content of the near file.
    pub(super) fn write_near(&self, rows: &NearRows) -> Result<(), StoreError> {
        let mut open = Box::new(self.changing()?);
        open.apply(Change::Near(rows))?;
        Ok((open as Box<dyn Transaction + '_>).commit()?)
    }

    /// Writes a near file under another name next to this one. It replaces this one with
    /// [`StagedNear::persist`].
    pub(in crate::store) fn stage_near(&self, rows: &NearRows) -> Result<StagedNear, StoreError> {
        let staged = directory::with_suffix(&self.path, STAGED);
        Self::begin_near(&staged, rows, IfExists::Replaced)?.persist()?;
        Ok(StagedNear { staged, target: self.path.clone() })
    }
}

/// The end of the name of a near file that takes effect with a change on the server.
const STAGED: &str = ".next";

/// A near file that takes effect with a change on the server. If this process ends in between, the file
/// stays, because it may be the only one that opens the vault.
pub(in crate::store) struct StagedNear {
    staged: PathBuf,
    target: PathBuf,
}

impl StagedNear {
    /// Puts the file in place.
    pub(in crate::store) fn persist(self) -> Result<(), StoreError> {
        let renamed = std::fs::rename(&self.staged, &self.target);
        let flushed =
            renamed.and_then(|()| directory::flush(self.target.parent().unwrap_or(&self.target)));
        flushed.map_err(|source| StoreError::Io { action: "rename", path: self.staged, source })
    }

    /// Removes the file, because the change did not happen.
    pub(in crate::store) fn discard(self) {
        let _ = std::fs::remove_file(self.staged);
    }
}

impl SqliteTransaction<'_> {
    /// Replaces the slots and the address.
    pub(super) fn put_near(&mut self, rows: &NearRows) -> Result<usize, StoreError> {
        self.keys_changed = true;
        self.apply(Change::Vault(&rows.vault))?;
        self.execute("DELETE FROM near_slots", [])?;
        for slot in &rows.slots {
            self.add_slot("near_slots", slot)?;
        }

        self.execute(
            "INSERT OR REPLACE INTO remote(id, sealed, slots_mac) VALUES(1, ?1, ?2)",
            params![rows.address, &rows.slots_mac[..]],
        )
    }

    fn near_rows(&self) -> Result<NearRows, StoreError> {
        let (address, slots_mac) = self.remote()?;
        let (vault, slots) = (self.vault()?, self.slots_in("near_slots")?);
        Ok(NearRows { vault, slots, slots_mac, address })
    }

    fn remote(&self) -> Result<(Vec<u8>, Hash), StoreError> {
        const WHAT: &str = "server's address";
        let rows = self.rows("SELECT sealed, slots_mac FROM remote", [], 1, WHAT, |row| {
            let blob = |column| row.get_ref(column).ok()?.as_blob().ok();
            let sealed = blob(0).filter(|sealed| sealed.len() <= MAX_ADDRESS)?;
            Some((sealed.to_vec(), blob(1)?.try_into().ok()?))
        })?;

        rows.into_iter().next().ok_or(StoreError::Damaged(WHAT))
    }
}
