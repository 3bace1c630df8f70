//! What a command works with: the options that all share, the vault opened when it is first needed.

mod file_passphrase;
mod trust;
mod unlocking;

pub(crate) use file_passphrase::MAKING_KEY;
pub(crate) use unlocking::{IDLE, TTL};

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap_complete::ArgValueCompleter;

use crate::agent::{Client, MAX_RUNTIME_DIR, RuntimeDir};
use crate::completion;
use crate::config::Environment;
use crate::crypto::kdf::KdfParams;
use crate::crypto::keys::VaultId;
use crate::error::{Error, Kind};
use crate::git::Git;
use crate::machine;
use crate::model::ProjectName;
use crate::setup::Manifest;
use crate::setup::manifest::MANIFEST;
use crate::setup::trust::{Coverage, TrustRecord};
use crate::store::{self, CheckpointStore, Records, StoreError};
use crate::ui::{ColorWhen, Ui};
pub(crate) use trust::Trust;

use crate::vault::{DivergenceNotice, KeyServiceError, Locked, Vault, VaultError, WriteOutcome};

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
    /// Read the passphrase from a file, `-` for stdin [env: SECRETS_PASSPHRASE_FILE]
    #[arg(long, global = true, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
    /// Unlock with the recovery code in place of the passphrase
    #[arg(long, global = true)]
    recovery: bool,
    /// Trust the manifest that has this SHA-256, see `secrets trust --show` [env: SECRETS_TRUST_MANIFEST]
    #[arg(long, global = true, value_name = "SHA256", value_parser = sha256)]
    trust_manifest: Option<String>,
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
        Self {
            vault,
            project,
            passphrase_file: None,
            recovery: false,
            trust_manifest: None,
            json: false,
            quiet: true,
            color: ColorWhen::Never,
        }
    }
}

fn sha256(text: &str) -> Result<String, &'static str> {
    let is_sha256 = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_sha256 { Ok(text.to_owned()) } else { Err("a SHA-256 has 64 hexadecimal digits") }
}

/// The longest wait for the agent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What is mentioned once for each vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeSubject {
    /// The cost of its key derivation is that of an earlier version
    Kdf,
    /// `secrets unlock` exists
    Unlock,
}

/// What names the current project.
pub(crate) enum ProjectSource {
    Option(ProjectName),
    Environment(ProjectName),
    Manifest { project: ProjectName, path: PathBuf },
    Default,
}

impl ProjectSource {
    /// Half a sentence for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Option(_) => "named by --project".into(),
            Self::Environment(_) => "named by SECRETS_PROJECT".into(),
            Self::Manifest { path, .. } => format!("named by {}", path.display()),
            Self::Default => "the default".into(),
        }
    }

    /// One word for `--json`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Option(_) => "option",
            Self::Environment(_) => "environment",
            Self::Manifest { .. } => "manifest",
            Self::Default => "default",
        }
    }
}

/// What a command works with.
pub(crate) struct Context {
    pub(crate) ui: Rc<Ui>,
    options: GlobalArgs,
    environment: Environment,
    /// The passphrase came from stdin, and is where that of the environment was
    has_read_stdin: Cell<bool>,
    vault: OnceCell<Vault>,
    project: OnceCell<ProjectName>,
    manifest: OnceCell<Option<Manifest>>,
    told_of_modes: Cell<bool>,
    /// What the manifest was trusted with in this process
    trusted: RefCell<Option<Coverage>>,
    /// The record that says so, until the vault has verified it
    consent: RefCell<Option<TrustRecord>>,
}

impl Context {
    pub(crate) fn new(options: GlobalArgs, environment: Environment, ui: Ui) -> Self {
        Self {
            ui: Rc::new(ui),
            options,
            environment,
            has_read_stdin: Cell::new(false),
            vault: OnceCell::new(),
            project: OnceCell::new(),
            manifest: OnceCell::new(),
            told_of_modes: Cell::new(false),
            trusted: RefCell::default(),
            consent: RefCell::default(),
        }
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

        let project = match self.project_source()? {
            ProjectSource::Option(project)
            | ProjectSource::Environment(project)
            | ProjectSource::Manifest { project, .. } => project,
            ProjectSource::Default => Environment::default_project()?,
        };

        Ok(self.project.get_or_init(|| project))
    }

