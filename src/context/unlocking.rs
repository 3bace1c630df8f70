//! Unlocks the vault with a given credential, through an agent, or with a typed credential. Also
//! chooses new passphrases.
//!
//! It keeps no secrets: a passphrase or recovery code is wiped once the root key is known.

use std::io;
use std::path::Path;

use secrets_files::FileId;

use super::{AGENT_TIMEOUT, Context, NoticeSubject};
use crate::crypto::CryptoError;
use crate::crypto::kdf::{KdfParams, Passphrase};
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::root_key::RootKey;
use crate::crypto::slot::Credential;
use crate::error::{Error, Kind};
use crate::model::{Invalid, SecretBytes};
use crate::strength::{self, ASSUMPTION, Strength};
use crate::ui::{UiError, input, prompt};
use crate::vault::{Locked, Vault, VaultError};

/// How long `unlock` keeps a vault unlocked by default.
pub(crate) const TTL: &str = "15m";
/// How long an unused vault stays unlocked by default.
pub(crate) const IDLE: &str = "5m";
/// The number of tries at a prompt.
pub(super) const TRIES: usize = 3;
/// The number of words in a suggested passphrase: 77 bits.
const SUGGESTED_WORDS: usize = 6;

impl Context {
    /// Unlocks the vault without keeping it in the context, for commands that run for a long time.
    pub(crate) fn unlock(&self) -> Result<Vault, Error> {
        let vault = self.unlock_unverified()?;
        self.verify_consent(&vault)?;
        Ok(vault)
    }

    /// Returns the vault if it exists and can be opened without a prompt, through an agent or with
    /// a given credential. The context does not keep it, for commands that run for a long time.
    pub(crate) fn unkept_vault_without_asking(&self) -> Result<Option<Vault>, Error> {
        if let Some(vault) = self.vault_of_agent(AGENT_TIMEOUT).ok().flatten() {
            return Ok(self.verify_consent(&vault).is_ok().then_some(vault));
        }

        // The command may need stdin for its own input.
        let is_on_stdin =
            self.passphrase_file() == Some(Path::new("-")) && !self.has_read_stdin.get();
        if is_on_stdin || self.given_credential()?.is_none() || self.vault_is_missing()? {
            return Ok(None);
        }

        self.unlock().map(Some)
    }

    fn unlock_unverified(&self) -> Result<Vault, Error> {
        // This comes before opening the vault, which may wait for a writer.
        if let Some(credential) = self.given_credential()? {
            return Ok(self.locked()?.unlock(&*credential)?);
        }

        if !self.options.recovery
            && let Some(vault) = self.vault_of_agent(AGENT_TIMEOUT)?
        {
            return Ok(vault);
        }

        if !prompt::is_possible() {
            if std::fs::symlink_metadata(self.vault_path()?).is_err() {
                self.locked()?;
            }

            return Err(no_passphrase()
                .hint("or unlock the vault for a while with `secrets unlock` on a terminal"));
        }

        let locked = self.locked()?;
        if self.options.recovery {
            let root = self.root_key(&locked)?;
            return Ok(locked.unlocked(root));
        }

        let hint = self.unlock_hint_once(&locked);
        let root = self.ask_for_passphrase(&locked, hint.as_deref())?.0;
        Ok(locked.unlocked(root))
    }

    /// Asks for the vault's passphrase.
    fn ask_for_passphrase(
        &self,
        locked: &Locked,
        hint: Option<&str>,
    ) -> Result<(RootKey, Passphrase), Error> {
        self.ask_for_credential(&self.vault_path()?, "Passphrase", hint, Passphrase::new, |by| {
            locked.root_key(by)
        })
    }

    /// Returns a hint how to type the passphrase less often.
    pub(crate) fn unlock_hint(&self) -> String {
        let unlock = self.hint_command("unlock");
        format!("{unlock} asks once and keeps the vault unlocked for {TTL}, or {IDLE} without use")
    }

