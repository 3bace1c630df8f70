//! A project's key ring, which opens that project's records and nothing else (docs/format.md,
//! section 3).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::CryptoError;
use super::aead::Key;
use super::fields::Fields;
use super::ids::{ProjectId, RecordId};
use super::output_digest::OutputKey;
use crate::model::{Class, SecretBytes};

/// The name of a sealed key ring in messages.
pub const KEYRING: &str = "a project's key ring";

const FIELD_METADATA: u8 = 1;
const FIELD_VALUES: u8 = 2;
const FIELD_RESTRICTED: u8 = 3;
const FIELD_INDEX: u8 = 4;

/// The keys of a project that somebody holds. Which ones they are decides what he can do.
pub struct Keyring {
    /// PMK: opens metadata, heads, policies and the audit log
    pub metadata: Key,
    /// PVK: opens the values of team secrets
    pub values: Option<Key>,
    /// PRK: opens the values of restricted secrets
    pub restricted: Option<Key>,
    /// TIK: keys the index of tags
    pub index: Key,
    /// The state of an HMAC under TIK, before its first byte; a list computes one index per record.
    /// It is boxed because a move would leave a copy.
    tag_index: Box<Hmac<Sha256>>,
    /// Fields of later versions, which are kept
    later: SecretBytes,
}

impl Keyring {
    /// Generates all keys of a new project.
    pub fn random() -> Result<Self, CryptoError> {
        let (values, restricted) = (Some(Key::random()?), Some(Key::random()?));
        Ok(Self::new(Key::random()?, values, restricted, Key::random()?))
    }

    /// Generates all keys of the project's next epoch. Fields of later versions stay.
    pub fn renewed(&self) -> Result<Self, CryptoError> {
        Ok(Self { later: SecretBytes::copy_of(self.later.expose()), ..Self::random()? })
    }

    /// Builds a key ring from its parts.
    pub fn new(metadata: Key, values: Option<Key>, restricted: Option<Key>, index: Key) -> Self {
        let tag_index = Box::new(keyed(&index));
        let later = SecretBytes::with_capacity(0);
        Self { metadata, values, restricted, index, tag_index, later }
    }

    /// Returns the plaintext that is sealed: the keys as fields.
    pub fn encode(&self) -> SecretBytes {
        let mut fields = Fields::with_capacity(256);
        let keys = [
            (FIELD_METADATA, Some(&self.metadata)),
            (FIELD_VALUES, self.values.as_ref()),
            (FIELD_RESTRICTED, self.restricted.as_ref()),
            (FIELD_INDEX, Some(&self.index)),
        ];

        for (kind, key) in keys {
            if let Some(key) = key {
                fields.add(kind, key.expose());
            }
        }

        fields.finish(self.later.expose())
    }

    /// Decodes the bytes of [`Keyring::encode`].
    pub fn decode(plain: &[u8]) -> Result<Self, CryptoError> {
        let fields = Fields::decode::<5>(plain, KEYRING)?;
        let key = |kind| fields.array(kind).map(Key::copy_of);
        let optional = |kind| match fields.bytes(kind) {
            None => Some(None),
            Some(_) => key(kind).map(Some),
        };

        let decoded = || {
            let (values, restricted) = (optional(FIELD_VALUES)?, optional(FIELD_RESTRICTED)?);
            let keyring = Self::new(key(FIELD_METADATA)?, values, restricted, key(FIELD_INDEX)?);
            let later = SecretBytes::copy_of(fields.later());
            Some(Self { later, ..keyring })
        };

        decoded().ok_or(CryptoError::Damaged(KEYRING))
    }

    /// Returns the keys that read a project without its values: PMK and TIK.
    #[must_use]
    pub fn without_values(&self) -> Self {
        let copy = |key: &Key| Key::copy_of(key.expose());
        Self::new(copy(&self.metadata), None, None, copy(&self.index))
    }

    /// Returns HK, which opens the project's heads.
    pub fn head_key(&self, pid: &ProjectId) -> Key {
        self.metadata.expand("head-key", pid)
    }

    /// Returns PK, which opens the project's policies.
    pub fn policy_key(&self, pid: &ProjectId) -> Key {
        self.metadata.expand("policy-key", pid)
    }

    /// Returns AK, which opens the project's audit log.
    pub fn audit_key(&self, pid: &ProjectId) -> Key {
        self.metadata.expand("audit-key", pid)
    }

    /// Returns MK, which opens the metadata of one record in all its versions.
    pub fn metadata_key(&self, pid: &ProjectId, rid: &RecordId) -> Key {
        self.metadata.expand("meta-key", &[&pid[..], rid].concat())
    }

    /// Returns VK, which opens the values of one record, if the key ring has it.
    pub fn value_key(
        &self,
        pid: &ProjectId,
        rid: &RecordId,
        class: Class,
        generation: u32,
    ) -> Option<Key> {
        let key = match class {
            Class::Team => &self.values,
            Class::Restricted => &self.restricted,
        };

        let context = [&pid[..], rid, &generation.to_be_bytes()].concat();
        key.as_ref().map(|key| key.expand("value-key", &context))
    }

    /// Returns the key for the digests of the project's rendered files. The vault does not store
    /// it.
    pub fn output_key(&self, pid: &ProjectId) -> OutputKey {
        OutputKey::new(self.metadata.expand("output", pid), *pid)
    }

    /// Returns the blind index of a tag's key, or in the directory of a project's name: their
    /// HMAC-SHA256, cut to 16 bytes. The first byte is the bucket.
    pub fn tag_ix(&self, key: &str) -> [u8; 16] {
        let mut mac = Hmac::clone(&self.tag_index);
        mac.update(key.as_bytes());
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut index = [0; 16];
        index.copy_from_slice(&full[..16]);
        index
    }
}

/// Returns an HMAC-SHA256 under `key`, before its first byte.
fn keyed(key: &Key) -> Hmac<Sha256> {
    // HMAC pads a key that is shorter than its block with zeros (RFC 2104, section 2). We do it
    // here, in memory that is wiped.
    let mut block = Zeroizing::new([0_u8; 64]);
    block[..32].copy_from_slice(key.expose());
    Hmac::new((&*block).into())
}
