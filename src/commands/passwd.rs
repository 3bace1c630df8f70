//! `secrets passwd`: another passphrase for the vault.

use std::path::PathBuf;

use serde_json::json;

use super::kdf_options::{self, KdfOptions, described};
use crate::context::{Context, NoticeSubject};
use crate::crypto::kdf::KdfParams;
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  secrets passwd
  secrets passwd --upgrade-kdf       same passphrase, more costly to guess
  secrets passwd --kdf-memory 512       a guess costs what is named
  secrets passwd --recovery             by the recovery code
  secrets passwd --passphrase-file old --new-passphrase-file new";

/// Change the passphrase
///
/// Asks for the current one, also while the vault is unlocked, then the new one twice. The new one is tried out before the old one
/// goes; of that, nothing is left in the file. Nothing else is sealed anew: whoever has an old copy of the vault and the old
/// passphrase has the keys of this one, until `secrets rekey`.
///
/// The new passphrase may be the old one: then only what a guess costs changes. `--upgrade-kdf` does that without asking for a new
/// one, and raises the cost to the default of this version and this machine. Copies of the vault that were made before go on
/// opening with the old one. Where somebody else may know it, `secrets rekey` is needed as well.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PasswdArgs {
    /// Read the new passphrase from a file, `-` for stdin; one trailing newline is dropped
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    new_passphrase_file: Option<PathBuf>,
    /// Keep the passphrase, and raise what a guess at it costs to the default; never lowers it
    #[arg(long, conflicts_with_all = ["new_passphrase_file", "kdf_memory", "kdf_iterations", "kdf_parallelism"])]
    upgrade_kdf: bool,
    #[command(flatten)]
    kdf: KdfOptions,
}

pub(crate) fn run(args: &PasswdArgs, cx: &Context) -> Result<(), Error> {
    if args.upgrade_kdf {
        return upgrade(cx);
    }

    // What is not well formed is told before a passphrase is typed.
    args.kdf.over(KdfParams::DEFAULT)?;
    cx.needs_vault()?;
    let file = args.new_passphrase_file.as_deref();
    cx.needs_new_passphrase(file, "--new-passphrase-file")?;

    let vault = cx.unlock_anew()?;
    let params = args.kdf.over(vault.kdf_params()?)?;
    let passphrase = cx.chosen_passphrase(file, params)?;
    cx.written(vault.set_passphrase(&passphrase, params)?);
    if args.kdf.are_given() {
        // The vault is as it should be, whether that can be remembered or not.
        let _ = vault.id().map(|id| cx.settle(NoticeSubject::Kdf, &id));
    }

    let default = Context::default_kdf();
    if params.cost() < default.cost() {
        let KdfParams { memory, iterations, .. } = default;
        let options = format!("--kdf-memory {} --kdf-iterations {iterations}", memory / 1024);
        cx.ui.warn(&format!("a guess at it costs less than by default, which is `{options}`"));
    }

    let path = cx.vault_path()?.display().to_string();
    cx.ui.status(&format!("changed the passphrase of `{path}`"));
    let rekey = cx.again("rekey");
    cx.ui.status(&format!(
        "copies made before open with the old one; if somebody else may know it: {rekey}"
    ));

    show(&path, params, cx)
}

/// The same passphrase in a slot that costs what is the default now.
fn upgrade(cx: &Context) -> Result<(), Error> {
    if cx.is_recovering() {
        return Err(Error::usage(
            "`--recovery` cannot be used with `--upgrade-kdf`: the passphrase is needed",
        )
        .hint("set a new passphrase with `secrets passwd --recovery`"));
    }

    let (vault, passphrase) = cx.unlock_by_passphrase()?;
    let (before, default) = (vault.kdf_params()?, Context::default_kdf());
    let path = cx.vault_path()?.display().to_string();

    if before.cost() >= default.cost() {
        let cost = described(before);
        cx.ui.status(&format!(
            "a guess at the passphrase of `{path}` costs as much as by default already: {cost}"
        ));
        return show(&path, before, cx);
    }

    cx.written(vault.set_passphrase(&passphrase, default)?);
    cx.ui.status(&format!(
        "a guess at the passphrase of `{path}` costs {} from now on",
        described(default)
    ));

    cx.ui.status("copies made before open at the old cost: make a new backup");
    show(&path, default, cx)
}

fn show(path: &str, params: KdfParams, cx: &Context) -> Result<(), Error> {
    if cx.ui.is_json() {
        cx.ui.json(&json!({ "vault": path, "kdf": kdf_options::json(params) }))?;
    }

    Ok(())
}
