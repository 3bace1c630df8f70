//! `secrets template`: turns a dotenv file into a template plus stored secrets, in one step.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::conflicts::{self, OnTakenArg, Uses};
use super::create::{needs_vault_unless_offered, offer_a_vault};
use super::import::{is_tracked, store};
use super::migrating::{on_taken, refused, stored_values, warn_of_names};
use super::render::named_readers;
use super::{outputs, project_file};
use crate::context::Context;
use crate::dotenv::Entry;
use crate::dotenv::readers::{Reader, Readers};
use crate::error::{self, Error, Kind};
use crate::model::{Description, ProjectName, Tag};
use crate::setup::manifest::MANIFEST;
use crate::setup::migration::{KeptNames, Migration, Wanted};
use crate::setup::output_records::{OutputRecords, names_in};
use crate::setup::settings::{self, Guess};
use crate::setup::{Draft, Manifest, add, detect, gitignore, name_readers};
use crate::store::quoted;
use crate::ui::{input, prompt};
use crate::vault::{Import, NewSecret};

const EXAMPLES: &str = "\
Examples:
  secrets template .env                        secrets into the vault
  secrets template .env --keep APP_NAME,REGION these are no secrets
  secrets template .env --readers compose,node who reads the file
  secrets template .env.example --example      stores nothing
  secrets template .env -o config/app.env.tmpl";

/// Turn a dotenv file into a template
///
/// Each secret is stored in the vault, under the name of its variable as tag, and gives way to a placeholder; comments and
/// order stay. On a terminal you are asked for each variable whether it is a secret. Without one, obvious settings (NODE_ENV,
/// PORT, booleans, log levels) stay in the template and are listed. Values are written so that all programs that read the
/// file agree about them; these are guessed from the project's files unless --readers names them. The template is written beside the file and entered into .secrets.toml, which is made where there is none;
/// the file itself becomes what is rendered, and .gitignore gets it. Nothing is written unless the template renders to what the
/// file said. Values in commented-out lines are left out.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TemplateArgs {
    /// The dotenv file
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// The template [default: FILE with .tmpl behind it]
    #[arg(short, long, value_name = "TEMPLATE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Names whose values are no secrets and stay in the template
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    keep: Vec<String>,
    /// Names whose values are secrets although they look like settings
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    secret: Vec<String>,
    /// The programs that read the file
    #[arg(long, value_name = "READER,...", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(Reader::NAMES))]
    readers: Vec<String>,
    /// FILE is an example whose values are none: store nothing
    #[arg(long, conflicts_with = "on_conflict")]
    example: bool,
    /// What happens to a tag that the project has with another value
    #[arg(long, default_value = "fail", value_name = "WHAT", value_parser = on_taken())]
    on_conflict: OnTakenArg,
    /// Overwrite a value although other outputs use it
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &TemplateArgs, cx: &Context) -> Result<(), Error> {
    let manifest = cx.manifest()?;
    check(args, manifest, cx)?;
    let paths = Paths::new(args, manifest)?;
    let (text, file) = input::named(&args.file)?;
    let entries = entries(args, text.expose(), &file)?;

    paths.check()?;
    if !args.example {
        needs_vault_unless_offered(cx)?;
    }

    // What is added is trusted as written, and all the rest of the manifest with it.
    manifest.map_or(Ok(()), |manifest| cx.require_trust(manifest))?;

    // A manifest or a .gitignore that cannot be added to is known before a question about a variable.
    let project = cx.project()?;
    paths.check_gitignore(manifest, &paths.manifest_text(manifest, project, &[])?, project)?;
    let readers = readers(args, manifest, &paths, cx)?;
    let mut migration = migrated(args, text.expose(), &entries, &file, readers)?;
    let project = manifest.map_or_else(|| project_file::project(cx), |_| cx.project().cloned())?;
    let directory = manifest.map_or(Path::new(""), |manifest| &manifest.directory);
    let is_fixed = manifest.is_some_and(|manifest| manifest.project.is_some());
    let project = conflicts::claim(cx, &project, directory, is_fixed)?;
    let manifest_text = paths.manifest_text(manifest, &project, &declared(&migration))?;

    paths.check_gitignore(manifest, &manifest_text, &project)?;
    tell(cx, &migration, &paths, &file);
    warn_of_names(cx, text.expose(), &migration, &file, readers);

    if !args.example {
        offer_a_vault(cx)?;
        let uses = Uses::of(cx, &project, manifest, &paths.output_shown)?;
        let new: Vec<_> = migration
            .secrets
            .iter()
            .filter_map(|(tag, _, value)| Some((tag, value.as_ref()?)))
            .collect();

        let tags = uses.decide(cx, &new, args.on_conflict, args.yes)?;
        migration.rename(&tags);
        if let Some(stored) = stored_values(cx, &project)? {
            let found = migration.find_stored(text.expose(), &stored);
            found.map_err(|error| refused(&error, &file, &args.keep))?;
        }
    }

    let (declared, tags) = (
        declared(&migration),
        migration.secrets.iter().map(|(tag, ..)| tag.clone()).collect::<Vec<_>>(),
    );

    let manifest_text = paths.manifest_text(manifest, &project, &declared)?;
    let manifest_text = with_readers(manifest_text, &paths, readers);
    let is_written = paths.is_written(&migration.template, manifest)?;

    // From here on things are written: first what loses nothing.
    if !args.example {
        let new = |(tag, description, value)| {
            Some(NewSecret { tag, name: None, description, value: value? })
        };

        let secrets = migration.secrets.into_iter().filter_map(new).collect();
        let import = Import::into_one(&project, secrets, args.on_conflict.into());
        store(
            cx,
            &import,
            &[],
            "nothing was stored; their values differ: `--on-conflict overwrite` takes the file's",
        )?;
    }

    if !is_written {
        project_file::create(&paths.shown, &migration.template)?;
        cx.ui.status(&format!("wrote `{}`", paths.shown.display()));
    }

    enter(cx, manifest, &manifest_text)?;
    let tracked = ignore_output(cx)?;
    if tracked || (!args.example && is_tracked(&args.file)) {
        cx.ui.warn(&format!(
            "git has `{}`: take it out with `git rm --cached`, and change the values that were committed",
            paths.output_shown.display()
        ));
    }

    if !args.example {
        // The file is what the template gives: from now on it counts as ours.
        let key = cx.vault()?.output_key(&project)?;
        let memory = OutputRecords::new(cx.state_directory("outputs").as_deref(), key);
        if let Some(mut digest) = memory.digest(true).filter(|_| migration.identical) {
            let _ = digest.write_all(text.expose());
            let names = names_in(text.expose()).unwrap_or_default();
            memory.note(&paths.output_shown, digest, names, &tags);
        }

        outputs::remember_directory(cx, &project, directory);
    }

    cx.ui.status("next: look at them, then `secrets setup`");
    if cx.ui.is_json() {
        let secrets: Vec<&str> = declared.iter().map(|(tag, _)| tag.as_str()).collect();
        let template = paths.shown.to_string_lossy();
        cx.ui.json(
            &json!({ "template": template, "project": project.as_str(), "secrets": secrets }),
        )?;
    }

    Ok(())
}

