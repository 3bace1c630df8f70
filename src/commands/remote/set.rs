//! `secrets remote set`: another address or password of the server, another server, or no server any more.

use secrets_core::store::{CachePlace, IfExists, RemoteStore, SqliteStore, rename_aside};
use secrets_core::vault::{Locked, Vault, VaultError};
use secrets_store_postgres::{Address, PostgresServer};

use super::connection::with_password;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::RemoteVault;

/// Change the server's address or password, move to another server, or back to a file
///
/// A new address must lead to the same vault, unless --move copies it there first. The old database keeps the
/// vault then: delete its schema `secrets` when no machine uses it any more.
///
/// Asks for the passphrase, even if the vault is unlocked.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  PGPASSWORD=… secrets remote set --password\n  \
    secrets remote set --url 'postgres://ana@db2/vault?sslrootcert=ca.pem'\n  \
    secrets remote set --move --url 'postgres://ana@other.example/secrets'\n  \
    secrets remote set --to-file")]
#[group(required = true)]
pub(super) struct SetArgs {
    /// Use this address, for example with another certificate authority
    #[arg(long, value_name = "URL", conflicts_with = "to_file")]
    url: Option<String>,
    /// Store another password: that of PGPASSWORD or of the password file, or asks for it
    #[arg(long, conflicts_with = "to_file")]
    password: bool,
    /// Copy the vault to the database at --url, which must not hold one
    #[arg(long = "move", requires = "url")]
    moves: bool,
    /// Make the vault a file on this machine again, without the server
    #[arg(long)]
    to_file: bool,
}

pub(super) fn run(args: &SetArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let vault = cx.with_root_key()?;
    let address = vault.server_address().ok_or(VaultError::NotRemote)?;
    if args.to_file {
        return to_file(&vault, cx);
    }

    let present = Address::decode(address.expose())
        .ok_or_else(|| Error::internal("the server's address cannot be read"))?;
    let address = match &args.url {
        Some(url) => cx.server_address(url)?,
        None => cx.with_known_password(present.without_password())?,
    };

    let address =
        if args.moves { move_to(&vault, address, cx)? } else { same_vault(&vault, address, cx)? };
    cx.agents.end_links(false);
    let server = address.display();
    cx.ui.status(&format!("the vault is on `{server}` now"));
    let path = cx.target.vault_path()?.display().to_string();
    cx.ui.document(|| Ok(RemoteVault { vault: path, server }))
}

/// Stores an address that leads to the same vault.
fn same_vault(vault: &Vault, address: Address, cx: &Context) -> Result<Address, Error> {
    let id = vault.known_id().map_or_else(|| vault.near_id(), Ok)?;
    let look = |address: &Address| {
        let connector = PostgresServer::connector();
        let store = RemoteStore::at(address.encode(), id, CachePlace::Memory, connector)?;
        Locked::with_store(Box::new(store)).vault_id()
    };

    let (found, address) = with_password(cx, address, look)?;
    if found != id {
        return Err(Error::new(Kind::Conflict, "the database holds another vault")
            .hint("copy this vault to an empty database with `--move`"));
    }

    vault.set_server_address(&address.encode())?;
    Ok(address)
}

/// Copies the vault to an empty database, and stores its address.
fn move_to(vault: &Vault, address: Address, cx: &Context) -> Result<Address, Error> {
    let connect = |address: &_| Ok(PostgresServer::create_tables(address)?);
    let ((), address) = with_password(cx, address, connect)?;
    let connector = PostgresServer::connector();
    let store = RemoteStore::at(address.encode(), vault.id()?, CachePlace::Memory, connector)?;
    let near = vault.push(&store, &address.encode())?;

    let path = cx.target.vault_path()?;
    SqliteStore::begin_near(&path, &near, IfExists::Replaced)?.persist()?;
    cx.ui.status(
        "the old database still has the vault; delete its schema `secrets` when no machine uses it",
    );
    Ok(address)
}

/// Makes the vault a file again.
fn to_file(vault: &Vault, cx: &Context) -> Result<(), Error> {
    let path = cx.target.vault_path()?;
    let copy = vault.local_copy(&path)?;
    let kept = rename_aside(&path, &[""])?;
    copy.persist()?;
    for (_, aside) in kept {
        // It has nothing but the address and the same key slots.
        let _ = std::fs::remove_file(aside);
    }

    cx.agents.end_links(false);
    cx.ui.status(&format!("the vault is the file `{}` now", path.display()));
    cx.ui.status("the database still has it; delete its schema `secrets` when no machine uses it");
    super::super::shared::vault_path::report(cx)
}
