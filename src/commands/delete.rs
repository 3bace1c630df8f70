//! `secrets delete`: deletes secrets, all that are named or none.

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

/// Delete secrets, irreversibly
///
/// Asks on a terminal; elsewhere --yes is needed. Either all are deleted or none. A secret that something in the tree of
/// .secrets.toml still refers to stays, unless --force is given; see `secrets refs`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeleteArgs {
    /// Tags in the current project, or ids in any
    #[arg(value_name = "TAG|ID", required = true, add = ArgValueCompleter::new(completion::tags))]
    secrets: Vec<SecretRef>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Delete what is still referred to as well
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &DeleteArgs, cx: &Context) -> Result<(), Error> {
    const WHAT: &str = "deleting";
    cx.needs_vault()?;
    let project = cx.trusted_project()?;
    let vault = vault_to_change(cx, args.yes, WHAT)?;
    let found = args
        .secrets
        .iter()
        .map(|wanted| vault.get(project, wanted))
        .collect::<Result<Vec<_>, _>>()?;

    if !args.force {
        refuse_referenced(cx, &found)?;
    }

    if !args.yes {
        needs_terminal(WHAT)?;
        confirmed(&format!("Delete {} for good?", named(&found)))?;
    }

    // By id: what was shown and looked for is what is deleted, whatever has taken its tag meanwhile.
    let doomed: Vec<SecretRef> = found.iter().map(|secret| SecretRef::Id(secret.id)).collect();
    let deleted = cx.written(vault.delete(project, &doomed)?);
    cx.ui.status(&format!("deleted {}", named(&deleted)));
    if cx.ui.is_json() { Ok(cx.ui.json(&SecretsJson::of(&deleted))?) } else { Ok(()) }
}

fn named(secrets: &[Secret]) -> String {
    let names = secrets
        .iter()
        .map(|secret| format!("`{}` of project `{}`", secret.metadata.tag, secret.project));
    names.collect::<Vec<_>>().join(", ")
}

/// Places that are shown of a refusal.
const SHOWN: usize = 20;

/// Refuses while the working directory's tree refers to one of these secrets.
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
        .hint("nothing was deleted; `--force` does it all the same"))
}

/// Returns the vault, to look up what an irreversible change is about. If that change will be refused, because nobody can be
/// asked and nobody agreed, the vault is opened only if that takes no question.
pub(super) fn vault_to_change<'c>(
    cx: &'c Context,
    is_agreed: bool,
    what: &str,
) -> Result<&'c Vault, Error> {
    if is_agreed || input::stdin_is_terminal() {
        return cx.vault();
    }

    match cx.vault_without_asking()? {
        Some(vault) => Ok(vault),
        None => needs_terminal(what).and_then(|()| cx.vault()),
    }
}

/// Refuses what is irreversible where nobody can be asked.
pub(super) fn needs_terminal(what: &str) -> Result<(), Error> {
    if input::stdin_is_terminal() {
        return Ok(());
    }

    Err(Error::new(
        Kind::Refused,
        format!("{what} needs `--yes` where there is no terminal to ask on"),
    )
    .hint("nothing was changed; add `--yes` to do it"))
}

/// Asks; anything but yes ends the command.
pub(super) fn confirmed(question: &str) -> Result<(), Error> {
    if prompt::confirm(question, false)? {
        Ok(())
    } else {
        Err(Error::new(Kind::Refused, "nothing was changed").as_answer())
    }
}
