//! Opens the vault with a token, and decides which commands a token permits.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use secrets_core::crypto::token::Token;
use secrets_core::model::{Level, Period, ProjectName, SecretBytes, Timestamp};
use secrets_core::vault::{TokenAccess, TokenView, Vault, VaultError};

use super::{Context, Credentials};
use crate::error::{Error, Hint, Kind};
use crate::ui::{listed, time};

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
            // The log of uses names the token that was refused, if it is one of this vault.
            let _ = self.open_with(token);
            if matches!(self.locked()?.refuse_bundle(), Err(VaultError::IsBundle)) {
                let path = self.target.vault_path()?;
                let message =
                    format!("`{command}` needs the vault; `{}` is a bundle", path.display());
                return Err(Error::new(Kind::Refused, message)
                    .hint("run it with the vault and its passphrase"));
            }

            return Err(Error::new(
                Kind::Refused,
                format!("`{command}` needs the passphrase; a token does not permit it"),
            )
            .hint(
                "remove `--token-file`, SECRETS_TOKEN_FILE and SECRETS_TOKEN to be asked for it",
            ));
        };

        self.credentials.mention_token();
        let view = self.open_with(token)?;
        if view.level < level {
            let TokenView { name, level: has, .. } = view;
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "`{command}` needs a token with level `{level}`; `{name}` has level `{has}`"
                ),
            )
            .hint(raise(view, level)));
        }

        self.warn_about_expiry(view);
        Ok(())
    }

    /// Opens the vault with a token and keeps it until the command takes it.
    fn open_with(&self, token: Token) -> Result<&TokenView, Error> {
        let vault = self.with_token(token)?;
        let view = vault.token()?;
        let view = view.ok_or_else(|| Error::internal("the vault was not opened with a token"))?;
        self.target.default_to(&view.project);
        self.opened_by_token.replace(Some(vault));
        Ok(self.token.get_or_init(|| view))
    }

    /// Unlocks the vault with the token that was given, if one was. The context does not keep it.
    pub(super) fn vault_of_token(&self) -> Result<Option<Vault>, Error> {
        if let Some(vault) = self.opened_by_token.take() {
            return Ok(Some(vault));
        }

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

    /// Returns what the token may do that was given.
    pub(crate) fn given_token(&self) -> Result<&TokenView, Error> {
        self.token.get().ok_or_else(|| {
            Error::new(Kind::Locked, "no token was given")
                .hint("use `--token-file PATH`, SECRETS_TOKEN_FILE or SECRETS_TOKEN")
        })
    }

    /// Names the secrets of a project whose values the given token may not use, after a command that
    /// takes every value: they are not `treated`.
    pub(crate) fn warn_of_unusable(
        &self,
        vault: &Vault,
        project: &ProjectName,
        treated: &str,
    ) -> Result<(), Error> {
        let Some(token) = self.token.get() else { return Ok(()) };
        let tags = vault.unusable(project)?;
        if !tags.is_empty() {
            self.ui.warn(&format!(
                "restricted secrets are not {treated}, because token `{}` may not use them: {}",
                token.name,
                listed(&tags)
            ));
        }

        Ok(())
    }

    /// Passes the vault to `ask` if it is open.
    pub(super) fn ask_open_vault<T>(&self, ask: impl FnOnce(&Vault) -> Option<T>) -> Option<T> {
        let waiting = self.opened_by_token.borrow();
        self.vault.get().or(waiting.as_ref()).and_then(ask)
    }

    /// Returns true if the vault is open.
    pub(super) fn is_open(&self) -> bool {
        self.ask_open_vault(|_| Some(())).is_some()
    }

    /// Warns if the token's string was replaced, or if the token expires soon.
    pub(crate) fn warn_about_expiry(&self, view: &TokenView) {
        let Some(expires) = view.expires else { return };
        let (name, date) = (&view.name, time::local_date(expires));
        if view.is_replaced {
            self.ui.warn(&format!(
                "this string of token `{name}` was replaced and works until {date}; use the new one"
            ));
        } else if WARN_BEFORE.after(Timestamp::now()) > expires {
            self.ui.warn(&format!(
                "token `{name}` expires on {date}; the owner can renew it with `secrets token update \
                 {name} --expires 90d`, and its string stays the same"
            ));
        }
    }
}

/// Says how the owner gives a token a higher level. One for some secrets cannot manage them.
fn raise(view: &TokenView, level: Level) -> Hint {
    if view.secrets.is_some() && level == Level::Manage {
        let command = "`secrets token create NAME --level manage`";
        return format!("the owner can create a token for the whole project with {command}").into();
    }

    let name = &view.name;
    format!("the owner can raise it with `secrets token update {name} --level {level}`").into()
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

        let file = self.token_file();
        if file.is_some_and(is_token) {
            return Err(Error::usage(
                "the path of the token file is a token (not shown); other processes can see it",
            )
            .hint(
                "put it into a file or into SECRETS_TOKEN, and replace it with `secrets token \
                 rotate NAME`",
            ));
        }

        let bytes = match file {
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

        Token::parse(&bytes).map(Some).map_err(|why| {
            let source = match file {
                Some(path) if path == Path::new("-") => "from stdin".into(),
                Some(path) => format!("in `{}`", path.display()),
                None => "in SECRETS_TOKEN".into(),
            };
            Error::new(Kind::Locked, format!("the token {source} is invalid: {why}")).hint(
                "store it again exactly as it was printed, or get a new string with `secrets token \
                 rotate NAME`",
            )
        })
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

/// Returns true for a path that is a token, which happens when `--token-file "$TOKEN"` is typed.
fn is_token(path: &Path) -> bool {
    Token::parse(&SecretBytes::copy_of(path.as_os_str().as_bytes())).is_ok()
}

const TOKEN_FILE: &str = "token file";
