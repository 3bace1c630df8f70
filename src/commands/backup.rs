//! `secrets backup`: writes a copy of the vault, which is verified before it gets its final name.

use std::path::{Path, PathBuf};

use secrets_core::store::StoreError;
use secrets_core::vault::VaultError;
use secrets_files::FileId;

use super::shared::backups;
use super::shared::no_space::no_space;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::VaultContent;
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets backup /mnt/usb/vault.db
  secrets backup --replace ~/backups/vault.db  write a newer copy
  secrets --vault /mnt/usb/vault.db list       use a backup";

/// Copy the vault
///
/// The copy is a complete vault that opens with today's passphrase. Only you can ever read the
/// file. It is flushed to the disk and every record in it is verified before it gets its final
/// name. Works while other processes use the vault.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupArgs {
    /// Write the copy to PATH
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    path: PathBuf,
    /// Replace an earlier copy of the same vault
    #[arg(long)]
    replace: bool,
}

pub(crate) fn run(args: &BackupArgs, cx: &Context) -> Result<(), Error> {
    let vault_path = cx.target.vault_path()?;

    // The identity also detects another path to the vault, such as a bind mount. A copy in the
    // place of the vault would lose what other processes write in the meantime.
    if args.replace
        && FileId::at(&args.path).is_some_and(|target| FileId::at(&vault_path) == Some(target))
    {
        return Err(Error::usage("that is the vault itself").hint("choose another file"));
    }

    cx.locked()?
        .check_backup(&args.path, args.replace)
        .map_err(|error| backup_error(error, &args.path))?;
    let vault = cx.vault()?;
    let progress = cx.ui.progress("secrets checked");
    let copied = vault.backup(&args.path, args.replace, &|number| progress.on_progress(number));
    let secrets = copied.map_err(|error| backup_error(error, &args.path))?;

    drop(progress);
    backups::record(cx, &vault.id()?);
    let path = args.path.display().to_string();
    cx.ui.status(&format!("copied the vault with its {} to `{path}`", counted(secrets, "secret")));

    cx.ui.document(|| Ok(VaultContent { secrets, vault: path }))
}

fn backup_error(error: VaultError, path: &Path) -> Error {
    match error {
        VaultError::Store(StoreError::Full) => no_space(path),
        VaultError::Store(StoreError::Exists(_)) => Error::new(Kind::Conflict, error.to_string())
            .hint("use `--replace` to replace an earlier copy of the same vault"),
        VaultError::Store(StoreError::NotAVault(_)) => {
            Error::from(error).with_only_hint("choose another file; nothing was written")
        }
        other => other.into(),
    }
}
