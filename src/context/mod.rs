//! What a command works with: the options that all share, the vault opened when it is first needed.

use std::cell::OnceCell;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap_complete::ArgValueCompleter;

use crate::agent::{Client, Place};
use crate::completion;
use crate::config::Environment;
use crate::crypto::CryptoError;
use crate::crypto::kdf::Passphrase;
use crate::crypto::keys::RootKey;
use crate::error::{Error, Kind};
use crate::git::Git;
use crate::model::{ProjectName, SecretBytes};
use crate::run::variables;
use crate::setup::Manifest;
use crate::setup::manifest::MANIFEST;
use crate::store::{self, Anchors, StoreError};
use crate::ui::{ColorWhen, Ui, UiError, input, prompt};
use crate::vault::{Locked, Vault, VaultError, Written};

/// Options that every command takes.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The vault's file [env: SECRETS_VAULT] [default: secrets/vault.db in the data directory]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    vault: Option<PathBuf>,
    /// The current project [env: SECRETS_PROJECT] [default: that of the nearest .secrets.toml, else `default`]
    #[arg(short, long, global = true, value_name = "NAME", add = ArgValueCompleter::new(completion::projects))]
    project: Option<ProjectName>,
    /// Read the passphrase from a file [env: SECRETS_PASSPHRASE_FILE]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
    /// Print results and errors as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no status lines
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour [env: NO_COLOR, CLICOLOR_FORCE]
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: ColorWhen,
}

impl GlobalArgs {
    /// The two that say where secrets are.
    pub(crate) fn of(vault: Option<PathBuf>, project: Option<ProjectName>) -> Self {
        Self { vault, project, passphrase_file: None, json: false, quiet: true, color: ColorWhen::Never }
    }
}

/// Tries at a prompt.
const TRIES: usize = 3;
/// The longest wait for the agent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What a command works with.
pub(crate) struct Context {
    pub(crate) ui: Ui,
    options: GlobalArgs,
    environment: Environment,
    vault: OnceCell<Vault>,
    project: OnceCell<ProjectName>,
    manifest: OnceCell<Option<Manifest>>,
}

impl Context {
    pub(crate) fn new(options: GlobalArgs, environment: Environment, ui: Ui) -> Self {
        Self { ui, options, environment, vault: OnceCell::new(), project: OnceCell::new(), manifest: OnceCell::new() }
    }

    /// For who must not print anything, not even a warning.
    pub(crate) fn silent(options: GlobalArgs) -> Self {
        // With JSON, warnings wait for an end that does not come.
        Self::new(options, Environment::read(), Ui::new(true, true, ColorWhen::Never))
    }

    /// Where the vault is, or is to be.
    pub(crate) fn vault_path(&self) -> Result<PathBuf, Error> {
        Ok(self.environment.vault_path(self.options.vault.as_deref())?)
    }

    /// The current project.
    pub(crate) fn project(&self) -> Result<&ProjectName, Error> {
        if let Some(project) = self.project.get() {
            return Ok(project);
        }
        let project = match self.named_project()? {
            Some(project) => project,
            None => match self.manifest()?.and_then(|manifest| manifest.project.clone()) {
                Some(project) => project,
                None => Environment::default_project()?,
            },
        };
        Ok(self.project.get_or_init(|| project))
    }

    /// The project that an option or the environment names.
    pub(crate) fn named_project(&self) -> Result<Option<ProjectName>, Error> {
        match &self.options.project {
            Some(project) => Ok(Some(project.clone())),
            None => Ok(self.environment.project()?),
        }
    }

