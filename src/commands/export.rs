//! `secrets export --encrypted`: writes secrets to an age file, which other programs can read too.
//! Exports are always encrypted.
//!
//! The file gets its final name only after it was read back.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrets_age::{To, is_age};
use secrets_core::model::ProjectName;
use secrets_project::export::{ExportError, ExportWriter};
use secrets_project::template::output;

use super::shared::age_options;
use super::shared::outputs::protected;
use crate::context::{Context, Credentials, MAKING_KEY, Used};
use crate::error::{Error, Kind};
use crate::output::Exported;
use crate::ui::counted;
use crate::ui::input::MAX_SEALED;

const EXAMPLES: &str = "\
Examples:
  secrets export --encrypted web.age -p web
  secrets export --encrypted all.age --all-projects --recipients-file ours
  age -d all.age | jq -r '.projects[].secrets[].tag'
  secrets import all.age               import it into another vault
docs/export.md describes the file's content.";

/// Export secrets to an encrypted file that other programs can read
///
/// The file has the age format (age-encryption.org/v1) and contains one JSON document with tags,
/// names, descriptions, values, sources and times. It is encrypted to the given recipients, or with
/// a passphrase of its own. Before it gets its final name it is read back and compared byte for
/// byte. With a passphrase it is also decrypted and its content compared; for recipients that would
/// need their keys.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// Write the export to FILE; exports are always encrypted
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    encrypted: Option<PathBuf>,
    /// Export every project, not just the current one
    #[arg(long, conflicts_with = "project")]
    all_projects: bool,
    /// Encrypt to an age key `age1…`; can be repeated
    #[arg(short, long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// Encrypt to every age key in a file, one per line
    #[arg(short = 'R', long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    recipients_file: Vec<PathBuf>,
    /// Read the export's passphrase from a file, `-` for stdin; one trailing newline is dropped
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath,
          conflicts_with_all = ["recipient", "recipients_file"])]
    export_passphrase_file: Option<PathBuf>,
    /// Write ASCII text instead of bytes, for example for mail
    #[arg(long)]
    armor: bool,
    /// Replace an earlier export
    #[arg(long)]
    replace: bool,
}

pub(crate) fn run(args: &ExportArgs, cx: &Context) -> Result<(), Error> {
    let Some(path) = &args.encrypted else {
        return Err(Error::usage("an export is always encrypted and needs a file")
            .hint("set it with `--encrypted FILE`")
            .hint("to use values in the clear, see `secrets render` and `secrets run`"));
    };

    if path == Path::new("-") {
        return Err(Error::usage("an export cannot be written to stdout")
            .hint("set a file with `--encrypted FILE`"));
    }

    let output = output::open(path, None, &protected(cx))?;
    if output.exists() {
        check_replaceable(args, path)?;
    }

    output.check_directory()?;
    let recipients = age_options::recipients(&args.recipient, &args.recipients_file)?;
    let file = args.export_passphrase_file.as_deref();
    if file.is_some() {
        Credentials::check_export_passphrase_source(file)?;
    }

    cx.require_vault()?;
    let project = if args.all_projects { None } else { Some(cx.trusted_project()?) };
    if recipients.is_empty() {
        Credentials::check_export_passphrase_source(file)?;
    }

    let vault = cx.vault()?;

    // An empty export is refused before the user chooses a passphrase in vain.
    project.map_or(Ok(()), |project| vault.require_project(project))?;
    let count = vault.list_page(project, |_| true, 0, 0)?.total as u64;
    if count == 0 {
        return Err(nothing(project));
    }

    let passphrase =
        if recipients.is_empty() { Some(cx.credentials.export_passphrase(file)?) } else { None };
    let to = passphrase.as_ref().map_or_else(|| To::Recipients(&recipients), To::Passphrase);
    let progress = cx.ui.progress("secrets exported");
    if passphrase.is_some() {
        progress.working(MAKING_KEY);
    }

    let mut sealing = ExportWriter::new(vault, project, &to, args.armor);
    let mut staged = output.stage()?;
    sealing.write(&mut staged, &|number| progress.on_progress(number)).map_err(
        |error| match error {
            ExportError::Vault(error) => error.into(),
            ExportError::Output(source) => Error::from(output.failed(source)),
        },
    )?;
    let pending = staged.finish()?;
    drop(progress);

    let counts = sealing.counts();
    if counts.secrets == 0 {
        return Err(nothing(project));
    }

    let progress = passphrase.as_ref().map(|_| cx.credentials.key_progress());
    let whole = sealing.check(pending.read_back()?);
    drop(progress);
    let length = whole.map_err(|why| {
        Error::new(Kind::Failure, format!("`{}` was not written: {why}", path.display()))
    })?;

    let used = counts.secrets as u64;
    cx.record_use(&Used { vault, project, count: used, tags: Vec::new() })?;
    if args.replace {
        pending.publish()?;
    } else if !pending.publish_new()? {
        return Err(exists(path));
    }

    if length > MAX_SEALED as u64 {
        cx.ui.warn(
            "the file is larger than 1 GiB, the most that `secrets import` can read; export the \
             projects one at a time",
        );
    }

    let (projects, secrets) =
        (counted(counts.projects, "project"), counted(counts.secrets, "secret"));
    cx.ui.status(&format!("exported {secrets} of {projects} to `{}`", path.display()));
    cx.ui.status(match passphrase {
        Some(_) => "the file was read back and decrypted, and is complete",
        None => {
            "the file was read back byte for byte; only a recipient's key can show that it \
             decrypts"
        }
    });

    cx.ui.document(|| {
        let file = path.display().to_string();
        Ok(Exported { file, projects: counts.projects, secrets: counts.secrets })
    })
}

fn nothing(project: Option<&ProjectName>) -> Error {
    let place = project.map_or_else(|| "the vault".to_owned(), |name| format!("project `{name}`"));
    Error::new(Kind::NotFound, format!("there are no secrets in {place}"))
        .hint("nothing was written")
}

/// Refuses to replace an existing file, unless `--replace` was given and the file is empty or an
/// age file.
fn check_replaceable(args: &ExportArgs, path: &Path) -> Result<(), Error> {
    if !args.replace {
        return Err(exists(path));
    }

    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut head));
    if read.is_ok() && (head.is_empty() || is_age(&head)) {
        return Ok(());
    }

    Err(Error::new(
        Kind::Refused,
        format!("`{}` is not an age file and is not replaced", path.display()),
    )
    .hint("choose another file; nothing was written"))
}

fn exists(path: &Path) -> Error {
    Error::new(Kind::Conflict, format!("`{}` already exists", path.display()))
        .hint("use `--replace` to replace an earlier export; nothing was written")
}
