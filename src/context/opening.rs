//! Opens the vault: through an agent, with a given credential, or with a typed one.

use std::fs::File;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use secrets_core::crypto::CryptoError;
use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::kdf::Passphrase;
use secrets_core::crypto::keychain::KeychainKey;
use secrets_core::crypto::output_digest::hex;
use secrets_core::crypto::root_key::RootKey;
use secrets_core::model::Timestamp;
use secrets_core::store::remote::FallbackNotice;
use secrets_core::store::{self, Fallback, StoreError};
use secrets_core::vault::{DivergenceNotice, Locked, SeenElsewhere, Vault, VaultError};
use secrets_runtime::keychain;

use super::credentials::no_passphrase;
use super::{AGENT_TIMEOUT, Context, NoticeSubject};
use crate::config::Environment;
use crate::error::{Error, hint};
use crate::ui::{prompt, time};

/// How long `unlock` keeps a vault unlocked by default.
pub(crate) const TTL: &str = "15m";
/// How long an unused vault stays unlocked by default.
pub(crate) const IDLE: &str = "5m";

/// A vault that may have been opened only for this command.
pub(crate) enum Opened<'c> {
    Kept(&'c Vault),
    Own(Box<Vault>),
}

impl Deref for Opened<'_> {
    type Target = Vault;

    fn deref(&self) -> &Vault {
        match self {
            Self::Kept(vault) => vault,
            Self::Own(vault) => vault,
        }
    }
}

impl Context {
    /// Fails if there is no vault. Commands call it before they ask anything that makes sense only
    /// with a vault.
    pub(crate) fn require_vault(&self) -> Result<(), Error> {
        if self.is_open() {
            return Ok(());
        }

        let path = self.target.vault_path()?;
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if is_file && File::open(&path).is_ok_and(|file| store::looks_like_a_vault(&file)) {
            return Ok(());
        }

        // Opening it reports the actual problem.
        self.locked().map(drop)
    }

