//! What holds the root key and does its few operations: the key itself in this process, or an agent that has it.
//!
//! Vault code is the same with both. The key is in no answer.

use super::VaultError;
use crate::crypto::aead::Key;
use crate::crypto::ids::{ProjectId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{Grant, ProjectRow, Slot, VaultRow};
use crate::model::ProjectName;

/// What the root MAC covers, each table in ascending order of its ids.
#[derive(Clone, Copy)]
pub struct RootTables<'a> {
    /// The vault's own row
    pub vault: &'a VaultRow,
    /// All slots
    pub slots: &'a [Slot],
    /// All projects
    pub projects: &'a [ProjectRow],
    /// All grants
    pub grants: &'a [Grant],
}

/// The operations of the root key.
pub trait RootKeyHandle {
    /// Checks the root MAC of `tables`, then opens every project's key ring, in their order.
    fn open(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError>;
    /// The same without regard to what was seen before.
    fn open_unchecked(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError> {
        self.open(tables)
    }
    /// The root MAC of changed `tables`.
    fn mac(&self, tables: &RootTables<'_>) -> Result<[u8; 32], VaultError>;
    /// Seals a key ring for `pid` and `epoch`.
    fn seal_keyring(
        &self,
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, VaultError>;
    /// The key that seals what was last seen of the vault.
    fn checkpoint_key(&self) -> Result<Key, VaultError>;
    /// The root key itself, where this process has it.
    fn root_key(&self) -> Option<&RootKey> {
        None
    }
    /// True where the last state that was opened is written down.
    fn has_written(&self) -> bool {
        false
    }
    /// True where [`RootKeyHandle::open`] also compares with what it saw before, so that it wants to see every new state.
    fn has_checkpoints(&self) -> bool {
        false
    }
}

impl RootKeyHandle for RootKey {
    fn open(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError> {
        self.verify_mac(tables.vault, tables.slots, tables.projects, tables.grants)?;
        let open = |row| self.open_keyring(&tables.vault.vault_id, row);
        Ok(tables.projects.iter().map(open).collect::<Result<_, _>>()?)
    }

    fn mac(&self, tables: &RootTables<'_>) -> Result<[u8; 32], VaultError> {
        Ok(self.mac(tables.vault, tables.slots, tables.projects, tables.grants))
    }

    fn seal_keyring(
        &self,
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, VaultError> {
        Ok(self.seal_keyring(vault_id, pid, epoch, keyring)?)
    }

    fn checkpoint_key(&self) -> Result<Key, VaultError> {
        Ok(self.checkpoint_key())
    }

    fn root_key(&self) -> Option<&RootKey> {
        Some(self)
    }
}

/// Why an agent did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyServiceError {
    /// It has no key to this vault, or not any more
    #[error("the vault is locked")]
    Locked,
    /// Another vault lies at the path
    #[error("the vault at this path is not the one that was unlocked")]
    Replaced,
    /// An older state than one that it has seen
    #[error("the agent has seen a newer state of {}", .0.as_ref().map_or_else(|| "this vault".into(), |p| format!("project `{p}`")))]
    RolledBack(Option<ProjectName>),
    /// Slots that it has not seen verified: changing them takes the passphrase
    #[error("changing how the vault is unlocked requires the passphrase")]
    OtherSlots,
    /// Its key does not open the vault as it is now
    #[error("the unlocked key does not open the vault")]
    OtherKey,
    /// It speaks another version of the protocol
    #[error("the agent was started by another version of `secrets`")]
    OtherVersion,
    /// It had no memory, or no random bytes
    #[error("the agent ran out of memory, or the system's random generator failed")]
    Failed,
    /// A new one ended before it held the key
    #[error("the agent could not be started")]
    NotStarted,
    /// It did not answer in time
    #[error("the agent does not respond")]
    Silent,
    /// It answered what makes no sense
    #[error("the agent sent an invalid response")]
    Nonsense,
    /// Another user's process listens in its place
    #[error("the process that listens on the agent's socket belongs to another user")]
    Impostor,
    /// The connection
    #[error("cannot reach the agent: {0}")]
    Io(#[from] std::io::Error),
}
