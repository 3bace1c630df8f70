//! A project's key ring, which opens that project's records and nothing else (docs/format.md,
//! section 3).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::CryptoError;
use super::aead::Key;
use super::ids::ProjectId;
use super::output_digest::OutputKey;
use crate::model::{ProjectName, SecretBytes, TagKey};

/// Key rings are padded to multiples of this many bytes.
pub(super) const KEYRING_STEP: usize = 256;
/// The name of a sealed key ring in messages.
pub const KEYRING: &str = "a project's key ring";

/// A project's opened keys.
pub struct Keyring {
    /// PMK: opens metadata and heads
    pub metadata: Key,
    /// PVK: opens values
    pub value: Key,
    /// PSK: the Ed25519 seed that signs heads
    pub signing: Key,
    /// The project's name
    pub name: ProjectName,
    /// The state of an HMAC under the tag index's key, before its first byte; a list computes one
    /// index per record. It is boxed because a move would leave a copy.
    tag_index: Box<Hmac<Sha256>>,
}

impl Keyring {
    /// Generates the keys of a new project.
    pub fn random(pid: &ProjectId, name: ProjectName) -> Result<Self, CryptoError> {
        Ok(Self::new(pid, Key::random()?, Key::random()?, Key::random()?, name))
    }

    /// Builds a key ring from its parts.
    pub fn new(
        pid: &ProjectId,
        metadata: Key,
        value: Key,
        signing: Key,
        name: ProjectName,
    ) -> Self {
        let tag_index = Box::new(keyed(&metadata.expand("tag-index", pid)));
        Self { metadata, value, signing, name, tag_index }
    }

    /// Returns a copy of the keys under another name.
    #[must_use]
    pub fn renamed(&self, pid: &ProjectId, name: ProjectName) -> Self {
        let copy = |key: &Key| Key::copy_of(key.expose());
        Self::new(pid, copy(&self.metadata), copy(&self.value), copy(&self.signing), name)
    }

    /// Returns the plaintext that is sealed: PMK‖PVK‖PSK‖name.
    pub fn encode(&self) -> SecretBytes {
        let mut plain = SecretBytes::with_capacity(KEYRING_STEP);
        for key in [&self.metadata, &self.value, &self.signing] {
            plain.extend(key.expose());
        }

        plain.extend(self.name.as_str().as_bytes());
        plain
    }

    /// Decodes the bytes of [`Keyring::encode`]. Invalid bytes give `None`.
    pub fn decode(pid: &ProjectId, plain: &[u8]) -> Option<Self> {
        let key = |at: usize| plain.get(at..at + 32)?.try_into().ok().map(Key::copy_of);
        let name = ProjectName::parse(std::str::from_utf8(plain.get(96..)?).ok()?).ok()?;
        Some(Self::new(pid, key(0)?, key(32)?, key(64)?, name))
    }

    /// Returns the key for the digests of the project's rendered files. The vault does not store
    /// it.
    pub fn output_key(&self, pid: &ProjectId) -> OutputKey {
        OutputKey::new(self.metadata.expand("output", pid), *pid)
    }

    /// Returns the blind index of a tag: HMAC-SHA256 of its key, cut to 16 bytes. The first byte is
    /// the bucket.
    pub fn tag_ix(&self, key: &TagKey) -> [u8; 16] {
        let mut mac = Hmac::clone(&self.tag_index);
        mac.update(key.as_str().as_bytes());
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut index = [0; 16];

        index.copy_from_slice(&full[..16]);
        index
    }
}

/// Returns an HMAC-SHA256 under `key`, before its first byte.
pub(super) fn keyed(key: &Key) -> Hmac<Sha256> {
    // HMAC pads a key that is shorter than its block with zeros (RFC 2104, section 2). We do it
    // here, in memory that is wiped.
    let mut block = Zeroizing::new([0_u8; 64]);
    block[..32].copy_from_slice(key.expose());
    Hmac::new((&*block).into())
}
