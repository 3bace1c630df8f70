//! Credentials: given by an option, a file or the environment, or typed.
//!
//! It keeps no secrets: a passphrase or recovery code is wiped once the root key is known.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use secrets_core::crypto::kdf::Passphrase;
use secrets_core::crypto::key_file::KeyFile;
use secrets_core::crypto::recovery::RecoveryCode;
use secrets_core::crypto::slot::Credential;
use secrets_core::model::{Invalid, SecretBytes};
use secrets_core::vault::VaultError;
use secrets_files::FileId;

use crate::config::Environment;
use crate::error::{Error, Kind};
use crate::ui::{Ui, UiError, input, prompt};

/// The number of tries at a prompt.
const TRIES: usize = 3;

/// The ways to the vault's key that the user gave or can type.
pub(crate) struct Credentials {
    pub(super) ui: Arc<Ui>,
    pub(super) environment: Rc<Environment>,
    /// The file of `--passphrase-file`; `-` is stdin
    pub(super) file: Option<PathBuf>,
    /// The file of `--key-file`
    key_file: Option<PathBuf>,
    /// The file of `--token-file`; `-` is stdin
    token_file: Option<PathBuf>,
    /// True to use the recovery code instead of the passphrase
    pub(super) recovery: bool,
    /// True if a token was read from a file and stored in the place of the environment's
    pub(super) has_read_token: Cell<bool>,
    /// True if the passphrase was read from stdin and stored in the place of the environment's
    has_read_stdin: Cell<bool>,
}

/// Why an attempt at a prompt failed.
pub(super) enum Retry {
    /// The answer was wrong, for the reason in the text; the error is reported after the last try
    Again(String, Box<Error>),
    /// Trying again would not help
    Never(Box<Error>),
}

impl<E: Into<Error>> From<E> for Retry {
    fn from(error: E) -> Self {
        Self::Never(Box::new(error.into()))
    }
}

impl Retry {
    pub(super) fn again(why: impl Into<String>, error: Error) -> Self {
        Self::Again(why.into(), Box::new(error))
    }
}

impl Credentials {
    pub(super) fn new(
        ui: Arc<Ui>,
        environment: Rc<Environment>,
        file: Option<PathBuf>,
        key_file: Option<PathBuf>,
        token_file: Option<PathBuf>,
        recovery: bool,
    ) -> Self {
        let (has_read_stdin, has_read_token) = (Cell::new(false), Cell::new(false));
        Self {
            ui,
            environment,
            file,
            key_file,
            token_file,
            recovery,
            has_read_token,
            has_read_stdin,
        }
    }

