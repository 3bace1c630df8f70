//! The root key and the key rings of projects (docs/format.md, section 3).
//!
//! The root key opens key rings and signs for the vault's own tables; it never opens a record. A project's keys open
//! that project's records and nothing else.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::CryptoError;
use super::aead::{Key, LockedKey};
use super::integrity::Hash;
use super::lineage::{Ancestors, Revision};
use super::output_digest::OutputKey;
use super::record::{pad, unpad};
use super::slot::Slot;
use crate::model::{ProjectName, SecretBytes, TagKey};

/// The only suite of format 1: section 2's primitives.
pub const SUITE: u32 = 1;
/// Key rings are padded to multiples of this many bytes.
const KEYRING_STEP: usize = 256;
/// What the root MAC protects, as messages name it.
pub const ROOT_TABLES: &str = "the vault's table of slots, projects and grants";
/// A sealed key ring, as messages name it.
pub const KEYRING: &str = "a project's key ring";

/// Names the vault in everything that is sealed; drawn once.
pub type VaultId = [u8; 16];
/// Names a project without its name.
pub type ProjectId = [u8; 16];
/// Names a record; `se` and its hex digits are the secret's id.
pub type RecordId = [u8; 8];

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
    /// What earlier root keys sealed anchors with, sealed by [`super::anchor::seal_history`]; empty where there was none
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

/// The key to every project's key ring.
pub struct RootKey(LockedKey);

impl RootKey {
    /// Draws the root key of a new vault.
    pub fn random() -> Result<Self, CryptoError> {
        LockedKey::random().map(Self)
    }

    /// Takes 32 bytes; the source stays the caller's to wipe.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        LockedKey::copy_of(bytes).map(Self)
    }

    /// The same key in a place of its own.
    pub fn copy(&self) -> Result<Self, CryptoError> {
        Self::from_bytes(self.expose())
    }

    /// The key itself, for the one who is to hold it: an agent.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Compares in constant time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }

    /// The key that seals what was last seen of the vault (section 7).
    pub fn checkpoint_key(&self) -> Key {
        self.0.expand("anchor", &[])
    }

    /// False where the system refused to keep the key out of swap.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// Seals a key ring for `pid` and `epoch`.
    pub fn seal_keyring(
        &self,
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, CryptoError> {
        let plain = keyring.encode();
        let padded = pad(plain.expose(), |n| n.next_multiple_of(KEYRING_STEP));
        self.0.expand("projects", &[]).seal(
            "project",
            vault_id,
            &project_context(pid, epoch),
            padded.expose(),
        )
    }

    /// Opens the key ring of a project's row.
    pub fn open_keyring(
        &self,
        vault_id: &VaultId,
        row: &ProjectRow,
    ) -> Result<Keyring, CryptoError> {
        let context = project_context(&row.pid, row.epoch);
        let padded = self
            .0
            .expand("projects", &[])
            .open("project", vault_id, &context, &row.keys, KEYRING)?;

        let plain = unpad(padded.expose(), |n| n.next_multiple_of(KEYRING_STEP), KEYRING)?;
        Keyring::decode(&row.pid, plain).ok_or(CryptoError::Damaged(KEYRING))
    }

    /// The root MAC: HMAC-SHA256 (RFC 2104) over every column of the vault's row but the MAC, every slot, every
    /// project's `pid`, `epoch` and `keys`, and every grant, each in ascending order of its id.
    pub fn mac(
        &self,
        vault: &VaultRow,
        slots: &[Slot],
        projects: &[ProjectRow],
        grants: &[Grant],
    ) -> [u8; 32] {
        self.mac_state(vault, slots, projects, grants).finish()
    }

    /// Checks the stored root MAC in constant time.
    pub fn verify_mac(
        &self,
        vault: &VaultRow,
        slots: &[Slot],
        projects: &[ProjectRow],
        grants: &[Grant],
    ) -> Result<(), CryptoError> {
        self.mac_state(vault, slots, projects, grants).verify(&vault.root_mac)
    }

    fn mac_state(
        &self,
        vault: &VaultRow,
        slots: &[Slot],
        projects: &[ProjectRow],
        grants: &[Grant],
    ) -> RootMac {
        let mut mac = self.begin_mac(&row_and_slots(vault, slots));
        projects_and_grants(projects, grants, |bytes| mac.update(bytes));
        mac
    }

    /// Begins a root MAC with what [`row_and_slots`] makes; [`projects_and_grants`] is what follows.
    pub fn begin_mac(&self, row_and_slots: &[u8]) -> RootMac {
        let mut mac = keyed(&self.0.expand("root-mac", &[]));
        mac.update(b"secrets/v1/root\0");
        mac.update(row_and_slots);
        RootMac(mac)
    }
}

/// A root MAC in the making: the tables of a large vault come in pieces.
pub struct RootMac(Hmac<Sha256>);

