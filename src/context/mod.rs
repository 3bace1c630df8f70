//! The context of a command, by role: what it works on, how it gets the key, and the agents. The
//! vault is opened when first needed.

mod agents;
mod audit;
mod credentials;
mod default_project;
mod file_passphrase;
mod new_passphrase;
mod opening;
mod place;
mod target;
mod token;
mod trust;

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::kdf::KdfParams;
use secrets_core::machine;
use secrets_core::model::{Period, ProjectName};
use secrets_core::store;
use secrets_core::vault::{TokenView, Vault};
use secrets_files::Records;
use secrets_project::setup::manifest::EnvironmentName;
use secrets_project::setup::output_records::IntactOutputs;
use secrets_project::setup::trust::{Coverage, TrustRecord};

use crate::config::Environment;
use crate::error::{Error, Kind, Selection, hint};
use crate::ui::{ColorWhen, Ui, listed};
pub(crate) use agents::{AGENT_TIMEOUT, Agents};
pub(crate) use audit::{CallRecorder, UseRecorder, Used};
pub(crate) use credentials::Credentials;
use credentials::Retry;
pub(crate) use file_passphrase::MAKING_KEY;
pub(crate) use opening::{IDLE, Opened, TTL};
pub(crate) use target::{ProjectSource, Target};
pub(crate) use token::Right;
pub(crate) use trust::Trust;

/// The options that select the vault, the project and how to unlock.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) vault: Option<PathBuf>,
    pub(crate) project: Option<ProjectName>,
    pub(crate) environment: Option<EnvironmentName>,
    /// The file with the passphrase; `-` is stdin
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The key file, for a vault that needs one
    pub(crate) key_file: Option<PathBuf>,
    /// The file with a token; `-` is stdin
    pub(crate) token_file: Option<PathBuf>,
    /// True to unlock with the recovery code instead of the passphrase
    pub(crate) recovery: bool,
    /// The hexadecimal SHA-256 of a manifest that is trusted for this command
    pub(crate) trust_manifest: Option<String>,
    /// True to read a vault on a server without its server
    pub(crate) offline: bool,
    /// How old what is read without the server may be
    pub(crate) max_age: Option<Period>,
}

/// A subject that is mentioned once per vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeSubject {
    /// The vault's key derivation has the cost of an earlier version
    Kdf,
    /// The existence of `secrets unlock`
    Unlock,
}

/// The context of a command.
pub(crate) struct Context {
    pub(crate) ui: Arc<Ui>,
    pub(crate) target: Rc<Target>,
    pub(crate) credentials: Credentials,
    pub(crate) agents: Agents,
    environment: Rc<Environment>,
    vault: OnceCell<Vault>,
    /// The vault as the token opened it, until the command takes it
    opened_by_token: RefCell<Option<Vault>>,
    /// The rights of the command's token
    token: OnceCell<TokenView>,
    /// Whether the keychain opened the vault
    opened_by_keychain: Cell<bool>,
    warned_about_modes: Cell<bool>,
    is_offline: bool,
    max_age: Option<Duration>,
    /// The name of the command, for the log of uses
    command: String,
    /// Whether this command has recorded its use
    has_recorded: Cell<bool>,
    /// Whether this command records its requests and their refusals one by one
    records_requests: Cell<bool>,
    /// The SHA-256 of `--trust-manifest`
    trusted_fingerprint: Option<String>,
    /// The coverage of the manifest when this process trusted it
    trusted: RefCell<Option<Coverage>>,
    /// The record of that consent, until the vault has verified it
    consent: RefCell<Option<TrustRecord>>,
}

impl Context {
    pub(crate) fn new(options: Options, environment: Environment, ui: Ui) -> Self {
        let Options { passphrase_file, key_file, token_file, recovery, trust_manifest, .. } =
            options;
        let (offline, max_age) = (options.offline, options.max_age);
        let selection = Selection {
            vault: options.vault,
            project: options.project,
            environment: options.environment,
        };
        let (ui, environment) = (Arc::new(ui), Rc::new(environment));
        let target = Rc::new(Target::new(ui.clone(), environment.clone(), selection));
        Self {
            credentials: Credentials::new(
                ui.clone(),
                environment.clone(),
                passphrase_file,
                key_file,
                token_file,
                recovery,
            ),
            agents: Agents::new(target.clone(), environment.clone()),
            ui,
            target,
            environment,
            vault: OnceCell::new(),
            opened_by_token: RefCell::default(),
            token: OnceCell::new(),
            opened_by_keychain: Cell::new(false),
            warned_about_modes: Cell::new(false),
            is_offline: offline,
            max_age: max_age.map(Period::as_duration),
            command: String::new(),
            has_recorded: Cell::new(false),
            records_requests: Cell::new(false),
            trusted_fingerprint: trust_manifest,
            trusted: RefCell::default(),
            consent: RefCell::default(),
        }
    }

