//! The checkpoint: what this machine last saw of a vault, kept outside of it (docs/format.md,
//! section 7).
//!
//! It is sealed under a key of the vault. An attacker without that key can delete it, but cannot
//! forge it.

use super::CryptoError;
use super::aead::Key;
use super::history::{Ancestors, Revision};
use super::ids::{Hash, ProjectId, VaultId};
use super::root_key::ROOT_TABLES;
use crate::codec::{self, Reader};
use crate::model::{ProjectName, SecretBytes};

const CHECKPOINT: &str = "the vault's checkpoint";

/// The number of earlier root keys whose checkpoints can still be opened.
pub const MAX_PAST_KEYS: usize = 8;

/// The last state of a vault that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The vault's own state: its slots, projects and grants
    pub root: Revision,
    /// The state of every project, in ascending order of `pid`
    pub projects: Vec<ProjectCheckpoint>,
}

/// The last state of a project that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectCheckpoint {
    /// The project's id
    pub pid: ProjectId,
    /// The project's name, which is shown if the project was removed
    pub name: ProjectName,
    /// The project's head
    pub head: Revision,
    /// SHA-256 of the sealed head and its signature; if they did not change, the head need not be
    /// verified again
    pub sealed: Hash,
}

impl Checkpoint {
    /// Seals the checkpoint for the vault at a path with this SHA-256.
    pub fn seal(
        &self,
        key: &Key,
        vault_id: &VaultId,
        path_hash: &Hash,
    ) -> Result<Vec<u8>, CryptoError> {
        key.seal("anchor", vault_id, path_hash, &self.encode())
    }

    /// Opens the result of [`Checkpoint::seal`].
    pub fn open(
        key: &Key,
        vault_id: &VaultId,
        path_hash: &Hash,
        bytes: &[u8],
    ) -> Result<Self, CryptoError> {
        let plain = key.open("anchor", vault_id, path_hash, bytes, CHECKPOINT)?;
        Self::decode(plain.expose()).ok_or(CryptoError::Damaged(CHECKPOINT))
    }

    fn encode(&self) -> Vec<u8> {
        let (seq, root) = (self.root.seq.to_be_bytes(), &self.root);
        let mut out =
            [&seq[..], &root.hash, root.ancestors.encode(), &codec::length(self.projects.len())]
                .concat();

        for project in &self.projects {
            let name = project.name.as_str().as_bytes();
            let (seq, head) = (project.head.seq.to_be_bytes(), &project.head);
            let parts: [&[u8]; 7] = [
                &project.pid,
                &codec::length(name.len()),
                name,
                &seq,
                &head.hash,
                head.ancestors.encode(),
                &project.sealed,
            ];

            out.extend(parts.concat());
        }

        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let root = revision(&mut reader)?;
        let mut projects = Vec::new();

        for _ in 0..reader.u32()? {
            let pid = reader.array()?;
            let name = std::str::from_utf8(reader.prefixed()?).ok()?;
            let name = ProjectName::parse(name).ok()?;
            let head = revision(&mut reader)?;
            projects.push(ProjectCheckpoint { pid, name, head, sealed: reader.array()? });
        }

        reader.finish(Self { root, projects })
    }
}

fn revision(reader: &mut Reader<'_>) -> Option<Revision> {
    let (seq, hash) = (reader.u64()?, reader.array()?);
    let ancestors = Ancestors::decode(&reader.array::<{ Ancestors::SIZE }>()?)?;
    Some(Revision { seq, hash, ancestors })
}

/// The newest state of a vault seen at any path, and that path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestState {
    /// The canonical path of the vault
    pub path: Vec<u8>,
    /// Its state
    pub state: Checkpoint,
}

impl NewestState {
    /// Seals the record.
    pub fn seal(&self, key: &Key, vault_id: &VaultId) -> Result<Vec<u8>, CryptoError> {
        let length = codec::length(self.path.len());
        key.seal("newest", vault_id, &[], &[&length[..], &self.path, &self.state.encode()].concat())
    }

    /// Opens the result of [`NewestState::seal`].
    pub fn open(key: &Key, vault_id: &VaultId, bytes: &[u8]) -> Result<Self, CryptoError> {
        let plain = key.open("newest", vault_id, &[], bytes, CHECKPOINT)?;
        let decode = |bytes| {
            let mut reader = Reader::new(bytes);
            let path = reader.prefixed()?.to_vec();
            Some(Self { path, state: Checkpoint::decode(reader.rest())? })
        };

        decode(plain.expose()).ok_or(CryptoError::Damaged(CHECKPOINT))
    }
}

/// Seals the checkpoint keys of earlier root keys under `key`, the latest first. At most
/// [`MAX_PAST_KEYS`] are kept.
pub fn seal_history(key: &Key, vault_id: &VaultId, past: &[Key]) -> Result<Vec<u8>, CryptoError> {
    let mut keys = SecretBytes::with_capacity(32 * MAX_PAST_KEYS);
    past.iter().take(MAX_PAST_KEYS).for_each(|key| keys.extend(key.expose()));
    key.seal("anchor-past", vault_id, &[], keys.expose())
}

/// Opens the result of [`seal_history`]. Empty input gives no keys.
pub fn open_history(key: &Key, vault_id: &VaultId, sealed: &[u8]) -> Result<Vec<Key>, CryptoError> {
    if sealed.is_empty() {
        return Ok(Vec::new());
    }

    let keys = key.open("anchor-past", vault_id, &[], sealed, ROOT_TABLES)?;
    let (keys, rest) = keys.expose().as_chunks::<32>();
    if rest.is_empty() {
        Ok(keys.iter().map(Key::copy_of).collect())
    } else {
        Err(CryptoError::Damaged(ROOT_TABLES))
    }
}

/// Returns the MAC of a trust record's digest. Its key is derived from the checkpoint key, so the
/// MAC can still be verified after the root key was changed.
pub fn trust_mac(key: &Key, vault_id: &VaultId, digest: &Hash) -> Hash {
    *key.expand("trust", &[&vault_id[..], digest].concat()).expose()
}