    pub(crate) fn vault_is_missing(&self) -> Result<bool, Error> {
        match self.opener_of_vault()?.open(None) {
            Err(VaultError::Store(StoreError::Missing(_))) => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    }

    /// Opens the vault without unlocking it.
    pub(crate) fn locked(&self) -> Result<Locked, Error> {
        let path = self.target.vault_path()?;
        let locked = self.opener_of_vault()?.open(Some(self.fallback_notice()))?;
        if locked.is_exposed() && !self.warned_about_modes.replace(true) {
            self.ui.warn(&format!(
                "the file system of `{}` does not support Unix modes: other users may be able to \
                 read or replace the vault",
                path.display()
            ));
        }

        Ok(match self.checkpoint_directory() {
            Some(directory) => locked.with_checkpoints(&directory).on_divergence(self.notice()),
            None => locked,
        })
    }

    /// Returns a notice that warns about a copy without a checkpoint at its path, if another path
    /// has a newer checkpoint of the same vault.
    fn notice(&self) -> DivergenceNotice {
        let ui = Arc::clone(&self.ui);
        Rc::new(move |seen| ui.warn(&divergence_notice(seen)))
    }

    /// Returns a notice that warns once that the vault was read without its server.
    fn fallback_notice(&self) -> FallbackNotice {
        let ui = Arc::clone(&self.ui);
        Box::new(move |fallback| ui.warn(&offline_notice(fallback)))
    }

    /// Returns a function that opens the vault without unlocking it, on any thread. `warn` prints what
    /// [`Context::locked`] would warn about.
    pub(crate) fn opener(
        &self,
        warn: fn(&str),
    ) -> Result<impl Fn() -> Result<Locked, VaultError> + Send + use<>, Error> {
        let (opener, checkpoints) = (self.opener_of_vault()?, self.checkpoint_directory());
        Ok(move || {
            let notice = Box::new(move |fallback: &Fallback| warn(&offline_notice(fallback)));
            let locked = opener.open(Some(notice))?;
            Ok(match &checkpoints {
                Some(directory) => locked
                    .with_checkpoints(directory)
                    .on_divergence(Rc::new(move |seen| warn(&divergence_notice(seen)))),
                None => locked,
            })
        })
    }

    /// Returns the id of the vault without unlocking it, or `None` if no vault can be read.
    pub(crate) fn vault_id(&self) -> Option<VaultId> {
        let unopened = || self.opener_of_vault().ok()?.open(None).ok()?.vault_id().ok();
        self.ask_open_vault(|vault| vault.id().ok()).or_else(unopened)
    }

    /// Returns the vault, unlocking it on first use.
    pub(crate) fn vault(&self) -> Result<&Vault, Error> {
        if let Some(vault) = self.vault.get() {
            return Ok(vault);
        }

        let vault = self.unlock()?;
        Ok(self.vault.get_or_init(|| vault))
    }

    /// Returns the vault if it is open, or can be opened without a prompt.
    pub(crate) fn vault_without_asking(&self) -> Result<Option<&Vault>, Error> {
        if self.vault.get().is_none()
            && let Some(vault) = self.unkept_vault_without_asking()?
        {
            let _ = self.vault.set(vault);
        }

        Ok(self.vault.get())
    }

    /// Takes over a vault that was just created.
    pub(crate) fn adopt(&self, vault: Vault) {
        // No consent is bound to a new vault yet, so errors here do not matter.
        let _ = self.verify_consent(&vault);
        let _ = self.vault.set(vault);
    }

    /// Fails if `--project` or SECRETS_PROJECT names a project that does not exist. The default
    /// project and the project of a manifest may have no secrets yet.
    pub(crate) fn require_named_project(&self) -> Result<(), Error> {
        match self.target.named_project()? {
            Some(project) if project != Environment::default_project()? => {
                Ok(self.vault()?.require_project(&project)?)
            }
            _ => Ok(()),
        }
    }

    /// Unlocks the vault without keeping it in the context, for commands that run for a long time.
    pub(crate) fn unlock(&self) -> Result<Vault, Error> {
        let vault = self.unlock_unverified()?;
        self.verify_consent(&vault)?;
        Ok(vault)
    }

    /// Returns the vault if it exists and can be opened without a prompt, through an agent or with
    /// a given credential. The context does not keep it, for commands that run for a long time.
    pub(crate) fn unkept_vault_without_asking(&self) -> Result<Option<Vault>, Error> {
        if let Some(vault) = self.vault_of_token()? {
            return Ok(Some(vault));
        }

        if let Some(vault) = self.vault_of_agent(AGENT_TIMEOUT).ok().flatten() {
            return Ok(self.verify_consent(&vault).is_ok().then_some(vault));
        }

        // The command may need stdin for its own input.
        let is_on_stdin = self.credentials.are_on_stdin();
        if is_on_stdin
            || self.credentials.given_credential()?.is_none()
            || self.vault_is_missing()?
        {
            return Ok(None);
        }

        self.unlock().map(Some)
    }

    /// Returns the vault through a token or an unlocked agent, for a command that reads changed values
    /// while it runs. A passphrase is not derived again for that.
    pub(crate) fn vault_for_reload(&self) -> Option<Vault> {
        if let Ok(Some(vault)) = self.vault_of_token() {
            return Some(vault);
        }

        self.vault_of_agent(AGENT_TIMEOUT).ok().flatten()
    }

    fn unlock_unverified(&self) -> Result<Vault, Error> {
        if let Some(vault) = self.vault_of_token()? {
            return Ok(vault);
        }

        // This comes before opening the vault, which may wait for a writer.
        if let Some(credential) = self.credentials.given_credential()? {
            return Ok(self.locked()?.unlock(&*credential)?);
        }

        if !self.credentials.is_recovering()
            && let Some(vault) = self.vault_of_agent(AGENT_TIMEOUT)?
        {
            return Ok(vault);
        }

        let locked = self.locked()?;
        if let Some(root) = self.root_of_keychain(&locked) {
            self.opened_by_keychain.set(true);
            return Ok(locked.unlocked(root));
        }

        if !prompt::is_possible() {
            locked.refuse_bundle()?;
            return Err(no_passphrase()
                .hint("or unlock the vault for a while with `secrets unlock` on a terminal"));
        }

        if self.credentials.is_recovering() {
            let root = self.root_key(&locked)?;
            return Ok(locked.unlocked(root));
        }

        let hint = self.unlock_hint_once(&locked);
        let root = self.ask_for_passphrase(&locked, hint.as_deref())?.0;
        Ok(locked.unlocked(root))
    }

    /// Returns the vault through the agent, or `None` if it is locked.
    pub(crate) fn vault_of_agent(&self, patience: Duration) -> Result<Option<Vault>, Error> {
        // `unlock` reports a runtime directory that cannot be used, because only `unlock` needs
        // one.
        let Ok(Some(agent)) = self.agents.client(patience) else { return Ok(None) };
        match agent.status(None)?.left {
            Some(_) => Ok(Some(self.locked()?.unlocked(agent))),
            None => Ok(None),
        }
    }

    /// Unlocks the vault with a given or typed credential, even if an agent holds its key.
    pub(crate) fn unlock_with_credential(&self) -> Result<Vault, Error> {
        let locked = self.locked()?;
        let root = self.root_key(&locked)?;
        Ok(locked.unlocked(root))
    }

    /// Returns the vault with the root key in this process. An agent never gives the key away, so a
    /// vault that an agent holds is unlocked again with a credential. So is one that the keychain
    /// opened: nobody was asked for it.
    pub(crate) fn with_root_key(&self) -> Result<Opened<'_>, Error> {
        let vault = self.vault()?;
        if vault.holds_root_key() && !self.opened_by_keychain.get() {
            return Ok(Opened::Kept(vault));
        }

        Ok(Opened::Own(Box::new(self.unlock_with_credential()?)))
    }

