//! `secrets delete`: deletes all of the given secrets or none.

use clap_complete::ArgValueCompleter;
use secrets_core::model::{Secret, SecretRef};

use super::shared::confirm::{require_confirmation, require_terminal, vault_to_change};
use super::shared::references::refuse_referenced;
use crate::completion;
use crate::context::Context;
use crate::error::Error;
use crate::output::Secrets;

const EXAMPLES: &str = "\
Examples:
  secrets delete old-key
  secrets delete old-key older-key --yes";

/// Delete secrets permanently
///
/// Asks on a terminal; otherwise --yes is required. Either all secrets are deleted or none. A
/// secret that files under the directory of .secrets.toml still refer to is not deleted without
/// --force; see `secrets refs`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeleteArgs {
    /// Delete these secrets: tags in the current project, or ids in any project
    #[arg(value_name = "TAG|ID", required = true, add = ArgValueCompleter::new(completion::tags))]
    secrets: Vec<SecretRef>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Delete secrets even if files still refer to them
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &DeleteArgs, cx: &Context) -> Result<(), Error> {
    const WHAT: &str = "deleting";
    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = vault_to_change(cx, args.yes, WHAT)?;
    let found = vault.get_all(project, &args.secrets)?;

    if !args.force {
        refuse_referenced(cx, &found)?;
    }

    if !args.yes {
        require_terminal(WHAT)?;
        require_confirmation(&format!("Delete {} for good?", describe(&found)))?;
    }

    // The ids ensure that the secrets that were shown and checked are deleted, even if other
    // secrets have taken their tags in the meantime.
    let doomed: Vec<SecretRef> = found.iter().map(|secret| SecretRef::Id(secret.id)).collect();
    let deleted = cx.written(vault, vault.delete(project, &doomed)?);
    cx.ui.status(&format!("deleted {}", describe(&deleted)));
    cx.ui.document(|| Ok(Secrets { secrets: &deleted }))
}

fn describe(secrets: &[Secret]) -> String {
    let names = secrets
        .iter()
        .map(|secret| format!("`{}` of project `{}`", secret.metadata.tag, secret.project));
    names.collect::<Vec<_>>().join(", ")
}
