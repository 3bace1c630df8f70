//! A value that leaves the vault alone, for the clipboard or an editor.

use std::time::Duration;

use secrets_core::model::{Secret, SecretValue};
use secrets_core::vault::{Reveal, Revealed, Vault};
use secrets_runtime::clipboard::{self, ClipboardError};

use crate::config::Environment;
use crate::context::{Context, Used};
use crate::error::{Error, Kind};

/// How long a value is on the clipboard by default.
pub(crate) const CLEAR_AFTER: Duration = Duration::from_secs(45);

/// Returns the value of one secret, and records the use.
pub(crate) fn revealed(cx: &Context, vault: &Vault, secret: &Secret) -> Result<SecretValue, Error> {
    let tag = &secret.metadata.tag;
    let revealed = vault.scope(&secret.project).reveal(std::slice::from_ref(tag))?.pop();
    let Some(Revealed::Value { value, .. }) = revealed else {
        return Err(Error::new(Kind::Conflict, format!("`{tag}` was changed in the meantime")));
    };

    cx.record_use(&Used::of(vault, &secret.project, [tag]))?;
    Ok(value)
}

/// Puts the value of a secret on the clipboard, which is cleared after this time.
pub(crate) fn copy(
    cx: &Context,
    vault: &Vault,
    secret: &Secret,
    clear_after: Duration,
) -> Result<(), Error> {
    let fix = "run it on a desktop, or use `--osc52` to ask the terminal";
    offer(revealed(cx, vault, secret)?.expose(), clear_after, fix)
}

/// Puts a text on the clipboard, which is cleared after this time. `fix` is the hint if there is no clipboard.
pub(crate) fn offer(text: &[u8], clear_after: Duration, fix: &'static str) -> Result<(), Error> {
    let executable = Environment::executable();
    clipboard::copy(&executable, text, clear_after, Environment::of)
        .map_err(|error| refused(&error, fix))
}

fn refused(error: &ClipboardError, fix: &'static str) -> Error {
    let message = error.to_string();
    match error {
        ClipboardError::NotText => Error::new(Kind::Refused, message)
            .hint("write it to a file with `secrets render -e '{{ secrets.TAG }}' -o FILE`"),
        ClipboardError::Unavailable => Error::new(Kind::Failure, message).hint(fix),
        ClipboardError::Process(_) => Error::new(Kind::Failure, message),
    }
}
