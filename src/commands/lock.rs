//! `secrets lock`: has the agent forget keys.

use super::status;
use crate::agent::Status;
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
    let Some(client) = cx.agent(PATIENCE)? else {
        cx.ui.status("nothing was unlocked");
        return tell(cx);
    };
    let was = if args.all { client.lock_all()? } else { client.lock()? };
    let path = cx.vault_path()?;
    cx.ui.status(&match (was, args.all) {
        (true, true) => "locked every vault".to_owned(),
        (false, true) => "nothing was unlocked".to_owned(),
        (true, false) => format!("locked `{}`", path.display()),
        (false, false) => format!("`{}` was locked already", path.display()),
    });
    tell(cx)
}

/// With JSON: how the vault is now.
fn tell(cx: &Context) -> Result<(), Error> {
    if cx.ui.is_json() { status::show(cx, Status { left: None }) } else { Ok(()) }
}
