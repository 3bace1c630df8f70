//! The root key, which opens key rings and authenticates the vault's own tables (docs/format.md,
//! section 3).
//!
//! It never opens a record. A project's key ring does that.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::CryptoError;
use super::aead::{Key, LockedKey};
use super::ids::{ProjectId, VaultId, project_context};
use super::keyring::{KEYRING, KEYRING_STEP, Keyring, keyed};
use super::padding::{pad, unpad};
use super::rows::{Grant, ProjectRow, Slot, VaultRow};
use crate::codec::{self, prefixed};

/// The name of the tables under the root MAC in messages.
pub const ROOT_TABLES: &str = "the vault's table of slots, projects and grants";

/// The key that opens every project's key ring.
pub struct RootKey(LockedKey);

impl RootKey {
    /// Generates the root key of a new vault.
    pub fn random() -> Result<Self, CryptoError> {
        LockedKey::random().map(Self)
    }

    /// Copies 32 bytes. The caller remains responsible for wiping the source.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        LockedKey::copy_of(bytes).map(Self)
    }

    /// Returns a copy of the key on a page of its own.
    pub fn copy(&self) -> Result<Self, CryptoError> {
        Self::from_bytes(self.expose())
    }

    /// Returns the key's bytes, for handing it to an agent.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Compares in constant time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }

    /// Returns the key that seals checkpoints (section 7).
    pub fn checkpoint_key(&self) -> Key {
        self.0.expand("anchor", &[])
    }

    /// Returns false if the system refused to keep the key out of swap.
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

    /// Computes the root MAC: HMAC-SHA256 (RFC 2104) over every column of the vault's row except
    /// the MAC, every slot, every project's `pid`, `epoch` and `keys`, and every grant, each in
    /// ascending order of its id.
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

    /// Begins a root MAC with the bytes of [`row_and_slots`]. The bytes of [`projects_and_grants`]
    /// follow.
    pub fn begin_mac(&self, row_and_slots: &[u8]) -> RootMac {
        let mut mac = keyed(&self.0.expand("root-mac", &[]));
        mac.update(b"secrets/v1/root\0");
        mac.update(row_and_slots);
        RootMac(mac)
    }
}

/// A root MAC that is being computed. The tables of a large vault arrive in pieces.
pub struct RootMac(Hmac<Sha256>);

impl RootMac {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the 32 bytes.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }

    /// Compares with a stored MAC in constant time.
    pub fn verify(self, stored: &[u8]) -> Result<(), CryptoError> {
        self.0.verify_slice(stored).map_err(|_| CryptoError::Damaged(ROOT_TABLES))
    }
}

/// Returns the first part of what the root MAC covers: the vault's row without the MAC, and every
/// slot.
pub fn row_and_slots(vault: &VaultRow, slots: &[Slot]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    let out = &mut |piece: &[u8]| bytes.extend_from_slice(piece);
    prefixed(out, &[&vault.vault_id, &vault.suite.to_be_bytes(), &vault.root_seq.to_be_bytes()]);
    if let Some(ancestors) = &vault.ancestors {
        prefixed(out, &[ancestors.encode(), &vault.checkpoint_history]);
    }

    out(&codec::length(slots.len()));
    for s in slots {
        prefixed(
            out,
            &[&s.slot_id, &s.kind.to_be_bytes(), &s.params, &s.salt, &s.commitment, &s.wrap],
        );
    }

    bytes
}

/// Passes the second part of what the root MAC covers to `out`, in small pieces: every project's
/// keys and every grant.
pub fn projects_and_grants(projects: &[ProjectRow], grants: &[Grant], mut out: impl FnMut(&[u8])) {
    out(&codec::length(projects.len()));
    for p in projects {
        prefixed(&mut out, &[&p.pid, &p.epoch.to_be_bytes(), &p.keys]);
    }

    out(&codec::length(grants.len()));
    for g in grants {
        prefixed(&mut out, &[&g.token_id, &g.generation.to_be_bytes(), &g.bundle, &g.admin]);
    }
}
