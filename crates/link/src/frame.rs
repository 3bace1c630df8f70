//! Frames between a command and the link: four bytes of length, one of kind, and a message.

use secrets_core::model::SecretBytes;
use secrets_core::store::StoreError;
use secrets_core::store::remote::{
    Committed, Request, Rows, ServerError, Update, UpdateError, decode, encode,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The maximum length of a frame. An import of 100,000 secrets is smaller.
pub(crate) const MAX_FRAME: usize = 1024 * 1024 * 1024;

/// The version of the frames. Another version of the program makes its own connection.
const VERSION: u8 = 1;

/// The data that a new link gets through its standard input.
#[derive(Serialize, Deserialize)]
pub struct Handover {
    /// The socket on which it listens
    pub socket: Vec<u8>,
    /// The encoded address of the server, with the password
    pub address: Vec<u8>,
    /// How many seconds it lives
    pub seconds: u64,
}

impl Handover {
    /// Returns the handover as bytes.
    pub fn encode(&self) -> Option<SecretBytes> {
        encode(self).map(SecretBytes::from_vec)
    }

    /// Reads the bytes of [`Handover::encode`].
    pub fn decode(bytes: &SecretBytes) -> Option<Self> {
        decode(bytes.expose())
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.address);
    }
}

/// The question of a command.
#[allow(clippy::large_enum_variant)] // only one is in memory
#[derive(Serialize, Deserialize)]
pub(crate) enum Question {
    /// The first one: the version, and the digest of the address, so that an old link is not used
    Hello([u8; 32]),
    Ask(Request),
    Update(Update),
    /// Ends the transaction. Gets no answer.
    EndTransaction,
    /// Ends the link.
    Stop,
}

/// The answer of the link.
#[allow(clippy::large_enum_variant)] // only one is in memory
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Rows(Rows),
    Committed(Committed),
    Failed(Fault),
    /// Another writer came first. A transaction has begun, and these are its first rows.
    Overtaken(Rows),
    /// The outcome of a commit is not known.
    Unknown(Fault),
}

/// An error that crosses the socket.
#[derive(Serialize, Deserialize)]
pub(crate) enum Fault {
    Raced,
    Busy,
    Full,
    IdTaken,
    Damaged,
    Format(i32),
    Unreachable(String),
    Refused(String),
    NoPassword(String),
    Forbidden,
    Reported(String),
    NoVault,
    OtherTables,
}

/// Returns the digest that [`Question::Hello`] has for an encoded address.
pub(crate) fn digest_of(address: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([VERSION]).chain_update(address).finalize().into()
}

/// Returns a message as a frame. `None` if it is too long.
pub(crate) fn framed(message: &impl Serialize) -> Option<Vec<u8>> {
    let bytes = encode(message)?;
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MAX_FRAME)?;
    Some([&length.to_be_bytes()[..], &bytes].concat())
}

/// Returns the length of the message after these bytes, if it is valid.
pub(crate) fn length_of(prefix: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(prefix)).ok().filter(|length| *length <= MAX_FRAME)
}

impl Fault {
    pub(crate) fn of(error: StoreError) -> Self {
        match error {
            StoreError::Raced => Self::Raced,
            StoreError::Busy => Self::Busy,
            StoreError::Full => Self::Full,
            StoreError::IdTaken => Self::IdTaken,
            StoreError::Format(format) => Self::Format(format),
            StoreError::Server(error) => match error {
                ServerError::Unreachable(why) => Self::Unreachable(why),
                ServerError::Refused(why) => Self::Refused(why),
                ServerError::NoPassword(why) => Self::NoPassword(why),
                ServerError::Forbidden => Self::Forbidden,
                ServerError::Reported(code) => Self::Reported(code),
                ServerError::NoVault => Self::NoVault,
                ServerError::OtherTables => Self::OtherTables,
                _ => Self::Damaged,
            },
            _ => Self::Damaged,
        }
    }

    pub(crate) fn error(self) -> StoreError {
        match self {
            Self::Raced => StoreError::Raced,
            Self::Busy => StoreError::Busy,
            Self::Full => StoreError::Full,
            Self::IdTaken => StoreError::IdTaken,
            Self::Damaged => StoreError::Damaged("answer of the server"),
            Self::Format(format) => StoreError::Format(format),
            Self::Unreachable(why) => ServerError::Unreachable(why).into(),
            Self::Refused(why) => ServerError::Refused(why).into(),
            Self::NoPassword(why) => ServerError::NoPassword(why).into(),
            Self::Forbidden => ServerError::Forbidden.into(),
            Self::Reported(code) => ServerError::Reported(code).into(),
            Self::NoVault => ServerError::NoVault.into(),
            Self::OtherTables => ServerError::OtherTables.into(),
        }
    }
}

impl Answer {
    pub(crate) fn of_ask(asked: Result<Rows, StoreError>) -> Self {
        asked.map_or_else(|error| Self::Failed(Fault::of(error)), Self::Rows)
    }

    pub(crate) fn of_update(updated: Result<Committed, UpdateError>) -> Self {
        match updated {
            Ok(committed) => Self::Committed(committed),
            Err(UpdateError::Failed(error)) => Self::Failed(Fault::of(error)),
            Err(UpdateError::Overtaken(rows)) => Self::Overtaken(*rows),
            Err(UpdateError::Unknown(error)) => Self::Unknown(Fault::of(error)),
        }
    }
}
