//! `secrets import`: stores the content of a dotenv file or of another tool's export, all of it or
//! nothing.
//!
//! The stored values are read back and compared before success is reported or a file is removed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrets_age::{AgeError, AgeHeader, DecryptWith, trimmed};
use secrets_core::model::{ProjectName, SecretBytes};
use secrets_core::store::quoted;
use secrets_core::vault::{Action, Import, ImportOutcome, ImportResult, IncomingSecret, NewSecret};
use secrets_project::import::{
    Container, EMPTY, Format, ImportOptions, Item, Items, Skipped, Why, read,
};

use super::shared::conflicts::{self, OnTakenArg, Uses};
use super::shared::git::is_tracked;
use super::shared::new_vault::{offer_a_vault, require_vault_unless_offered};
use super::shared::store::{conflict, store};
use super::shared::{age_options, directories, expiry};
use crate::context::Context;
use crate::error::{self, Error, Kind};
use crate::output::{ImportPlan, Imported};
use crate::ui::{counted, input};

const EXAMPLES: &str = "\
Examples:
  secrets import .env
  secrets import .env --dry-run        show what would be stored
  secrets import .env --delete-source  remove the file afterwards
  secrets import .env --as-is          store references of other tools too
  secrets import export.json --format bitwarden --prefix personal-
  doppler secrets download --no-file --format json | secrets import -
  secrets import all.age               import what `secrets export` wrote";

/// Import secrets from a dotenv file or another tool's export
///
/// Stores everything in one transaction, or nothing. A secret that already exists with the same
/// value is left alone, so an import can be repeated. --on-conflict decides about a secret with a
/// different value. Every stored value is read back and compared.
///
/// Some entries are skipped with a warning: empty ones, ciphertexts and references of other tools
/// (`encrypted:`, `ENC[...]`, `op://`, `ref+vault://` and the like), KeePass references to an entry
/// that is not in the file, and texts with a placeholder. They stand for a secret but are not one.
/// --as-is stores them. Two variables whose names differ only in ways that a tag ignores, such as
/// http_proxy and HTTP_PROXY, are refused.
///
/// Formats: dotenv, json (one flat object), 1password (CSV), bitwarden (unencrypted JSON or CSV),
/// keepass (XML, or KeePassXC's CSV), age (written by `secrets export`). In dotenv files `$` stays
/// as it is: nothing is expanded. Exports of other programs are usually not encrypted: remove them
/// afterwards.
///
/// A file written by `secrets export` is imported into the projects that it came from, with names,
/// descriptions, sources and times. With --project, a file with one project is imported into that
/// project.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// Import this file; `-` is stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Set the format of the file [default: detected from its name and content]
    #[arg(long, value_name = "FORMAT", value_parser = clap::builder::PossibleValuesParser::new(Format::NAMES))]
    format: Option<String>,
    /// Put this text before every tag
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Choose what to do if the project has a tag with a different value
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    on_conflict: OnTakenArg,
    /// Overwrite a value even if outputs use it
    #[arg(short, long)]
    yes: bool,
    /// Print the plan without storing anything
    #[arg(long)]
    dry_run: bool,
    /// Store ciphertexts and references of other tools unchanged
    #[arg(long)]
    as_is: bool,
    /// Remove the file once all its values are in the vault; keep it if a value was skipped, unless
    /// that value is empty
    #[arg(long, conflicts_with = "dry_run")]
    delete_source: bool,
    /// Read the passphrase of an age file from a file, `-` for stdin; one trailing newline is
    /// dropped
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath, conflicts_with = "identity")]
    import_passphrase_file: Option<PathBuf>,
    /// Decrypt an age file with the keys in FILE, as written by `age-keygen`; can be repeated
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    identity: Vec<PathBuf>,
}

