//! `secrets check`: compares `.secrets.toml` with the vault, the files and git. It changes nothing
//! and shows no value.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::outputs;
use super::refs::ReferenceJson;
use crate::context::Context;
use crate::error::{self, Error, Kind};
use crate::git::GitStatus;
use crate::model::{Secret, Tag, TagKey};
use crate::setup::gitignore;
use crate::setup::output_records::Origin;
use crate::setup::{Manifest, ModifiedOutput, Need, OutputState, RenderEntry, Tree, needs};
use crate::store;
use crate::ui::counted;
use crate::ui::escape::{quoted, visible};
use crate::vault::{Reveal, Revealed};

const EXAMPLES: &str = "\
Examples:
  secrets check               list what is missing or out of date
  secrets check --json | jq '.missing[].tag'
  secrets check -q || exit 1  exit code 0 means all is well";

/// Check the project against .secrets.toml
///
/// Reports which secrets are missing, which outputs are out of date, and which outputs git tracks
/// or does not ignore. The exit code is 3 if a secret is missing, else 8 if an output is out of
/// date, else 7 if git tracks an output or does not ignore it, else 0. It also lists secrets that
/// nothing refers to, references that are not declared, and missing optional secrets; these do not
/// change the exit code. No value is shown, and nothing is changed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {}

/// The document of `--json`, described in docs/check.md.
#[derive(Serialize)]
struct CheckJson {
    version: u32,
    project: String,
    manifest: String,
    missing: Vec<NeedJson>,
    optional: Vec<NeedJson>,
    undeclared: Vec<NeedJson>,
    unused: Vec<UnusedJson>,
    outputs: Vec<OutputJson>,
    exit: u8,
}

#[derive(Serialize)]
struct NeedJson {
    tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// True if `secrets setup` generates it
    generated: bool,
    /// The declared tag that an undeclared reference may have meant
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
    references: Vec<ReferenceJson>,
}

#[derive(Serialize)]
struct UnusedJson {
    tag: String,
    declared: bool,
}

#[derive(Serialize)]
struct OutputJson {
    output: String,
    template: String,
    /// "current", "missing", "stale", "exposed", or "unknown" if a secret is missing
    state: &'static str,
    /// "ignored", "exposed", "tracked", or "none" outside a repository
    git: &'static str,
    /// The record of an existing output that is out of date: "written" by us and unchanged,
    /// "changed" since, or "unknown"
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
    /// Variables that the template does not give and `secrets` did not write, so nothing replaces
    /// them
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<String>,
    /// The numbers of other lines that may be variables and that the template does not give
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<u64>,
}

