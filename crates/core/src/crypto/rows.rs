//! The rows of a vault's tables, as the store keeps them: sealed columns and the ids that they are
//! bound to.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ids::{Hash, ProjectId, RecordId, SUITE, TokenId, VaultId};
use crate::codec::{self, prefixed};

/// The row of table `vault`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultRow {
    /// The vault's id, drawn when the vault was created
    pub vault_id: VaultId,
    /// The cipher suite, [`SUITE`]
    pub suite: u32,
    /// The checkpoint keys of earlier root keys, sealed by [`super::checkpoint::seal_past_keys`];
    /// empty if the root key was never changed
    pub past: Vec<u8>,
}

impl VaultRow {
    /// Returns the row of a new vault.
    pub fn first(vault_id: VaultId) -> Self {
        Self { vault_id, suite: SUITE, past: Vec::new() }
    }
}

/// A row of table `slots`: the root key, sealed for one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The slot's id, 16 bytes, drawn when the slot was created
    pub slot_id: Vec<u8>,
    /// The slot's type, [`PASSPHRASE_SLOT`](super::slot::PASSPHRASE_SLOT),
    /// [`KEYED_SLOT`](super::slot::KEYED_SLOT) or [`RECOVERY_SLOT`](super::slot::RECOVERY_SLOT)
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

/// Returns the hash of the slots, in ascending order of their ids, and of the sealed keys of earlier
/// checkpoints. The directory's head names it.
pub fn slots_hash(slots: &[Slot], past: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"secrets/v3/slots\0");
    hash.update(codec::length(slots.len()));
    for s in slots {
        prefixed(
            &mut |piece| hash.update(piece),
            &[&s.slot_id, &s.kind.to_be_bytes(), &s.params, &s.salt, &s.commitment, &s.wrap],
        );
    }

    prefixed(&mut |piece| hash.update(piece), &[past]);
    hash.finalize().into()
}

/// A row of table `projects`, of a project or of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRow {
    /// The project's id, drawn when the project was created
    pub pid: ProjectId,
    /// The generation of its keys
    pub epoch: u32,
    /// The sealed head
    pub head: Vec<u8>,
    /// The signature of the opened head, 64 bytes
    pub sig: Vec<u8>,
}

/// A row of table `grants`: a token's keys, sealed for the token and for the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRow {
    /// The token's id
    pub token_id: TokenId,
    /// The number of times that the grant was issued
    pub generation: u64,
    /// Sealed for the token
    pub grant: Vec<u8>,
    /// Sealed for the owner
    pub escrow: Vec<u8>,
}

/// Returns the hash of the list of tokens, in ascending order of their ids. The directory's head
/// names it.
pub fn tokens_hash(grants: &[GrantRow]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"secrets/v3/tokens\0");
    hash.update(codec::length(grants.len()));
    for grant in grants {
        hash.update(grant.token_id);
        hash.update(grant.generation.to_be_bytes());
        hash.update(Sha256::digest(&grant.escrow));
    }

    hash.finalize().into()
}

/// A row of table `policies`: who may sign for a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// The policy's version, from 1
    pub version: u64,
    /// The sealed policy
    pub body: Vec<u8>,
    /// The owner's signature of the opened policy, 64 bytes
    pub sig: Vec<u8>,
}

/// A row of table `audit`: one change of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// The `seq` of the head that it belongs to
    pub seq: u64,
    /// The generation of the keys that sealed it
    pub epoch: u32,
    /// The sealed entry and its signature
    pub ct: Vec<u8>,
}

/// A row of table `records`: one sealed secret without its value, or in the directory one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The blind index of its tag
    pub tag_ix: [u8; 16],
    /// The secret's id
    pub rid: RecordId,
    /// The generation of the keys that sealed it
    pub epoch: u32,
    /// The number of the record's changes, from 1
    pub ver: u64,
    /// The version that last sealed the value
    pub vver: u64,
    /// Sealed metadata
    pub meta: Vec<u8>,
    /// SHA-256 of the sealed value in table `vals`
    pub val_hash: [u8; 32],
    /// The [`super::tree::leaf`] of all these columns
    pub leaf: [u8; 32],
}
