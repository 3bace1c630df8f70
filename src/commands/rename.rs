//! `secrets rename`: gives a secret another tag, and writes it into the files that refer to the secret.

use clap_complete::ArgValueCompleter;
use secrets_core::model::{ProjectName, Secret, SecretRef, Tag};
use secrets_core::vault::Vault;
use secrets_project::setup::{Reference, Renaming};

use super::shared::renaming::Places;
use super::shared::store::conflict;
use crate::completion;
use crate::context::Context;
use crate::error::{Error, Kind, hint};
use crate::output::RenamedSecrets;
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets rename db-url database-url
  secrets rename db-url database-url --references  and rewrite the files
  secrets refs db-url                              list what would change";

/// Give a secret another tag
///
/// The secret keeps its id, value and destinations, so tokens for it go on working. Lists every
/// place in the project's files that refers to it by the old tag. With --references, rewrites these
/// places: templates, other files with placeholders, and .secrets.toml. Then all environments of
/// .secrets.toml that have the secret are renamed too. Either everything is renamed or nothing.
///
/// A placeholder keeps its spelling, such as {{DB_URL}} or {{ secrets.db_url }}. A bare {{NAME}}
/// outside of the templates stays, because other tools use it too. A program that `secrets run`
/// starts without [run.env] gets the variable of the new tag.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RenameArgs {
    /// Rename this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: SecretRef,
    /// Give it this tag
    #[arg(value_name = "NEW-TAG")]
    to: Tag,
    /// Rewrite the places that refer to it
    #[arg(long)]
    references: bool,
}

pub(crate) fn run(args: &RenameArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.vault()?;
    let found = match vault.get(project, &args.secret) {
        Ok(found) => found,
        Err(error) => return only_references(args, cx, vault, project, error.into()),
    };

    let from = &found.metadata.tag;
    if *from == args.to {
        cx.ui.status(&format!("`{from}` has this tag already"));
        let found = [found];
        return cx.ui.document(|| Ok(RenamedSecrets::new(&found, &[], &[])));
    }

    let places = Places::search(cx, &found.project, args.references)?;
    let renaming = if args.references { Some(places.plan(from, &args.to)?) } else { None };
    let wanted = if args.references { places.secrets(vault, &found)? } else { vec![found.clone()] };
    let rename = || renamed(vault, &wanted, &args.to);
    let renamed = match &renaming {
        Some(renaming) => places.write(cx, renaming, rename)?,
        None => rename()?,
    };
    let renamed = cx.written(vault, renamed);

    report(args, cx, &places, renaming.as_ref(), &renamed, from)
}

/// Renames secrets. Nothing is written if there are none.
fn renamed(vault: &Vault, secrets: &[Secret], to: &Tag) -> Result<Vec<Secret>, Error> {
    if secrets.is_empty() {
        return Ok(Vec::new());
    }

    let renamed = vault.rename(secrets, to);
    renamed.map_err(|error| conflict(error, "choose another tag; nothing was renamed"))
}

/// Rewrites references to a secret that has its new tag already, as after a rename without
/// --references or on another machine. Environments that still have the old tag follow.
fn only_references(
    args: &RenameArgs,
    cx: &Context,
    vault: &Vault,
    project: &ProjectName,
    missing: Error,
) -> Result<(), Error> {
    let SecretRef::Tag(from) = &args.secret else { return Err(missing) };
    if !args.references
        || missing.kind() != Kind::NotFound
        || vault.find(project, &args.to)?.is_none()
    {
        return Err(missing);
    }

    let places = Places::search(cx, project, true)?;
    let renaming = places.plan(from, &args.to)?;
    if renaming.files.is_empty() {
        return Err(missing);
    }

    let others = places.others(vault, project, from)?;
    let renamed = places.write(cx, &renaming, || renamed(vault, &others, &args.to))?;
    cx.ui.status(&format!("`{}` has its new tag already in project `{project}`", args.to));
    report(args, cx, &places, Some(&renaming), &cx.written(vault, renamed), from)
}

fn report(
    args: &RenameArgs,
    cx: &Context,
    places: &Places<'_>,
    renaming: Option<&Renaming>,
    renamed: &[Secret],
    from: &Tag,
) -> Result<(), Error> {
    for secret in renamed {
        cx.ui.status(&format!("renamed `{from}` to `{}` in project `{}`", args.to, secret.project));
    }

    let of_tree: Vec<Reference>;
    let (rewritten, left) = match renaming {
        Some(renaming) => (&renaming.renamed[..], &renaming.left[..]),
        None => {
            let all = places.tree.references.iter();
            of_tree = all.filter(|place| place.tag.key() == from.key()).cloned().collect();
            (&[][..], &of_tree[..])
        }
    };

    if let Some(renaming) = renaming {
        if places.projects.is_empty() {
            cx.ui.status("the files here belong to another project, so they stay");
        } else {
            let files = counted(renaming.files.len(), "file");
            cx.ui.status(&format!("rewrote {} in {files}", counted(rewritten.len(), "reference")));
        }
    }

    let has_same_key = from.key() == args.to.key();
    if !left.is_empty() && !has_same_key {
        let refer = if left.len() == 1 { "place still refers" } else { "places still refer" };
        let fix = if args.references {
            "a bare {{NAME}} outside of a template may belong to another tool".into()
        } else {
            let rewrite =
                hint!("rewrite them with `secrets rename {} {} --references`", from, args.to);
            cx.target.hint_text(rewrite)
        };
        cx.ui.status(&format!("{} {refer} to `{from}`; {fix}", left.len()));
    }

    cx.ui.print(&RenamedSecrets::new(renamed, rewritten, left))
}
