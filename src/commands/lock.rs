//! `secrets lock`: makes the agent forget keys.

use secrets_runtime::agent::Status;

use super::shared::status::status;
use crate::context::Context;
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  secrets lock            lock this vault
  secrets lock --all      lock every vault";

/// Lock the vault: its agent forgets the key and ends
///
/// Locking a vault that is already locked is not an error.
///
/// From then on, no program that used the agent can open a value that it did not ask the agent for before. If a program
/// that you do not trust used the agent, run `secrets rekey`. Until then it can read the names,
/// descriptions, hints and audit log of the projects that it opened, and use changes that it had
/// signed in advance. Then replace the secrets whose values it may have read.
///
/// Two things open a locked vault as well: a token, until `secrets token revoke`, and a key in the
/// desktop's keychain, until `secrets keychain remove`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LockArgs {
    /// Lock every vault in every directory where agents were started, including agents of other
    /// versions
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &LockArgs, cx: &Context) -> Result<(), Error> {
    let message = if args.all { lock_all(cx)? } else { lock(cx)? };
    cx.ui.status(&message);

    // With `--json`, the result is the new status of the vault.
    cx.ui.document(|| status(cx, &Status { left: None }))
}

/// Locks every vault. It needs no vault itself, because the configured one may not exist.
fn lock_all(cx: &Context) -> Result<String, Error> {
    let locked = cx.agents.lock_all()?;
    Ok(if locked { "locked every vault" } else { "nothing was unlocked" }.to_owned())
}

fn lock(cx: &Context) -> Result<String, Error> {
    let locked = cx.agents.lock_vault()?;
    let path = cx.target.vault_path()?;
    let path = path.display();
    Ok(if locked { format!("locked `{path}`") } else { format!("`{path}` was already locked") })
}
