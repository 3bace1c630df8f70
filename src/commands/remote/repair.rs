//! `secrets remote repair`: puts changes back that the server has lost.

use secrets_core::model::ProjectName;
use secrets_core::vault::{LostChanges, Repair};

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::{RepairInfo, Repairs};
use crate::ui::counted;

/// Put changes back that the server has lost, for example in a failover
///
/// Any machine that has seen the lost changes can do this. It sends back the encrypted rows that it has seen, as
/// they were signed then. If the server has other changes in their place, nothing is changed.
///
/// A machine has seen all of a small project, but only parts of a large one. If it lacks something, run this on the
/// machines that made the changes, in the order of the changes.
///
/// Asks for the passphrase, even if the vault is unlocked.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  secrets remote repair")]
pub(super) struct RepairArgs {}

pub(super) fn run(_: &RepairArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let vault = cx.with_root_key()?;
    let Repair { repaired, incomplete, waits } = vault.repair()?;
    for LostChanges { project, changes } in &repaired {
        let changes = counted(*changes, "change");
        cx.ui.status(&format!("put back {changes} of {}", of(project.as_ref())));
    }

    if !waits.is_empty() {
        let projects: Vec<String> = waits.iter().map(|one| of(one.project.as_ref())).collect();
        cx.ui.status(&format!("nothing was put back yet of {}", projects.join(", ")));
    }

    if !incomplete.is_empty() {
        let projects: Vec<String> = incomplete.iter().map(|one| of(one.project.as_ref())).collect();
        return Err(Error::new(
            Kind::Failure,
            format!(
                "this machine has not seen everything that the server has lost of {}",
                projects.join(", ")
            ),
        )
        .hint("run `secrets remote repair` on the machines that made the changes, and then here again"));
    }

    if repaired.is_empty() {
        cx.ui.status("the server has everything that this machine has seen");
    }

    let info = |one: LostChanges| RepairInfo {
        project: one.project.map(|name| name.to_string()),
        changes: one.changes,
    };
    cx.ui.document(|| Ok(Repairs { repaired: repaired.into_iter().map(info).collect() }))
}

fn of(project: Option<&ProjectName>) -> String {
    match project {
        Some(project) => format!("project `{project}`"),
        None => "the list of projects".to_owned(),
    }
}
