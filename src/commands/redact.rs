//! `secrets redact`: copies a stream and masks the project's values in it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use secrets_runtime::run::{StreamError, mask_stream};

use super::shared::look_for::{ALL, look_for};
use crate::context::{Context, Used};
use crate::error::{Error, Kind};
use crate::ui::input::take_stdin;
use crate::ui::{UiError, raw};

const EXAMPLES: &str = "\
Examples:
  tail -f app.log | secrets redact
  secrets redact build.log > build.public.log
  kubectl logs -f deploy/web | secrets redact --project web";

/// Copy a stream with secret values masked
///
/// Searches for every value of the project, both unchanged and in the forms in which programs print
/// it: escaped for JSON, a shell, CSV, SQL, a URL or HTML, in hex, base32 or base64, and with
/// colours inside. Each value is shown as ‹my-secret›. Text that begins like a value is held back
/// until the rest arrives; after 40 ms at most seven bytes of it are shown.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RedactArgs {
    /// Copy this file; `-` or none is stdin
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &RedactArgs, cx: &Context) -> Result<(), Error> {
    let failed =
        |what: &str, source| Error::new(Kind::Failure, format!("cannot read {what}: {source}"));
    let [input, output, _] = raw::streams().map_err(|source| failed("stdin", source))?;
    let input = match args.file.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            open(path).map_err(|source| failed(&format!("`{}`", path.display()), source))?.into()
        }
        None => {
            take_stdin()?;
            input
        }
    };

    let vault = cx.unlock()?;
    let project = cx.target.project()?;
    let values = vault.scope(project).reveal_all()?;
    cx.record_use(&Used::of(&vault, project, values.iter().map(|(tag, _)| tag)))?;
    cx.warn_of_unusable(&vault, project, "masked")?;
    drop(vault);
    look_for(&values, "masked", ALL, cx)?;

    let what = args
        .file
        .as_deref()
        .map_or_else(|| "stdin".to_owned(), |path| format!("`{}`", path.display()));

    mask_stream(input, output, values).map_err(|error| match error {
        StreamError::Write(source) => UiError::Stdout(source).into(),
        StreamError::Read(source) => failed(&what, source),
    })
}

/// Opens a file. A directory is refused here, because otherwise only reading it would fail.
fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() { Err(Errno::ISDIR.into()) } else { Ok(file) }
}
