//! `Code`: the part of a server's error that is safe to show.

use std::fmt;

use tokio_postgres::error::DbError;

/// An SQLSTATE: five digits or capital letters. The server's texts are never shown, because a
/// hostile server chooses them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code([u8; 5]);

impl Code {
    /// Checks a code.
    pub fn new(text: &str) -> Option<Self> {
        let code: [u8; 5] = text.as_bytes().try_into().ok()?;
        let is_valid = code.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        is_valid.then_some(Self(code))
    }

    /// Returns the code of an error or a notice, if it is valid.
    pub fn of_message(message: &DbError) -> Option<Self> {
        Self::new(message.code().code())
    }

    /// Returns the code that the server has sent, if the error is one of the server's.
    pub fn of(error: &tokio_postgres::Error) -> Option<Self> {
        Self::of_message(error.as_db_error()?)
    }

    /// Returns the five characters.
    pub fn as_str(&self) -> &str {
        // Only ASCII passes the check.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}
