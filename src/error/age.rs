//! What an age file has to say that does not open.

use super::{Error, Kind};
use crate::crypto::age_file::AgeError;

/// Why `file` was not opened.
pub(crate) fn age_file(error: &AgeError, file: &str) -> Error {
    let of = |kind| Error::new(kind, format!("cannot open `{file}`: {error}"));
    match error {
        AgeError::WrongPassphrase => {
            of(Kind::Locked).hint("it is the one given when the file was made, not the vault's")
        }
        AgeError::WrongIdentity => {
            of(Kind::Locked).hint("name the right one with `--identity FILE`")
        }
        AgeError::NeedsPassphrase => {
            of(Kind::Locked).hint("leave out `--identity`; nothing was stored")
        }
        AgeError::NeedsIdentity => {
            of(Kind::Locked).hint("name the key's file with `--identity FILE`")
        }
        AgeError::Damaged => of(Kind::Damaged)
            .hint("nothing was stored; make the export again, or take another copy"),
        AgeError::Version => of(Kind::Damaged).hint("nothing was stored"),
        AgeError::TooMuchWork => of(Kind::Damaged)
            .hint("if you trust the file: decrypt it with `age` and encrypt it again"),
        AgeError::Memory(_) | AgeError::Io(_) => of(Kind::Failure),
    }
}
