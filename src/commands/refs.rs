//! `secrets refs`: lists every place in the project's tree that refers to a secret. Never shows a
//! value and needs no passphrase.

use std::path::Path;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{SecretRef, Tag};
use secrets_project::setup::Tree;

use crate::completion;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::FoundReferences;
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets refs               list every placeholder as file:line:column
  secrets refs database-url  list those of one secret, in any spelling
  secrets refs --json | jq -r '.references[].tag' | sort -u";

/// Find the places that refer to secrets
///
/// Searches the directory of the nearest .secrets.toml, or the working directory if there is none.
/// It reads every file that git does not ignore, except binary files and directories with their own
/// .secrets.toml. It lists placeholders, and the declarations and references in .secrets.toml
/// itself. Needs no vault and no passphrase, except to look up an id.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RefsArgs {
    /// List only places that refer to this secret
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: Option<SecretRef>,
}

pub(crate) fn run(args: &RefsArgs, cx: &Context) -> Result<(), Error> {
    let wanted = args.secret.as_ref().map(|secret| tag(secret, cx)).transpose()?;
    let manifest = cx.target.manifest()?;
    let root = manifest.map_or(Path::new(""), |manifest| &manifest.directory);
    let progress = cx.ui.progress("files searched");
    let mut tree = Tree::search(root, manifest, &|number| progress.on_progress(number));

    drop(progress);
    if let Some(Some(tag)) = &wanted {
        tree.references.retain(|reference| reference.tag.key() == tag.key());
    } else if wanted.is_some() {
        tree.references.clear();
    }

    cx.ui.print(&FoundReferences::of(&tree))?;
    tree.unread.iter().for_each(|why| cx.ui.warn(why));
    if let (Some(secret), true) = (&args.secret, tree.references.is_empty()) {
        cx.ui.status(&format!("no place refers to `{secret}` in {}", counted(tree.files, "file")));
    }

    match tree.unread.len() as u64 {
        0 => Ok(()),
        n => {
            Err(Error::new(Kind::Failure, format!("{} could not be searched", counted(n, "file"))))
        }
    }
}

/// Returns the tag to search for, or `None` if the id belongs to a secret of another project.
fn tag(secret: &SecretRef, cx: &Context) -> Result<Option<Tag>, Error> {
    match secret {
        SecretRef::Tag(tag) => Ok(Some(tag.clone())),
        SecretRef::Id(_) => {
            let project = cx.target.project()?;
            let found = cx.vault()?.get(project, secret)?;
            Ok((found.project == *project).then_some(found.metadata.tag))
        }
    }
}
