//! The operations of the root key. Either the key itself in this process or an agent that holds it
//! implements them.
//!
//! Vault code is the same for both. An agent never sends the key.

use super::VaultError;
use crate::crypto::aead::Key;
use crate::crypto::ids::{ProjectId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{Grant, ProjectRow, Slot, VaultRow};
use crate::model::ProjectName;

/// The tables under the root MAC, each in ascending order of its ids.
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
    /// Checks the root MAC of `tables`, then opens every project's key ring in the order of the
    /// rows.
    fn open(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError>;
    /// Does the same as [`RootKeyHandle::open`], but ignores checkpoints.
    fn open_unchecked(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError> {
        self.open(tables)
    }
    /// Computes the root MAC of changed `tables`.
    fn mac(&self, tables: &RootTables<'_>) -> Result<[u8; 32], VaultError>;
    /// Seals a key ring for `pid` and `epoch`.
    fn seal_keyring(
        &self,
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, VaultError>;
    /// Returns the key that seals checkpoints.
    fn checkpoint_key(&self) -> Result<Key, VaultError>;
    /// Returns the root key itself, if this process has it.
    fn root_key(&self) -> Option<&RootKey> {
        None
    }
    /// Returns true if the last state that was opened has been recorded in a checkpoint.
    fn has_written(&self) -> bool {
        false
    }
    /// Returns true if [`RootKeyHandle::open`] also compares with checkpoints, so that it must see
    /// every new state.
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

/// The reason why an agent did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum KeyServiceError {
    /// The agent has no key to this vault, or no longer has it
    #[error("the vault is locked")]
    Locked,
    /// Another vault is at the path
    #[error("the vault at this path is not the one that was unlocked")]
    Replaced,
    /// The state is older than one that the agent has seen; the project is given if only a project
    /// was rolled back
    #[error("the agent has seen a newer state of {}", .0.as_ref().map_or_else(|| "this vault".into(), |p| format!("project `{p}`")))]
    RolledBack(Option<ProjectName>),
    /// The agent has not verified these slots, and changing slots requires the passphrase
    #[error("changing how the vault is unlocked requires the passphrase")]
    UnverifiedSlots,
    /// The agent's key does not open the vault's current state
    #[error("the unlocked key does not open the vault")]
    WrongKey,
    /// The agent uses another version of the protocol
    #[error("the agent was started by another version of `secrets`")]
    OtherVersion,
    /// The agent ran out of memory or random bytes
    #[error("the agent ran out of memory, or the system's random generator failed")]
    Failed,
    /// A new agent ended before it held the key
    #[error("the agent could not be started")]
    NotStarted,
    /// The agent did not answer in time
    #[error("the agent does not respond")]
    Timeout,
    /// The agent sent an invalid answer
    #[error("the agent sent an invalid response")]
    InvalidResponse,
    /// The process that listens instead of the agent belongs to another user
    #[error("the process that listens on the agent's socket belongs to another user")]
    ForeignProcess,
    /// Only a bug in this program can cause this
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// The connection failed
    #[error("cannot reach the agent: {0}")]
    Io(#[from] std::io::Error),
}
