//! Collects what `status` and `unlock` print.

use std::time::Duration;

use secrets_core::model::ProjectName;
use secrets_runtime::agent::Status;

use crate::context::{Context, ProjectSource};
use crate::error::Error;
use crate::output::StatusInfo;

/// Describes the vault, the current project and the remaining unlocked time.
pub(crate) fn status(cx: &Context, status: &Status) -> Result<StatusInfo, Error> {
    let vault = cx.target.vault_path()?.display().to_string();
    let (project, source) = project(cx).unzip();

    Ok(StatusInfo {
        vault,
        project: project.map(|name| name.to_string()),
        project_source: source.as_ref().map(ProjectSource::word),
        environment: source.as_ref().and_then(|source| match source {
            ProjectSource::Manifest { environment, .. } => {
                environment.as_ref().map(ToString::to_string)
            }
            _ => None,
        }),
        described_source: source.map(|source| source.describe()),
        unlocked: status.left.is_some(),
        seconds_left: status.left.map(|(ttl, _)| rounded(ttl)),
        idle_seconds_left: status.left.map(|(_, idle)| rounded(idle)),
    })
}

/// Returns the current project and its source. An invalid manifest causes only a warning, because
/// scripts use this command to check whether the vault is unlocked.
fn project(cx: &Context) -> Option<(ProjectName, ProjectSource)> {
    match cx.target.project().and_then(|name| Ok((name.clone(), cx.target.project_source()?))) {
        Ok(found) => Some(found),
        Err(error) => {
            cx.ui.warn(error.message());
            None
        }
    }
}

/// Rounds to the nearest second, so that right after `--ttl 15m` 15 minutes are shown.
fn rounded(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}
