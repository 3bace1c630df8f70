//! The errors of age files that cannot be opened.

use secrets_age::AgeError;

use super::{Error, Kind};

/// Reports why `file` could not be opened.
pub(crate) fn age_file(error: &AgeError, file: &str) -> Error {
    let failure = |kind| Error::new(kind, format!("cannot open `{file}`: {error}"));
    match error {
        AgeError::WrongPassphrase => {
            failure(Kind::Locked).hint("enter the passphrase of the file, not that of the vault")
        }
        AgeError::WrongIdentity => {
            failure(Kind::Locked).hint("pass the matching identity with `--identity FILE`")
        }
        AgeError::NeedsPassphrase => failure(Kind::Locked)
            .hint("remove `--identity` and enter the passphrase; nothing was stored"),
        AgeError::NeedsIdentity => {
            failure(Kind::Locked).hint("pass the key's file with `--identity FILE`")
        }
        AgeError::Damaged => failure(Kind::Damaged)
            .hint("export again, or use another copy of the file; nothing was stored"),
        AgeError::Version => failure(Kind::Damaged).hint("nothing was stored"),
        AgeError::TooMuchWork => failure(Kind::Damaged)
            .hint("if you trust the file, decrypt it with `age` and encrypt it again"),
        AgeError::Memory(_) | AgeError::Io(_) => failure(Kind::Failure),
    }
}
