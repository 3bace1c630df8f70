//! `secrets init`: makes the vault.

use std::path::Path;

use serde_json::json;

use super::project_file;
use crate::context::Context;
use crate::crypto::kdf::{KdfParams, Passphrase};
use crate::error::Error;
use crate::store::StoreError;
use crate::vault::Vault;

const EXAMPLES: &str = "\
Examples:
  secrets init
  secrets init --vault work.db --kdf-memory 256
  secrets init --project-file                   a first .secrets.toml; no vault is needed
  secrets init --passphrase-file ~/.config/vault-passphrase     for cron; mode 600";

/// Make the vault
///
/// Asks for a passphrase twice. It is the only way in: there is no recovery without it. The options set what a guess at
/// it costs; the defaults are RFC 9106's second recommended choice.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::struct_field_names)] // named as the options are
pub(crate) struct InitArgs {
    /// Memory of the key derivation in MiB, 19 to 2048
    #[arg(long, value_name = "MIB", default_value_t = KdfParams::DEFAULT.memory / 1024)]
    kdf_memory: u32,
    /// Passes of the key derivation, 1 to 64
    #[arg(long, value_name = "N", default_value_t = KdfParams::DEFAULT.iterations)]
    kdf_iterations: u32,
    /// Lanes of the key derivation, 1 to 16
    #[arg(long, value_name = "N", default_value_t = KdfParams::DEFAULT.parallelism)]
    kdf_parallelism: u32,
    /// Make no vault but a first .secrets.toml here, from the placeholders in the tree
    #[arg(long, conflicts_with_all = ["kdf_memory", "kdf_iterations", "kdf_parallelism"])]
    project_file: bool,
}

pub(crate) fn run(args: &InitArgs, cx: &Context) -> Result<(), Error> {
    if args.project_file {
        return project_file::write(cx);
    }
    let params = KdfParams {
        memory: args.kdf_memory.saturating_mul(1024),
        iterations: args.kdf_iterations,
        parallelism: args.kdf_parallelism,
    };
    let params = params.check().map_err(|why| Error::usage(why.to_string()).hint("leave out the `--kdf` options"))?;
    let path = cx.vault_path()?;
    let vault = make(cx, &path, params)?;
    cx.adopt(vault);
    if cx.ui.is_json() {
        let path = std::path::absolute(&path).unwrap_or(path);
        cx.ui.json(&json!({ "vault": path.display().to_string() }))?;
    }
    Ok(())
}

/// Makes a vault with a new passphrase; also for `create`, which offers it.
pub(super) fn make(cx: &Context, path: &Path, params: KdfParams) -> Result<Vault, Error> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(StoreError::Exists(path.to_owned()).into());
    }
    let passphrase: Passphrase = cx.new_passphrase()?;
    let vault = Vault::init(path, &passphrase, params)?;
    if passphrase.is_weak() {
        cx.ui.warn("that is a weak passphrase, and all that protects a stolen file; a few random words are better");
    }
    if params.cost() < KdfParams::DEFAULT.cost() {
        cx.ui.warn("these key derivation parameters make guessing cheaper than the default ones");
    }
    cx.ui.status(&format!("made the vault `{}`", path.display()));
    Ok(vault)
}
