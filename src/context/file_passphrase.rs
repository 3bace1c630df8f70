//! The passphrases of age files: the chosen one of an export, and that of a file to import. The
//! vault's passphrase is never used for this, so neither the environment nor `--passphrase-file`
//! provides it.

use std::path::Path;

use secrets_age::{AgeError, BYTES_PER_GUESS};
use secrets_core::model::SecretBytes;

use super::credentials::{ask, check_source, parse_passphrase};
use super::{Credentials, Retry};
use crate::error::{self, Error, Kind};
use crate::strength::Strength;
use crate::ui::{Progress, prompt};

/// The progress text while scrypt derives a key from a passphrase, which takes a second or more.
pub(crate) const MAKING_KEY: &str =
    "deriving the file's key from the passphrase: this takes a few seconds";

impl Credentials {
    /// Fails if there is no source for the passphrase of an export, or if its file cannot be read.
    pub(crate) fn check_export_passphrase_source(file: Option<&Path>) -> Result<(), Error> {
        check_source(file, || {
            Error::new(
                Kind::Locked,
                "no passphrase for the export was given and there is no terminal to ask on",
            )
            .hint(
                "use `--export-passphrase-file PATH`, or encrypt to a key with `--recipient age1…`",
            )
        })
    }

    /// Returns the passphrase of an export, from a file or typed twice. It is used exactly as
    /// typed, like in `age`.
    pub(crate) fn export_passphrase(&self, file: Option<&Path>) -> Result<SecretBytes, Error> {
        let typed = || self.ask_twice("Passphrase for the export");
        let bytes = file.map_or_else(typed, |path| self.line_of_file(path))?;
        self.warn_if_weak(Strength::of(&parse_passphrase(&bytes)?, BYTES_PER_GUESS));
        Ok(bytes)
    }

    /// Opens a file with the passphrase from `given`, or with one that is typed, in up to three
    /// tries. `name` is the name of the file.
    pub(crate) fn open_by_passphrase<T>(
        &self,
        given: Option<&Path>,
        name: &str,
        open: impl Fn(&SecretBytes) -> Result<T, AgeError>,
    ) -> Result<T, Error> {
        if let Some(path) = given {
            let passphrase = self.line_of_file(path)?;
            let _progress = self.key_progress();
            return open(&passphrase).map_err(|error| error::age_file(&error, name));
        }

        if !prompt::is_possible() {
            let what =
                format!("no passphrase for `{name}` was given and there is no terminal to ask on");
            return Err(Error::new(Kind::Locked, what).hint("use `--import-passphrase-file PATH`"));
        }

        self.with_retries(|| {
            let passphrase = ask(&format!("Passphrase for {name}"))?;
            let echo_off = prompt::echo_off();
            let progress = self.key_progress();
            let opened = open(&passphrase);

            drop(progress);
            drop(echo_off);
            opened.map_err(|error| match error {
                AgeError::WrongPassphrase => {
                    Retry::again(error.to_string(), error::age_file(&error, name))
                }
                error => error::age_file(&error, name).into(),
            })
        })
    }

    /// Shows [`MAKING_KEY`] until the returned value is dropped.
    pub(crate) fn key_progress(&self) -> Progress {
        let progress = self.ui.progress("");
        progress.working(MAKING_KEY);
        progress
    }

    /// Reads a small file of keys, with the checks of `line_of_file` for passphrases.
    pub(crate) fn identity_file(&self, path: &Path) -> Result<SecretBytes, Error> {
        self.private_file(path, "identity file", 1024 * 1024)
    }
}
