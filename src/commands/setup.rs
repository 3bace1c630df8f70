//! `secrets setup`: stores the secrets and renders the files that `.secrets.toml` asks for, from a
//! fresh clone to a working project.
//!
//! An interrupted run resumes where it stopped, because each typed value is stored before the next
//! prompt.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use secrets_core::crypto::random::generate;
use secrets_core::model::{
    ProjectName, Secret, SecretBytes, SecretValue, Source, Tag, TagKey, Timestamp,
};
use secrets_core::vault::{Import, NewSecret, OnConflict};
use secrets_files::{FileId, OutputChange};
use secrets_project::dotenv::Entry;
use secrets_project::setup::gitignore::Unignored;
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::{Manifest, Need, Outputs, ProvidedValues, RenderEntry, Tree, needs};
use serde_json::json;

use super::shared::label::described;
use super::shared::new_vault::offer_a_vault;
use super::shared::{additions, conflicts, directories, due, git, outputs, project_file};
use crate::context::Context;
use crate::error::{self, Error, Hint, Kind, hint};
use crate::output::SetUp;
use crate::ui::escape::{clipped, quoted};
use crate::ui::{UiError, counted, input, listed, prompt};

const EXAMPLES: &str = "\
Examples:
  secrets setup                  ask for missing values, render
  secrets setup --from .env      take values from a dotenv file first
  secrets setup --new            write a first .secrets.toml
  secrets setup --new -E staging add an environment
  secrets setup -E staging       ask for what is missing there
