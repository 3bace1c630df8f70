//! The key of a keychain slot: 256 random bits that the desktop's keychain holds for this machine (docs/format.md,
//! section 3).
//!
//! It needs no expensive key derivation, because nobody can guess 256 bits.

use super::CryptoError;
use super::aead::Key;
use super::ids::VaultId;
use super::kdf::SlotKeys;
use crate::model::SecretBytes;

/// The key of a keychain slot. It is wiped on drop.
pub struct KeychainKey(Key);

impl KeychainKey {
    /// Draws a random key.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn random() -> Result<Self, CryptoError> {
        Key::random().map(Self)
    }

    /// Takes 32 bytes that a keychain returned. Returns `None` for another length.
    pub fn from_bytes(bytes: &SecretBytes) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.expose().try_into().ok()?;
        Some(Self(Key::copy_of(bytes)))
    }

    /// Returns the 32 bytes for the keychain.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Derives the keys of its slot.
    pub(super) fn derive(&self, vault_id: &VaultId, slot_id: &[u8; 16]) -> SlotKeys {
        SlotKeys::expand(self.0.expose(), vault_id, slot_id)
    }
}
