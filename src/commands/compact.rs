//! `secrets compact`: overwrites the remains of deleted and changed secrets in the vault's file.

use super::shared::vault_path::report;
use crate::context::Context;
use crate::error::Error;

const EXAMPLES: &str = "\
Example:
  secrets compact";

/// Overwrite deleted bytes in the vault's file
///
/// Small vaults are compacted after every delete and update. A large vault prints a notice when
/// compaction is due. The overwritten bytes are encrypted data. Needs no passphrase.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompactArgs {}

pub(crate) fn run(_: &CompactArgs, cx: &Context) -> Result<(), Error> {
    cx.locked()?.compact()?;
    cx.ui.status("compacted the vault");
    report(cx)
}