    /// The nearest `.secrets.toml`, where there is one.
    pub(crate) fn manifest(&self) -> Result<Option<&Manifest>, Error> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(manifest.as_ref());
        }
        let manifest = Environment::manifest(&|warning| self.ui.warn(warning))?;
        Ok(self.manifest.get_or_init(|| manifest).as_ref())
    }

    /// The manifest, which the command cannot do without.
    pub(crate) fn needed_manifest(&self) -> Result<&Manifest, Error> {
        self.manifest()?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no `{MANIFEST}` here or in a directory above"))
                .hint("write one with `secrets init --project-file`")
        })
    }

    /// The project that placeholders in the manifest's tree name secrets of.
    pub(crate) fn tree_project(&self) -> Result<Option<&ProjectName>, Error> {
        let Some(manifest) = self.manifest()? else { return Ok(None) };
        manifest.project.as_ref().map_or_else(|| self.project(), Ok).map(Some)
    }

    /// A command line of ours for a hint, for the project that this one was given.
    pub(crate) fn again(&self, words: &str) -> String {
        match &self.options.project {
            Some(project) => format!("`secrets -p {project} {words}`"),
            None => format!("`secrets {words}`"),
        }
    }

    /// git in a directory.
    pub(crate) fn git(directory: &Path) -> Git {
        let inherited = Environment::inherited().into_iter().map(|(name, _)| name);
        let hidden: Vec<_> = inherited.filter(|name| variables::is_ours(name)).collect();
        Git::at(directory, &hidden)
    }

    /// The vault before it is unlocked.
    pub(crate) fn locked(&self) -> Result<Locked, Error> {
        let path = self.vault_path()?;
        let locked = Locked::open(&path)?;
        match self.environment.anchors() {
            Some(directory) => Ok(locked.anchored(Anchors::new(&directory, &path)?)),
            None => Ok(locked),
        }
    }

    /// True where there is no vault yet.
    pub(crate) fn vault_is_missing(&self) -> Result<bool, Error> {
        match Locked::open(&self.vault_path()?) {
            Err(VaultError::Store(StoreError::Missing(_))) => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
    }

    /// The vault, unlocked when it is first asked for.
    pub(crate) fn vault(&self) -> Result<&Vault, Error> {
        if let Some(vault) = self.vault.get() {
            return Ok(vault);
        }
        let vault = self.unlock()?;
        Ok(self.vault.get_or_init(|| vault))
    }

    /// Takes over a vault that was just made.
    pub(crate) fn adopt(&self, vault: Vault) {
        let _ = self.vault.set(vault);
    }

    /// The vault's path as the agent knows it.
    pub(crate) fn canonical_vault_path(&self) -> Result<PathBuf, Error> {
        let path = self.vault_path()?;
        match store::absolute(&path) {
            // Its directory is gone, an unmounted disk perhaps: what is held of it can still be locked.
            Err(StoreError::Missing(_) | StoreError::Io { .. }) => {
                std::path::absolute(&path).map_err(|_| StoreError::BadPath(path).into())
            }
            canonical => Ok(canonical?),
        }
    }

    /// Where an agent may be.
    pub(crate) fn agent_place(&self) -> Result<Option<Place>, Error> {
        Ok(Place::existing(self.environment.agent_directory()?)?)
    }

    /// The way to the agent, if there is a place where one may be.
    pub(crate) fn agent(&self, patience: Duration) -> Result<Option<Client>, Error> {
        let Some(place) = self.agent_place()? else { return Ok(None) };
        Ok(Some(Client::new(&place, &self.canonical_vault_path()?, patience)))
    }

    /// The place for an agent that is to be started.
    pub(crate) fn new_agent_place(&self) -> Result<Place, Error> {
        Ok(Place::made(self.environment.agent_directory()?)?)
    }

    /// The vault through the agent; `None` where it is locked.
    pub(crate) fn vault_of_agent(&self, patience: Duration) -> Result<Option<Vault>, Error> {
        // A place that cannot be used is told by `unlock`, which is the one to need it.
        let Ok(Some(agent)) = self.agent(patience) else { return Ok(None) };
        match agent.status(None)?.left {
            Some(_) => Ok(Some(self.locked()?.unlocked(agent))),
            None => Ok(None),
        }
    }

    /// The vault, unlocked and not kept here: for whoever runs for long.
    pub(crate) fn unlock(&self) -> Result<Vault, Error> {
        // Known before the vault is opened, which may wait for a writer: without any, the answer comes at once.
        let given = self.given_passphrase()?;
        if let Some(passphrase) = given {
            return Ok(self.locked()?.unlock(&passphrase)?);
        }
        if let Some(vault) = self.vault_of_agent(PATIENCE)? {
            return Ok(vault);
        }
        if !prompt::is_possible() {
            if std::fs::symlink_metadata(self.vault_path()?).is_err() {
                self.locked()?;
            }
            return Err(no_passphrase().hint("or unlock the vault for a while, where there is one: `secrets unlock`"));
        }
        let locked = self.locked()?;
        let root = self.typed_root_key(&locked)?;
        Ok(locked.unlocked(root))
    }

    /// Wipes the passphrase that the environment gave: for whoever runs for long.
    pub(crate) fn forget_passphrase(&self) {
        self.environment.passphrase.take();
    }

    /// The root key by a passphrase, given or typed, even where an agent has it.
    pub(crate) fn root_key(&self, locked: &Locked) -> Result<RootKey, Error> {
        match self.given_passphrase()? {
            Some(passphrase) => Ok(locked.root_key(&passphrase)?),
            None => self.typed_root_key(locked),
        }
    }

    fn typed_root_key(&self, locked: &Locked) -> Result<RootKey, Error> {
        let question = format!("Passphrase for {}", self.vault_path()?.display());
        for tries_left in (0..TRIES).rev() {
            let typed = ask(&question)?;
            let Some(passphrase) = Passphrase::new(&typed).ok() else {
                self.ui.warn("that is no passphrase, try again");
                continue;
            };
            // What is typed while that takes its time is not shown: it may be the value that is asked for next.
            let hush = prompt::hush();
            let root = locked.root_key(&passphrase);
            drop(hush);
            match root {
                Ok(root) => return Ok(root),
                Err(VaultError::Crypto(CryptoError::WrongPassphrase)) if tries_left > 0 => {
                    self.ui.warn("wrong passphrase, try again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(CryptoError::WrongPassphrase.into())
    }

    /// The passphrase of an option, a file or the environment, in the contract's order.
    fn given_passphrase(&self) -> Result<Option<Passphrase>, Error> {
        if let Some(path) = self.passphrase_file() {
            return self.passphrase_of_file(path).map(Some);
        }
        self.environment.passphrase.borrow().as_ref().map(parsed).transpose()
    }

    fn passphrase_file(&self) -> Option<&Path> {
        self.options.passphrase_file.as_deref().or(self.environment.passphrase_file.as_deref())
    }

    /// Device and inode of the passphrase file, where one is named: no output replaces it.
    pub(crate) fn passphrase_file_identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(self.passphrase_file()?).ok().map(|found| (found.dev(), found.ino()))
    }

    fn passphrase_of_file(&self, path: &Path) -> Result<Passphrase, Error> {
        let (mut bytes, exposed) = input::file(path, 8 * Passphrase::MAX).map_err(|source| {
            Error::new(Kind::Locked, format!("cannot read the passphrase file `{}`: {source}", path.display()))
        })?;
        if exposed {
            self.ui.warn(&format!("other users can read the passphrase file `{}`", path.display()));
        }
        input::drop_newline(&mut bytes);
        parsed(&bytes)
    }

    /// The passphrase of a vault that is to be made: as given, else typed twice.
    pub(crate) fn new_passphrase(&self) -> Result<Passphrase, Error> {
        if let Some(passphrase) = self.given_passphrase()? {
            return Ok(passphrase);
        }
        for _ in 0..TRIES {
            let first = ask("New passphrase")?;
            let passphrase = parsed(&first)?;
            let second = ask("The same again")?;
            if first.expose() == second.expose() {
                return Ok(passphrase);
            }
            self.ui.status("the two differ, try again");
        }
        Err(Error::new(Kind::Locked, "the passphrase was not typed the same way twice"))
    }

    /// Unwraps a change, passing on that the file is due for `compact`.
    pub(crate) fn written<T>(&self, written: Written<T>) -> T {
        if written.compaction_due {
            self.ui.warn("deleted bytes are still in the vault's file; `secrets compact` overwrites them");
        }
        written.value
    }
}

fn ask(question: &str) -> Result<SecretBytes, Error> {
    prompt::passphrase(question).map_err(|error| match error {
        UiError::NoTerminal => no_passphrase(),
        other => other.into(),
    })
}

fn no_passphrase() -> Error {
    Error::new(Kind::Locked, "no passphrase was given and there is no terminal to ask on")
        .hint("give it by `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE")
}

fn parsed(bytes: &SecretBytes) -> Result<Passphrase, Error> {
    Passphrase::new(bytes).map_err(|why| Error::new(Kind::Locked, format!("that is no passphrase: {why}")))
}
