//! A vault that was created, copied or changed.

use serde::Serialize;

use super::KdfInfo;

#[derive(Serialize)]
pub(crate) struct VaultPath {
    pub(crate) vault: String,
}

/// A vault and its number of secrets.
#[derive(Serialize)]
pub(crate) struct VaultContent {
    pub(crate) secrets: u64,
    pub(crate) vault: String,
}

/// A vault and the cost of guessing its passphrase.
#[derive(Serialize)]
pub(crate) struct VaultWithKdf {
    pub(crate) kdf: KdfInfo,
    pub(crate) vault: String,
}

/// The numbers of re-encrypted projects and secrets.
#[derive(Serialize)]
pub(crate) struct Rekeyed {
    pub(crate) projects: u64,
    pub(crate) secrets: u64,
    /// The names of the tokens that were removed
    pub(crate) tokens: Vec<String>,
}

/// The file of an export, and the numbers of projects and secrets in it.
#[derive(Serialize)]
pub(crate) struct Exported {
    pub(crate) file: String,
    pub(crate) projects: usize,
    pub(crate) secrets: usize,
}
