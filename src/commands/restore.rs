//! `secrets restore`: replaces the vault with a backup. Only this command can accept a rollback or
//! a fork.

use std::path::{Path, PathBuf};

use secrets_core::store::{self, StoreError};
use secrets_core::vault::{
    Difference, Locked, Restore, RestoreEvent, RestoreObserver, RestoreOutcome, RestorePlan,
    RestoreTarget, RestoreWork, Vault, VaultError,
};
use secrets_files::FileId;

use super::shared::confirm::{require_confirmation, require_terminal};
use crate::context::Context;
use crate::error::{Error, Hint, Kind, hint};
use crate::output::{Restored, VaultContent};
use crate::ui::{counted, listed, prompt};

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
///
/// If the backup is an earlier state of the current vault, the restored secrets get new keys, the
/// audit log keeps what happened since, and tokens stay as they are now. Otherwise tokens that the
/// current vault does not have are revoked.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// Restore this backup
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath, required_unless_present = "accept")]
    path: Option<PathBuf>,
    /// Accept the vault file as it is, although it differs from its checkpoint
    #[arg(long, conflicts_with_all = ["path", "dry_run"])]
    accept: bool,
    /// Keep the backup's tokens that the current vault does not have
    #[arg(long, conflicts_with = "accept")]
    with_tokens: bool,
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

fn restore(args: &RestoreArgs, path: &Path, cx: &Context) -> Result<(), Error> {
    if cx.locked().is_ok_and(|locked| locked.is_remote()) {
        return Err(Error::usage("the vault is on a server, where a backup does not replace it")
            .hint("if the server has lost changes, put them back with `secrets remote repair`")
            .hint(format!(
                "or move the backup to an empty database with `secrets --vault {} remote push URL`",
                store::quoted(path)
            )));
    }

    let backup = open_backup(path)?;
    let place = cx.target.vault_path()?;
    if FileId::at(path) == FileId::at(&place) {
        return Err(Error::usage("that is the vault itself")
            .hint("to accept it as it is, run `secrets restore --accept`"));
    }

    if !args.yes && !args.dry_run {
        require_terminal(WHAT)?;
    }

    let target = RestoreTarget { path: place.clone(), checkpoints: cx.checkpoint_directory() };
    if !args.dry_run {
        target.check()?;
    }

    let observer = Observer(cx);
    let restore = Restore::new(backup, target, &observer)?;
    let keys = cx
        .credentials
        .by_credential(path, |by| restore.root_keys(by))
        .map_err(|error| damaged_backup(error, path))?;
    let plan = restore.plan(keys).map_err(|error| unusable_backup(error, path))?;

    show(&plan, cx);
    if args.dry_run {
        return cx.ui.document(|| Ok(Restored::of(plan.difference(), plan.is_compared())));
    }

    if !args.yes {
        require_confirmation(&format!("Replace `{}` with `{}`?", place.display(), path.display()))?;
    }

    let is_compared = plan.is_compared();
    let outputs = plan.current().map(|vault| cx.intact_outputs(vault)).transpose()?.flatten();
    let RestoreOutcome { difference, output_keys } = plan.carry_out(args.with_tokens)?;
    if let Some(outputs) = outputs {
        outputs.renew(&output_keys);
    }

    cx.ui.status(&format!("restored `{}`", place.display()));
    cx.ui.document(|| Ok(Restored::of(&difference, is_compared)))
}

fn open_backup(path: &Path) -> Result<Locked, Error> {
    Locked::open(path).map_err(|error| {
        let kind = match &error {
            VaultError::Store(StoreError::Missing(_)) => Kind::NotFound,
            VaultError::Store(StoreError::NotAVault(_)) => Kind::Damaged,
            _ => return error.into(),
        };

        Error::new(kind, error.to_string()).hint("choose a copy that `secrets backup` created")
    })
}

