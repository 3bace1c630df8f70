//! `secrets restore`: replaces the vault with a backup. Only this command can accept a rollback or
//! a fork.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::shared::confirm::{require_confirmation, require_terminal};
use crate::context::Context;
use crate::crypto::root_key::RootKey;
use crate::error::{Error, Kind};
use crate::model::Secret;
use crate::output::{Restored, VaultContent};
use crate::store::{self, JOURNALS, StoreError};
use crate::ui::{counted, prompt};
use crate::vault::{Difference, Locked, StateFingerprint, Vault, VaultError};

const EXAMPLES: &str = "\
Examples:
  secrets restore /mnt/usb/vault.db --dry-run  show what would change
  secrets restore /mnt/usb/vault.db
  secrets restore --accept                     accept the vault file";

/// Replace the vault with a backup
///
/// Verifies every record of the backup, shows what it would add, remove and change, and asks for
/// confirmation (without a terminal, --yes is required). It is one atomic change: the vault is
/// either the old one or the restored one. The restored vault opens with the passphrase it had when
/// the backup was made. If the current vault cannot be compared, because it is damaged or has
/// another passphrase, it is kept next to the restored one under another name.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// Restore this backup
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath, required_unless_present = "accept")]
    path: Option<PathBuf>,
    /// Accept the vault file as it is, although it differs from its checkpoint
    #[arg(long, conflicts_with_all = ["path", "dry_run"])]
    accept: bool,
    /// Show the difference without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &RestoreArgs, cx: &Context) -> Result<(), Error> {
    match &args.path {
        Some(path) => restore(args, path, cx),
        None => accept(args.yes, cx),
    }
}

/// The action that needs confirmation.
const WHAT: &str = "restoring";

/// The file at the vault's path.
enum CurrentFile {
    Nothing,
    /// A file that cannot be compared and is kept under another name: it is not a vault, is
    /// damaged, or has another passphrase
    Kept(Option<(Locked, StateFingerprint)>),
    /// A vault that was compared, its fingerprint at that time, and its secrets
    Compared(Locked, StateFingerprint, Vec<Secret>),
}

fn restore(args: &RestoreArgs, path: &Path, cx: &Context) -> Result<(), Error> {
    let backup = Locked::open(path).map_err(|error| {
        let kind = match &error {
            VaultError::Store(StoreError::Missing(_)) => Kind::NotFound,
            VaultError::Store(StoreError::NotAVault(_)) => Kind::Damaged,
            _ => return error.into(),
        };

        Error::new(kind, error.to_string()).hint("choose a copy that `secrets backup` created")
    })?;

    let place = cx.vault_path()?;
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    if identity(path) == identity(&place) {
        return Err(Error::usage("that is the vault itself")
            .hint("to accept it as it is, run `secrets restore --accept`"));
    }

    if !args.yes && !args.dry_run {
        require_terminal(WHAT)?;
    }

    if !args.dry_run {
        store::check_directory_for(&place)?;

        // Without the vault's directory there are no checkpoints.
        if let Ok(Some(checkpoints)) = cx.checkpoints() {
            checkpoints.check_writable()?;
        }
    }

    let (root, present) = unlock_backup(&backup, path, &place, cx)?;
    if let CurrentFile::Kept(_) = present {
        cx.ui.warn(
            "the current file is damaged or has another passphrase, so it was not compared; it \
             will be kept under another name",
        );
    }

    let backup = backup.unlocked(root);
    let progress = cx.ui.progress("secrets checked");
    let report = backup.verify(&|number| progress.on_progress(number))?;
    drop(progress);

    if !report.damage.is_empty() {
        return Err(Error::from(VaultError::DamagedVault(Box::new(report))).with_only_hint(
            format!(
                "save what can be read of it with `secrets --vault {} salvage OUT`; the backup was \
             not used",
                store::quoted(path)
            ),
        ));
    }

    let (now, compared) = match &present {
        CurrentFile::Nothing => (&[][..], true),
        CurrentFile::Kept(_) => (&[][..], false),
        CurrentFile::Compared(_, _, now) => (&now[..], true),
    };

    let difference = Difference::between(now, backup.list_all()?);
    show(&difference, compared, cx);
    if args.dry_run {
        return cx.ui.document(|| Ok(Restored::of(&difference, compared)));
    }

    if !args.yes {
        require_confirmation(&format!("Replace `{}` with `{}`?", place.display(), path.display()))?;
    }

    store::create_directory_for(&place)?;

    // If the checkpoint could not be replaced, the restored vault would be refused from then on.
    if let Some(checkpoints) = cx.checkpoints()? {
        checkpoints.check_writable()?;
    }

    replace_vault(&backup, &present, &place, cx)?;

    // The restored vault is older than its checkpoint on purpose. The agent has its own checkpoint.
    cx.forget_in_agent();
    backup.accept_at(cx.checkpoints()?)?;
    cx.ui.status(&format!("restored `{}`", place.display()));
    cx.ui.document(|| Ok(Restored::of(&difference, compared)))
}

