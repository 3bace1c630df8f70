//! `secrets lock`: has the agent forget keys.

use super::status;
use crate::agent::Status;
use crate::context::Context;
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  secrets lock            this vault
  secrets lock --all      every vault";

/// Lock the vault: its agent forgets the key and ends
///
/// A vault that is locked already is no failure. A program that took the keys of projects from the agent keeps them: only
/// `secrets rekey` makes them useless.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LockArgs {
    /// Every vault, in every directory where agents were started; ends agents of other versions too
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &LockArgs, cx: &Context) -> Result<(), Error> {
    let said = if args.all { lock_all(cx)? } else { lock(cx)? };
    cx.ui.status(&said);

    // With JSON: how the vault is now.
    if cx.ui.is_json() { status::show(cx, Status { left: None }) } else { Ok(()) }
}

/// Needs no vault: there may be none where it looks for one.
fn lock_all(cx: &Context) -> Result<String, Error> {
    let locked = cx.lock_everything()?;
    Ok(if locked { "locked every vault" } else { "nothing was unlocked" }.to_owned())
}

fn lock(cx: &Context) -> Result<String, Error> {
    let locked = cx.lock_in_agents()?;
    let path = cx.vault_path()?;
    let path = path.display();
    Ok(if locked { format!("locked `{path}`") } else { format!("`{path}` was locked already") })
}
