//! The shared part of `setup`, `check`, `render` and `update`: opening, comparing and writing the
//! outputs of `.secrets.toml`.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::context::Context;
use crate::crypto::ids::VaultId;
use crate::dotenv::{self, Entry};
use crate::error::{self, AS_UTF8, Error, Kind};
use crate::git::without_links;
use crate::import::Container;
use crate::model::{ProjectName, Tag, TagKey};
use crate::setup::gitignore::{self, Unignored};
use crate::setup::output_records::{Directories, Origin, OutputRecords};
use crate::setup::{
    AdoptableOutput, Manifest, ModifiedOutput, Outputs, ProtectedFile, Reference, RenderEntry,
    ResolvedOutputs, Tree,
};
use crate::store::{absolute, quoted};
use crate::template::output::OutputChange;
use crate::template::{SuspectTexts, Template, TemplateFindings};
use crate::ui::prompt;
use crate::vault::{NewSecret, Reveal, Revealed, RevealedValues, Vault, VaultError};

/// Parses the variables of a dotenv file, which messages call `file`. Detects other kinds of files
/// by their first bytes.
pub(super) fn dotenv_entries(text: &[u8], file: &str) -> Result<Vec<Entry>, Error> {
    if let Some(container) = Container::of(None, text) {
        let what = format!("`{file}` is not a dotenv file: it is {}", container.what());
        let error = Error::usage(what);
        return Err(if container == Container::Utf16 { error.hint(AS_UTF8) } else { error });
    }

    dotenv::parse(text)
        .map_err(|error| Error::usage(format!("{file}:{}:{}: {error}", error.line, error.column)))
}

/// Reads the manifest's templates and checks its outputs. If the manifest needed consent, checks
/// that the templates still refer to the secrets that consent was given for.
pub(super) fn open<'m>(cx: &Context, manifest: &'m Manifest) -> Result<Outputs<'m>, Error> {
    let project = cx.project()?;
    let outputs =
        Outputs::open(manifest, &protected(cx)).map_err(|error| error::setup(error, project))?;
    cx.require_same_tags(manifest, &outputs)?;
    Ok(outputs)
}

/// Fails if the vault does not exist and a template of an output that `wanted` selects refers to
/// secrets. It fails before anything is asked.
pub(super) fn require_vault(
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

/// Returns the outputs that git does not ignore. Refuses an output that git tracks, because the
/// next commit would publish it.
pub(super) fn untracked(manifest: &Manifest) -> Result<Unignored, Error> {
    let found = gitignore::unignored(manifest, &Context::git(&manifest.directory))?;
    let Some(tracked) = found.tracked.first() else { return Ok(found) };
    Err(self::tracked(tracked, tracked))
}

/// Reports that git tracks an output as `known`.
pub(super) fn tracked(path: &Path, known: &Path) -> Error {
    let what = format!(
        "`{}` is tracked by git: the next commit would publish its content",
        path.display()
    );

    Error::new(Kind::Refused, what).hint(format!(
        "remove it from git with `git rm --cached {}`; nothing was changed",
        quoted(known)
    ))
}

/// Returns the path under which git knows a file. It is the given path if no directory in it is a
/// link.
pub(super) fn as_git_knows(path: &Path) -> PathBuf {
    let has_link = path.ancestors().skip(1).any(Path::is_symlink);
    let Some(real) = without_links(path).filter(|_| has_link) else { return path.to_owned() };
    let here = std::fs::canonicalize(".").unwrap_or_default();
    real.strip_prefix(here).map(Path::to_owned).unwrap_or(real)
}

/// Returns the files that an output never replaces.
pub(super) fn protected(cx: &Context) -> Vec<ProtectedFile> {
    let mut protected: Vec<ProtectedFile> = cx
        .passphrase_file_identity()
        .map(|id| (id, "is the passphrase file"))
        .into_iter()
        .collect();

    let vault = cx.vault_path().ok().and_then(|path| std::fs::metadata(path).ok());
    protected.extend(vault.map(|found| ((found.dev(), found.ino()), "is the vault")));
    protected
}

/// Resolves all references from one state of the vault. Without references, the vault is not
/// opened.
pub(super) fn resolve<'m>(
    cx: &Context,
    outputs: Outputs<'m>,
) -> Result<ResolvedOutputs<'m>, Error> {
    let project = cx.project()?;
    let opened = if outputs.tags().is_empty() {
        RevealedValues::none(project)
    } else {
        values(cx.vault()?, project, &outputs)?
    };

    for (template, suspects) in outputs.suspects() {
        warn_of_suspects(cx, template, suspects)?;
    }

    outputs.resolve(&opened).map_err(|error| error::setup(error, project))
}

/// Resolves all references as if `new` were already stored, without printing warnings. The values
/// are resolved again once they are stored.
pub(super) fn resolve_with<'m>(
    cx: &Context,
    outputs: Outputs<'m>,
    new: &[NewSecret],
) -> Result<ResolvedOutputs<'m>, Error> {
    let project = cx.project()?;
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

