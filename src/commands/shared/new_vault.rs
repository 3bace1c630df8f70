//! Creates a vault, for `init` and for commands that offer it before they store a secret.

use std::path::Path;

use secrets_core::crypto::kdf::{KdfParams, Passphrase};
use secrets_core::store::{self, StoreError};
use secrets_core::vault::Vault;

use crate::context::Context;
use crate::error::{Error, Hint, Kind};
use crate::ui::{input, prompt};

/// Prints the next step at the end of a command that created the vault.
pub(crate) fn next(cx: &Context, step: impl Into<Hint>) {
    cx.ui.status(&cx.target.hint_text(Hint::from("next: ").and(step)));
    cx.ui.status(&cx.unlock_hint());
}

/// Creates a vault with a new passphrase. `create` offers this as well.
pub(crate) fn create_vault(
    cx: &Context,
    path: &Path,
    params: KdfParams,
    suggest: bool,
) -> Result<Vault, Error> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(StoreError::Exists(path.to_owned()).into());
    }

    store::check_new_vault(path)?;
    let passphrase: Passphrase = cx.credentials.new_passphrase(params, suggest)?;
    let vault = Vault::init(path, &passphrase, params)?;
    if params.cost() < Context::default_kdf().cost() {
        cx.ui.warn("these key derivation parameters make guessing cheaper than the defaults");
    }

    cx.ui.status(&format!("created the vault `{}`", path.display()));
    cx.ui.status(&cx.target.hint_text(
        "a forgotten passphrase cannot be reset; print a recovery code with \
         `secrets recovery create` and keep it safe",
    ));

    Ok(vault)
}

/// Fails if the vault does not exist and [`offer_a_vault`] cannot offer to create it. It fails
/// before anything is asked.
pub(crate) fn require_vault_unless_offered(cx: &Context) -> Result<(), Error> {
    if input::stdin_is_terminal() { Ok(()) } else { cx.require_vault() }
}

/// On a terminal, offers to create a missing vault. Returns true if it created one.
pub(crate) fn offer_a_vault(cx: &Context) -> Result<bool, Error> {
    if !input::stdin_is_terminal() || !cx.vault_is_missing()? {
        return Ok(false);
    }

    let path = cx.target.vault_path()?;
    if !prompt::confirm(&format!("There is no vault yet. Create one at {}?", path.display()), true)?
    {
        return Err(Error::new(Kind::NotFound, "there is no vault")
            .hint("create one with `secrets init`")
            .into_answer());
    }

    cx.adopt(create_vault(cx, &path, Context::default_kdf(), false)?);
    Ok(true)
}
