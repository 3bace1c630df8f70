//! `secrets setup`: everything that `.secrets.toml` asks for, from a fresh clone to files that work.
//!
//! It goes on where it was broken off: each value that was typed is stored before the next is asked for.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::create::offer_a_vault;
use super::{outputs, project_file};
use crate::context::Context;
use crate::crypto::random::generate;
use crate::dotenv;
use crate::error::{self, Error, Kind};
use crate::model::{ProjectName, Secret, SecretBytes, SecretValue, Tag, TagKey};
use crate::setup::gitignore::{self, Unignored};
use crate::setup::{Manifest, Need, OutputState, Outputs, Tree, needs};
use crate::template::filter::Filter;
use crate::template::grammar::Grammar;
use crate::template::output::Written;
use crate::template::{Event, ScanError, WINDOW, scan};
use crate::ui::{SecretsJson, input, prompt};
use crate::vault::{Import, NewSecret, OnConflict};

const EXAMPLES: &str = "\
Examples:
  secrets setup                       asks for what is missing, renders everything
  secrets setup --from .env           takes what it can from a dotenv file
  secrets setup --new                 writes a first .secrets.toml from what the tree refers to
A .secrets.toml, which is committed and never holds a value:
  project = \"web\"
  [secrets.database-url]
  description = \"PostgreSQL URL of the shared dev server\"
  [secrets.session-key]
  generate = { length = 64, alphabet = \"hex\" }    # alnum, hex, base64url, ascii
  [secrets.sentry-dsn]
  optional = true
  [[render]]
  template = \"config/app.env.tmpl\"
  output = \".env\"        # also: mode, escape, delimiters, namespaced, as of render
  [run.env]
  DATABASE_URL = \"{{ secrets.database-url }}\"";

/// Set a project up: ask for missing secrets, render its files
///
/// What the nearest .secrets.toml declares and what its templates refer to is held against the vault. What is missing is
/// taken from --from, generated where that is declared, or asked for and not shown; Enter alone leaves one for later. Then
/// all outputs are rendered, and those that git does not ignore are added to .gitignore. A second run changes nothing; one
/// that was broken off is gone on with. Where nobody can be asked and something is missing nothing is changed: exit 3.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SetupArgs {
    /// Take missing values from a dotenv file; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Replace files and change .gitignore without asking
    #[arg(short, long)]
    yes: bool,
    /// Write a first .secrets.toml here and stop
    #[arg(long, conflicts_with_all = ["from", "yes"])]
    new: bool,
}

pub(crate) fn run(args: &SetupArgs, cx: &Context) -> Result<(), Error> {
    if args.new {
        return project_file::write(cx);
    }
    let manifest = cx.needed_manifest()?;
    let project = cx.project()?;
    // What is wrong with templates, outputs or the file is known before anything is asked for.
    let files = outputs::open(cx, manifest)?;
    let needs = needs(manifest, &Tree::of(manifest));
    let mut given = args.from.as_deref().map(|path| Given::read(path, manifest)).transpose()?.unwrap_or_default();
    let ignoring = unignored(cx, manifest)?;
    if needs.iter().any(|need| !need.references.is_empty() || need.is_required()) {
        offer_a_vault(cx)?;
    }
    let missing = missing(cx, project, &needs)?;

    let mut plan = Plans { stored: Vec::new(), asked: Vec::new() };
    for need in missing {
        plan.add(need, &mut given)?;
    }
    given.leftovers(cx);
    if !plan.asked.is_empty() && !prompt::is_possible() {
        return Err(still_missing(&plan.asked, project)
            .hint("`secrets setup` on a terminal asks for them; `--from FILE.env` takes them from a file"));
    }
    confirm(args, cx, files, &ignoring, &needs, &plan)?;

    let mut created = store(cx, project, plan.stored)?;
    let skipped = ask(cx, project, &plan.asked, &mut created)?;
    if !skipped.is_empty() {
        return Err(
            still_missing(&skipped, project).hint("`secrets setup` asks for them again; what was typed is stored")
        );
    }
    // Before the files are there: at no moment would `git add .` take one.
    ignoring.apply().map_err(|error| error::setup(error, project))?;
    for line in ignoring.lines() {
        cx.ui.status(&format!("added `{line}` to .gitignore"));
    }
    let written = outputs::write(cx, outputs::resolve(cx, outputs::open(cx, manifest)?)?)?;
    finish(cx, project, &needs, &created, &ignoring, &written)
}

