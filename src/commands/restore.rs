//! `secrets restore`: puts a backup into the vault's place; the only way past what was last seen of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::delete::{confirmed, needs_terminal};
use crate::context::Context;
use crate::crypto::keys::RootKey;
use crate::error::{Error, Kind};
use crate::model::Secret;
use crate::store::{self, JOURNALS, StoreError};
use crate::ui::{SecretsJson, counted, prompt};
use crate::vault::{Difference, Locked, StateFingerprint, Vault, VaultError};

const EXAMPLES: &str = "\
Examples:
  secrets restore /mnt/usb/vault.db --dry-run   what would come and go
  secrets restore /mnt/usb/vault.db
  secrets restore --accept                      what lies there is right";

/// Put a backup into the vault's place
///
/// The backup is checked to the last seal; what it would add, remove and change is shown, and asked about (without a terminal
/// --yes is needed). It is one change: the vault is the old one or the restored one. It opens with the passphrase that it had then.
/// What is there now and cannot be compared, as it is damaged or opens by another passphrase, is kept beside, under another name.
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
    match &args.path {
        Some(path) => restore(args, path, cx),
        None => accept(args.yes, cx),
    }
}

/// What needs a yes.
const WHAT: &str = "restoring";

/// What lies at the vault's place.
enum CurrentFile {
    Nothing,
    /// It cannot be compared, and is kept under another name: what is no vault, or one that is damaged or opens otherwise
    Kept(Option<(Locked, StateFingerprint)>),
    /// A vault, as it was when it was compared, and its secrets
    Compared(Locked, StateFingerprint, Vec<Secret>),
}

fn restore(args: &RestoreArgs, path: &Path, cx: &Context) -> Result<(), Error> {
    let backup = Locked::open(path).map_err(|error| {
        let kind = match &error {
            VaultError::Store(StoreError::Missing(_)) => Kind::NotFound,
            VaultError::Store(StoreError::NotAVault(_)) => Kind::Damaged,
            _ => return error.into(),
        };

        Error::new(kind, error.to_string()).hint("name a copy that `secrets backup` made")
    })?;

    let place = cx.vault_path()?;
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    if identity(path) == identity(&place) {
        return Err(Error::usage("that is the vault itself")
            .hint("to take it as it lies there: `secrets restore --accept`"));
    }

    if !args.yes && !args.dry_run {
        needs_terminal(WHAT)?;
    }

    if !args.dry_run {
        store::check_directory_for(&place)?;

        // Without the vault's directory nothing is remembered of it.
        if let Ok(Some(checkpoints)) = cx.checkpoints() {
            checkpoints.can_be_replaced()?;
        }
    }

    let (root, present) = opened(&backup, path, &place, cx)?;
    if let CurrentFile::Kept(_) = present {
        cx.ui.warn(
            "what is there now is damaged, or opens by another passphrase, and is not compared; it is kept beside",
        );
    }

    let backup = backup.unlocked(root);
    let progress = cx.ui.progress("secrets checked");
    let report = backup.verify(&|number| progress.on_progress(number))?;
    drop(progress);

    if !report.damage.is_empty() {
        return Err(Error::from(VaultError::NotWhole(Box::new(report))).with_only_hint(format!(
            "the backup was not used; `secrets --vault {} salvage OUT` saves what can be read of it",
            store::quoted(path)
        )));
    }

    let (now, compared) = match &present {
        CurrentFile::Nothing => (&[][..], true),
        CurrentFile::Kept(_) => (&[][..], false),
        CurrentFile::Compared(_, _, now) => (&now[..], true),
    };

    let difference = Difference::between(now, backup.everything()?);
    show(&difference, compared, cx);
    if args.dry_run {
        return told(&difference, compared, cx);
    }

    if !args.yes {
        confirmed(&format!("Put `{}` into the place of `{}`?", path.display(), place.display()))?;
    }

    store::make_directory(&place)?;

    // Or the vault would be put back, and refused from then on.
    if let Some(checkpoints) = cx.checkpoints()? {
        checkpoints.can_be_replaced()?;
    }

    put(&backup, &present, &place, cx)?;

    // It is older than what was seen, on purpose. The agent has another memory of that.
    cx.forget_in_agent();
    backup.accepted_at(cx.checkpoints()?)?;
    cx.ui.status(&format!("restored `{}`", place.display()));
    told(&difference, compared, cx)
}

