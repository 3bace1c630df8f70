//! The context of a command: the global options, and the vault, which is opened when first needed.

mod file_passphrase;
mod trust;
mod unlocking;

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use secrets_files::Records;

use crate::agent::{Client, MAX_RUNTIME_DIR, RuntimeDir};
use crate::config::Environment;
use crate::crypto::ids::VaultId;
use crate::crypto::kdf::KdfParams;
use crate::error::{Error, Kind};
use crate::git::Git;
use crate::machine;
use crate::model::ProjectName;
use crate::setup::Manifest;
use crate::setup::manifest::MANIFEST;
use crate::setup::trust::{Coverage, TrustRecord};
use crate::store::{self, CheckpointStore, StoreError};
use crate::ui::{ColorWhen, Ui};
use crate::vault::{DivergenceNotice, KeyServiceError, Locked, Vault, VaultError, WriteOutcome};
pub(crate) use file_passphrase::MAKING_KEY;
pub(crate) use trust::Trust;
pub(crate) use unlocking::{IDLE, TTL};

/// The options that select the vault, the project and how to unlock.
#[derive(Default)]
pub(crate) struct Options {
    /// The vault's file
    pub(crate) vault: Option<PathBuf>,
    /// The current project
    pub(crate) project: Option<ProjectName>,
    /// The file with the passphrase; `-` is stdin
    pub(crate) passphrase_file: Option<PathBuf>,
    /// True to unlock with the recovery code instead of the passphrase
    pub(crate) recovery: bool,
    /// The hexadecimal SHA-256 of a manifest that is trusted for this command
    pub(crate) trust_manifest: Option<String>,
}

/// The maximum time to wait for the agent.
pub(crate) const AGENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A subject that is mentioned once per vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeSubject {
    /// The vault's key derivation has the cost of an earlier version
    Kdf,
    /// The existence of `secrets unlock`
    Unlock,
}

/// Where the name of the current project comes from.
pub(crate) enum ProjectSource {
    Option(ProjectName),
    Environment(ProjectName),
    Manifest { project: ProjectName, path: PathBuf },
    Default,
}

impl ProjectSource {
    /// Describes the source for status lines.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Option(_) => "set by --project".into(),
            Self::Environment(_) => "set by SECRETS_PROJECT".into(),
            Self::Manifest { path, .. } => format!("set by {}", path.display()),
            Self::Default => "the default".into(),
        }
    }

    /// Returns the word for `--json`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Option(_) => "option",
            Self::Environment(_) => "environment",
            Self::Manifest { .. } => "manifest",
            Self::Default => "default",
        }
    }
}

/// The context of a command.
pub(crate) struct Context {
    pub(crate) ui: Rc<Ui>,
    options: Options,
    environment: Environment,
    /// True if the passphrase was read from stdin and stored in the place of the environment's
    has_read_stdin: Cell<bool>,
    vault: OnceCell<Vault>,
    project: OnceCell<ProjectName>,
    manifest: OnceCell<Option<Manifest>>,
    warned_about_modes: Cell<bool>,
    /// The coverage of the manifest when this process trusted it
    trusted: RefCell<Option<Coverage>>,
    /// The record of that consent, until the vault has verified it
    consent: RefCell<Option<TrustRecord>>,
}

impl Context {
    pub(crate) fn new(options: Options, environment: Environment, ui: Ui) -> Self {
        Self {
            ui: Rc::new(ui),
            options,
            environment,
            has_read_stdin: Cell::new(false),
            vault: OnceCell::new(),
            project: OnceCell::new(),
            manifest: OnceCell::new(),
            warned_about_modes: Cell::new(false),
            trusted: RefCell::default(),
            consent: RefCell::default(),
        }
    }

    /// Returns a context that prints nothing, not even warnings.
    pub(crate) fn silent(options: Options) -> Self {
        // With JSON, warnings are held back until `finish`, which is never called here.
        Self::new(options, Environment::read(), Ui::new(true, true, ColorWhen::Never))
    }

