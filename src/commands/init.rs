//! `secrets init`: makes the vault.

use std::path::Path;

use serde_json::json;

use super::kdf_options::KdfOptions;
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
  secrets init --project-file      a first .secrets.toml; needs no vault
  secrets init --passphrase-file ~/.config/vault-passphrase";

/// Make the vault
///
/// Asks for a passphrase twice. It is the only way in, until `secrets recovery create` makes another. The --kdf options set what
/// a guess at it costs; without them it is RFC 9106's second recommended choice: 64 MiB, 3 passes, 4 lanes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    kdf: KdfOptions,
    /// Make no vault but a first .secrets.toml here, from the placeholders in the tree
    #[arg(long, conflicts_with_all = ["kdf_memory", "kdf_iterations", "kdf_parallelism"])]
    project_file: bool,
}

pub(crate) fn run(args: &InitArgs, cx: &Context) -> Result<(), Error> {
    if args.project_file {
        return project_file::write(cx);
    }
    let params = args.kdf.over(KdfParams::DEFAULT)?;
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
    if params.cost() < KdfParams::DEFAULT.cost() {
        cx.ui.warn("these key derivation parameters make guessing cheaper than the default ones");
    }
    cx.ui.status(&format!("made the vault `{}`", path.display()));
    let code = cx.again("recovery create");
    cx.ui.status(&format!("a forgotten passphrase cannot be reset; {code} prints a code for the safe"));
    Ok(vault)
}