A .secrets.toml, which is committed and never contains a value:
  project = \"web\"
  [secrets.database-url]
  description = \"PostgreSQL URL of the shared dev server\"
  source = \"https://wiki.example.com/db\"   # where to get a value
  expires-after = \"90d\"                    # h, d, w, m or y
  [secrets.session-key]
  generate = { length = 64, alphabet = \"hex\" }   # alnum, base64url, ascii
  [secrets.sentry-dsn]
  optional = true
  [[render]]
  template = \"config/app.env.tmpl\"
  output = \".env\"   # also mode, escape, delimiters, as for render
  [run.env]
  DATABASE_URL = \"{{ secrets.database-url }}\"
  [environments.staging]              # project web.staging
  outputs = { \".env\" = \".env.staging\" }
  run.env = { LOG_LEVEL = \"debug\" }";

/// Set up a project: ask for missing secrets and render its files
///
/// Compares the secrets that the nearest .secrets.toml declares or its templates refer to with the
/// vault. Missing secrets are taken from --from, generated if they are declared with `generate`, or
/// asked for without being shown. Press Enter to skip one. Outputs that git does not ignore are
/// added to .gitignore, then all outputs are rendered. It asks before it replaces an existing file
/// with different content. Running it again changes nothing. An interrupted run resumes where it
/// stopped. It warns of needed secrets whose value has expired or expires within 14 days. If
/// something is missing and there is no terminal to ask on, it changes nothing and
/// exits with 3.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SetupArgs {
    /// Take missing values from a dotenv file; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Replace existing files without asking
    #[arg(short, long)]
    yes: bool,
    /// Write a first .secrets.toml here and do nothing else; with -E, add an environment to it
    #[arg(long, conflicts_with_all = ["from", "yes"])]
    new: bool,
}

pub(crate) fn run(args: &SetupArgs, cx: &Context) -> Result<(), Error> {
    if args.new {
        return project_file::write(cx);
    }

    let manifest = cx.target.require_manifest()?;

    // Errors in the manifest, in templates or outputs are reported before the user is asked
    // anything.
    let entries = args.from.as_deref().map(entries).transpose()?.unwrap_or_default();
    cx.require_trust(manifest)?;
    let project = cx.target.project()?;
    let files = outputs::open(cx, manifest)?;
    let mut given = ProvidedValues::of(entries, manifest, &files)?;
    let needs = needs(manifest, &Tree::of(manifest));
    let ignoring = unignored(cx, manifest)?;

    if !needs.is_empty() {
        offer_a_vault(cx)?;
    }

    let stored = stored(cx, project, &needs)?;
    let missing = missing(&needs, &stored);
    conflicts::mention(cx, project, &manifest.directory);

    let mut plan = ValueSources { stored: Vec::new(), asked: Vec::new() };
    for need in missing {
        plan.add(need, &mut given)?;
    }

    if !plan.asked.is_empty() && !prompt::is_possible() {
        return Err(still_missing(&plan.asked, project).hint(Hint::in_project(
            "run `secrets setup` on a terminal to enter missing secrets, or read them from a file \
             with `--from FILE.env`",
        )));
    }

    let replaced = replaced(cx, files, &plan)?;
    if let Some(path) = &args.from {
        refuse_loss(cx, path, manifest, &given)?;
    }

    let replaced = if args.yes { Vec::new() } else { replaced };
    if !replaced.is_empty() && !prompt::is_possible() {
        let what = format!(
            "replacing {} requires `--yes` if there is no terminal to ask on",
            names_of(&replaced)
        );

        return Err(
            Error::new(Kind::Refused, what).hint("add `--yes` to confirm; nothing was changed")
        );
    }

    let mut created = store(cx, project, plan.stored)?;
    let skipped = ask(cx, project, &plan.asked, &mut created)?;
    if !skipped.is_empty() {
        return Err(still_missing(&skipped, project).hint(Hint::in_project(
            "enter missing secrets with `secrets setup`; the values that you typed are stored",
        )));
    }

    let resolved = outputs::resolve(cx, outputs::open(cx, manifest)?)?;
    let memory = outputs::memory(cx, resolved.have_secrets())?;

    // Only with all values is it certain what would be lost and which files would change.
    let foreign = resolved.foreign(&memory).map_err(|error| error::setup(error, project))?;
    let foreign = additions::with_paths(manifest, foreign);
    additions::refuse_added(cx, &foreign)?;

    if !args.yes {
        // This question comes last because its answer is echoed, and text typed ahead may be a
        // value.
        confirm(&foreign.into_iter().map(|(path, _)| path).collect::<Vec<_>>())?;
    }

    // .gitignore is written before the files, so that `git add .` can never add one of them.
    ignoring.apply().map_err(|error| error::setup(error, project))?;
    for line in ignoring.lines() {
        cx.ui.status(&format!("added `{line}` to .gitignore"));
    }

    let written = outputs::write(cx, resolved, &memory)?;
    due::warn(cx, &due::due(manifest, &stored));
    finish(cx, project, &needs, &created, &ignoring, &written)
}

/// Reads the entries of a dotenv file.
fn entries(path: &Path) -> Result<Vec<Entry>, Error> {
    let (text, file) = input::named(path)?;
    outputs::dotenv_entries(text.expose(), &file)
}

/// Returns the needed secrets that the vault has.
fn stored(cx: &Context, project: &ProjectName, needs: &[Need<'_>]) -> Result<Vec<Secret>, Error> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }

    cx.check_witness(cx.vault()?)?;
    let needed: HashSet<TagKey> = needs.iter().map(|need| need.tag.key()).collect();
    Ok(cx.vault()?.list(Some(project), |metadata| needed.contains(&metadata.tag.key()))?)
}

/// Returns the needs that are not stored.
fn missing<'n, 'm>(needs: &'n [Need<'m>], stored: &[Secret]) -> Vec<&'n Need<'m>> {
    let known: HashSet<TagKey> = stored.iter().map(|secret| secret.metadata.tag.key()).collect();
    needs.iter().filter(|need| !known.contains(&need.tag.key())).collect()
}

/// Returns the outputs that git does not ignore. Refuses an output that git tracks, because the
/// next commit would publish it.
fn unignored(cx: &Context, manifest: &Manifest) -> Result<Unignored, Error> {
    let found = git::untracked(manifest)?;
    if let Some((output, rule)) = &found.reincluded {
        let (output, rule) = (output.display(), rule.display());
        return Err(Error::new(
            Kind::Refused,
            format!(
                "git does not ignore `{output}` despite .gitignore: a rule in `{rule}` includes \
                 it again"
            ),
        )
        .hint(format!("remove that rule from `{rule}`; nothing was changed")));
    }

    let project = cx.target.project()?;
    found.check().map_err(|error| error::setup(error, project))?;
    Ok(found)
}

/// Refuses if the file of `--from` is itself an output and has values that would be lost.
fn refuse_loss(
    cx: &Context,
    path: &Path,
    manifest: &Manifest,
    given: &ProvidedValues,
) -> Result<(), Error> {
    let file = FileId::at(path);
    let is_output = |rendering: &RenderEntry| FileId::at(&manifest.at(&rendering.output)) == file;
    if file.is_none() || !manifest.render.iter().any(is_output) {
        return Ok(());
    }

    let project = cx.target.project()?;
    let tags: Vec<Tag> = given.rest().map(|(_, tag, _)| tag.clone()).collect();
    let stored = cx.vault()?.scope(project).reveal_existing(&tags)?;
    let is_lost = |value: &SecretBytes, stored: &Option<(Tag, SecretValue)>| {
        stored.as_ref().is_none_or(|(_, stored)| stored.expose() != value.expose())
    };

    let lost = given.rest().zip(&stored).filter(|((_, _, value), stored)| is_lost(value, stored));
    let lost: Vec<&str> = lost.map(|((name, ..), _)| name).collect();
    if lost.is_empty() {
        return Ok(());
    }

    let name = path.display();
    let what = format!(
        "`{name}` would be replaced, but the vault does not have its values of {}",
        listed(lost)
    );

    Err(Error::new(Kind::Refused, what).hint(Hint::in_project(hint!(
        "store them with `secrets import {} --on-conflict overwrite`, change the template, or move \
         the file away; nothing was changed",
        name
    ))))
}

/// Where the values of the missing secrets come from.
struct ValueSources<'n, 'm> {
    stored: Vec<NewSecret>,
    asked: Vec<&'n Need<'m>>,
}

impl<'n, 'm> ValueSources<'n, 'm> {
    fn add(&mut self, need: &'n Need<'m>, given: &mut ProvidedValues) -> Result<(), Error> {
        let declaration = need.declaration;
        let value =
            match (given.take(need), declaration.and_then(|declaration| declaration.generate)) {
                (Some(bytes), _) => bytes,
                (None, Some(how)) => generate(how.length, how.alphabet)?,
                (None, None) => {
                    self.asked.extend(need.is_required().then_some(need));
                    return Ok(());
                }
            };

        // A line `NAME=` in the file gives an empty value.
        let value = SecretValue::new(value, true)
            .map_err(|why| Error::usage(format!("`{}`: {why}; nothing was stored", need.tag)))?;
        self.stored.push(new_secret(need, value));
        Ok(())
    }
}

fn new_secret(need: &Need<'_>, value: SecretValue) -> NewSecret {
    let declaration = need.declaration;
    let period = declaration.and_then(|declaration| declaration.expires_after);
    NewSecret {
        description: declaration.and_then(|declaration| declaration.description.clone()),
        expires: period.map(|period| period.after(Timestamp::now())),
        source: declared_source(need).cloned(),
        ..NewSecret::new(need.tag.clone(), value)
    }
}

/// Returns the web page where a value can be had.
fn declared_source<'m>(need: &Need<'m>) -> Option<&'m Source> {
    need.declaration.and_then(|declaration| declaration.source.as_ref())
}

