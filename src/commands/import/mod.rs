//! `secrets import`: stores what a file or another secrets manager holds, all of it or nothing.
//!
//! The stored values are read back and compared before success is reported or a file is removed.

mod content;
mod programs;
mod removal;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use secrets_core::model::{ProjectName, Tag};
use secrets_core::vault::{
    Action, Import, ImportOutcome, ImportResult, IncomingSecret, NewSecret, OnConflict,
};
use secrets_project::import::{Format, Item, Items, Skipped};

use self::programs::Program;
use self::removal::Removal;
use super::shared::conflicts::{self, OnTakenArg, Uses};
use super::shared::new_vault::{offer_a_vault, require_vault_unless_offered};
use super::shared::store::{conflict, store};
use super::shared::{directories, expiry};
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::{ImportPlan, Imported};
use crate::ui::{counted, input};

const EXAMPLES: &str = "\
Examples:
  secrets import .env
  secrets import .env --dry-run        show what would be stored
  secrets import .env --delete-source  remove the file afterwards
  secrets import --from pass work      a folder of a password store
  secrets import passwords.kdbx        keepassxc-cli asks for its password
  secrets import --from sops secrets.enc.yaml
  doppler secrets download --no-file --format json | secrets import -
  secrets import all.age               import what `secrets export` wrote";

/// Import secrets from a file or from another secrets manager
///
/// Stores everything in one transaction, or nothing. A secret that already exists with the same
/// value is left alone, so an import can be repeated. --on-conflict decides about a secret with a
/// different value. Every stored value is read back and compared.
///
/// Formats: dotenv, json, yaml, 1password (`.1pux`, CSV, or what `op item get --format json` prints),
/// bitwarden (unencrypted JSON or CSV), keepass (XML, or KeePassXC's CSV), lastpass (CSV), age (written by
/// `secrets export`), and what the programs of these services print as JSON: vault, aws, doppler and
/// infisical. In JSON and YAML, the names of nested values are joined: `password` in `db` becomes
/// `db_password`. In dotenv files `$` stays as it is: nothing is expanded. docs/migrate.md has the
/// commands for each program.
///
/// The programs `pass`, `gopass` and `sops` (--from), and `keepassxc-cli` (for a KeePass database) are started
/// to decrypt. A dotenv file of dotenvx is decrypted with the keys in `.env.keys` next to it, or in
/// DOTENV_PRIVATE_KEY. sops contacts the key services that the file names, so use --from sops only
/// for a file that you trust.
///
/// Some entries are skipped with a warning: empty ones, ciphertexts and references of other tools
/// (`encrypted:`, `ENC[...]`, `op://`, `ref+vault://` and the like), KeePass references to an entry
/// that is not in the file, and texts with a placeholder. They stand for a secret but are not one.
/// --as-is stores them. Two variables whose names differ only in ways that a tag ignores, such as
/// http_proxy and HTTP_PROXY, are refused. Exports of other programs are usually not encrypted: remove
/// them afterwards.
///
/// A file written by `secrets export` is imported into the projects that it came from, with names,
/// descriptions, sources and times. With --project, a file with one project is imported into that
/// project.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// Import this file; `-` is stdin. With --from, import this folder of the store
    #[arg(
        value_name = "FILE|FOLDER",
        value_hint = clap::ValueHint::FilePath,
        required_unless_present = "from"
    )]
    file: Option<PathBuf>,
    /// Run this program to decrypt: the entries of a password store, or a file
    #[arg(
        long,
        value_name = "PROGRAM",
        value_enum,
        conflicts_with_all = ["import_passphrase_file", "identity"]
    )]
    from: Option<Program>,
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
    /// Remove the file once all its values are in the vault; keep it if a value was skipped
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

const CONFLICT: &str = "the values differ; choose `--on-conflict skip` or `--on-conflict \
                        overwrite`; nothing was stored";

