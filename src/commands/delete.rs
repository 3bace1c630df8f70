//! `secrets delete`: deletes secrets, all that are named or none.

use clap_complete::ArgValueCompleter;

use crate::completion;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::model::{Secret, SecretRef};
use crate::ui::{SecretsJson, input, prompt};

const EXAMPLES: &str = "\
Examples:
  secrets delete old-key
  secrets delete old-key older-key --yes";

/// Delete secrets, irreversibly
///
/// Asks on a terminal; elsewhere --yes is needed. Either all are deleted or none.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeleteArgs {
    /// Tags in the current project, or ids in any
    #[arg(value_name = "TAG|ID", required = true, add = ArgValueCompleter::new(completion::tags))]
    secrets: Vec<SecretRef>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &DeleteArgs, cx: &Context) -> Result<(), Error> {
    if !args.yes {
        needs_terminal("deleting")?;
    }
    let project = cx.project()?;
    let vault = cx.vault()?;
    let mut doomed = args.secrets.clone();
    if !args.yes {
        let found = args.secrets.iter().map(|wanted| vault.get(project, wanted)).collect::<Result<Vec<_>, _>>()?;
        confirmed(&format!("Delete {} for good?", named(&found)))?;
        // By id: what was shown is what is deleted, whatever has taken its tag meanwhile.
        doomed = found.iter().map(|secret| SecretRef::Id(secret.id)).collect();
    }
    let deleted = cx.written(vault.delete(project, &doomed)?);
    cx.ui.status(&format!("deleted {}", named(&deleted)));
    if cx.ui.is_json() { Ok(cx.ui.json(&SecretsJson::of(&deleted))?) } else { Ok(()) }
}

fn named(secrets: &[Secret]) -> String {
    let names = secrets.iter().map(|secret| format!("`{}` of project `{}`", secret.metadata.tag, secret.project));
    names.collect::<Vec<_>>().join(", ")
}

/// Refuses what is irreversible where nobody can be asked.
pub(super) fn needs_terminal(what: &str) -> Result<(), Error> {
    if input::stdin_is_terminal() {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, format!("{what} needs `--yes` where there is no terminal to ask on"))
        .hint("nothing was changed; add `--yes` to do it"))
}

/// Asks; anything but yes ends the command.
pub(super) fn confirmed(question: &str) -> Result<(), Error> {
    if prompt::confirm(question, false)? { Ok(()) } else { Err(Error::new(Kind::Refused, "nothing was changed")) }
}
