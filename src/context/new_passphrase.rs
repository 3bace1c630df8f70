//! Chooses new passphrases: given, typed twice, or suggested.

use std::path::Path;

use secrets_core::crypto::kdf::{KdfParams, Passphrase};
use secrets_core::model::SecretBytes;

use super::credentials::{ask, check_source, map_prompt_error, parse_passphrase};
use super::{Credentials, Retry};
use crate::error::{Error, Kind};
use crate::generator;
use crate::strength::{ASSUMPTION, Strength};
use crate::ui::prompt;

/// The number of words in a suggested passphrase: 77 bits.
const SUGGESTED_WORDS: usize = 6;
const AGAIN: &str = "Repeat passphrase";

impl Credentials {
    /// Returns the passphrase for a new vault, as given or typed twice. With `suggest`, Enter
    /// accepts random words.
    pub(crate) fn new_passphrase(
        &self,
        params: KdfParams,
        suggest: bool,
    ) -> Result<Passphrase, Error> {
        let given = self.given()?;
        if suggest && given.is_some() {
            return Err(Error::usage("`--suggest` cannot be used with a given passphrase").hint(
                "remove `--passphrase-file`, SECRETS_PASSPHRASE_FILE and SECRETS_PASSPHRASE to \
                 choose one here",
            ));
        }

        let bytes = match given {
            Some(bytes) => bytes,
            None if suggest => self.suggest_passphrase()?,
            None => self.ask_twice("New passphrase")?,
        };

        let passphrase = parse_passphrase(&bytes)?;
        self.report_strength(&passphrase, params);
        Ok(passphrase)
    }

    /// Shows six random words on the terminal, and asks to type them or another passphrase.
    fn suggest_passphrase(&self) -> Result<SecretBytes, Error> {
        let words = generator::words(SUGGESTED_WORDS, b' ')?;
        prompt::show_words("Write down these six random words", &words)
            .map_err(map_prompt_error)?;
        let first = ask("New passphrase (press Enter to use these words)")?;

        if !first.is_empty() {
            parse_passphrase(&first)?;
            return self.ask_to_repeat(&first);
        }

        self.ask_to_repeat(&words)
    }

    /// Reports how long it takes to guess a passphrase for someone who has the file.
    fn report_strength(&self, passphrase: &Passphrase, params: KdfParams) {
        let strength = Strength::of(passphrase, params.bytes_per_guess());
        if !self.warn_if_weak(strength) {
            self.ui.status(&format!(
                "guessing this passphrase takes {} on {ASSUMPTION}",
                strength.time()
            ));
        }
    }

    /// Returns true if it warned.
    pub(super) fn warn_if_weak(&self, strength: Strength) -> bool {
        if strength.is_weak() {
            self.ui.warn(&format!(
                "this passphrase is weak: guessing it takes {} on {ASSUMPTION}; use six random \
                 words instead",
                strength.time()
            ));
        }

        strength.is_weak()
    }

    /// Fails if there is no source for a new passphrase, or if its file cannot be read. `option` is
    /// the option for a file.
    pub(crate) fn check_new_passphrase_source(
        &self,
        file: Option<&Path>,
        option: &str,
    ) -> Result<(), Error> {
        check_source(file, || {
            Error::new(
                Kind::Locked,
                "no new passphrase was given and there is no terminal to ask on",
            )
            .hint(format!("use `{option} PATH`"))
        })
    }

    /// Returns the passphrase that replaces another one, from a file or typed twice. `params` is
    /// the cost of guessing it.
    pub(crate) fn chosen_passphrase(
        &self,
        file: Option<&Path>,
        params: KdfParams,
    ) -> Result<Passphrase, Error> {
        let bytes =
            file.map_or_else(|| self.ask_twice("New passphrase"), |path| self.line_of_file(path))?;
        let passphrase = self.passphrase(&bytes)?;
        self.report_strength(&passphrase, params);

        Ok(passphrase)
    }

    /// Asks for a passphrase twice. An invalid passphrase is refused before the second prompt.
    pub(super) fn ask_twice(&self, question: &str) -> Result<SecretBytes, Error> {
        self.with_retries(|| {
            let first = ask(question)?;
            parse_passphrase(&first)?;
            repeat(first)
        })
    }

    /// Asks to type a known passphrase once.
    fn ask_to_repeat(&self, known: &SecretBytes) -> Result<SecretBytes, Error> {
        self.with_retries(|| repeat(SecretBytes::copy_of(known.expose())))
    }
}

/// Asks for a passphrase again and returns it if it is the same.
fn repeat(first: SecretBytes) -> Result<SecretBytes, Retry> {
    if ask(AGAIN)?.expose() == first.expose() {
        return Ok(first);
    }

    let error = Error::new(Kind::Locked, "the passphrase was not typed the same way twice");
    Err(Retry::again("the passphrases differ", error))
}
