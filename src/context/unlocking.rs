//! How the vault is unlocked: what is given, what an agent holds, what is typed; and the choice of a new passphrase.
//!
//! It keeps nothing: a passphrase or a code is wiped once the root key is there.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Context, NoticeSubject, PATIENCE};
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

/// For how long `unlock` keeps a vault open by default.
pub(crate) const TTL: &str = "15m";
/// For how long it does so while nothing asks for the vault.
pub(crate) const IDLE: &str = "5m";
/// Tries at a prompt.
pub(super) const TRIES: usize = 3;
/// Words of a passphrase that is suggested: 77 bits.
const SUGGESTED_WORDS: usize = 6;

impl Context {
    /// The vault, unlocked and not kept here: for whoever runs for long.
    pub(crate) fn unlock(&self) -> Result<Vault, Error> {
        let vault = self.unlock_somehow()?;
        self.verify_consent(&vault)?;
        Ok(vault)
    }

    /// Returns the vault if there is one and it opens without a question: by an agent, or by what is given. It is not kept
    /// here: for whoever runs for long.
    pub(crate) fn unkept_vault_without_asking(&self) -> Result<Option<Vault>, Error> {
        if let Some(vault) = self.vault_of_agent(PATIENCE).ok().flatten() {
            return Ok(self.verify_consent(&vault).is_ok().then_some(vault));
        }

        // On stdin may be what the command is to read.
        let is_on_stdin =
            self.passphrase_file() == Some(Path::new("-")) && !self.has_read_stdin.get();
        if is_on_stdin || self.given_credential()?.is_none() || self.vault_is_missing()? {
            return Ok(None);
        }

        self.unlock().map(Some)
    }

    fn unlock_somehow(&self) -> Result<Vault, Error> {
        // Known before the vault is opened, which may wait for a writer: without any, the answer comes at once.
        if let Some(credential) = self.given_credential()? {
            return Ok(self.locked()?.unlock(&*credential)?);
        }

        if !self.options.recovery
            && let Some(vault) = self.vault_of_agent(PATIENCE)?
        {
            return Ok(vault);
        }

        if !prompt::is_possible() {
            if std::fs::symlink_metadata(self.vault_path()?).is_err() {
                self.locked()?;
            }

            return Err(no_passphrase()
                .hint("or unlock the vault for a while, where there is one: `secrets unlock`"));
        }

        let locked = self.locked()?;
        if self.options.recovery {
            let root = self.root_key(&locked)?;
            return Ok(locked.unlocked(root));
        }

        let hint = self.hint_of_unlock(&locked);
        let root = self.typed_passphrase(&locked, hint.as_deref())?.0;
        Ok(locked.unlocked(root))
    }

    /// Asks for the vault's passphrase.
    fn typed_passphrase(
        &self,
        locked: &Locked,
        hint: Option<&str>,
    ) -> Result<(RootKey, Passphrase), Error> {
        self.typed(&self.vault_path()?, "Passphrase", hint, Passphrase::new, |by| {
            locked.root_key(by)
        })
    }

    /// Says how to type the passphrase less often.
    pub(crate) fn about_unlock(&self) -> String {
        let unlock = self.again("unlock");
        format!("{unlock} asks once, then keeps the vault open for {TTL}, or {IDLE} without use")
    }

    /// Returns [`Context::about_unlock`] once for each vault.
    fn hint_of_unlock(&self, locked: &Locked) -> Option<String> {
        let vault_id = locked.vault_id().ok()?;
        if self.ui.is_quiet() || self.is_settled(NoticeSubject::Unlock, &vault_id) {
            return None;
        }

        // What cannot be remembered would be said each time.
        self.settle(NoticeSubject::Unlock, &vault_id).then(|| self.about_unlock())
    }

    /// The vault, unlocked by what is given or typed now, even where an agent has its key.
    pub(crate) fn unlock_anew(&self) -> Result<Vault, Error> {
        let locked = self.locked()?;
        let root = self.root_key(&locked)?;
        Ok(locked.unlocked(root))
    }

    /// The same by the passphrase, which is needed once more.
    pub(crate) fn unlock_by_passphrase(&self) -> Result<(Vault, Passphrase), Error> {
        let given = self.given()?;
        let locked = self.locked()?;
        let (root, passphrase) = match given {
            Some(bytes) => {
                let passphrase = parsed(&bytes)?;
                (locked.root_key(&passphrase)?, passphrase)
            }
            None => self.typed_passphrase(&locked, None)?,
        };

        Ok((locked.unlocked(root), passphrase))
    }

    /// The root key by what is given or typed, even where an agent has it.
    pub(crate) fn root_key(&self, locked: &Locked) -> Result<RootKey, Error> {
        if self.options.recovery && !locked.has_recovery()? {
            return Err(CryptoError::NoRecoveryCode.into());
        }

        self.by_credential(&self.vault_path()?, |by| locked.root_key(by))
    }

