//! `secrets recovery`: creates and deletes the recovery code, a second way to unlock the vault.

use secrets_core::crypto::CryptoError;

use super::shared::confirm::{require_confirmation, require_terminal};
use super::shared::recovery_code;
use super::shared::vault_path::report;
use crate::context::Context;
use crate::error::{Error, Kind};

const EXAMPLES: &str = "\
Examples:
  secrets recovery create
  secrets recovery create --replace
  secrets passwd --recovery  set a new passphrase, using the code
  secrets unlock --recovery
  secrets recovery delete";

/// Create or delete a recovery code
///
/// A recovery code unlocks the vault like the passphrase does. It has 256 random bits, is shown
/// once, and should be kept on paper. With --recovery a command asks for the code instead of the
/// passphrase.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RecoveryArgs {
    #[command(subcommand)]
    command: RecoveryCommand,
}

#[derive(clap::Subcommand)]
enum RecoveryCommand {
    /// Create a recovery code and print it once
    ///
    /// Asks for the passphrase, even if the vault is unlocked. Prints only the code on stdout: 14
    /// groups of four characters. The last group is a checksum. When you type it, blanks, hyphens
    /// and case do not matter.
    #[command(
        after_help = "Examples:\n  secrets recovery create\n  secrets recovery create --replace \
                      | lpr"
    )]
    Create {
        /// Replace an existing code, which then no longer works
        #[arg(long)]
        replace: bool,
    },
    /// Delete the recovery code, which then no longer works
    #[command(after_help = "Example:\n  secrets recovery delete --yes")]
    Delete {
        /// Do not ask for confirmation
        #[arg(short, long)]
        yes: bool,
    },
}

pub(crate) fn run(args: &RecoveryArgs, cx: &Context) -> Result<(), Error> {
    match args.command {
        RecoveryCommand::Create { replace } => create(replace, cx),
        RecoveryCommand::Delete { yes } => delete(yes, cx),
    }
}

fn create(replace: bool, cx: &Context) -> Result<(), Error> {
    let exists_error = || {
        Error::new(Kind::Conflict, "the vault already has a recovery code")
            .hint("use `--replace` to create another one; the old one then no longer works")
    };

    // This early check saves the user from typing a passphrase. The check below is the verified
    // one.
    if !replace && cx.locked()?.has_recovery()? {
        return Err(exists_error());
    }

    let vault = cx.unlock_with_credential()?;
    if !replace && vault.has_recovery()? {
        return Err(exists_error());
    }

    recovery_code::show(&cx.written(&vault, vault.create_recovery()?), None, cx)
}

fn delete(yes: bool, cx: &Context) -> Result<(), Error> {
    if !cx.locked()?.has_recovery()? {
        return Err(CryptoError::NoRecoveryCode.into());
    }

    if !yes {
        require_terminal("deleting the recovery code")?;
    }

    let vault = cx.unlock_with_credential()?;
    if !yes {
        require_confirmation("Delete the recovery code? It will no longer work.")?;
    }

    cx.written(&vault, vault.delete_recovery()?);
    cx.ui.status("deleted the recovery code");
    report(cx)
}
