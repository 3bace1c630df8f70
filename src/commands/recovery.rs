//! `secrets recovery`: a second way into the vault, on paper.

use serde_json::json;

use super::delete::{confirmed, needs_terminal};
use crate::context::Context;
use crate::crypto::CryptoError;
use crate::crypto::recovery::RecoveryCode;
use crate::error::{Error, Kind};

const EXAMPLES: &str = "\
Examples:
  secrets recovery create
  secrets recovery create --replace
  secrets passwd --recovery                 a new passphrase, by the code
  secrets unlock --recovery
  secrets recovery delete";

/// Make or remove a recovery code
///
/// A recovery code opens the vault as the passphrase does: 256 random bits, shown once, to be kept on paper. With --recovery it
/// is asked for in place of the passphrase.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RecoveryArgs {
    #[command(subcommand)]
    command: RecoveryCommand,
}

#[derive(clap::Subcommand)]
enum RecoveryCommand {
    /// Make a recovery code and print it, once
    ///
    /// Asks for the passphrase, also while the vault is unlocked. The code is all that is printed on stdout: 14 groups of four
    /// characters, the last of them a checksum. Blanks, hyphens and case do not matter when it is typed.
    #[command(
        after_help = "Examples:\n  secrets recovery create\n  secrets recovery create --replace | lpr"
    )]
    Create {
        /// Make another one where there is one, which then opens nothing
        #[arg(long)]
        replace: bool,
    },
    /// Delete the recovery code: it opens nothing from then on
    #[command(after_help = "Example:\n  secrets recovery delete --yes")]
    Delete {
        /// Do not ask
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
    let taken = || {
        Error::new(Kind::Conflict, "the vault has a recovery code already")
            .hint("`--replace` makes another one; the old one then opens nothing")
    };

    // Before a passphrase is asked for; what is verified counts.
    if !replace && cx.locked()?.has_recovery()? {
        return Err(taken());
    }

    let vault = cx.unlock_anew()?;
    if !replace && vault.has_recovery()? {
        return Err(taken());
    }

    show(&cx.written(vault.create_recovery()?), &[], cx)
}

/// Prints a code that the vault opens with from now on; as JSON, behind `members`.
pub(super) fn show(
    code: &RecoveryCode,
    members: &[(&str, u64)],
    cx: &Context,
) -> Result<(), Error> {
    cx.ui.code(&code.text(), members).map_err(|why| {
        // A closed pipe is no quiet success here: nobody has the code.
        Error::new(
            Kind::Failure,
            format!("the vault has a new recovery code, which could not be shown: {why}"),
        )
        .hint("make another one with `secrets recovery create --replace`")
    })?;

    cx.ui.status("write this recovery code down: it opens the vault as the passphrase does, and is not shown again");
    Ok(())
}

fn delete(yes: bool, cx: &Context) -> Result<(), Error> {
    if !cx.locked()?.has_recovery()? {
        return Err(CryptoError::NoRecoveryCode.into());
    }

    if !yes {
        needs_terminal("deleting the recovery code")?;
    }

    let vault = cx.unlock_anew()?;
    if !yes {
        confirmed("Delete the recovery code? It opens nothing from then on.")?;
    }

    cx.written(vault.delete_recovery()?);
    cx.ui.status("deleted the recovery code");
    if cx.ui.is_json() {
        Ok(cx.ui.json(&json!({ "vault": cx.vault_path()?.display().to_string() }))?)
    } else {
        Ok(())
    }
}