    /// Repeats an attempt at a prompt up to three times, and shows in between, where it was asked,
    /// why it failed.
    pub(super) fn with_retries<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Retry>,
    ) -> Result<T, Error> {
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            match attempt() {
                Ok(done) => return Ok(done),
                Err(Retry::Again(why, _)) if tries_left > 0 => {
                    prompt::show_line(&format!("{why}, try again"))?;
                }
                Err(Retry::Again(_, error) | Retry::Never(error)) => return Err(*error),
            }
        }
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
            None if self.recovery => Ok(self
                .ask_for_credential(path, "Recovery code", None, RecoveryCode::parse, |code| {
                    open(code)
                })?
                .0),
            None => Ok(self.ask_for_passphrase(path, None, |passphrase| open(passphrase))?.0),
        }
    }

    /// Asks for the passphrase, which comes with the key file if one is given.
    pub(super) fn ask_for_passphrase<T>(
        &self,
        path: &Path,
        hint: Option<&str>,
        open: impl Fn(&Passphrase) -> Result<T, VaultError>,
    ) -> Result<(T, Passphrase), Error> {
        let key_file = self.key_file()?;
        let read = |typed: &SecretBytes| {
            Passphrase::new(typed).map(|it| it.with_key_file(key_file.clone()))
        };

        self.ask_for_credential(path, "Passphrase", hint, read, open)
    }

    /// Returns the path of the key file, if one is given.
    pub(super) fn key_file_path(&self) -> Option<&Path> {
        self.key_file.as_deref().or(self.environment.key_file.as_deref())
    }

    /// Reads the key file, if one is given.
    pub(super) fn key_file(&self) -> Result<Option<Arc<KeyFile>>, Error> {
        let Some(path) = self.key_file_path() else { return Ok(None) };
        let text = self.private_file(path, KEY_FILE, KeyFile::MAX)?;
        KeyFile::parse(&text).map(|key| Some(Arc::new(key))).map_err(|why| {
            let message = format!("invalid {KEY_FILE} `{}`: {why}", path.display());
            Error::new(Kind::Locked, message)
                .hint("name the file that `secrets key-file create` wrote")
        })
    }

    /// Parses a passphrase, which comes with the key file if one is given.
    pub(super) fn passphrase(&self, bytes: &SecretBytes) -> Result<Passphrase, Error> {
        Ok(parse_passphrase(bytes)?.with_key_file(self.key_file()?))
    }

    /// Asks for a credential. `hint` is printed above the first prompt.
    pub(super) fn ask_for_credential<C: Credential, T>(
        &self,
        path: &Path,
        what: &str,
        mut hint: Option<&str>,
        read: impl Fn(&SecretBytes) -> Result<C, Invalid>,
        open: impl Fn(&C) -> Result<T, VaultError>,
    ) -> Result<(T, C), Error> {
        let question = format!("{what} for {}", path.display());
        self.with_retries(|| {
            let typed = ask_below(hint.take(), &question)?;
            let credential = read(&typed).map_err(|why| {
                let why = format!("invalid {}: {why}", what.to_lowercase());
                Retry::again(why.clone(), Error::new(Kind::Locked, why))
            })?;

            // Text typed during this delay is not echoed, because it may be the value that is asked
            // for next.
            let echo_off = prompt::echo_off();
            let opened = open(&credential);
            drop(echo_off);

            match opened {
                Ok(opened) => Ok((opened, credential)),
                Err(VaultError::Crypto(error)) if error == credential.wrong() => {
                    Err(Retry::again(error.to_string(), error.into()))
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Returns the credential from an option, a file or the environment.
    pub(super) fn given_credential(&self) -> Result<Option<Box<dyn Credential>>, Error> {
        let Some(bytes) = self.given()? else { return Ok(None) };
        if !self.recovery {
            return Ok(Some(Box::new(self.passphrase(&bytes)?)));
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
    pub(super) fn given(&self) -> Result<Option<SecretBytes>, Error> {
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
        let is_stdin = |path: Option<&Path>| path == Some(Path::new("-"));
        let is_token = self.use_a_token() && is_stdin(self.token_file());
        if is_token || !self.use_a_token() && is_stdin(self.passphrase_file()) {
            Err(UiError::StdinTaken.into())
        } else {
            Ok(())
        }
    }

    /// Returns true if the passphrase still has to be read from stdin.
    pub(super) fn are_on_stdin(&self) -> bool {
        self.passphrase_file() == Some(Path::new("-")) && !self.has_read_stdin.get()
    }

    pub(crate) fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref().or(self.environment.token_file.as_deref())
    }

    pub(super) fn passphrase_file(&self) -> Option<&Path> {
        self.file.as_deref().or(self.environment.passphrase_file.as_deref())
    }

    /// Returns the identity of the passphrase file, if one is given, so that no output replaces it.
    pub(crate) fn passphrase_file_identity(&self) -> Option<FileId> {
        FileId::at(self.passphrase_file()?)
    }

    /// Wipes the passphrase and the token, for commands that run for a long time.
    pub(crate) fn forget_passphrase(&self) {
        self.environment.passphrase.take();
        self.environment.token.take();
    }

    pub(super) fn line_of_file(&self, path: &Path) -> Result<SecretBytes, Error> {
        self.line_of(path, PASSPHRASE_FILE, 8 * Passphrase::MAX)
    }

    pub(super) fn line_of(
        &self,
        path: &Path,
        what: &str,
        most: usize,
    ) -> Result<SecretBytes, Error> {
        let mut bytes = self.private_file(path, what, most)?;
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

    /// Returns true if `--recovery` was given.
    pub(crate) fn is_recovering(&self) -> bool {
        self.recovery
    }

    /// Fails if `--recovery` was given, for a command that needs the passphrase.
    pub(crate) fn refuse_recovery(&self) -> Result<(), Error> {
        if !self.recovery {
            return Ok(());
        }

        Err(Error::usage("`--recovery` cannot be used here, because the passphrase is needed")
            .hint("set a new passphrase with `secrets passwd --recovery`"))
    }

    pub(crate) fn recovery_code_of_file(&self, path: &Path) -> Result<RecoveryCode, Error> {
        recovery_code(&self.line_of(path, RECOVERY_FILE, 8 * Passphrase::MAX)?)
    }

    /// Returns true if a passphrase is given by an option, a file or the environment.
    pub(crate) fn has_passphrase(&self) -> Result<bool, Error> {
        Ok(self.given()?.is_some())
    }

    /// Asks for a recovery code.
    pub(crate) fn typed_recovery_code(&self, question: &str) -> Result<RecoveryCode, Error> {
        self.with_retries(|| {
            recovery_code(&ask(question)?)
                .map_err(|error| Retry::again(error.message().to_owned(), error))
        })
    }

    /// Asks for a recovery code. Returns `None` for an empty line.
    pub(crate) fn ask_for_recovery_code(&self) -> Result<Option<RecoveryCode>, Error> {
        self.with_retries(|| {
            let typed =
                ask("Recovery code, to keep it (leave empty to replace it with a new one)")?;
            if typed.is_empty() {
                return Ok(None);
            }

            let code = recovery_code(&typed);
            code.map(Some).map_err(|error| Retry::again(error.message().to_owned(), error))
        })
    }
}

const PASSPHRASE_FILE: &str = "passphrase file";
const RECOVERY_FILE: &str = "file of the recovery code";
const KEY_FILE: &str = "key file";

/// Fails if the file of a new passphrase cannot be read, or, without a file, with the error of
/// `missing` if there is no terminal to ask on. Commands call it before they ask for another
/// passphrase.
pub(super) fn check_source(
    file: Option<&Path>,
    missing: impl FnOnce() -> Error,
) -> Result<(), Error> {
    match file {
        Some(path) if path == Path::new("-") => refuse_terminal(PASSPHRASE_FILE),
        Some(path) => input::check(path)
            .map(drop)
            .map_err(|source| unreadable(path, PASSPHRASE_FILE, &source)),
        None if prompt::is_possible() => Ok(()),
        None => Err(missing()),
    }
}

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

impl Credentials {
    /// Asks for another secret text at a hidden prompt.
    pub(crate) fn ask_for_text(&self, question: &str) -> Result<SecretBytes, Error> {
        ask(question)
    }
}

pub(super) fn ask(question: &str) -> Result<SecretBytes, Error> {
    ask_below(None, question)
}

fn ask_below(hint: Option<&str>, question: &str) -> Result<SecretBytes, Error> {
    prompt::passphrase(question, hint).map_err(map_prompt_error)
}

pub(super) fn map_prompt_error(error: UiError) -> Error {
    match error {
        UiError::NoTerminal => no_passphrase(),
        other => other.into(),
    }
}

pub(super) fn no_passphrase() -> Error {
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