pub(crate) fn run(args: &ImportArgs, cx: &Context) -> Result<(), Error> {
    let stdin = args.file == Path::new("-");
    if stdin && args.delete_source {
        return Err(
            Error::usage("stdin cannot be removed").hint("remove the option `--delete-source`")
        );
    }

    let (text, file) = input::named(&args.file)?;

    // A dry run does not create a vault.
    if args.dry_run {
        cx.require_vault()?;
    } else {
        require_vault_unless_offered(cx)?;
    }

    let project = cx.trusted_project()?;
    let Items { items, skipped, referring } = read_items(args, cx, &text, &file)?;
    for left in &skipped {
        let line = left.line.map_or_else(String::new, |line| format!(":{line}"));
        cx.ui.warn(&format!("{file}{line}: `{}` is skipped: {}", left.source, left.why));
    }

    if skipped.iter().any(|left| left.as_is) {
        cx.ui.status("use `--as-is` to store references and ciphertexts of other tools unchanged");
    }

    for (name, line) in &referring {
        cx.ui.warn(&format!(
            "{file}:{line}: the value of `{name}` refers to another variable; it is stored as \
             written, and programs get it unexpanded"
        ));
    }

    if items.is_empty() {
        return if skipped.is_empty() {
            Err(Error::usage(format!("`{file}` contains no values")).hint("nothing was stored"))
        } else {
            nothing_to_store(args, cx, &text, &skipped, project)
        };
    }

    let sources: Vec<String> = items.iter().map(|item| item.source.clone()).collect();
    let targets = targets(&items, project, cx.target.project_option(), &file)?;
    if !args.dry_run {
        offer_a_vault(cx)?;
    }

    let items = if args.dry_run { items } else { without_conflicts(args, cx, items, &targets)? };
    let declared = expiry::declared_all(cx, targets.iter().zip(items.iter().map(|it| &it.tag)))?;
    let incoming = |((item, to), declared): ((Item, _), _)| IncomingSecret {
        to,
        new: NewSecret {
            name: item.name,
            description: item.description,
            class: item.class,
            expires: item.origin.as_ref().map_or(declared, |origin| origin.expires),
            source: item.origin.as_ref().and_then(|origin| origin.address.clone()),
            ..NewSecret::new(item.tag, item.value)
        },
        times: item.origin.map(|origin| (origin.created, origin.updated)),
    };

    let secrets = items.into_iter().zip(&targets).zip(declared).map(incoming).collect();
    let import = Import { secrets, on_conflict: args.on_conflict.into() };
    if args.dry_run {
        let outcome =
            cx.vault()?.plan_import(&import).map_err(|error| conflict(error, CONFLICT))?;
        return cx.ui.print(&ImportPlan::of(&outcome.steps, &sources, &targets, &skipped));
    }

    let outcome = store(cx, &import, &skipped, CONFLICT)?;
    if let (Some(manifest), Some(own)) = (cx.target.manifest()?, cx.target.tree_project()?)
        && targets.contains(own)
    {
        directories::remember_directory(cx, own, &manifest.directory);
    }

    if args.delete_source {
        remove(args, cx, &text, &skipped, &outcome)?;
    }

    cx.ui.document(|| Ok(Imported::of(&outcome, &skipped)))
}

/// Reports the result for a file whose entries were all skipped.
fn nothing_to_store(
    args: &ImportArgs,
    cx: &Context,
    text: &SecretBytes,
    skipped: &[Skipped],
    project: &ProjectName,
) -> Result<(), Error> {
    if args.dry_run {
        return cx.ui.print(&ImportPlan::of(&[], &[], &[], skipped));
    }

    let nothing = ImportOutcome::default();
    cx.ui.status(&format!("imported into project `{project}`: nothing, {} skipped", skipped.len()));

    cx.ui.document(|| Ok(Imported::of(&nothing, skipped)))?;
    if args.delete_source {
        remove(args, cx, text, skipped, &nothing)?;
    }

    Ok(())
}

/// Gives separate tags to items whose tags have a different value that outputs use, if the user
/// wants that.
fn without_conflicts(
    args: &ImportArgs,
    cx: &Context,
    mut items: Vec<Item>,
    targets: &[ProjectName],
) -> Result<Vec<Item>, Error> {
    let manifest = cx.target.manifest()?;
    let tree_project = cx.target.tree_project()?;
    for project in targets.iter().collect::<BTreeSet<_>>() {
        let own = manifest.filter(|_| tree_project == Some(project));
        if let Some(manifest) = own {
            conflicts::claim(cx, project, &manifest.directory, true)?;
        }

        let of_project = || {
            targets.iter().enumerate().filter(|(_, target)| *target == project).map(|(at, _)| at)
        };

        let new: Vec<_> = of_project().map(|at| (&items[at].tag, &items[at].value)).collect();
        let tags =
            Uses::of(cx, project, own, &args.file)?.decide(cx, &new, args.on_conflict, args.yes)?;
        for at in of_project() {
            if let Some(tag) = tags.get(&items[at].tag.key()) {
                items[at].tag = tag.clone();
            }
        }
    }

    Ok(items)
}

/// Returns the project of each item: the project that it was exported from, unless the user named
/// one.
fn targets(
    items: &[Item],
    current: &ProjectName,
    requested: Option<&ProjectName>,
    file: &str,
) -> Result<Vec<ProjectName>, Error> {
    let origins: BTreeSet<&ProjectName> = items
        .iter()
        .filter_map(|item| item.origin.as_ref())
        .map(|origin| &origin.project)
        .collect();

    if requested.is_some() && origins.len() > 1 {
        let what = format!(
            "`{file}` contains {}, which cannot be imported into one project",
            counted(origins.len(), "project")
        );

        return Err(
            Error::usage(what).hint("remove `--project` to import each project under its own name")
        );
    }

    let target = |item: &Item| match (&item.origin, requested) {
        (Some(origin), None) => origin.project.clone(),
        _ => current.clone(),
    };

    Ok(items.iter().map(target).collect())
}

