//! `secrets restore`: puts a backup into the vault's place; the only way past what was last seen of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::delete::{confirmed, needs_terminal};
use crate::context::Context;
use crate::crypto::keys::RootKey;
use crate::error::{Error, Kind};
use crate::model::Secret;
use crate::store::{self, JOURNALS, StoreError};
use crate::ui::{SecretsJson, counted, prompt};
use crate::vault::{Difference, Locked, Shape, Vault, VaultError};

const EXAMPLES: &str = "\
Examples:
  secrets restore /mnt/usb/vault.db --dry-run        what would come, go and change
  secrets restore /mnt/usb/vault.db
  secrets restore --accept                           the vault was put back by other means, and is to stay so";

/// Put a backup into the vault's place
///
/// The backup is checked to the last seal; what it would add, remove and change is shown, and asked about (without a terminal
/// --yes is needed). It is one change: the vault is the old one or the restored one. It opens with the passphrase that it had then.
/// A vault that is no vault any more is kept beside, under another name.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath, required_unless_present = "accept")]
    path: Option<PathBuf>,
    /// Take the vault as it lies there, though it is not what was last seen
    #[arg(long, conflicts_with_all = ["path", "dry_run"])]
    accept: bool,
    /// Show the difference and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &RestoreArgs, cx: &Context) -> Result<(), Error> {
    if !args.yes && !args.dry_run {
        needs_terminal("restoring")?;
    }
    match &args.path {
        Some(path) => restore(args, path, cx),
        None => accept(args.yes, cx),
    }
}

/// What lies at the vault's place.
enum Present {
    Nothing,
    /// Something that cannot be opened as a vault
    Wreck,
    /// A vault
    Vault(Locked),
}

fn restore(args: &RestoreArgs, path: &Path, cx: &Context) -> Result<(), Error> {
    let backup = Locked::open(path).map_err(|error| match error {
        VaultError::Store(StoreError::Missing(_)) => {
            Error::new(Kind::NotFound, error.to_string()).hint("name a copy that `secrets backup` made")
        }
        other => other.into(),
    })?;
    let place = cx.vault_path()?;
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    if identity(path) == identity(&place) {
        return Err(
            Error::usage("that is the vault itself").hint("to take it as it lies there: `secrets restore --accept`")
        );
    }
    let present = match Locked::open(&place) {
        Ok(present) => Present::Vault(present),
        Err(VaultError::Store(StoreError::Missing(_))) => Present::Nothing,
        Err(VaultError::Store(StoreError::NotAVault(_) | StoreError::Damaged(_))) => Present::Wreck,
        Err(error) => return Err(error.into()),
    };
    let root = root_of(&backup, &present, path, cx)?;
    // Nothing goes that was not shown to go.
    let seen = if let Present::Vault(present) = &present { present.shape().ok() } else { None };
    let now = match present_secrets(&present, &root, &place)? {
        Some(secrets) => secrets,
        None => {
            cx.ui.warn(match &present {
                Present::Wreck => "what is there now is no vault any more, so it cannot be compared; it is kept beside",
                _ => "what is there now does not open with the same keys, so it cannot be compared: all of it goes",
            });
            Vec::new()
        }
    };
    let backup = backup.unlocked(root);
    let progress = cx.ui.progress("secrets checked");
    let report = backup.verify(&|number| progress.reached(number))?;
    drop(progress);
    if !report.damage.is_empty() {
        return Err(Error::from(VaultError::NotWhole(Box::new(report))).hint("the backup was not used"));
    }
    let difference = Difference::between(&now, backup.everything()?);
    show(&difference, cx);
    if args.dry_run {
        return told(&difference, cx);
    }
    if !args.yes {
        confirmed(&format!("Put `{}` into the place of `{}`?", path.display(), place.display()))?;
    }
    // Or the vault would be put back, and refused from then on.
    if let Some(anchors) = cx.anchors()? {
        anchors.can_be_replaced()?;
    }
    put(&backup, present, seen.as_ref(), &place, cx)?;
    // It is older than what was seen, on purpose. The agent has another memory of that.
    cx.forget_in_agent();
    backup.accepted_at(cx.anchors()?)?;
    cx.ui.status(&format!("restored `{}`; it opens with the passphrase that it had then", place.display()));
    told(&difference, cx)
}

/// The root key of the backup: by what opens the backup, or by what opens the present vault, where they have the same.
fn root_of(backup: &Locked, present: &Present, path: &Path, cx: &Context) -> Result<RootKey, Error> {
    let locked = [Some(backup), if let Present::Vault(present) = present { Some(present) } else { None }];
    let root = cx.root_key_of_any(&locked.into_iter().flatten().collect::<Vec<_>>(), path)?;
    if backup.opens_with(&root)? {
        return Ok(root);
    }
    Err(Error::new(Kind::Locked, "the backup has other keys than the vault: it takes the passphrase of its time"))
}

