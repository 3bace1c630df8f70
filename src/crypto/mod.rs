//! All cryptography of the vault: docs/format.md in code, to be read in one sitting.
//!
//! No file, no database, no terminal. Plaintext goes in and sealed bytes come out, or the other way round.
//!
//! * `memory`, `random`: where Argon2id works and the root key lies; the system's generator
//! * `aead`: the one function that encrypts, and the one that derives keys
//! * `kdf`: passphrase to slot keys
//! * `slot`, `recovery`: the ways to the root key, by passphrase or by recovery code
//! * `keys`: the root key, project key rings
//! * `record`: metadata and values
//! * `integrity`: leaf, bucket, top, signed head
//! * `age_file`: files of another format, for `export` and `import`; nothing of the vault is made of it
//! * `lineage`, `anchor`: which of two states came first; what was last seen of a vault
//! * `output_digest`: keyed digests of rendered files; they are not part of a vault

pub mod aead;
pub mod age_file;
pub mod checkpoint;
pub mod integrity;
pub mod kdf;
pub mod keys;
pub mod lineage;
mod memory;
pub mod output_digest;
pub mod random;
pub mod record;
pub mod recovery;
pub mod slot;

pub(crate) use memory::with_freed_memory_wiped;

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The commitment does not match: not this passphrase
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The same for a recovery code
    #[error("wrong recovery code")]
    WrongRecoveryCode,
    /// There is no slot that a recovery code could open
    #[error("the vault has no recovery code")]
    NoRecoveryCode,
    /// A seal, a signature, a MAC or an encoding does not hold; the text says which
    #[error("{0} is damaged or was tampered with")]
    Damaged(&'static str),
    /// Of a suite, slot type or KDF bounds that this version does not open
    #[error("{0}")]
    Unsupported(&'static str),
    /// Argon2id's memory could not be had
    #[error("not enough memory: the key derivation needs {0} MiB")]
    Memory(u32),
    /// A page for the root key could not be had
    #[error("not enough memory for a key")]
    KeyMemory,
    /// The system's generator failed
    #[error("the system's random generator failed")]
    Random,
}
