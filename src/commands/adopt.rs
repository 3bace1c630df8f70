//! `secrets adopt`: moves variables that people added to an output into the vault, the output's
//! template and the manifest.

use std::path::{Path, PathBuf};

use secrets_core::model::{Description, Tag};
use secrets_core::store::absolute;
use secrets_core::vault::{Import, NewSecret};
use secrets_project::dotenv;
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::migration::{Migration, MigrationError};
use secrets_project::setup::settings::{self, Guess};
use secrets_project::setup::{Adoption, Manifest, RenderEntry, add, is_dotenv};
use secrets_project::template::grammar::Grammar;

use super::shared::conflicts::{OnTakenArg, Uses};
use super::shared::migrating::{migration_error, on_taken, stored_values};
use super::shared::new_vault::offer_a_vault;
use super::shared::store::store;
use super::shared::{directories, outputs, project_file};
use crate::context::Context;
use crate::error::{self, Error, Hint, Kind, hint};
use crate::output::Adopted;
use crate::ui::{counted, input, listed, prompt};

const EXAMPLES: &str = "\
Examples:
  secrets adopt .env              ask which variables are secrets
  secrets adopt .env --keep PORT  keep PORT as a plain setting
  secrets adopt .env --secret API_KEY --keep PORT,LOG_LEVEL
  secrets check                   list variables that were added by hand";

/// Adopt variables that were added to an output by hand
///
/// `setup`, `render --all` and `render --stale` refuse to replace a dotenv file that has variables
/// which its template does not give. This command adopts them. A secret is stored in the vault and
/// becomes a placeholder in the template and an entry in .secrets.toml. A plain setting is copied
/// into the template. Each variable keeps its position and its comment.
///
/// On a terminal it asks about each variable. Otherwise it keeps obvious settings (NODE_ENV, PORT,
/// booleans, log levels) as plain text, lists them, and stores the others as secrets. It does not
/// change variables that the template already gives.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AdoptArgs {
    /// Adopt the variables of FILE, an output of .secrets.toml
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Store these new variables as secrets
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    secret: Vec<String>,
    /// Keep these new variables as plain settings
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    keep: Vec<String>,
    /// Choose what to do if the project has a tag with a different value
    #[arg(long, default_value = "fail", value_name = "WHAT", value_parser = on_taken())]
    on_conflict: OnTakenArg,
    /// Overwrite a value even if other outputs use it
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &AdoptArgs, cx: &Context) -> Result<(), Error> {
    let manifest = cx.target.require_manifest()?;
    if std::fs::symlink_metadata(&args.file).is_err() {
        check(args, manifest, cx)?;
        let what = format!("the file `{}` does not exist", args.file.display());
        return Err(Error::new(Kind::NotFound, what)
            .hint(Hint::in_project("render it with `secrets setup`")));
    }

    let path = absolute(&args.file).ok();
    outputs::require_vault(cx, manifest, |other| {
        absolute(&manifest.at(&other.output)).ok() == path
    })?;

    cx.require_trust(manifest)?;
    let rendering = check(args, manifest, cx)?;
    let (file, name) = input::named(&args.file)?;

    outputs::dotenv_entries(file.expose(), &name)
        .map_err(|error| error.hint("nothing was written"))?;

    let names = new_variables(cx, rendering)?;
    refuse_unknown(args, &names)?;
    if names.is_empty() {
        cx.ui.status(&format!("`{}` has no new variables", args.file.display()));
        return report(cx, args, rendering, &[], &[]);
    }

    let (template, _) = input::named(&manifest.at(&rendering.template))?;
    let stored = stored_values(cx, cx.target.project()?)?;
    let adopted = |keep: &[String]| -> Result<Adoption, MigrationError> {
        let mut adoption =
            Adoption::of(file.expose(), template.expose(), &names, keep, &rendering.grammar)?;
        stored.as_ref().map_or(Ok(()), |stored| adoption.find_stored(stored))?;
        Ok(adoption)
    };

    let failed = |error: MigrationError| migration_error(&error, &name, &args.keep);

    // Every problem is reported before the user is asked anything.
    adopted(&args.keep).map_err(failed)?;
    manifest_text(manifest, rendering, &[])?;
    let keep = decide(args, &names, file.expose())?;
    let mut adoption = adopted(&keep).map_err(failed)?;

    report_kept(cx, &adoption.added, &name);

    if !adoption.added.secrets.is_empty() {
        rename_conflicting(args, cx, manifest, &mut adoption.added)?;

        // If the vault had to be created or unlocked first, it can be read only now.
        let stored = if stored.is_none() { stored_values(cx, cx.target.project()?)? } else { None };
        stored.map_or(Ok(()), |stored| adoption.find_stored(&stored)).map_err(failed)?;
    }

    write(args, cx, manifest, rendering, adoption)
}

