//! Protects outputs that people changed or that `secrets` did not write: asks before it replaces
//! them, or refuses.

use std::path::{Path, PathBuf};

use secrets_core::store::absolute;
use secrets_project::setup::output_records::{Origin, OutputRecords};
use secrets_project::setup::{
    AdoptableOutput, Manifest, ModifiedOutput, RenderEntry, ResolvedOutputs,
};
use serde_json::json;

use crate::context::Context;
use crate::error::{self, Error, Hint, Kind, hint};
use crate::output::listed_additions;
use crate::ui::listed;
use crate::ui::prompt;

/// Returns outputs with their paths relative to the working directory.
pub(crate) fn with_paths(
    manifest: &Manifest,
    foreign: Vec<(&RenderEntry, ModifiedOutput)>,
) -> Vec<(PathBuf, ModifiedOutput)> {
    foreign.into_iter().map(|(rendering, found)| (manifest.at(&rendering.output), found)).collect()
}

/// Asks before replacing outputs that differ from what we wrote. Refuses in any case if variables
/// would be lost, and if it cannot ask.
pub(crate) fn protect(
    cx: &Context,
    outputs: &ResolvedOutputs<'_>,
    memory: &OutputRecords,
    is_confirmed: bool,
) -> Result<(), Error> {
    let project = cx.target.project()?;
    let foreign = outputs.foreign(memory).map_err(|error| error::setup(error, project))?;
    let foreign = with_paths(cx.target.require_manifest()?, foreign);
    refuse_added(cx, &foreign)?;

    let Some((path, found)) = foreign.first().filter(|_| !is_confirmed) else { return Ok(()) };

    let names: Vec<String> = foreign.iter().map(|(path, _)| path.display().to_string()).collect();
    let what = match (foreign.len(), found.origin) {
        (1, Origin::Changed) => format!("`{}` was changed after it was rendered", path.display()),
        (1, Origin::OtherKey) => {
            format!(
                "`{}` was rendered under another key, so it cannot be verified whether it was \
                 changed",
                path.display()
            )
        }
        (1, _) => format!("`{}` was not rendered by `secrets`", path.display()),
        _ => {
            format!("{} were not rendered by `secrets`, or were changed afterwards", listed(&names))
        }
    };

    if prompt::is_possible() {
        let which = if foreign.len() == 1 { "it" } else { "them" };
        cx.ui.status(&what);
        if prompt::confirm(&format!("Replace {which}?"), false)? {
            return Ok(());
        }
    }

    Err(Error::new(Kind::Refused, what).hint("use `--yes` to replace it; nothing was written"))
}

/// Refuses to overwrite variables that people added to dotenv files.
pub(crate) fn refuse_added(
    cx: &Context,
    foreign: &[(PathBuf, ModifiedOutput)],
) -> Result<(), Error> {
    let added: Vec<_> = foreign.iter().filter(|(_, found)| found.would_be_lost()).collect();
    let [(path, found), rest @ ..] = &added[..] else { return Ok(()) };
    let file = path.display();
    let what = match (rest, found.unread) {
        ([], Some(why)) => {
            format!("`{file}` {why} and may have variables that its template does not give")
        }
        ([], None) => {
            format!(
                "`{file}` has {}: {}",
                what_is_added(found),
                listed_additions(&found.added, &found.lines, true)
            )
        }
        _ => format!("{} outputs have variables that their templates do not give", added.len()),
    };

    let note = |found: &ModifiedOutput| match found.unread {
        Some(why) => format!("it {why}"),
        None => listed_additions(&found.added, &found.lines, true),
    };

    let notes = added.iter().filter(|_| !rest.is_empty());
    let notes = notes.map(|(path, found)| format!("  {}: {}", path.display(), note(found)));
    let files = added
        .iter()
        .map(|(path, found)| json!({ "output": path.to_string_lossy(), "added": found.added, "lines": found.lines }));
    let details = json!({ "outputs": files.collect::<Vec<_>>() });

    let fix = match found.unread {
        Some(_) => "move the file away; nothing was written".into(),
        None => way_into_the_template(cx, path, found)?
            .and(", or remove them from the file; nothing was written"),
    };

    Err(Error::new(Kind::Refused, what).with_notes(notes.collect()).with_details(details).hint(fix))
}

/// Describes in general terms which parts of a dotenv file would be lost.
pub(crate) fn what_is_added(found: &ModifiedOutput) -> &'static str {
    match (found.added.is_empty(), found.lines.is_empty()) {
        (_, true) => "variables that its template does not give",
        (true, false) => "lines that its template does not give and that may be variables",
        (false, false) => "variables and lines that its template does not give",
    }
}

/// Returns the hint how to add the new variables of a file to its template.
pub(crate) fn way_into_the_template(
    cx: &Context,
    path: &Path,
    found: &ModifiedOutput,
) -> Result<Hint, Error> {
    if !is_output(cx, path)? || found.adoptable == AdoptableOutput::No {
        return Ok("add them to the template".into());
    }

    let file = path.display();
    Ok(Hint::in_project(match found.adoptable {
        AdoptableOutput::AfterFixing(line) => hint!(
            "make line {} a variable or a comment, then add them to the template with \
             `secrets adopt {}`",
            line,
            file
        ),
        _ => hint!("add them to the template with `secrets adopt {}`", file),
    }))
}

/// Returns true if a file is an output of the manifest.
fn is_output(cx: &Context, path: &Path) -> Result<bool, Error> {
    let path = absolute(path).ok();
    let Some(manifest) = cx.target.manifest()? else { return Ok(false) };
    Ok(manifest
        .render
        .iter()
        .any(|rendering| absolute(&manifest.at(&rendering.output)).ok() == path))
}