/// Decrypts an age file and returns its content.
fn decrypted(
    args: &ImportArgs,
    cx: &Context,
    text: &SecretBytes,
    file: &str,
) -> Result<SecretBytes, Error> {
    let failed = |error| error::age_file(&error, file);
    let read = || AgeHeader::read(trimmed(text.expose()));
    let all = |by: &DecryptWith<'_>| {
        let mut all = SecretBytes::with_capacity(text.len());
        read()?.open(by)?.each(|piece| all.extend(piece))?;
        Ok(all)
    };

    let sealed = read().map_err(failed)?;
    if !args.identity.is_empty() {
        return all(&DecryptWith::Identities(&age_options::identities(&args.identity, cx)?))
            .map_err(failed);
    }

    if !sealed.needs_passphrase() {
        return Err(failed(AgeError::NeedsIdentity));
    }

    let given = args.import_passphrase_file.as_deref();
    cx.credentials
        .open_by_passphrase(given, file, |passphrase| all(&DecryptWith::Passphrase(passphrase)))
}

fn read_items(
    args: &ImportArgs,
    cx: &Context,
    text: &SecretBytes,
    file: &str,
) -> Result<Items, Error> {
    let name = args.file.file_name().and_then(|name| name.to_str());
    if let Some(container) = Container::of(name, text.expose()) {
        let word = if args.file == Path::new("-") { "FILE".to_owned() } else { quoted(&args.file) };
        return Err(
            Error::usage(format!("`{file}` is {}", container.what())).hint(container.fix(&word))
        );
    }

    let options = ImportOptions { prefix: &args.prefix, as_is: args.as_is };
    let named = args.format.as_deref().and_then(Format::named);
    let format = named.or_else(|| Format::of(name, text.expose())).ok_or_else(|| {
        Error::usage(format!("cannot detect the format of `{file}`"))
            .hint("set it with `--format FORMAT`")
    })?;

    if format == Format::Age {
        let document = decrypted(args, cx, text, file)?;
        return read(format, document.expose(), options).map_err(|error| {
            let kind = if error.why == Why::Version { Kind::Damaged } else { Kind::Usage };
            Error::new(kind, format!("`{file}`: {error}"))
                .hint("see docs/export.md for the format; nothing was stored")
        });
    }

    if args.import_passphrase_file.is_some() || !args.identity.is_empty() {
        return Err(Error::usage(format!("`{file}` is not an age file"))
            .hint(format!("remove the option; the file was read as {}", format.name())));
    }

    read(format, text.expose(), options).map_err(|error| {
        let place = error.at.map_or_else(String::new, |at| format!(":{at}"));
        let hint = match &error.why {
            Why::DuplicateTag(_, name) => format!(
                "remove one of the two from the file; `[run.env]` and `run --env {name}=...` can \
                 give a program a variable of any name; nothing was stored"
            ),
            _ => format!("the file was read as {}; nothing was stored", format.name()),
        };

        Error::usage(format!("{file}{place}: {error}")).hint(hint)
    })
}

const CONFLICT: &str = "the values differ; choose `--on-conflict skip` or `--on-conflict \
                        overwrite`; nothing was stored";

/// Removes the file if all its values are in the vault and it has not changed since it was read.
fn remove(
    args: &ImportArgs,
    cx: &Context,
    text: &SecretBytes,
    left_out: &[Skipped],
    outcome: &ImportOutcome,
) -> Result<(), Error> {
    let name = args.file.display();
    let left_out = left_out.iter().filter(|left| left.why != EMPTY).count();
    let skipped = left_out
        + outcome
            .steps
            .iter()
            .filter(|(_, step)| *step == ImportResult::Action(Action::Skip))
            .count();

    let kept = |why: String| Error::new(Kind::Conflict, format!("`{name}` was not removed: {why}"));
    if skipped > 0 {
        return Err(kept(format!(
            "{} {} not in the vault",
            counted(skipped, "value"),
            if skipped == 1 { "is" } else { "are" }
        )));
    }

    let found =
        std::fs::symlink_metadata(&args.file).map_err(|source| failed(&args.file, &source))?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(kept("it is a link or has several names".into()));
    }

    let (current, _) = input::named(&args.file)?;
    if current.expose() != text.expose() {
        return Err(kept("it was changed in the meantime".into()));
    }

    let tracked = is_tracked(&args.file);
    std::fs::remove_file(&args.file).map_err(|source| failed(&args.file, &source))?;
    cx.ui.status(&format!("removed `{name}`"));

    if tracked {
        cx.ui.warn(&format!(
            "`{name}` is tracked by git: its values are in the history, so change them"
        ));
    }

    Ok(())
}

fn failed(path: &Path, source: &std::io::Error) -> Error {
    Error::new(Kind::Failure, format!("cannot remove `{}`: {source}", path.display()))
}
