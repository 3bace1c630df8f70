//! `secrets verify`: verifies everything in the vault.

use secrets_core::vault::{Report, VaultError};
use secrets_store_postgres::PostgresServer;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::{ServerInfo, Verified};
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets verify
  secrets verify --json | jq .damage
  secrets verify --remote       also ask the vault's server about itself
  secrets --vault backup.db verify";

/// Verify everything in the vault
///
/// Checks every seal, hash, signature and count, the structure of the file, that it contains no
/// orphan rows, and that the vault matches its checkpoint on this machine. Changes nothing. Prints
/// what the vault contains. If something is damaged, it lists the damage and how much can still be
/// read (exit 6).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArgs {
    /// Also ask the vault's server when it acknowledges changes, and what else hangs on the tables
    #[arg(long)]
    remote: bool,
}

pub(crate) fn run(args: &VerifyArgs, cx: &Context) -> Result<(), Error> {
    let vault = cx.vault()?;
    let progress = cx.ui.progress("secrets checked");
    let report = vault.verify(&|number| progress.on_progress(number))?;
    drop(progress);
    let server = if args.remote {
        let address = vault.server_address().ok_or(VaultError::NotRemote)?;
        Some(ServerInfo::of(&PostgresServer::facts(address)?))
    } else {
        None
    };

    let warnings = server.as_ref().map(ServerInfo::warnings).unwrap_or_default();
    let path = cx.target.vault_path()?.display().to_string();
    cx.ui.print(&Verified::of(&report, path, server))?;
    for warning in &warnings {
        cx.ui.warn(warning);
    }

    let Some(failure) = failure(&report) else {
        cx.ui.status("the vault is intact");
        if !vault.is_remembered() {
            cx.ui.warn(&no_checkpoint_warning(cx));
        }

        return Ok(());
    };

    Err(failure)
}

/// Explains why a rollback of the vault could not be detected.
fn no_checkpoint_warning(cx: &Context) -> String {
    let place = cx.checkpoint_directory().map(|directory| format!(" in `{}`", directory.display()));

    format!(
        "cannot write the vault's checkpoint{}: a rollback would not be detected",
        place.unwrap_or_default()
    )
}

fn failure(report: &Report) -> Option<Error> {
    if let Some(divergence) = &report.divergence {
        return Some(divergence.clone().into());
    }

    let found = match report.damage.len() {
        0 => return None,
        number => counted(number, "finding"),
    };

    Some(
        Error::new(Kind::Damaged, format!("the vault is damaged or was tampered with: {found}"))
            .hint(
                "restore a backup with `secrets restore PATH`, or save what can be read with \
                 `secrets salvage OUT`",
            ),
    )
}
