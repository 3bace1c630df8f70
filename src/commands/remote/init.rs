//! `secrets remote init`: creates a vault on a server.

use secrets_core::crypto::kdf::{KdfParams, Passphrase};
use secrets_core::crypto::rows::{Slot, VaultRow};
use secrets_core::store::IfExists;
use secrets_core::store::{CachePlace, RemoteStore, SqliteStore};
use secrets_core::vault::{NewRemoteVault, near_rows};
use secrets_store_postgres::PostgresServer;

use super::super::shared::kdf_options::KdfOptions;
use super::super::shared::new_vault::next;
use super::connection::with_password;
use crate::context::Context;
use crate::error::Error;
use crate::output::RemoteVault;

/// Create a vault on a server
///
/// URL is an address as PostgreSQL's own programs take it. TLS with full verification is used unless it says
/// sslmode=disable. The certificate authority is sslrootcert, or that of the system. The password is never part
/// of the address: it comes from PGPASSWORD, the password file or a prompt, and is stored encrypted.
///
/// Creates the schema `secrets` in the database. It must not hold a vault.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  secrets remote init 'postgres://ana@db.example/vault?sslrootcert=ca.pem'"
)]
pub(super) struct InitArgs {
    /// The address of the database
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    kdf: KdfOptions,
    /// Offer six random words as the passphrase
    #[arg(long)]
    suggest: bool,
}

pub(super) fn run(args: &InitArgs, cx: &Context) -> Result<(), Error> {
    let path = cx.new_near_path()?;
    let params: KdfParams = args.kdf.over(Context::default_kdf())?;
    let address = cx.server_address(&args.url)?;
    let connect = |address: &_| Ok(PostgresServer::create_tables(address)?);
    let ((), address) = with_password(cx, address, connect)?;

    let passphrase: Passphrase = cx.credentials.new_passphrase(params, args.suggest)?;
    let new = NewRemoteVault::random()?;
    let slot = Slot::create(&passphrase, false, params, &new.id(), new.root())?;
    let encoded = address.encode();
    let near = near_rows(new.root(), VaultRow::first(new.id()), vec![slot], &encoded)?;

    // The near file is complete before the server has the vault that only it opens.
    let staged = SqliteStore::begin_near(&path, &near, IfExists::Refused)?;
    let store =
        RemoteStore::at(encoded, new.id(), CachePlace::Memory, PostgresServer::connector())?;
    new.begin(&store)?;
    staged.persist()?;

    let server = address.display();
    cx.ui.status(&format!("created the vault on `{server}`"));
    cx.ui.status(&format!("this machine opens it with the near file `{}`", path.display()));
    cx.ui.status(&cx.target.hint_text(
        "a forgotten passphrase cannot be reset; print a recovery code with \
         `secrets recovery create` and keep it safe",
    ));
    next(cx, "print a ticket for another machine with `secrets remote ticket`");
    cx.ui.document(|| Ok(RemoteVault { vault: path.display().to_string(), server }))
}
