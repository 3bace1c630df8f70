//! The options that set the cost of guessing a passphrase.

use secrets_core::crypto::kdf::KdfParams;

use crate::error::Error;

/// The parameters of the key derivation. Options that are not given keep the current value.
#[derive(clap::Args)]
#[allow(clippy::struct_field_names)] // the fields have the names of the options
pub(crate) struct KdfOptions {
    /// Set the memory of the key derivation in MiB, 19 to 2048
    #[arg(long, value_name = "MIB")]
    kdf_memory: Option<u32>,
    /// Set the passes of the key derivation, 1 to 64
    #[arg(long, value_name = "N")]
    kdf_iterations: Option<u32>,
    /// Set the lanes of the key derivation, 1 to 16
    #[arg(long, value_name = "N")]
    kdf_parallelism: Option<u32>,
}

impl KdfOptions {
    /// Returns true if at least one of the options was given.
    pub(crate) fn are_given(&self) -> bool {
        self.kdf_memory.or(self.kdf_iterations).or(self.kdf_parallelism).is_some()
    }

    /// Returns `base` with the given options applied.
    pub(crate) fn over(&self, base: KdfParams) -> Result<KdfParams, Error> {
        let params = KdfParams {
            memory: self.kdf_memory.map_or(base.memory, |mebibytes| mebibytes.saturating_mul(1024)),
            iterations: self.kdf_iterations.unwrap_or(base.iterations),
            parallelism: self.kdf_parallelism.unwrap_or(base.parallelism),
        };

        params
            .check()
            .map_err(|why| Error::usage(why.to_string()).hint("remove the `--kdf` options"))
    }
}
