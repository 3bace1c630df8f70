//! Stores several secrets at once, and reports how many.

use secrets_core::model::Tag;
use secrets_core::vault::{Action, Import, ImportOutcome, ImportResult, VaultError};
use secrets_project::import::Skipped;

use crate::context::Context;
use crate::error::{Error, Kind, hint};
use crate::ui::counted;

/// Converts an error, and adds the hint `fix` if existing secrets caused it.
pub(crate) fn conflict(error: VaultError, fix: &'static str) -> Error {
    let exists = matches!(error, VaultError::Exists(_));
    let error = Error::from(error);
    if exists { error.hint(fix) } else { error }
}

/// Stores secrets in one transaction, reads them back and reports how many there are. `fix` is the
/// hint if existing secrets are in the way.
pub(crate) fn store(
    cx: &Context,
    import: &Import<'_>,
    left_out: &[Skipped],
    fix: &'static str,
) -> Result<ImportOutcome, Error> {
    let vault = cx.vault()?;
    let progress = cx.ui.progress("secrets stored");
    let outcome = vault.import(import, &|number| progress.on_progress(number));
    drop(progress);

    let outcome = cx.written(vault, outcome.map_err(|error| conflict(error, fix))?);
    let projects = import.projects();
    if let Some(at) = vault.verify_import(import, &outcome)? {
        let message =
            format!("`{}` was not stored as it is in the file", import.secrets[at].new.tag);
        return Err(Error::new(Kind::Conflict, message)
            .hint("check the project and try again; another process is changing it"));
    }

    let count =
        |wanted: ImportResult| outcome.steps.iter().filter(|(_, step)| *step == wanted).count();
    let mut parts = Vec::new();
    for (wanted, word) in [
        (ImportResult::Action(Action::Create), "created"),
        (ImportResult::Action(Action::Overwrite), "overwritten"),
        (ImportResult::Action(Action::Skip), "skipped"),
        (ImportResult::Same, "unchanged"),
    ] {
        parts.extend(
            Some(count(wanted)).filter(|count| *count > 0).map(|count| format!("{count} {word}")),
        );
    }

    parts.extend((!left_out.is_empty()).then(|| format!("{} not imported", left_out.len())));
    let place = match projects[..] {
        [project] => format!("project `{project}`"),
        _ => counted(projects.len(), "project"),
    };

    cx.ui.status(&format!("imported into {place}: {}", parts.join(", ")));
    report_cleared(cx, &outcome.expiry_cleared);
    Ok(outcome)
}

/// Reports the secrets whose date of expiry was cleared with their old value.
fn report_cleared(cx: &Context, tags: &[Tag]) {
    let names = match tags {
        [] => return,
        [only] => format!("`{only}`"),
        [first, others @ ..] => format!("`{first}` and {}", counted(others.len(), "other secret")),
    };

    cx.ui.status(&cx.target.hint_text(hint!(
        "the expiry date of {} was cleared, because the value is new; set another one with \
         `secrets update TAG --expires 90d`",
        names
    )));
}