    /// Returns [`Context::unlock_hint`] once per vault.
    fn unlock_hint_once(&self, locked: &Locked) -> Option<String> {
        let vault_id = locked.vault_id().ok()?;
        if self.ui.is_quiet() || self.is_settled(NoticeSubject::Unlock, &vault_id) {
            return None;
        }

        // If the notice could not be recorded, it would be shown every time.
        self.settle(NoticeSubject::Unlock, &vault_id).then(|| self.unlock_hint())
    }

    /// Unlocks the vault with a given or typed credential, even if an agent holds its key.
    pub(crate) fn unlock_with_credential(&self) -> Result<Vault, Error> {
        let locked = self.locked()?;
        let root = self.root_key(&locked)?;
        Ok(locked.unlocked(root))
    }

    /// Unlocks the vault with the passphrase, and returns the passphrase for another use.
    pub(crate) fn unlock_by_passphrase(&self) -> Result<(Vault, Passphrase), Error> {
        let given = self.given()?;
        let locked = self.locked()?;
        let (root, passphrase) = match given {
            Some(bytes) => {
                let passphrase = parse_passphrase(&bytes)?;
                (locked.root_key(&passphrase)?, passphrase)
            }
            None => self.ask_for_passphrase(&locked, None)?,
        };

        Ok((locked.unlocked(root), passphrase))
    }

    /// Returns the root key for a given or typed credential, even if an agent holds it.
    pub(crate) fn root_key(&self, locked: &Locked) -> Result<RootKey, Error> {
        if self.options.recovery && !locked.has_recovery()? {
            return Err(CryptoError::NoRecoveryCode.into());
        }

        self.by_credential(&self.vault_path()?, |by| locked.root_key(by))
    }

    /// Calls `open` with the given credential, or with one that is typed at a prompt which names
    /// `path`.
    pub(crate) fn by_credential<T>(
        &self,
        path: &Path,
        open: impl Fn(&dyn Credential) -> Result<T, VaultError>,
    ) -> Result<T, Error> {
        match self.given_credential()? {
            Some(credential) => Ok(open(&*credential)?),
            None if self.options.recovery => Ok(self
                .ask_for_credential(path, "Recovery code", None, RecoveryCode::parse, |code| {
                    open(code)
                })?
                .0),
            None => Ok(self
                .ask_for_credential(path, "Passphrase", None, Passphrase::new, |passphrase| {
                    open(passphrase)
                })?
                .0),
        }
    }

