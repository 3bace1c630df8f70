//! Vaults on a server: a new one, and the near file with which a machine opens one.

use std::path::Path;
use std::sync::Arc;

use super::copies::copy_rows;
use super::directory::{Directory, DirectoryEdit};
use super::inspect::inspect;
use super::{Locked, Vault, VaultError, begin_vault};
use crate::crypto::audit::Action;
use crate::crypto::ids::{DIRECTORY, VaultId};
use crate::crypto::kdf::{KdfParams, Passphrase};
use crate::crypto::near_file;
use crate::crypto::random;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{Slot, VaultRow, slots_hash};
use crate::crypto::slot::{Credential, RECOVERY_SLOT};
use crate::model::{SecretBytes, Timestamp};
use crate::store::remote::ServerError;
use crate::store::{self, Change, NearRows, NewFile, Store, StoreError};

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

/// Returns the content of the near file of a local copy, which has no address.
pub(super) fn local_near_rows(root: &RootKey, vault: VaultRow, slots: Vec<Slot>) -> NearRows {
    let slots_mac = near_file::slots_mac(&root.checkpoint_key(), &vault.vault_id, &slots);
    NearRows { address: Vec::new(), slots_mac, vault, slots }
}

/// Opens a vault on a server that this machine has no near file of, with a ticket or the recovery code.
pub struct Joined {
    /// The opened vault
    pub vault: Vault,
    root: RootKey,
    row: VaultRow,
}

impl Locked {
    /// Returns true if the vault is on a server.
    pub fn is_remote(&self) -> bool {
        self.store.is_remote()
    }

    /// Returns the encoded address of the vault's server, if it was opened.
    pub fn server_address(&self) -> Option<&SecretBytes> {
        self.store.address()
    }

    /// Opens the vault and verifies it.
    pub fn join(self, by: &dyn Credential) -> Result<Joined, VaultError> {
        let root = self.root_key(by)?;
        let vault = self.unlocked(root.copy()?);
        let row = {
            let snapshot = vault.store.read()?;
            vault.state(&*snapshot)?.vault
        };

        Ok(Joined { vault, root, row })
    }
}

impl Joined {
    /// Returns the content of a near file that opens with a passphrase.
    pub fn near_rows(
        &self,
        passphrase: &Passphrase,
        params: KdfParams,
        address: &SecretBytes,
    ) -> Result<NearRows, VaultError> {
        let slot = Slot::create(passphrase, false, params, &self.row.vault_id, &self.root)?;
        near_rows(&self.root, self.row.clone(), vec![slot], address)
    }
}

impl Vault {
    /// Moves the vault to the empty tables of a server, with its tokens and its audit logs. Returns the
    /// content of the near file, which has the key slots of this machine. The recovery code goes to the
    /// server.
    ///
    /// # Errors
    /// Fails with [`ServerError::HasVault`] if the tables have a vault.
    pub fn push(&self, to: &dyn Store, address: &SecretBytes) -> Result<NearRows, VaultError> {
        let root = self.root_key()?;
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let vault = state.vault.clone();
        let (far, others): (Vec<Slot>, Vec<Slot>) =
            state.slots.iter().cloned().partition(|slot| slot.kind == RECOVERY_SLOT);
        let near = self.near()?.map_or_else(|| others.clone(), |near| near.slots);

        let mut transaction = to.write()?;
        if transaction.project(&DIRECTORY)?.is_some() {
            return Err(StoreError::from(ServerError::HasVault).into());
        }

        transaction.apply(Change::Clear)?;
        copy_rows(snapshot.inspection()?, &mut *transaction)?;
        for slot in &others {
            transaction.apply(Change::DropSlot(&slot.slot_id))?;
        }

        let directory = Directory::new(root, vault.vault_id);
        let before = directory.read(&*transaction)?;
        let mut edit =
            DirectoryEdit::new(&directory, before, &mut *transaction, Action::Credentials);
        edit.slots = slots_hash(&far, &vault.past);
        edit.sign()?;

        let report = inspect(transaction.inspection()?, self, &|_| {})?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::DamagedVault(Box::new(report)));
        }

        match store::commit(to, transaction) {
            Err(StoreError::Raced | StoreError::IdTaken) => {
                Err(StoreError::from(ServerError::HasVault).into())
            }
            committed => {
                committed?;
                near_rows(root, vault, near, address)
            }
        }
    }
}

/// The state of the server of a vault, as far as it is known.
pub struct RemoteStatus {
    /// Why it cannot be reached
    pub unreachable: Option<Arc<StoreError>>,
    /// The time at which this machine last compared the vault with the server's
    pub last_seen: Option<Timestamp>,
}

impl Vault {
    /// Looks at the server, and verifies the directory.
    pub fn remote_status(&self) -> Result<RemoteStatus, VaultError> {
        if !self.store.is_remote() {
            return Err(VaultError::NotRemote);
        }

        {
            let snapshot = self.store.read()?;
            self.state(&*snapshot)?;
        }

        let unreachable = self.store.fallback().and_then(|fallback| fallback.cause);
        Ok(RemoteStatus { unreachable, last_seen: self.store.last_seen()? })
    }

    /// Returns the encoded address of the vault's server, with the password, if it is on one.
    pub fn server_address(&self) -> Option<&SecretBytes> {
        self.store.address()
    }

    /// Stores another address of the vault's server.
    pub fn set_server_address(&self, address: &SecretBytes) -> Result<(), VaultError> {
        let root = self.root_key()?;
        let near = self.near()?.ok_or(VaultError::NotRemote)?;
        Ok(self.store.replace_near(&near_rows(root, near.vault, near.slots, address)?)?)
    }

    /// Returns the vault's id, as the near file names it.
    pub fn near_id(&self) -> Result<VaultId, VaultError> {
        Ok(self.near()?.ok_or(VaultError::NotRemote)?.vault.vault_id)
    }

    /// Returns a local copy for the path of the near file. The caller moves the near file away before it
    /// persists the copy.
    pub fn local_copy(&self, path: &Path) -> Result<NewFile, VaultError> {
        Ok(self.copy_for(path, true)?.0)
    }

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