    /// Returns the path of the vault, whether it exists or not.
    pub(crate) fn vault_path(&self) -> Result<PathBuf, Error> {
        Ok(self.environment.vault_path(self.options.vault.as_deref())?)
    }

    /// Returns the current project.
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

    /// Returns the source of the current project's name.
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

    /// Fails if `--project` or SECRETS_PROJECT names a project that does not exist. The default
    /// project and the project of a manifest may have no secrets yet.
    pub(crate) fn require_named_project(&self) -> Result<(), Error> {
        match self.named_project()? {
            Some(project) if project != Environment::default_project()? => {
                Ok(self.vault()?.require_project(&project)?)
            }
            _ => Ok(()),
        }
    }

    /// Returns the project that an option or the environment names.
    pub(crate) fn named_project(&self) -> Result<Option<ProjectName>, Error> {
        match &self.options.project {
            Some(project) => Ok(Some(project.clone())),
            None => Ok(self.environment.project()?),
        }
    }

    /// Returns the project of `--project`.
    pub(crate) fn project_option(&self) -> Option<&ProjectName> {
        self.options.project.as_ref()
    }

    /// Returns the nearest `.secrets.toml`, if there is one.
    pub(crate) fn manifest(&self) -> Result<Option<&Manifest>, Error> {
        if let Some(manifest) = self.manifest.get() {
            return Ok(manifest.as_ref());
        }

        let manifest = Environment::manifest(&|warning| self.ui.warn(warning))?;
        Ok(self.manifest.get_or_init(|| manifest).as_ref())
    }