/// Returns lines about a secret for a narrow terminal. The first one is the manifest's description,
/// marked as a quotation, or else the first place that refers to it. The second one is the page
/// where a value can be had.
fn about(need: &Need<'_>) -> Vec<String> {
    const COLUMNS: usize = 60;
    let description = need.declaration.and_then(|declaration| declaration.description.as_ref());
    let described =
        description.map(|text| format!("`{MANIFEST}` says: {}", quoted(text.as_str(), COLUMNS)));
    let place = || {
        let reference = need.references.first()?;
        let file = clipped(&reference.file.display().to_string(), COLUMNS);
        Some(format!("`{file}` refers to it in line {}", reference.position.line))
    };

    let source = declared_source(need);
    let source = source.map(|url| format!("`{MANIFEST}` says where to get it: {}", url.as_str()));

    described.or_else(place).into_iter().chain(source).collect()
}

/// Asks for one value. Returns `None` if the user skips it or pastes several lines.
fn ask_for_value(cx: &Context, need: &Need<'_>) -> Result<Option<SecretValue>, Error> {
    // The description has its own line, because at the end of a line it could imitate one of our
    // questions.
    prompt::show(&about(need))?;
    let question = format!("Value of {}", need.tag);
    loop {
        match prompt::value(&question) {
            Ok(bytes) if bytes.is_empty() => return confirm_empty(need),
            Ok(bytes) => {
                return SecretValue::new(bytes, false)
                    .map(Some)
                    .map_err(|why| Error::usage(why.to_string()));
            }
            Err(UiError::ControlCharacter) => {
                cx.ui.warn(
                    "the input contained a control character, such as those from arrow keys; try \
                     again",
                );
            }
            Err(UiError::SeveralLines) => {
                cx.ui.warn(&cx.target.hint_text(hint!(
                    "a value with several lines is skipped; store it with \
                     `secrets create {} --value-file PATH`",
                    need.tag
                )));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks whether to store an optional secret with an empty value. Enter skips it, like every other
/// secret.
fn confirm_empty(need: &Need<'_>) -> Result<Option<SecretValue>, Error> {
    let is_optional = need.declaration.is_some_and(|declaration| declaration.optional);
    if !is_optional
        || !prompt::confirm(&format!("Store an empty value for `{}`?", need.tag), false)?
    {
        return Ok(None);
    }

    let value = SecretValue::new(SecretBytes::with_capacity(0), true);
    value.map(Some).map_err(|why| Error::usage(why.to_string()))
}

/// Reports the secrets that are still missing.
fn still_missing(needs: &[&Need<'_>], project: &ProjectName) -> Error {
    let message = match needs {
        [only] => format!("`{}` is missing in project `{project}`", only.tag),
        all => format!("{} secrets are missing in project `{project}`", all.len()),
    };

    let description = |need: &&Need<'_>| {
        need.declaration.and_then(|d| d.description.as_ref().map(|d| d.as_str().to_owned()))
    };

    let note = |need: &&Need<'_>| {
        let text = description(need).map(|text| format!(": {}", quoted(&text, 100)));
        let source = declared_source(need).map(|url| format!(", from {}", url.as_str()));
        format!("  {}{}{}", need.tag, text.unwrap_or_default(), source.unwrap_or_default())
    };

    let missing: Vec<_> = needs
        .iter()
        .map(|need| {
            json!({
                "tag": need.tag.as_str(),
                "description": description(need),
                "source": declared_source(need).map(Source::as_str),
            })
        })
        .collect();

    Error::new(Kind::NotFound, message)
        .with_notes(needs.iter().map(note).collect())
        .with_details(json!({ "missing": missing }))
}

/// Returns existing outputs that would change and differ from what we wrote. Refuses if a variable
/// would be lost.
fn replaced(
    cx: &Context,
    mut files: Outputs<'_>,
    plan: &ValueSources<'_, '_>,
) -> Result<Vec<PathBuf>, Error> {
    let (manifest, project) = (cx.target.require_manifest()?, cx.target.project()?);
    let failed = |error| error::setup(error, project);
    let memory = outputs::memory(cx, !files.tags().is_empty())?;

    // An output that refers to a secret without a value yet can be neither rendered nor compared.
    let mut foreign = files.foreign(&memory).map_err(failed)?;
    let asked: HashSet<TagKey> = plan.asked.iter().map(|need| need.tag.key()).collect();
    let unresolved = files.split_off(|tag| !asked.contains(&tag.key()));
    foreign
        .retain(|(rendering, _)| unresolved.iter().any(|other| other.output == rendering.output));

    foreign
        .extend(outputs::resolve_with(cx, files, &plan.stored)?.foreign(&memory).map_err(failed)?);
    let foreign = additions::with_paths(manifest, foreign);
    additions::refuse_added(cx, &foreign)?;

    Ok(foreign.into_iter().map(|(path, _)| path).collect())
}

/// Asks before replacing files.
fn confirm(replaced: &[PathBuf]) -> Result<(), Error> {
    if replaced.is_empty() || prompt::confirm(&format!("Replace {}?", names_of(replaced)), false)? {
        return Ok(());
    }

    let what = if replaced.len() == 1 { "was not replaced" } else { "were not replaced" };
    let error = Error::new(Kind::Refused, format!("{} {what}", names_of(replaced))).into_answer();
    Err(error.hint(
        "take values from a dotenv file with `secrets setup --from FILE`; nothing was rendered",
    ))
}

fn names_of(paths: &[PathBuf]) -> String {
    // The names come from the manifest and appear in a question, so they are made safe to print.
    let name = |path: &PathBuf| format!("`{}`", clipped(&path.display().to_string(), 100));
    paths.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Stores the secrets that need no prompt, all of them or none.
fn store(
    cx: &Context,
    project: &ProjectName,
    secrets: Vec<NewSecret>,
) -> Result<Vec<Secret>, Error> {
    if secrets.is_empty() {
        return Ok(Vec::new());
    }

    let import = Import::into_one(project, secrets, OnConflict::Fail);
    let created = cx.written(cx.vault()?, cx.vault()?.import(&import, &|_| {})?).secrets;
    for secret in &created {
        report_created(cx, secret);
    }

    Ok(created)
}

fn report_created(cx: &Context, secret: &Secret) {
    cx.ui.status(&format!("created {}", described(secret)));
}

/// Asks for values and stores each before the next prompt. Returns the secrets that were skipped.
fn ask<'n, 'm>(
    cx: &Context,
    project: &ProjectName,
    needs: &[&'n Need<'m>],
    created: &mut Vec<Secret>,
) -> Result<Vec<&'n Need<'m>>, Error> {
    let mut skipped = Vec::new();
    if !needs.is_empty() {
        let missing = match needs.len() {
            1 => "1 secret is missing".to_owned(),
            number => format!("{number} secrets are missing"),
        };

        cx.ui.status(&format!("{missing}. Input is hidden; press Enter to skip one."));
    }

    for need in needs {
        let Some(value) = ask_for_value(cx, need)? else {
            skipped.push(*need);
            continue;
        };

        let secret = cx.written(cx.vault()?, cx.vault()?.create(project, new_secret(need, value))?);
        report_created(cx, &secret);
        created.push(secret);
    }

    Ok(skipped)
}

fn finish(
    cx: &Context,
    project: &ProjectName,
    needs: &[Need<'_>],
    created: &[Secret],
    ignoring: &Unignored,
    written: &[(PathBuf, OutputChange)],
) -> Result<(), Error> {
    if !needs.is_empty() {
        directories::remember_directory(cx, project, &cx.target.require_manifest()?.directory);
    }

    let (secrets, outputs) = (counted(needs.len(), "secret"), counted(written.len(), "output"));
    cx.ui.status(&format!("project `{project}` is set up: {secrets}, {outputs}"));
    cx.ui.document(|| Ok(SetUp::new(project.as_str(), created, written, ignoring.lines())))
}
