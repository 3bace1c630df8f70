//! `secrets env`: prints lines that set variables in a shell.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap_complete::ArgValueCompleter;
use secrets_core::model::Tag;

use super::shared::shells::{ShellArg, print, variable_pairs};
use super::shared::variables::{Request, VariableRequests};
use crate::completion;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::output::ShellVariables;

const EXAMPLES: &str = "\
Examples:
  eval \"$(secrets env --shell bash)\"
  eval \"$(secrets env --shell zsh --only database-url)\"
  secrets env --shell fish | source
  secrets env --shell nu | from json | get set | load-env
  secrets env --shell pwsh | Out-String | Invoke-Expression";

/// Print lines that set variables in a shell
///
/// The variables are those that `secrets run` gives to a program. After that, every program that the
/// shell starts has the values, and nothing masks its output. Prefer `secrets run` where a single
/// program needs them. A terminal shows the lines only with --reveal.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EnvArgs {
    /// Write for this shell
    #[arg(long, value_enum, value_name = "SHELL")]
    shell: Option<ShellArg>,
    /// Set only these secrets, each under its tag in upper case
    #[arg(long, value_name = "TAG,...", value_delimiter = ',', add = ArgValueCompleter::new(completion::tags_with_commas))]
    only: Vec<Tag>,
    /// Set a variable from a template
    #[arg(long, value_name = "NAME=TEMPLATE")]
    env: Vec<OsString>,
    /// Set variables from a dotenv file whose values are templates
    #[arg(long = "env-file", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    env_files: Vec<PathBuf>,
    /// Print the values even if stdout is a terminal
    #[arg(long)]
    reveal: bool,
}

pub(crate) fn run(args: &EnvArgs, cx: &Context) -> Result<(), Error> {
    if cx.ui.stdout_is_terminal() && !args.reveal {
        return Err(Error::new(Kind::Refused, "values are not printed on a terminal unasked")
            .hint("pipe them into the shell as `secrets env --help` shows, or use `--reveal`"));
    }

    if args.shell.is_none() && !cx.ui.is_json() {
        return Err(Error::usage("`--shell SHELL` is missing")
            .hint("name the shell that will read the lines: bash, zsh, fish, nu or pwsh"));
    }

    let request = Request {
        only: &args.only,
        env: &args.env,
        env_files: &args.env_files,
        ..Request::default()
    };
    let requests = VariableRequests::new(request, cx)?;
    requests.check_vault_and_trust(cx)?;
    let opened = requests.open(cx)?;
    let pairs = variable_pairs(requests.variables(&opened, &[], cx)?, cx);
    let Some(shell) = args.shell.filter(|_| !cx.ui.is_json()) else {
        let mut variables = BTreeMap::new();
        for (name, value) in &pairs {
            match value.to_str() {
                Some(value) => drop(variables.insert(name.as_str(), value)),
                None => cx.ui.warn(&format!("`{name}` is left out: its value is not UTF-8")),
            }
        }

        return cx.ui.document(|| Ok(ShellVariables { variables }));
    };

    print(shell, |changes| {
        for (name, value) in &pairs {
            if !changes.set(name, value.as_bytes()) {
                cx.ui.warn(&format!(
                    "`{name}` is left out: this shell cannot hold its name or its value"
                ));
            }
        }
    })
}