    /// Returns the manifest, or an error if it does not exist.
    pub(crate) fn require_manifest(&self) -> Result<&Manifest, Error> {
        self.manifest()?.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("no `{MANIFEST}` in this directory or above"))
                .hint("create one with `secrets init --project-file`")
        })
    }

    /// Returns the project whose secrets the placeholders in the manifest's tree refer to.
    pub(crate) fn tree_project(&self) -> Result<Option<&ProjectName>, Error> {
        let Some(manifest) = self.manifest()? else { return Ok(None) };
        manifest.project.as_ref().map_or_else(|| self.project(), Ok).map(Some)
    }

    /// Returns the vault of `--vault`.
    pub(crate) fn vault_option(&self) -> Option<&Path> {
        self.options.vault.as_deref()
    }

    /// Returns a `secrets` command line for a hint, in backticks, with the vault and project
    /// options of this command.
    pub(crate) fn hint_command(&self, words: &str) -> String {
        format!("`{}`", Self::command(words, self.vault_option(), self.project_option()))
    }

    /// Returns a `secrets` command line in shell syntax.
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

    /// Returns the git repository of a directory.
    pub(crate) fn git(directory: &Path) -> Git {
        Git::at(directory, Environment::git())
    }

    /// Opens the vault without unlocking it.
    pub(crate) fn locked(&self) -> Result<Locked, Error> {
        let path = self.vault_path()?;
        let locked = Locked::open(&path)?;
        if locked.is_exposed() && !self.warned_about_modes.replace(true) {
            self.ui.warn(&format!(
                "the file system of `{}` does not support Unix modes: other users may be able to \
                 read or replace the vault",
                path.display()
            ));
        }

        Ok(match self.checkpoints()? {
            Some(checkpoints) => locked.with_checkpoints(checkpoints).on_divergence(self.notice()),
            None => locked,
        })
    }

    /// Returns the default key derivation parameters for a new vault on this machine.
    pub(crate) fn default_kdf() -> KdfParams {
        KdfParams::default_for(machine::memory())
    }

    /// Records that a subject was mentioned for this vault or is known to the user, so that it is
    /// not mentioned again. Returns false if that cannot be recorded.
    pub(crate) fn settle(&self, subject: NoticeSubject, vault_id: &VaultId) -> bool {
        let settled = |records: Records| records.mark(&Records::name_of(&[vault_id])).is_ok();
        self.records_about(subject).is_some_and(settled)
    }

    /// Returns true if [`Context::settle`] was called for the subject and the vault.
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

    /// Returns a notice that warns about a copy without a checkpoint at its path, if another path
    /// has a newer checkpoint of the same vault.
    fn notice(&self) -> DivergenceNotice {
        let ui = Rc::clone(&self.ui);
        Rc::new(move |seen| {
            let Some(path) = &seen.path else {
                return ui.warn(
                    "this vault was used at another path with different keys; this copy may be \
                     older",
                );
            };

            let how = if seen.divergence.is_fork() {
                "this copy has diverged from the vault"
            } else {
                "this copy is older than the vault"
            };

            ui.warn(&format!("{how} that was used at `{}`", path.display()));
        })
    }

    /// Returns the vault's checkpoints on this machine, or `None` without a directory for them.
    pub(crate) fn checkpoints(&self) -> Result<Option<CheckpointStore>, Error> {
        let Some(directory) = self.environment.checkpoints() else { return Ok(None) };
        Ok(Some(CheckpointStore::new(&directory, &self.vault_path()?)?))
    }

    /// Returns the directory of the checkpoints, or `None` without a state directory.
    pub(crate) fn checkpoint_directory(&self) -> Option<PathBuf> {
        self.environment.checkpoints()
    }

    /// Returns the id of the vault without unlocking it, or `None` if no vault can be read.
    pub(crate) fn vault_id(&self) -> Option<VaultId> {
        match self.vault.get() {
            Some(vault) => vault.id().ok(),
            None => Locked::open(&self.vault_path().ok()?).ok()?.vault_id().ok(),
        }
    }

    /// Returns the directory for one kind of record, or `None` without a state directory.
    pub(crate) fn state_directory(&self, kind: &str) -> Option<PathBuf> {
        self.environment.state(kind)
    }

    /// Fails if there is no vault. Commands call it before they ask anything that makes sense only
    /// with a vault.
    pub(crate) fn require_vault(&self) -> Result<(), Error> {
        if self.vault.get().is_some() {
            return Ok(());
        }

        let path = self.vault_path()?;
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if is_file && File::open(&path).is_ok_and(|file| store::looks_like_a_vault(&file)) {
            return Ok(());
        }

        // Opening it reports the actual problem.
        self.locked().map(drop)
    }

    /// Returns true if there is no vault yet.
    pub(crate) fn vault_is_missing(&self) -> Result<bool, Error> {
        match Locked::open(&self.vault_path()?) {
            Err(VaultError::Store(StoreError::Missing(_))) => Ok(true),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(false),
        }
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

    /// Adds a hint if another project has the missing secret.
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
                    "use `--project {}`, because {have} {} {verb} `{tag}`",
                    projects[0],
                    names.join(", ")
                );

                error.with_only_hint(hint)
            }
            _ => error,
        }
    }

    /// Takes over a vault that was just created.
    pub(crate) fn adopt(&self, vault: Vault) {
        // No consent is bound to a new vault yet, so errors here do not matter.
        let _ = self.verify_consent(&vault);
        let _ = self.vault.set(vault);
    }

    /// Returns the vault's path in the form that the agent uses.
    pub(crate) fn canonical_vault_path(&self) -> Result<PathBuf, Error> {
        let path = self.vault_path()?;
        match store::absolute(&path) {
            // The directory may be on an unmounted disk, but the agent can still be locked.
            Err(StoreError::Missing(_) | StoreError::Io { .. }) => {
                std::path::absolute(&path).map_err(|_| StoreError::BadPath(path).into())
            }
            canonical => Ok(canonical?),
        }
    }

    /// Returns the runtime directory of this login's agents, if it exists.
    fn agent_place(&self) -> Result<Option<RuntimeDir>, Error> {
        let place = RuntimeDir::existing(self.environment.agent_directory()?)?;
        Ok(place.map(RuntimeDir::with_room_for_sockets).transpose()?)
    }

    /// Returns the runtime directories of all agents. Other logins of this user may use other
    /// directories. A directory in which `unlock` would refuse to start an agent contains none.
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

    /// Records where an agent was started, so that `lock --all` of another login finds it.
    pub(crate) fn remember_agent_place(&self, place: &RuntimeDir) {
        // If this fails, for example with a read-only home, the other login has to know the
        // directory itself.
        if let Some(records) = self.agent_records() {
            let _ = place.remember(&records);
        }
    }

    fn agent_records(&self) -> Option<Records> {
        self.environment
            .state("agents")
            .map(|directory| Records::new(&directory, MAX_RUNTIME_DIR as u64))
    }

    /// Makes every agent of this vault forget its key. Returns false if none held it.
    pub(crate) fn lock_in_agents(&self) -> Result<bool, Error> {
        let path = self.canonical_vault_path()?;
        lock_in_all(&self.agent_places()?, |place| Client::new(place, &path, AGENT_TIMEOUT).lock())
    }

    /// Makes every agent forget its key. Returns false if there was none. Needs no vault.
    pub(crate) fn lock_everything(&self) -> Result<bool, Error> {
        lock_in_all(&self.agent_places()?, |place| Client::lock_all(place, AGENT_TIMEOUT))
    }

    /// Returns a client for the agent, if there is a runtime directory.
    pub(crate) fn agent(&self, patience: Duration) -> Result<Option<Client>, Error> {
        let Some(place) = self.agent_place()? else { return Ok(None) };
        Ok(Some(Client::new(&place, &self.canonical_vault_path()?, patience)))
    }

    /// Makes an agent forget the vault, because its key or its checkpoint is no longer valid.
    pub(crate) fn forget_in_agent(&self) {
        let _ = self.lock_in_agents();
    }

    /// Returns the runtime directory for a new agent.
    pub(crate) fn new_agent_place(&self) -> Result<RuntimeDir, Error> {
        Ok(self.private_place()?.with_room_for_sockets()?)
    }

    /// Returns a directory that only we can access, for files that live as long as a process.
    pub(crate) fn private_place(&self) -> Result<RuntimeDir, Error> {
        Ok(RuntimeDir::made(self.environment.agent_directory()?)?)
    }

    /// Returns the vault through the agent, or `None` if it is locked.
    pub(crate) fn vault_of_agent(&self, patience: Duration) -> Result<Option<Vault>, Error> {
        // `unlock` reports a runtime directory that cannot be used, because only `unlock` needs
        // one.
        let Ok(Some(agent)) = self.agent(patience) else { return Ok(None) };
        match agent.status(None)?.left {
            Some(_) => Ok(Some(self.locked()?.unlocked(agent))),
            None => Ok(None),
        }
    }

    /// Adds what is known about other projects and about the vault's directory to an error. A
    /// damaged vault may have been intact before the journal of an interrupted change was applied
    /// to it.
    pub(crate) fn with_explanation(&self, error: Error) -> Error {
        let error = self.with_other_projects(error);
        let error = match self.vault_path().map(|path| store::before_recovery(&path)) {
            Ok(copy) if error.kind() == Kind::Damaged && copy.exists() => {
                let copy = store::quoted(&copy);
                error.hint(format!(
                    "if it is intact, restore `{copy}` with `secrets restore {copy}`; it is a \
                     copy from before an interrupted change was rolled back"
                ))
            }
            _ => error,
        };

        error.for_vault(self.vault_option())
    }

    /// Returns the result of a change, and warns if `compact` is due.
    pub(crate) fn written<T>(&self, written: WriteOutcome<T>) -> T {
        if written.compaction_due {
            let compact = self.hint_command("compact");
            self.ui.warn(&format!(
                "deleted bytes are still in the vault's file; overwrite them with {compact}"
            ));
        }

        written.value
    }
}

/// Locks in every directory, even after one failed. Returns true if an agent held a key.
fn lock_in_all(
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
