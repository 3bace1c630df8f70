//! Derives the keys of a slot from a passphrase: Argon2id, then HKDF (docs/format.md, section 3).
//!
//! A vault's parameters are hostile until checked. If they are out of bounds, nothing is allocated
//! and nothing is computed.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use super::CryptoError;
use super::aead::Key;
use super::key_file::KeyFile;
use super::memory::Arena;
use crate::machine;
use crate::model::{Invalid, SecretBytes};

/// The costs of Argon2id (RFC 9106, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB
    pub memory: u32,
    /// Passes over the memory
    pub iterations: u32,
    /// Lanes
    pub parallelism: u32,
}

impl KdfParams {
    /// The default: t=3, p=4, m=256 MiB.
    pub const DEFAULT: Self = Self { memory: 256 * 1024, iterations: 3, parallelism: 4 };
    /// The default if memory is short, and the default of version 0.1.0: the second recommended
    /// option of RFC 9106, section 4, with m=64 MiB.
    pub const SMALL: Self = Self { memory: 64 * 1024, ..Self::DEFAULT };
    /// The lowest costs that a vault may ask for.
    pub const LEAST: Self = Self { memory: 19 * 1024, iterations: 1, parallelism: 1 };

    /// Checks the format's bounds: 19 MiB ≤ m ≤ 2 GiB, 1 ≤ t ≤ 64, 1 ≤ p ≤ 16, m·t ≤ 2^23 KiB.
    pub fn check(self) -> Result<Self, CryptoError> {
        let Self { memory, iterations, parallelism } = self;
        if !(Self::LEAST.memory..=2 * 1024 * 1024).contains(&memory) {
            Err(CryptoError::Unsupported("the key derivation's memory is outside 19 MiB to 2 GiB"))
        } else if !(1..=64).contains(&iterations) {
            Err(CryptoError::Unsupported("the key derivation's iterations are outside 1 to 64"))
        } else if !(1..=16).contains(&parallelism) {
            Err(CryptoError::Unsupported("the key derivation's parallelism is outside 1 to 16"))
        } else if self.cost() > 1 << 23 {
            Err(CryptoError::Unsupported(
                "the key derivation's memory times iterations is over 8 GiB",
            ))
        } else {
            Ok(self)
        }
    }

    /// Returns the default for a machine with `memory` bytes: [`Self::DEFAULT`] if it takes at most
    /// a quarter of them, otherwise [`Self::SMALL`].
    pub fn default_for(memory: Option<u64>) -> Self {
        let quarter = memory.unwrap_or(0) / 4;
        if u64::from(Self::DEFAULT.memory) * 1024 <= quarter { Self::DEFAULT } else { Self::SMALL }
    }

    /// Returns the number of bytes that one guess moves through memory. Each block of 1 KiB is
    /// computed from two others and written once.
    pub fn bytes_per_guess(self) -> u64 {
        3 * 1024 * self.cost()
    }

    /// Returns the cost of one guess as a single number: memory in KiB times passes.
    pub fn cost(self) -> u64 {
        u64::from(self.memory) * u64::from(self.iterations)
    }

    /// Returns `m ‖ t ‖ p`, each as a big-endian u32.
    pub fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (place, number) in
            bytes.chunks_exact_mut(4).zip([self.memory, self.iterations, self.parallelism])
        {
            place.copy_from_slice(&number.to_be_bytes());
        }

        bytes
    }

    /// Decodes the bytes of [`KdfParams::encode`] and checks their bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, CryptoError> {
        let number = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        match (number(0), number(4), number(8)) {
            (Some(memory), Some(iterations), Some(parallelism)) if bytes.len() == 12 => {
                Self { memory, iterations, parallelism }.check()
            }
            _ => Err(CryptoError::Unsupported("the key derivation's parameters are not 12 bytes")),
        }
    }
}

/// A passphrase in NFC, so that the keys do not depend on how a keyboard composes an `é`.
pub struct Passphrase {
    text: SecretBytes,
    key_file: Option<Arc<KeyFile>>,
}

