//! `secrets key-file`: a second factor that the vault needs next to its passphrase.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrets_core::crypto::key_file::KeyFile;
use secrets_core::vault::Vault;
use secrets_project::template::output;

use super::shared::outputs::protected;
use super::shared::vault_path::report;
use crate::context::Context;
use crate::error::{Error, Kind};

const EXAMPLES: &str = "\
Examples:
  secrets key-file create /media/usb/vault.key
  export SECRETS_KEY_FILE=/media/usb/vault.key    then unlock as usual
  secrets key-file remove
  secrets key-file remove --recovery              if the file is lost";

/// Make the vault need a key file as well as its passphrase
///
/// A key file has 256 random bits. Somebody with a copy of the vault and the passphrase, but without
/// the file, can open and guess nothing. Keep it where the vault and its backups are not, such as on a
/// USB stick, and keep a second copy: if you lose both, you need the recovery code. Name it with
/// --key-file or SECRETS_KEY_FILE. It is needed to unlock; after that, the agent has the key.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeyFileArgs {
    #[command(subcommand)]
    command: KeyFileCommand,
}

#[derive(clap::Subcommand)]
enum KeyFileCommand {
    /// Write a new key file, which the vault then needs
    ///
    /// Asks for the passphrase, even if the vault is unlocked. The file is new and private. A vault that
    /// needs a key file already gets another one, and the old one no longer works.
    #[command(after_help = "Example:\n  secrets key-file create /media/usb/vault.key")]
    Create {
        /// Write the key to this new file
        #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
        path: PathBuf,
    },
    /// Let the passphrase open the vault alone
    ///
    /// Asks for the passphrase, and needs the key file. With --recovery it needs the recovery code
    /// instead, and asks for a new passphrase.
    #[command(
        after_help = "Examples:\n  secrets key-file remove\n  secrets key-file remove --recovery"
    )]
    Remove {
        /// Read the new passphrase from a file, `-` for stdin; only with --recovery
        #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
        new_passphrase_file: Option<PathBuf>,
    },
}

pub(crate) fn run(args: &KeyFileArgs, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    match &args.command {
        KeyFileCommand::Create { path } => create(path, cx),
        KeyFileCommand::Remove { new_passphrase_file } => {
            remove(new_passphrase_file.as_deref(), cx)
        }
    }
}

fn create(path: &Path, cx: &Context) -> Result<(), Error> {
    cx.credentials.refuse_recovery()?;
    let exists = || {
        Error::new(Kind::Conflict, format!("`{}` already exists", path.display()))
            .hint("choose another file; nothing was changed")
    };

    let file = output::open(path, None, &protected(cx))?;
    if file.exists() {
        return Err(exists());
    }

    file.check_directory()?;
    let (vault, passphrase) = cx.unlock_by_passphrase()?;
    let key = KeyFile::random()?;

    // The file is complete before the vault needs it.
    let mut staged = file.stage()?;
    staged.write_all(key.text().expose()).map_err(|source| file.failed(source))?;
    if !staged.finish()?.publish_new()? {
        return Err(exists());
    }

    let passphrase = passphrase.with_key_file(Some(Arc::new(key)));
    let changed = vault.set_key_file(&passphrase, true, vault.kdf_params()?);
    if let Err(error) = changed {
        // A failure may come after the change, so the file is removed only if the vault does not need one.
        let is_needed = cx.locked().map(|locked| locked.needs_key_file().unwrap_or(true));
        return if is_needed.unwrap_or(true) {
            let hint =
                format!("the file `{}` was kept, because the vault may need it", path.display());
            Err(Error::from(error).hint(hint))
        } else {
            let _ = std::fs::remove_file(path);
            Err(error.into())
        };
    }

    cx.written(&vault, ());
    cx.ui.status(&format!("wrote the key file `{}`", path.display()));
    cx.ui.status(&cx.target.hint_text(
        "the vault now needs it: use `--key-file PATH` or SECRETS_KEY_FILE, and keep a second copy",
    ));
    if !vault.has_recovery()? {
        cx.ui.warn("without a recovery code, losing the file loses everything: create one with `secrets recovery create`");
    }

    cx.ui.status("earlier copies of the vault open without it; create a new backup");
    report(cx)
}

fn remove(new: Option<&Path>, cx: &Context) -> Result<(), Error> {
    if new.is_some() && !cx.credentials.is_recovering() {
        return Err(Error::usage("`--new-passphrase-file` needs `--recovery`")
            .hint("the passphrase stays the same; change it with `secrets passwd`"));
    }

    let (vault, passphrase) = if cx.credentials.is_recovering() {
        cx.credentials.check_new_passphrase_source(new, "--new-passphrase-file")?;
        let vault = cx.unlock_with_credential()?;
        require_key_file(&vault)?;
        let passphrase = cx.credentials.chosen_passphrase(new, vault.kdf_params()?)?;
        (vault, passphrase)
    } else {
        let (vault, passphrase) = cx.unlock_by_passphrase()?;
        require_key_file(&vault)?;
        (vault, passphrase)
    };

    cx.written(&vault, vault.set_key_file(&passphrase, false, vault.kdf_params()?)?);
    cx.ui.status("the passphrase opens the vault without a key file now");
    report(cx)
}

/// Fails if the vault needs no key file.
fn require_key_file(vault: &Vault) -> Result<(), Error> {
    if vault.needs_key_file()? {
        return Ok(());
    }

    Err(Error::new(Kind::NotFound, "the vault needs no key file")
        .hint("create one with `secrets key-file create PATH`; nothing was changed"))
}