/// Returns the root key of the backup, unlocked with the given or typed credential, and the file
/// that the backup would replace.
fn unlock_backup(
    backup: &Locked,
    path: &Path,
    place: &Path,
    cx: &Context,
) -> Result<(RootKey, CurrentFile), Error> {
    let current = match Locked::open(place) {
        // The backup may be one of the copies that the vault keeps.
        Ok(current) => Some(current.keeping_copies()),
        Err(VaultError::Store(
            StoreError::Missing(_) | StoreError::NotAVault(_) | StoreError::Damaged(_),
        )) => None,
        Err(error) => return Err(error.into()),
    };

    let keys = cx.by_credential(path, |by| backup.root_keys(current.as_ref(), by));
    let (root, current_root) = keys.map_err(|error| match error.kind() {
        // Damage of the current file is not reported here, so this is damage of the backup.
        Kind::Damaged => error.with_only_hint(format!(
            "run `secrets --vault {} verify` for details about the backup; nothing was changed",
            store::quoted(path)
        )),
        _ => error,
    })?;

    let Some(current) = current else {
        let is_free = fs::symlink_metadata(place).is_err();
        return Ok((root, if is_free { CurrentFile::Nothing } else { CurrentFile::Kept(None) }));
    };

    // Nothing is removed that was not shown to the user as removed.
    let Ok(fingerprint) = current.fingerprint() else { return Ok((root, CurrentFile::Kept(None))) };
    let Some(current_root) = current_root else {
        return Ok((root, CurrentFile::Kept(Some((current, fingerprint)))));
    };

    warn_of_old_credentials(backup, &current, current_root.is_same(&root), cx)?;
    Ok(match current_secrets(place, current_root, cx)? {
        Some(secrets) => (root, CurrentFile::Compared(current, fingerprint, secrets)),
        None => (root, CurrentFile::Kept(Some((current, fingerprint)))),
    })
}

/// Warns if the backup brings back keys, a passphrase or a recovery code that were replaced since
/// it was made.
fn warn_of_old_credentials(
    backup: &Locked,
    current: &Locked,
    is_same_root: bool,
    cx: &Context,
) -> Result<(), Error> {
    let is_earlier = backup.root_seq()? < current.root_seq()?;
    if backup.vault_id()? != current.vault_id()? {
        cx.ui.warn(
            "the backup is a different vault from the current one, for example one created by \
             `salvage`",
        );
    } else if is_earlier && !is_same_root {
        let rekey = cx.hint_command("rekey");
        cx.ui.warn(&format!(
            "the backup was made before `secrets rekey` and brings the old keys back; run {rekey} \
             after restoring it"
        ));
    } else if is_earlier && !backup.has_same_slots(current)? {
        cx.ui.warn(
            "the passphrase or the recovery code was changed after the backup was made; the old \
             ones will work again",
        );
    }

    Ok(())
}

