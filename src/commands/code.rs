//! `secrets code`: prints a one-time password, or stores the key for them.

use std::time::Duration;

use clap_complete::ArgValueCompleter;
use secrets_core::model::{Level, Name, SecretBytes, SecretRef, SecretValue, Tag, Timestamp};
use secrets_core::vault::NewSecret;
use secrets_project::one_time::{OneTimeError, OneTimeKey};

use super::shared::clipboard::{self, CLEAR_AFTER, revealed};
use super::shared::label::described;
use super::shared::store::conflict;
use crate::completion;
use crate::context::{Context, Right};
use crate::error::{Error, Kind, hint};
use crate::output::{OneTimeCode, SecretInfo};
use crate::ui::{input, prompt};

const EXAMPLES: &str = "\
Examples:
  secrets code github                      print the current code
  secrets code github --copy               put it on the clipboard
  secrets code github --import             type or paste the key, hidden
  zbarimg -q --raw qr.png | secrets code github --import
  secrets render -e '{{ secrets.github | totp }}'";

/// Print a one-time password
///
/// The value of the secret is a key for time-based one-time passwords (TOTP): the address
/// `otpauth://totp/…` that a QR code holds, or the setup key in base32. --import reads such a key,
/// checks it, and stores it under a new tag with the names of service and account. It is read hidden on a
/// terminal, or from stdin, never from an argument.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CodeArgs {
    /// Use this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: SecretRef,
    /// Store a key under this tag
    #[arg(long)]
    import: bool,
    /// Put the code on the clipboard instead of printing it
    #[arg(long, conflicts_with = "import")]
    copy: bool,
}

impl CodeArgs {
    /// Returns what the command needs, and its name for a refusal.
    pub(crate) fn right(&self) -> (Right, &'static str) {
        if self.import {
            (Right::Level(Level::Manage), "code --import")
        } else {
            (Right::Level(Level::Use), "code")
        }
    }
}

pub(crate) fn run(args: &CodeArgs, cx: &Context) -> Result<(), Error> {
    if args.import {
        return import(args, cx);
    }

    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.vault()?;
    let secret = vault.get(project, &args.secret)?;
    let value = revealed(cx, vault, &secret)?;
    let tag = &secret.metadata.tag;
    let key = match OneTimeKey::parse(value.expose()) {
        Ok(key) => key,
        Err(why) => {
            let message = format!("`{tag}` has no key for one-time passwords: {why}");
            let error = Error::new(Kind::Refused, message);

            // Imports store the key of an entry under this tag.
            let other = Tag::parse(&format!("{tag}-totp")).ok();
            let other = other.map(|tag| vault.find(&secret.project, &tag)).transpose()?.flatten();
            return Err(match other {
                Some(other) => {
                    error.hint(hint!("did you mean `secrets code {}`?", other.metadata.tag))
                }
                None => error.hint("store the key with `secrets code TAG --import`"),
            });
        }
    };

    let now = Timestamp::now().0 / 1000;
    let (code, seconds) = (key.code(now), key.seconds_left(now));
    if args.copy {
        let time = Duration::from_secs(seconds).max(Duration::from_secs(5)).min(CLEAR_AFTER);
        clipboard::offer(code.expose(), time, "run it on a desktop, or without `--copy`")?;
        cx.ui.status(&format!("copied a code of `{tag}`, valid for {seconds}s"));
        return cx.ui.document(|| Ok(OneTimeCode::new(&secret, None, seconds)));
    }

    cx.ui.print(&OneTimeCode::new(&secret, Some(&code), seconds))?;
    if cx.ui.stdout_is_terminal() {
        cx.ui.status(&format!("valid for {seconds}s"));
    }

    Ok(())
}

/// Stores a key under a new tag.
fn import(args: &CodeArgs, cx: &Context) -> Result<(), Error> {
    let SecretRef::Tag(tag) = &args.secret else {
        return Err(Error::usage("`--import` needs a new tag, not an id"));
    };

    if !input::stdin_is_terminal() {
        cx.credentials.keep_stdin()?;
    }

    cx.require_vault()?;
    let project = cx.trusted_project()?;
    let vault = cx.vault()?;
    let bytes = read(&format!("Key of {tag}"))?;
    let key = OneTimeKey::parse(bytes.expose()).map_err(|why: OneTimeError| {
        Error::usage(format!("this is not a key for one-time passwords: {why}; nothing was stored"))
            .hint("copy the setup key, or the text of the QR code, which begins with `otpauth://`")
    })?;

    let address = key.address();
    let words = [key.issuer, key.account];
    let words = words.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");

    // A label that breaks the rules for names is left out, because the key is what counts.
    let name = Name::parse(&words).unwrap_or_default();
    let value = SecretValue::new(address, false).map_err(|why| Error::usage(why.to_string()))?;
    let new = NewSecret { name, ..NewSecret::new(tag.clone(), value) };
    let fix = "choose another tag, or delete it first; nothing was stored";
    let stored = vault.create(project, new).map_err(|error| conflict(error, fix))?;
    let secret = cx.written(vault, stored);
    cx.ui.status(&format!("created {}", described(&secret)));
    cx.ui.document(|| Ok(SecretInfo(&secret)))
}

/// Reads a key from a hidden prompt or from stdin.
fn read(question: &str) -> Result<SecretBytes, Error> {
    if input::stdin_is_terminal() {
        return Ok(prompt::value(question)?);
    }

    let mut bytes = input::stdin(SecretValue::MAX)?;
    input::drop_newline(&mut bytes);
    Ok(bytes)
}
