//! `secrets remote join`: makes this machine's near file with a ticket.

use secrets_core::crypto::ticket::Ticket;
use secrets_core::model::{SecretBytes, Timestamp};
use secrets_core::store::{CachePlace, IfExists, RemoteStore, SqliteStore};
use secrets_core::vault::{Joined, Locked};
use secrets_store_postgres::{Address, PostgresServer};

use super::super::shared::kdf_options::KdfOptions;
use super::connection::with_password;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::RemoteVault;
use crate::ui::{input, prompt, time};

/// The maximum size of a ticket on stdin.
const MAX_TICKET: usize = 128 * 1024;

/// Join a vault on a server with a ticket
///
/// Asks for a passphrase for this machine, which may be another one than elsewhere. The ticket is then no
/// longer valid.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  secrets remote join            asks for the ticket\n  \
                        ssh ana@laptop secrets remote ticket | secrets remote join -")]
pub(super) struct JoinArgs {
    /// The ticket, or `-` to read it from stdin
    #[arg(value_name = "TICKET")]
    ticket: Option<String>,
    /// Use this address instead of the ticket's, for another role or another way to the server
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    kdf: KdfOptions,
}

pub(super) fn run(args: &JoinArgs, cx: &Context) -> Result<(), Error> {
    let path = cx.new_near_path()?;
    let params = args.kdf.over(Context::default_kdf())?;
    let ticket = read_ticket(args, cx)?;
    if ticket.until() < Timestamp::now() {
        let ended = time::local_minute(ticket.until());
        return Err(Error::new(Kind::Locked, format!("the ticket expired at {ended}"))
            .hint("print another one with `secrets remote ticket` on the first machine"));
    }

    let address = match &args.url {
        Some(url) => cx.server_address(url)?,
        None => {
            let address = Address::decode(ticket.address().expose());
            let address = address.ok_or_else(|| Error::usage("the ticket has no valid address"))?;
            cx.with_known_password(address)?
        }
    };

    let connect = |address: &Address| join(&ticket, address, cx);
    let (joined, address) = with_password(cx, address, connect)?;
    if joined.vault.id()? != *ticket.vault_id() {
        return Err(Error::new(Kind::Damaged, "the server has another vault than the ticket's"));
    }

    let passphrase = cx.credentials.new_passphrase(params, false)?;
    let near = joined.near_rows(&passphrase, params, &address.encode())?;
    let staged = SqliteStore::begin_near(&path, &near, IfExists::Refused)?;
    joined.vault.remove_ticket(&ticket)?;
    staged.persist()?;

    let server = address.display();
    cx.ui.status(&format!("joined the vault on `{server}`"));
    cx.ui.status(&format!("this machine opens it with the near file `{}`", path.display()));
    cx.ui.status(&cx.unlock_hint());
    cx.ui.document(|| Ok(RemoteVault { vault: path.display().to_string(), server }))
}

fn join(
    ticket: &Ticket,
    address: &Address,
    cx: &Context,
) -> Result<Joined, secrets_core::vault::VaultError> {
    let cache = cx.cache_of(ticket.vault_id());
    let cache = cache.as_deref().map_or(CachePlace::Memory, CachePlace::File);
    let connector = PostgresServer::connector();
    let store = RemoteStore::at(address.encode(), *ticket.vault_id(), cache, connector)?;
    let locked = Locked::with_store(Box::new(store));
    match cx.checkpoint_directory() {
        Some(directory) => locked.with_checkpoints(&directory),
        None => locked,
    }
    .join(ticket)
}

fn read_ticket(args: &JoinArgs, cx: &Context) -> Result<Ticket, Error> {
    let text = match args.ticket.as_deref() {
        Some("-") => input::stdin(MAX_TICKET)?,
        Some(text) => SecretBytes::copy_of(text.as_bytes()),
        None if prompt::is_possible() => cx.credentials.ask_for_text("Ticket")?,
        None => {
            return Err(Error::usage("no ticket was given and there is no terminal to ask on")
                .hint("pass it on stdin with `secrets remote join -`"));
        }
    };

    Ticket::parse(&text).map_err(|why| {
        Error::usage(format!("invalid ticket: {why}"))
            .hint("print one with `secrets remote ticket` on the first machine")
    })
}
