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
/// compaction is due. The overwritten bytes are encrypted data. Needs no passphrase. If the vault is on
/// a server, it compacts the copy on this machine; the server removes deleted rows by its autovacuum.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompactArgs {}

pub(crate) fn run(_: &CompactArgs, cx: &Context) -> Result<(), Error> {
    let locked = cx.locked()?;
    locked.compact()?;
    cx.ui.status(if locked.is_remote() {
        "compacted the copy on this machine; the server removes deleted rows by its autovacuum"
    } else {
        "compacted the vault"
    });
    report(cx)
}
