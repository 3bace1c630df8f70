//! `secrets status`: shows the vault and project that commands use here, and whether the vault is
//! unlocked.

use std::time::Duration;

use serde::Serialize;

use crate::agent::Status;
use crate::context::{AGENT_TIMEOUT, Context, ProjectSource};
use crate::error::{Error, Kind};
use crate::model::ProjectName;
use crate::ui::escape::visible;
use crate::ui::time::spans;

const EXAMPLES: &str = "\
Examples:
  secrets status
  secrets status --json | jq .secondsLeft
  secrets status --quiet >/dev/null 2>&1 || secrets unlock";

/// Show the vault, the current project, and whether the vault is unlocked
///
/// Exits with 0 if the vault is unlocked and with 5 if it is locked. Running this counts as use: it
/// extends the time of `--idle`, but never that of `--ttl`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {}

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

pub(crate) fn run(_: &StatusArgs, cx: &Context) -> Result<(), Error> {
    let vault_id = cx.locked()?.vault_id()?;
    let status = match cx.agent(AGENT_TIMEOUT)? {
        Some(client) => client.status(Some(vault_id))?,
        None => Status { left: None },
    };

    // With `--quiet`, a locked vault is reported only by the exit code and one sentence.
    if status.left.is_some() || cx.ui.is_json() || !cx.ui.is_quiet() {
        show(cx, status)?;
    }

    match status.left {
        Some(_) => Ok(()),
        None => {
            let path = cx.vault_path()?;
            Err(Error::new(Kind::Locked, format!("`{}` is locked", path.display()))
                .hint("unlock it with `secrets unlock`")
                .into_answer())
        }
    }
}

/// Prints the vault, the current project and the remaining unlocked time.
pub(super) fn show(cx: &Context, status: Status) -> Result<(), Error> {
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
