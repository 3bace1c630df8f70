//! `secrets template`: turns a dotenv file into a template and stores its secrets, in one step.

mod paths;

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use secrets_core::model::{Description, Tag};
use secrets_core::vault::{Import, NewSecret};
use secrets_project::dotenv::Entry;
use secrets_project::dotenv::readers::{Reader, Readers};
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::migration::{KeptNames, Migration, MigrationOptions};
use secrets_project::setup::output_records::{OutputRecords, names_in};
use secrets_project::setup::settings::{self, Guess};
use secrets_project::setup::{Manifest, detect, gitignore, name_readers};

use super::shared::conflicts::{self, OnTakenArg, Uses};
use super::shared::git::is_tracked;
use super::shared::migrating::{migration_error, on_taken, stored_values, warn_of_names};
use super::shared::new_vault::{offer_a_vault, require_vault_unless_offered};
use super::shared::readers::named_readers;
use super::shared::store::store;
use super::shared::{directories, outputs, project_file};
use crate::context::{Context, Target};
use crate::error::{self, Error, Kind};
use crate::output::NewTemplate;
use crate::ui::{input, prompt};
use paths::Paths;

const EXAMPLES: &str = "\
Examples:
  secrets template .env                    store the secrets in the vault
  secrets template .env --keep APP_NAME,REGION keep these values
  secrets template .env --readers compose,node name its readers
  secrets template .env.example --example  store nothing
  secrets template .env -o config/app.env.tmpl";

/// Turn a dotenv file into a template
///
/// Each secret is stored in the vault, with the name of its variable as its tag, and replaced by a
/// placeholder. Comments and order stay the same. On a terminal it asks about each variable whether
/// it is a secret. Otherwise it keeps obvious settings (NODE_ENV, PORT, booleans, log levels) in
/// the template and lists them.
///
/// Values are written so that all programs that read the file agree about them. These programs are
/// guessed from the project's files unless --readers names them. The template is written next to
/// the file and added to .secrets.toml, which is created if it does not exist. The file itself
/// becomes the rendered output and is added to .gitignore. Nothing is written unless the template
/// renders to the content of the file. Values in commented-out lines are omitted.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TemplateArgs {
    /// Turn this dotenv file into a template
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Write the template to TEMPLATE [default: FILE with the ending .tmpl added]
    #[arg(short, long, value_name = "TEMPLATE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Keep the values of these variables in the template; they are not secrets
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    keep: Vec<String>,
    /// Store the values of these variables, even if they look like settings
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    secret: Vec<String>,
    /// Write values for these programs, which read the file
    #[arg(long, value_name = "READER,...", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(Reader::NAMES))]
    readers: Vec<String>,
    /// Store nothing, because FILE is an example without real values
    #[arg(long, conflicts_with = "on_conflict")]
    example: bool,
    /// Choose what to do if the project has a tag with a different value
    #[arg(long, default_value = "fail", value_name = "WHAT", value_parser = on_taken())]
    on_conflict: OnTakenArg,
    /// Overwrite a value even if other outputs use it
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &TemplateArgs, cx: &Context) -> Result<(), Error> {
    let manifest = cx.target.manifest()?;
    check(args, manifest, cx)?;
    let paths = Paths::new(args, manifest)?;
    let (text, file) = input::named(&args.file)?;
    let entries = entries(args, text.expose(), &file)?;

    paths.check()?;
    if !args.example {
        require_vault_unless_offered(cx)?;
    }

    // The new entries are trusted as written, and with them the rest of the manifest.
    manifest.map_or(Ok(()), |manifest| cx.require_trust(manifest))?;

    // A manifest or .gitignore that cannot be extended is reported before any question about a
    // variable.
    let project = cx.target.project()?;
    paths.check_gitignore(manifest, &paths.manifest_text(manifest, project, &[])?, project)?;
    let readers = readers(args, manifest, &paths, cx)?;
    let mut migration = migrate(args, text.expose(), &entries, &file, readers)?;
    let project =
        manifest.map_or_else(|| project_file::project(cx), |_| cx.target.project().cloned())?;
    let directory = manifest.map_or(Path::new(""), |manifest| &manifest.directory);
    let is_fixed = manifest.is_some_and(|manifest| manifest.project.is_some());
    let project = conflicts::claim(cx, &project, directory, is_fixed)?;
    let manifest_text = paths.manifest_text(manifest, &project, &declared(&migration))?;

    paths.check_gitignore(manifest, &manifest_text, &project)?;
    report_kept(cx, &migration, &paths, &file);
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
            found.map_err(|error| migration_error(&error, &file, &args.keep))?;
        }
    }

    let (declared, tags) = (
        declared(&migration),
        migration.secrets.iter().map(|(tag, ..)| tag.clone()).collect::<Vec<_>>(),
    );

    let manifest_text = paths.manifest_text(manifest, &project, &declared)?;
    let manifest_text = with_readers(manifest_text, &paths, readers);
    let is_written = paths.is_written(&migration.template, manifest)?;

    // Writing starts here, with the steps that lose nothing.
    if !args.example {
        let new = |(tag, description, value)| {
            Some(NewSecret { description, ..NewSecret::new(tag, value?) })
        };

        let secrets = migration.secrets.into_iter().filter_map(new).collect();
        let import = Import::into_one(&project, secrets, args.on_conflict.into());
        store(
            cx,
            &import,
            &[],
            "the values differ; use the file's values with `--on-conflict overwrite`; nothing was \
             stored",
        )?;
    }

    if !is_written {
        project_file::create(&paths.shown, &migration.template)?;
        cx.ui.status(&format!("wrote `{}`", paths.shown.display()));
    }

    write_manifest(cx, manifest, &manifest_text)?;
    let tracked = ignore_output(cx)?;
    if tracked || (!args.example && is_tracked(&args.file)) {
        cx.ui.warn(&format!(
            "`{}` is tracked by git; remove it with `git rm --cached`, and change the values that \
             were committed",
            paths.output_shown.display()
        ));
    }

    if !args.example {
        // The file equals the rendered template, so it counts as written by us from now on.
        let key = cx.vault()?.output_key(&project)?;
        let memory = OutputRecords::new(cx.state_directory("outputs").as_deref(), key);
        if let Some(mut digest) = memory.digest(true).filter(|_| migration.identical) {
            let _ = digest.write_all(text.expose());
            let names = names_in(text.expose()).unwrap_or_default();
            memory.note(&paths.output_shown, digest, names, &tags);
        }

        directories::remember_directory(cx, &project, directory);
    }

    cx.ui.status("next: review the files, then run `secrets setup`");
    cx.ui.document(|| {
        Ok(NewTemplate {
            project: project.as_str(),
            secrets: declared.iter().map(|(tag, _)| tag.as_str()).collect(),
            template: paths.shown.to_string_lossy().into_owned(),
        })
    })
}

