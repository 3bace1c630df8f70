//! `secrets remote join`: makes this machine's near file with a ticket.

use std::path::PathBuf;

use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::recovery::RecoveryCode;
use secrets_core::crypto::slot::Credential;
use secrets_core::crypto::ticket::Ticket;
use secrets_core::model::{SecretBytes, Timestamp};
use secrets_core::store::{CachePlace, IfExists, RemoteStore, SqliteStore};
use secrets_core::vault::{Joined, Locked, VaultError};
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
///
/// If no machine can print a ticket any more, the recovery code of `secrets recovery create` joins as well.
/// It needs --url, and stays valid.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  secrets remote join            asks for the ticket\n  \
                        ssh ana@laptop secrets remote ticket | secrets remote join -\n  \
                        secrets remote join --recovery --url URL")]
pub(super) struct JoinArgs {
    /// The ticket, or `-` to read it from stdin
    #[arg(value_name = "TICKET")]
    ticket: Option<String>,
    /// Use this address instead of the ticket's, for another role or another way to the server
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Read the recovery code from a file, and join with it instead of a ticket
    #[arg(long, value_name = "PATH", conflicts_with = "ticket", requires = "url")]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    recovery_file: Option<PathBuf>,
    #[command(flatten)]
    kdf: KdfOptions,
}

/// What opens the vault on the server.
enum Key {
    Ticket(Ticket),
    Recovery(RecoveryCode),
}

pub(super) fn run(args: &JoinArgs, cx: &Context) -> Result<(), Error> {
    let path = cx.new_near_path()?;
    let params = args.kdf.over(Context::default_kdf())?;
    let key = read_key(args, cx)?;
    let address = match (&args.url, &key) {
        (Some(url), _) => cx.server_address(url)?,
        (None, Key::Ticket(ticket)) => {
            let address = Address::decode(ticket.address().expose());
            let address = address.ok_or_else(|| Error::usage("the ticket has no valid address"))?;
            cx.with_known_password(address)?
        }
        (None, Key::Recovery(_)) => {
            return Err(Error::usage("a recovery code does not name the server")
                .hint("name it with `--url URL`"));
        }
    };

    let (joined, address) = with_password(cx, address, |address| join(&key, address, cx))?;
    if let Key::Ticket(ticket) = &key
        && joined.vault.id()? != *ticket.vault_id()
    {
        return Err(Error::new(Kind::Damaged, "the server has another vault than the ticket's"));
    }

    let passphrase = cx.credentials.new_passphrase(params, false)?;
    let near = joined.near_rows(&passphrase, params, &address.encode())?;
    let staged = SqliteStore::begin_near(&path, &near, IfExists::Refused)?;
    if let Key::Ticket(ticket) = &key {
        joined.vault.remove_ticket(ticket)?;
    }

    staged.persist()?;

    let server = address.display();
    cx.ui.status(&format!("joined the vault on `{server}`"));
    cx.ui.status(&format!("this machine opens it with the near file `{}`", path.display()));
    cx.ui.status(&cx.unlock_hint());
    cx.ui.document(|| Ok(RemoteVault { vault: path.display().to_string(), server }))
}

fn join(key: &Key, address: &Address, cx: &Context) -> Result<Joined, VaultError> {
    let at = |id: VaultId, cache: CachePlace<'_>| {
        let store = RemoteStore::at(address.encode(), id, cache, PostgresServer::connector())?;
        Ok::<_, VaultError>(Locked::with_store(Box::new(store)))
    };

    let (credential, id): (&dyn Credential, VaultId) = match key {
        Key::Ticket(ticket) => (ticket, *ticket.vault_id()),
        // Its id is the name of its cache and of its checkpoints.
        Key::Recovery(code) => (code, at([0; 16], CachePlace::Memory)?.vault_id()?),
    };

    let cache = cx.cache_of(&id);
    let locked = at(id, cache.as_deref().map_or(CachePlace::Memory, CachePlace::File))?;
    match cx.checkpoint_directory() {
        Some(directory) => locked.with_checkpoints(&directory),
        None => locked,
    }
    .join(credential)
}

fn read_key(args: &JoinArgs, cx: &Context) -> Result<Key, Error> {
    if let Some(path) = &args.recovery_file {
        return Ok(Key::Recovery(cx.credentials.recovery_code_of_file(path)?));
    }

    if cx.credentials.is_recovering() {
        if args.ticket.is_some() {
            return Err(
                Error::usage("`--recovery` cannot be used with a ticket").hint("use one of them")
            );
        }

        if cx.credentials.has_passphrase()? {
            return Err(Error::usage(
                "`--recovery` asks for the code, and a passphrase of this machine is given",
            )
            .hint("read the code from a file with `--recovery-file PATH`"));
        }

        if !prompt::is_possible() {
            return Err(Error::usage("there is no terminal to ask for the recovery code on")
                .hint("read it from a file with `--recovery-file PATH`"));
        }

        return Ok(Key::Recovery(cx.credentials.typed_recovery_code("Recovery code")?));
    }

    let ticket = read_ticket(args, cx)?;
    if ticket.until() < Timestamp::now() {
        let ended = time::local_minute(ticket.until());
        return Err(Error::new(Kind::Locked, format!("the ticket expired at {ended}"))
            .hint("print another one with `secrets remote ticket` on the first machine"));
    }

    Ok(Key::Ticket(ticket))
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
