//! A project's key ring: it opens that project's records and nothing else (docs/format.md, section 3).

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
/// A sealed key ring, as messages name it.
pub const KEYRING: &str = "a project's key ring";

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

/// An HMAC-SHA256 under `key`, ready for its first byte.
pub(super) fn keyed(key: &Key) -> Hmac<Sha256> {
    // A key shorter than the block is padded with zeros (RFC 2104, section 2); so is this one, by us.
    let mut block = Zeroizing::new([0_u8; 64]);
    block[..32].copy_from_slice(key.expose());
    Hmac::new((&*block).into())
}