/// Warns about text in a template that may not do what its author expects: near misses of
/// placeholders whose secret exists, and backslashes that version 0.1.0 read differently.
pub(super) fn warn_of_suspects(
    cx: &Context,
    template: &Template,
    suspects: &SuspectTexts,
) -> Result<(), Error> {
    // Most near misses belong to other tools, so the user is not asked for a passphrase and errors
    // are ignored.
    let vault =
        if suspects.has_near_misses() { cx.vault_without_asking().ok().flatten() } else { None };
    warn_of_suspects_in(vault, cx, template, suspects)
}

/// Does the same with a vault that the context does not keep. If a vault exists but is not open,
/// every near miss may be one.
pub(super) fn warn_of_suspects_in(
    vault: Option<&Vault>,
    cx: &Context,
    template: &Template,
    suspects: &SuspectTexts,
) -> Result<(), Error> {
    let is_locked =
        vault.is_none() && suspects.has_near_misses() && !cx.vault_is_missing().unwrap_or(true);
    let is_stored = |tag: &Tag| -> Result<Option<bool>, Error> {
        match vault {
            Some(vault) => Ok(Some(vault.find(cx.project()?, tag)?.is_some())),
            None => Ok(if is_locked { None } else { Some(false) }),
        }
    };

    if let Some(findings) = suspects.findings(template, is_stored)? {
        warn(cx, template.name(), &findings, ToString::to_string);
    }

    Ok(())
}

/// Prints one warning for each finding in a template.
pub(super) fn warn<T>(
    cx: &Context,
    file: &str,
    findings: &TemplateFindings<T>,
    text: impl Fn(&T) -> String,
) {
    for finding in &findings.listed {
        cx.ui.warn(&format!(
            "{file}:{}:{}: {}",
            finding.position.line,
            finding.position.column,
            text(&finding.what)
        ));
    }

    let more = findings.total - findings.listed.len() as u64;
    if more > 0 {
        cx.ui.warn(&format!("{file}: the same applies to {more} more places"));
    }
}

/// Warns about values that the format of an output would misread.
pub(super) fn warn_of_misread(cx: &Context, outputs: &ResolvedOutputs<'_>) -> Result<(), Error> {
    let project = cx.project()?;
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
pub(super) fn memory(cx: &Context, have_secrets: bool) -> Result<OutputRecords, Error> {
    let key = if have_secrets { cx.vault()?.output_key(cx.project()?)? } else { None };
    Ok(OutputRecords::new(cx.state_directory("outputs").as_deref(), key))
}

/// Returns outputs with their paths relative to the working directory.
pub(super) fn with_paths(
    manifest: &Manifest,
    foreign: Vec<(&RenderEntry, ModifiedOutput)>,
) -> Vec<(PathBuf, ModifiedOutput)> {
    foreign.into_iter().map(|(rendering, found)| (manifest.at(&rendering.output), found)).collect()
}

/// Refuses to overwrite variables that people added to dotenv files.
pub(super) fn refuse_added(
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
            format!("`{file}` has {}: {}", what_is_added(found), listed_additions(found, true))
        }
        _ => format!("{} outputs have variables that their templates do not give", added.len()),
    };

    let note = |found: &ModifiedOutput| match found.unread {
        Some(why) => format!("it {why}"),
        None => listed_additions(found, true),
    };

    let notes = added.iter().filter(|_| !rest.is_empty());
    let notes = notes.map(|(path, found)| format!("  {}: {}", path.display(), note(found)));
    let files = added
        .iter()
        .map(|(path, found)| json!({ "output": path.to_string_lossy(), "added": found.added, "lines": found.lines }));
    let details = json!({ "outputs": files.collect::<Vec<_>>() });

    let fix = match found.unread {
        Some(_) => "move the file away; nothing was written".to_owned(),
        None => {
            format!(
                "{}, or remove them from the file; nothing was written",
                way_into_the_template(cx, path, found)?
            )
        }
    };

    Err(Error::new(Kind::Refused, what).with_notes(notes.collect()).with_details(details).hint(fix))
}

/// Describes in general terms which parts of a dotenv file would be lost.
pub(super) fn what_is_added(found: &ModifiedOutput) -> &'static str {
    match (found.added.is_empty(), found.lines.is_empty()) {
        (_, true) => "variables that its template does not give",
        (true, false) => "lines that its template does not give and that may be variables",
        (false, false) => "variables and lines that its template does not give",
    }
}

/// Lists those parts: variables by name and other lines by number, because a line may be part of a
/// value.
pub(super) fn listed_additions(found: &ModifiedOutput, is_quoted: bool) -> String {
    let names =
        found.added.iter().map(|name| if is_quoted { format!("`{name}`") } else { name.clone() });
    let lines = found.lines.iter().map(|line| format!("line {line}"));
    let mut all: Vec<String> = names.chain(lines).take(LISTED + 1).collect();
    if all.len() > LISTED {
        all[LISTED] = format!("and {} more", found.added.len() + found.lines.len() - LISTED);
    }

    all.join(", ")
}

/// The maximum number of variables and lines of one file in a message.
const LISTED: usize = 50;

