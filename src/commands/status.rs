//! `secrets status`: is the vault unlocked, and for how long?

use std::time::Duration;

use serde::Serialize;

use super::unlock::spans;
use crate::agent::Status;
use crate::context::{Context, PATIENCE};
use crate::error::{Error, Kind};
use crate::ui::escape::visible;

const EXAMPLES: &str = "\
Examples:
  secrets status
  secrets status --json | jq .secondsLeft
  secrets status --quiet >/dev/null 2>&1 || secrets unlock";

/// Tell whether the vault is unlocked, and for how long
///
/// Exits with 0 where it is unlocked and with 5 where it is locked. Asking counts as use: it puts off locking by idling,
/// never the end of `--ttl`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusJson {
    vault: String,
    unlocked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_seconds_left: Option<u64>,
}

pub(crate) fn run(_: &StatusArgs, cx: &Context) -> Result<(), Error> {
    let vault_id = cx.locked()?.vault_id()?;
    let status = match cx.agent(PATIENCE)? {
        Some(client) => client.status(Some(vault_id))?,
        None => Status { left: None },
    };
    show(cx, status)?;
    match status.left {
        Some(_) => Ok(()),
        None => {
            let path = cx.vault_path()?;
            Err(Error::new(Kind::Locked, format!("`{}` is locked", path.display()))
                .hint("unlock it with `secrets unlock`"))
        }
    }
}

/// Prints how the vault is; for people only where it is unlocked.
pub(super) fn show(cx: &Context, status: Status) -> Result<(), Error> {
    let path = cx.vault_path()?.display().to_string();
    if cx.ui.is_json() {
        return Ok(cx.ui.json(&StatusJson {
            vault: path,
            unlocked: status.left.is_some(),
            seconds_left: status.left.map(|(ttl, _)| rounded(ttl).as_secs()),
            idle_seconds_left: status.left.map(|(_, idle)| rounded(idle).as_secs()),
        })?);
    }
    let Some((ttl, idle)) = status.left else { return Ok(()) };
    let left = format!("for {}", spans(rounded(ttl), rounded(idle)));
    Ok(cx.ui.labelled(&[("vault", visible(&path)), ("unlocked", left)])?)
}

/// To the nearest second: right after `--ttl 15m`, 15 minutes are left.
fn rounded(time: Duration) -> Duration {
    Duration::from_secs((time + Duration::from_millis(500)).as_secs())
}
