//! `secrets passwd`: another passphrase for the vault.

use std::path::PathBuf;

use serde_json::json;

use super::kdf_options::{self, KdfOptions};
use crate::context::Context;
use crate::crypto::kdf::KdfParams;
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  secrets passwd
  secrets passwd --kdf-memory 256       a guess costs four times as much
  secrets passwd --recovery             by the recovery code
  secrets passwd --passphrase-file old --new-passphrase-file new";

/// Change the passphrase
///
/// Asks for the current one, also while the vault is unlocked, then the new one twice. The new one is tried out before the old one
/// goes; of that, nothing is left in the file. Nothing else is sealed anew: whoever has an old copy of the vault and the old
/// passphrase has the keys of this one, until `secrets rekey`.
///
/// The new passphrase may be the old one: then only what a guess costs changes. Copies of the vault that were made before go on
/// opening with the old one. Where somebody else may know it, `secrets rekey` is needed as well.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PasswdArgs {
    /// Read the new passphrase from a file; one trailing newline is dropped
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    new_passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    kdf: KdfOptions,
}

pub(crate) fn run(args: &PasswdArgs, cx: &Context) -> Result<(), Error> {
    // What is not well formed is told before a passphrase is typed.
    args.kdf.over(KdfParams::DEFAULT)?;
    let file = args.new_passphrase_file.as_deref();
    cx.needs_new_passphrase(file, "--new-passphrase-file")?;
    let vault = cx.unlock_anew()?;
    let params = args.kdf.over(vault.kdf_params()?)?;
    let passphrase = cx.chosen_passphrase(file)?;
    cx.written(vault.set_passphrase(&passphrase, params)?);
    if params.cost() < KdfParams::DEFAULT.cost() {
        cx.ui.warn("a guess at it costs less than by default, which is `--kdf-memory 64 --kdf-iterations 3`");
    }
    let path = cx.vault_path()?.display().to_string();
    cx.ui.status(&format!("changed the passphrase of `{path}`"));
    let rekey = cx.again("rekey");
    cx.ui.status(&format!("copies made before open with the old one; if somebody else may know it: {rekey}"));
    if cx.ui.is_json() {
        cx.ui.json(&json!({ "vault": path, "kdf": kdf_options::json(params) }))?;
    }
    Ok(())
}
