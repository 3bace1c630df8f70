//! A first connection to a server, which may need a password.

use secrets_core::store::{ServerError, StoreError};
use secrets_core::vault::VaultError;
use secrets_store_postgres::Address;

use crate::context::Context;
use crate::error::Error;
use crate::ui::prompt;

/// Calls `act` with an address. If the server asks for a password and none is known, asks for it at a
/// hidden prompt. Returns the result, and the address with the password that was used.
pub(super) fn with_password<T>(
    cx: &Context,
    address: Address,
    act: impl Fn(&Address) -> Result<T, VaultError>,
) -> Result<(T, Address), Error> {
    match act(&address) {
        Err(error) if needs_password(&error) && prompt::is_possible() => {
            let question = format!("Password of `{}` in the database", address.user());
            let address = address.with_password(cx.credentials.ask_for_text(&question)?)?;
            Ok((act(&address).map_err(hinted)?, address))
        }
        done => Ok((done.map_err(hinted)?, address)),
    }
}

/// Gives an error of a connection the hint for an address that was just named.
fn hinted(error: VaultError) -> Error {
    let hint = match &error {
        VaultError::Store(StoreError::Server(ServerError::NoPassword(_))) => {
            "set PGPASSWORD, or write it to the file that PGPASSFILE names; nothing was changed"
        }
        VaultError::Store(StoreError::Server(
            ServerError::Refused(_) | ServerError::Unreachable(_),
        )) => "check the URL, the password and the certificate; nothing was changed",
        _ => return error.into(),
    };

    Error::from(error).with_only_hint(hint)
}

fn needs_password(error: &VaultError) -> bool {
    matches!(error, VaultError::Store(StoreError::Server(ServerError::NoPassword(_))))
}
