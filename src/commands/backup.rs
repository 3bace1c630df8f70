//! `secrets backup`: a copy of the vault that was looked at before it has its name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::store::StoreError;
use crate::ui::counted;
use crate::vault::VaultError;

const EXAMPLES: &str = "\
Examples:
  secrets backup /mnt/usb/vault.db
  secrets backup --replace ~/backups/vault.db   a newer copy, as by cron
  secrets --vault /mnt/usb/vault.db list        a backup is a vault";

/// Copy the vault
///
/// The copy is a vault of its own that opens with the passphrase of today. It is readable by you alone from its first byte on,
/// flushed to the disk and checked to the last seal before it gets its name. Works while others use the vault.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupArgs {
    /// The copy
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    path: PathBuf,
    /// Replace an earlier copy of the same vault
    #[arg(long)]
    replace: bool,
}

pub(crate) fn run(args: &BackupArgs, cx: &Context) -> Result<(), Error> {
    let vault_path = cx.vault_path()?;

    // By another path too, as by a bind mount: a copy in the vault's place would take what others write meanwhile.
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    if args.replace
        && identity(&args.path).is_some_and(|there| identity(&vault_path) == Some(there))
    {
        return Err(Error::usage("that is the vault itself").hint("name another file"));
    }

    cx.locked()?
        .check_backup(&args.path, args.replace)
        .map_err(|error| refused(error, &args.path))?;
    let vault = cx.vault()?;
    let progress = cx.ui.progress("secrets checked");
    let copied = vault.backup(&args.path, args.replace, &|number| progress.on_progress(number));
    let secrets = copied.map_err(|error| refused(error, &args.path))?;

    drop(progress);
    let path = args.path.display().to_string();
    cx.ui.status(&format!("copied the vault with its {} to `{path}`", counted(secrets, "secret")));

    if cx.ui.is_json() {
        Ok(cx.ui.json(&json!({ "vault": path, "secrets": secrets }))?)
    } else {
        Ok(())
    }
}

/// The failure of a copy for which the file system at `path` has no room.
pub(super) fn no_space(path: &Path) -> Error {
    let what = format!("no space left on the file system of `{}`", path.display());
    Error::new(Kind::Failure, what)
        .hint("make room there, or name a file elsewhere; the vault was not changed")
}

fn refused(error: VaultError, path: &Path) -> Error {
    match error {
        VaultError::Store(StoreError::Full) => no_space(path),
        VaultError::Store(StoreError::Exists(_)) => Error::new(Kind::Conflict, error.to_string())
            .hint("`--replace` replaces an earlier copy of the same vault"),
        VaultError::Store(StoreError::NotAVault(_)) => {
            Error::from(error).with_only_hint("nothing was written; name another file")
        }
        other => other.into(),
    }
}