/// Replaces the hints of an error that a damaged backup caused. Damage of the current file is no
/// error.
fn damaged_backup(error: Error, path: &Path) -> Error {
    match error.kind() {
        Kind::Damaged => error.with_only_hint(hint!(
            "run `secrets --vault {} verify` for details about the backup; nothing was changed",
            path.display()
        )),
        _ => error,
    }
}

/// Replaces the hints of an error about a backup with damaged records.
fn unusable_backup(error: VaultError, path: &Path) -> Error {
    match error {
        VaultError::DamagedVault(_) => Error::from(error).with_only_hint(hint!(
            "save what can be read of it with `secrets --vault {} salvage OUT`; the backup was \
             not used",
            path.display()
        )),
        error => error.into(),
    }
}

/// Shows what a restore finds and does.
struct Observer<'a>(&'a Context);

impl RestoreObserver for Observer<'_> {
    fn on_event(&self, event: RestoreEvent) {
        let Self(cx) = self;
        match event {
            RestoreEvent::OtherVault => cx.ui.warn(
                "the backup is a different vault from the current one, for example one created by \
                 `salvage`",
            ),
            RestoreEvent::OldKeys => {
                let what =
                    "the backup was made before `secrets rekey` and brings the old keys back; ";
                let hint = Hint::text(what).and("run `secrets rekey` after restoring it");
                cx.ui.warn(&cx.target.hint_text(hint));
            }
            RestoreEvent::OldCredentials => cx.ui.warn(
                "the passphrase or the recovery code was changed after the backup was made; the \
                 old ones will work again",
            ),
            RestoreEvent::NotCompared => cx.ui.warn(
                "the current file is damaged or has another passphrase, so it was not compared; it \
                 will be kept under another name",
            ),
            RestoreEvent::Kept(name) => {
                cx.ui.warn(&format!("the old file was renamed to `{}`", name.display()));
            }
            // The agent has its own checkpoint.
            RestoreEvent::Revoked(names) => {
                cx.ui.status(&format!(
                    "left out tokens of the backup that the current vault does not have: {}",
                    listed(names)
                ));
            }
            RestoreEvent::RemovedTokens(names) => cx.ui.status(&format!(
                "removed tokens of projects that the backup does not have: {}",
                listed(names)
            )),
            RestoreEvent::LessRestricted(secrets) => {
                let names = secrets.iter().map(|it| format!("{}/{}", it.project, it.metadata.tag));
                cx.ui.warn(&cx.target.hint_text(Hint::text(format!(
                    "these secrets were made restricted after the backup and will be team secrets: \
                     {}; ",
                    listed(names)
                )).and("make them restricted again with `secrets access TAG --restricted`")));
            }
            RestoreEvent::Replaced => cx.agents.forget_vault(),
        }
    }

    fn begin(&self, work: RestoreWork) -> Box<dyn Fn(u64) + '_> {
        let progress = self.0.ui.progress(match work {
            RestoreWork::Compare => "secrets compared",
            RestoreWork::Verify => "secrets checked",
        });

        Box::new(move |number| progress.on_progress(number))
    }
}

/// The maximum number of lines that are shown for a difference.
const SHOWN: usize = 50;

fn show(plan: &RestorePlan<'_>, cx: &Context) {
    let Difference { added, removed, changed } = plan.difference();
    if !plan.is_compared() {
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
        cx.agents.forget_vault();
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
    cx.agents.forget_vault();
    cx.ui.status(&format!(
        "accepted `{}` as it is: {}",
        cx.target.vault_path()?.display(),
        counted(secrets_of(&vault)?, "secret")
    ));

    accepted(&vault, cx)
}

fn accepted(vault: &Vault, cx: &Context) -> Result<(), Error> {
    cx.ui.document(|| {
        let vault_path = cx.target.vault_path()?.display().to_string();
        Ok(VaultContent { secrets: secrets_of(vault)?, vault: vault_path })
    })
}

fn secrets_of(vault: &Vault) -> Result<u64, Error> {
    Ok(vault.projects()?.iter().map(|(_, count)| count).sum())
}
