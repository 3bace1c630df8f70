//! The signed head of a project: one Ed25519 signature per transaction covers every record
//! (docs/format.md, section 5).

use sha2::{Digest, Sha256};

use super::CryptoError;
use super::aead::Key;
use super::history::{Ancestors, Revision};
use super::ids::{Hash, ProjectId, TokenId, VaultId, project_context};
use super::rows::ProjectRow;
use crate::codec::Reader;

const HEAD_NAME: &[u8; 16] = b"secrets/v3/head\0";
/// The name of a sealed head in messages.
pub const HEAD: &str = "a project's head";

/// The only number of levels of a project's tree: 256 buckets below the root hash.
const LEVELS: u8 = 1;

/// The largest number of transactions and of records of a project, and of versions of a record.
/// Without a limit, a signer could use up the numbers, so that nobody could change the project any
/// more.
pub const MAX_COUNT: u64 = 1 << 53;

/// The state of a project, which is signed once per transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number of the project's transactions so far, from 1
    pub seq: u64,
    /// The number of records
    pub count: u64,
    /// [`super::tree::root_hash`]
    pub root_hash: Hash,
    /// The hash of the audit log's last entry
    pub audit_head: Hash,
    /// The time of signing, in milliseconds since 1970
    pub time: u64,
    /// The signer: [`OWNER`](super::ids::OWNER) or a token
    pub signer_id: TokenId,
    /// The hash of the project's policy, or zeros for a project without one; in the directory, the
    /// hash of the list of tokens
    pub policy: Hash,
    /// The revision of the directory at the time of signing; 0 in a vault that is one file
    pub directory_seq: u64,
    /// The hash of the directory's head at that time, or zeros in a vault that is one file; in the
    /// directory, the hash of the slots
    pub directory: Hash,
    /// The heads before this one
    pub ancestors: Ancestors,
}

impl Head {
    /// The length of [`Head::encode`] in bytes.
    pub const SIZE: usize = 741;

    /// Returns the state before the first head.
    pub fn none() -> Self {
        Self {
            seq: 0,
            count: 0,
            root_hash: [0; 32],
            audit_head: [0; 32],
            time: 0,
            signer_id: [0; 16],
            policy: [0; 32],
            directory_seq: 0,
            directory: [0; 32],
            ancestors: Ancestors::none(),
        }
    }

    /// Returns the 741 bytes that are signed.
    pub fn encode(&self, vault_id: &VaultId, pid: &ProjectId, epoch: u32) -> Vec<u8> {
        let parts: [&[u8]; 15] = [
            HEAD_NAME,
            vault_id,
            pid,
            &epoch.to_be_bytes(),
            &self.seq.to_be_bytes(),
            &self.count.to_be_bytes(),
            &[LEVELS],
            &self.root_hash,
            &self.audit_head,
            &self.time.to_be_bytes(),
            &self.signer_id,
            &self.policy,
            &self.directory_seq.to_be_bytes(),
            &self.directory,
            self.ancestors.encode(),
        ];

        parts.concat()
    }

    // Decodes the fields after name, vault, project and epoch. The caller knows those four and
    // compares the whole encoding.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_at_checked(HEAD_NAME.len() + 16 + 16 + 4)?;
        let mut reader = Reader::new(rest);
        let (seq, count) = (reader.u64()?, reader.u64()?);
        (reader.u8()? == LEVELS).then_some(())?;

        let head = Self {
            seq,
            count,
            root_hash: reader.array()?,
            audit_head: reader.array()?,
            time: reader.u64()?,
            signer_id: reader.array()?,
            policy: reader.array()?,
            directory_seq: reader.u64()?,
            directory: reader.array()?,
            ancestors: Ancestors::decode(reader.rest())?,
        };

        // The directory of a team is not supported yet. No honest project has more changes.
        let is_supported =
            head.directory_seq == 0 && (1..=MAX_COUNT).contains(&seq) && count <= MAX_COUNT;
        (is_supported && head.ancestors.are_those_of(seq)).then_some(head)
    }

    /// Returns the SHA-256 of the encoded head, by which later heads refer to it.
    pub fn hash(&self, vault_id: &VaultId, pid: &ProjectId, epoch: u32) -> Hash {
        Sha256::digest(self.encode(vault_id, pid, epoch)).into()
    }

    /// Returns the head as a revision that can be compared with others.
    pub fn revision(&self, vault_id: &VaultId, pid: &ProjectId, epoch: u32) -> Revision {
        Revision {
            seq: self.seq,
            hash: self.hash(vault_id, pid, epoch),
            ancestors: self.ancestors.clone(),
        }
    }

    /// Decodes the bytes of [`Head::encode`] for a vault, a project and an epoch.
    pub fn decode_for(
        bytes: &[u8],
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
    ) -> Option<Self> {
        Self::decode(bytes).filter(|head| head.encode(vault_id, pid, epoch) == bytes)
    }

    /// Seals the head under HK, so that a stolen file shows neither its time nor its number.
    pub fn seal(
        &self,
        head_key: &Key,
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
    ) -> Result<Vec<u8>, CryptoError> {
        // A head that nobody opens would replace one that everybody does.
        if self.seq > MAX_COUNT || self.count > MAX_COUNT {
            return Err(CryptoError::Unsupported("the project cannot be changed any more"));
        }

        let plain = self.encode(vault_id, pid, epoch);
        head_key.seal("head", vault_id, &project_context(pid, epoch), &plain)
    }

    /// Opens a project's head. Its signature is not verified here, because the head names the
    /// signer.
    pub fn open(head_key: &Key, vault_id: &VaultId, row: &ProjectRow) -> Result<Self, CryptoError> {
        let context = project_context(&row.pid, row.epoch);
        let plain = head_key.open("head", vault_id, &context, &row.head, HEAD)?;
        Self::decode_for(plain.expose(), vault_id, &row.pid, row.epoch)
            .ok_or(CryptoError::Damaged(HEAD))
    }
}
