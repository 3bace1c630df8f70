//! `secrets salvage`: saves what can be read of a damaged vault into a new one.

use std::path::{Path, PathBuf};

use secrets_core::crypto::kdf::KdfParams;
use secrets_core::store::{self, IfExists, StoreError};
use secrets_core::vault::{SalvageOutcome, VaultError};

use super::shared::no_space::no_space;
use crate::context::Context;
use crate::error::{Error, Kind, findings, hint};
use crate::output::Salvaged;
use crate::ui::counted;

const EXAMPLES: &str = "\
Examples:
  secrets salvage rescued.db
  secrets --vault rescued.db list --all-projects
  secrets restore rescued.db       replace the damaged vault with it";

/// Save what can be read of a damaged vault into a new one
///
/// The new vault has the same passphrase unless you provide another one. Ids and times of secrets
/// are kept. Secrets that cannot be decrypted are skipped and reported (exit 6). A secret that
/// decrypts but cannot be verified to be the latest version is saved and listed. The damaged vault
/// is not changed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SalvageArgs {
    /// Create the new vault at OUT, which must not exist
    #[arg(value_name = "OUT", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// Read the new vault's passphrase from a file; with --recovery, asks for one if this is not
    /// given
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    new_passphrase_file: Option<PathBuf>,
}

/// The maximum number of findings that are listed.
const SHOWN: usize = 20;

pub(crate) fn run(args: &SalvageArgs, cx: &Context) -> Result<(), Error> {
    store::check_new(&args.out, IfExists::Refused)
        .map_err(|error| out_error(error.into(), &args.out))?;
    let file = args.new_passphrase_file.as_deref();
    let (vault, passphrase) = if cx.credentials.is_recovering() || file.is_some() {
        cx.credentials.check_new_passphrase_source(file, "--new-passphrase-file")?;

        // The cost stored in a damaged vault is not verified, but only the strength estimate
        // depends on it.
        let params = cx.locked()?.kdf_params().unwrap_or(KdfParams::SMALL);
        let vault = cx.unlock_with_credential()?;
        let passphrase = cx.credentials.chosen_passphrase(file, params)?;
        (vault, passphrase)
    } else {
        cx.unlock_by_passphrase()?
    };

    let progress = cx.ui.progress("secrets read");
    let salvaged = vault.salvage(&args.out, &passphrase, &|number| progress.on_progress(number));
    let salvaged = salvaged.map_err(|error| out_error(error, &args.out))?;
    drop(progress);

    let SalvageOutcome { report, unproven, .. } = &salvaged;
    let out = args.out.display().to_string();
    for (project, tag) in unproven.iter().take(SHOWN) {
        cx.ui.warn(&format!(
            "`{tag}` of project `{project}` is genuine, but may not be the latest version"
        ));
    }

    if unproven.len() > SHOWN {
        cx.ui.warn(&format!("{} more may not be the latest version", unproven.len() - SHOWN));
    }

    cx.ui.document(|| Ok(Salvaged::of(&salvaged, out.clone())))?;
    show_next_step(&out, &salvaged, vault.is_remote(), cx);
    if report.damage.is_empty() && report.divergence.is_none() {
        return Ok(());
    }

    let left: u64 = report.projects.iter().map(|project| project.secrets - project.readable).sum();
    let lost = match left {
        0 if report.damage.is_empty() => None,
        0 => Some("the vault is damaged, but every secret that was found could be read".to_owned()),
        _ => Some(format!("{} could not be read", counted(left, "secret"))),
    };

    let mut notes = findings(report);
    let message = match (&report.divergence, lost) {
        (None, lost) => lost.unwrap_or_default(),
        (Some(divergence), lost) => {
            let error = Error::from(divergence.clone());
            notes.splice(0..0, error.notes().iter().cloned().chain(lost));
            divergence.to_string()
        }
    };

    Err(Error::new(Kind::Damaged, message)
        .with_notes(notes)
        .hint(format!("use `{out}`, which contains what could be read")))
}

fn out_error(error: VaultError, out: &Path) -> Error {
    match error {
        VaultError::Store(StoreError::Full) => no_space(out),
        VaultError::Store(StoreError::Exists(_)) => {
            Error::new(Kind::Conflict, error.to_string()).hint("choose a file that does not exist")
        }
        other => other.into(),
    }
}

/// Shows how to continue with the saved vault.
fn show_next_step(out: &str, salvaged: &SalvageOutcome, is_remote: bool, cx: &Context) {
    cx.ui.status(&format!("saved {} into `{out}`", counted(salvaged.saved, "secret")));
    let kept =
        if salvaged.report.damage.is_empty() { "" } else { ", which keeps the damaged file" };
    if is_remote {
        cx.ui.status(&format!(
            "the server was not changed; to use the saved vault, name it with `--vault`, or move it to \
             an empty database with `secrets --vault {} remote push URL`",
            store::quoted(Path::new(out))
        ));
    } else {
        cx.ui.status(&cx.target.hint_text(hint!(
            "to use it as the vault, run `secrets restore {}`{}",
            out,
            kept
        )));
    }

    if salvaged.report.recovery {
        cx.ui.status(&cx.target.hint_text(
            "it has no recovery code; after restoring it, create one with `secrets recovery create`",
        ));
    }
}