fn declared(migration: &Migration) -> Vec<(Tag, Option<Description>)> {
    migration
        .secrets
        .iter()
        .map(|(tag, description, _)| (tag.clone(), description.clone()))
        .collect()
}

/// Refuses anything that could not be completed.
fn check(args: &TemplateArgs, manifest: Option<&Manifest>, cx: &Context) -> Result<(), Error> {
    if args.file == Path::new("-") {
        return Err(Error::usage("a template cannot be created from stdin")
            .hint("usage: secrets template FILE.env"));
    }

    if manifest.is_some() && cx.target.tree_project()? != Some(cx.target.project()?) {
        return Err(Error::usage(format!("`{MANIFEST}` belongs to another project"))
            .hint("remove `--project`; nothing was written"));
    }

    if fs::symlink_metadata(&args.file).is_ok_and(|found| !found.is_file()) {
        let what = format!(
            "`{}` is not a regular file, so it cannot be rendered later",
            args.file.display()
        );

        return Err(
            Error::new(Kind::Refused, what).hint("choose the file itself; nothing was written")
        );
    }

    Ok(())
}

/// Returns the file's variables. Names in options that do not exist in the file are reported before
/// anything is asked.
fn entries(args: &TemplateArgs, text: &[u8], file: &str) -> Result<Vec<Entry>, Error> {
    let entries =
        outputs::dotenv_entries(text, file).map_err(|error| error.hint("nothing was written"))?;
    for (option, names) in [("keep", &args.keep), ("store", &args.secret)] {
        if let Some(name) =
            names.iter().find(|name| entries.iter().all(|entry| entry.name != **name))
        {
            let what = format!("`{file}` has no variable `{name}` to {option}");
            return Err(Error::usage(what).hint("nothing was written"));
        }
    }

    Ok(entries)
}

fn migrate(
    args: &TemplateArgs,
    text: &[u8],
    entries: &[Entry],
    file: &str,
    readers: Option<Readers>,
) -> Result<Migration, Error> {
    let plain = plain(entries, &args.keep, &args.secret)?;
    let wanted = MigrationOptions {
        plain: &plain,
        example: args.example,
        readers: readers.unwrap_or_default(),
        namespaced: false,
        is_part: false,
    };

    let migration =
        Migration::of(text, wanted).map_err(|error| migration_error(&error, file, &args.keep))?;
    if migration.secrets.is_empty() {
        let error = Error::usage(format!("`{file}` contains no values that look like secrets"));
        let kept = migration.left.iter().map(|(name, why)| format!("  {name}: {why}"));
        let error = error.with_notes(kept.collect());
        let error = if is_guessed(&migration) { error.hint(SECRET_HINT) } else { error };

        return Err(error.hint("nothing was written"));
    }

    Ok(migration)
}

/// The start of the reasons that [`settings::guess`] gives.
const GUESSED: &str = "it is a";

/// Returns true if a variable stays in the template because it looks like a setting.
fn is_guessed(migration: &Migration) -> bool {
    migration.left.iter().any(|(_, why)| why.starts_with(GUESSED))
}

