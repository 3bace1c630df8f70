//! `secrets check --all-environments`: which environment has which secret.

use std::collections::HashMap;

use secrets_core::model::{ProjectName, Secret, Tag, TagKey, Timestamp};
use secrets_project::setup::manifest::EnvironmentName;
use secrets_project::setup::{Manifest, Tree, needs};

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::{EnvironmentInfo, EnvironmentMatrix, SecretState, SecretStates};
use crate::ui::counted;

/// An environment, or the manifest without one.
struct Column {
    environment: Option<EnvironmentName>,
    project: ProjectName,
    manifest: Manifest,
}

/// Compares what each environment needs with its project. Outputs are not compared.
pub(super) fn compare(cx: &Context) -> Result<(), Error> {
    let manifest = cx.target.require_manifest()?.base();
    if manifest.environments.is_empty() {
        let message = format!("`{}` has no environment", manifest.path().display());
        return Err(
            Error::new(Kind::NotFound, message).hint("add one with `secrets setup --new -E NAME`")
        );
    }

    cx.require_vault()?;
    cx.require_trust(manifest)?;
    let columns = columns(manifest, cx.target.base_project()?);
    let mut rows: Vec<(Tag, Vec<SecretState>)> = Vec::new();
    let mut places: HashMap<TagKey, usize> = HashMap::new();
    for (at, column) in columns.iter().enumerate() {
        let needs = needs(&column.manifest, &Tree::of(&column.manifest));
        let stored = cx.vault()?.list(Some(&column.project), |_| true)?;
        let stored: HashMap<TagKey, &Secret> =
            stored.iter().map(|secret| (secret.metadata.tag.key(), secret)).collect();
        for need in &needs {
            let row = *places.entry(need.tag.key()).or_insert_with(|| {
                rows.push((need.tag.clone(), vec![SecretState::Unneeded; columns.len()]));
                rows.len() - 1
            });
            let state = state(stored.get(&need.tag.key()).copied(), need.is_required());
            rows[row].1[at] = state;
        }
    }

    let verdict = verdict(&columns, &rows);
    let shown = |path: &Manifest| path.path().to_string_lossy().into_owned();
    cx.ui.print(&EnvironmentMatrix {
        version: 1,
        manifest: shown(manifest),
        environments: columns
            .iter()
            .map(|column| EnvironmentInfo {
                environment: column.environment.as_ref().map(ToString::to_string),
                project: column.project.to_string(),
            })
            .collect(),
        secrets: rows
            .into_iter()
            .map(|(tag, states)| SecretStates { tag: tag.to_string(), states })
            .collect(),
        exit: verdict.as_ref().map_or(0, Error::exit_code),
    })?;

    match verdict {
        Some(error) => Err(error),
        None => {
            cx.ui.status("every environment has the secrets that it needs");
            Ok(())
        }
    }
}

fn columns(manifest: &Manifest, project: ProjectName) -> Vec<Column> {
    let base = Column { environment: None, project, manifest: manifest.clone() };
    let named = manifest.environments.iter().filter_map(|environment| {
        Some(Column {
            environment: Some(environment.name.clone()),
            project: environment.project.clone(),
            manifest: manifest.in_environment(&environment.name)?,
        })
    });

    std::iter::once(base).chain(named).collect()
}

fn state(stored: Option<&Secret>, is_required: bool) -> SecretState {
    match stored {
        Some(secret) if secret.metadata.expires.is_some_and(|at| at <= Timestamp::now()) => {
            SecretState::Expired
        }
        Some(_) => SecretState::Present,
        None if is_required => SecretState::Missing,
        None => SecretState::Optional,
    }
}

/// Returns the most serious problem as an error, with the command that fixes it in the first
/// environment that has it.
fn verdict(columns: &[Column], rows: &[(Tag, Vec<SecretState>)]) -> Option<Error> {
    let with = |wanted: SecretState| {
        let states = rows.iter().flat_map(|(_, states)| states.iter().enumerate());
        states.filter(|(_, state)| **state == wanted).map(|(at, _)| at).collect::<Vec<usize>>()
    };

    let option = |at: usize| {
        let environment = columns.get(at).and_then(|column| column.environment.as_ref());
        environment.map_or_else(String::new, |name| format!("-E {name} "))
    };

    let (missing, expired) = (with(SecretState::Missing), with(SecretState::Expired));
    let (kind, count, what, first, command) = if let Some(first) = missing.iter().min() {
        (Kind::NotFound, missing.len(), "missing value", *first, "setup")
    } else {
        let first = expired.iter().min()?;
        (Kind::Differs, expired.len(), "expired value", *first, "update TAG")
    };

    Some(
        Error::new(kind, format!("the environments have {}", counted(count, what)))
            .hint(format!("enter values with `secrets {}{command}`", option(first))),
    )
}