/// Returns the secrets of the current vault, or `None` if it is damaged.
fn current_secrets(
    place: &Path,
    root: RootKey,
    cx: &Context,
) -> Result<Option<Vec<Secret>>, Error> {
    let vault = Locked::open(place)?.keeping_copies().unlocked(root);
    let progress = cx.ui.progress("secrets compared");
    match vault.verify(&|number| progress.on_progress(number)) {
        Ok(report) if report.damage.is_empty() => Ok(Some(vault.list_all()?)),
        Ok(_) => Ok(None),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Moves the backup to the vault's path. A current file that was not compared is kept under another
/// name.
fn replace_vault(
    backup: &Vault,
    present: &CurrentFile,
    place: &Path,
    cx: &Context,
) -> Result<(), Error> {
    let unchanged = match present {
        CurrentFile::Compared(vault, fingerprint, _) => {
            return Ok(backup.restore_into(vault, Some(fingerprint))?);
        }
        CurrentFile::Kept(Some((vault, fingerprint))) => Some((vault, fingerprint)),
        // A journal would be applied to the restored vault, so it is moved away as well.
        CurrentFile::Nothing | CurrentFile::Kept(None) => None,
    };

    let copy = backup.copy_for(place)?;
    let asides = match unchanged {
        // A journal that appears in the meantime belongs to the lock and is removed with it.
        Some((vault, fingerprint)) => {
            vault.while_unchanged(fingerprint, || set_aside(place, &[""]))?
        }
        None => set_aside(place, &["", JOURNALS[0], JOURNALS[1]])?,
    };

    if let Err(error) = copy.persist() {
        // The old file is better than no file.
        for (from, aside) in &asides {
            let _ = store::rename_new(aside, from);
        }

        return Err(error.into());
    }

    for (_, aside) in asides {
        cx.ui.warn(&format!("the old file was renamed to `{}`", aside.display()));
    }

    Ok(())
}

/// Renames the file at `place`, and with it the files whose names have the suffixes `ends`, to
/// unused names. A journal that stayed would be applied to the restored vault.
fn set_aside(place: &Path, ends: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let is_free = |number: &u32| {
        let aside = store::with_suffix(place, &format!(".replaced-{number}"));
        std::iter::once("")
            .chain(JOURNALS)
            .all(|end| fs::symlink_metadata(store::with_suffix(&aside, end)).is_err())
    };

    let number = (1..u32::MAX).find(is_free).unwrap_or(u32::MAX);
    let mut names = Vec::new();
    for end in ends {
        let from = store::with_suffix(place, end);
        let aside = store::with_suffix(place, &format!(".replaced-{number}{end}"));
        match store::rename_new(&from, &aside) {
            Ok(()) => names.push((from, aside)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StoreError::Io { action: "rename", path: from, source }.into());
            }
        }
    }

    Ok(names)
}

/// The maximum number of lines that are shown for a difference.
const SHOWN: usize = 50;

fn show(difference: &Difference, compared: bool, cx: &Context) {
    let Difference { added, removed, changed } = difference;
    if !compared {
        return cx
            .ui
            .status(&format!("the backup contains {}", counted(added.len() as u64, "secret")));
    }

    let lines =
        [("+", added), ("-", removed), ("~", changed)].into_iter().flat_map(|(sign, secrets)| {
            secrets
                .iter()
                .map(move |secret| format!("{sign} {}/{}", secret.project, secret.metadata.tag))
        });

    let count = added.len() + removed.len() + changed.len();
    for line in lines.take(SHOWN) {
        cx.ui.status(&line);
    }

    if count > SHOWN {
        cx.ui.status(&format!("and {} more", count - SHOWN));
    }

    cx.ui.status(&match count {
        0 => "the backup contains the same secrets as the vault".into(),
        _ => format!("{} added, {} removed, {} changed", added.len(), removed.len(), changed.len()),
    });
}

fn accept(yes: bool, cx: &Context) -> Result<(), Error> {
    cx.require_vault()?;
    if !yes {
        require_terminal(WHAT)?;
    }

    let vault = cx.unlock_with_credential()?;
    let report = vault.verify(&|_| {})?;
    if !report.damage.is_empty() {
        return Err(VaultError::DamagedVault(Box::new(report)).into());
    }

    let Some(divergence) = report.divergence else {
        // An agent may have a checkpoint that this machine's state directory does not have.
        cx.forget_in_agent();
        cx.ui.status("the vault matches its checkpoint or continues from it");
        return accepted(&vault, cx);
    };

    if !yes {
        let error = Error::from(VaultError::from(divergence));
        cx.ui.warn(error.message());
        error.notes().iter().for_each(|note| cx.ui.status(note));

        if !prompt::confirm_by_word(
            "Changes that exist only in the other state will be lost. To accept this state, type",
            "accept",
        )? {
            return Err(Error::new(Kind::Refused, "nothing was changed"));
        }
    }

    vault.accept()?;
    cx.forget_in_agent();
    cx.ui.status(&format!(
        "accepted `{}` as it is: {}",
        cx.vault_path()?.display(),
        counted(secrets_of(&vault)?, "secret")
    ));

    accepted(&vault, cx)
}

fn accepted(vault: &Vault, cx: &Context) -> Result<(), Error> {
    cx.ui.document(|| {
        let vault_path = cx.vault_path()?.display().to_string();
        Ok(VaultContent { secrets: secrets_of(vault)?, vault: vault_path })
    })
}

fn secrets_of(vault: &Vault) -> Result<u64, Error> {
    Ok(vault.projects()?.iter().map(|(_, count)| count).sum())
}
