//! `secrets status`: shows the vault and project that commands use here, and whether the vault is
//! unlocked.

use secrets_core::vault::VaultError;
use secrets_runtime::agent::Status;

use super::shared::status::status;
use crate::context::{AGENT_TIMEOUT, Context};
use crate::error::{Error, Kind};

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

pub(crate) fn run(_: &StatusArgs, cx: &Context) -> Result<(), Error> {
    let vault_id = cx.locked()?.vault_id()?;
    let found = match cx.agents.client(AGENT_TIMEOUT)? {
        Some(client) => client.status(Some(vault_id))?,
        None => Status { left: None },
    };

    // With `--quiet`, a locked vault is reported only by the exit code and one sentence.
    if found.left.is_none() && cx.ui.is_quiet() {
        cx.ui.document(|| status(cx, &found))?;
    } else {
        cx.ui.print(&status(cx, &found)?)?;
    }

    match found.left {
        Some(_) => Ok(()),
        None => {
            let path = cx.target.vault_path()?;
            if matches!(cx.locked()?.refuse_bundle(), Err(VaultError::IsBundle)) {
                let message =
                    format!("`{}` is a bundle, which only its token opens", path.display());
                let hint = "use its token with `--token-file PATH`, SECRETS_TOKEN_FILE or \
                            SECRETS_TOKEN";
                return Err(Error::new(Kind::Locked, message).hint(hint).into_answer());
            }

            Err(Error::new(Kind::Locked, format!("`{}` is locked", path.display()))
                .hint("unlock it with `secrets unlock`")
                .into_answer())
        }
    }
}
