//! The rows of a vault's tables, as the store keeps them: sealed columns and the ids that they are
//! bound to.

use super::history::{Ancestors, Revision};
use super::ids::{Hash, ProjectId, RecordId, VaultId};

/// The only cipher suite of formats 1 and 2: the primitives of section 2.
pub const SUITE: u32 = 1;

/// The row of table `vault`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRow {
    /// The vault's id, drawn when the vault was created
    pub vault_id: VaultId,
    /// The cipher suite, [`SUITE`]
    pub suite: u32,
    /// The number of changes of slots and projects, from 1
    pub root_seq: u64,
    /// The root MAC over this row, the slots, the projects' keys and the grants
    pub root_mac: Hash,
    /// The revisions before this one, by their MACs; `None` in a row of format 1, which names none
    pub ancestors: Option<Ancestors>,
    /// The checkpoint keys of earlier root keys, sealed by [`super::checkpoint::seal_history`];
    /// empty if no earlier keys are known
    pub checkpoint_history: Vec<u8>,
}

impl VaultRow {
    /// Returns the row of a new vault. Its MAC still has to be computed.
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

    /// Returns the row of the next revision. Its MAC still has to be computed.
    #[must_use]
    pub fn next(&self) -> Self {
        let ancestors = self.revision().ancestors.then(&self.root_mac);
        Self {
            root_seq: self.root_seq + 1,
            root_mac: [0; 32],
            ancestors: Some(ancestors),
            ..self.clone()
        }
    }

    /// Returns the row as a revision that can be compared with others.
    pub fn revision(&self) -> Revision {
        let ancestors = self.ancestors.clone().unwrap_or_else(Ancestors::none);
        Revision { seq: self.root_seq, hash: self.root_mac, ancestors }
    }
}

/// A row of table `projects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRow {
    /// The project's id, drawn when the project was created
    pub pid: ProjectId,
    /// The generation of its keys
    pub epoch: u32,
    /// The sealed key ring
    pub keys: Vec<u8>,
    /// The sealed head
    pub head: Vec<u8>,
    /// The signature of the opened head, 64 bytes
    pub sig: Vec<u8>,
}

/// A row of table `grants`: a token's keys. No version creates any yet, but the root MAC covers
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// 16 bytes
    pub token_id: Vec<u8>,
    /// The generation of the grant
    pub generation: u64,
    /// Sealed for the token
    pub bundle: Vec<u8>,
    /// Sealed for the owner
    pub admin: Vec<u8>,
}

/// A row of table `slots`: the root key, sealed for one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The slot's id, 16 bytes, drawn when the slot was created
    pub slot_id: Vec<u8>,
    /// The slot's type, [`PASSPHRASE_SLOT`](super::slot::PASSPHRASE_SLOT) or
    /// [`RECOVERY_SLOT`](super::slot::RECOVERY_SLOT)
    pub kind: u32,
    /// The bytes of [`KdfParams::encode`](super::kdf::KdfParams::encode); empty for a recovery code
    pub params: Vec<u8>,
    /// The salt for Argon2id, 16 bytes; a recovery code is uniform and needs none, but its slot is
    /// bound to it
    pub salt: Vec<u8>,
    /// The commitment, 32 bytes, which is compared before anything is opened
    pub commitment: Vec<u8>,
    /// The sealed root key
    pub wrap: Vec<u8>,
}

/// A row of table `records`: one sealed secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The blind index of its tag
    pub tag_ix: [u8; 16],
    /// The secret's id
    pub rid: RecordId,
    /// The generation of the keys that sealed it
    pub epoch: u32,
    /// The number of the record's changes, from 1
    pub ver: u64,
    /// The version that last set the value
    pub vver: u64,
    /// Sealed metadata
    pub meta: Vec<u8>,
    /// SHA-256 of the sealed value in table `vals`
    pub val_hash: [u8; 32],
    /// The [`super::tree::leaf`] of all these columns
    pub leaf: [u8; 32],
}
