//! The policy of a project: the tokens that may sign for it (docs/format.md, section 4).
//!
//! In a vault that is one file only the owner signs policies. Their version never goes back, so a
//! token that was taken out stays out.

use sha2::{Digest, Sha256};

use super::CryptoError;
use super::aead::Key;
use super::ids::{Hash, ProjectId, TokenId, VaultId};
use super::padding::{pad, unpad};
use super::project_entry::PolicyId;
use super::record::metadata_size;
use super::rows::PolicyRow;
use super::signing::{PublicKey, Signer};
use crate::codec::{self, Reader};

const POLICY: &str = "a project's policy";
const NAME: &[u8] = b"secrets/v3/policy\0";

/// The maximum number of tokens that may sign for one project.
pub const MAX_WRITERS: usize = 64;

/// A list of tokens that may sign for a project, in ascending order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The version, from 1
    pub version: u64,
    /// The generation of the project's keys; the policy is valid for heads of this epoch only
    pub epoch: u32,
    /// The tokens
    pub writers: Vec<Writer>,
}

/// A token that may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The token's id
    pub token_id: TokenId,
    /// The key that verifies what it signs
    pub key: PublicKey,
    /// The time of a head, in milliseconds since 1970, until which it may sign; `u64::MAX` for a
    /// token that does not expire
    pub until: u64,
}

impl Policy {
    /// Returns the bytes that the owner signs.
    pub fn encode(&self, vault_id: &VaultId, pid: &ProjectId) -> Vec<u8> {
        let mut bytes = [NAME, vault_id, pid].concat();
        bytes.extend(self.epoch.to_be_bytes());
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(codec::length(self.writers.len()));
        for writer in &self.writers {
            bytes.extend(writer.token_id);
            bytes.extend(writer.key.bytes());
            bytes.extend(writer.until.to_be_bytes());
        }

        bytes
    }

    fn decode(bytes: &[u8], vault_id: &VaultId, pid: &ProjectId) -> Option<Self> {
        let mut reader = Reader::new(bytes.strip_prefix(NAME)?);
        let of = (reader.array::<16>()?, reader.array::<16>()?);
        let (epoch, version, count) = (reader.u32()?, reader.u64()?, reader.u32()?);
        let mut writers: Vec<Writer> = Vec::new();

        for _ in 0..count {
            let token_id: TokenId = reader.array()?;
            let is_next = writers.last().is_none_or(|last| last.token_id < token_id);
            (is_next && writers.len() < MAX_WRITERS).then_some(())?;
            let (key, until) = (PublicKey::new(reader.array()?), reader.u64()?);
            writers.push(Writer { token_id, key, until });
        }

        let is_ours = of == (*vault_id, *pid) && version > 0;
        reader.finish(Self { version, epoch, writers }).filter(|_| is_ours)
    }

    /// Returns the hash by which heads and the directory name the policy.
    pub fn hash(&self, vault_id: &VaultId, pid: &ProjectId) -> Hash {
        Sha256::digest(self.encode(vault_id, pid)).into()
    }

    /// Returns the policy's version and hash.
    pub fn id(&self, vault_id: &VaultId, pid: &ProjectId) -> PolicyId {
        PolicyId { version: self.version, hash: self.hash(vault_id, pid) }
    }

    /// Returns a token of the list.
    pub fn writer(&self, token_id: &TokenId) -> Option<&Writer> {
        self.writers.iter().find(|writer| writer.token_id == *token_id)
    }

    /// Seals the policy under PK and signs it with the owner's key.
    pub fn seal(
        &self,
        policy_key: &Key,
        owner: &Signer,
        vault_id: &VaultId,
        pid: &ProjectId,
    ) -> Result<PolicyRow, CryptoError> {
        let plain = self.encode(vault_id, pid);
        let padded = pad(&plain, metadata_size);
        let context = context(pid, self.version);
        let body = policy_key.seal("policy", vault_id, &context, padded.expose())?;
        Ok(PolicyRow { version: self.version, body, sig: owner.sign(&plain).to_vec() })
    }

    /// Opens a policy and verifies the owner's signature.
    pub fn open(
        policy_key: &Key,
        owner: &PublicKey,
        vault_id: &VaultId,
        pid: &ProjectId,
        row: &PolicyRow,
    ) -> Result<Self, CryptoError> {
        let damaged = CryptoError::Damaged(POLICY);
        let context = context(pid, row.version);
        let padded = policy_key.open("policy", vault_id, &context, &row.body, POLICY)?;
        let plain = unpad(padded.expose(), metadata_size, POLICY)?;
        if !owner.verifies(plain, &row.sig) {
            return Err(damaged);
        }

        Self::decode(plain, vault_id, pid)
            .filter(|policy| policy.version == row.version)
            .ok_or(damaged)
    }
}

fn context(pid: &ProjectId, version: u64) -> Vec<u8> {
    [&pid[..], &version.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_open_only_as_they_were_signed() {
        let (key, seed) = (Key::random().unwrap(), Key::random().unwrap());
        let (owner, other) = (Signer::from_seed(&seed), Signer::from_seed(&Key::random().unwrap()));
        let writer = |id| Writer { token_id: [id; 16], key: other.public(), until: u64::MAX };
        let policy = Policy { version: 3, epoch: 2, writers: vec![writer(1), writer(4)] };
        let row = policy.seal(&key, &owner, &[7; 16], &[8; 16]).unwrap();

        let open = |owner: &Signer, vault: u8, pid: u8, row: &PolicyRow| {
            Policy::open(&key, &owner.public(), &[vault; 16], &[pid; 16], row)
        };
        assert_eq!(open(&owner, 7, 8, &row).as_ref(), Ok(&policy));
        assert!(open(&other, 7, 8, &row).is_err() && open(&owner, 6, 8, &row).is_err());
        assert!(open(&owner, 7, 9, &row).is_err());
        assert!(open(&owner, 7, 8, &PolicyRow { version: 4, ..row.clone() }).is_err());

        let unsorted = Policy { writers: vec![writer(4), writer(1)], ..policy.clone() };
        let row = unsorted.seal(&key, &owner, &[7; 16], &[8; 16]).unwrap();
        assert!(open(&owner, 7, 8, &row).is_err());
        let many = (0..65).map(writer).collect();
        let row = Policy { writers: many, ..policy }.seal(&key, &owner, &[7; 16], &[8; 16]);
        assert!(open(&owner, 7, 8, &row.unwrap()).is_err());
    }
}
