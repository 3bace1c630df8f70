//! The key of a keychain slot: 256 random bits that the desktop's keychain holds for this machine (docs/format.md,
//! section 3).

use super::CryptoError;
use super::aead::Key;
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
}
