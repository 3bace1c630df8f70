//! `secrets passwd`: changes the passphrase of the vault.

use std::path::PathBuf;

use secrets_core::crypto::kdf::KdfParams;

use super::shared::kdf_options::KdfOptions;
use crate::context::{Context, NoticeSubject};
use crate::error::Error;
use crate::output::{KdfInfo, VaultWithKdf};

const EXAMPLES: &str = "\
Examples:
  secrets passwd
  secrets passwd --upgrade-kdf     make guessing the same one harder
  secrets passwd --kdf-memory 512  set the cost of guessing it
  secrets passwd --recovery        unlock with the recovery code
  secrets passwd --passphrase-file old --new-passphrase-file new";

/// Change the passphrase
///
/// Asks for the current passphrase, even if the vault is unlocked, and twice for the new one. The
/// new passphrase is tested before the old one is removed, and nothing of the old one stays in the
/// file. No other keys are re-encrypted: someone with an old copy of the vault and the old
/// passphrase has the keys of this vault until `secrets rekey`.
///
/// The new passphrase can be the same as the old one, to change only the cost of guessing it.
/// `--upgrade-kdf` does that without asking for a new passphrase, and raises the cost to the
/// default of this version on this machine. Earlier copies of the vault still open with the old
/// passphrase. If somebody else may know it, run `secrets rekey` as well.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PasswdArgs {
    /// Read the new passphrase from a file, `-` for stdin; one trailing newline is dropped
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    new_passphrase_file: Option<PathBuf>,
    /// Keep the passphrase, and raise the cost of guessing it to the default; never lowers the cost
    #[arg(long, conflicts_with_all = ["new_passphrase_file", "kdf_memory", "kdf_iterations", "kdf_parallelism"])]
    upgrade_kdf: bool,
    #[command(flatten)]
    kdf: KdfOptions,
}

pub(crate) fn run(args: &PasswdArgs, cx: &Context) -> Result<(), Error> {
    if args.upgrade_kdf {
        return upgrade(cx);
    }

    // Invalid options are reported before a passphrase is typed.
    args.kdf.over(KdfParams::DEFAULT)?;
    cx.require_vault()?;
    let file = args.new_passphrase_file.as_deref();
    cx.credentials.check_new_passphrase_source(file, "--new-passphrase-file")?;

    let vault = cx.unlock_with_credential()?;
    let params = args.kdf.over(vault.kdf_params()?)?;
    let passphrase = cx.credentials.chosen_passphrase(file, params)?;
    cx.written(&vault, vault.set_passphrase(&passphrase, params)?);
    if args.kdf.are_given() {
        // The vault is complete even if this cannot be recorded.
        let _ = vault.id().map(|id| cx.settle(NoticeSubject::Kdf, &id));
    }

    let default = Context::default_kdf();
    if params.cost() < default.cost() {
        let KdfParams { memory, iterations, .. } = default;
        let options = format!("--kdf-memory {} --kdf-iterations {iterations}", memory / 1024);
        cx.ui.warn(&format!("guessing it costs less than with the default, `{options}`"));
    }

    let path = cx.target.vault_path()?.display().to_string();
    if vault.is_remote() {
        cx.ui.status(&format!(
            "changed the passphrase of `{path}`; your other machines keep their own"
        ));
    } else {
        cx.ui.status(&format!("changed the passphrase of `{path}`"));
    }
    cx.ui.status(&cx.target.hint_text(
        "earlier copies of the vault open with the old passphrase; if somebody else may know it, \
         run `secrets rekey`",
    ));

    show(path, params, cx)
}

/// Keeps the passphrase and raises the cost of its key slot to the current default.
fn upgrade(cx: &Context) -> Result<(), Error> {
    if cx.credentials.is_recovering() {
        return Err(Error::usage(
            "`--recovery` cannot be used with `--upgrade-kdf`, which needs the passphrase",
        )
        .hint("set a new passphrase with `secrets passwd --recovery`"));
    }

    let (vault, passphrase) = cx.unlock_by_passphrase()?;
    let (before, default) = (vault.kdf_params()?, Context::default_kdf());
    let path = cx.target.vault_path()?.display().to_string();

    if before.cost() >= default.cost() {
        let cost = KdfInfo::of(before);
        cx.ui.status(&format!(
            "guessing the passphrase of `{path}` already costs as much as with the default: {cost}"
        ));
        return show(path, before, cx);
    }

    cx.written(&vault, vault.set_passphrase(&passphrase, default)?);
    cx.ui
        .status(&format!("guessing the passphrase of `{path}` now costs {}", KdfInfo::of(default)));

    cx.ui.status("earlier copies of the vault open at the old cost; create a new backup");
    show(path, default, cx)
}

fn show(path: String, params: KdfParams, cx: &Context) -> Result<(), Error> {
    cx.ui.document(|| Ok(VaultWithKdf { kdf: KdfInfo::of(params), vault: path }))
}