    /// Unlocks the vault with the passphrase, and returns the passphrase for another use.
    pub(crate) fn unlock_by_passphrase(&self) -> Result<(Vault, Passphrase), Error> {
        let given = self.credentials.given()?;
        let locked = self.locked()?;
        let (root, passphrase) = match given {
            Some(bytes) => {
                self.require_key_file(&locked)?;
                let passphrase = self.credentials.passphrase(&bytes)?;
                (locked.root_key(&passphrase)?, passphrase)
            }
            None => self.ask_for_passphrase(&locked, None)?,
        };

        Ok((locked.unlocked(root), passphrase))
    }

    /// Returns the root key for a given or typed credential, even if an agent holds it.
    pub(crate) fn root_key(&self, locked: &Locked) -> Result<RootKey, Error> {
        locked.refuse_bundle()?;
        if self.credentials.is_recovering() && !locked.has_recovery()? {
            return Err(CryptoError::NoRecoveryCode.into());
        }

        self.require_key_file(locked)?;
        self.credentials.by_credential(&self.target.vault_path()?, |by| locked.root_key(by))
    }

    fn ask_for_passphrase(
        &self,
        locked: &Locked,
        hint: Option<&str>,
    ) -> Result<(RootKey, Passphrase), Error> {
        locked.refuse_bundle()?;
        self.require_key_file(locked)?;
        let path = self.target.vault_path()?;
        self.credentials.ask_for_passphrase(&path, hint, |by| locked.root_key(by))
    }

    /// Returns the name under which a keychain has the key of this vault.
    pub(crate) fn keychain_name(&self) -> Result<String, Error> {
        let id = self.locked()?.vault_id()?;
        Ok(format!("vault {}", hex(&id)))
    }

    /// Returns the key that the keychain of this machine has for this vault.
    pub(crate) fn keychain_key(&self) -> Result<Option<KeychainKey>, Error> {
        let found = keychain::get(&self.keychain_name()?)?;
        Ok(found.as_ref().and_then(KeychainKey::from_bytes))
    }

    /// Returns the root key through the keychain, if the vault has a slot for one. If that does not work, the
    /// passphrase is asked for.
    fn root_of_keychain(&self, locked: &Locked) -> Option<RootKey> {
        if self.credentials.is_recovering() || !locked.has_keychain().unwrap_or(false) {
            return None;
        }

        match self.keychain_key() {
            Ok(Some(key)) => locked.root_key(&key).ok(),
            Ok(None) => None,
            Err(error) => {
                self.ui.warn(error.message());
                None
            }
        }
    }

    /// Returns the root key for a given credential, through the keychain, or for a typed one.
    pub(crate) fn root_key_or_keychain(&self, locked: &Locked) -> Result<RootKey, Error> {
        if self.credentials.given_credential()?.is_none()
            && let Some(root) = self.root_of_keychain(locked)
        {
            return Ok(root);
        }

        self.root_key(locked)
    }

    /// Fails before a passphrase is asked for if the vault needs a key file as well, and none is given.
    fn require_key_file(&self, locked: &Locked) -> Result<(), Error> {
        let is_missing = self.credentials.key_file_path().is_none()
            && !self.credentials.is_recovering()
            && locked.needs_key_file()?;
        if is_missing { Err(CryptoError::KeyFileNeeded.into()) } else { Ok(()) }
    }

    /// Returns a hint how to type the passphrase less often.
    pub(crate) fn unlock_hint(&self) -> String {
        self.target.hint_text(hint!(
            "`secrets unlock` asks once and keeps the vault unlocked for {}, or {} without use",
            TTL,
            IDLE
        ))
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
}

/// Says that a vault was read without its server, and how old what was read is.
fn offline_notice(fallback: &Fallback) -> String {
    let age = time::ago(Timestamp(fallback.seen));
    match &fallback.cause {
        Some(cause) => format!("{cause}; using what this machine saw {age}"),
        None => format!("offline: using what this machine saw {age}"),
    }
}

/// Says that another path has a newer checkpoint of a vault.
fn divergence_notice(seen: &SeenElsewhere) -> String {
    let Some(path) = &seen.path else {
        return "this vault was used at another path with different keys; this copy may be older"
            .into();
    };

    let how = if seen.divergence.is_fork() {
        "this copy has diverged from the vault"
    } else {
        "this copy is older than the vault"
    };

    format!("{how} that was used at `{}`", path.display())
}
