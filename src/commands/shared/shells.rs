//! Shells, and the lines that are printed for them.

use std::ffi::OsString;

use secrets_project::shell::{Changes, Shell};
use secrets_project::variables::{is_of_shells, is_setting};
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

/// Returns the variables that a shell gets. Warns of those with a meaning of their own in a shell or for
/// `secrets`.
pub(crate) fn variable_pairs(variables: Variables, cx: &Context) -> Vec<(String, OsString)> {
    let pairs = variables.into_pairs().into_iter();
    let named = pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let is_free = |(name, _): &(String, OsString)| {
        let why = if is_of_shells(name) {
            "it has a meaning of its own in a shell"
        } else if is_setting(name) {
            "it is a setting of `secrets`"
        } else {
            return true;
        };

        cx.ui.warn(&format!("`{name}` is left out: {why}; `secrets run` sets it for a program"));
        false
    };
    named.filter(is_free).collect()
}

/// Prints the lines for the changes that `change` makes.
pub(crate) fn print(shell: ShellArg, change: impl FnOnce(&mut Changes)) -> Result<(), Error> {
    let mut changes = Changes::new(shell.into());
    change(&mut changes);
    Ok(raw::print(changes.into_text().expose())?)
}
