//! All cryptography of the vault: docs/format.md in code, short enough to read in one sitting.
//!
//! Nothing here touches files, databases or terminals. Plaintext goes in and sealed bytes come out,
//! or the other way round. Each file imports only files above it in this list.
//!
//! * `memory`, `random`: pages for keys and for Argon2id; the system's random generator
//! * `ids`: identifiers and hashes that seals are bound to
//! * `aead`: the one function that encrypts, and the one that derives keys
//! * `signing`: Ed25519
//! * `key_file`: the second factor of a vault that needs one
//! * `kdf`, `recovery`, `keychain`: from a passphrase, a recovery code or a keychain's key to the keys of a slot
//! * `history`: which of two revisions came first, and whether they diverged
//! * `rows`: the rows of the vault's tables
//! * `padding`, `fields`: hide lengths; encode what later versions can add to
//! * `fingerprint`: finds equal values without keeping them
//! * `output_digest`: keyed digests of rendered files, which are not part of a vault
//! * `keyring`, `root_key`, `slot`: a project's keys, the root key above them, its key slots
//! * `record`, `project_entry`: metadata and values; what the directory holds about a project
//! * `policy`, `audit`: who may sign for a project; what was done to it
//! * `token`, `grant`: the word that opens a grant; what its holder may do, and the keys for it
//! * `tree`, `head`: leaf, bucket and root hash; the signed head
//! * `uses`: what was used and refused, outside of the vault
//! * `checkpoint`: what this machine last saw of a vault

pub mod aead;
pub mod audit;
pub mod checkpoint;
mod fields;
pub mod fingerprint;
pub mod grant;
pub mod head;
pub mod history;
pub mod ids;
pub mod kdf;
pub mod key_file;
pub mod keychain;
pub mod keyring;
mod memory;
pub mod near_file;
pub mod output_digest;
pub mod padding;
pub mod policy;
pub mod project_entry;
pub mod random;
pub mod record;
pub mod recovery;
pub mod root_key;
pub mod rows;
pub mod signing;
pub mod slot;
pub mod ticket;
pub mod token;
pub mod tree;
pub mod uses;
pub mod witness;

pub use memory::with_freed_memory_wiped;

/// The reason why something could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The commitment does not match the passphrase
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The commitment does not match the passphrase together with the key file
    #[error("wrong passphrase or key file")]
    WrongPassphraseOrKeyFile,
    /// The slot needs a key file
    #[error("the vault needs its key file as well as the passphrase")]
    KeyFileNeeded,
    /// The commitment does not match the recovery code
    #[error("wrong recovery code")]
    WrongRecoveryCode,
    /// No keychain slot's commitment matches the key
    #[error("the keychain's key does not open the vault")]
    WrongKeychainKey,
    /// The server has no slot for the ticket
    #[error("the ticket was used or withdrawn")]
    WrongTicket,
    /// The vault has no slot for a recovery code
    #[error("the vault has no recovery code")]
    NoRecoveryCode,
    /// A seal, signature, MAC or encoding is not valid; the text names what is damaged
    #[error("{0} is damaged or was tampered with")]
    Damaged(&'static str),
    /// A later version wrote something that this version would misunderstand; the text names it
    #[error("{0} was written by a newer version of `secrets`")]
    Newer(&'static str),
    /// The suite, the slot type or the KDF costs are not supported by this version
    #[error("{0}")]
    Unsupported(&'static str),
    /// The memory for Argon2id could not be allocated; the number is in MiB
    #[error("not enough memory: the key derivation needs {0} MiB")]
    Memory(u32),
    /// A page for the root key could not be allocated
    #[error("not enough memory for a key")]
    KeyMemory,
    /// The system's random generator failed
    #[error("the system's random generator failed")]
    Random,
    /// The vault cannot have another key slot
    #[error("the vault already has {max} key slots, the maximum", max = slot::MAX_SLOTS)]
    TooManySlots,
    /// A token has so many secrets that its grant or its escrow would be too long
    #[error("too many secrets for one token")]
    TooManySecrets,
    /// Only a bug in this program can cause this
    #[error("internal error: {0}")]
    Internal(&'static str),
}
