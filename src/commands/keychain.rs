//! `secrets keychain`: lets the desktop's keychain unlock the vault.

use secrets_core::model::SecretBytes;
use secrets_runtime::keychain;

use super::shared::vault_path::report;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets keychain add
  secrets unlock                  no question while you are logged in
  secrets keychain remove";

/// Let the desktop's keychain unlock the vault
///
/// `add` puts a random key into the keychain of this machine: GNOME Keyring, KWallet, KeePassXC or another
/// program with the Secret Service of Linux, or Keychain Services of macOS. While you are logged in,
/// `secrets unlock` and the commands that need the vault take it from there instead of asking for the
/// passphrase. So any program that runs as you can do the same. `secrets token`, `rekey`, `passwd` and other
/// commands that change keys still ask.
///
/// The key also opens copies of the vault, but it is stored only on this machine. It opens the vault without
/// the key file.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeychainArgs {
    #[command(subcommand)]
    command: KeychainCommand,
}

#[derive(clap::Subcommand)]
enum KeychainCommand {
    /// Store a new key in the keychain of this machine
    ///
    /// Asks for the passphrase, even if the vault is unlocked.
    #[command(after_help = "Example:\n  secrets keychain add")]
    Add,
    /// Remove the key from the keychain and from the vault
    ///
    /// Asks for the passphrase, even if the vault is unlocked.
    #[command(after_help = "Examples:\n  secrets keychain remove\n  secrets keychain remove --all")]
    Remove {
        /// Remove the keys of all machines from the vault
        #[arg(long)]
        all: bool,
    },
}

pub(crate) fn run(args: &KeychainArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    match args.command {
        KeychainCommand::Add => add(cx),
        KeychainCommand::Remove { all } => remove(all, cx),
    }
}

fn add(cx: &Context) -> Result<(), Error> {
    let name = cx.keychain_name()?;
    let before = cx.keychain_key()?;
    let vault = cx.unlock_with_credential()?;
    let key = vault.add_keychain()?;
    if let Err(error) = keychain::set(&name, &SecretBytes::copy_of(key.expose())) {
        // Nobody has the new key.
        vault.remove_keychains(Some(&key))?;
        return Err(error.into());
    }

    if let Some(before) = before {
        vault.remove_keychains(Some(&before))?;
    }

    cx.written(&vault, ());
    cx.ui.status("the keychain of this machine unlocks the vault now");
    report(cx)
}

fn remove(all: bool, cx: &Context) -> Result<(), Error> {
    let name = cx.keychain_name()?;
    // With `--all`, keys are removed from the vault even if the keychain cannot be reached.
    let key = if all { cx.keychain_key().ok().flatten() } else { cx.keychain_key()? };
    if key.is_none() && !all {
        return Err(Error::new(
            Kind::NotFound,
            "the keychain of this machine has no key of the vault",
        )
        .hint(
            "`secrets keychain remove --all` removes the keys of other machines from the vault",
        ));
    }

    let vault = cx.unlock_with_credential()?;
    let removed = vault.remove_keychains(key.as_ref().filter(|_| !all))?;
    cx.written(&vault, ());
    if let Err(error) = keychain::delete(&name)
        && key.is_some()
    {
        cx.ui.warn(&format!("the key is still in the keychain ({error}), but opens nothing"));
    }

    cx.ui.status(&match removed {
        0 => "the vault had no key of a keychain".to_owned(),
        number => format!("removed {} from the vault", counted(number as u64, "keychain key")),
    });
    report(cx)
}
