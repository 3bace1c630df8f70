//! The one function that encrypts and the one that derives keys (docs/format.md, section 2).
//!
//! Nothing else in the program calls AES or HKDF. Every encryption derives its own key and nonce
//! from a fresh 24-byte salt, so GCM's limits on messages per key are never reached.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::ids::SUITE;
use super::memory::KeyPage;
use super::{CryptoError, random};
use crate::model::{SecretBytes, overwrite_stack};

/// The number of bytes of a seal's salt.
pub const SALT: usize = 24;
const TAG: usize = 16;
const MESSAGE_KEY: usize = 32 + 12;

/// The number of bytes that a seal adds to its plaintext: 24 of salt and 16 of tag.
pub const OVERHEAD: usize = SALT + TAG;

/// A key of 32 uniform bytes. It is wiped on drop and never printed. It is boxed because a move
/// would leave a copy on the stack.
pub struct Key(Box<[u8; 32]>);

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Key {
    /// Generates a random key.
    pub fn random() -> Result<Self, CryptoError> {
        let mut key = Self::empty();
        random::fill(&mut *key.0)?;
        Ok(key)
    }

    /// Copies a key from an opened seal.
    pub fn copy_of(bytes: &[u8; 32]) -> Self {
        let mut key = Self::empty();
        key.0.copy_from_slice(bytes);
        key
    }

    fn empty() -> Self {
        Self(Box::new([0; 32]))
    }

    /// Derives another key: `EXP(K, label, ctx)`.
    #[must_use]
    pub fn expand(&self, label: &str, context: &[u8]) -> Self {
        expand(&self.0, label, context)
    }

    /// Derives a key that belongs to one vault: HKDF-Extract (RFC 5869, section 2.2) with the vault's id
    /// as the salt.
    #[must_use]
    pub fn extract(&self, vault_id: &[u8; 16]) -> Self {
        let extracted = hkdf_extract(vault_id, &self.0);

        // The library copies the key onto the stack.
        overwrite_stack::<4096>();
        extracted
    }

    /// Returns the bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives the key of one seal under this label: its 24-byte salt gives `k ‖ nonce`.
    pub fn message_key(&self, label: &str, salt: &[u8; SALT]) -> MessageKey {
        let mut derived = Box::new([0_u8; MESSAGE_KEY]);
        expand_into(&self.0, "aead", &[label.as_bytes(), &[0], salt], &mut *derived);
        MessageKey { salt: *salt, derived }
    }

    /// Encrypts under AES-256-GCM (NIST SP 800-38D): `SEAL(K, label, ctx, pt)`. The result has
    /// `plaintext.len()` plus [`OVERHEAD`] bytes.
    pub fn seal(
        &self,
        label: &str,
        vault_id: &[u8; 16],
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.seal_with_salt(random::array::<SALT>()?, label, vault_id, context, plaintext)
    }

    /// Does what [`Key::seal`] does, with a salt that the caller chooses. It exists for
    /// known-answer vectors only: a salt must never be used twice.
    #[doc(hidden)]
    pub fn seal_with_salt(
        &self,
        salt: [u8; SALT],
        label: &str,
        vault_id: &[u8; 16],
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.message_key(label, &salt).seal(label, vault_id, context, plaintext)
    }

    /// Opens the result of [`Key::seal`] for the same label, vault and context. `what` names it in
    /// the error.
    pub fn open(
        &self,
        label: &str,
        vault_id: &[u8; 16],
        context: &[u8],
        sealed: &[u8],
        what: &'static str,
    ) -> Result<SecretBytes, CryptoError> {
        let salt = salt_of(sealed).ok_or(CryptoError::Damaged(what))?;
        self.message_key(label, &salt).open(label, vault_id, context, sealed, what)
    }
}

/// Returns the salt that a seal begins with.
pub fn salt_of(sealed: &[u8]) -> Option<[u8; SALT]> {
    sealed.first_chunk().copied()
}

/// The key and the nonce of one seal, which open this seal and no other. It is wiped on drop.
pub struct MessageKey {
    salt: [u8; SALT],
    derived: Box<[u8; MESSAGE_KEY]>,
}

impl Drop for MessageKey {
    fn drop(&mut self) {
        self.derived.zeroize();
    }
}

impl MessageKey {
    /// The number of bytes of key and nonce: 44.
    pub const SIZE: usize = MESSAGE_KEY;

    /// Copies `k ‖ nonce`, as an agent sends them, for the seal with this salt.
    pub fn copy_of(salt: [u8; SALT], derived: &[u8; MESSAGE_KEY]) -> Self {
        let mut copy = Box::new([0; MESSAGE_KEY]);
        copy.copy_from_slice(derived);
        Self { salt, derived: copy }
    }

    /// Returns the salt of the seal.
    pub fn salt(&self) -> &[u8; SALT] {
        &self.salt
    }

    /// Returns `k ‖ nonce`.
    pub fn expose(&self) -> &[u8; MESSAGE_KEY] {
        &self.derived
    }

    fn cipher(&self) -> (Aes256Gcm, Nonce<aes_gcm::aead::consts::U12>) {
        let mut key = Zeroizing::new([0_u8; 32]);
        key.copy_from_slice(&self.derived[..32]);
        let mut nonce = [0_u8; 12];
        nonce.copy_from_slice(&self.derived[32..]);
        (Aes256Gcm::new((&*key).into()), nonce.into())
    }

