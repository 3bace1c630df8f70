//! The result of commands that change a vault and have nothing else to report.

use crate::context::Context;
use crate::error::Error;
use crate::output::VaultPath;

/// With `--json`, prints the path of the vault.
pub(crate) fn report(cx: &Context) -> Result<(), Error> {
    cx.ui.document(|| Ok(VaultPath { vault: cx.target.vault_path()?.display().to_string() }))
}
