//! `secrets remote upgrade`: brings the tables of the server to this version.

use secrets_core::vault::VaultError;
use secrets_store_postgres::{Address, PostgresServer};

use super::super::shared::vault_path::report;
use crate::context::Context;
use crate::error::Error;

/// Bring the tables of the server to this version of `secrets`
///
/// Creates tables that are missing, in one transaction. Needs a role that may create tables in the schema
/// `secrets`. Machines with the version before can go on.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  secrets remote upgrade")]
pub(super) struct UpgradeArgs {
    /// Use this address, for a role that may create tables
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) fn run(args: &UpgradeArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let vault = cx.vault()?;
    let address = match &args.url {
        Some(url) => cx.server_address(url)?,
        None => {
            let address = vault.server_address().ok_or(VaultError::NotRemote)?;
            Address::decode(address.expose())
                .ok_or_else(|| Error::internal("the server's address cannot be read"))?
        }
    };

    super::connection::with_password(cx, address, |address: &_| {
        Ok(PostgresServer::create_tables(address)?)
    })?;
    cx.ui.status("the tables on the server are those of this version");
    report(cx)
}
