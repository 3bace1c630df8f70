//! `secrets get`: shows one secret's metadata and hint, never its value.

use clap_complete::ArgValueCompleter;
use secrets_core::model::SecretRef;

use crate::completion;
use crate::context::Context;
use crate::error::Error;
use crate::output::SecretInfo;

const EXAMPLES: &str = "\
Examples:
  secrets get api-key
  secrets get API_KEY --json
  secrets get se0123456789abcdef
  secrets render -e '{{ secrets.api-key }}'     print the value";

/// Show a secret's metadata and hint
///
/// The value is never shown; use it with `render` or `run`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// Show this secret: a tag in the current project, or an id in any project
    #[arg(value_name = "TAG|ID", add = ArgValueCompleter::new(completion::tags))]
    secret: SecretRef,
}

pub(crate) fn run(args: &GetArgs, cx: &Context) -> Result<(), Error> {
    let project = cx.target.project()?;
    let secret = cx.vault()?.get(project, &args.secret)?;
    cx.ui.print(&SecretInfo(&secret))
}
