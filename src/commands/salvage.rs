//! `secrets salvage`: what can be read of a damaged vault, in a new one.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::backup::no_space;
use super::verify;
use crate::context::Context;
use crate::crypto::kdf::KdfParams;
use crate::error::{Error, Kind, findings};
use crate::store::{self, IfExists, StoreError};
use crate::ui::counted;
use crate::vault::{SalvageOutcome, VaultError};

const EXAMPLES: &str = "\
Examples:
  secrets salvage rescued.db
  secrets --vault rescued.db list --all-projects
  secrets restore rescued.db       to go on with it";

/// Save what can be read of a damaged vault into a new one
///
/// The new vault opens with the same passphrase, unless another one is named; ids of secrets and times stay. What does not open is
/// left out and told (exit 6); what opens though nothing vouches that it is the latest is taken, and named. The damaged vault stays
/// as it is.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SalvageArgs {
    /// The new vault; nothing may be there
    #[arg(value_name = "OUT", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// Read the new vault's passphrase from a file; with --recovery it is asked for where there is none
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    new_passphrase_file: Option<PathBuf>,
}

/// Findings that are listed.
const SHOWN: usize = 20;

pub(crate) fn run(args: &SalvageArgs, cx: &Context) -> Result<(), Error> {
    store::check_new(&args.out, IfExists::Refused)
        .map_err(|error| refused(error.into(), &args.out))?;
    let file = args.new_passphrase_file.as_deref();
    let (vault, passphrase) = if cx.is_recovering() || file.is_some() {
        cx.needs_new_passphrase(file, "--new-passphrase-file")?;

        // A damaged vault's cost is not verified; only the estimate depends on it.
        let params = cx.locked()?.kdf_params().unwrap_or(KdfParams::SMALL);
        let vault = cx.unlock_anew()?;
        let passphrase = cx.chosen_passphrase(file, params)?;
        (vault, passphrase)
    } else {
        cx.unlock_by_passphrase()?
    };

    let progress = cx.ui.progress("secrets read");
    let salvaged = vault.salvage(&args.out, &passphrase, &|number| progress.on_progress(number));
    let salvaged = salvaged.map_err(|error| refused(error, &args.out))?;
    drop(progress);

    let SalvageOutcome { report, saved, unproven } = &salvaged;
    let out = args.out.display().to_string();
    for (project, tag) in unproven.iter().take(SHOWN) {
        cx.ui
            .warn(&format!("`{tag}` of project `{project}` is genuine, but may be an earlier one"));
    }

    if unproven.len() > SHOWN {
        cx.ui.warn(&format!("and {} more may be earlier ones", unproven.len() - SHOWN));
    }

    if cx.ui.is_json() {
        let unproven = unproven
            .iter()
            .map(|(project, tag)| json!({ "project": project.as_str(), "tag": tag.as_str() }));
        let unproven: Vec<_> = unproven.collect();

        cx.ui.json(&json!({ "vault": out, "saved": saved, "unproven": unproven, "damage": verify::damage(report) }))?;
    }

    told_of_what_is_next(&out, &salvaged, cx);
    if report.damage.is_empty() && report.divergence.is_none() {
        return Ok(());
    }

    let left: u64 = report.projects.iter().map(|project| project.secrets - project.readable).sum();
    let lost = match left {
        0 if report.damage.is_empty() => None,
        0 => Some(
            "something is damaged, though every secret that was found could be read".to_owned(),
        ),
        _ => Some(format!("{} could not be read", counted(left, "secret"))),
    };

    let mut notes = findings(report);
    let message = match (&report.divergence, lost) {
        (None, lost) => lost.unwrap_or_default(),
        (Some(divergence), lost) => {
            let told = Error::from(divergence.clone());
            notes.splice(0..0, told.notes().iter().cloned().chain(lost));
            divergence.to_string()
        }
    };

    Err(Error::new(Kind::Damaged, message)
        .with_notes(notes)
        .hint(format!("what could be read is in `{out}`")))
}

fn refused(error: VaultError, out: &Path) -> Error {
    match error {
        VaultError::Store(StoreError::Full) => no_space(out),
        VaultError::Store(StoreError::Exists(_)) => {
            Error::new(Kind::Conflict, error.to_string()).hint("name a file that is not there")
        }
        other => other.into(),
    }
}

/// How to go on with what was saved.
fn told_of_what_is_next(out: &str, salvaged: &SalvageOutcome, cx: &Context) {
    cx.ui.status(&format!("saved {} into `{out}`", counted(salvaged.saved, "secret")));
    let restore = cx.again(&format!("restore {}", store::quoted(Path::new(out))));
    let kept =
        if salvaged.report.damage.is_empty() { "" } else { ", which keeps the damaged one beside" };
    cx.ui.status(&format!("to go on with it: {restore}{kept}"));

    if salvaged.report.recovery {
        let create = cx.again("recovery create");
        cx.ui.status(&format!("it has no recovery code; once it is restored, {create} makes one"));
    }
}
