//! `secrets remote push`: moves a vault in a file to a server.

use secrets_core::store::{CachePlace, IfExists, RemoteStore, SqliteStore, rename_aside};
use secrets_store_postgres::PostgresServer;

use super::connection::with_password;
use crate::context::Context;
use crate::error::Error;
use crate::output::RemoteVault;

/// Move this vault from its file to a server
///
/// Everything stays as it is: secrets, tokens, audit logs and this machine's passphrase. The database must not
/// hold a vault. The file is kept next to the vault under another name, and the near file takes its place.
///
/// Asks for the passphrase, even if the vault is unlocked.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  secrets remote push 'postgres://ana@db.example/vault?sslrootcert=ca.pem'"
)]
pub(super) struct PushArgs {
    /// The address of the database, as for `secrets remote init`
    #[arg(value_name = "URL")]
    url: String,
}

pub(super) fn run(args: &PushArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let path = cx.target.vault_path()?;
    let address = cx.server_address(&args.url)?;
    let vault = cx.with_root_key()?;
    if vault.is_remote() {
        return Err(Error::usage("the vault is on a server already")
            .hint("move it to another server with `secrets remote set --move --url URL`"));
    }

    let connect = |address: &_| Ok(PostgresServer::create_tables(address)?);
    let ((), address) = with_password(cx, address, connect)?;
    let encoded = address.encode();
    let connector = PostgresServer::connector();
    let store = RemoteStore::at(
        secrets_core::model::SecretBytes::copy_of(encoded.expose()),
        vault.id()?,
        CachePlace::Memory,
        connector,
    )?;
    let near = vault.push(&store, &encoded)?;

    // From here on the server has the vault. The file stays until the near file is complete.
    let staged = SqliteStore::begin_near(&path, &near, IfExists::Moved)?;
    let kept = rename_aside(&path, &[""])?;
    staged.persist()?;

    let server = address.display();
    cx.ui.status(&format!("moved the vault to `{server}`"));
    for (_, aside) in kept {
        let message = "remove it when you no longer need it";
        cx.ui.status(&format!("the file is kept as `{}`; {message}", aside.display()));
    }

    cx.ui.document(|| Ok(RemoteVault { vault: path.display().to_string(), server }))
}
