//! The checkpoint: what this machine last saw of a project or of the directory, kept outside of the
//! vault (docs/format.md, section 7).
//!
//! It is sealed under a key of the vault. An attacker without that key can delete it, but cannot
//! forge it.

use super::CryptoError;
use super::aead::Key;
use super::history::{Ancestors, Revision};
use super::ids::{DIRECTORY, Hash, ProjectId, VaultId};
use super::padding::{pad, unpad};
use super::project_entry::PolicyId;
use super::record::metadata_size;
use super::root_key::RootKey;
use super::signing::PublicKey;
use crate::codec::{Reader, prefixed};
use crate::model::SecretBytes;

const CHECKPOINT: &str = "the vault's checkpoint";
const PAST_KEYS: &str = "the vault's keys of earlier checkpoints";

/// The number of earlier root keys whose checkpoints can still be opened.
pub const MAX_PAST_KEYS: usize = 8;

/// The last state of a project, or of the directory, that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The generation of its keys
    pub epoch: u32,
    /// Its head
    pub head: Revision,
    /// The hash of the audit log's last entry
    pub audit_head: Hash,
    /// Its policy; none for the directory
    pub policy: PolicyId,
    /// What a token has seen of its grant; `None` for the owner
    pub grant: Option<GrantState>,
}

/// What a token remembers of its grant. The generation never goes back, and the owner stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantState {
    /// The number of times that the grant was issued
    pub generation: u64,
    /// The key that verifies what the owner signs
    pub owner: PublicKey,
}

impl Checkpoint {
    /// Seals the checkpoint of a project for the vault at a path with this SHA-256.
    pub fn seal(
        &self,
        key: &Key,
        vault_id: &VaultId,
        path_hash: &Hash,
        pid: &ProjectId,
    ) -> Result<Vec<u8>, CryptoError> {
        let context = [&path_hash[..], pid].concat();
        let padded = pad(&self.encode(), metadata_size);
        key.seal("checkpoint", vault_id, &context, padded.expose())
    }

    /// Opens the result of [`Checkpoint::seal`].
    pub fn open(
        key: &Key,
        vault_id: &VaultId,
        path_hash: &Hash,
        pid: &ProjectId,
        bytes: &[u8],
    ) -> Result<Self, CryptoError> {
        let context = [&path_hash[..], pid].concat();
        let padded = key.open("checkpoint", vault_id, &context, bytes, CHECKPOINT)?;
        let plain = unpad(padded.expose(), metadata_size, CHECKPOINT)?;
        let mut reader = Reader::new(plain);
        let decoded = Self::decode(&mut reader).and_then(|decoded| reader.finish(decoded));
        decoded.ok_or(CryptoError::Damaged(CHECKPOINT))
    }

    fn encode(&self) -> Vec<u8> {
        let grant = self.grant.map_or_else(Vec::new, |grant| {
            [&grant.generation.to_be_bytes()[..], grant.owner.bytes()].concat()
        });
        let parts: [&[u8]; 7] = [
            &self.epoch.to_be_bytes(),
            &self.head.seq.to_be_bytes(),
            &self.head.hash,
            self.head.ancestors.encode(),
            &self.audit_head,
            &self.policy.encode(),
            &grant,
        ];

        parts.concat()
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (epoch, seq, hash) = (reader.u32()?, reader.u64()?, reader.array()?);
        let ancestors = Ancestors::decode(&reader.array::<{ Ancestors::SIZE }>()?)?;
        let (audit_head, policy) = (reader.array()?, PolicyId::decode(&reader.array()?));
        let grant = match reader.rest() {
            [] => None,
            _ => Some(GrantState {
                generation: reader.u64()?,
                owner: PublicKey::new(reader.array()?),
            }),
        };

        Some(Self { epoch, head: Revision { seq, hash, ancestors }, audit_head, policy, grant })
    }
}