impl RootMac {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The 32 bytes.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }

    /// Compares with a stored one in constant time.
    pub fn verify(self, stored: &[u8]) -> Result<(), CryptoError> {
        self.0.verify_slice(stored).map_err(|_| CryptoError::Damaged(ROOT_TABLES))
    }
}

/// What the root MAC covers first: the vault's row without the MAC, and every slot.
pub fn row_and_slots(vault: &VaultRow, slots: &[Slot]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    let out = &mut |piece: &[u8]| bytes.extend_from_slice(piece);
    prefixed(out, &[&vault.vault_id, &vault.suite.to_be_bytes(), &vault.root_seq.to_be_bytes()]);
    if let Some(ancestors) = &vault.ancestors {
        prefixed(out, &[ancestors.encode(), &vault.checkpoint_history]);
    }

    count(out, slots.len());
    for s in slots {
        prefixed(
            out,
            &[&s.slot_id, &s.kind.to_be_bytes(), &s.params, &s.salt, &s.commitment, &s.wrap],
        );
    }

    bytes
}

/// What the root MAC covers after that, handed over in small pieces: every project's keys, every grant.
pub fn projects_and_grants(projects: &[ProjectRow], grants: &[Grant], mut out: impl FnMut(&[u8])) {
    count(&mut out, projects.len());
    for p in projects {
        prefixed(&mut out, &[&p.pid, &p.epoch.to_be_bytes(), &p.keys]);
    }

    count(&mut out, grants.len());
    for g in grants {
        prefixed(&mut out, &[&g.token_id, &g.generation.to_be_bytes(), &g.bundle, &g.admin]);
    }
}

/// A project's keys, opened.
pub struct Keyring {
    /// PMK: opens metadata and heads
    pub metadata: Key,
    /// PVK: opens values
    pub value: Key,
    /// PSK: the Ed25519 seed that signs heads
    pub signing: Key,
    /// The project's name
    pub name: ProjectName,
    /// HMAC under the tag index's key, about to take its first byte: a list computes one index a record
    tag_index: Hmac<Sha256>,
}

impl Keyring {
    /// Draws the keys of a new project.
    pub fn random(pid: &ProjectId, name: ProjectName) -> Result<Self, CryptoError> {
        Ok(Self::new(pid, Key::random()?, Key::random()?, Key::random()?, name))
    }

    /// Puts a key ring together from its parts.
    pub fn new(
        pid: &ProjectId,
        metadata: Key,
        value: Key,
        signing: Key,
        name: ProjectName,
    ) -> Self {
        let tag_index = keyed(&metadata.expand("tag-index", pid));
        Self { metadata, value, signing, name, tag_index }
    }

    /// PMK‖PVK‖PSK‖name: what is sealed.
    pub fn encode(&self) -> SecretBytes {
        let mut plain = SecretBytes::with_capacity(KEYRING_STEP);
        for key in [&self.metadata, &self.value, &self.signing] {
            plain.extend(key.expose());
        }

        plain.extend(self.name.as_str().as_bytes());
        plain
    }

    /// Takes [`Keyring::encode`]'s bytes apart; `None` where they are none.
    pub fn decode(pid: &ProjectId, plain: &[u8]) -> Option<Self> {
        let key = |at: usize| plain.get(at..at + 32)?.try_into().ok().map(Key::copy_of);
        let name = ProjectName::parse(std::str::from_utf8(plain.get(96..)?).ok()?).ok()?;
        Some(Self::new(pid, key(0)?, key(32)?, key(64)?, name))
    }

    /// Returns the key for the digests of the project's rendered files. Nothing of it is stored in the vault.
    pub fn output_key(&self, pid: &ProjectId) -> OutputKey {
        OutputKey::new(self.metadata.expand("output", pid), *pid)
    }

    /// The blind index of a tag: HMAC-SHA256 of its key, cut to 16 bytes. Its first byte is the bucket.
    pub fn tag_ix(&self, key: &TagKey) -> [u8; 16] {
        let mut mac = self.tag_index.clone();
        mac.update(key.as_str().as_bytes());
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut index = [0; 16];

        index.copy_from_slice(&full[..16]);
        index
    }
}

/// `pid ‖ epoch`: what a key ring and a head are bound to.
pub(super) fn project_context(pid: &ProjectId, epoch: u32) -> Vec<u8> {
    [&pid[..], &epoch.to_be_bytes()].concat()
}

fn keyed(key: &Key) -> Hmac<Sha256> {
    // A key shorter than the block is padded with zeros (RFC 2104, section 2); so is this one, by us.
    let mut block = Zeroizing::new([0_u8; 64]);
    block[..32].copy_from_slice(key.expose());
    Hmac::new((&*block).into())
}

fn prefixed(out: &mut impl FnMut(&[u8]), columns: &[&[u8]]) {
    for column in columns {
        count(out, column.len());
        out(column);
    }
}

fn count(out: &mut impl FnMut(&[u8]), n: usize) {
    out(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
}
