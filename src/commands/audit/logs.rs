//! The logs that a command reads: those of one project, or all.

use secrets_core::model::ProjectName;
use secrets_core::vault::{ChangeLog, LogScope, LoggedChange, Vault, VaultError};

use crate::context::{Context, Opened};
use crate::error::Error;

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
