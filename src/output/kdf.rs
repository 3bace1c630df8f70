//! The cost of guessing a passphrase.

use std::fmt;

use secrets_core::crypto::kdf::KdfParams;
use serde::Serialize;

use crate::ui::counted;

/// The parameters of a key derivation. The memory is in MiB, as in the option.
#[derive(Serialize)]
pub(crate) struct KdfInfo {
    iterations: u32,
    memory: u32,
    parallelism: u32,
}

impl KdfInfo {
    pub(crate) fn of(params: KdfParams) -> Self {
        let KdfParams { memory, iterations, parallelism } = params;
        Self { iterations, memory: memory / 1024, parallelism }
    }
}

impl fmt::Display for KdfInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passes = if self.iterations == 1 { "pass" } else { "passes" };
        let lanes = counted(self.parallelism, "lane");
        write!(f, "{} MiB, {} {passes}, {lanes}", self.memory, self.iterations)
    }
}
