//! `secrets check`: compares `.secrets.toml` with the vault, the files and git. It changes nothing
//! and shows no value.

mod environments;
mod witness;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use secrets_core::model::{Secret, Tag, TagKey};
use secrets_core::store;
use secrets_core::vault::{Reveal, Revealed};
use secrets_project::git::GitStatus;
use secrets_project::setup::gitignore;
use secrets_project::setup::{
    Manifest, ModifiedOutput, Need, OutputState, ReferenceKind, RenderEntry, Tree, needs,
};

use super::shared::{additions, due, outputs};
use crate::context::{Context, Target};
use crate::error::{self, Error, Hint, Kind, hint};
use crate::output::{CheckReport, DueInfo, NeedInfo, OutputReport, UnusedSecret};
use crate::ui::escape::visible;
use crate::ui::{counted, time};

const EXAMPLES: &str = "\
Examples:
  secrets check               list what is missing or out of date
  secrets check --json | jq '.missing[].tag'
  secrets check --all-environments
  secrets check --witness     let CI jobs notice a rollback of the project
  secrets check -q || exit 1  exit code 0 means all is well";

/// Check the project against .secrets.toml
///
/// Reports which secrets are missing, which outputs are out of date, which outputs git tracks or
/// does not ignore, and which secrets have expired. The exit code is 3 if a secret is missing, else
/// 8 if an output is out of date, else 7 if git tracks an output or does not ignore it, else 8 if a
/// secret has expired, else 0. It also lists secrets that expire within 14 days, secrets that
/// nothing refers to, references that are not declared, and missing optional secrets; these do not
/// change the exit code. No value is shown, and nothing is changed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Print for each environment of .secrets.toml which secrets it has, and nothing else. The exit code
    /// is 3 if a secret is missing in one of them, else 8 if a secret has expired, else 0
    #[arg(long)]
    all_environments: bool,
    /// Write the present state of the project into .secrets.toml as its witness. `check`, `run`,
    /// `render` and `setup` then fail with exit code 6 if the project was rolled back to an earlier state
    #[arg(long, conflicts_with = "all_environments")]
    witness: bool,
}

pub(crate) fn run(args: &CheckArgs, cx: &Context) -> Result<(), Error> {
    if args.all_environments {
        return environments::compare(cx);
    }

    if args.witness {
        return witness::write(cx);
    }

    let manifest = cx.target.require_manifest()?;
    cx.require_vault()?;
    cx.require_trust(manifest)?;
    let project = cx.target.project()?;
    cx.check_witness(cx.vault()?)?;
    let mut files = outputs::open(cx, manifest)?;
    let progress = cx.ui.progress("files searched");
    let tree =
        Tree::search(&manifest.directory, Some(manifest), &|number| progress.on_progress(number));
    drop(progress);
    tree.unread.iter().for_each(|why| cx.ui.warn(why));

    let stored = cx.vault()?.list(Some(project), |_| true)?;
    let known: HashSet<TagKey> = stored.iter().map(|secret| secret.metadata.tag.key()).collect();
    let needs = needs(manifest, &tree);

    let absent = |need: &&Need<'_>| !known.contains(&need.tag.key());

    // An output with a missing secret can be neither rendered nor compared.
    let memory = outputs::memory(cx, !files.tags().is_empty())?;
    let mut foreign = files.foreign(&memory).map_err(|error| error::setup(error, project))?;
    let unresolved = files.split_off(|tag| known.contains(&tag.key()));
    foreign
        .retain(|(rendering, _)| unresolved.iter().any(|other| other.output == rendering.output));

    let files = outputs::resolve(cx, files)?;
    foreign.extend(files.foreign(&memory).map_err(|error| error::setup(error, project))?);
    outputs::warn_of_misread(cx, &files)?;
    let states = files.states().map_err(|error| error::setup(error, project))?;
    let paths: Vec<&Path> =
        manifest.render.iter().map(|rendering| rendering.output.as_path()).collect();

    let used = used(&tree, &needs);
    let due = due::due(
        manifest,
        stored.iter().filter(|secret| used.contains(&secret.metadata.tag.key())),
    );

    let standing = Target::git(&manifest.directory).statuses(&paths)?;
    let mut found = CheckReport {
        version: 1,
        project: project.to_string(),
        manifest: manifest.path().to_string_lossy().into_owned(),
        missing: needs
            .iter()
            .filter(absent)
            .filter(|need| need.is_required())
            .map(NeedInfo::of)
            .collect(),
        optional: needs
            .iter()
            .filter(absent)
            .filter(|need| !need.is_required())
            .map(NeedInfo::of)
            .collect(),
        undeclared: needs
            .iter()
            .filter(|need| need.declaration.is_none())
            .map(NeedInfo::of)
            .collect(),
        unused: unused(manifest, &tree, &stored, &known),
        due: due
            .iter()
            .map(|it| DueInfo::of(&it.metadata.tag, it.expires, it.is_expired, it.source))
            .collect(),
        outputs: manifest
            .render
            .iter()
            .zip(standing)
            .map(|(rendering, standing)| output(rendering, standing, &states, &foreign))
            .collect(),
        exit: 0,
    };

    suggest(cx, &mut found.missing)?;
    let foreign = additions::with_paths(manifest, foreign);
    let verdict = verdict(&found, &foreign, manifest, cx)?;
    found.exit = verdict.as_ref().map_or(0, Error::exit_code);

    cx.ui.print(&found)?;
    due::warn(cx, &due);
    if let Some(since) = cx.vault()?.keys_due(project)? {
        let since = time::local_date(since);
        cx.ui.warn(&cx.target.hint_text(hint!(
            "project `{}` needs new keys, because a token was revoked on {} while the project was \
             damaged; run `secrets rekey --project {}`",
            project,
            since,
            project
        )));
    }

    match verdict {
        Some(error) => Err(error),
        None => {
            let secrets = counted(needs.len(), "secret");
            let outputs = counted(found.outputs.len(), "output");
            cx.ui.status(&format!(
                "project `{project}` has everything it needs and is up to date: {secrets}, \
                 {outputs}"
            ));

            Ok(())
        }
    }
}