impl Passphrase {
    /// The largest size in bytes, after normalisation.
    pub const MAX: usize = 1024;

    /// Accepts UTF-8 of 1 to 1,024 bytes.
    pub fn new(bytes: &SecretBytes) -> Result<Self, Invalid> {
        let text =
            std::str::from_utf8(bytes.expose()).map_err(|_| Invalid("it is not UTF-8".into()))?;
        if text.is_empty() {
            return Err(Invalid("it is empty".into()));
        }

        if text.len() > 4 * Self::MAX {
            return Err(Invalid("it is longer than 1,024 bytes".into()));
        }

        if text.is_ascii() {
            // ASCII is already in NFC, and the iterator's own buffers would not be wiped.
            return match text.len() {
                0..=Self::MAX => Ok(Self::of(SecretBytes::copy_of(text.as_bytes()))),
                _ => Err(Invalid("it is longer than 1,024 bytes".into())),
            };
        }

        // NFC makes UTF-8 at most three times as long, so the buffer is never reallocated.
        let mut normal = SecretBytes::with_capacity(3 * text.len());
        let mut utf8 = [0; 4];
        text.nfc().for_each(|c| normal.extend(c.encode_utf8(&mut utf8).as_bytes()));
        utf8.zeroize();
        if normal.len() > Self::MAX {
            return Err(Invalid("it is longer than 1,024 bytes".into()));
        }

        Ok(Self::of(normal))
    }

    fn of(text: SecretBytes) -> Self {
        Self { text, key_file: None }
    }

    /// Adds the key file, for slots that need it.
    #[must_use]
    pub fn with_key_file(self, key_file: Option<Arc<KeyFile>>) -> Self {
        Self { key_file, ..self }
    }

    /// Returns true if the passphrase comes with a key file.
    pub fn has_key_file(&self) -> bool {
        self.key_file.is_some()
    }

    /// Returns the normalised bytes, for judging the passphrase's strength.
    pub fn expose(&self) -> &[u8] {
        self.text.expose()
    }

    /// Derives the keys of one slot at the cost of `params`: by default 256 MiB and three passes. With
    /// `is_keyed`, the key file is Argon2id's secret value (RFC 9106, section 3.1).
    ///
    /// # Errors
    /// There is no key file, or less memory is free: taking it anyway could make the system kill a process.
    pub fn derive(
        &self,
        is_keyed: bool,
        params: KdfParams,
        salt: &[u8; 16],
        vault_id: &[u8; 16],
        slot_id: &[u8; 16],
    ) -> Result<SlotKeys, CryptoError> {
        let params = params.check()?;
        let no_memory = || CryptoError::Memory(params.memory / 1024);
        if !machine::has_free(u64::from(params.memory) * 1024) {
            return Err(no_memory());
        }

        let costs = Params::new(params.memory, params.iterations, params.parallelism, Some(32))
            .map_err(|_| {
                CryptoError::Unsupported("the key derivation's costs are not supported")
            })?;
        let mut arena = Arena::new(costs.block_count()).ok_or_else(no_memory)?;
        let mut derived = Zeroizing::new([0_u8; 32]);
        let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
        let argon2 = match (&self.key_file, is_keyed) {
            (_, false) => Argon2::new(algorithm, version, costs),
            (Some(key), true) => Argon2::new_with_secret(key.expose(), algorithm, version, costs)
                .map_err(|_| CryptoError::KeyFileNeeded)?,
            (None, true) => return Err(CryptoError::KeyFileNeeded),
        };
        let blocks: &mut [Block] = arena.as_mut();
        let hash = || {
            argon2.hash_password_into_with_memory(self.text.expose(), salt, &mut *derived, blocks)
        };

        on_threads(params.parallelism, hash).map_err(|_| no_memory())?;
        Ok(SlotKeys::expand(&derived, vault_id, slot_id))
    }
}

