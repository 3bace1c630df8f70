//! The refusal to delete a secret that files still refer to.

use std::collections::HashSet;

use secrets_core::model::{ProjectName, Secret, TagKey};
use secrets_project::setup::{Reference, Tree};
use serde_json::json;

use super::outputs::tree_manifest;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::ReferenceInfo;

/// Returns every reference in the tree if it belongs to this project, else none.
fn references(cx: &Context, project: &ProjectName) -> Result<Vec<Reference>, Error> {
    let Some(manifest) = tree_manifest(cx, project)? else { return Ok(Vec::new()) };
    let progress = cx.ui.progress("files searched");
    let tree =
        Tree::search(&manifest.directory, Some(manifest), &|number| progress.on_progress(number));
    drop(progress);
    tree.unread.iter().for_each(|why| cx.ui.warn(why));

    Ok(tree.references)
}

/// The maximum number of references that a refusal lists.
const SHOWN: usize = 20;

/// Refuses if files in the working directory's tree refer to one of these secrets.
pub(crate) fn refuse_referenced(cx: &Context, secrets: &[Secret]) -> Result<(), Error> {
    let Some(project) = cx.target.tree_project()? else { return Ok(()) };
    let ours: HashSet<TagKey> = secrets
        .iter()
        .filter(|secret| secret.project == *project)
        .map(|secret| secret.metadata.tag.key())
        .collect();

    if ours.is_empty() {
        return Ok(());
    }

    let mut references = references(cx, project)?;
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

    let places: Vec<_> = references.iter().map(ReferenceInfo::of).collect();
    let mut notes: Vec<String> = places.iter().take(SHOWN).map(ReferenceInfo::line).collect();
    if references.len() > SHOWN {
        notes.push(format!("and {} more", references.len() - SHOWN));
    }

    Err(Error::new(Kind::Refused, what)
        .with_notes(notes)
        .with_details(json!({ "references": places }))
        .hint("delete it anyway with `--force`; nothing was deleted"))
}