/// Returns the rendering that writes the file. Refuses anything that could not be completed.
fn check<'m>(
    args: &AdoptArgs,
    manifest: &'m Manifest,
    cx: &Context,
) -> Result<&'m RenderEntry, Error> {
    if let Some(name) = args.secret.iter().find(|name| args.keep.contains(name)) {
        return Err(Error::usage(format!("`{name}` is listed in both `--secret` and `--keep`")));
    }

    if cx.target.tree_project()? != Some(cx.target.project()?) {
        return Err(Error::usage(format!("`{MANIFEST}` belongs to another project"))
            .hint("remove `--project`; nothing was written"));
    }

    let path = absolute(&args.file).ok();
    let is_output =
        |rendering: &&RenderEntry| absolute(&manifest.at(&rendering.output)).ok() == path;
    let rendering =
        manifest.render.iter().filter(|_| path.is_some()).find(is_output).ok_or_else(|| {
            let what = format!("`{}` is not an output of `{MANIFEST}`", args.file.display());
            Error::new(Kind::NotFound, what).hint(Hint::in_project(hint!(
                "turn it into a template with `secrets template {}`",
                args.file.display()
            )))
        })?;

    if !is_dotenv(&rendering.output) {
        return Err(Error::usage(format!(
            "the name of `{}` is not that of a dotenv file",
            args.file.display()
        ))
        .hint(
            "use a file named `.env`, `.env.NAME` or `NAME.env`; only dotenv files have variables",
        ));
    }

    let Grammar { namespaced, readers, .. } = rendering.grammar;
    if rendering.grammar != (Grammar { namespaced, readers, ..Grammar::default() }) {
        let what = format!(
            "the template of `{}` has its own delimiters or a default filter",
            args.file.display()
        );

        return Err(Error::usage(what)
            .hint("add the variables to the template by hand; nothing was written"));
    }

    Ok(rendering)
}

/// Returns the variables that the template does not give and that `secrets` did not write.
fn new_variables(cx: &Context, rendering: &RenderEntry) -> Result<Vec<String>, Error> {
    let project = cx.target.project()?;
    let mut files = outputs::open(cx, cx.target.require_manifest()?)?;
    files.retain(|other| other.output == rendering.output);
    let memory = outputs::memory(cx, !files.tags().is_empty())?;

    let foreign = outputs::resolve(cx, files)?
        .foreign(&memory)
        .map_err(|error| error::setup(error, project))?;
    Ok(foreign.into_iter().flat_map(|(_, found)| found.added).collect())
}

fn refuse_unknown(args: &AdoptArgs, names: &[String]) -> Result<(), Error> {
    match args.secret.iter().chain(&args.keep).find(|name| !names.contains(name)) {
        Some(name) => Err(Error::usage(format!(
            "`{name}` is not a new variable of `{}`",
            args.file.display()
        ))
        .hint(format!("choose from {}; nothing was written", listed(names)))),
        None => Ok(()),
    }
}

/// Returns the names of the plain settings: those that were named, those that the user chose, and
/// without a terminal the obvious ones.
fn decide(args: &AdoptArgs, names: &[String], file: &[u8]) -> Result<Vec<String>, Error> {
    let mut keep = args.keep.clone();
    let entries = dotenv::parse(file).unwrap_or_default();
    let is_empty =
        |name: &String| entries.iter().any(|entry| entry.name == *name && entry.value.is_empty());
    let is_open = |name: &&String| {
        !args.secret.contains(name) && !args.keep.contains(name) && !is_empty(name)
    };

    for name in names.iter().filter(is_open) {
        let value = entries
            .iter()
            .rev()
            .find(|entry| entry.name == *name)
            .map_or(&b""[..], |entry| entry.value.expose());

        let is_setting = settings::guess(name, value) != Guess::Secret;
        let is_secret = if prompt::is_possible() {
            prompt::confirm(&format!("Is {name} a secret?"), !is_setting)?
        } else {
            !is_setting
        };

        if !is_secret {
            keep.push(name.clone());
        }
    }

    Ok(keep)
}

/// Reports the variables that are not stored, or not stored as they are in the file.
fn report_kept(cx: &Context, added: &Migration, file: &str) {
    let kept: Vec<String> = added.left.iter().map(|(name, _)| name.clone()).collect();
    if !kept.is_empty() {
        cx.ui.status(&format!("kept as plain settings in the template: {}", listed(&kept)));
    }

    if !added.blanked.is_empty() {
        cx.ui.warn(&format!(
            "values in commented-out lines of `{file}` were not copied into the template"
        ));
    }
}