    /// Asks for a credential in up to three tries. `hint` is printed above the first prompt.
    fn ask_for_credential<C: Credential, T>(
        &self,
        path: &Path,
        what: &str,
        mut hint: Option<&str>,
        read: impl Fn(&SecretBytes) -> Result<C, Invalid>,
        open: impl Fn(&C) -> Result<T, VaultError>,
    ) -> Result<(T, C), Error> {
        let question = format!("{what} for {}", path.display());
        let mut failure = None;
        for tries_left in (0..TRIES).rev() {
            let retry = |why: &str| match tries_left {
                0 => {}
                _ => self.ui.warn(&format!("{why}, try again")),
            };

            let credential = match read(&ask_below(hint.take(), &question)?) {
                Ok(credential) => credential,
                Err(why) => {
                    let why = format!("invalid {}: {why}", what.to_lowercase());
                    retry(&why);
                    failure = Some(Error::new(Kind::Locked, why));
                    continue;
                }
            };

            // Text typed during this delay is not echoed, because it may be the value that is asked
            // for next.
            let echo_off = prompt::echo_off();
            let opened = open(&credential);
            drop(echo_off);

            match opened {
                Ok(opened) => return Ok((opened, credential)),
                Err(VaultError::Crypto(error)) if error == credential.wrong() => {
                    retry(&error.to_string());
                    failure = Some(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }

        Err(failure.unwrap_or_else(|| CryptoError::WrongPassphrase.into()))
    }

    /// Returns the credential from an option, a file or the environment.
    pub(super) fn given_credential(&self) -> Result<Option<Box<dyn Credential>>, Error> {
        let Some(bytes) = self.given()? else { return Ok(None) };
        if !self.options.recovery {
            return Ok(Some(Box::new(parse_passphrase(&bytes)?)));
        }

        let code = recovery_code(&bytes).map_err(|error| {
            let place = match self.passphrase_file() {
                Some(path) if path == Path::new("-") => "stdin".into(),
                Some(path) => format!("`{}`", path.display()),
                None => "SECRETS_PASSPHRASE".into(),
            };

            error.hint(format!(
                "it was read from {place}; remove `--passphrase-file` and SECRETS_PASSPHRASE* to \
                 be asked for it"
            ))
        })?;

        Ok(Some(Box::new(code)))
    }

    /// Returns the passphrase or recovery code from an option, a file or the environment, in this
    /// order.
    fn given(&self) -> Result<Option<SecretBytes>, Error> {
        match self.passphrase_file() {
            // Stdin is read only once, because `restore` opens two files with the same passphrase.
            Some(path) if path != Path::new("-") => return self.line_of_file(path).map(Some),
            Some(path) if !self.has_read_stdin.replace(true) => {
                let bytes = self.line_of_file(path)?;
                self.environment.passphrase.replace(Some(bytes));
            }
            _ => {}
        }

        Ok(self
            .environment
            .passphrase
            .borrow()
            .as_ref()
            .map(|bytes| SecretBytes::copy_of(bytes.expose())))
    }

    /// Refuses a passphrase from stdin if the command reads other input there, which would be taken
    /// for the passphrase.
    pub(crate) fn keep_stdin(&self) -> Result<(), Error> {
        let is_taken = self.passphrase_file() == Some(Path::new("-"));
        if is_taken { Err(UiError::StdinTaken.into()) } else { Ok(()) }
    }

    fn passphrase_file(&self) -> Option<&Path> {
        self.options.passphrase_file.as_deref().or(self.environment.passphrase_file.as_deref())
    }

    /// Returns the identity of the passphrase file, if one is given, so that no output replaces it.
    pub(crate) fn passphrase_file_identity(&self) -> Option<FileId> {
        FileId::at(self.passphrase_file()?)
    }

    /// Wipes the passphrase from the environment, for commands that run for a long time.
    pub(crate) fn forget_passphrase(&self) {
        self.environment.passphrase.take();
    }

    pub(super) fn line_of_file(&self, path: &Path) -> Result<SecretBytes, Error> {
        let mut bytes = self.private_file(path, PASSPHRASE_FILE, 8 * Passphrase::MAX)?;
        input::drop_newline(&mut bytes);
        Ok(bytes)
    }

    pub(super) fn private_file(
        &self,
        path: &Path,
        what: &str,
        most: usize,
    ) -> Result<SecretBytes, Error> {
        if path == Path::new("-") {
            refuse_terminal(what)?;
            return Ok(input::stdin(most)?);
        }

        let (bytes, exposed) =
            input::file(path, most).map_err(|source| unreadable(path, what, &source))?;
        if exposed {
            self.ui.warn(&format!("other users can read the {what} `{}`", path.display()));
        }

        Ok(bytes)
    }

    /// Fails if a passphrase file cannot be read. Commands call it before they ask for another
    /// passphrase.
    pub(super) fn check_passphrase_file(path: &Path) -> Result<(), Error> {
        if path == Path::new("-") {
            return refuse_terminal(PASSPHRASE_FILE);
        }

        input::check(path).map(drop).map_err(|source| unreadable(path, PASSPHRASE_FILE, &source))
    }

    /// Returns true if `--recovery` was given.
    pub(crate) fn is_recovering(&self) -> bool {
        self.options.recovery
    }

    /// Reads a recovery code from a file.
    pub(crate) fn recovery_code_of_file(&self, path: &Path) -> Result<RecoveryCode, Error> {
        recovery_code(&self.line_of_file(path)?)
    }

    /// Asks for a recovery code. Returns `None` for an empty line.
    pub(crate) fn ask_for_recovery_code(&self) -> Result<Option<RecoveryCode>, Error> {
        let mut failure = None;
        for tries_left in (0..TRIES).rev() {
            let typed =
                ask("Recovery code, to keep it (leave empty to replace it with a new one)")?;
            if typed.is_empty() {
                return Ok(None);
            }

            match recovery_code(&typed) {
                Ok(code) => return Ok(Some(code)),
                Err(error) if tries_left > 0 => {
                    self.ui.warn(&format!("{}, try again", error.message()));
                }
                Err(error) => failure = Some(error),
            }
        }

        failure.map_or(Ok(None), Err)
    }

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
        let words = strength::words(SUGGESTED_WORDS)?;
        prompt::show_words("Write down these six random words", &words)
            .map_err(map_prompt_error)?;
        let first = ask("New passphrase (press Enter to use these words)")?;

        if !first.is_empty() {
            parse_passphrase(&first)?;
            return self.ask_to_repeat(first);
        }

        self.ask_to_repeat(words)
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
        if let Some(path) = file {
            return Self::check_passphrase_file(path);
        }

        if prompt::is_possible() {
            return Ok(());
        }

        Err(Error::new(
            Kind::Locked,
            "no new passphrase was given and there is no terminal to ask on",
        )
        .hint(format!("use `{option} PATH`")))
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
        let passphrase = parse_passphrase(&bytes)?;
        self.report_strength(&passphrase, params);

        Ok(passphrase)
    }

    /// Asks for a passphrase twice. An invalid passphrase is refused before the second prompt.
    pub(super) fn ask_twice(&self, question: &str) -> Result<SecretBytes, Error> {
        for _ in 0..TRIES {
            let first = ask(question)?;
            parse_passphrase(&first)?;
            if ask(AGAIN)?.expose() == first.expose() {
                return Ok(first);
            }

            self.ui.status(DIFFERENT);
        }

        Err(mismatch_error())
    }

    /// Asks to type a known passphrase once.
    fn ask_to_repeat(&self, known: SecretBytes) -> Result<SecretBytes, Error> {
        for _ in 0..TRIES {
            if ask(AGAIN)?.expose() == known.expose() {
                return Ok(known);
            }

            self.ui.status(DIFFERENT);
        }

        Err(mismatch_error())
    }
}

const PASSPHRASE_FILE: &str = "passphrase file";
const AGAIN: &str = "Repeat passphrase";
const DIFFERENT: &str = "the passphrases differ, try again";

/// Refuses to read a secret from stdin if it is a terminal.
fn refuse_terminal(what: &str) -> Result<(), Error> {
    if !input::stdin_is_terminal() {
        return Ok(());
    }

    Err(Error::usage(format!("stdin is a terminal, which would show the {what}"))
        .hint("remove the option to be asked without echo, or pipe it in"))
}

fn unreadable(path: &Path, what: &str, source: &io::Error) -> Error {
    Error::new(Kind::Locked, format!("cannot read the {what} `{}`: {source}", path.display()))
}

fn mismatch_error() -> Error {
    Error::new(Kind::Locked, "the passphrase was not typed the same way twice")
}

pub(super) fn ask(question: &str) -> Result<SecretBytes, Error> {
    ask_below(None, question)
}

fn ask_below(hint: Option<&str>, question: &str) -> Result<SecretBytes, Error> {
    prompt::passphrase(question, hint).map_err(map_prompt_error)
}

fn map_prompt_error(error: UiError) -> Error {
    match error {
        UiError::NoTerminal => no_passphrase(),
        other => other.into(),
    }
}

fn no_passphrase() -> Error {
    Error::new(Kind::Locked, "no passphrase was given and there is no terminal to ask on")
        .hint("use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE")
}

pub(super) fn parse_passphrase(bytes: &SecretBytes) -> Result<Passphrase, Error> {
    Passphrase::new(bytes)
        .map_err(|why| Error::new(Kind::Locked, format!("invalid passphrase: {why}")))
}

fn recovery_code(bytes: &SecretBytes) -> Result<RecoveryCode, Error> {
    RecoveryCode::parse(bytes)
        .map_err(|why| Error::new(Kind::Locked, format!("invalid recovery code: {why}")))
}
