//! The root key, which is the owner's: it opens the directory and signs for the owner
//! (docs/format.md, section 3).
//!
//! It never opens a secret. A project's key ring does that, and the directory holds the key rings.

use subtle::ConstantTimeEq;

use super::CryptoError;
use super::aead::{Key, LockedKey};
use super::keyring::Keyring;
use super::signing::Signer;

/// The key from which everything else in a vault can be opened.
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

    /// Returns false if the system refused to keep the key out of swap.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// Returns the owner's signing key.
    pub fn signer(&self) -> Signer {
        Signer::from_seed(&self.0.expand("owner-sign", &[]))
    }

    /// Returns the keys of the directory.
    pub fn directory_keys(&self) -> Keyring {
        let key = |label| self.0.expand(label, &[]);
        Keyring::new(
            key("directory-meta"),
            Some(key("directory-value")),
            None,
            key("directory-index"),
        )
    }

    /// Returns the key that seals the escrows of tokens (section 8).
    pub fn escrow_key(&self) -> Key {
        self.0.expand("escrow", &[])
    }

    /// Returns the key that seals checkpoints (section 7).
    pub fn checkpoint_key(&self) -> Key {
        self.0.expand("checkpoint", &[])
    }
}