/// Gives a secret a different tag if the project has its tag with a different value.
fn rename_conflicting(
    args: &AdoptArgs,
    cx: &Context,
    manifest: &Manifest,
    added: &mut Migration,
) -> Result<(), Error> {
    offer_a_vault(cx)?;
    let project = cx.target.project()?;
    let uses = Uses::of(cx, project, Some(manifest), &args.file)?;
    let new: Vec<_> =
        added.secrets.iter().filter_map(|(tag, _, value)| Some((tag, value.as_ref()?))).collect();

    let tags = uses.decide(cx, &new, args.on_conflict, args.yes)?;
    added.rename(&tags);
    Ok(())
}

/// Stores the secrets first, so that a failure loses nothing. Then writes the template and the
/// manifest.
fn write(
    args: &AdoptArgs,
    cx: &Context,
    manifest: &Manifest,
    rendering: &RenderEntry,
    adoption: Adoption,
) -> Result<(), Error> {
    let template = adoption.template();
    let Migration { secrets, left, .. } = adoption.added;
    let declared: Vec<(Tag, Option<Description>)> =
        secrets.iter().map(|(tag, description, _)| (tag.clone(), description.clone())).collect();

    let text = manifest_text(manifest, rendering, &declared)?;

    let project = cx.target.project()?;
    if !declared.is_empty() {
        let new = |(tag, description, value)| {
            Some(NewSecret { description, ..NewSecret::new(tag, value?) })
        };

        let import = Import::into_one(
            project,
            secrets.into_iter().filter_map(new).collect(),
            args.on_conflict.into(),
        );

        store(
            cx,
            &import,
            &[],
            "try again, because another process stored a value; nothing was written",
        )?;
    }

    let path = manifest.at(&rendering.template);
    project_file::replace(&path, &template)?;
    if !declared.is_empty() {
        project_file::replace(&manifest.path(), text.as_bytes())?;
        cx.trust_as_written(&manifest.directory, &text);
    }

    let (secrets, settings) =
        (counted(declared.len(), "secret"), counted(left.len(), "plain setting"));
    cx.ui.status(&format!("added {secrets} and {settings} to `{}`", path.display()));

    finish(cx, rendering)?;
    let kept: Vec<String> = left.into_iter().map(|(name, _)| name).collect();
    report(cx, args, rendering, &declared, &kept)
}

fn manifest_text(
    manifest: &Manifest,
    rendering: &RenderEntry,
    declared: &[(Tag, Option<Description>)],
) -> Result<String, Error> {
    let before = std::fs::read_to_string(manifest.path()).map_err(|source| {
        Error::new(Kind::Failure, format!("cannot read `{MANIFEST}`: {source}"))
    })?;

    let text = add(manifest, &before, declared, (&rendering.template, &rendering.output))
        .ok_or_else(|| {
            Error::usage(format!("cannot add entries to `{MANIFEST}`"))
                .hint("write its tables as `[secrets.TAG]` and `[[render]]`; nothing was written")
        })?;

    Manifest::parse(Path::new(""), &text).map_err(|error| {
        Error::usage(format!("`{MANIFEST}` would be invalid: {error}")).hint("nothing was written")
    })?;

    Ok(text)
}

/// Records the output if it equals what the template gives now. The output is not written.
fn finish(cx: &Context, rendering: &RenderEntry) -> Result<(), Error> {
    let (manifest, project) = (cx.target.require_manifest()?, cx.target.project()?);
    let failed = |error| error::setup(error, project);
    let mut files = outputs::open(cx, manifest)?;
    files.retain(|other| other.output == rendering.output);

    let resolved = outputs::resolve(cx, files)?;
    let memory = outputs::memory(cx, resolved.have_secrets())?;
    resolved.remember_current(&memory).map_err(failed)?;
    if resolved.have_secrets() {
        directories::remember_directory(cx, project, &manifest.directory);
    }

    let file = manifest.at(&rendering.output);
    if resolved.foreign(&memory).map_err(failed)?.is_empty() {
        cx.ui.status(&format!("`{}` is up to date", file.display()));
    } else {
        cx.ui.status(&cx.target.hint_text(hint!(
            "`{}` has values, quotes or comments that its template does not give; `secrets setup` \
             asks before replacing it",
            file.display()
        )));
    }

    Ok(())
}

fn report(
    cx: &Context,
    args: &AdoptArgs,
    rendering: &RenderEntry,
    secrets: &[(Tag, Option<Description>)],
    kept: &[String],
) -> Result<(), Error> {
    cx.ui.document(|| {
        let manifest = cx.target.require_manifest()?;
        Ok(Adopted {
            kept,
            output: args.file.to_string_lossy().into_owned(),
            project: cx.target.project()?.as_str(),
            secrets: secrets.iter().map(|(tag, _)| tag.as_str()).collect(),
            template: manifest.at(&rendering.template).to_string_lossy().into_owned(),
        })
    })
}