fn declared(migration: &Migration) -> Vec<(Tag, Option<Description>)> {
    migration
        .secrets
        .iter()
        .map(|(tag, description, _)| (tag.clone(), description.clone()))
        .collect()
}

/// Refuses what could not be finished.
fn check(args: &TemplateArgs, manifest: Option<&Manifest>, cx: &Context) -> Result<(), Error> {
    if args.file == Path::new("-") {
        return Err(Error::usage("a template is made of a file, not of stdin")
            .hint("usage: secrets template FILE.env"));
    }

    if manifest.is_some() && cx.tree_project()? != Some(cx.project()?) {
        return Err(Error::usage(format!("`{MANIFEST}` is another project's"))
            .hint("leave out `--project`; nothing was written"));
    }

    if fs::symlink_metadata(&args.file).is_ok_and(|found| !found.is_file()) {
        let what = format!(
            "`{}` is no regular file, so nothing could be rendered there",
            args.file.display()
        );

        return Err(
            Error::new(Kind::Refused, what).hint("name the file itself; nothing was written")
        );
    }

    Ok(())
}

/// The file's variables. Those that options name must be among them: nothing is asked before that is known.
fn entries(args: &TemplateArgs, text: &[u8], file: &str) -> Result<Vec<Entry>, Error> {
    let entries =
        outputs::dotenv_entries(text, file).map_err(|error| error.hint("nothing was written"))?;
    for (option, names) in [("kept", &args.keep), ("stored", &args.secret)] {
        if let Some(name) =
            names.iter().find(|name| entries.iter().all(|entry| entry.name != **name))
        {
            let what = format!("there is no `{name}` in `{file}` to be {option}");
            return Err(Error::usage(what).hint("nothing was written"));
        }
    }

    Ok(entries)
}