const SECRET_HINT: &str = "use `--secret NAME,...` to store a value that only looks like a setting";

/// Decides for each variable whether its value stays in the template, and why: first from `keep`
/// and `secret`, then by asking, and without a terminal from its name and value.
fn plain(entries: &[Entry], keep: &[String], secret: &[String]) -> Result<KeptNames, Error> {
    let is_asked = prompt::is_possible();
    let mut plain = KeptNames::new();
    let mut known = HashSet::new();

    for Entry { name, value, .. } in entries.iter().filter(|entry| known.insert(&entry.name)) {
        if keep.contains(name) {
            plain.insert(name.clone(), "as requested");
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
            plain.insert(name.clone(), "as you chose");
        }
    }

    Ok(plain)
}

/// Returns the programs that read the output: the named ones, or those that the project's files
/// suggest. Returns `None` if they are unknown.
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
        return ask_readers(&output.to_string(), &found);
    }

    if found.is_empty() {
        return Ok(None);
    }

    let names: Vec<String> =
        found.iter().map(|(reader, file)| format!("`{reader}` (`{file}`)")).collect();
    cx.ui.status(&format!(
        "`{output}` is read by {}; change this with `--readers`",
        names.join(", ")
    ));

    Ok(Some(found.into_iter().map(|(reader, _)| reader).collect()))
}

/// Asks which programs read the output. Enter accepts the programs that were found.
fn ask_readers(output: &str, found: &[(Reader, &'static str)]) -> Result<Option<Readers>, Error> {
    let found: Readers = found.iter().map(|(reader, _)| *reader).collect();
    let names: Vec<&str> = found.iter().map(Reader::name).collect();
    let default = if names.is_empty() { "unknown".to_owned() } else { names.join(", ") };

    loop {
        let answer = prompt::words(&format!("Which programs read `{output}`? [{default}]"))?;
        let names = answer.split([',', ' ']).filter(|name| !name.is_empty());
        match names.map(str::parse::<Reader>).collect::<Result<Vec<_>, _>>() {
            Ok(answered) if answered.is_empty() => return Ok((!found.is_empty()).then_some(found)),
            Ok(answered) => return Ok(Some(answered.into_iter().collect())),
            Err(why) => prompt::show_line(&why.0)?,
        }
    }
}

/// Returns the manifest's text with the readers of the output.
fn with_readers(text: String, paths: &Paths, readers: Option<Readers>) -> String {
    let named = readers.and_then(|readers| name_readers(&text, &paths.output, readers));
    named.unwrap_or(text)
}

fn relative(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

/// Reports the results that may surprise the user.
fn report_kept(cx: &Context, migration: &Migration, paths: &Paths, file: &str) {
    for (name, why) in &migration.left {
        cx.ui.status(&format!("`{name}` is kept as it is: {why}"));
    }

    if is_guessed(migration) {
        cx.ui.status(SECRET_HINT);
    }

    for name in &migration.disputed {
        cx.ui.status(&format!(
            "`{name}` keeps its spelling, because the readers of `{file}` interpret it differently"
        ));
    }

    for name in &migration.settled {
        cx.ui.status(&format!(
            "`{name}` will have the same value for all readers of `{file}`, which now read \
             different values"
        ));
    }

    for name in &migration.unwritten {
        let what = "is kept in the template with its value, because no spelling works for all \
                    readers of";
        cx.ui.warn(&format!("`{name}` {what} `{file}`; name them with `--readers`"));
    }

    for line in &migration.blanked {
        cx.ui.warn(&format!(
            "{}:{line}: the value of a commented-out line was omitted",
            paths.shown.display()
        ));
    }

    if !migration.identical {
        let what = "will change, but no value does; `setup` asks before replacing the file";
        cx.ui.status(&format!("comments or quotes of `{file}` {what}"));
    }
}

fn write_manifest(cx: &Context, manifest: Option<&Manifest>, text: &str) -> Result<(), Error> {
    let Some(manifest) = manifest else {
        project_file::create(Path::new(MANIFEST), text.as_bytes())?;
        cx.ui.status(&format!("wrote `{MANIFEST}`"));
        cx.trust_as_written(Path::new(""), text);
        return Ok(());
    };

    let path = manifest.path();
    project_file::replace(&path, text.as_bytes())?;
    cx.trust_as_written(&manifest.directory, text);
    cx.ui.status(&format!("added the template to `{}`", path.display()));

    Ok(())
}

/// Adds the outputs of the manifest to .gitignore. Returns true if git tracks one of them.
fn ignore_output(cx: &Context) -> Result<bool, Error> {
    let project = cx.target.project()?;
    let Some(manifest) = crate::config::Environment::manifest(&|_| {})? else { return Ok(false) };
    let found = gitignore::unignored(&manifest, &Target::git(&manifest.directory))?;
    found.apply().map_err(|error| error::setup(error, project))?;
    for line in found.lines() {
        cx.ui.status(&format!("added `{line}` to .gitignore"));
    }

    Ok(!found.tracked.is_empty())
}
