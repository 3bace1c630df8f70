//! `secrets rekey`: everything sealed anew under new keys.

use std::path::PathBuf;

use serde_json::json;

use super::delete::{confirmed, needs_terminal};
use super::recovery;
use crate::context::Context;
use crate::crypto::CryptoError;
use crate::error::Error;
use crate::ui::counted;
use crate::vault::Rekeyed;

const EXAMPLES: &str = "\
Examples:
  secrets rekey                            the root key and the keys of every project
  secrets rekey --project web              the keys of one project
  secrets rekey --yes --passphrase-file pass --recovery-file code
Whoever has an old copy of the vault and its passphrase has the values in it: rotate those where they come from. New keys keep
from them what is stored from now on.";

/// Seal everything anew under new keys
///
/// For when somebody may have had the vault and its passphrase: a new root key, new keys for every project, every secret sealed
/// anew. With --project, only that project's keys. It is one change: killed at any moment, the vault is the old one or the new
/// one. The passphrase stays. The recovery code, where there is one, is asked for, or a new one takes its place and is printed. An
/// agent that holds the vault forgets it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RekeyArgs {
    /// Read the recovery code, which then stays, from a file
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    recovery_file: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &RekeyArgs, cx: &Context) -> Result<(), Error> {
    if !args.yes {
        needs_terminal("sealing everything anew")?;
    }
    let rekeyed = match cx.project_option() {
        Some(_) if args.recovery_file.is_some() => {
            return Err(Error::usage("`--recovery-file` cannot be used with `--project`")
                .hint("a project's keys have nothing to do with the recovery code"));
        }
        Some(project) => {
            let vault = cx.vault()?;
            if !args.yes {
                confirmed(&format!("Seal everything of project `{project}` anew?"))?;
            }
            let progress = cx.ui.progress("secrets sealed anew");
            cx.written(vault.rekey_project(project, &|number| progress.reached(number))?)
        }
        None => whole(args, cx)?,
    };
    let Rekeyed { projects, secrets, recovery } = &rekeyed;
    cx.ui.status(&format!("sealed {} of {} anew", counted(*secrets, "secret"), counted(*projects, "project")));
    if let Some(code) = recovery {
        return recovery::show(code, &[("projects", *projects), ("secrets", *secrets)], cx);
    }
    if cx.ui.is_json() { Ok(cx.ui.json(&json!({ "projects": projects, "secrets": secrets }))?) } else { Ok(()) }
}

fn whole(args: &RekeyArgs, cx: &Context) -> Result<Rekeyed, Error> {
    if cx.is_recovering() {
        return Err(Error::usage("`--recovery` cannot be used here: the passphrase is needed")
            .hint("set one with `secrets passwd --recovery`"));
    }
    let (vault, passphrase) = cx.unlock_by_passphrase()?;
    let has_recovery = vault.has_recovery()?;
    if !args.yes {
        confirmed("Seal the whole vault anew?")?;
    }
    let code = match &args.recovery_file {
        Some(_) if !has_recovery => return Err(CryptoError::NoRecoveryCode.into()),
        Some(path) => Some(cx.recovery_code_of_file(path)?),
        None if has_recovery && !args.yes => cx.typed_recovery_code()?,
        None => None,
    };
    let progress = cx.ui.progress("secrets sealed anew");
    let rekeyed = cx.written(vault.rekey(&passphrase, code.as_ref(), &|number| progress.reached(number))?);
    // What it holds opens nothing any more.
    cx.forget_in_agent();
    Ok(rekeyed)
}