pub(crate) fn run(args: &ImportArgs, cx: &Context) -> Result<(), Error> {
    let program = args.from.filter(|program| *program != Program::Sops);
    if program.is_some() && (args.format.is_some() || args.delete_source) {
        return Err(Error::usage("`--format` and `--delete-source` are about a file")
            .hint("remove the option: `--from` reads a store"));
    }

    if args.from == Some(Program::Sops) && args.file.is_none() {
        return Err(Error::usage("`--from sops` needs a file").hint("name it: `--from sops FILE`"));
    }

    let path = args.file.as_deref().filter(|_| program.is_none());
    if path == Some(Path::new("-")) && args.delete_source {
        return Err(
            Error::usage("stdin cannot be removed").hint("remove the option `--delete-source`")
        );
    }

    let text = path.map(input::named).transpose()?;

    require_vault_unless_offered(cx)?;

    let project = cx.trusted_project()?;
    let (Items { items, skipped, referring }, file) = match (&text, path, program) {
        (Some((text, file)), Some(path), _) => {
            (content::read_items(args, cx, path, text, file)?, file.clone())
        }
        (_, _, Some(store)) => (programs::read_store(args, cx, store)?, store.program().to_owned()),
        _ => return Err(Error::usage("nothing to import")),
    };
    let removal = text.as_ref().zip(path).filter(|_| args.delete_source);
    let removal = removal.map(|((text, _), path)| Removal { path, text });
    for left in &skipped {
        let line = left.line.map_or_else(String::new, |line| format!(":{line}"));
        cx.ui.warn(&format!("{file}{line}: `{}` is skipped: {}", left.source, left.why));
    }

    if skipped.iter().any(|left| left.as_is && left.has_value) {
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
            nothing_to_store(args, cx, removal.as_ref(), &skipped, project)
        };
    }

    let sources: Vec<String> = items.iter().map(|item| item.source.clone()).collect();
    let targets = targets(&items, project, cx.target.project_option(), &file)?;
    if !args.dry_run {
        offer_a_vault(cx)?;
    }

    let items = if args.dry_run {
        items
    } else {
        without_conflicts(args, cx, items, &targets, Path::new(&file))?
    };
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
    if args.dry_run {
        return plan(args, cx, secrets, &sources, &targets, &skipped);
    }

    let import = Import { secrets, on_conflict: args.on_conflict.into() };

    let outcome = store(cx, &import, &skipped, CONFLICT)?;
    if let (Some(manifest), Some(own)) = (cx.target.manifest()?, cx.target.tree_project()?)
        && targets.contains(own)
    {
        directories::remember_directory(cx, own, &manifest.directory);
    }

    if let Some(removal) = removal {
        removal.remove(cx, &skipped, &outcome)?;
    }

    cx.ui.document(|| Ok(Imported::of(&outcome, &skipped)))
}

/// Prints what an import would do. A dry run creates no vault: without one, everything would be created.
fn plan(
    args: &ImportArgs,
    cx: &Context,
    secrets: Vec<IncomingSecret<'_>>,
    sources: &[String],
    targets: &[ProjectName],
    skipped: &[Skipped],
) -> Result<(), Error> {
    if cx.vault_is_missing()? {
        let create = |secret: &IncomingSecret<'_>| {
            (secret.new.tag.clone(), ImportResult::Action(Action::Create))
        };
        let steps: Vec<_> = secrets.iter().map(create).collect();
        return cx.ui.print(&ImportPlan::of(&steps, sources, targets, skipped, "skip"));
    }

    // Every taken tag is listed, whatever would be done about it.
    let (on_conflict, word) = match args.on_conflict {
        OnTakenArg::Fail => (OnConflict::Skip, "conflict"),
        OnTakenArg::Separate => (OnConflict::Skip, "separate"),
        OnTakenArg::Skip => (OnConflict::Skip, "skip"),
        OnTakenArg::Overwrite => (OnConflict::Overwrite, "skip"),
    };
    let import = Import { secrets, on_conflict };
    let outcome = cx.vault()?.plan_import(&import).map_err(|error| conflict(error, CONFLICT))?;
    cx.ui.print(&ImportPlan::of(&outcome.steps, sources, targets, skipped, word))?;

    let is_taken = |(_, step): &&(Tag, ImportResult)| *step == ImportResult::Action(Action::Skip);
    let taken = outcome.steps.iter().filter(is_taken).count();
    if word == "conflict" && taken > 0 {
        let verb = if taken == 1 { "has" } else { "have" };
        let message = format!("{} already {verb} another value", counted(taken, "tag"));
        return Err(Error::new(Kind::Conflict, message)
            .hint("choose `--on-conflict skip`, `overwrite` or `separate`")
            .into_answer());
    }

    Ok(())
}

/// Reports the result for a file whose entries were all skipped.
fn nothing_to_store(
    args: &ImportArgs,
    cx: &Context,
    removal: Option<&Removal<'_>>,
    skipped: &[Skipped],
    project: &ProjectName,
) -> Result<(), Error> {
    if args.dry_run {
        return cx.ui.print(&ImportPlan::of(&[], &[], &[], skipped, "skip"));
    }

    let nothing = ImportOutcome::default();
    cx.ui.status(&format!("imported into project `{project}`: nothing, {} skipped", skipped.len()));

    cx.ui.document(|| Ok(Imported::of(&nothing, skipped)))?;
    if let Some(removal) = removal {
        removal.remove(cx, skipped, &nothing)?;
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
    source: &Path,
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
            Uses::of(cx, project, own, source)?.decide(cx, &new, args.on_conflict, args.yes)?;
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
