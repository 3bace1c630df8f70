//! The near file of a vault on a server: a vault's file with this machine's key slots and the sealed
//! address of the server. A local copy of such a vault has these slots, the rows, and no address.

use std::mem::ManuallyDrop;
use std::path::Path;

use rusqlite::params;

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
        open.keys_changed = true;
        open.apply(Change::Vault(&rows.vault))?;
        open.execute("DELETE FROM near_slots", [])?;
        for slot in &rows.slots {
            open.add_slot("near_slots", slot)?;
        }

        open.execute(
            "INSERT OR REPLACE INTO remote(id, sealed, slots_mac) VALUES(1, ?1, ?2)",
            params![rows.address, &rows.slots_mac[..]],
        )?;
        Ok((open as Box<dyn Transaction + '_>).commit()?)
    }
}

impl SqliteTransaction<'_> {
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
