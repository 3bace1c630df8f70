//! Decides what a failed statement means. The server's own text is hostile and never passed on.

use secrets_core::store::StoreError;
use secrets_core::store::remote::ServerError;
use tokio_postgres::Error;

use crate::connect::ConnectError;

/// The meaning of a failed statement for its transaction.
pub(crate) enum Failure {
    /// Nothing was changed
    Failed(StoreError),
    /// The connection broke. If a commit was on its way, it may have happened.
    Lost(StoreError),
}

impl Failure {
    pub(crate) fn of(error: &Error) -> Self {
        let Some(reported) = error.as_db_error() else { return lost("the connection broke") };
        let code = reported.code().code();
        match code {
            // Our own comparison failed, or somebody else wrote the entry of the audit log.
            "22012" | "40001" | "40P01" => Self::Failed(StoreError::Raced),
            "23505" if reported.constraint() == Some("audit_pkey") => {
                Self::Failed(StoreError::Raced)
            }
            "23505" => Self::Failed(StoreError::IdTaken),
            "55P03" => Self::Failed(StoreError::Busy),
            "53100" => Self::Failed(StoreError::Full),
            "57014" => failed(ServerError::Unreachable("it has cancelled a statement".into())),
            "42501" => failed(ServerError::Forbidden),
            "25006" => failed(ServerError::Unreachable("it is a read-only replica".into())),
            "42P01" | "3F000" => failed(ServerError::NoVault),
            "42703" | "42804" | "42883" => failed(ServerError::OtherTables),
            // The server does not know what became of a commit.
            "40003" | "08007" => Self::Lost(reported_as(code).into()),
            code if code.starts_with("57P") || code.starts_with("08") => {
                lost("it is shutting down")
            }
            code => failed(reported_as(code)),
        }
    }

    /// Returns the error, whatever became of the transaction.
    pub(crate) fn cause(self) -> StoreError {
        match self {
            Self::Failed(cause) | Self::Lost(cause) => cause,
        }
    }
}

fn failed(error: ServerError) -> Failure {
    Failure::Failed(error.into())
}

/// Returns the failure of a connection that is lost.
pub(crate) fn lost(why: &str) -> Failure {
    Failure::Lost(ServerError::Unreachable(why.into()).into())
}

/// Returns the error for a SQLSTATE. It has five letters and digits; anything else is not shown.
fn reported_as(code: &str) -> ServerError {
    let is_valid = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    ServerError::Reported(if is_valid { code.to_owned() } else { "of an unknown kind".into() })
}

/// Returns the error for a connection that could not be made.
pub(crate) fn unconnected(error: &ConnectError) -> Failure {
    let text = error.to_string();
    failed(match error {
        error if error.is_temporary() => ServerError::Unreachable(text),
        ConnectError::NoPassword { .. } => ServerError::NoPassword(text),
        _ => ServerError::Refused(text),
    })
}
