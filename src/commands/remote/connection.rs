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
            Ok((act(&address)?, address))
        }
        done => Ok((done?, address)),
    }
}

fn needs_password(error: &VaultError) -> bool {
    matches!(error, VaultError::Store(StoreError::Server(ServerError::NoPassword(_))))
}