pub(crate) fn run(_: &CheckArgs, cx: &Context) -> Result<(), Error> {
    let manifest = cx.require_manifest()?;
    cx.require_vault()?;
    cx.require_trust(manifest)?;
    let project = cx.project()?;
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

    let standing = Context::git(&manifest.directory).standing(&paths)?;
    let mut found = CheckJson {
        version: 1,
        project: project.to_string(),
        manifest: manifest.path().to_string_lossy().into_owned(),
        missing: needs.iter().filter(absent).filter(|need| need.is_required()).map(need).collect(),
        optional: needs
            .iter()
            .filter(absent)
            .filter(|need| !need.is_required())
            .map(need)
            .collect(),
        undeclared: needs.iter().filter(|need| need.declaration.is_none()).map(need).collect(),
        unused: unused(manifest, &tree, &stored, &known),
        outputs: manifest
            .render
            .iter()
            .zip(standing)
            .map(|(rendering, standing)| output(rendering, standing, &states, &foreign))
            .collect(),
        exit: 0,
    };

    suggest(cx, &mut found.missing)?;
    let foreign = outputs::with_paths(manifest, foreign);
    let verdict = verdict(&found, &foreign, manifest, cx)?;
    found.exit = verdict.as_ref().map_or(0, Error::exit_code);

    if cx.ui.is_json() {
        cx.ui.json(&found)?;
    } else {
        show(&found, &foreign, manifest, cx)?;
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

/// Returns the secrets that nothing uses, whether declared or only stored.
fn unused(
    manifest: &Manifest,
    tree: &Tree,
    stored: &[Secret],
    known: &HashSet<TagKey>,
) -> Vec<UnusedJson> {
    let placeholders = tree.references.iter().filter(|reference| !reference.declared);
    let used: HashSet<TagKey> = placeholders.map(|reference| reference.tag.key()).collect();

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
    let unused = |tag: &Tag, declared| UnusedJson { tag: tag.to_string(), declared };

    declared.map(|tag| unused(tag, true)).chain(stored.map(|tag| unused(tag, false))).collect()
}

fn output(
    rendering: &RenderEntry,
    standing: GitStatus,
    states: &[(&RenderEntry, OutputState)],
    foreign: &[(&RenderEntry, ModifiedOutput)],
) -> OutputJson {
    let state =
        states.iter().find(|(other, _)| other.output == rendering.output).map(|(_, state)| *state);
    let found =
        foreign.iter().find(|(other, _)| other.output == rendering.output).map(|(_, found)| found);
    OutputJson {
        output: rendering.output.to_string_lossy().into_owned(),
        template: rendering.template.to_string_lossy().into_owned(),
        state: match state {
            Some(OutputState::Current) => "current",
            Some(OutputState::Missing) => "missing",
            Some(OutputState::Stale) => "stale",
            Some(OutputState::Exposed(_)) => "exposed",
            None => "unknown",
        },
        git: match standing {
            GitStatus::NoRepository => "none",
            GitStatus::Ignored => "ignored",
            GitStatus::Exposed => "exposed",
            GitStatus::Tracked => "tracked",
        },
        origin: match (state, found.map(|found| found.origin)) {
            (_, Some(Origin::Changed)) => Some("changed"),
            (_, Some(_)) => Some("unknown"),
            (Some(OutputState::Stale), None) => Some("written"),
            _ => None,
        },
        added: found.map(|found| found.added.clone()).unwrap_or_default(),
        lines: found.map(|found| found.lines.clone()).unwrap_or_default(),
    }
}

fn need(need: &Need<'_>) -> NeedJson {
    let declaration = need.declaration;
    NeedJson {
        tag: need.tag.to_string(),
        description: declaration
            .and_then(|d| d.description.as_ref())
            .map(|text| text.as_str().to_owned()),
        generated: declaration.is_some_and(|d| d.generate.is_some()),
        suggestion: None,
        references: need.references.iter().map(ReferenceJson::of).collect(),
    }
}

/// Suggests a tag for each mistyped reference. A declared tag is not a mistake.
fn suggest(cx: &Context, missing: &mut [NeedJson]) -> Result<(), Error> {
    let manifest = cx.require_manifest()?;
    let tag = |need: &NeedJson| {
        need.tag.parse().ok().filter(|tag: &Tag| manifest.declaration(&tag.key()).is_none())
    };

    let (mut needs, tags): (Vec<_>, Vec<_>) =
        missing.iter_mut().filter_map(|need| tag(need).map(|tag| (need, tag))).unzip();
    if tags.is_empty() {
        return Ok(());
    }

    for (need, found) in needs.iter_mut().zip(cx.vault()?.scope(cx.project()?).reveal(&tags)?) {
        if let Revealed::Missing { nearest } = found {
            need.suggestion = nearest.map(|tag| tag.to_string());
        }
    }

    Ok(())
}

/// Returns the most serious problem as an error.
fn verdict(
    found: &CheckJson,
    foreign: &[(PathBuf, ModifiedOutput)],
    manifest: &Manifest,
    cx: &Context,
) -> Result<Option<Error>, Error> {
    let describe = |n: usize, one: &str, several: &str| {
        if n == 1 { one.to_owned() } else { format!("{n} {several}") }
    };

    let stale = |output: &&OutputJson| ["missing", "stale", "exposed"].contains(&output.state);
    let stale = found.outputs.iter().filter(stale).count();
    let tracked: Vec<_> = found.outputs.iter().filter(|output| output.git == "tracked").collect();
    let exposed = found.outputs.iter().filter(|output| output.git == "exposed").count();
    let added = foreign.iter().find(|(_, found)| has_additions(found));
    let error = if !found.missing.is_empty() {
        Error::new(
            Kind::NotFound,
            describe(found.missing.len(), "a secret is missing", "secrets are missing"),
        )
        .hint(format!("enter missing secrets with {}", cx.hint_command("setup")))
    } else if let Some((path, found)) = added {
        let what = format!(
            "`{}` has {}",
            visible(&path.display().to_string()),
            outputs::what_is_added(found)
        );

        Error::new(Kind::Differs, what).hint(outputs::way_into_the_template(cx, path, found)?)
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
        .hint(format!(
            "render outdated outputs with {}, which asks before it replaces a file that `secrets` \
             did not write",
            cx.hint_command("setup")
        ))
    } else if stale > 0 {
        Error::new(
            Kind::Differs,
            describe(stale, "an output is out of date", "outputs are out of date"),
        )
        .hint(format!("render outdated outputs with {}", cx.hint_command("render --stale")))
    } else if let [first, ..] = tracked[..] {
        let known = manifest.at(&gitignore::as_git_knows(manifest, Path::new(&first.output)));
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
        .hint(format!("add outputs to .gitignore with {}", cx.hint_command("setup")))
    } else {
        return Ok(None);
    };

    Ok(Some(error))
}

fn has_additions(found: &ModifiedOutput) -> bool {
    !found.added.is_empty() || !found.lines.is_empty()
}

/// Prints one row for each problem and for each other finding.
fn show(
    found: &CheckJson,
    foreign: &[(PathBuf, ModifiedOutput)],
    manifest: &Manifest,
    cx: &Context,
) -> Result<(), Error> {
    let mut rows: Vec<[String; 3]> = Vec::new();
    let places = |need: &NeedJson| match &need.references[..] {
        [] => String::new(),
        [first, rest @ ..] => {
            let more =
                if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!("{}{more}", visible(&first.place()))
        }
    };

    for (word, needs) in [
        ("missing", &found.missing),
        ("optional", &found.optional),
        ("undeclared", &found.undeclared),
    ] {
        // A missing secret already has a row.
        let has_row = |need: &&NeedJson| {
            word == "undeclared" && found.missing.iter().any(|other| other.tag == need.tag)
        };
        for need in needs.iter().filter(|need| !has_row(need)) {
            let about = match &need.description {
                Some(text) if word != "undeclared" => quoted(text, 100),
                _ => places(need),
            };

            let about = match &need.suggestion {
                Some(meant) => format!("{about}, did you mean `{meant}`?"),
                None => about,
            };

            rows.push([word.into(), need.tag.clone(), about]);
        }
    }

    for unused in &found.unused {
        let why = if unused.declared {
            "declared, but nothing refers to it"
        } else {
            "stored, but nothing refers to it"
        };

        rows.push(["unused".into(), unused.tag.clone(), why.into()]);
    }

    for output in &found.outputs {
        let name = visible(&output.output);
        match output.state {
            "missing" => rows.push(["stale".into(), name.clone(), "does not exist".into()]),
            "stale" => rows.push([
                "stale".into(),
                name.clone(),
                format!("rendered from {}", visible(&output.template)),
            ]),
            "exposed" => rows.push(["stale".into(), name.clone(), "permissions too wide".into()]),
            "unknown" => {
                rows.push(["unknown".into(), name.clone(), "one of its secrets is missing".into()]);
            }
            _ => {}
        }

        let path = manifest.at(Path::new(&output.output));
        if let Some((_, found)) =
            foreign.iter().find(|(other, found)| *other == path && has_additions(found))
        {
            rows.push([
                "added".into(),
                name.clone(),
                format!("by hand: {}", outputs::listed_additions(found, false)),
            ]);
        }

        match output.git {
            "tracked" => {
                rows.push(["tracked".into(), name, "the next commit would include it".into()]);
            }
            "exposed" => rows.push(["exposed".into(), name, "git does not ignore it".into()]),
            _ => {}
        }
    }

    Ok(cx.ui.rows(["FINDING", "WHAT", "ABOUT"], &rows)?)
}