    /// Returns what names the current project.
    pub(crate) fn project_source(&self) -> Result<ProjectSource, Error> {
        if let Some(project) = &self.options.project {
            return Ok(ProjectSource::Option(project.clone()));
        }

        if let Some(project) = self.environment.project()? {
            return Ok(ProjectSource::Environment(project));
        }

        let manifest = self.manifest()?;
        let named =
            manifest.and_then(|manifest| Some((manifest.project.clone()?, manifest.path())));
        Ok(named.map_or(ProjectSource::Default, |(project, path)| ProjectSource::Manifest {
            project,
            path,
        }))
    }

    /// Fails if `--project` or SECRETS_PROJECT names a project that does not exist. Others may be empty: the default one, and
    /// that of a manifest, whose secrets are still to be created.
    pub(crate) fn require_named_project(&self) -> Result<(), Error> {
        match self.named_project()? {
            Some(project) if project != Environment::default_project()? => {
                Ok(self.vault()?.require_project(&project)?)
            }
            _ => Ok(()),
        }
    }

    /// The project that an option or the environment names.
    pub(crate) fn named_project(&self) -> Result<Option<ProjectName>, Error> {
        match &self.options.project {
            Some(project) => Ok(Some(project.clone())),
            None => Ok(self.environment.project()?),
        }
    }

