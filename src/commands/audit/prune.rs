//! `secrets audit prune`: removes old entries and leaves a signed mark.

use secrets_core::model::Timestamp;
use secrets_core::vault::LogScope;

use super::super::shared::confirm::{require_confirmation, require_terminal, vault_to_change};
use crate::context::Context;
use crate::error::Error;
use crate::output::AuditPruned;
use crate::ui::time::local_date;

/// The action that needs confirmation.
const WHAT: &str = "pruning an audit log";

pub(super) fn run(
    before: Timestamp,
    all_projects: bool,
    yes: bool,
    cx: &Context,
) -> Result<(), Error> {
    cx.require_vault()?;
    let known = vault_to_change(cx, yes, WHAT)?;
    let project = if all_projects { None } else { Some(cx.target.project()?) };
    if let Some(project) = project {
        known.require_project(project)?;
    }

    if !yes {
        require_terminal(WHAT)?;
        let logs = match project {
            Some(project) => format!("the audit log of project `{project}`"),
            None => "all audit logs".into(),
        };

        let date = local_date(before);
        require_confirmation(&format!("Remove the entries before {date} from {logs} for good?"))?;
    }

    // An agent signs no removal of entries.
    let vault = cx.with_root_key()?;
    let scope = project.map_or(LogScope::All, LogScope::Project);
    let pruned = cx.written(&vault, vault.prune_logs(scope, before)?);
    for log in &pruned {
        let of =
            log.project.as_ref().map_or_else(|| "the vault".into(), |p| format!("project `{p}`"));
        let entries = if log.removed == 1 { "entry" } else { "entries" };
        cx.ui.status(&format!("removed {} {entries} of the audit log of {of}", log.removed));
    }

    if pruned.is_empty() {
        cx.ui.status(&format!("no entries before {}", local_date(before)));
    }

    cx.ui.document(|| Ok(AuditPruned::of(&pruned)))
}
