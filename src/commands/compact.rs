//! `secrets compact`: overwrites what deleted and changed secrets have left behind in the vault's file.

use serde_json::json;

use crate::context::Context;
use crate::error::Error;

const EXAMPLES: &str = "\
Example:
  secrets compact";

/// Overwrite deleted bytes in the vault's file
///
/// Small vaults are compacted after every delete and update; a large one says when it is due. What is overwritten was
/// encrypted. Needs no passphrase.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompactArgs {}

pub(crate) fn run(_: &CompactArgs, cx: &Context) -> Result<(), Error> {
    cx.locked()?.compact()?;
    cx.ui.status("compacted the vault");
    if cx.ui.is_json() {
        Ok(cx.ui.json(&json!({ "vault": cx.vault_path()?.display().to_string() }))?)
    } else {
        Ok(())
    }
}