fn migrated(
    args: &TemplateArgs,
    text: &[u8],
    entries: &[Entry],
    file: &str,
    readers: Option<Readers>,
) -> Result<Migration, Error> {
    let plain = plain(entries, &args.keep, &args.secret)?;
    let wanted = Wanted {
        plain: &plain,
        example: args.example,
        readers: readers.unwrap_or_default(),
        namespaced: false,
        is_part: false,
    };

    let migration =
        Migration::of(text, wanted).map_err(|error| refused(&error, file, &args.keep))?;
    if migration.secrets.is_empty() {
        let error = Error::usage(format!("there is no value in `{file}` that would be a secret"));
        let kept = migration.left.iter().map(|(name, why)| format!("  {name}: {why}"));
        let error = error.with_notes(kept.collect());
        let error = if is_guessed(&migration) { error.hint(SECRET_HINT) } else { error };

        return Err(error.hint("nothing was written"));
    }

    Ok(migration)
}

/// How the reasons of [`settings::guess`] begin.
const GUESSED: &str = "it is a";

/// True if a variable stays in the template because it looks like a setting.
fn is_guessed(migration: &Migration) -> bool {
    migration.left.iter().any(|(_, why)| why.starts_with(GUESSED))
}

const SECRET_HINT: &str = "`--secret NAME,...` stores a value that only looks like a setting";

/// Decides for each variable whether its value stays in the template, and why: by `keep` and `secret`, then by asking, and
/// without a terminal by what its name and value look like.
pub(super) fn plain(
    entries: &[Entry],
    keep: &[String],
    secret: &[String],
) -> Result<KeptNames, Error> {
    let is_asked = prompt::is_possible();
    let mut plain = KeptNames::new();
    let mut known = HashSet::new();

    for Entry { name, value, .. } in entries.iter().filter(|entry| known.insert(&entry.name)) {
        if keep.contains(name) {
            plain.insert(name.clone(), "as asked for");
            continue;
        } else if secret.contains(name) {
            continue;
        }

        let kind = match settings::guess(name, value.expose()) {
            Guess::Setting(kind) => Some(kind),
            Guess::Secret => None,
        };

        if !is_asked || value.is_empty() {
            plain.extend(kind.map(|kind| (name.clone(), kind)));
        } else if !prompt::confirm(&format!("Is `{name}` a secret?"), kind.is_none())? {
            plain.insert(name.clone(), "as you said");
        }
    }

    Ok(plain)
}

/// The programs that read the output: those that are named, else those that the project's files speak of. `None`: nobody
/// knows.
fn readers(
    args: &TemplateArgs,
    manifest: Option<&Manifest>,
    paths: &Paths,
    cx: &Context,
) -> Result<Option<Readers>, Error> {
    if let Some(named) = named_readers(&args.readers) {
        return Ok(Some(named));
    }

    let declared =
        manifest.and_then(|manifest| manifest.render.iter().find(|it| it.output == paths.output));
    if let Some(declared) = declared.and_then(|rendering| rendering.readers) {
        return Ok(Some(declared));
    }

    let directory = manifest.map_or(Path::new("."), |manifest| relative(&manifest.directory));
    let found = detect::readers(directory);
    let output = paths.output_shown.display();
    if prompt::is_possible() {
        return asked_readers(&output.to_string(), &found);
    }

    if found.is_empty() {
        return Ok(None);
    }

    let said: Vec<String> =
        found.iter().map(|(reader, file)| format!("`{reader}` (`{file}`)")).collect();
    cx.ui.status(&format!("`{output}` is read by {}; `--readers` names others", said.join(", ")));
    Ok(Some(found.into_iter().map(|(reader, _)| reader).collect()))
}

