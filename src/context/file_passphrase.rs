//! Passphrases of age files: that of an export, chosen, and that of a file to be imported. The vault's own is never taken for
//! one: neither the environment nor `--passphrase-file` gives it.

use std::path::Path;

use super::Context;
use super::unlocking::{TRIES, ask, parsed};
use crate::crypto::age_file::{AgeError, MOVED};
use crate::error::{self, Error, Kind};
use crate::model::SecretBytes;
use crate::strength::Strength;
use crate::ui::{Progress, prompt};

/// What a terminal shows while scrypt makes a key of a passphrase, which takes a second or more.
pub(crate) const MAKING_KEY: &str =
    "making the file's key of the passphrase: this takes a few seconds";

impl Context {
    /// Refuses where the passphrase of an export could come from nowhere, or from a file that cannot be read.
    pub(crate) fn needs_export_passphrase(file: Option<&Path>) -> Result<(), Error> {
        if let Some(path) = file {
            return Self::check_passphrase_file(path);
        }

        if prompt::is_possible() {
            return Ok(());
        }

        Err(Error::new(Kind::Locked, "no passphrase for the export was given and there is no terminal to ask on")
            .hint("give it by `--export-passphrase-file PATH`, or encrypt to a key with `--recipient age1…`"))
    }

    /// The passphrase of an export: that of a file, else typed twice. It is taken as it is typed, as `age` does.
    pub(crate) fn export_passphrase(&self, file: Option<&Path>) -> Result<SecretBytes, Error> {
        let typed = || self.typed_twice("Passphrase for the export");
        let bytes = file.map_or_else(typed, |path| self.line_of_file(path))?;
        self.warned_if_weak(Strength::of(&parsed(&bytes)?, MOVED));
        Ok(bytes)
    }

    /// Opens a file with the passphrase of `given`, else with one that is typed, three times. `name` is the file's.
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
            return Err(
                Error::new(Kind::Locked, what).hint("give it by `--import-passphrase-file PATH`")
            );
        }

        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            let passphrase = ask(&format!("Passphrase for {name}"))?;
            let hush = prompt::hush();
            let progress = self.key_progress();
            let opened = open(&passphrase);

            drop(progress);
            drop(hush);
            match opened {
                Err(AgeError::WrongPassphrase) if tries_left > 0 => {
                    self.ui.warn("wrong passphrase, try again");
                }
                opened => return opened.map_err(|error| error::age_file(&error, name)),
            }
        }
    }

    /// Shows [`MAKING_KEY`] until it is dropped.
    pub(crate) fn key_progress(&self) -> Progress {
        let progress = self.ui.progress("");
        progress.working(MAKING_KEY);
        progress
    }

    /// A small file of keys, as `line_of_file` reads a passphrase.
    pub(crate) fn identity_file(&self, path: &Path) -> Result<SecretBytes, Error> {
        self.private_file(path, "identity file", 1024 * 1024)
    }
}
