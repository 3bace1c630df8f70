//! Opens the vault with a token, and decides which commands a token permits.

use secrets_core::crypto::token::Token;
use secrets_core::model::{Level, Period, SecretBytes, Timestamp};
use secrets_core::vault::{TokenAccess, TokenView, Vault};

use super::{Context, Credentials};
use crate::error::{Error, Kind, hint};
use crate::ui::time;

/// How long before its end each use of a token warns.
const WARN_BEFORE: Period = Period::of_days(14);

/// The right that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// No access to secrets; a token is not looked at
    Nothing,
    /// A token of this level, or the passphrase
    Level(Level),
    /// The passphrase
    Owner,
}

impl Context {
    /// Opens the vault with a token if one was given. Fails if it does not permit the command.
    pub(crate) fn use_token(&self, right: Right, command: &str) -> Result<(), Error> {
        if right == Right::Nothing {
            return Ok(());
        }

        let Some(token) = self.credentials.given_token()? else { return Ok(()) };
        let Right::Level(level) = right else {
            return Err(Error::new(
                Kind::Refused,
                format!("`{command}` needs the passphrase; a token does not permit it"),
            )
            .hint(
                "remove `--token-file`, SECRETS_TOKEN_FILE and SECRETS_TOKEN to be asked for it",
            ));
        };

        self.credentials.mention_token();
        let vault = self.with_token(token)?;
        let view = view(&vault)?;
        if view.level < level {
            let TokenView { name, level: has, .. } = &view;
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "`{command}` needs a token with level `{level}`; `{name}` has level `{has}`"
                ),
            )
            .hint(hint!(
                "the owner can raise it with `secrets token update {} --level {}`",
                name,
                level
            )));
        }

        self.warn_about_expiry(&view);
        self.target.default_to(&view.project);
        let _ = self.token.set(view);
        let _ = self.vault.set(vault);
        Ok(())
    }

    /// Unlocks the vault with the token that was given, if one was.
    pub(super) fn vault_of_token(&self) -> Result<Option<Vault>, Error> {
        match self.credentials.given_token()? {
            Some(token) => self.with_token(token).map(Some),
            None => Ok(None),
        }
    }

    fn with_token(&self, token: Token) -> Result<Vault, Error> {
        let locked = self.locked()?;
        let access = TokenAccess::new(token, locked.vault_id()?);
        Ok(locked.unlocked(access))
    }

    /// Returns the token that was given and what it may do.
    pub(crate) fn given_token(&self) -> Result<TokenView, Error> {
        let vault = self.vault_of_token()?.ok_or_else(|| {
            Error::new(Kind::Locked, "no token was given")
                .hint("use `--token-file PATH`, SECRETS_TOKEN_FILE or SECRETS_TOKEN")
        })?;
        view(&vault)
    }

    /// Warns if the token expires soon.
    pub(crate) fn warn_about_expiry(&self, view: &TokenView) {
        if let Some(expires) = view.expires
            && WARN_BEFORE.after(Timestamp::now()) > expires
        {
            let (name, date) = (&view.name, time::local_date(expires));
            self.ui.warn(&self.target.hint_text(hint!(
                "the token `{}` expires on {}; `secrets token update {} --expires 90d` keeps its string",
                name,
                date,
                name
            )));
        }
    }
}

fn view(vault: &Vault) -> Result<TokenView, Error> {
    vault.token()?.ok_or_else(|| Error::internal("the vault was not opened with a token"))
}

impl Credentials {
    /// Returns true if the command uses a token.
    pub(crate) fn use_a_token(&self) -> bool {
        let is_overridden = self.file.is_some() || self.recovery;
        !is_overridden && (self.token_file().is_some() || self.environment.token.borrow().is_some())
    }

    /// Returns the token of an option, a file or the environment, in this order. An explicit
    /// passphrase file or recovery code comes before all of them.
    fn given_token(&self) -> Result<Option<Token>, Error> {
        if !self.use_a_token() {
            return Ok(None);
        }

        let bytes = match self.token_file() {
            // Stdin is read only once.
            Some(path) if !self.has_read_token.replace(true) => {
                let bytes = self.line_of(path, TOKEN_FILE, 8 * Token::LENGTH)?;
                self.environment.token.replace(Some(SecretBytes::copy_of(bytes.expose())));
                bytes
            }
            _ => {
                let kept = self.environment.token.borrow();
                let kept = kept.as_ref().map(SecretBytes::expose).unwrap_or_default();
                SecretBytes::copy_of(kept)
            }
        };

        let invalid = |why| Error::new(Kind::Locked, format!("invalid token: {why}"));
        Token::parse(&bytes).map(Some).map_err(invalid)
    }

    /// Says that the token is used if the environment has a passphrase as well.
    fn mention_token(&self) {
        let is_other = self.environment.passphrase.borrow().is_some()
            || self.environment.passphrase_file.is_some();
        if is_other {
            self.ui.status("the token is used, not the passphrase of the environment");
        }
    }
}

const TOKEN_FILE: &str = "token file";