/// The present vault's secrets; `None` where it opens with other keys.
fn present_secrets(present: &Present, root: &RootKey, place: &Path) -> Result<Option<Vec<Secret>>, Error> {
    match present {
        Present::Nothing => Ok(Some(Vec::new())),
        Present::Vault(vault) if vault.opens_with(root).unwrap_or(false) => {
            let copy = RootKey::from_bytes(root.expose())?;
            let secrets = Locked::open(place)?.unlocked(copy).everything();
            Ok(secrets.ok())
        }
        Present::Wreck | Present::Vault(_) => Ok(None),
    }
}

/// Puts the backup into its place; what cannot be written over is kept under another name.
fn put(backup: &Vault, present: Present, seen: Option<&Shape>, place: &Path, cx: &Context) -> Result<(), Error> {
    match present {
        Present::Vault(vault) => match backup.restore_into(&vault, seen) {
            Err(VaultError::Store(StoreError::Damaged(_))) => {}
            done => return Ok(done?),
        },
        Present::Wreck | Present::Nothing => {}
    }
    for aside in set_aside(place)? {
        cx.ui.warn(&format!("what lay there is now `{}`", aside.display()));
    }
    Ok(backup.backup(place, false, &|_| {}).map(|_| ())?)
}

/// Gives what is no vault any more, and a journal that would be played into what comes, another name, which nothing has.
fn set_aside(place: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_free = |number: &u32| {
        let aside = store::beside(place, &format!(".damaged-{number}"));
        std::iter::once("").chain(JOURNALS).all(|end| fs::symlink_metadata(store::beside(&aside, end)).is_err())
    };
    let number = (1..u32::MAX).find(is_free).unwrap_or(u32::MAX);
    let mut names = Vec::new();
    for end in std::iter::once("").chain(JOURNALS) {
        let from = store::beside(place, end);
        let aside = store::beside(place, &format!(".damaged-{number}{end}"));
        match store::rename_new(&from, &aside) {
            Ok(()) => names.push(aside),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Io { action: "rename", path: from, source }.into()),
        }
    }
    Ok(names)
}

/// Lines that are shown of a difference.
const SHOWN: usize = 50;

fn show(difference: &Difference, cx: &Context) {
    let Difference { added, removed, changed } = difference;
    let lines = [("+", added), ("-", removed), ("~", changed)].into_iter().flat_map(|(sign, secrets)| {
        secrets.iter().map(move |secret| format!("{sign} {}/{}", secret.project, secret.metadata.tag))
    });
    let count = added.len() + removed.len() + changed.len();
    for line in lines.take(SHOWN) {
        cx.ui.status(&line);
    }
    if count > SHOWN {
        cx.ui.status(&format!("and {} more", count - SHOWN));
    }
    cx.ui.status(&match count {
        0 => "the backup holds what the vault holds".into(),
        _ => format!("{} added, {} removed, {} changed", added.len(), removed.len(), changed.len()),
    });
}

fn told(difference: &Difference, cx: &Context) -> Result<(), Error> {
    if !cx.ui.is_json() {
        return Ok(());
    }
    let secrets = |secrets: &[Secret]| json!(SecretsJson::of(secrets))["secrets"].take();
    let Difference { added, removed, changed } = difference;
    let document = json!({ "added": secrets(added), "removed": secrets(removed), "changed": secrets(changed) });
    Ok(cx.ui.json(&document)?)
}

fn accept(yes: bool, cx: &Context) -> Result<(), Error> {
    let vault = cx.unlock_anew()?;
    let report = vault.verify(&|_| {})?;
    if !report.damage.is_empty() {
        return Err(VaultError::NotWhole(Box::new(report)).into());
    }
    let Some(departure) = report.departure else {
        cx.ui.status("the vault is what was last seen here, or follows on it");
        return Ok(());
    };
    if !yes {
        let told = Error::from(VaultError::from(departure));
        cx.ui.warn(told.message());
        told.notes().iter().for_each(|note| cx.ui.status(note));
        if !prompt::confirm_by_word("What was stored since is lost. To take it as it is, type", "accept")? {
            return Err(Error::new(Kind::Refused, "nothing was changed"));
        }
    }
    vault.accept()?;
    cx.forget_in_agent();
    cx.ui.status(&format!(
        "took `{}` as it is: {}",
        cx.vault_path()?.display(),
        counted(secrets_of(&vault)?, "secret")
    ));
    Ok(())
}

fn secrets_of(vault: &Vault) -> Result<u64, Error> {
    Ok(vault.projects()?.iter().map(|(_, count)| count).sum())
}
