//! Shells, and the lines that are printed for them.

use std::ffi::OsString;

use secrets_project::shell::{Changes, Shell};
use secrets_project::variables::is_of_shells;
use secrets_runtime::run::environment::Variables;

use crate::context::Context;
use crate::error::Error;
use crate::ui::raw;

/// A shell, as `--shell` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ShellArg {
    Bash,
    Zsh,
    Fish,
    /// Nushell
    Nu,
    /// PowerShell
    Pwsh,
}

impl From<ShellArg> for Shell {
    fn from(shell: ShellArg) -> Self {
        match shell {
            ShellArg::Bash => Self::Bash,
            ShellArg::Zsh => Self::Zsh,
            ShellArg::Fish => Self::Fish,
            ShellArg::Nu => Self::Nu,
            ShellArg::Pwsh => Self::Pwsh,
        }
    }
}

/// Returns the variables that a shell gets. Warns of those that have a meaning of their own in a shell.
pub(crate) fn variable_pairs(variables: Variables, cx: &Context) -> Vec<(String, OsString)> {
    let pairs = variables.into_pairs().into_iter();
    let named = pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let is_free = |(name, _): &(String, OsString)| {
        let is_free = !is_of_shells(name);
        if !is_free {
            cx.ui.warn(&format!(
                "`{name}` is left out: it has a meaning of its own in a shell; `secrets run` sets it for \
                 a program"
            ));
        }

        is_free
    };
    named.filter(is_free).collect()
}

/// Prints the lines for the changes that `change` makes.
pub(crate) fn print(shell: ShellArg, change: impl FnOnce(&mut Changes)) -> Result<(), Error> {
    let mut changes = Changes::new(shell.into());
    change(&mut changes);
    Ok(raw::print(changes.into_text().expose())?)
}
