//! Vaults on a server: a new one, and the near file with which a machine opens one.

use super::{Vault, VaultError, begin_vault};
use crate::crypto::ids::VaultId;
use crate::crypto::near_file;
use crate::crypto::random;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{Slot, VaultRow};
use crate::model::SecretBytes;
use crate::store::remote::ServerError;
use crate::store::{self, NearRows, Store, StoreError};

/// A vault that does not exist yet.
pub struct NewRemoteVault {
    root: RootKey,
    vault_id: VaultId,
}

impl NewRemoteVault {
    /// Draws the keys and the id of a vault.
    pub fn random() -> Result<Self, VaultError> {
        Ok(Self { root: RootKey::random()?, vault_id: random::array()? })
    }

    /// Returns the vault's id.
    pub fn id(&self) -> VaultId {
        self.vault_id
    }

    /// Returns the root key.
    pub fn root(&self) -> &RootKey {
        &self.root
    }

    /// Writes an empty vault into the tables of a server. No slot of a passphrase goes there.
    ///
    /// # Errors
    /// Fails with [`ServerError::HasVault`] if the tables have a vault.
    pub fn begin(&self, store: &dyn Store) -> Result<(), VaultError> {
        let mut transaction = store.write()?;
        begin_vault(&mut *transaction, self.vault_id, &self.root, &[])?;
        match store::commit(store, transaction) {
            Err(StoreError::Raced | StoreError::IdTaken) => {
                Err(StoreError::from(ServerError::HasVault).into())
            }
            committed => Ok(committed?),
        }
    }
}

/// Returns the content of a near file: the slots of this machine and the address of the server, both
/// protected by the root key.
pub fn near_rows(
    root: &RootKey,
    vault: VaultRow,
    slots: Vec<Slot>,
    address: &SecretBytes,
) -> Result<NearRows, VaultError> {
    let key = root.checkpoint_key();
    let vault_id = vault.vault_id;
    Ok(NearRows {
        address: near_file::seal_address(&key, &vault_id, address)?,
        slots_mac: near_file::slots_mac(&key, &vault_id, &slots),
        vault,
        slots,
    })
}

impl Vault {
    /// Returns true if the vault is on a server.
    pub fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    /// Returns why and with rows of what age something was read without the server, if it was.
    pub fn fallback(&self) -> Option<store::Fallback> {
        self.store.fallback()
    }

    /// Returns false if the last change may be on one server only.
    pub fn is_replicated(&self) -> bool {
        self.store.is_replicated()
    }
}