    /// What `open` makes of the credential that is given, or typed at a question that names `path`.
    pub(crate) fn by_credential<T>(
        &self,
        path: &Path,
        open: impl Fn(&dyn Credential) -> Result<T, VaultError>,
    ) -> Result<T, Error> {
        match self.given_credential()? {
            Some(credential) => Ok(open(&*credential)?),
            None if self.options.recovery => Ok(self
                .typed(path, "Recovery code", None, RecoveryCode::parse, |code| open(code))?
                .0),
            None => Ok(self
                .typed(path, "Passphrase", None, Passphrase::new, |passphrase| open(passphrase))?
                .0),
        }
    }

    /// Asks for what opens a vault, three times; `hint` stands above the first question.
    fn typed<C: Credential, T>(
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
            let again = |why: &str| match tries_left {
                0 => {}
                _ => self.ui.warn(&format!("{why}, try again")),
            };

            let credential = match read(&ask_below(hint.take(), &question)?) {
                Ok(credential) => credential,
                Err(why) => {
                    let why = format!("that is no {}: {why}", what.to_lowercase());
                    again(&why);
                    failure = Some(Error::new(Kind::Locked, why));
                    continue;
                }
            };

            // What is typed while that takes its time is not shown: it may be the value that is asked for next.
            let hush = prompt::hush();
            let opened = open(&credential);
            drop(hush);

            match opened {
                Ok(opened) => return Ok((opened, credential)),
                Err(VaultError::Crypto(error)) if error == credential.wrong() => {
                    again(&error.to_string());
                    failure = Some(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }

        Err(failure.unwrap_or_else(|| CryptoError::WrongPassphrase.into()))
    }

    /// What opens the vault, of an option, a file or the environment.
    pub(super) fn given_credential(&self) -> Result<Option<Box<dyn Credential>>, Error> {
        let Some(bytes) = self.given()? else { return Ok(None) };
        if !self.options.recovery {
            return Ok(Some(Box::new(parsed(&bytes)?)));
        }

        let code = recovery_code(&bytes).map_err(|error| {
            let place = match self.passphrase_file() {
                Some(path) if path == Path::new("-") => "from stdin".into(),
                Some(path) => format!("out of `{}`", path.display()),
                None => "out of SECRETS_PASSPHRASE".into(),
            };

            error.hint(format!(
                "it came {place}; leave out `--passphrase-file` and SECRETS_PASSPHRASE* to be asked for it"
            ))
        })?;

        Ok(Some(Box::new(code)))
    }

    /// The passphrase, or the recovery code, of an option, a file or the environment, in the contract's order.
    fn given(&self) -> Result<Option<SecretBytes>, Error> {
        match self.passphrase_file() {
            // Read once: `restore` opens two files with it.
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

    /// Refuses a passphrase on stdin, for a command that reads something else there: without this, that would be taken for it.
    pub(crate) fn keep_stdin(&self) -> Result<(), Error> {
        let is_taken = self.passphrase_file() == Some(Path::new("-"));
        if is_taken { Err(UiError::StdinTaken.into()) } else { Ok(()) }
    }

    fn passphrase_file(&self) -> Option<&Path> {
        self.options.passphrase_file.as_deref().or(self.environment.passphrase_file.as_deref())
    }

    /// Device and inode of the passphrase file, where one is named: no output replaces it.
    pub(crate) fn passphrase_file_identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(self.passphrase_file()?).ok().map(|found| (found.dev(), found.ino()))
    }

    /// Wipes the passphrase that the environment gave: for whoever runs for long.
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
            not_shown(what)?;
            return Ok(input::stdin(most)?);
        }

        let (bytes, exposed) =
            input::file(path, most).map_err(|source| unreadable(path, what, &source))?;
        if exposed {
            self.ui.warn(&format!("other users can read the {what} `{}`", path.display()));
        }

        Ok(bytes)
    }

    /// Fails if a passphrase file cannot be read. Commands call it before they ask for another passphrase.
    pub(super) fn check_passphrase_file(path: &Path) -> Result<(), Error> {
        if path == Path::new("-") {
            return not_shown(PASSPHRASE_FILE);
        }

        input::check(path).map(drop).map_err(|source| unreadable(path, PASSPHRASE_FILE, &source))
    }

    /// True where `--recovery` was given.
    pub(crate) fn is_recovering(&self) -> bool {
        self.options.recovery
    }

    /// A recovery code out of a file.
    pub(crate) fn recovery_code_of_file(&self, path: &Path) -> Result<RecoveryCode, Error> {
        recovery_code(&self.line_of_file(path)?)
    }

    /// A recovery code that is typed; `None` for an empty line.
    pub(crate) fn typed_recovery_code(&self) -> Result<Option<RecoveryCode>, Error> {
        let mut failure = None;
        for tries_left in (0..TRIES).rev() {
            let typed = ask(
                "Recovery code, to keep it (empty: it opens nothing from now on, a new one is printed)",
            )?;
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

    /// The passphrase of a vault that is to be made: as given, else typed twice. With `suggest`, Enter takes random words.
    pub(crate) fn new_passphrase(
        &self,
        params: KdfParams,
        suggest: bool,
    ) -> Result<Passphrase, Error> {
        let given = self.given()?;
        if suggest && given.is_some() {
            return Err(Error::usage("`--suggest` cannot be used with a passphrase that is given").hint(
                "leave out `--passphrase-file`, SECRETS_PASSPHRASE_FILE and SECRETS_PASSPHRASE to choose one here",
            ));
        }

        let bytes = match given {
            Some(bytes) => bytes,
            None if suggest => self.suggested()?,
            None => self.typed_twice("New passphrase")?,
        };

        let passphrase = parsed(&bytes)?;
        self.judge(&passphrase, params);
        Ok(passphrase)
    }

    /// Shows six random words on the terminal, and has them, or another passphrase, typed.
    fn suggested(&self) -> Result<SecretBytes, Error> {
        let words = strength::words(SUGGESTED_WORDS)?;
        prompt::show_words("Six random words, to be written down", &words).map_err(unasked)?;
        let first = ask("New passphrase (Enter takes these words)")?;
        if !first.is_empty() {
            parsed(&first)?;
            return self.typed_again(first);
        }

        self.typed_again(words)
    }

    /// What guessing a passphrase costs somebody who has the file.
    fn judge(&self, passphrase: &Passphrase, params: KdfParams) {
        let strength = Strength::of(passphrase, params.moved());
        if !self.warned_if_weak(strength) {
            self.ui.status(&format!(
                "guessing this passphrase takes {} on {ASSUMPTION}",
                strength.time()
            ));
        }
    }

    /// True where it warned.
    pub(super) fn warned_if_weak(&self, strength: Strength) -> bool {
        if strength.is_weak() {
            self.ui.warn(&format!(
                "that is a weak passphrase: guessing it takes {} on {ASSUMPTION}; six random words are better",
                strength.time()
            ));
        }

        strength.is_weak()
    }

    /// Refuses where a new passphrase could come from nowhere, or from a file that cannot be read; `option` is the one that
    /// names a file.
    pub(crate) fn needs_new_passphrase(
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
        .hint(format!("give it by `{option} PATH`")))
    }

    /// The passphrase that takes another's place: that of a file, else typed twice. A guess at it costs `params`.
    pub(crate) fn chosen_passphrase(
        &self,
        file: Option<&Path>,
        params: KdfParams,
    ) -> Result<Passphrase, Error> {
        let bytes = file
            .map_or_else(|| self.typed_twice("New passphrase"), |path| self.line_of_file(path))?;
        let passphrase = parsed(&bytes)?;
        self.judge(&passphrase, params);

        Ok(passphrase)
    }

    /// What is typed the same way twice; what is no passphrase is refused before the second time.
    pub(super) fn typed_twice(&self, question: &str) -> Result<SecretBytes, Error> {
        for _ in 0..TRIES {
            let first = ask(question)?;
            parsed(&first)?;
            if ask(AGAIN)?.expose() == first.expose() {
                return Ok(first);
            }

            self.ui.status(DIFFERENT);
        }

        Err(not_the_same())
    }

    /// Has a passphrase that is known typed once.
    fn typed_again(&self, known: SecretBytes) -> Result<SecretBytes, Error> {
        for _ in 0..TRIES {
            if ask(AGAIN)?.expose() == known.expose() {
                return Ok(known);
            }

            self.ui.status(DIFFERENT);
        }

        Err(not_the_same())
    }
}

const PASSPHRASE_FILE: &str = "passphrase file";
const AGAIN: &str = "The same again";
const DIFFERENT: &str = "the two differ, try again";

/// Refuses to read a secret from stdin if that is a terminal.
fn not_shown(what: &str) -> Result<(), Error> {
    if !input::stdin_is_terminal() {
        return Ok(());
    }

    Err(Error::usage(format!("stdin is a terminal, which would show the {what}"))
        .hint("leave the option out to be asked without echo, or pipe it in"))
}

fn unreadable(path: &Path, what: &str, source: &io::Error) -> Error {
    Error::new(Kind::Locked, format!("cannot read the {what} `{}`: {source}", path.display()))
}

fn not_the_same() -> Error {
    Error::new(Kind::Locked, "the passphrase was not typed the same way twice")
}

pub(super) fn ask(question: &str) -> Result<SecretBytes, Error> {
    ask_below(None, question)
}

fn ask_below(hint: Option<&str>, question: &str) -> Result<SecretBytes, Error> {
    prompt::passphrase(question, hint).map_err(unasked)
}

fn unasked(error: UiError) -> Error {
    match error {
        UiError::NoTerminal => no_passphrase(),
        other => other.into(),
    }
}

fn no_passphrase() -> Error {
    Error::new(Kind::Locked, "no passphrase was given and there is no terminal to ask on")
        .hint("give it by `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE")
}

pub(super) fn parsed(bytes: &SecretBytes) -> Result<Passphrase, Error> {
    Passphrase::new(bytes)
        .map_err(|why| Error::new(Kind::Locked, format!("that is no passphrase: {why}")))
}

fn recovery_code(bytes: &SecretBytes) -> Result<RecoveryCode, Error> {
    RecoveryCode::parse(bytes)
        .map_err(|why| Error::new(Kind::Locked, format!("that is no recovery code: {why}")))
}
