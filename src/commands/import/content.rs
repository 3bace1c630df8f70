//! Reads the values of a file.

use std::path::Path;

use secrets_age::{AgeError, AgeHeader, DecryptWith, trimmed};
use secrets_core::model::SecretBytes;
use secrets_core::store::quoted;
use secrets_project::import::{
    Container, DotenvxKeys, Format, ImportError, ImportOptions, Items, PRIVATE_KEY, Why,
    is_of_sops, read,
};

use super::super::shared::age_options;
use super::ImportArgs;
use super::programs::{self, Program};
use crate::config::Environment;
use crate::context::Context;
use crate::error::{self, Error, Kind};
use crate::ui::input;

/// The maximum size in bytes of a file `.env.keys`.
const MAX_KEYS: usize = 1024 * 1024;

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

/// Reads the values of a file, whose content is `text` and which messages call `file`.
pub(super) fn read_items(
    args: &ImportArgs,
    cx: &Context,
    path: &Path,
    text: &SecretBytes,
    file: &str,
) -> Result<Items, Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    let is_stdin = path == Path::new("-");
    match Container::of(text.expose()) {
        None | Some(Container::OnePux) => {}
        Some(Container::Kdbx) if !is_stdin => {
            refuse_age_options(args, Format::KeePass, file)?;
            let xml = programs::of_keepass(path)?;
            return read_text(args, Format::KeePass, &xml, file, None);
        }
        Some(container) => {
            let word = if is_stdin { "FILE".to_owned() } else { quoted(path) };
            return Err(Error::usage(format!("`{file}` is {}", container.what()))
                .hint(container.fix(&word)));
        }
    }

    let named = args.format.as_deref().and_then(Format::named);
    let format = named.or_else(|| Format::of(name, text.expose())).ok_or_else(|| {
        Error::usage(format!("cannot detect the format of `{file}`"))
            .hint("set it with `--format FORMAT`")
    })?;

    if format == Format::Age {
        let document = decrypted(args, cx, text, file)?;
        let options = options(args, None);
        return read(format, document.expose(), options).map_err(|error| {
            let kind = if error.why == Why::Version { Kind::Damaged } else { Kind::Usage };
            Error::new(kind, format!("`{file}`: {error}"))
                .hint("see docs/export.md for the format; nothing was stored")
        });
    }

    refuse_age_options(args, format, file)?;
    if args.from == Some(Program::Sops) {
        if !is_of_sops(format, text.expose()) || is_stdin {
            return Err(Error::usage(format!("`{file}` is not a file that sops encrypted"))
                .hint("remove `--from sops`; nothing was stored"));
        }

        let text = programs::of_sops(path, format)?;
        return read_text(args, format, &text, file, None);
    }

    let keys = (format == Format::Dotenv).then(|| dotenvx_keys(path));
    read_text(args, format, text, file, keys.as_ref())
}

/// Fails if an option for age files was given with a file of another format.
fn refuse_age_options(args: &ImportArgs, format: Format, file: &str) -> Result<(), Error> {
    if args.import_passphrase_file.is_none() && args.identity.is_empty() {
        return Ok(());
    }

    Err(Error::usage(format!("`{file}` is not an age file"))
        .hint(format!("remove the option; the file was read as {}", format.name())))
}

pub(super) fn options<'a>(
    args: &'a ImportArgs,
    dotenvx: Option<&'a DotenvxKeys>,
) -> ImportOptions<'a> {
    ImportOptions { prefix: &args.prefix, as_is: args.as_is, dotenvx }
}

fn read_text(
    args: &ImportArgs,
    format: Format,
    text: &SecretBytes,
    file: &str,
    keys: Option<&DotenvxKeys>,
) -> Result<Items, Error> {
    read(format, text.expose(), options(args, keys)).map_err(|error| refused(&error, file, format))
}

fn refused(error: &ImportError, file: &str, format: Format) -> Error {
    let place = error.at.map_or_else(String::new, |at| format!(":{at}"));
    let hint = match &error.why {
        Why::DuplicateTag(_, name) => format!(
            "remove one of the two from the file; `[run.env]` and `run --env {name}=...` can \
             give a program a variable of any name; nothing was stored"
        ),
        _ => format!("the file was read as {}; nothing was stored", format.name()),
    };

    Error::usage(format!("{file}{place}: {error}")).hint(hint)
}

/// Returns the keys of dotenvx: those of the environment, and those in `.env.keys` next to the file.
fn dotenvx_keys(path: &Path) -> DotenvxKeys {
    let mut keys = DotenvxKeys::default();
    for (name, value) in Environment::inherited() {
        if name.to_str().is_some_and(|name| name.starts_with(PRIVATE_KEY)) {
            keys.add(value.as_encoded_bytes());
        }
    }

    // A stranger's repository may have something else there, at which reading would wait.
    if let Ok(text) = input::regular_file(&path.with_file_name(".env.keys"), MAX_KEYS) {
        keys.add_file(text.expose());
    }

    keys
}
