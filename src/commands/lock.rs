//! `secrets lock`: has the agent forget keys.

use std::path::Path;

use super::status;
use crate::agent::{Client, Status};
use crate::context::{Context, PATIENCE};
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  secrets lock            this vault
  secrets lock --all      every vault, and the agent ends";

/// Lock the vault: the agent forgets its key
///
/// A vault that is locked already is no failure.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LockArgs {
    /// Every vault; ends an agent of another version too
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
    let place = cx.agent_place()?;
    let agent = place.map(|place| Client::new(&place, Path::new(""), PATIENCE));
    let locked = agent.map_or(Ok(false), |agent| agent.lock_all())?;
    Ok(if locked { "locked every vault" } else { "nothing was unlocked" }.to_owned())
}

fn lock(cx: &Context) -> Result<String, Error> {
    let locked = cx.agent(PATIENCE)?.map_or(Ok(false), |agent| agent.lock())?;
    let path = cx.vault_path()?;
    let path = path.display();
    Ok(if locked { format!("locked `{path}`") } else { format!("`{path}` was locked already") })
}
