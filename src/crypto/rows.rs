//! The rows of a vault's tables, as the store keeps them: sealed columns and what they are bound to.

use super::history::{Ancestors, Revision};
use super::ids::{Hash, ProjectId, RecordId, VaultId};

/// The only suite of format 1: section 2's primitives.
pub const SUITE: u32 = 1;

/// The row of table `vault`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRow {
    /// Drawn when the vault was made
    pub vault_id: VaultId,
    /// [`SUITE`]
    pub suite: u32,
    /// Counts changes of slots and projects
    pub root_seq: u64,
    /// Over this row, the slots, the projects' keys and the grants
    pub root_mac: Hash,
    /// The states before it, by their MACs; `None` in a row of format 1, which named none
    pub ancestors: Option<Ancestors>,
    /// What earlier root keys sealed anchors with, sealed by [`super::checkpoint::seal_history`]; empty where there was none
    pub checkpoint_history: Vec<u8>,
}

impl VaultRow {
    /// The row of a vault that begins. Its MAC is still to be made.
    pub fn first(vault_id: VaultId) -> Self {
        Self {
            vault_id,
            suite: SUITE,
            root_seq: 1,
            root_mac: [0; 32],
            ancestors: Some(Ancestors::none()),
            checkpoint_history: Vec::new(),
        }
    }

    /// The row of the state that follows. Its MAC is still to be made.
    #[must_use]
    pub fn next(&self) -> Self {
        let ancestors = self.moment().ancestors.then(&self.root_mac);
        Self {
            root_seq: self.root_seq + 1,
            root_mac: [0; 32],
            ancestors: Some(ancestors),
            ..self.clone()
        }
    }

    /// The row as a state among others.
    pub fn moment(&self) -> Revision {
        let ancestors = self.ancestors.clone().unwrap_or_else(Ancestors::none);
        Revision { seq: self.root_seq, hash: self.root_mac, ancestors }
    }
}

/// A row of table `projects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRow {
    /// Drawn when the project was made
    pub pid: ProjectId,
    /// Generation of its keys
    pub epoch: u32,
    /// The sealed key ring
    pub keys: Vec<u8>,
    /// The sealed head
    pub head: Vec<u8>,
    /// Signature of the opened head, 64 bytes
    pub sig: Vec<u8>,
}

/// A row of table `grants`: a token's keys. None is made yet, but the root MAC covers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// 16 bytes
    pub token_id: Vec<u8>,
    /// Generation of the grant
    pub generation: u64,
    /// Sealed for the token
    pub bundle: Vec<u8>,
    /// Sealed for the owner
    pub admin: Vec<u8>,
}

/// A row of table `slots`: one way to the root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Drawn when the slot was made, 16 bytes
    pub slot_id: Vec<u8>,
    /// [`PASSPHRASE_SLOT`] or [`RECOVERY_SLOT`]
    pub kind: u32,
    /// [`KdfParams::encode`]; empty for a recovery code
    pub params: Vec<u8>,
    /// 16 bytes: Argon2id's salt; a recovery code, uniform as it is, makes no other use of it than to be bound to it
    pub salt: Vec<u8>,
    /// 32 bytes, compared before anything is opened
    pub commitment: Vec<u8>,
    /// The sealed root key
    pub wrap: Vec<u8>,
}

/// A row of table `records`: one secret, sealed, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The blind index of its tag
    pub tag_ix: [u8; 16],
    /// The secret's id
    pub rid: RecordId,
    /// Generation of the keys that sealed it
    pub epoch: u32,
    /// Counts the record's changes, from 1
    pub ver: u64,
    /// The version that last set the value
    pub vver: u64,
    /// Sealed metadata
    pub meta: Vec<u8>,
    /// SHA-256 of the sealed value in table `vals`
    pub val_hash: [u8; 32],
    /// [`super::tree::leaf`] of all that
    pub leaf: [u8; 32],
}
