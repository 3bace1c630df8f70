//! Opens, compares and writes the outputs of `.secrets.toml`.

use std::collections::HashMap;
use std::path::PathBuf;

use secrets_core::model::{ProjectName, Tag, TagKey};
use secrets_core::vault::{NewSecret, Reveal, Revealed, RevealedValues, Vault, VaultError};
use secrets_files::{FileId, OutputChange};
use secrets_project::dotenv::{self, Entry};
use secrets_project::import::Container;
use secrets_project::setup::output_records::OutputRecords;
use secrets_project::setup::{Manifest, Outputs, ProtectedFile, RenderEntry, ResolvedOutputs};

use super::directories::remember_directory;
use super::suspects::warn_of_suspects;
use crate::context::{Context, Used};
use crate::error::{self, AS_UTF8, Error};

/// Parses the variables of a dotenv file, which messages call `file`. Detects other kinds of files
/// by their first bytes.
pub(crate) fn dotenv_entries(text: &[u8], file: &str) -> Result<Vec<Entry>, Error> {
    if let Some(container) = Container::of(text) {
        let what = format!("`{file}` is not a dotenv file: it is {}", container.what());
        let error = Error::usage(what);
        return Err(if container == Container::Utf16 { error.hint(AS_UTF8) } else { error });
    }

    dotenv::parse(text).map_err(|error| Error::usage(format!("{file}:{}: {error}", error.position)))
}

/// Reads the manifest's templates and checks its outputs. If the manifest needed consent, checks
/// that the templates still refer to the secrets that consent was given for.
pub(crate) fn open<'m>(cx: &Context, manifest: &'m Manifest) -> Result<Outputs<'m>, Error> {
    let project = cx.target.project()?;
    let outputs =
        Outputs::open(manifest, &protected(cx)).map_err(|error| error::setup(error, project))?;
    cx.require_same_tags(manifest, &outputs)?;
    Ok(outputs)
}

/// Fails if the vault does not exist and a template of an output that `wanted` selects refers to
/// secrets. It fails before anything is asked.
pub(crate) fn require_vault(
    cx: &Context,
    manifest: &Manifest,
    wanted: impl Fn(&RenderEntry) -> bool,
) -> Result<(), Error> {
    let Err(missing) = cx.require_vault() else { return Ok(()) };
    let coverage = Context::coverage(manifest)?;
    let mut outputs =
        manifest.render.iter().zip(&coverage.outputs).filter(|(rendering, _)| wanted(rendering));

    let refers =
        outputs.any(|(_, output)| output.tags.as_deref().is_some_and(|tags| !tags.is_empty()));
    if refers { Err(missing) } else { Ok(()) }
}

/// Returns the files that an output never replaces.
pub(crate) fn protected(cx: &Context) -> Vec<ProtectedFile> {
    let mut protected: Vec<ProtectedFile> = cx
        .credentials
        .passphrase_file_identity()
        .map(|id| (id, "is the passphrase file"))
        .into_iter()
        .collect();

    let vault = cx.target.vault_path().ok().and_then(|path| FileId::at(&path));
    protected.extend(vault.map(|vault| (vault, "is the vault")));
    protected
}

/// Resolves all references from one state of the vault. Without references, the vault is not
/// opened.
pub(crate) fn resolve<'m>(
    cx: &Context,
    outputs: Outputs<'m>,
) -> Result<ResolvedOutputs<'m>, Error> {
    let project = cx.target.project()?;
    let opened = if outputs.tags().is_empty() {
        RevealedValues::none(project)
    } else {
        let vault = cx.vault()?;
        cx.check_witness(vault)?;
        let opened = values(vault, project, &outputs)?;
        cx.record_use(&Used::of(vault, project, opened.tags()))?;
        opened
    };

    for (template, suspects) in outputs.suspects() {
        warn_of_suspects(cx, template, suspects)?;
    }

    outputs.resolve(&opened).map_err(|error| error::setup(error, project))
}

/// Resolves all references as if `new` were already stored, without printing warnings. The values
/// are resolved again once they are stored.
pub(crate) fn resolve_with<'m>(
    cx: &Context,
    outputs: Outputs<'m>,
    new: &[NewSecret],
) -> Result<ResolvedOutputs<'m>, Error> {
    let project = cx.target.project()?;
    let stored = if outputs.tags().is_empty() {
        RevealedValues::none(project)
    } else {
        values(cx.vault()?, project, &outputs)?
    };

    let new = new.iter().map(|new| (new.tag.key(), new)).collect();
    outputs.resolve(&PlannedValues { stored, new }).map_err(|error| error::setup(error, project))
}

