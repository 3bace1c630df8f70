//! The logs that a command reads: those of one project, or all.

use secrets_core::crypto::ids::Hash;
use secrets_core::crypto::uses::UseEntry;
use secrets_core::model::ProjectName;
use secrets_core::vault::{ChangeLog, LogScope, LoggedChange, ReadUses, Vault, VaultError};

use crate::context::{Context, Opened};
use crate::error::{Error, Kind};

/// Reads and verifies the log of uses on this machine. Passes number, hash and content of each entry
/// to `visit`.
pub(super) fn read_uses(
    vault: &Vault,
    cx: &Context,
    visit: impl FnMut(u64, &Hash, UseEntry),
) -> Result<ReadUses, Error> {
    let keys = vault.use_log_keys()?;
    let Some(log) = cx.use_log(vault.id()?) else { return Ok(ReadUses::default()) };
    log.read(&keys, visit).map_err(|source| {
        let place = log.directory().display();
        Error::new(Kind::Failure, format!("cannot read the log of uses in `{place}`: {source}"))
    })
}

/// Fails if an entry of the log of uses does not verify.
pub(super) fn check_uses(uses: &ReadUses) -> Result<(), Error> {
    let Some(seq) = uses.fault else { return Ok(()) };
    let message = format!(
        "entry {seq} of the log of uses on this machine is missing, damaged or not in its place"
    );
    Err(Error::new(Kind::Damaged, message)
        .with_details(serde_json::json!({ "seq": seq }))
        .hint("the entries before it are shown by `secrets audit --kind use`"))
}

/// The logs of the current project, or all.
pub(super) struct Selected<'c> {
    vault: Opened<'c>,
    /// `None` for all
    project: Option<&'c ProjectName>,
}

impl<'c> Selected<'c> {
    pub(super) fn open(all: bool, cx: &'c Context) -> Result<Self, Error> {
        if all {
            return Ok(Self { vault: cx.with_root_key()?, project: None });
        }

        let (project, vault) = (cx.target.project()?, cx.vault()?);
        cx.require_named_project()?;
        Ok(Self { vault: Opened::Kept(vault), project: Some(project) })
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Returns true if an entry of this project is wanted. A refusal may have no project.
    pub(super) fn includes(&self, project: Option<&str>) -> bool {
        let ours = self.project.map(ProjectName::as_str);
        ours.is_none() || project.is_none() || project == ours
    }

    /// Reads the logs. The default project and that of a manifest may not exist yet.
    pub(super) fn change_logs(
        &self,
        keep: &mut dyn FnMut(&LoggedChange) -> bool,
    ) -> Result<Vec<ChangeLog>, Error> {
        let scope = self.project.map_or(LogScope::All, LogScope::Project);
        match self.vault.change_logs(scope, keep) {
            Err(VaultError::NoProject { .. }) => Ok(Vec::new()),
            logs => Ok(logs?),
        }
    }
}