    /// The project of the option.
    pub(crate) fn project_option(&self) -> Option<&ProjectName> {
        self.options.project.as_ref()
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
            Error::new(
                Kind::NotFound,
                format!("there is no `{MANIFEST}` here or in a directory above"),
            )
            .hint("write one with `secrets init --project-file`")
        })
    }

    /// The project that placeholders in the manifest's tree name secrets of.
    pub(crate) fn tree_project(&self) -> Result<Option<&ProjectName>, Error> {
        let Some(manifest) = self.manifest()? else { return Ok(None) };
        manifest.project.as_ref().map_or_else(|| self.project(), Ok).map(Some)
    }

    /// The vault of the option.
    pub(crate) fn vault_option(&self) -> Option<&Path> {
        self.options.vault.as_deref()
    }

    /// A command line of ours for a hint, for the vault and the project that this one was given.
    pub(crate) fn again(&self, words: &str) -> String {
        format!("`{}`", Self::command(words, self.vault_option(), self.project_option()))
    }

    /// A command line of ours, as a shell takes it.
    pub(crate) fn command(
        words: &str,
        vault: Option<&Path>,
        project: Option<&ProjectName>,
    ) -> String {
        let vault =
            vault.map_or_else(String::new, |path| format!("--vault {} ", store::quoted(path)));
        let project = project.map_or_else(String::new, |project| format!("-p {project} "));
        format!("secrets {vault}{project}{words}")
    }

    /// The git repository of a directory.
    pub(crate) fn git(directory: &Path) -> Git {
        Git::at(directory, Environment::git())
    }

    /// The vault before it is unlocked.
    pub(crate) fn locked(&self) -> Result<Locked, Error> {
        let path = self.vault_path()?;
        let locked = Locked::open(&path)?;
        if locked.is_exposed() && !self.told_of_modes.replace(true) {
            self.ui.warn(&format!(
                "the file system of `{}` has no Unix modes: other users may be able to read or replace the vault",
                path.display()
            ));
        }

        Ok(match self.checkpoints()? {
            Some(checkpoints) => locked.checkpointed(checkpoints).noticing(self.notice()),
            None => locked,
        })
    }

    /// What a guess at a new vault's passphrase costs by default on this machine.
    pub(crate) fn default_kdf() -> KdfParams {
        KdfParams::default_for(machine::memory())
    }

    /// Remembers that nothing is to be said about a subject of this vault, because it was said or the user knows it. Returns
    /// false if that cannot be remembered.
    pub(crate) fn settle(&self, subject: NoticeSubject, vault_id: &VaultId) -> bool {
        let settled = |records: Records| records.mark(&Records::name_of(&[vault_id])).is_ok();
        self.records_about(subject).is_some_and(settled)
    }

    /// True if [`Context::settle`] was called for the subject and the vault.
    pub(crate) fn is_settled(&self, subject: NoticeSubject, vault_id: &VaultId) -> bool {
        let settled = |records: Records| {
            records.read(&Records::name_of(&[vault_id])).is_ok_and(|found| found.is_some())
        };

        self.records_about(subject).is_some_and(settled)
    }

    fn records_about(&self, subject: NoticeSubject) -> Option<Records> {
        let name = match subject {
            NoticeSubject::Kdf => "kdf",
            NoticeSubject::Unlock => "unlock",
        };

        self.environment.state(name).map(|directory| Records::new(&directory, 64))
    }

    /// Warns of a copy that is seen for the first time at its path, if a newer state of the vault was seen elsewhere.
    fn notice(&self) -> DivergenceNotice {
        let ui = Rc::clone(&self.ui);
        Rc::new(move |seen| {
            let Some(path) = &seen.path else {
                return ui.warn(
                    "this vault was seen at another path with other keys; this copy may be older",
                );
            };

            let how = if seen.divergence.is_fork() {
                "this copy has diverged from the vault"
            } else {
                "this copy is older than the vault"
            };

            ui.warn(&format!("{how} that was seen at `{}`", path.display()));
        })
    }

    /// What was last seen of the vault here; nothing without a place for it.
    pub(crate) fn checkpoints(&self) -> Result<Option<CheckpointStore>, Error> {
        let Some(directory) = self.environment.checkpoints() else { return Ok(None) };
        Ok(Some(CheckpointStore::new(&directory, &self.vault_path()?)?))
    }

    /// Returns the id of the vault without unlocking it; `None` if there is no vault that can be read.
    pub(crate) fn vault_id(&self) -> Option<VaultId> {
        match self.vault.get() {
            Some(vault) => vault.id().ok(),
            None => Locked::open(&self.vault_path().ok()?).ok()?.vault_id().ok(),
        }
    }

    /// Returns the directory for one kind of records; `None` without a place for them.
    pub(crate) fn state_directory(&self, kind: &str) -> Option<PathBuf> {
        self.environment.state(kind)
    }

    /// Fails if there is no vault. Commands call it before they ask anything that only a vault gives a meaning to.
    pub(crate) fn needs_vault(&self) -> Result<(), Error> {
        if self.vault.get().is_some() {
            return Ok(());
        }

        let path = self.vault_path()?;
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if is_file && File::open(&path).is_ok_and(|file| store::looks_like_a_vault(&file)) {
            return Ok(());
        }

        // What it lacks is told as if it was opened.
        self.locked().map(drop)
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

    /// Returns the vault if it is open, or if there is one that opens without a question.
    pub(crate) fn vault_without_asking(&self) -> Result<Option<&Vault>, Error> {
        if self.vault.get().is_none()
            && let Some(vault) = self.unkept_vault_without_asking()?
        {
            let _ = self.vault.set(vault);
        }

        Ok(self.vault.get())
    }

    /// Adds where a missing secret is, if another project has its tag.
    fn with_other_projects(&self, error: Error) -> Error {
        let (Some(tag), Some(vault)) = (error.missing_tag(), self.vault.get()) else {
            return error;
        };

        match vault.projects_with(tag) {
            Ok(projects) if !projects.is_empty() => {
                let names: Vec<String> = projects.iter().map(|name| format!("`{name}`")).collect();
                let have = if names.len() == 1 { "project" } else { "projects" };
                let verb = if names.len() == 1 { "has" } else { "have" };
                let hint = format!(
                    "{have} {} {verb} `{tag}`: add `--project {}`",
                    names.join(", "),
                    projects[0]
                );

                error.with_only_hint(hint)
            }
            _ => error,
        }
    }

    /// Takes over a vault that was just made.
    pub(crate) fn adopt(&self, vault: Vault) {
        // A new vault has bound nothing: this cannot fail for a reason that counts.
        let _ = self.verify_consent(&vault);
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

    /// The place of agents that this login starts, if it exists.
    fn agent_place(&self) -> Result<Option<RuntimeDir>, Error> {
        let place = RuntimeDir::existing(self.environment.agent_directory()?)?;
        Ok(place.map(RuntimeDir::with_room_for_sockets).transpose()?)
    }

    /// The places of all agents. Other logins of this user may have other directories: a place among them in which
    /// `unlock` would start no agent has none.
    fn agent_places(&self) -> Result<Vec<RuntimeDir>, Error> {
        let mut places: Vec<RuntimeDir> = self.agent_place()?.into_iter().collect();
        let known = self.environment.other_agent_directories().iter().cloned();
        let remembered = self
            .agent_records()
            .map(|records| RuntimeDir::remembered(&records))
            .unwrap_or_default();

        for directory in known.chain(remembered) {
            if !places.iter().any(|place| place.directory() == directory)
                && let Ok(Some(place)) = RuntimeDir::existing(&directory)
            {
                places.push(place);
            }
        }

        Ok(places)
    }

    /// Writes down where an agent was started, for a `lock --all` of another login.
    pub(crate) fn remember_agent_place(&self, place: &RuntimeDir) {
        // Without a place for it, as in a read-only home, the other login has to know the directory itself.
        if let Some(records) = self.agent_records() {
            let _ = place.remember(&records);
        }
    }

    fn agent_records(&self) -> Option<Records> {
        self.environment
            .state("agents")
            .map(|directory| Records::new(&directory, MAX_RUNTIME_DIR as u64))
    }

    /// Has every agent of this vault forget it; false if none held it.
    pub(crate) fn lock_in_agents(&self) -> Result<bool, Error> {
        let path = self.canonical_vault_path()?;
        any(&self.agent_places()?, |place| Client::new(place, &path, PATIENCE).lock())
    }

    /// Has every agent forget its vault; false if there was none. Needs no vault.
    pub(crate) fn lock_everything(&self) -> Result<bool, Error> {
        any(&self.agent_places()?, |place| Client::lock_all(place, PATIENCE))
    }

    /// The way to the agent, if there is a place where one may be.
    pub(crate) fn agent(&self, patience: Duration) -> Result<Option<Client>, Error> {
        let Some(place) = self.agent_place()? else { return Ok(None) };
        Ok(Some(Client::new(&place, &self.canonical_vault_path()?, patience)))
    }

    /// Has an agent forget the vault, where one holds it: its key opens nothing any more, or what it saw is no more.
    pub(crate) fn forget_in_agent(&self) {
        let _ = self.lock_in_agents();
    }

    /// The place for an agent that is to be started.
    pub(crate) fn new_agent_place(&self) -> Result<RuntimeDir, Error> {
        Ok(self.private_place()?.with_room_for_sockets()?)
    }

    /// A directory of ours alone, for files that live as long as a process.
    pub(crate) fn private_place(&self) -> Result<RuntimeDir, Error> {
        Ok(RuntimeDir::made(self.environment.agent_directory()?)?)
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

    /// A failure, with what is known of other projects and of the vault's directory: a damaged vault may have been right before the
    /// journal of an interrupted change was played into it.
    pub(crate) fn explained(&self, error: Error) -> Error {
        let error = self.with_other_projects(error);
        let error = match self.vault_path().map(|path| store::before_recovery(&path)) {
            Ok(copy) if error.kind() == Kind::Damaged && copy.exists() => {
                let copy = store::quoted(&copy);
                error.hint(format!(
                    "the vault as it was before an interrupted change was rolled back is `{copy}`; \
                     `secrets restore {copy}` puts it back if it is whole"
                ))
            }
            _ => error,
        };

        error.for_vault(self.vault_option())
    }

    /// Unwraps a change, passing on that the file is due for `compact`.
    pub(crate) fn written<T>(&self, written: WriteOutcome<T>) -> T {
        if written.compaction_due {
            let compact = self.again("compact");
            self.ui.warn(&format!(
                "deleted bytes are still in the vault's file; {compact} overwrites them"
            ));
        }

        written.value
    }
}

/// Locks at every place, also after one failed; true if some agent held a key.
fn any(
    places: &[RuntimeDir],
    lock: impl Fn(&RuntimeDir) -> Result<bool, KeyServiceError>,
) -> Result<bool, Error> {
    let outcomes: Vec<_> = places.iter().map(lock).collect();
    let mut held = false;
    for outcome in outcomes {
        held |= outcome?;
    }

    Ok(held)
}
