//! The shared part of `template` and `adopt`: what they refuse to write into a template.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use secrets_core::model::ProjectName;
use secrets_mask::Needles;
use secrets_project::dotenv::readers::Readers;
use secrets_project::setup::meaning;
use secrets_project::setup::migration::{Migration, MigrationError, Obstacle, Problem};
use secrets_project::setup::settings::{self, Guess};

use super::conflicts::OnTakenArg;
use crate::context::{Context, Used};
use crate::error::Error;

/// Parses `--on-conflict`. It excludes `skip`, with which the output would differ from the original
/// file.
pub(crate) fn on_taken() -> impl TypedValueParser<Value = OnTakenArg> {
    let all = OnTakenArg::value_variants().iter().filter(|arg| **arg != OnTakenArg::Skip);
    let named = PossibleValuesParser::new(all.filter_map(ValueEnum::to_possible_value));
    named.try_map(|name| OnTakenArg::from_str(&name, false))
}

/// Returns the needles for text that goes into a template: the values of a project, if the vault
/// can be opened without a prompt.
pub(crate) fn stored_values(cx: &Context, project: &ProjectName) -> Result<Option<Needles>, Error> {
    let Some(vault) = cx.vault_without_asking()? else { return Ok(None) };
    if vault.output_key(project)?.is_none() {
        return Ok(None);
    }

    let mut values = vault.scope(project).reveal_all()?;
    cx.record_use(&Used::of(vault, project, values.iter().map(|(tag, _)| tag)))?;

    // A plain setting such as `production` may appear in any file.
    values.retain(|(tag, value)| settings::guess(tag.as_str(), value.expose()) == Guess::Secret);
    Ok(Some(Needles::new(values.iter().map(|(tag, value)| (tag, value.expose())))))
}

/// Warns about variables that readers of the file cannot use. Plain settings count only if the
/// readers were named.
pub(crate) fn warn_of_names(
    cx: &Context,
    text: &[u8],
    made: &Migration,
    file: &str,
    readers: Option<Readers>,
) {
    let is_meant = |name: &str| readers.is_some() || made.left.iter().all(|(left, _)| left != name);
    for warning in meaning::unreadable(text, is_meant, readers) {
        cx.ui.warn(&format!("`{file}`: {warning}"));
    }
}

/// Reports why a file, or its new part, cannot become a template. `keep` has the names of `--keep`.
pub(crate) fn migration_error(error: &MigrationError, file: &str, keep: &[String]) -> Error {
    match error {
        MigrationError::Dotenv(error) => {
            Error::usage(format!("{file}:{}: {error}", error.position)).hint("nothing was written")
        }
        MigrationError::Unproven | MigrationError::Template(_) => {
            Error::usage(format!("{file}: {error}")).hint("nothing was written")
        }
        MigrationError::Problems(problems) => problem(problems, file, keep),
    }
}

/// Reports all problems of a file, and the option that avoids those that can be avoided.
fn problem(problems: &[Problem], file: &str, kept: &[String]) -> Error {
    let place = |problem: &Problem| format!("{file}:{}: {problem}", problem.line);
    let error = match problems {
        [only] => Error::usage(place(only)),
        all => Error::usage(format!("`{file}` has {} problems", all.len()))
            .with_notes(all.iter().map(place).collect()),
    };

    let mut keep = kept.to_vec();
    for problem in problems.iter().filter(|problem| problem.is_keepable) {
        if !keep.contains(&problem.name) {
            keep.push(problem.name.clone());
        }
    }

    let mut hints = Vec::new();
    if keep.len() > kept.len() {
        hints.push(format!(
            "use `--keep {}` to leave values that are not secrets in the template",
            keep.join(",")
        ));
    }

    if problems.iter().any(|problem| !problem.is_keepable) {
        hints.push("change the lines that contain a secret or cannot be stored".to_owned());
    }

    if problems.iter().any(|problem| matches!(problem.obstacle, Obstacle::Placeholder(_))) {
        hints.push("move placeholders that should be replaced into a template".to_owned());
    }

    hints.push("nothing was written".to_owned());
    error.hint(hints.join("; "))
}