/// The newest state of a project, or of the directory, that was seen at any path, and that path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestState {
    /// The canonical path of the vault
    pub path: Vec<u8>,
    /// The state
    pub state: Checkpoint,
}

impl NewestState {
    /// Seals the record.
    pub fn seal(
        &self,
        key: &Key,
        vault_id: &VaultId,
        pid: &ProjectId,
    ) -> Result<Vec<u8>, CryptoError> {
        let mut plain = Vec::new();
        prefixed(&mut |piece| plain.extend(piece), &[&self.path]);
        plain.extend(self.state.encode());
        key.seal("newest", vault_id, pid, pad(&plain, metadata_size).expose())
    }

    /// Opens the result of [`NewestState::seal`].
    pub fn open(
        key: &Key,
        vault_id: &VaultId,
        pid: &ProjectId,
        bytes: &[u8],
    ) -> Result<Self, CryptoError> {
        let padded = key.open("newest", vault_id, pid, bytes, CHECKPOINT)?;
        let mut reader = Reader::new(unpad(padded.expose(), metadata_size, CHECKPOINT)?);
        let mut decode = || {
            let path = reader.prefixed()?.to_vec();
            Some(Self { path, state: Checkpoint::decode(&mut reader)? })
        };

        decode().and_then(|found| reader.finish(found)).ok_or(CryptoError::Damaged(CHECKPOINT))
    }
}

/// The keys that the owner still has of an earlier root key.
pub struct PastKeys {
    /// The key that sealed checkpoints
    pub checkpoint: Key,
    /// HK of the directory, which opens the directory's heads in earlier copies
    pub head: Key,
    /// The key that verifies what the owner signed
    pub owner: PublicKey,
}

impl PastKeys {
    /// Returns the keys that are kept of a root key once it is replaced.
    pub fn of(root: &RootKey) -> Self {
        Self {
            checkpoint: root.checkpoint_key(),
            head: root.directory_keys().head_key(&DIRECTORY),
            owner: root.signer().public(),
        }
    }
}

/// Seals the keys of earlier root keys under the present checkpoint key, the latest first. At
/// most [`MAX_PAST_KEYS`] are kept.
pub fn seal_past_keys(
    key: &Key,
    vault_id: &VaultId,
    past: &[PastKeys],
) -> Result<Vec<u8>, CryptoError> {
    let mut keys = SecretBytes::with_capacity(96 * MAX_PAST_KEYS);
    for past in past.iter().take(MAX_PAST_KEYS) {
        keys.extend(past.checkpoint.expose());
        keys.extend(past.head.expose());
        keys.extend(past.owner.bytes());
    }

    key.seal("checkpoint-past", vault_id, &[], keys.expose())
}

/// Opens the result of [`seal_past_keys`]. Empty input gives no keys.
pub fn open_past_keys(
    key: &Key,
    vault_id: &VaultId,
    sealed: &[u8],
) -> Result<Vec<PastKeys>, CryptoError> {
    if sealed.is_empty() {
        return Ok(Vec::new());
    }

    let keys = key.open("checkpoint-past", vault_id, &[], sealed, PAST_KEYS)?;
    let mut reader = Reader::new(keys.expose());
    let mut past = Vec::new();
    while !reader.rest().is_empty() {
        let mut next = || Some((reader.array()?, reader.array()?, reader.array()?));
        let (checkpoint, head, owner) = next().ok_or(CryptoError::Damaged(PAST_KEYS))?;
        past.push(PastKeys {
            checkpoint: Key::copy_of(&checkpoint),
            head: Key::copy_of(&head),
            owner: PublicKey::new(owner),
        });
    }

    Ok(past)
}

/// Returns the MAC of a trust record's digest. Its key is derived from the checkpoint key, so the
/// MAC can still be verified after the root key was changed.
pub fn trust_mac(key: &Key, vault_id: &VaultId, digest: &Hash) -> Hash {
    *key.expand("trust", &[&vault_id[..], digest].concat()).expose()
}
