//! `secrets rekey`: everything sealed anew under new keys.

use std::path::PathBuf;

use serde_json::json;

use super::delete::{confirmed, needs_terminal, vault_to_change};
use super::recovery;
use crate::context::Context;
use crate::crypto::CryptoError;
use crate::error::Error;
use crate::setup::output_records::IntactOutputs;
use crate::ui::counted;
use crate::vault::{RekeyOutcome, Vault};

const EXAMPLES: &str = "\
Examples:
  secrets rekey                    the root key and those of every project
  secrets rekey --project web      the keys of one project
  secrets rekey -y --passphrase-file pass --recovery-file code";

/// Seal everything anew under new keys
///
/// For when somebody may have had the vault and its passphrase, as after a theft: a new root key, new keys for every project, every
/// secret sealed anew. With --project, only that project's keys. It is one change: killed at any moment, the vault is the old one
/// or the new one. The recovery code, where there is one, is asked for, or a new one takes its place and is printed. An agent that
/// holds the vault forgets it.
///
/// The passphrase stays, unless --new-passphrase-file names another one: where somebody may know it, `secrets passwd` comes first.
/// Old copies go on opening with the old keys: make a new backup, and give the secrets that were in them new values where they
/// come from.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RekeyArgs {
    /// Read the recovery code from a file, and keep it
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    recovery_file: Option<PathBuf>,
    /// Read another passphrase, for the vault to open with from now on, from a file
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    new_passphrase_file: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What needs a yes.
const WHAT: &str = "sealing everything anew";

pub(crate) fn run(args: &RekeyArgs, cx: &Context) -> Result<(), Error> {
    let rekeyed = match cx.project_option() {
        Some(_) if args.recovery_file.is_some() || args.new_passphrase_file.is_some() => {
            return Err(Error::usage(
                "`--recovery-file` and `--new-passphrase-file` cannot be used with `--project`",
            )
            .hint("a project's keys have nothing to do with how the vault is unlocked"));
        }
        Some(project) => {
            cx.needs_vault()?;
            let vault = vault_to_change(cx, args.yes, WHAT)?;
            vault.require_project(project)?;
            if !args.yes {
                needs_terminal(WHAT)?;
                confirmed(&format!("Seal everything of project `{project}` anew?"))?;
            }

            let outputs = intact_outputs(cx, vault)?;
            let progress = cx.ui.progress("secrets sealed anew");
            let rekeyed =
                cx.written(vault.rekey_project(project, &|number| progress.on_progress(number))?);
            renew(outputs, &rekeyed);
            rekeyed
        }
        None => whole(args, cx)?,
    };

    let RekeyOutcome { projects, secrets, recovery, .. } = &rekeyed;
    cx.ui.status(&format!(
        "sealed {} of {} anew",
        counted(*secrets, "secret"),
        counted(*projects, "project")
    ));

    if cx.project_option().is_none() {
        cx.ui.status(
            "old copies open as before: make a new backup, and give what was in them new values where it comes from",
        );

        if args.new_passphrase_file.is_none() {
            let passwd = cx.again("passwd");
            cx.ui.status(&format!(
                "the passphrase is the same; if somebody else may know it: {passwd}"
            ));
        }
    }

    if let Some(code) = recovery {
        cx.ui.status("the recovery code of before opens nothing any more; this is the new one");
        return recovery::show(code, &[("projects", *projects), ("secrets", *secrets)], cx);
    }

    if cx.ui.is_json() {
        Ok(cx.ui.json(&json!({ "projects": projects, "secrets": secrets }))?)
    } else {
        Ok(())
    }
}

/// Finds the rendered files that are as they were written: they are remembered under the new keys.
fn intact_outputs(cx: &Context, vault: &Vault) -> Result<Option<IntactOutputs>, Error> {
    let Some(directory) = cx.state_directory("outputs") else { return Ok(None) };
    Ok(Some(IntactOutputs::find(&directory, &vault.output_keys()?)))
}

fn renew(outputs: Option<IntactOutputs>, rekeyed: &RekeyOutcome) {
    if let Some(outputs) = outputs {
        outputs.renew(&rekeyed.output_keys);
    }
}

fn whole(args: &RekeyArgs, cx: &Context) -> Result<RekeyOutcome, Error> {
    if cx.is_recovering() {
        return Err(Error::usage("`--recovery` cannot be used here: the passphrase is needed")
            .hint("set one with `secrets passwd --recovery`"));
    }

    cx.needs_vault()?;
    if args.new_passphrase_file.is_some() {
        cx.needs_new_passphrase(args.new_passphrase_file.as_deref(), "--new-passphrase-file")?;
    }

    let given =
        args.recovery_file.as_deref().map(|path| cx.recovery_code_of_file(path)).transpose()?;
    if given.is_some() && !cx.locked()?.has_recovery()? {
        return Err(CryptoError::NoRecoveryCode.into());
    }

    if !args.yes {
        needs_terminal(WHAT)?;
    }

    let (vault, known) = cx.unlock_by_passphrase()?;
    let passphrase = match args.new_passphrase_file.as_deref() {
        None => known,
        file => cx.chosen_passphrase(file, vault.kdf_params()?)?,
    };

    let has_recovery = vault.has_recovery()?;
    if given.is_some() && !has_recovery {
        return Err(CryptoError::NoRecoveryCode.into());
    }

    if !args.yes {
        confirmed("Seal the whole vault anew?")?;
    }

    let code = match given {
        Some(code) => Some(code),
        None if has_recovery && !args.yes => cx.typed_recovery_code()?,
        None => None,
    };

    let outputs = intact_outputs(cx, &vault)?;
    let progress = cx.ui.progress("secrets sealed anew");
    let rekeyed = cx
        .written(vault.rekey(&passphrase, code.as_ref(), &|number| progress.on_progress(number))?);

    renew(outputs, &rekeyed);

    // What it holds opens nothing any more.
    cx.forget_in_agent();
    Ok(rekeyed)
}