/// Returns the keys of the secrets that the project declares or that its files refer to.
fn used(tree: &Tree, needs: &[Need<'_>]) -> HashSet<TagKey> {
    let references = tree.references.iter().map(|reference| reference.tag.key());
    references.chain(needs.iter().map(|need| need.tag.key())).collect()
}

/// Returns the secrets that nothing uses, whether declared or only stored.
fn unused(
    manifest: &Manifest,
    tree: &Tree,
    stored: &[Secret],
    known: &HashSet<TagKey>,
) -> Vec<UnusedSecret> {
    let places = tree.references.iter().filter(|it| it.kind != ReferenceKind::Declaration);
    let used: HashSet<TagKey> = places.map(|reference| reference.tag.key()).collect();

    // Without a `[run]` table, `run` passes every declared secret to a program.
    let declared = manifest
        .secrets
        .iter()
        .filter(|_| manifest.run.is_some())
        .map(|declaration| &declaration.tag);

    let declared = declared.filter(|tag| !used.contains(&tag.key()) && known.contains(&tag.key()));
    let stored = stored.iter().map(|secret| &secret.metadata.tag);
    let stored = stored
        .filter(|tag| !used.contains(&tag.key()) && manifest.declaration(&tag.key()).is_none());
    let unused = |tag: &Tag, declared| UnusedSecret { tag: tag.to_string(), declared };

    declared.map(|tag| unused(tag, true)).chain(stored.map(|tag| unused(tag, false))).collect()
}

fn output(
    rendering: &RenderEntry,
    standing: GitStatus,
    states: &[(&RenderEntry, OutputState)],
    foreign: &[(&RenderEntry, ModifiedOutput)],
) -> OutputReport {
    let state = states.iter().find(|(other, _)| other.output == rendering.output);
    let found = foreign.iter().find(|(other, _)| other.output == rendering.output);
    OutputReport::of(
        rendering,
        standing,
        state.map(|(_, state)| *state),
        found.map(|(_, found)| found),
    )
}

/// Suggests a tag for each mistyped reference. A declared tag is not a mistake.
fn suggest(cx: &Context, missing: &mut [NeedInfo]) -> Result<(), Error> {
    let manifest = cx.target.require_manifest()?;
    let tag = |need: &NeedInfo| {
        need.tag.parse().ok().filter(|tag: &Tag| manifest.declaration(&tag.key()).is_none())
    };

    let (mut needs, tags): (Vec<_>, Vec<_>) =
        missing.iter_mut().filter_map(|need| tag(need).map(|tag| (need, tag))).unzip();
    if tags.is_empty() {
        return Ok(());
    }

    for (need, found) in
        needs.iter_mut().zip(cx.vault()?.scope(cx.target.project()?).reveal(&tags)?)
    {
        if let Revealed::Missing { nearest } = found {
            need.suggestion = nearest.map(|tag| tag.to_string());
        }
    }

    Ok(())
}

/// Returns the most serious problem as an error.
fn verdict(
    found: &CheckReport,
    foreign: &[(PathBuf, ModifiedOutput)],
    manifest: &Manifest,
    cx: &Context,
) -> Result<Option<Error>, Error> {
    let describe = |n: usize, one: &str, several: &str| {
        if n == 1 { one.to_owned() } else { format!("{n} {several}") }
    };

    let stale = |output: &&OutputReport| ["missing", "stale", "exposed"].contains(&output.state);
    let stale = found.outputs.iter().filter(stale).count();
    let tracked: Vec<_> = found.outputs.iter().filter(|output| output.git == "tracked").collect();
    let exposed = found.outputs.iter().filter(|output| output.git == "exposed").count();
    let added = foreign.iter().find(|(_, found)| has_additions(found));
    let expired = found.due.iter().filter(|it| it.is_expired()).count();
    let error = if !found.missing.is_empty() {
        Error::new(
            Kind::NotFound,
            describe(found.missing.len(), "a secret is missing", "secrets are missing"),
        )
        .hint(Hint::in_project("enter missing secrets with `secrets setup`"))
    } else if let Some((path, found)) = added {
        let what = format!(
            "`{}` has {}",
            visible(&path.display().to_string()),
            additions::what_is_added(found)
        );

        Error::new(Kind::Differs, what).hint(additions::way_into_the_template(cx, path, found)?)
    } else if stale > 0
        && found
            .outputs
            .iter()
            .any(|output| ["changed", "unknown"].contains(&output.origin.unwrap_or("")))
    {
        Error::new(
            Kind::Differs,
            describe(stale, "an output is out of date", "outputs are out of date"),
        )
        .hint(Hint::in_project(
            "render outdated outputs with `secrets setup`, which asks before it replaces a file \
             that `secrets` did not write",
        ))
    } else if stale > 0 {
        Error::new(
            Kind::Differs,
            describe(stale, "an output is out of date", "outputs are out of date"),
        )
        .hint(Hint::in_project("render outdated outputs with `secrets render --stale`"))
    } else if let [first, ..] = tracked[..] {
        let known = manifest.at(&gitignore::git_path(manifest, Path::new(&first.output)));
        let file = if tracked.len() == 1 { store::quoted(&known) } else { "FILE".to_owned() };
        let what =
            describe(tracked.len(), "an output is tracked by git", "outputs are tracked by git");
        Error::new(Kind::Refused, what).hint(format!(
            "remove outputs from git with `git rm --cached {file}`, and change every value that \
             was committed"
        ))
    } else if exposed > 0 {
        Error::new(
            Kind::Refused,
            describe(exposed, "an output is not ignored by git", "outputs are not ignored by git"),
        )
        .hint(Hint::in_project("add outputs to .gitignore with `secrets setup`"))
    } else if expired > 0 {
        let what = describe(expired, "a secret has expired", "secrets have expired");
        Error::new(Kind::Differs, what)
            .hint(Hint::in_project("store a new value with `secrets update TAG`"))
            .hint(Hint::in_project(
                "if a value is still valid, set another date with `secrets update TAG --expires \
                 90d`",
            ))
    } else {
        return Ok(None);
    };

    Ok(Some(error))
}

fn has_additions(found: &ModifiedOutput) -> bool {
    !found.added.is_empty() || !found.lines.is_empty()
}
