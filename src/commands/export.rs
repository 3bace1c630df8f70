//! `secrets export --encrypted`: secrets as an age file, which other programs read too. IfExists is no other export.
//!
//! The file has its name only once it was read back.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::age_options;
use super::outputs::protected;
use crate::context::{Context, MAKING_KEY};
use crate::crypto::age_file::{To, is_age};
use crate::error::{Error, Kind};
use crate::export::ExportWriter;
use crate::model::ProjectName;
use crate::template::output::Output;
use crate::ui::counted;
use crate::ui::input::MOST_SEALED;

const EXAMPLES: &str = "\
Examples:
  secrets export --encrypted web.age -p web
  secrets export --encrypted all.age --all-projects --recipients-file ours
  age -d all.age | jq -r '.projects[].secrets[].tag'
  secrets import all.age               into another vault
docs/export.md describes what is in it.";

/// Write secrets to an encrypted file that other programs can read
///
/// The file is age's (age-encryption.org/v1) and holds one JSON document with tags, names, descriptions, values and times. It is
/// encrypted to the recipients that are named, else to a passphrase of its own. It is read back before it gets its name: all bytes
/// are compared, and with a passphrase it is decrypted and its content compared; for recipients that would need their keys.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// The file; there is no export that is not encrypted
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    encrypted: Option<PathBuf>,
    /// Every project, not just the current one
    #[arg(long, conflicts_with = "project")]
    all_projects: bool,
    /// Encrypt to a key of age's, `age1…`; can be repeated
    #[arg(short, long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// The same for every line of a file
    #[arg(short = 'R', long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    recipients_file: Vec<PathBuf>,
    /// Read the export's passphrase from a file, `-` for stdin; one trailing newline is dropped
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath,
          conflicts_with_all = ["recipient", "recipients_file"])]
    export_passphrase_file: Option<PathBuf>,
    /// Write text in place of bytes, for mail and the like
    #[arg(long)]
    armor: bool,
    /// Replace an earlier export
    #[arg(long)]
    replace: bool,
}

pub(crate) fn run(args: &ExportArgs, cx: &Context) -> Result<(), Error> {
    let Some(path) = &args.encrypted else {
        return Err(Error::usage("an export is always encrypted, and needs a file")
            .hint("name it with `--encrypted FILE`")
            .hint(
                "for values in the clear, where they are used: `secrets render` and `secrets run`",
            ));
    };

    if path == Path::new("-") {
        return Err(
            Error::usage("an export is a file, not stdout").hint("name it with `--encrypted FILE`")
        );
    }

    let output = Output::new(path, None, &protected(cx))?;
    if output.exists() {
        replaceable(args, path)?;
    }

    output.check_directory()?;
    let recipients = age_options::recipients(&args.recipient, &args.recipients_file)?;
    let file = args.export_passphrase_file.as_deref();
    if file.is_some() {
        Context::needs_export_passphrase(file)?;
    }

    cx.needs_vault()?;
    let project = if args.all_projects { None } else { Some(cx.trusted_project()?) };
    if recipients.is_empty() {
        Context::needs_export_passphrase(file)?;
    }

    let vault = cx.vault()?;

    // Known before a passphrase is chosen for nothing.
    project.map_or(Ok(()), |project| vault.require_project(project))?;
    if vault.list(project, |_| true)?.is_empty() {
        return Err(nothing(project));
    }

    let passphrase = if recipients.is_empty() { Some(cx.export_passphrase(file)?) } else { None };
    let to = passphrase.as_ref().map_or_else(|| To::Recipients(&recipients), To::Passphrase);
    let progress = cx.ui.progress("secrets exported");
    if passphrase.is_some() {
        progress.working(MAKING_KEY);
    }

    let mut sealing = ExportWriter::new(vault, project, &to, args.armor);
    let pending = output
        .prepare_anew(&mut |out| sealing.write(out, &|number| progress.on_progress(number)))?;
    drop(progress);

    let counts = sealing.counts();
    if counts.secrets == 0 {
        return Err(nothing(project));
    }

    let progress = passphrase.as_ref().map(|_| cx.key_progress());
    let whole = sealing.check(pending.read_back()?);
    drop(progress);
    let length = whole.map_err(|why| {
        Error::new(Kind::Failure, format!("`{}` was not written: {why}", path.display()))
    })?;

    if args.replace {
        pending.publish()?;
    } else if !pending.publish_new()? {
        return Err(exists(path));
    }

    if length > MOST_SEALED as u64 {
        cx.ui.warn(
            "it is larger than 1 GiB, which is the most that `secrets import` reads: export the projects one by one",
        );
    }

    let (projects, secrets) =
        (counted(counts.projects, "project"), counted(counts.secrets, "secret"));
    cx.ui.status(&format!("exported {secrets} of {projects} to `{}`", path.display()));
    cx.ui.status(match passphrase {
        Some(_) => "it was read back and decrypted: all of it is there",
        None => "it was read back byte for byte; that a recipient's key opens it, only that key can show",
    });

    if !cx.ui.is_json() {
        return Ok(());
    }

    let file = path.display().to_string();
    Ok(cx
        .ui
        .json(&json!({ "file": file, "projects": counts.projects, "secrets": counts.secrets }))?)
}

fn nothing(project: Option<&ProjectName>) -> Error {
    let place = project.map_or_else(|| "the vault".to_owned(), |name| format!("project `{name}`"));
    Error::new(Kind::NotFound, format!("there is no secret in {place}")).hint("nothing was written")
}

/// Refuses what is there, unless it is to be replaced and is an export, or at least an age file.
fn replaceable(args: &ExportArgs, path: &Path) -> Result<(), Error> {
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
        format!("`{}` is no age file, and is not replaced by one", path.display()),
    )
    .hint("name another file; nothing was written"))
}

fn exists(path: &Path) -> Error {
    Error::new(Kind::Conflict, format!("there is a `{}` already", path.display()))
        .hint("`--replace` replaces an earlier export; nothing was written")
}