/// Runs `work`, which takes its lanes from rayon, on as many threads as there are lanes. If the
/// system allows no more threads (`ulimit -u`, a container's `pids.max`), this thread computes one
/// lane after the other.
fn on_threads<T: Send>(lanes: u32, work: impl FnOnce() -> T + Send) -> T {
    let lanes = usize::try_from(lanes).unwrap_or(1);
    if let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(lanes).build() {
        return pool.install(work);
    }

    // This thread stays in its pool of one. Building the pool a second time fails, but by then the
    // thread already is in one.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    let outcome = work();
    drop(pool);
    outcome
}

/// The keys that a passphrase or a recovery code gives for one slot.
pub struct SlotKeys {
    /// The key that opens the slot's copy of the root key
    pub kek: Key,
    /// The commitment stored in the slot, which identifies a wrong passphrase before anything is
    /// opened
    pub commitment: [u8; 32],
}

impl SlotKeys {
    /// Derives the keys from 32 bytes that nobody can guess (HKDF, RFC 5869).
    pub(super) fn expand(uniform: &[u8; 32], vault_id: &[u8; 16], slot_id: &[u8; 16]) -> Self {
        let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(vault_id), uniform);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        bytes.copy_from_slice(&extracted);
        extracted.as_mut_slice().zeroize();

        let prk = Key::copy_of(&bytes);
        Self {
            kek: prk.expand("slot-kek", slot_id),
            commitment: *prk.expand("slot-commit", slot_id).expose(),
        }
    }

    /// Compares with a stored commitment in constant time.
    pub fn commits_to(&self, stored: &[u8]) -> bool {
        self.commitment.ct_eq(stored).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Result<Passphrase, Invalid> {
        Passphrase::new(&SecretBytes::copy_of(text.as_bytes()))
    }

    #[test]
    fn bounds_match_the_format() {
        let params = |memory, iterations, parallelism| {
            KdfParams { memory, iterations, parallelism }.check().is_ok()
        };

        assert!(
            params(19 * 1024, 1, 1) && params(2 * 1024 * 1024, 4, 16) && params(128 * 1024, 64, 1)
        );

        for (m, t, p) in
            [(19 * 1024 - 1, 1, 1), (2 * 1024 * 1024 + 1, 1, 1), (65536, 0, 1), (19456, 65, 1)]
        {
            assert!(!params(m, t, p));
        }

        assert!(!params(65536, 1, 0) && !params(65536, 1, 17) && !params(2 * 1024 * 1024, 5, 1));
        assert!(!params(u32::MAX, u32::MAX, u32::MAX));
        assert_eq!(KdfParams::decode(&KdfParams::DEFAULT.encode()), Ok(KdfParams::DEFAULT));
        assert!(KdfParams::decode(&[0; 11]).is_err() && KdfParams::decode(&[0; 13]).is_err());
    }

    #[test]
    fn a_passphrase_is_normalised_and_bounded() {
        let composed = passphrase("caf\u{e9}").unwrap();
        let decomposed = passphrase("cafe\u{301}").unwrap();
        assert_eq!(composed.text.expose(), decomposed.text.expose());
        assert!(passphrase("").is_err() && passphrase(&"x".repeat(1025)).is_err());
        assert!(passphrase(&"x".repeat(1024)).is_ok());
        assert!(Passphrase::new(&SecretBytes::copy_of(&[0xff])).is_err());

        // This is the worst growth in NFC: one character of 4 bytes becomes three of 4 bytes.
        assert!(passphrase(&"\u{1d160}".repeat(85)).unwrap().text.len() <= 1024);
    }

    #[test]
    fn the_default_takes_at_most_a_quarter_of_the_memory() {
        let gib = 1024 * 1024 * 1024;
        assert_eq!(KdfParams::default_for(Some(gib)), KdfParams::DEFAULT);
        assert_eq!(KdfParams::default_for(Some(gib - 1)), KdfParams::SMALL);
        assert_eq!(KdfParams::default_for(None), KdfParams::SMALL);
        assert_eq!((KdfParams::DEFAULT.memory, KdfParams::SMALL.memory), (256 * 1024, 64 * 1024));
        assert_eq!(KdfParams::DEFAULT.bytes_per_guess(), 3 * 3 * 256 * 1024 * 1024);
    }
}
