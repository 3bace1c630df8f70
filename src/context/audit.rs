//! Records uses and refusals in a log outside of the vault (docs/design/audit.md).

use std::path::PathBuf;

use secrets_core::crypto::ids::{TokenId, VaultId};
use secrets_core::crypto::uses::{Actor, MAX_TAGS, UseEntry, UsedRequest};
use secrets_core::model::{ProjectName, Tag, Timestamp, TokenName};
use secrets_core::vault::{UseLog, UseLogError, UseLogKeys, Vault};
use secrets_files::Records;

use super::Context;
use crate::error::{Error, Kind, hint};

/// The time after which people are warned again, in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Records uses of one command on another thread, one after the other.
pub(crate) struct UseRecorder {
    /// `None` without a state directory
    log: Option<UseLog>,
    /// The log that a token begins if the owner has none
    own_log: Option<UseLog>,
    entry: UseEntry,
}

impl UseRecorder {
    /// Records a request that uses secrets, or that was refused.
    pub(crate) fn record(
        &self,
        tags: Vec<String>,
        request: UsedRequest,
    ) -> Result<(), UseLogError> {
        let Some(log) = &self.log else { return Ok(()) };
        let entry = UseEntry {
            time: Timestamp::now().0,
            refused: request.reason.is_some(),
            count: tags.len() as u64,
            tags,
            request: Some(request),
            ..self.entry.clone()
        };

        append(log, self.own_log.as_ref(), &entry, &|| None)
    }
}

/// Records requests on another thread, each by the token that sent it.
pub(crate) struct CallRecorder {
    directory: PathBuf,
    command: String,
}

impl CallRecorder {
    /// Records a request that was answered or refused. `vault` is opened by its token.
    pub(crate) fn record(
        &self,
        vault: &Vault,
        (id, name): (TokenId, &TokenName),
        project: Option<&ProjectName>,
        (count, tags): (u64, Vec<String>),
        request: UsedRequest,
    ) -> Result<(), UseLogError> {
        let Some(vault_id) = vault.known_id() else { return Err(UseLogError::NotBegun) };
        let entry = UseEntry {
            time: Timestamp::now().0,
            actor: Actor::Token { id, name: name.to_string() },
            action: self.command.clone(),
            refused: request.reason.is_some(),
            project: project.map(ToString::to_string),
            count,
            tags,
            request: Some(request),
        };

        let log = || UseLog::new(&self.directory, vault_id);
        append(&log(), Some(&log().of_token(&id)), &entry, &|| vault.use_log_keys().ok())
    }
}

/// Appends an entry to the owner's log. A token appends to its own one on a machine where the owner has
/// none. `keys` is called if the log must begin.
fn append(
    log: &UseLog,
    own: Option<&UseLog>,
    entry: &UseEntry,
    keys: &dyn Fn() -> Option<UseLogKeys>,
) -> Result<(), UseLogError> {
    let Some(own) = own else { return log.append(entry, keys) };
    match log.append(entry, &|| None) {
        Err(UseLogError::NotBegun) => own.append(entry, keys),
        recorded => recorded,
    }
}

/// The secrets that a command uses.
pub(crate) struct Used<'a> {
    /// The vault that they are from
    pub(crate) vault: &'a Vault,
    /// Their project; `None` for secrets of several projects
    pub(crate) project: Option<&'a ProjectName>,
    /// Their number
    pub(crate) count: u64,
    /// Some of their tags
    pub(crate) tags: Vec<String>,
}

impl<'a> Used<'a> {
    /// Describes secrets of one project.
    pub(crate) fn of<'t>(
        vault: &'a Vault,
        project: &'a ProjectName,
        tags: impl IntoIterator<Item = &'t Tag>,
    ) -> Self {
        let (mut count, mut named) = (0, Vec::new());
        for tag in tags {
            count += 1;
            if named.len() < MAX_TAGS {
                named.push(tag.to_string());
            }
        }

        Self { vault, project: Some(project), count, tags: named }
    }
}

impl Context {
    /// Returns the log of a vault's uses on this machine, or `None` without a state directory.
    pub(crate) fn use_log(&self, vault_id: VaultId) -> Option<UseLog> {
        self.state_directory("audit").map(|directory| UseLog::new(&directory, vault_id))
    }

    /// Begins the log of uses on this machine, so that it has the uses of tokens from then on. If that
    /// fails, the first use says so.
    pub(crate) fn begin_use_log(&self, vault: &Vault) {
        if self.token.get().is_none()
            && let Some(vault_id) = vault.known_id()
            && let Some(log) = self.use_log(vault_id)
        {
            let _ = log.ensure_begun(&|| vault.use_log_keys().ok());
        }
    }

    /// Records that this command uses secrets, once for each command. Call it before a value leaves.
    /// If it cannot be recorded, people are warned once a day. Fails then if the command has a token
    /// that must not go on.
    pub(crate) fn record_use(&self, used: &Used<'_>) -> Result<(), Error> {
        if used.count == 0 || self.has_recorded.replace(true) {
            return Ok(());
        }

        let Some(vault_id) = used.vault.known_id() else { return Ok(()) };
        let is_strict = self.token.get().is_some_and(|token| token.is_strict);
        if self.state_directory("audit").is_none() && !is_strict {
            return Ok(());
        }

        let entry = UseEntry {
            count: used.count,
            tags: used.tags.clone(),
            ..self.entry(used.project.map(ToString::to_string))
        };

        let recorded = self.append(vault_id, &entry, &|| used.vault.use_log_keys().ok());
        match (recorded, self.token.get()) {
            (Ok(()), _) => Ok(()),
            (Err(error), Some(token)) if token.is_strict => {
                let message = format!("this use cannot be recorded: {error}");
                Err(Error::new(Kind::Refused, message).hint(hint!(
                    "token `{}` stops then; `secrets token update {} --strict=false` lets it go on",
                    token.name,
                    token.name
                )))
            }
            (Err(error), _) => {
                self.warn_once_a_day(&vault_id, &error);
                Ok(())
            }
        }
    }