/// The required secrets that the vault does not have.
fn missing<'n, 'm>(cx: &Context, project: &ProjectName, needs: &'n [Need<'m>]) -> Result<Vec<&'n Need<'m>>, Error> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let stored = cx.vault()?.list(Some(project), |_| true)?;
    let known: HashSet<TagKey> = stored.iter().map(|secret| secret.metadata.tag.key()).collect();
    Ok(needs.iter().filter(|need| !known.contains(&need.tag.key())).collect())
}

/// Outputs that git would take. One that it has taken already is refused: the next commit would publish it.
fn unignored(cx: &Context, manifest: &Manifest) -> Result<Unignored, Error> {
    let found = gitignore::unignored(manifest, &Context::git(&manifest.directory))?;
    if let Some(tracked) = found.tracked.first() {
        let name = tracked.display();
        return Err(Error::new(
            Kind::Refused,
            format!("`{name}` is tracked by git: the next commit would publish what is in it"),
        )
        .hint(format!("take it out with `git rm --cached {name}`; nothing was changed")));
    }
    if let Some((output, rule)) = &found.taken_back {
        let (output, rule) = (output.display(), rule.display());
        return Err(Error::new(
            Kind::Refused,
            format!("git does not ignore `{output}` whatever .gitignore says: `{rule}` takes it back"),
        )
        .hint(format!("take that rule out of `{rule}`; nothing was changed")));
    }
    let project = cx.project()?;
    found.check().map_err(|error| error::setup(error, project))?;
    Ok(found)
}

/// Where the missing ones come from.
struct Plans<'n, 'm> {
    stored: Vec<NewSecret>,
    asked: Vec<&'n Need<'m>>,
}

impl<'n, 'm> Plans<'n, 'm> {
    fn add(&mut self, need: &'n Need<'m>, given: &mut Given) -> Result<(), Error> {
        let declaration = need.declaration;
        let value = match (given.take(need), declaration.and_then(|declaration| declaration.generate)) {
            (Some(bytes), _) => bytes,
            (None, Some(how)) => generate(how.length, how.alphabet)?,
            (None, None) => {
                self.asked.extend(need.is_required().then_some(need));
                return Ok(());
            }
        };
        let value = SecretValue::new(value, false)
            .map_err(|why| Error::usage(format!("`{}`: {why}; nothing was stored", need.tag)))?;
        self.stored.push(new_secret(need, value));
        Ok(())
    }
}

fn new_secret(need: &Need<'_>, value: SecretValue) -> NewSecret {
    let description = need.declaration.and_then(|declaration| declaration.description.clone());
    NewSecret { tag: need.tag.clone(), name: None, description, value }
}

/// What cannot be had.
fn still_missing(needs: &[&Need<'_>], project: &ProjectName) -> Error {
    let message = match needs {
        [only] => format!("`{}` is missing in project `{project}`", only.tag),
        all => format!("{} secrets are missing in project `{project}`", all.len()),
    };
    let description =
        |need: &&Need<'_>| need.declaration.and_then(|d| d.description.as_ref().map(|d| d.as_str().to_owned()));
    let note = |need: &&Need<'_>| match description(need) {
        Some(text) => format!("  {}: {text}", need.tag),
        None => format!("  {}", need.tag),
    };
    let missing: Vec<_> =
        needs.iter().map(|need| json!({ "tag": need.tag.as_str(), "description": description(need) })).collect();
    Error::new(Kind::NotFound, message)
        .with_notes(needs.iter().map(note).collect())
        .detailed(json!({ "missing": missing }))
}

