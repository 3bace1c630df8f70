//! `secrets remote status`: shows where the vault is and whether it can be reached.

use secrets_store_postgres::Address;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::RemoteStatus;

/// Show the server of the vault, and what this machine has seen of it
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  secrets remote status\n  secrets remote status --json")]
pub(super) struct StatusArgs {}

pub(super) fn run(_: &StatusArgs, cx: &Context) -> Result<(), Error> {
    let vault = cx.vault()?;
    let status = vault.remote_status()?;
    let is_unreachable = status.unreachable.is_some();
    let address = vault.server_address().and_then(|bytes| Address::decode(bytes.expose()));
    let server = address.map(|address| address.display()).unwrap_or_default();
    let path = cx.target.vault_path()?.display().to_string();
    cx.ui.print(&RemoteStatus::of(status, path, server))?;
    if is_unreachable {
        return Err(Error::new(Kind::Failure, "the server cannot be reached").into_answer());
    }

    Ok(())
}