/// Returns the hint how to add the new variables of a file to its template.
pub(super) fn way_into_the_template(
    cx: &Context,
    path: &Path,
    found: &ModifiedOutput,
) -> Result<String, Error> {
    if !is_output(cx, path)? || found.adoptable == AdoptableOutput::No {
        return Ok("add them to the template".to_owned());
    }

    let adopt = cx.hint_command(&format!("adopt {}", quoted(path)));
    Ok(match found.adoptable {
        AdoptableOutput::AfterFixing(line) => {
            format!(
                "make line {line} a variable or a comment, then add them to the template with \
                 {adopt}"
            )
        }
        _ => format!("add them to the template with {adopt}"),
    })
}

/// Returns true if a file is an output of the manifest.
fn is_output(cx: &Context, path: &Path) -> Result<bool, Error> {
    let path = absolute(path).ok();
    let Some(manifest) = cx.manifest()? else { return Ok(false) };
    Ok(manifest
        .render
        .iter()
        .any(|rendering| absolute(&manifest.at(&rendering.output)).ok() == path))
}

/// Formats names in backticks.
pub(super) fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Asks before replacing outputs that differ from what we wrote. Refuses in any case if variables
/// would be lost, and if it cannot ask.
pub(super) fn protect(
    cx: &Context,
    outputs: &ResolvedOutputs<'_>,
    memory: &OutputRecords,
    is_confirmed: bool,
) -> Result<(), Error> {
    let project = cx.project()?;
    let foreign = outputs.foreign(memory).map_err(|error| error::setup(error, project))?;
    let foreign = with_paths(cx.require_manifest()?, foreign);
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

/// Writes all outputs, reports the result for each, and records them.
pub(super) fn write(
    cx: &Context,
    outputs: ResolvedOutputs<'_>,
    memory: &OutputRecords,
) -> Result<Vec<(PathBuf, OutputChange)>, Error> {
    let (manifest, project) = (cx.require_manifest()?, cx.project()?);
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

/// Records that a directory uses a project.
pub(super) fn remember_directory(cx: &Context, project: &ProjectName, directory: &Path) {
    if let Some(directories) = directories(cx) {
        directories.note(project, directory);
    }
}

/// Records that the manifest's directory uses a project, if its variables were used. For a vault
/// that the context does not keep.
pub(super) fn remember_run(
    vault: &Vault,
    cx: &Context,
    project: &ProjectName,
    is_used: bool,
) -> Result<(), Error> {
    let manifest = cx.manifest()?.filter(|_| is_used);
    let directories = vault.id().ok().and_then(|id| directories_of(cx, &id));
    if let (Some(manifest), Some(directories)) = (manifest, directories) {
        directories.note(project, &manifest.directory);
    }

    Ok(())
}

/// Returns the records of directories, or `None` without a vault or a state directory.
pub(super) fn directories(cx: &Context) -> Option<Directories> {
    directories_of(cx, &cx.vault_id()?)
}

fn directories_of(cx: &Context, vault: &VaultId) -> Option<Directories> {
    Some(Directories::new(&cx.state_directory("directories")?, vault))
}

/// Describes what was done to an output.
pub(super) fn describe_change(path: &str, written: OutputChange) -> String {
    match written {
        OutputChange::Replaced => format!("wrote `{path}`"),
        OutputChange::Same => format!("`{path}` is up to date"),
        OutputChange::ModeChanged => format!("changed the mode of `{path}`, which is up to date"),
    }
}

/// Returns what was done to outputs, as JSON.
pub(super) fn json(written: &[(PathBuf, OutputChange)]) -> serde_json::Value {
    let word = |written| match written {
        OutputChange::Replaced => "written",
        OutputChange::Same => "current",
        OutputChange::ModeChanged => "modeChanged",
    };

    let outputs = written.iter().map(
        |(path, written)| json!({ "output": path.to_string_lossy(), "state": word(*written) }),
    );
    json!({ "outputs": outputs.collect::<Vec<_>>() })
}

/// Returns the existing outputs that a new value of a tag made stale, if the working directory
/// belongs to this project.
pub(super) fn outdated_by(
    cx: &Context,
    project: &ProjectName,
    tag: &Tag,
) -> Result<Vec<PathBuf>, Error> {
    let Some(manifest) = tree_manifest(cx, project)? else { return Ok(Vec::new()) };
    let there = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok();

    Ok(open(cx, manifest)?.of(tag).into_iter().filter(there).collect())
}

/// Returns every reference in the tree if it belongs to this project, else none.
pub(super) fn references(cx: &Context, project: &ProjectName) -> Result<Vec<Reference>, Error> {
    let Some(manifest) = tree_manifest(cx, project)? else { return Ok(Vec::new()) };
    let progress = cx.ui.progress("files searched");
    let tree =
        Tree::search(&manifest.directory, Some(manifest), &|number| progress.on_progress(number));
    drop(progress);
    tree.unread.iter().for_each(|why| cx.ui.warn(why));

    Ok(tree.references)
}

fn tree_manifest<'c>(
    cx: &'c Context,
    project: &ProjectName,
) -> Result<Option<&'c Manifest>, Error> {
    let is_ours = cx.tree_project()? == Some(project);
    Ok(cx.manifest()?.filter(|_| is_ours))
}
