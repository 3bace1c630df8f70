//! `secrets trust`: consent to what a directory's `.secrets.toml` asks for, shown, given and taken back.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::Environment;
use crate::context::{Context, Trust};
use crate::error::{Error, Kind};
use crate::setup::Manifest;
use crate::setup::manifest::MANIFEST;
use crate::setup::trust::Coverage;
use crate::ui::escape::visible;
use crate::ui::local_time;

const EXAMPLES: &str = "\
Examples:
  secrets trust                trust the nearest .secrets.toml as it is
  secrets trust --show         what it asks for, and if it is trusted
  secrets trust --revoke DIR   take it back
  secrets trust --list         every directory that is trusted
  secrets --trust-manifest=SHA256 render --all   in CI; --show prints it

What needs trust in the nearest .secrets.toml:
  setup, check, adopt                           always
  render --all, render --stale                  always
  template, if there is a .secrets.toml         always
  run, if it uses [run.env]                     always
  run, render FILE, render -e                   for its project
  create, update, delete, clone                 for its project
  import, export                                for its project
What never needs it:
  list, get, refs, scan, redact, render --list, status, unlock, lock,
  init, setup --new, project, passwd, recovery, rekey, verify, salvage,
  backup, restore, compact, completions, trust
A project that -p or SECRETS_PROJECT names is your choice, not that of
.secrets.toml.";

/// Trust what .secrets.toml asks for
///
/// A .secrets.toml chooses a project, files that are written and variables of programs. Before that is used, you have to
/// consent to it, once for each directory and again after a change. This command is the consent: it asks nothing, and prints
/// what it covers: the directory, the project, the SHA-256 of .secrets.toml, and for each output the tags that its template
/// names. The text of templates is not covered: read it in files of strangers. What `template`, `adopt`, `setup --new` and
/// `init --project-file` write is trusted as written.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TrustArgs {
    /// The directory of the .secrets.toml [default: the nearest one, here or above]
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
    /// Print what it asks for and whether it is trusted, and change nothing
    #[arg(long)]
    show: bool,
    /// Take the trust back
    #[arg(long, conflicts_with = "show")]
    revoke: bool,
    /// List the directories that are trusted
    #[arg(long, conflicts_with_all = ["show", "revoke", "directory"])]
    list: bool,
    /// Accepted for scripts; this command asks nothing
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
        // To count the project's secrets, and to bind the record. It works without a vault as well.
        cx.open_known_vault();
        with_manifest(cx, directory, |manifest| {
            if args.show { show(cx, manifest) } else { trust(cx, manifest) }
        })
    }
}

/// Calls `use_it` with the manifest of a directory, or the nearest one.
fn with_manifest(
    cx: &Context,
    directory: Option<&Path>,
    use_it: impl FnOnce(&Manifest) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(directory) = directory else { return use_it(cx.needed_manifest()?) };
    let directory = without_name(directory);

    match Environment::manifest_of(directory)? {
        Some(manifest) => use_it(&manifest),
        None => Err(Error::new(
            Kind::NotFound,
            format!("`{}` has no `{MANIFEST}` of yours", directory.display()),
        )
        .hint("name the directory of a `.secrets.toml` that belongs to you")),
    }
}

/// Returns the directory if the file in it was named.
fn without_name(path: &Path) -> &Path {
    if path.file_name() == Some(MANIFEST.as_ref()) { path.parent().unwrap_or(path) } else { path }
}

fn trust(cx: &Context, manifest: &Manifest) -> Result<(), Error> {
    let record = cx.trust(Context::coverage(manifest)?)?;
    print(cx, &record.coverage, &Trust::ProvidedValues(record.clone().into()))?;
    cx.ui.status(&format!(
        "trusted `{}`; the text of its templates is not covered",
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
    let directory = coverage.directory();
    if cx.ui.is_json() {
        return Ok(cx.ui.json(&document(coverage, trust))?);
    }

    let state = match trust {
        Trust::ProvidedValues(record) => format!("since {}", local_time(&record.since)),
        Trust::Changed(_) => "no: it asks for something else than what you trusted".to_owned(),
        Trust::Unknown(None) => "no".to_owned(),
        Trust::Unknown(Some(why)) => format!("no: {why}"),
    };

    let mut lines = vec![("directory", directory.display().to_string()), ("trusted", state)];
    lines.extend(trust.changes(coverage).into_iter().map(|change| ("changed", change)));
    lines.extend(cx.described(coverage, usize::MAX));
    lines.push(("sha256", coverage.fingerprint()));

    let lines: Vec<_> = lines.iter().map(|(label, text)| (*label, visible(text))).collect();
    Ok(cx.ui.labelled(&lines)?)
}

fn document(coverage: &Coverage, trust: &Trust) -> serde_json::Value {
    let outputs = coverage.outputs.iter().map(|output| {
        json!({ "output": output.output, "mode": format!("{:o}", output.mode.unwrap_or(0o600)),
                "template": output.template, "tags": output.tags })
    });

    let variables =
        coverage.variables.iter().map(|(name, text)| json!({ "name": name, "template": text }));
    json!({
        "directory": coverage.directory().to_string_lossy(),
        "trust": trust.word(),
        "changes": trust.changes(coverage),
        "project": coverage.project,
        "outputs": outputs.collect::<Vec<_>>(),
        "variables": variables.collect::<Vec<_>>(),
        "sha256": coverage.fingerprint(),
    })
}

fn revoke(cx: &Context, directory: Option<&Path>) -> Result<(), Error> {
    let directory = match directory {
        Some(directory) => without_name(directory).to_owned(),
        None => Environment::manifest_place().unwrap_or_default(),
    };

    let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };

    // A directory that was removed keeps its record until it is revoked.
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

    if cx.ui.is_json() {
        cx.ui.json(&json!({ "directory": path.to_string_lossy(), "revoked": revoked }))?;
    }

    Ok(())
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

    if cx.ui.is_json() {
        let records = records.iter().map(|record| {
            let coverage = &record.coverage;
            json!({ "directory": coverage.directory().to_string_lossy(), "state": state(coverage),
                    "project": coverage.project, "since": record.since })
        });

        return Ok(cx.ui.json(&json!({ "records": records.collect::<Vec<_>>() }))?);
    }

    let rows: Vec<[String; 4]> = records
        .iter()
        .map(|record| {
            let coverage = &record.coverage;
            let directory = visible(&coverage.directory().to_string_lossy());
            let project = coverage.project.as_deref().map(visible).unwrap_or_default();
            [directory, state(coverage).to_owned(), project, local_time(&record.since)]
        })
        .collect();

    Ok(cx.ui.rows(["DIRECTORY", "STATE", "PROJECT", "SINCE"], &rows)?)
}
