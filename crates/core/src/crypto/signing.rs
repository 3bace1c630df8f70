//! Ed25519 signatures (RFC 8032), verified strictly: no small-order keys, canonical encodings only.

use ed25519_dalek::{Signature as DalekSignature, Signer as _, SigningKey, VerifyingKey};

use super::aead::Key;

/// The length of a signature in bytes.
pub const SIGNATURE: usize = 64;

/// A key that signs. It is wiped on drop.
pub struct Signer(Box<SigningKey>);

impl Signer {
    /// Returns the key of a seed.
    pub fn from_seed(seed: &Key) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed.expose())))
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(message).to_bytes()
    }

    /// Returns the key that verifies the signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
}

/// A key that verifies signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes 32 bytes. Bytes that are no key verify nothing.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns true if the signature of the message is valid.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verify = || {
            let key = VerifyingKey::from_bytes(&self.0).ok()?;
            let signature = DalekSignature::from_slice(signature).ok()?;
            key.verify_strict(message, &signature).ok()
        };

        verify().is_some()
    }
}