    /// Sets the name of the command, as the log of uses shows it.
    #[must_use]
    pub(crate) fn of_command(self, command: String) -> Self {
        Self { command, ..self }
    }

    /// Returns a context that prints nothing, not even warnings.
    pub(crate) fn silent(options: Options) -> Self {
        // With JSON, warnings are held back until `finish`, which is never called here.
        Self::new(options, Environment::read(), Ui::new(true, true, ColorWhen::Never))
    }

    /// Returns the options with which a command of ours, in another process, works on the same vault
    /// and project with the same token.
    pub(crate) fn arguments_for_own_command(&self) -> Result<Vec<OsString>, Error> {
        let mut arguments: Vec<OsString> = Vec::new();
        if self.target.vault_option().is_some() {
            let path = store::absolute(&self.target.vault_path()?)?;
            arguments.extend(["--vault".into(), path.into_os_string()]);
        }

        if let Some(project) = self.target.named_project()? {
            arguments.extend(["--project".into(), project.as_str().into()]);
        } else if let Some(name) = self.target.environment()? {
            arguments.extend(["--environment".into(), name.as_str().into()]);
        }

        if let Some(path) = self.credentials.token_file() {
            let path = store::absolute(path)?;
            arguments.extend(["--token-file".into(), path.into_os_string()]);
        }

        if let Some(fingerprint) = &self.trusted_fingerprint {
            arguments.extend(["--trust-manifest".into(), fingerprint.into()]);
        }

        Ok(arguments)
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

    /// Returns the directory of the checkpoints, or `None` without a state directory.
    pub(crate) fn checkpoint_directory(&self) -> Option<PathBuf> {
        self.environment.checkpoints()
    }

    /// Returns the directory for one kind of record, or `None` without a state directory.
    pub(crate) fn state_directory(&self, kind: &str) -> Option<PathBuf> {
        self.environment.state(kind)
    }

    /// Adds a hint if another project has the missing secret.
    fn with_other_projects(&self, error: Error) -> Error {
        let (Some(tag), Some(vault)) = (error.missing_tag(), self.vault.get()) else {
            return error;
        };

        match vault.projects_with(tag) {
            Ok(projects) if !projects.is_empty() => {
                let have = if projects.len() == 1 { "project" } else { "projects" };
                let verb = if projects.len() == 1 { "has" } else { "have" };
                let hint = format!(
                    "use `--project {}`, because {have} {} {verb} `{tag}`",
                    projects[0],
                    listed(&projects)
                );

                error.with_only_hint(hint)
            }
            _ => error,
        }
    }

    /// Adds what is known about other projects and about the vault's directory to an error. A
    /// damaged vault may have been intact before the journal of an interrupted change was applied
    /// to it.
    pub(crate) fn with_explanation(&self, error: Error) -> Error {
        let error = self.with_other_projects(error);
        let error = match self.token.get() {
            Some(token) if token.secrets.is_some() => match error.missing_tag() {
                Some(tag) => {
                    let hint = format!(
                        "token `{}` is limited to some secrets; if this one exists, the owner can \
                         add it with `secrets access {tag} --allow {}`",
                        token.name, token.name
                    );
                    error.with_only_hint(hint)
                }
                None => error,
            },
            _ => error,
        };
        match self.target.vault_path().map(|path| store::before_recovery(&path)) {
            Ok(copy) if error.kind() == Kind::Damaged && copy.exists() => error.hint(hint!(
                "if it is intact, restore `{}` with `secrets restore {}`; it is a copy from before \
                 an interrupted change was rolled back",
                store::quoted(&copy),
                copy.display()
            )),
            _ => error,
        }
    }

    /// Finds the outputs that are unchanged since they were written. Their records are rewritten after
    /// a change of keys.
    pub(crate) fn intact_outputs(&self, vault: &Vault) -> Result<Option<IntactOutputs>, Error> {
        let Some(directory) = self.state_directory("outputs") else { return Ok(None) };
        Ok(Some(IntactOutputs::find(&directory, &vault.output_keys()?)))
    }

    /// Returns the result of a change of the vault. Warns if `compact` is due, and begins the log of
    /// uses.
    pub(crate) fn written<T>(&self, vault: &Vault, result: T) -> T {
        self.begin_use_log(vault);
        if !vault.is_replicated() {
            self.ui.warn(&self.target.hint_text(
                "the change is stored, but the server did not wait for its standby: a failover can lose \
                 it; see `secrets verify --remote`",
            ));
        }

        if vault.needs_compaction() {
            self.ui.warn(&self.target.hint_text(
                "deleted bytes are still in the vault's file; overwrite them with `secrets compact`",
            ));
        }

        result
    }
}
