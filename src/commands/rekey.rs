//! `secrets rekey`: re-encrypts everything under new keys.

use std::path::PathBuf;

use secrets_core::crypto::CryptoError;
use secrets_core::vault::RekeyOutcome;
use secrets_project::setup::output_records::IntactOutputs;

use super::shared::confirm::{require_confirmation, require_terminal, vault_to_change};
use super::shared::recovery_code;
use crate::context::Context;
use crate::error::Error;
use crate::output::Rekeyed;
use crate::ui::{counted, listed};

const EXAMPLES: &str = "\
Examples:
  secrets rekey                replace all keys of the vault
  secrets rekey --project web  replace the keys of one project
  secrets rekey -y --passphrase-file pass --recovery-file code";

/// Re-encrypt everything under new keys
///
/// Use this if somebody may have had both the vault and its passphrase, for example after a theft.
/// It creates a new root key and new keys for every project, and re-encrypts every secret. With
/// --project, it replaces only the keys of that project. It is one atomic change: if it is killed,
/// the vault is either the old one or the new one. If the vault has a recovery code, it asks for
/// the code, or replaces it and prints the new one. An agent that holds the vault's key forgets it.
/// Keys in keychains no longer open the vault: run `secrets keychain add` again on each machine.
///
/// The passphrase stays the same, unless --new-passphrase-file provides another one. If somebody
/// may know the passphrase, run `secrets passwd` first. Old copies of the vault still open with the
/// old keys: create a new backup, and change the secrets that those copies contain at the services
/// that issued them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RekeyArgs {
    /// Read the recovery code from a file, and keep that code
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    recovery_file: Option<PathBuf>,
    /// Read a new passphrase for the vault from a file
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    new_passphrase_file: Option<PathBuf>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

/// The action that needs confirmation.
const WHAT: &str = "rekeying";

pub(crate) fn run(args: &RekeyArgs, cx: &Context) -> Result<(), Error> {
    let (rekeyed, needs_joining) = match cx.target.project_option() {
        Some(_) if args.recovery_file.is_some() || args.new_passphrase_file.is_some() => {
            return Err(Error::usage(
                "`--recovery-file` and `--new-passphrase-file` cannot be used with `--project`",
            )
            .hint(
                "remove these options; the keys of a project do not depend on how the vault is \
                 unlocked",
            ));
        }
        Some(project) => {
            cx.require_vault()?;
            let known = vault_to_change(cx, args.yes, WHAT)?;
            known.require_project(project)?;
            if !args.yes {
                require_terminal(WHAT)?;
                require_confirmation(&format!(
                    "Re-encrypt all of project `{project}` under new keys?"
                ))?;
            }

            // New keys need the root key itself.
            let vault = cx.with_root_key()?;
            let outputs = cx.intact_outputs(&vault)?;
            let progress = cx.ui.progress("secrets re-encrypted");
            let rekeyed = cx.written(
                &vault,
                vault.rekey_project(project, &|number| progress.on_progress(number))?,
            );
            renew(outputs, &rekeyed);
            (rekeyed, false)
        }
        None => rekey_vault(args, cx)?,
    };

    let RekeyOutcome { projects, secrets, recovery, tokens, keychains, .. } = &rekeyed;
    cx.ui.status(&format!(
        "re-encrypted {} of {}",
        counted(*secrets, "secret"),
        counted(*projects, "project")
    ));

    if !tokens.is_empty() {
        cx.ui.status(&format!(
            "removed every token, because the old root key opens their keys: {}",
            listed(tokens)
        ));
    }

    if *keychains > 0 {
        cx.ui.status(
            "the vault no longer opens with a keychain; add it again with `secrets keychain add`",
        );
    }

    if needs_joining {
        cx.ui.status(&cx.target.hint_text(
            "your other machines need the new keys; join each of them again with a ticket of \
             `secrets remote ticket`",
        ));
    }

    if cx.target.project_option().is_none() {
        cx.ui.status(
            "old copies still open with the old keys; create a new backup, and change the secrets \
             that they contain",
        );

        if args.new_passphrase_file.is_none() {
            cx.ui.status(&cx.target.hint_text(
                "the passphrase is unchanged; if somebody else may know it, run `secrets passwd`",
            ));
        }
    }

    let tokens = tokens.iter().map(ToString::to_string).collect();
    let numbers = Rekeyed { projects: *projects, secrets: *secrets, tokens };
    if let Some(code) = recovery {
        cx.ui.status("the old recovery code no longer works; this is the new one");
        return recovery_code::show(code, Some(&numbers), cx);
    }

    cx.ui.document(|| Ok(numbers))
}

fn renew(outputs: Option<IntactOutputs>, rekeyed: &RekeyOutcome) {
    if let Some(outputs) = outputs {
        outputs.renew(&rekeyed.output_keys);
    }
}

/// Returns true as well if the owner's other machines have to join again.
fn rekey_vault(args: &RekeyArgs, cx: &Context) -> Result<(RekeyOutcome, bool), Error> {
    cx.credentials.refuse_recovery()?;
    cx.require_vault()?;
    if args.new_passphrase_file.is_some() {
        cx.credentials.check_new_passphrase_source(
            args.new_passphrase_file.as_deref(),
            "--new-passphrase-file",
        )?;
    }

    let given = args
        .recovery_file
        .as_deref()
        .map(|path| cx.credentials.recovery_code_of_file(path))
        .transpose()?;
    if given.is_some() && !cx.locked()?.has_recovery()? {
        return Err(CryptoError::NoRecoveryCode.into());
    }

    if !args.yes {
        require_terminal(WHAT)?;
    }

    let (vault, known) = cx.unlock_by_passphrase()?;
    let passphrase = match args.new_passphrase_file.as_deref() {
        None => known,
        file => cx.credentials.chosen_passphrase(file, vault.kdf_params()?)?,
    };

    let has_recovery = vault.has_recovery()?;
    if given.is_some() && !has_recovery {
        return Err(CryptoError::NoRecoveryCode.into());
    }

    if !args.yes {
        require_confirmation("Re-encrypt the whole vault under new keys?")?;
    }

    let code = match given {
        Some(code) => Some(code),
        None if has_recovery && !args.yes => cx.credentials.ask_for_recovery_code()?,
        None => None,
    };

    let outputs = cx.intact_outputs(&vault)?;
    let progress = cx.ui.progress("secrets re-encrypted");
    let rekeyed = cx.written(
        &vault,
        vault.rekey(&passphrase, code.as_ref(), &|number| progress.on_progress(number))?,
    );

    renew(outputs, &rekeyed);

    // The key that the agent holds no longer opens the vault.
    cx.agents.forget_vault();
    Ok((rekeyed, vault.is_remote()))
}