/// Asks which programs read the output. Enter takes what was found.
fn asked_readers(output: &str, found: &[(Reader, &'static str)]) -> Result<Option<Readers>, Error> {
    let found: Readers = found.iter().map(|(reader, _)| *reader).collect();
    let names: Vec<&str> = found.iter().map(Reader::name).collect();
    let usual = if names.is_empty() { "not known".to_owned() } else { names.join(", ") };

    loop {
        let answer = prompt::words(&format!("Which programs read `{output}`? [{usual}]"))?;
        let names = answer.split([',', ' ']).filter(|name| !name.is_empty());
        match names.map(str::parse::<Reader>).collect::<Result<Vec<_>, _>>() {
            Ok(answered) if answered.is_empty() => return Ok((!found.is_empty()).then_some(found)),
            Ok(answered) => return Ok(Some(answered.into_iter().collect())),
            Err(why) => prompt::say(&why.0)?,
        }
    }
}

/// The manifest's text with the readers of the output.
fn with_readers(text: String, paths: &Paths, readers: Option<Readers>) -> String {
    let named = readers.and_then(|readers| name_readers(&text, &paths.output, readers));
    named.unwrap_or(text)
}

fn relative(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

/// Says what does not come out as one might think.
fn tell(cx: &Context, migration: &Migration, paths: &Paths, file: &str) {
    for (name, why) in &migration.left {
        cx.ui.status(&format!("`{name}` stays as it is: {why}"));
    }

    if is_guessed(migration) {
        cx.ui.status(SECRET_HINT);
    }

    for name in &migration.disputed {
        cx.ui.status(&format!(
            "`{name}` keeps its spelling: the readers of `{file}` do not agree about it"
        ));
    }

    for name in &migration.settled {
        cx.ui.status(&format!(
            "`{name}` will mean the same to all readers of `{file}`; now they read different values"
        ));
    }

    for name in &migration.unwritten {
        let what = "stays in the template with its value: no spelling suits the readers of";
        cx.ui.warn(&format!("`{name}` {what} `{file}`; `--readers` names them"));
    }

    for line in &migration.blanked {
        cx.ui.warn(&format!(
            "{}:{line}: the value of a commented-out line was left out",
            paths.shown.display()
        ));
    }

    if !migration.identical {
        let what = "will differ, no value does; `setup` asks before it replaces it";
        cx.ui.status(&format!("comments or quotes of `{file}` {what}"));
    }
}

/// Where things are, inside the manifest's directory.
struct Paths {
    /// The template, as it is named on the command line
    shown: PathBuf,
    /// What it becomes, likewise
    output_shown: PathBuf,
    /// Both relative to the manifest
    template: PathBuf,
    output: PathBuf,
}

impl Paths {
    fn new(args: &TemplateArgs, manifest: Option<&Manifest>) -> Result<Self, Error> {
        let output = if args.example { without_example(&args.file)? } else { args.file.clone() };
        let template = args.output.clone().unwrap_or_else(|| with_ending(&output));
        let root = manifest.map_or(Path::new("."), |manifest| {
            if manifest.directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &manifest.directory
            }
        });

        let relative = |path: &Path| -> Result<PathBuf, Error> {
            let failed = |source| {
                Error::new(Kind::Failure, format!("cannot read `{}`: {source}", path.display()))
            };

            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));

            let parent = fs::canonicalize(parent).map_err(failed)?;
            let root = fs::canonicalize(root).map_err(failed)?;
            let inside = parent.strip_prefix(&root).ok().zip(path.file_name());
            inside.map(|(directory, name)| directory.join(name)).ok_or_else(|| {
                let place = if manifest.is_some() {
                    "the directory of `.secrets.toml`"
                } else {
                    "this directory"
                };

                Error::new(Kind::Refused, format!("`{}` is outside of {place}", path.display()))
                    .hint("change to its directory first; nothing was written")
            })
        };

        let (inside, output_inside) = (relative(&template)?, relative(&output)?);
        Ok(Self { template: inside, output: output_inside, shown: template, output_shown: output })
    }

    /// Refuses a template's name that something else than a file has. An existing template may be that of an interrupted run.
    fn check(&self) -> Result<(), Error> {
        let is_taken = fs::symlink_metadata(&self.shown)
            .is_ok_and(|found| !found.is_file() && !found.is_symlink());
        if is_taken {
            Err(self.taken("name another one with `-o TEMPLATE`; nothing was written".into()))
        } else {
            Ok(())
        }
    }

    fn taken(&self, hint: String) -> Error {
        Error::new(Kind::Conflict, format!("there is a `{}` already", self.shown.display()))
            .hint(hint)
    }

    /// True where the template is there as it is to be: a run that was broken off is gone on with.
    fn is_written(&self, template: &[u8], manifest: Option<&Manifest>) -> Result<bool, Error> {
        let is_output = manifest.is_some_and(|manifest| {
            manifest.render.iter().any(|rendering| rendering.output == self.output)
        });

        match fs::symlink_metadata(&self.shown) {
            Err(_) => Ok(false),
            Ok(_) if fs::read(&self.shown).is_ok_and(|found| found == template) => Ok(true),
            Ok(_) if is_output => Err(self.taken(format!(
                "`secrets adopt {}` takes its new variables; nothing was written",
                quoted(&self.output_shown)
            ))),
            Ok(_) => {
                Err(self.taken("name another one with `-o TEMPLATE`; nothing was written".into()))
            }
        }
    }

    /// Refuses a .gitignore that cannot be added to, before anything is stored.
    fn check_gitignore(
        &self,
        manifest: Option<&Manifest>,
        text: &str,
        project: &ProjectName,
    ) -> Result<(), Error> {
        let directory = manifest.map_or(Path::new(""), |manifest| &manifest.directory);
        let Ok(new) = Manifest::parse(directory, text) else { return Ok(()) };
        let found = gitignore::unignored(&new, &Context::git(directory))?;
        found.check().map_err(|error| error::setup(error, project))
    }

    /// The manifest's text with the template in it, checked by being read.
    fn manifest_text(
        &self,
        manifest: Option<&Manifest>,
        project: &ProjectName,
        secrets: &[(Tag, Option<Description>)],
    ) -> Result<String, Error> {
        let render = vec![(self.template.clone(), self.output.clone())];
        let text = match manifest {
            None => {
                let draft = Draft {
                    project: project.clone(),
                    secrets: secrets.to_vec(),
                    render,
                    left_out: Vec::new(),
                };

                Some(draft.text())
            }
            Some(manifest) => {
                let before = fs::read_to_string(manifest.path()).map_err(|source| {
                    Error::new(Kind::Failure, format!("cannot read `{MANIFEST}`: {source}"))
                })?;

                add(manifest, &before, secrets, (&self.template, &self.output))
            }
        };

        let text = text.ok_or_else(|| {
            Error::usage(format!("`{MANIFEST}` cannot be added to"))
                .hint("write its tables out as `[secrets.TAG]` and `[[render]]`")
        })?;

        match Manifest::parse(Path::new(""), &text) {
            Ok(_) => Ok(text),
            Err(error) => {
                Err(Error::usage(format!("`{MANIFEST}` would not be well formed: {error}"))
                    .hint("nothing was written"))
            }
        }
    }
}

