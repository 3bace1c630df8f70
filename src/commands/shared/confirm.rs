//! The confirmation that a change which cannot be undone needs.

use secrets_core::vault::Vault;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::{input, prompt};

/// Returns the vault, to look up what an irreversible change affects. If the change will be refused
/// because nobody can confirm it, opens the vault only if that needs no prompt.
pub(crate) fn vault_to_change<'c>(
    cx: &'c Context,
    is_confirmed: bool,
    what: &str,
) -> Result<&'c Vault, Error> {
    if is_confirmed || input::stdin_is_terminal() {
        return cx.vault();
    }

    match cx.vault_without_asking()? {
        Some(vault) => Ok(vault),
        None => require_terminal(what).and_then(|()| cx.vault()),
    }
}

/// Refuses an irreversible change if there is no terminal to ask on.
pub(crate) fn require_terminal(what: &str) -> Result<(), Error> {
    if input::stdin_is_terminal() {
        return Ok(());
    }

    Err(Error::new(
        Kind::Refused,
        format!("{what} requires `--yes` if there is no terminal to ask on"),
    )
    .hint("add `--yes` to confirm; nothing was changed"))
}

/// Asks for confirmation. Any answer but yes ends the command.
pub(crate) fn require_confirmation(question: &str) -> Result<(), Error> {
    if prompt::confirm(question, false)? {
        Ok(())
    } else {
        Err(Error::new(Kind::Refused, "nothing was changed").into_answer())
    }
}
