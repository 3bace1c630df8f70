//! Errors of a vault on a server.

use secrets_core::store::ServerError;

use super::{Error, Kind};

/// Returns the error with the command that helps.
pub(super) fn server_error(error: &ServerError, message: String) -> Error {
    match error {
        ServerError::Unreachable(_) => Error::new(Kind::Failure, message)
            .hint("`--offline` reads what this machine last saw of the vault"),
        ServerError::NoPassword(_) => Error::new(Kind::Failure, message)
            .hint("store the password with `secrets remote set`, or set PGPASSWORD or PGPASSFILE"),
        ServerError::Refused(_) => Error::new(Kind::Failure, message)
            .hint("change the address, the password or the certificate with `secrets remote set`"),
        ServerError::Forbidden => Error::new(Kind::Refused, message)
            .hint("ask the database's administrator for the role `secrets_write`"),
        ServerError::Reported(_) => {
            Error::new(Kind::Failure, message).hint("the server's own log has the details")
        }
        ServerError::NoVault => Error::new(Kind::NotFound, message)
            .hint("create one there with `secrets remote init URL`"),
        ServerError::OtherTables => Error::new(Kind::Damaged, message).hint(
            "use the same version of `secrets`, or change the tables with `secrets remote upgrade`",
        ),
        ServerError::HasVault => Error::new(Kind::Conflict, message).hint(
            "choose an empty database, or use the vault there with `secrets remote join TICKET`",
        ),
        ServerError::OtherVault => Error::new(Kind::Damaged, message)
            .hint("check the address with `secrets remote status`; nothing was used"),
        ServerError::NoAddress => Error::new(Kind::Damaged, message)
            .hint("make a new near file with `secrets remote join TICKET`"),
        ServerError::NotCached(_) => Error::new(Kind::Failure, message)
            .hint("try again without `--offline` when the server can be reached"),
        ServerError::TooOld(..) => Error::new(Kind::Refused, message).hint(
            "accept older data with `--max-age`, or try again when the server can be reached",
        ),
        ServerError::Offline => Error::new(Kind::Usage, message).hint("leave `--offline` out"),
    }
}
