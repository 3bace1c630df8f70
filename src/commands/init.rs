//! `secrets init`: makes the vault.

use std::path::Path;

use serde_json::json;

use super::kdf_options::KdfOptions;
use super::project_file;
use crate::context::{Context, NoticeSubject};
use crate::crypto::kdf::{KdfParams, Passphrase};
use crate::error::Error;
use crate::store::{self, StoreError};
use crate::vault::Vault;

const EXAMPLES: &str = "\
Examples:
  secrets init
  secrets init --suggest                     offers six random words
  secrets init --vault work.db --kdf-memory 512
  secrets init --project-file      a first .secrets.toml; needs no vault
  secrets init --passphrase-file ~/.config/vault-passphrase";

/// Make the vault
///
/// Asks for a passphrase twice. It is the only way in, until `secrets recovery create` makes another. The --kdf options set what
/// a guess at it costs: by default 256 MiB of memory, 3 passes and 4 lanes, or 64 MiB on a machine or in a container with less than
/// 1 GiB. The same memory is needed to unlock the vault.
///
/// How long guessing takes is an estimate: the number of guesses is zxcvbn's, and one graphics card is taken to move 1 TB a second
/// through its memory. An attacker may have many.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    kdf: KdfOptions,
    /// Offer six random words as the passphrase
    #[arg(long, conflicts_with = "project_file")]
    suggest: bool,
    /// Make no vault but a first .secrets.toml here, from the placeholders in the tree
    #[arg(long, conflicts_with_all = ["kdf_memory", "kdf_iterations", "kdf_parallelism"])]
    project_file: bool,
}

pub(crate) fn run(args: &InitArgs, cx: &Context) -> Result<(), Error> {
    if args.project_file {
        return project_file::write(cx);
    }

    let params = args.kdf.over(Context::default_kdf())?;
    let path = cx.vault_path()?;
    let vault = make(cx, &path, params, args.suggest)?;
    if args.kdf.are_given() {
        // The vault is as it should be, whether that can be remembered or not.
        let _ = vault.id().map(|id| cx.settle(NoticeSubject::Kdf, &id));
    }

    cx.adopt(vault);
    next(cx, &format!("{} stores a secret", cx.again("create TAG")));
    if cx.ui.is_json() {
        let path = std::path::absolute(&path).unwrap_or(path);
        cx.ui.json(&json!({ "vault": path.display().to_string() }))?;
    }

    Ok(())
}

/// Ends the output of a command that made the vault with what to do next.
pub(super) fn next(cx: &Context, step: &str) {
    cx.ui.status(&format!("next: {step}"));
    cx.ui.status(&cx.about_unlock());
}

/// Makes a vault with a new passphrase; also for `create`, which offers it.
pub(super) fn make(
    cx: &Context,
    path: &Path,
    params: KdfParams,
    suggest: bool,
) -> Result<Vault, Error> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(StoreError::Exists(path.to_owned()).into());
    }

    store::check_new_vault(path)?;
    let passphrase: Passphrase = cx.new_passphrase(params, suggest)?;
    let vault = Vault::init(path, &passphrase, params)?;
    if params.cost() < Context::default_kdf().cost() {
        cx.ui.warn("these key derivation parameters make guessing cheaper than the default ones");
    }

    cx.ui.status(&format!("made the vault `{}`", path.display()));
    let code = cx.again("recovery create");
    cx.ui.status(&format!(
        "a forgotten passphrase cannot be reset; {code} prints a code for the safe"
    ));

    Ok(vault)
}