/// Asks before a file is replaced that somebody may have written, or .gitignore is changed.
fn confirm(
    args: &SetupArgs,
    cx: &Context,
    mut files: Outputs<'_>,
    ignoring: &Unignored,
    needs: &[Need<'_>],
    plan: &Plans<'_, '_>,
) -> Result<(), Error> {
    if args.yes {
        return Ok(());
    }
    let manifest = cx.needed_manifest()?;
    let new: HashSet<TagKey> = plan.stored.iter().map(|new| new.tag.key()).collect();
    let asked: HashSet<TagKey> = plan.asked.iter().map(|need| need.tag.key()).collect();
    let has =
        |key: &TagKey| !new.contains(key) && !asked.contains(key) && needs.iter().any(|need| need.tag.key() == *key);
    let project = cx.project()?;
    let unresolved = files.split_off(|tag| has(&tag.key()));
    let states = outputs::resolve(cx, files)?.states().map_err(|error| error::setup(error, project))?;
    let stale = states.iter().filter(|(_, state)| *state == OutputState::Stale).map(|(rendering, _)| *rendering);
    let there = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok();
    let replaced: Vec<PathBuf> =
        stale.chain(unresolved).map(|rendering| manifest.at(&rendering.output)).filter(there).collect();
    let named: Vec<String> = replaced.iter().map(|path| format!("`{}`", path.display())).collect();
    let lines: Vec<String> = ignoring.lines().iter().map(|line| format!("`{line}`")).collect();
    let (replacing, adding) = (named.join(", "), lines.join(", "));
    let question = match (replaced.is_empty(), lines.is_empty()) {
        (true, true) => return Ok(()),
        (false, true) => format!("replace {replacing}"),
        (true, false) => format!("add {adding} to .gitignore"),
        (false, false) => format!("replace {replacing} and add {adding} to .gitignore"),
    };
    if !prompt::is_possible() {
        return Err(Error::new(
            Kind::Refused,
            format!("to {question} needs `--yes` where there is no terminal to ask on"),
        )
        .hint("nothing was changed; add `--yes` to do it"));
    }
    let mut letters = question.chars();
    let question: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    if prompt::confirm(&format!("{question}?"), replaced.is_empty())? {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, "nothing was changed"))
}

/// Stores what needs no answer, all of it or none.
fn store(cx: &Context, project: &ProjectName, secrets: Vec<NewSecret>) -> Result<Vec<Secret>, Error> {
    if secrets.is_empty() {
        return Ok(Vec::new());
    }
    let import = Import { secrets, to: project, on_conflict: OnConflict::Fail, dry_run: false };
    let created = cx.written(cx.vault()?.import(&import, &|_| {})?).secrets;
    for secret in &created {
        told(cx, secret);
    }
    Ok(created)
}

fn told(cx: &Context, secret: &Secret) {
    let (tag, hint) = (&secret.metadata.tag, secret.metadata.hint.as_str());
    cx.ui.status(&format!("created `{tag}` in project `{}`, hint {hint}", secret.project));
}