    /// Encrypts one plaintext. The key is used up, because a nonce must never be used twice.
    pub fn seal(
        self,
        label: &str,
        vault_id: &[u8; 16],
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        // The plaintext is encrypted in its final place. A buffer that grows would leave plaintext
        // behind.
        let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
        sealed.extend_from_slice(&self.salt);
        sealed.extend_from_slice(plaintext);

        let (cipher, nonce) = self.cipher();
        let tag = cipher
            .encrypt_inout_detached(
                &nonce,
                &associated_data(label, vault_id, context),
                (&mut sealed[SALT..]).into(),
            )
            .map_err(|_| CryptoError::Internal("the text is too long to be sealed"))?;

        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens the seal of this key, see [`Key::open`].
    pub fn open(
        &self,
        label: &str,
        vault_id: &[u8; 16],
        context: &[u8],
        sealed: &[u8],
        what: &'static str,
    ) -> Result<SecretBytes, CryptoError> {
        let damaged = CryptoError::Damaged(what);
        let Some(length) = sealed.len().checked_sub(OVERHEAD) else {
            return Err(damaged);
        };

        let (salt, rest) = sealed.split_at(SALT);
        let (ciphertext, tag) = rest.split_at(length);
        let Some(tag) = <[u8; TAG]>::try_from(tag).ok().filter(|_| salt == self.salt) else {
            return Err(damaged);
        };

        let mut plaintext = SecretBytes::copy_of(ciphertext);
        let (cipher, nonce) = self.cipher();
        cipher
            .decrypt_inout_detached(
                &nonce,
                &associated_data(label, vault_id, context),
                plaintext.expose_mut().into(),
                &Tag::from(tag),
            )
            .map_err(|_| damaged)?;

        Ok(plaintext)
    }
}

/// A long-lived key on a page of its own, which is locked in memory, excluded from core dumps and
/// not inherited by forks. It is wiped on drop. It only derives other keys.
pub struct LockedKey(KeyPage);

impl LockedKey {
    /// Generates a random key.
    pub fn random() -> Result<Self, CryptoError> {
        Self::filled(random::fill)
    }

    /// Copies 32 bytes. The caller remains responsible for wiping the source.
    pub fn copy_of(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        Self::filled(|page| {
            page.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn filled(
        fill: impl FnOnce(&mut [u8]) -> Result<(), CryptoError>,
    ) -> Result<Self, CryptoError> {
        let mut page = KeyPage::new().ok_or(CryptoError::KeyMemory)?;
        fill(page.expose_mut())?;
        Ok(Self(page))
    }

    /// Derives another key: `EXP(K, label, ctx)`, see [`Key::expand`].
    #[must_use]
    pub fn expand(&self, label: &str, context: &[u8]) -> Key {
        expand(self.0.expose(), label, context)
    }

    /// Returns the bytes.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Returns false if the system refused to keep the key out of swap.
    pub fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

fn expand(key: &[u8; 32], label: &str, context: &[u8]) -> Key {
    let mut expanded = Key::empty();
    expand_into(key, label, &[context], &mut *expanded.0);
    expanded
}

fn expand_into(key: &[u8; 32], label: &str, context: &[&[u8]], out: &mut [u8]) {
    hkdf_expand(key, label, context, out);

    // The library copies the key onto the stack.
    overwrite_stack::<4096>();
}

// HKDF-Expand (RFC 5869, section 2.3) with the info `"secrets/v3/" ‖ label ‖ 0 ‖ ctx`. It is not
// inlined, so that its stack frame can be overwritten.
#[inline(never)]
fn hkdf_expand(key: &[u8; 32], label: &str, context: &[&[u8]], out: &mut [u8]) {
    let mut info = Vec::with_capacity(64);
    info.extend_from_slice(b"secrets/v3/");
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    info.extend(context.iter().copied().flatten());

    let expander = Hkdf::<Sha256>::from_prk(key).ok();
    let done = expander.and_then(|hkdf| hkdf.expand(&info, out).ok());

    // This cannot fail. If it did, `out` would be a key of zeros.
    assert!(done.is_some(), "a 32-byte key expands to 44 bytes at most");
}

// It is not inlined, so that its stack frame can be overwritten.
#[inline(never)]
fn hkdf_extract(salt: &[u8; 16], key: &[u8; 32]) -> Key {
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), key);
    let mut extracted = Key::empty();
    extracted.0.copy_from_slice(&prk);
    prk.zeroize();
    extracted
}

// AAD(label, ctx) = "secrets/v3" ‖ 0 ‖ suite(u32) ‖ label ‖ 0 ‖ vault_id ‖ ctx
fn associated_data(label: &str, vault_id: &[u8; 16], context: &[u8]) -> Vec<u8> {
    [b"secrets/v3\0", &SUITE.to_be_bytes()[..], label.as_bytes(), &[0], vault_id, context].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_open_only_under_the_same_names() {
        let (key, vault) = (Key::random().unwrap(), [7; 16]);
        let sealed = key.seal("value", &vault, b"ctx", b"plaintext").unwrap();
        assert_eq!(sealed.len(), 9 + OVERHEAD);
        let open = |label: &str, vault: &[u8; 16], context: &[u8], sealed: &[u8]| {
            key.open(label, vault, context, sealed, "it").map(|bytes| bytes.expose().to_vec())
        };

        assert_eq!(open("value", &vault, b"ctx", &sealed).unwrap(), b"plaintext");
        assert!(open("meta", &vault, b"ctx", &sealed).is_err());
        assert!(open("value", &[8; 16], b"ctx", &sealed).is_err());
        assert!(open("value", &vault, b"ctz", &sealed).is_err());
        for cut in 0..sealed.len() {
            assert!(open("value", &vault, b"ctx", &sealed[..cut]).is_err());
        }

        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open("value", &vault, b"ctx", &flipped).is_err());
        }
    }
}
