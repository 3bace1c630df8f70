//! The vault and project that commands use, and whether the vault is unlocked.

use std::time::Duration;

use serde::Serialize;

use crate::agent::Status;
use crate::context::{Context, ProjectSource};
use crate::error::Error;
use crate::model::ProjectName;
use crate::ui::escape::visible;
use crate::ui::time::spans;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusJson {
    vault: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_source: Option<&'static str>,
    unlocked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_seconds_left: Option<u64>,
}

/// Prints the vault, the current project and the remaining unlocked time.
pub(crate) fn show(cx: &Context, status: Status) -> Result<(), Error> {
    let path = cx.vault_path()?.display().to_string();
    let project = project(cx);
    if cx.ui.is_json() {
        return Ok(cx.ui.json(&StatusJson {
            vault: path,
            project: project.as_ref().map(|(name, _)| name.to_string()),
            project_source: project.map(|(_, source)| source.word()),
            unlocked: status.left.is_some(),
            seconds_left: status.left.map(|(ttl, _)| rounded(ttl).as_secs()),
            idle_seconds_left: status.left.map(|(_, idle)| rounded(idle).as_secs()),
        })?);
    }

    let project = project.map(|(name, source)| format!("{name} ({})", visible(&source.describe())));
    let left = status.left.map(|(ttl, idle)| format!("for {}", spans(rounded(ttl), rounded(idle))));
    let lines = [("vault", Some(visible(&path))), ("project", project), ("unlocked", left)];
    let lines: Vec<_> =
        lines.into_iter().filter_map(|(label, text)| Some((label, text?))).collect();

    Ok(cx.ui.labelled(&lines)?)
}

/// Returns the current project and its source. An invalid manifest causes only a warning, because
/// scripts use this command to check whether the vault is unlocked.
fn project(cx: &Context) -> Option<(ProjectName, ProjectSource)> {
    match cx.project().and_then(|name| Ok((name.clone(), cx.project_source()?))) {
        Ok(found) => Some(found),
        Err(error) => {
            cx.ui.warn(error.message());
            None
        }
    }
}

/// Rounds to the nearest second, so that right after `--ttl 15m` 15 minutes are shown.
fn rounded(time: Duration) -> Duration {
    Duration::from_secs((time + Duration::from_millis(500)).as_secs())
}