/// Asks for values, each stored before the next question; returns those that were left for later.
fn ask<'n, 'm>(
    cx: &Context,
    project: &ProjectName,
    needs: &[&'n Need<'m>],
    created: &mut Vec<Secret>,
) -> Result<Vec<&'n Need<'m>>, Error> {
    let mut skipped = Vec::new();
    if !needs.is_empty() {
        cx.ui.status(&format!(
            "{} to be typed, unseen; Enter alone leaves one for later",
            counted(needs.len(), "value")
        ));
    }
    for need in needs {
        let description = need.declaration.and_then(|declaration| declaration.description.as_ref());
        let about = description.map_or_else(String::new, |text| format!(" ({})", text.as_str().replace('\n', " ")));
        let bytes = prompt::value(&format!("Value of {}{about}", need.tag))?;
        if bytes.is_empty() {
            skipped.push(*need);
            continue;
        }
        let value = SecretValue::new(bytes, false).map_err(|why| Error::usage(why.to_string()))?;
        let secret = cx.written(cx.vault()?.create(project, new_secret(need, value))?);
        told(cx, &secret);
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
    written: &[(PathBuf, Written)],
) -> Result<(), Error> {
    let (secrets, outputs) = (counted(needs.len(), "secret"), counted(written.len(), "output"));
    cx.ui.status(&format!("project `{project}` is set up: {secrets}, {outputs}"));
    if !cx.ui.is_json() {
        return Ok(());
    }
    let mut document = outputs::json(written);
    document["project"] = json!(project.as_str());
    document["gitignore"] = json!(ignoring.lines());
    document["secrets"] = json!(SecretsJson::of(created))["secrets"].take();
    Ok(cx.ui.json(&document)?)
}

/// A number of things in words.
pub(super) fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Values of `--from`, by the key of the tag that they are for.
#[derive(Default)]
struct Given {
    values: HashMap<TagKey, SecretBytes>,
    /// Under which names the manifest's own files use a tag
    names: HashMap<TagKey, TagKey>,
    empty: Vec<String>,
    file: String,
}

impl Given {
    fn read(path: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let (entries, file) = dotenv_file(path)?;
        let mut given = Self { names: names(manifest), file, ..Self::default() };
        for entry in entries {
            // What is no tag is nobody's here; of a name that stands there twice the later counts, as for every tool.
            let Ok(tag) = entry.name.parse::<Tag>() else { continue };
            if entry.value.is_empty() {
                given.values.remove(&tag.key());
                given.empty.push(entry.name);
            } else {
                given.empty.retain(|name| *name != entry.name);
                given.values.insert(tag.key(), entry.value);
            }
        }
        Ok(given)
    }

    fn take(&mut self, need: &Need<'_>) -> Option<SecretBytes> {
        let key = need.tag.key();
        self.values.remove(&key).or_else(|| self.values.remove(self.names.get(&key)?))
    }

    /// Says what was empty.
    fn leftovers(&self, cx: &Context) {
        for name in &self.empty {
            cx.ui.warn(&format!("`{name}` is empty in `{}` and was left out", self.file));
        }
    }
}

/// The names that variables have in `[run.env]` and in templates of dotenv files, where their whole value is one secret.
fn names(manifest: &Manifest) -> HashMap<TagKey, TagKey> {
    let mut names = HashMap::new();
    let mut note = |name: &str, text: &[u8], grammar: &Grammar| {
        if let (Some(tag), Ok(name)) = (only(text, grammar), name.parse::<Tag>()) {
            names.entry(tag.key()).or_insert(name.key());
        }
    };
    for variable in manifest.run.iter().flatten() {
        note(&variable.name, variable.text.as_bytes(), &Grammar::default());
    }
    for rendering in &manifest.render {
        let Ok(text) = std::fs::read(manifest.at(&rendering.template)) else { continue };
        for entry in dotenv::parse(&text).unwrap_or_default() {
            note(&entry.name, entry.value.expose(), &rendering.grammar);
        }
    }
    names
}

/// The secret that a text is, all of it and as it is: not a part of a longer one, nor encoded.
fn only(text: &[u8], grammar: &Grammar) -> Option<Tag> {
    let (mut tags, mut is_more) = (Vec::new(), false);
    let done: Result<(), ScanError<std::convert::Infallible>> = scan(&mut &*text, grammar, WINDOW, true, |event| {
        match event {
            Event::Placeholder(placeholder, ..) => {
                let filters = placeholder.filters.iter().chain(grammar.escape.iter());
                is_more |= filters.into_iter().any(|filter| matches!(filter, Filter::Url | Filter::Base64));
                tags.push(placeholder.tag.clone());
            }
            Event::Literal(bytes) => is_more |= !bytes.is_empty(),
            Event::Malformed(..) => is_more = true,
        }
        Ok(())
    });
    tags.pop().filter(|_| done.is_ok() && tags.is_empty() && !is_more)
}

/// A dotenv file's entries, and how messages name it.
pub(super) fn dotenv_file(path: &Path) -> Result<(Vec<dotenv::Entry>, String), Error> {
    let (text, name) = input::named(path, MOST)?;
    let entries = dotenv::parse(text.expose());
    let entries = entries.map_err(|e| Error::usage(format!("{name}:{}:{}: {e}", e.line, e.column)))?;
    Ok((entries, name))
}

/// Bytes of a file of values at most.
pub(super) const MOST: usize = 64 * 1024 * 1024;
