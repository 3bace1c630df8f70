//! `secrets remote repair`: puts changes back that the server has lost.

use crate::context::Context;
use crate::error::Error;
use crate::output::{RepairInfo, Repairs};
use crate::ui::counted;

/// Put changes back that the server has lost, for example in a failover
///
/// Any machine that has seen the lost changes can do this. It sends back the encrypted rows that it has seen, as
/// they were signed then. If the server has other changes in their place, nothing is changed.
///
/// Asks for the passphrase, even if the vault is unlocked.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  secrets remote repair")]
pub(super) struct RepairArgs {}

pub(super) fn run(_: &RepairArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let vault = cx.with_root_key()?;
    let repaired = vault.repair()?;
    if repaired.is_empty() {
        cx.ui.status("the server has everything that this machine has seen");
    }

    for one in &repaired {
        let changes = counted(one.changes, "change");
        cx.ui.status(&match &one.project {
            Some(project) => format!("put back {changes} of project `{project}`"),
            None => format!("put back {changes} of the list of projects"),
        });
    }

    cx.ui.document(|| {
        Ok(Repairs {
            repaired: repaired
                .into_iter()
                .map(|one| RepairInfo {
                    project: one.project.map(|name| name.to_string()),
                    changes: one.changes,
                })
                .collect(),
        })
    })
}
