//! The signed head of a project: one Ed25519 signature per transaction covers every record
//! (docs/format.md, section 5).

use ed25519_dalek::{Signature, Signer, SigningKey};
use sha2::{Digest, Sha256};

use super::CryptoError;
use super::history::{Ancestors, Revision};
use super::ids::{Hash, ProjectId, VaultId, project_context};
use super::keyring::Keyring;
use super::rows::ProjectRow;
use crate::codec::Reader;

const HEAD_NAME: &[u8; 16] = b"secrets/v1/head\0";
const HEAD: &str = "a project's head";

/// The state of a project, which is signed once per transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number of the project's transactions so far, from 1
    pub seq: u64,
    /// The number of records
    pub count: u64,
    /// [`super::tree::root_hash`]
    pub root_hash: Hash,
    /// The head of the audit log; zeros, because no audit log is written yet
    pub audit_head: Hash,
    /// The time of signing, in milliseconds since 1970
    pub time: u64,
    /// The signer; zeros for the owner of the root key
    pub signer_id: [u8; 16],
    /// The heads before this one
    pub past: HeadHistory,
}

/// A head's record of the heads before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadHistory {
    /// Format 1: SHA-256 of the previous head, or zeros for the first one
    Previous(Hash),
    /// Format 2 and later
    Ancestors(Ancestors),
}

impl HeadHistory {
    fn encode(&self) -> &[u8] {
        match self {
            Self::Previous(hash) => hash,
            Self::Ancestors(ancestors) => ancestors.encode(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let previous = bytes.try_into().ok().map(Self::Previous);
        previous.or_else(|| Ancestors::decode(bytes).map(Self::Ancestors))
    }

    fn ancestors(&self) -> Ancestors {
        match self {
            Self::Previous(hash) => Ancestors::none().then(hash),
            Self::Ancestors(ancestors) => ancestors.clone(),
        }
    }
}

impl Head {
    /// Returns the state before the first head.
    pub fn none() -> Self {
        Self {
            seq: 0,
            count: 0,
            root_hash: [0; 32],
            audit_head: [0; 32],
            time: 0,
            signer_id: [0; 16],
            past: HeadHistory::Ancestors(Ancestors::none()),
        }
    }

    /// Returns the 668 bytes that are signed (188 in format 1).
    pub fn encode(&self, vault_id: &VaultId, pid: &ProjectId, epoch: u32) -> Vec<u8> {
        let parts: [&[u8]; 11] = [
            HEAD_NAME,
            vault_id,
            pid,
            &epoch.to_be_bytes(),
            &self.seq.to_be_bytes(),
            &self.count.to_be_bytes(),
            &self.root_hash,
            &self.audit_head,
            &self.time.to_be_bytes(),
            &self.signer_id,
            self.past.encode(),
        ];

        parts.concat()
    }

    // Decodes the fields after name, vault, project and epoch. The caller knows those four and
    // compares the whole encoding.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_at_checked(HEAD_NAME.len() + 16 + 16 + 4)?;
        let mut reader = Reader::new(rest);

        Some(Self {
            seq: reader.u64()?,
            count: reader.u64()?,
            root_hash: reader.array()?,
            audit_head: reader.array()?,
            time: reader.u64()?,
            signer_id: reader.array()?,
            past: HeadHistory::decode(reader.rest())?,
        })
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
            ancestors: self.past.ancestors(),
        }
    }
}

impl Keyring {
    /// Signs a head (Ed25519, RFC 8032) and seals it, so that a stolen file shows neither its time
    /// nor its number. Returns the columns `head` and `sig`.
    pub fn sign_head(
        &self,
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
        head: &Head,
    ) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        let plain = head.encode(vault_id, pid, epoch);
        let signature = SigningKey::from_bytes(self.signing.expose()).sign(&plain);
        let sealed = self.metadata.seal("head", vault_id, &project_context(pid, epoch), &plain)?;
        Ok((sealed, signature.to_bytes().to_vec()))
    }

    /// Opens a project's head and verifies its signature strictly.
    pub fn open_head(&self, vault_id: &VaultId, row: &ProjectRow) -> Result<Head, CryptoError> {
        let damaged = || CryptoError::Damaged(HEAD);
        let context = project_context(&row.pid, row.epoch);
        let plain = self.metadata.open("head", vault_id, &context, &row.head, HEAD)?;
        let signature = Signature::from_slice(&row.sig).map_err(|_| damaged())?;

        SigningKey::from_bytes(self.signing.expose())
            .verifying_key()
            .verify_strict(plain.expose(), &signature)
            .map_err(|_| damaged())?;

        let head = Head::decode(plain.expose()).ok_or_else(damaged)?;
        let same = head.encode(vault_id, &row.pid, row.epoch) == plain.expose();

        // Tokens do not sign and no audit log is written yet, so this version could not verify
        // another signer or log.
        let known = head.signer_id == [0; 16] && head.audit_head == [0; 32];
        (same && known).then_some(head).ok_or_else(damaged)
    }
}
