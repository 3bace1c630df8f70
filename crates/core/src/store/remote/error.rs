//! The errors of a vault on a server.

use std::sync::Arc;
use std::time::Duration;

use crate::store::StoreError;

/// The reason why a vault on a server could not be read or changed. No text of the server is in it.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server cannot be reached at this time; the text gives the reason
    #[error("no connection to the vault's server: {0}")]
    Unreachable(String),
    /// The server or its certificate is not accepted, or it refuses the login; the text gives the
    /// reason
    #[error("no connection to the vault's server: {0}")]
    Refused(String),
    /// The server asks for a password, and none is known; the text names the role
    #[error("no connection to the vault's server: {0}")]
    NoPassword(String),
    /// The role may not do this
    #[error("the role in the database may not do this")]
    Forbidden,
    /// The server reported an error, with this SQLSTATE
    #[error("the vault's server reported error {0}")]
    Reported(String),
    /// The database has no tables of a vault, or no vault in them
    #[error("the database holds no vault")]
    NoVault,
    /// The tables are those of another version
    #[error("the database has the tables of another version of `secrets`")]
    OtherTables,
    /// The tables already have a vault
    #[error("the database already holds a vault")]
    HasVault,
    /// The server has another vault than the near file
    #[error("the database holds another vault than the one that was used here")]
    OtherVault,
    /// The address cannot be opened with the vault's keys
    #[error("the address of the vault's server is missing or damaged")]
    NoAddress,
    /// The server was not asked, and this machine has never seen what is needed
    #[error("this machine has no copy of what is needed{}", because(.0.as_ref()))]
    NotCached(Option<Arc<StoreError>>),
    /// The server was not asked, and what this machine has seen is too old
    #[error("what this machine last saw of the vault is {} old{}", days(*.0), because(.1.as_ref()))]
    TooOld(Duration, Option<Arc<StoreError>>),
    /// A change was requested offline
    #[error("a change needs the vault's server")]
    Offline,
}

/// Returns the whole days of an age in words.
pub fn days(age: Duration) -> String {
    match age.as_secs() / (24 * 60 * 60) {
        0 => "less than a day".into(),
        1 => "1 day".into(),
        days => format!("{days} days"),
    }
}

fn because(cause: Option<&Arc<StoreError>>) -> String {
    cause.map(|cause| format!("; {cause}")).unwrap_or_default()
}
