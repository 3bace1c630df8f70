//! `secrets edit`: enters a value in the user's editor.

use std::ffi::OsString;
use std::io;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{Secret, SecretBytes, SecretRef, SecretValue};
use secrets_core::vault::{SecretChanges, Vault};
use secrets_runtime::editor;
use secrets_runtime::run::PrivateFiles;

use super::shared::clipboard::revealed;
use super::shared::expiry;
use super::shared::updated;
use crate::completion;
use crate::config::{Environment, program_directories};
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::SecretInfo;
use crate::ui::input;

const EXAMPLES: &str = "\
Examples:
  secrets edit tls-key                  enter a new value of several lines
  secrets edit config-json --reveal     change the present value
  EDITOR='code --wait' secrets edit tls-key";

/// Enter a value in your editor
///
/// Opens $VISUAL, $EDITOR or vi on a private, empty file, and stores what is saved there as the new
/// value. The file is in memory if the system has a file system there, and is removed afterwards. The
/// present value is shown only with --reveal. An empty or unchanged file changes nothing. One newline at the
/// end is dropped, because editors add it; --exact keeps it.
///
/// Vim is started so that it keeps no copy elsewhere. Another editor may write backups or a history
/// if it is set up so.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EditArgs {
    /// Change this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: SecretRef,
    /// Begin with the present value, which the editor shows
    #[arg(long)]
    reveal: bool,
    /// Keep a newline at the end
    #[arg(long)]
    exact: bool,
}

pub(crate) fn run(args: &EditArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.vault()?;
    let current = vault.get(project, &args.secret)?;
    let tag = &current.metadata.tag;
    let before = if args.reveal { Some(reveal(cx, vault, &current)?) } else { None };

    let saved = edit(cx, &current, before.as_ref())?;
    let Some(bytes) = changed(args, saved, before.as_ref()) else {
        cx.ui.status(&format!("nothing was saved, so `{tag}` keeps its value"));
        return cx.ui.document(|| Ok(SecretInfo(&current)));
    };

    drop(before);
    let value = SecretValue::new(bytes, false)
        .map_err(|why| Error::usage(format!("{why}; nothing was stored")))?;
    let declared = expiry::declared(cx, &current.project, tag)?;
    let changes =
        SecretChanges { value: Some(value), expires: Some(declared), ..SecretChanges::default() };

    // The version from before ensures that a change made in the meantime is not overwritten.
    let secret =
        cx.written(vault, vault.update(project, &args.secret, Some(current.version), changes)?);
    updated::report(cx, &current, &secret, true, true);
    cx.ui.document(|| Ok(SecretInfo(&secret)))
}

/// Returns the present value, which must be text.
fn reveal(cx: &Context, vault: &Vault, secret: &Secret) -> Result<SecretValue, Error> {
    let value = revealed(cx, vault, secret)?;
    if std::str::from_utf8(value.expose()).is_err() {
        return Err(Error::new(
            Kind::Refused,
            "the value is not text, so an editor would damage it",
        )
        .hint("write it to a file with `secrets render -e '{{ secrets.TAG }}' -o FILE`"));
    }

    Ok(value)
}

/// Runs the editor and returns what it has saved.
fn edit(cx: &Context, secret: &Secret, before: Option<&SecretValue>) -> Result<SecretBytes, Error> {
    let failed = |source: io::Error| {
        Error::new(Kind::Failure, format!("cannot edit a private file: {source}"))
    };
    let place = cx.agents.memory_directory()?;
    let files = PrivateFiles::new(place.directory(), &Environment::executable()).map_err(failed)?;
    let name = secret.metadata.tag.key();
    let start = before.map_or(&b""[..], |value| value.expose());
    let path = files.put_bytes(name.as_str(), start).map_err(failed)?;

    let editor = ["VISUAL", "EDITOR"].into_iter().find_map(Environment::of);
    let editor = editor.unwrap_or_else(|| OsString::from("vi"));
    let variables = Environment::inherited().into_iter();
    let ended = editor::edit(&editor, &path, variables, &program_directories());
    let status = match ended {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            return Err(Error::new(Kind::Interrupted, "interrupted").hint("nothing was stored"));
        }
        ended => ended.map_err(failed)?,
    };

    if !status.success() {
        let why = format!("the editor ended with {status}");
        return Err(Error::new(Kind::Failure, why)
            .hint("nothing was stored; set VISUAL or EDITOR to choose another editor"));
    }

    // Two bytes more than a value may have, because a newline at the end does not count.
    input::file(&path, SecretValue::MAX + 2).map(|(bytes, _)| bytes).map_err(failed)
}

/// Returns the new value, or `None` if nothing was saved.
fn changed(
    args: &EditArgs,
    mut saved: SecretBytes,
    before: Option<&SecretValue>,
) -> Option<SecretBytes> {
    let start = before.map_or(&b""[..], |value| value.expose());
    if saved.expose() == start {
        return None;
    }

    // A newline that was there before is part of the value.
    if !args.exact && !start.ends_with(b"\n") {
        input::drop_newline(&mut saved);
    }

    (!saved.is_empty() && saved.expose() != start).then_some(saved)
}