    /// Returns a recorder for the requests of this command, which are recorded one by one. Begins the
    /// log, because no key for that is at hand later.
    pub(crate) fn use_recorder(
        &self,
        vault: &Vault,
        project: &ProjectName,
    ) -> Result<UseRecorder, Error> {
        let entry = self.entry(Some(project.to_string()));
        let vault_id = vault.id()?;
        let log = |vault_id| self.use_log(vault_id);
        let failed = |error: UseLogError| {
            let place = self.state_directory("audit").unwrap_or_default();
            Error::new(
                Kind::Refused,
                format!("requests cannot be recorded in `{}`: {error}", place.display()),
            )
        };

        let own_log = match (self.token.get(), log(vault_id)) {
            (Some(token), Some(log)) => Some(log.of_token(&token.id)),
            _ => None,
        };
        let log = log(vault_id);
        if let Some(log) = own_log.as_ref().or(log.as_ref()) {
            log.ensure_begun(&|| vault.use_log_keys().ok()).map_err(failed)?;
        }

        self.has_recorded.set(true);
        self.records_requests.set(true);
        Ok(UseRecorder { log, own_log, entry })
    }

    /// Returns a recorder for requests of any token, which are recorded one by one.
    pub(crate) fn call_recorder(&self) -> Result<CallRecorder, Error> {
        let missing = || {
            Error::new(Kind::Refused, "requests cannot be recorded: there is no state directory")
                .hint("set HOME or XDG_STATE_HOME")
        };
        let directory = self.state_directory("audit").ok_or_else(missing)?;
        Ok(CallRecorder { directory, command: self.command.clone() })
    }

    /// Records that this command was refused. Before the first use, only a process with the vault's
    /// keys can begin the log.
    pub(crate) fn record_refusal(&self) {
        if self.records_requests.get() {
            return;
        }

        let Some(vault_id) = self.vault_id_to_record() else { return };
        let project = self.target.known_project().map(ToString::to_string);
        let entry = UseEntry { refused: true, ..self.entry(project) };
        let keys = || self.ask_open_vault(|vault| vault.use_log_keys().ok());
        match self.append(vault_id, &entry, &keys) {
            Ok(()) | Err(UseLogError::NotBegun) => {}
            Err(error) => self.warn_once_a_day(&vault_id, &error),
        }
    }

    fn vault_id_to_record(&self) -> Option<VaultId> {
        let known = self.ask_open_vault(Vault::known_id);
        known.or_else(|| {
            // Without a log, the vault would be opened for nothing.
            let has_log = self.state_directory("audit").is_some_and(|directory| directory.exists());
            if has_log { self.vault_id() } else { None }
        })
    }

    fn entry(&self, project: Option<String>) -> UseEntry {
        UseEntry {
            time: Timestamp::now().0,
            actor: match self.token.get() {
                Some(token) => Actor::Token { id: token.id, name: token.name.to_string() },
                None => Actor::Owner,
            },
            action: self.command.clone(),
            refused: false,
            project,
            count: 0,
            tags: Vec::new(),
            request: None,
        }
    }

    fn append(
        &self,
        vault_id: VaultId,
        entry: &UseEntry,
        keys: &dyn Fn() -> Option<UseLogKeys>,
    ) -> Result<(), UseLogError> {
        let log = || {
            let missing = || std::io::Error::other("there is no state directory");
            self.use_log(vault_id).ok_or_else(missing)
        };

        let own = self.token.get().map(|token| Ok::<_, UseLogError>(log()?.of_token(&token.id)));
        append(&log()?, own.transpose()?.as_ref(), entry, keys)
    }

    /// Warns that the log cannot be written. The time is remembered in the state directory, or next to
    /// the agents' sockets if that cannot be written either.
    fn warn_once_a_day(&self, vault_id: &VaultId, error: &UseLogError) {
        let runtime = self.environment.agent_directory().ok();
        let places = [
            self.state_directory("audit-warned"),
            runtime.map(|directory| directory.with_file_name("secrets-audit-warned")),
        ];

        let (name, now) = (Records::name_of(&[vault_id]), Timestamp::now());
        for place in places.into_iter().flatten() {
            let records = Records::new(&place, 64);
            let read = records.read(&name).ok().flatten();
            let text = read.and_then(|bytes| String::from_utf8(bytes).ok());
            let warned = text.and_then(|text| Timestamp::parse(&text));
            if warned.is_some_and(|at| at.0 <= now.0 && now.0 - at.0 < DAY) {
                return;
            }

            if records.write(&name, now.rfc3339().as_bytes()).is_ok() {
                break;
            }
        }

        let place = self.state_directory("audit").unwrap_or_default();
        let message = Error::new(
            Kind::Failure,
            format!("cannot record this use in `{}`: {error}", place.display()),
        );
        self.ui.warn(message.message());
    }
}
