//! `secrets delete`: deletes all of the given secrets or none.

use std::collections::HashSet;

use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::outputs;
use super::refs::{self, ReferenceJson};
use crate::completion;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::model::{Secret, SecretRef, TagKey};
use crate::ui::{SecretsJson, input, prompt};
use crate::vault::Vault;

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
    let deleted = cx.written(vault.delete(project, &doomed)?);
    cx.ui.status(&format!("deleted {}", describe(&deleted)));
    if cx.ui.is_json() { Ok(cx.ui.json(&SecretsJson::of(&deleted))?) } else { Ok(()) }
}

fn describe(secrets: &[Secret]) -> String {
    let names = secrets
        .iter()
        .map(|secret| format!("`{}` of project `{}`", secret.metadata.tag, secret.project));
    names.collect::<Vec<_>>().join(", ")
}

/// The maximum number of references that a refusal lists.
const SHOWN: usize = 20;

/// Refuses if files in the working directory's tree refer to one of these secrets.
pub(super) fn refuse_referenced(cx: &Context, secrets: &[Secret]) -> Result<(), Error> {
    let Some(project) = cx.tree_project()? else { return Ok(()) };
    let ours: HashSet<TagKey> = secrets
        .iter()
        .filter(|secret| secret.project == *project)
        .map(|secret| secret.metadata.tag.key())
        .collect();

    if ours.is_empty() {
        return Ok(());
    }

    let mut references = outputs::references(cx, project)?;
    references.retain(|reference| ours.contains(&reference.tag.key()));
    if references.is_empty() {
        return Ok(());
    }

    let keys: HashSet<TagKey> = references.iter().map(|reference| reference.tag.key()).collect();
    let what = match &references[..] {
        [only] => format!("1 place refers to `{}`", only.tag),
        all if keys.len() == 1 => format!("{} places refer to `{}`", all.len(), all[0].tag),
        all => format!("{} places refer to {} of these secrets", all.len(), keys.len()),
    };

    let mut notes: Vec<String> = references.iter().take(SHOWN).map(refs::line).collect();
    if references.len() > SHOWN {
        notes.push(format!("and {} more", references.len() - SHOWN));
    }

    let places: Vec<_> = references.iter().map(ReferenceJson::of).collect();
    Err(Error::new(Kind::Refused, what)
        .with_notes(notes)
        .with_details(json!({ "references": places }))
        .hint("delete it anyway with `--force`; nothing was deleted"))
}

/// Returns the vault, to look up what an irreversible change affects. If the change will be refused
/// because nobody can confirm it, opens the vault only if that needs no prompt.
pub(super) fn vault_to_change<'c>(
    cx: &'c Context,
    is_confirmed: bool,
    what: &str,
) -> Result<&'c Vault, Error> {
    if is_confirmed || input::stdin_is_terminal() {
        return cx.vault();
    }

    match cx.vault_without_asking()? {
        Some(vault) => Ok(vault),
        None => require_terminal(what).and_then(|()| cx.vault()),
    }
}

/// Refuses an irreversible change if there is no terminal to ask on.
pub(super) fn require_terminal(what: &str) -> Result<(), Error> {
    if input::stdin_is_terminal() {
        return Ok(());
    }

    Err(Error::new(
        Kind::Refused,
        format!("{what} requires `--yes` if there is no terminal to ask on"),
    )
    .hint("add `--yes` to confirm; nothing was changed"))
}

/// Asks for confirmation. Any answer but yes ends the command.
pub(super) fn require_confirmation(question: &str) -> Result<(), Error> {
    if prompt::confirm(question, false)? {
        Ok(())
    } else {
        Err(Error::new(Kind::Refused, "nothing was changed").into_answer())
    }
}