/// The root key of the backup, by what is given or typed, and what it would replace.
fn opened(
    backup: &Locked,
    path: &Path,
    place: &Path,
    cx: &Context,
) -> Result<(RootKey, CurrentFile), Error> {
    let there = match Locked::open(place) {
        // The backup may be one of the copies that it keeps.
        Ok(there) => Some(there.keeping_copies()),
        Err(VaultError::Store(
            StoreError::Missing(_) | StoreError::NotAVault(_) | StoreError::Damaged(_),
        )) => None,
        Err(error) => return Err(error.into()),
    };

    let keys = cx.by_credential(path, |by| backup.root_keys(there.as_ref(), by));
    let (root, root_there) = keys.map_err(|error| match error.kind() {
        // Of what is there, damage is no error.
        Kind::Damaged => error.with_only_hint(format!(
            "nothing was changed; `secrets --vault {} verify` tells more of the backup",
            store::quoted(path)
        )),
        _ => error,
    })?;

    let Some(there) = there else {
        let is_free = fs::symlink_metadata(place).is_err();
        return Ok((root, if is_free { CurrentFile::Nothing } else { CurrentFile::Kept(None) }));
    };

    // Nothing goes that was not shown to go.
    let Ok(seen) = there.shape() else { return Ok((root, CurrentFile::Kept(None))) };
    let Some(root_there) = root_there else {
        return Ok((root, CurrentFile::Kept(Some((there, seen)))));
    };

    told_of_what_returns(backup, &there, root_there.is_same(&root), cx)?;
    Ok(match what_is_there(place, root_there, cx)? {
        Some(secrets) => (root, CurrentFile::Compared(there, seen, secrets)),
        None => (root, CurrentFile::Kept(Some((there, seen)))),
    })
}

/// Warns of ways into the vault that were closed since the backup was made, and come back with it.
fn told_of_what_returns(
    backup: &Locked,
    there: &Locked,
    is_same_root: bool,
    cx: &Context,
) -> Result<(), Error> {
    let is_earlier = backup.root_seq()? < there.root_seq()?;
    if backup.vault_id()? != there.vault_id()? {
        cx.ui.warn(
            "that is another vault than the one that is there, as one that `salvage` made is",
        );
    } else if is_earlier && !is_same_root {
        let rekey = cx.again("rekey");
        cx.ui.warn(&format!(
            "the backup is of before `secrets rekey`: its keys come back with it; then run {rekey}"
        ));
    } else if is_earlier && !backup.has_same_slots(there)? {
        cx.ui.warn(
            "the passphrase or the recovery code was changed since the backup was made; the earlier ones come back",
        );
    }

    Ok(())
}