/// The vault's values, and values that will be stored.
struct PlannedValues<'n> {
    stored: RevealedValues,
    new: HashMap<TagKey, &'n NewSecret>,
}

impl Reveal for PlannedValues<'_> {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let mut all = self.stored.reveal(tags)?;
        for (tag, revealed) in tags.iter().zip(&mut all) {
            if let Some(new) = self.new.get(&tag.key()) {
                *revealed = Revealed::Value { tag: new.tag.clone(), value: new.value.duplicate() };
            }
        }

        Ok(all)
    }
}

/// Warns about values that the format of an output would misread.
pub(crate) fn warn_of_misread(cx: &Context, outputs: &ResolvedOutputs<'_>) -> Result<(), Error> {
    let project = cx.target.project()?;
    for (path, warning) in outputs.warnings().map_err(|error| error::setup(error, project))? {
        cx.ui.warn(&format!("`{}`: {warning}", path.display()));
    }

    Ok(())
}

fn values(
    vault: &Vault,
    project: &ProjectName,
    outputs: &Outputs<'_>,
) -> Result<RevealedValues, Error> {
    Ok(RevealedValues::open(project, &vault.scope(project), outputs.tags(), false)?)
}

/// Returns the records of outputs. For outputs without secrets it needs no key and opens no vault.
pub(crate) fn memory(cx: &Context, have_secrets: bool) -> Result<OutputRecords, Error> {
    let directory = cx.state_directory("outputs");
    if !have_secrets {
        return Ok(OutputRecords::new(directory.as_deref(), None));
    }

    let (vault, project) = (cx.vault()?, cx.target.project()?);
    let records = OutputRecords::new(directory.as_deref(), vault.output_key(project)?);

    // A project that is named needs no manifest, which may be invalid.
    let is_named = cx.target.named_project()?.is_some();
    let manifest = if is_named { None } else { cx.target.base_manifest()? };
    let Some(manifest) = manifest else { return Ok(records) };
    let environments = manifest.environments.iter().map(|environment| &environment.project);
    let others = manifest.project.iter().chain(environments).filter(|other| *other != project);

    // A token has the key of one project only.
    Ok(records.with_others(others.filter_map(|other| vault.output_key(other).ok()?).collect()))
}

/// Writes all outputs, reports the result for each, and records them.
pub(crate) fn write(
    cx: &Context,
    outputs: ResolvedOutputs<'_>,
    memory: &OutputRecords,
) -> Result<Vec<(PathBuf, OutputChange)>, Error> {
    let (manifest, project) = (cx.target.require_manifest()?, cx.target.project()?);
    warn_of_misread(cx, &outputs)?;
    let has_secrets = outputs.have_secrets();
    let written = outputs.write(memory).map_err(|error| error::setup(error, project))?;

    for (path, written) in &written {
        cx.ui.status(&describe_change(&path.display().to_string(), *written));
    }

    if has_secrets {
        remember_directory(cx, project, &manifest.directory);
    }

    Ok(written)
}

pub(crate) fn describe_change(path: &str, written: OutputChange) -> String {
    match written {
        OutputChange::Replaced => format!("wrote `{path}`"),
        OutputChange::Same => format!("`{path}` is up to date"),
        OutputChange::ModeChanged => format!("changed the mode of `{path}`, which is up to date"),
    }
}

/// Returns the existing outputs that a new value of a tag made stale, if the working directory
/// belongs to this project.
pub(crate) fn outdated_by(
    cx: &Context,
    project: &ProjectName,
    tag: &Tag,
) -> Result<Vec<PathBuf>, Error> {
    let Some(manifest) = tree_manifest(cx, project)? else { return Ok(Vec::new()) };
    let there = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok();

    Ok(open(cx, manifest)?.of(tag).into_iter().filter(there).collect())
}

/// Returns the manifest if the working directory belongs to this project.
pub(crate) fn tree_manifest<'c>(
    cx: &'c Context,
    project: &ProjectName,
) -> Result<Option<&'c Manifest>, Error> {
    let is_ours = cx.target.tree_project()? == Some(project);
    Ok(cx.target.manifest()?.filter(|_| is_ours))
}
