//! `secrets trust`: shows, grants and revokes consent to what a directory's `.secrets.toml` asks
//! for.

use std::path::{Path, PathBuf};

use secrets_project::setup::Manifest;
use secrets_project::setup::manifest::MANIFEST;
use secrets_project::setup::trust::Coverage;

use crate::config::Environment;
use crate::context::{Context, Trust};
use crate::error::{Error, Kind};
use crate::output::{Revoked, TrustRecords, TrustReport, TrustState};
use crate::ui::local_time;

const EXAMPLES: &str = "\
Examples:
  secrets trust                trust the nearest .secrets.toml as it is
  secrets trust --show         show what it asks for
  secrets trust --revoke DIR   revoke trust
  secrets trust --list         list every trusted directory
  secrets --trust-manifest=SHA256 render --all   for one command

What needs trust in the nearest .secrets.toml:
  setup, check, adopt                           always
  render --all, render --stale                  always
  template, if there is a .secrets.toml         always
  run, env, if they use [run.env]               always
  run, if it uses [proxy]; hook                 always
  proxy, if there is a [proxy]                  always
  run, env, render FILE, render -e              for its project
  request, proxy, git-credential                for its project
  create, update, edit, rename, delete, clone   for its project
  copy, code                                    for its project
  access, allow, if they change a secret        for its project
  token create, token list                      for its project
  import, export                                for its project
  create, update, edit, import                  for `expires-after`
What never needs it:
  list, get, refs, scan, redact, render --list, status, unlock, lock,
  pick, unless it changes or copies something,
  init, setup --new, project, audit, token check, passwd, keychain,
  key-file, recovery, rekey, doctor, verify, salvage, backup, restore,
  compact, completions, trust, remote, serve, mcp (its tools do)
A project that you choose with -p or SECRETS_PROJECT is your choice. It
needs no trust. The project of an environment (-E) is the manifest's.";

/// Trust what .secrets.toml asks for
///
/// A .secrets.toml chooses a project, files to write and variables of programs. Before any of that
/// is used, you have to consent to it, once per directory and again after each change. This command
/// gives that consent without asking, and prints what it covers: the directory, the projects, the
/// SHA-256 of .secrets.toml, and for each output the tags that its template refers to. It does not
/// cover the text of templates: read templates that others wrote. A .secrets.toml is trusted
/// automatically as `template`, `adopt`, `setup --new` and `init --project-file` write it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TrustArgs {
    /// Trust the .secrets.toml in this directory [default: the nearest one, here or above]
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
    /// Print what it asks for and whether it is trusted, without changing anything
    #[arg(long)]
    show: bool,
    /// Revoke the trust
    #[arg(long, conflicts_with = "show")]
    revoke: bool,
    /// List the trusted directories
    #[arg(long, conflicts_with_all = ["show", "revoke", "directory"])]
    list: bool,
    /// Do nothing; accepted for scripts, because this command never asks
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &TrustArgs, cx: &Context) -> Result<(), Error> {
    let directory = args.directory.as_deref();
    if args.list {
        list(cx)
    } else if args.revoke {
        revoke(cx, directory)
    } else {
        // An open vault is used to count the project's secrets and to bind the record, but is not
        // required.
        cx.open_known_vault();
        with_manifest(cx, directory, |manifest| {
            if args.show { show(cx, manifest) } else { trust(cx, manifest) }
        })
    }
}

/// Calls `use_manifest` with the manifest of a directory, or the nearest one.
fn with_manifest(
    cx: &Context,
    directory: Option<&Path>,
    use_manifest: impl FnOnce(&Manifest) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(directory) = directory else { return use_manifest(cx.target.require_manifest()?) };
    let directory = directory_of(directory);

    match Environment::manifest_of(directory)? {
        Some(manifest) => use_manifest(&manifest),
        None => Err(Error::new(
            Kind::NotFound,
            format!("`{}` has no `{MANIFEST}` that belongs to you", directory.display()),
        )
        .hint("choose the directory of a `.secrets.toml` that belongs to you")),
    }
}

/// Returns the directory if the path names the manifest in it.
fn directory_of(path: &Path) -> &Path {
    if path.file_name() == Some(MANIFEST.as_ref()) { path.parent().unwrap_or(path) } else { path }
}

fn trust(cx: &Context, manifest: &Manifest) -> Result<(), Error> {
    let record = cx.trust(Context::coverage(manifest)?)?;
    print(cx, &record.coverage, &Trust::Trusted(record.clone().into()))?;
    cx.ui.status(&format!(
        "trusted `{}`; this does not cover the text of its templates",
        manifest.path().display()
    ));

    Ok(())
}

fn show(cx: &Context, manifest: &Manifest) -> Result<(), Error> {
    let coverage = Context::coverage(manifest)?;
    let trust = cx.trust_of(&coverage);
    print(cx, &coverage, &trust)
}

/// Prints what a manifest asks for.
fn print(cx: &Context, coverage: &Coverage, trust: &Trust) -> Result<(), Error> {
    let described = match trust {
        Trust::Trusted(record) => format!("since {}", local_time(&record.since)),
        Trust::Changed(_) => "no: it asks for something other than what you trusted".to_owned(),
        Trust::Unknown(None) => "no".to_owned(),
        Trust::Unknown(Some(why)) => format!("no: {why}"),
    };

    let state = TrustState { word: trust.word(), described, changes: trust.changes(coverage) };
    cx.ui.print(&TrustReport::new(coverage, state, cx.describe_coverage(coverage, usize::MAX)))
}

fn revoke(cx: &Context, directory: Option<&Path>) -> Result<(), Error> {
    let directory = match directory {
        Some(directory) => directory_of(directory).to_owned(),
        None => Environment::manifest_place().unwrap_or_default(),
    };

    let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };

    // The record of a removed directory exists until it is revoked.
    let failed = |source| {
        Error::new(Kind::Failure, format!("cannot read `{}`: {source}", directory.display()))
    };

    let path = std::fs::canonicalize(&directory)
        .or_else(|_| std::path::absolute(&directory))
        .map_err(failed)?;

    let failed =
        |source| Error::new(Kind::Failure, format!("cannot remove the record of trust: {source}"));
    let revoked = cx.trust_store()?.remove(&path).map_err(failed)?;
    let shown = path.display();
    cx.ui.status(&if revoked {
        format!("`{shown}` is no longer trusted")
    } else {
        format!("`{shown}` was not trusted")
    });

    cx.ui.document(|| Ok(Revoked { directory: path.to_string_lossy().into_owned(), revoked }))
}

fn list(cx: &Context) -> Result<(), Error> {
    let failed =
        |source| Error::new(Kind::Failure, format!("cannot read the records of trust: {source}"));
    let records = cx.trust_store()?.all().map_err(failed)?;
    let state = |coverage: &Coverage| match Environment::manifest_of(&coverage.directory()) {
        Ok(Some(now)) if Coverage::of(&now).is_ok_and(|now| now == *coverage) => "trusted",
        Ok(None) => "gone",
        _ => "changed",
    };

    cx.ui.print(&TrustRecords::of(&records, state))
}
