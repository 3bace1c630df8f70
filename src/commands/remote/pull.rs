//! `secrets remote pull`: writes a local copy of a vault on a server.

use std::path::PathBuf;

use secrets_core::vault::VaultError;

use crate::context::Context;
use crate::error::Error;
use crate::output::VaultContent;
use crate::ui::counted;

/// Copy the vault from its server to a new file
///
/// The copy is a vault of its own, with this machine's passphrase. It works without the server, and changes to it
/// stay in it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  secrets remote pull ~/vault-without-server.db")]
pub(super) struct PullArgs {
    /// The new file
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    path: PathBuf,
}

pub(super) fn run(args: &PullArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    cx.locked()?.check_backup(&args.path, false)?;
    let vault = cx.vault()?;
    if !vault.is_remote() {
        return Err(VaultError::NotRemote.into());
    }

    let progress = cx.ui.progress("secrets checked");
    let secrets = vault.backup(&args.path, false, &|done| progress.on_progress(done))?;
    drop(progress);
    cx.ui.status(&format!("copied {} to `{}`", counted(secrets, "secret"), args.path.display()));
    cx.ui.document(|| Ok(VaultContent { secrets, vault: args.path.display().to_string() }))
}