/// Writes the manifest.
fn enter(cx: &Context, manifest: Option<&Manifest>, text: &str) -> Result<(), Error> {
    let Some(manifest) = manifest else {
        project_file::create(Path::new(MANIFEST), text.as_bytes())?;
        cx.ui.status(&format!("wrote `{MANIFEST}`"));
        cx.trust_as_written(Path::new(""), text);
        return Ok(());
    };

    let path = manifest.path();
    project_file::replace(&path, text.as_bytes())?;
    cx.trust_as_written(&manifest.directory, text);
    cx.ui.status(&format!("added it to `{}`", path.display()));

    Ok(())
}

/// Adds the outputs of the manifest to .gitignore; true where git has one.
fn ignore_output(cx: &Context) -> Result<bool, Error> {
    let project = cx.project()?;
    let Some(manifest) = crate::config::Environment::manifest(&|_| {})? else { return Ok(false) };
    let found = gitignore::unignored(&manifest, &Context::git(&manifest.directory))?;
    found.apply().map_err(|error| error::setup(error, project))?;
    for line in found.lines() {
        cx.ui.status(&format!("added `{line}` to .gitignore"));
    }

    Ok(!found.tracked.is_empty())
}

/// `.env` of `.env.example`, `app.env` of `app.env.dist`.
fn without_example(file: &Path) -> Result<PathBuf, Error> {
    const ENDINGS: [&str; 5] = ["example", "sample", "dist", "template", "defaults"];
    let ending = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    if ENDINGS.contains(&ending) {
        return Ok(file.with_extension(""));
    }

    Err(Error::usage(format!(
        "what `{}` is an example of cannot be told from its name",
        file.display()
    ))
    .hint(format!("the name of an example ends with one of: {}", ENDINGS.join(", "))))
}

fn with_ending(file: &Path) -> PathBuf {
    let name = [file.as_os_str().as_bytes(), b".tmpl"].concat();
    PathBuf::from(OsStr::from_bytes(&name))
}
