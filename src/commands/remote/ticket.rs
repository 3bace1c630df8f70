//! `secrets remote ticket`: prints a ticket for another machine of the owner.

use secrets_core::model::{Period, Timestamp};
use secrets_core::vault::VaultError;
use secrets_store_postgres::Address;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::time;

/// Print a ticket with which another machine of yours joins
///
/// The ticket gives all keys of the vault to its holder, once, until it expires. Carry it to your own machine
/// only, and give other people tokens (`secrets token create`). It has the server's address and certificates, and no
/// password of the database.
///
/// Asks for the passphrase, even if the vault is unlocked.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  secrets remote ticket\n  secrets remote ticket --expires 1h")]
pub(super) struct TicketArgs {
    /// How long the ticket is valid
    #[arg(long, value_name = "PERIOD", default_value = "24h")]
    expires: Period,
}

pub(super) fn run(args: &TicketArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let vault = cx.with_root_key()?;
    let address = vault.server_address().ok_or(VaultError::NotRemote)?;
    let address = Address::decode(address.expose())
        .ok_or_else(|| Error::internal("the server's address cannot be read"))?;

    let until = args.expires.after(Timestamp::now());
    let ticket = vault.create_ticket(until, address.without_login().encode())?;
    cx.ui.print_ticket(&ticket.text()).map_err(|why| {
        let message = format!("the ticket was created, but could not be shown: {why}");
        Error::new(Kind::Failure, message).hint("create another one; nobody has this one")
    })?;
    cx.written(&vault, ());
    cx.ui.status(&format!(
        "valid once, until {}: it gives all keys of the vault to its holder",
        time::local_minute(until)
    ));
    cx.ui.status("on the other machine, run `secrets remote join` and paste it");
    Ok(())
}
