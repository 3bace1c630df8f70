//! Keyed fingerprints of values, to find equal ones without keeping them. The key is drawn at random and
//! never stored, so a fingerprint means nothing to another process.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{CryptoError, random};

/// A key for fingerprints.
pub struct FingerprintKey(Zeroizing<[u8; 64]>);

impl FingerprintKey {
    /// Draws a key of 64 bytes, the block of SHA-256 (RFC 2104, section 3).
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn new() -> Result<Self, CryptoError> {
        let mut key = Zeroizing::new([0; 64]);
        random::fill(&mut *key)?;
        Ok(Self(key))
    }

    /// Returns HMAC-SHA256 of a value, 32 bytes.
    pub fn of(&self, value: &[u8]) -> [u8; 32] {
        let mut mac: Hmac<Sha256> = Hmac::new((&*self.0).into());
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_fingerprints_under_one_key() {
        let [one, other] = [FingerprintKey::new().unwrap(), FingerprintKey::new().unwrap()];
        assert_eq!(one.of(b"a"), one.of(b"a"));
        assert_ne!(one.of(b"a"), one.of(b"b"));
        assert_ne!(one.of(b"a"), other.of(b"a"));
    }
}