/// The secrets of the vault that is there; `None` where it is damaged.
fn what_is_there(place: &Path, root: RootKey, cx: &Context) -> Result<Option<Vec<Secret>>, Error> {
    let vault = Locked::open(place)?.keeping_copies().unlocked(root);
    let progress = cx.ui.progress("secrets compared");
    match vault.verify(&|number| progress.on_progress(number)) {
        Ok(report) if report.damage.is_empty() => Ok(Some(vault.everything()?)),
        Ok(_) => Ok(None),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Puts the backup into its place; what was not compared is kept under another name.
fn put(backup: &Vault, present: &CurrentFile, place: &Path, cx: &Context) -> Result<(), Error> {
    let unchanged = match present {
        CurrentFile::Compared(vault, seen, _) => return Ok(backup.restore_into(vault, Some(seen))?),
        CurrentFile::Kept(Some((vault, seen))) => Some((vault, seen)),
        // A journal that would be played into what comes goes aside as well.
        CurrentFile::Nothing | CurrentFile::Kept(None) => None,
    };

    let copy = backup.copy_for(place)?;
    let asides = match unchanged {
        // A journal that is there meanwhile is that of the lock, which goes with it.
        Some((vault, seen)) => vault.while_unchanged(seen, || set_aside(place, &[""]))?,
        None => set_aside(place, &["", JOURNALS[0], JOURNALS[1]])?,
    };

    if let Err(error) = copy.settle() {
        // What was there is better than nothing.
        for (from, aside) in &asides {
            let _ = store::rename_new(aside, from);
        }

        return Err(error.into());
    }

    for (_, aside) in asides {
        cx.ui.warn(&format!("what lay there is now `{}`", aside.display()));
    }

    Ok(())
}

/// Gives what is there, by the `ends` of its name, other names, which nothing has: a journal would be played into what comes.
fn set_aside(place: &Path, ends: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let is_free = |number: &u32| {
        let aside = store::beside(place, &format!(".replaced-{number}"));
        std::iter::once("")
            .chain(JOURNALS)
            .all(|end| fs::symlink_metadata(store::beside(&aside, end)).is_err())
    };

    let number = (1..u32::MAX).find(is_free).unwrap_or(u32::MAX);
    let mut names = Vec::new();
    for end in ends {
        let from = store::beside(place, end);
        let aside = store::beside(place, &format!(".replaced-{number}{end}"));
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

/// Lines that are shown of a difference.
const SHOWN: usize = 50;

fn show(difference: &Difference, compared: bool, cx: &Context) {
    let Difference { added, removed, changed } = difference;
    if !compared {
        return cx
            .ui
            .status(&format!("the backup holds {}", counted(added.len() as u64, "secret")));
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
        0 => "the backup holds what the vault holds".into(),
        _ => format!("{} added, {} removed, {} changed", added.len(), removed.len(), changed.len()),
    });
}

fn told(difference: &Difference, compared: bool, cx: &Context) -> Result<(), Error> {
    if !cx.ui.is_json() {
        return Ok(());
    }

    let secrets = |secrets: &[Secret]| json!(SecretsJson::of(secrets))["secrets"].take();
    let Difference { added, removed, changed } = difference;
    let compared = |found: &[Secret]| if compared { secrets(found) } else { Value::Null };
    let document = json!({ "added": secrets(added), "removed": compared(removed), "changed": compared(changed) });

    Ok(cx.ui.json(&document)?)
}

fn accept(yes: bool, cx: &Context) -> Result<(), Error> {
    cx.needs_vault()?;
    if !yes {
        needs_terminal(WHAT)?;
    }

    let vault = cx.unlock_anew()?;
    let report = vault.verify(&|_| {})?;
    if !report.damage.is_empty() {
        return Err(VaultError::NotWhole(Box::new(report)).into());
    }

    let Some(divergence) = report.divergence else {
        // An agent may remember what is not remembered here.
        cx.forget_in_agent();
        cx.ui.status("the vault is what was last seen here, or follows on it");
        return accepted(&vault, cx);
    };

    if !yes {
        let told = Error::from(VaultError::from(divergence));
        cx.ui.warn(told.message());
        told.notes().iter().for_each(|note| cx.ui.status(note));

        if !prompt::confirm_by_word(
            "What only the other state had is lost with it. To take this one, type",
            "accept",
        )? {
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

    accepted(&vault, cx)
}

fn accepted(vault: &Vault, cx: &Context) -> Result<(), Error> {
    if !cx.ui.is_json() {
        return Ok(());
    }

    let path = cx.vault_path()?.display().to_string();
    Ok(cx.ui.json(&json!({ "vault": path, "secrets": secrets_of(vault)? }))?)
}

fn secrets_of(vault: &Vault) -> Result<u64, Error> {
    Ok(vault.projects()?.iter().map(|(_, count)| count).sum())
}
