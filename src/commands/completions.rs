//! `secrets completions`: prints what a shell needs to complete our command lines.

use clap_complete::env::Shells;

use crate::context::Context;
use crate::error::{Error, Kind};

const EXAMPLES: &str = "\
Examples:
  source <(secrets completions bash)         in ~/.bashrc
  source <(secrets completions zsh)          in ~/.zshrc, after compinit
  secrets completions fish | source          in ~/.config/fish/config.fish
  eval (secrets completions elvish | slurp)  in ~/.config/elvish/rc.elv
  secrets completions powershell | Out-String | Invoke-Expression";

/// Print the completions of a shell
///
/// What is printed asks `secrets` for candidates, so it stays right when the program is updated.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: ShellArg,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

pub(crate) fn run(args: &CompletionsArgs, cx: &Context) -> Result<(), Error> {
    let name = match args.shell {
        ShellArg::Bash => "bash",
        ShellArg::Zsh => "zsh",
        ShellArg::Fish => "fish",
        ShellArg::Elvish => "elvish",
        ShellArg::Powershell => "powershell",
    };
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let written = shells
        .completer(name)
        .map(|shell| shell.write_registration("COMPLETE", "secrets", "secrets", "secrets", &mut script));
    if !matches!(written, Some(Ok(()))) {
        return Err(Error::new(Kind::Failure, format!("there are no completions for `{name}`")));
    }
    Ok(cx.ui.text(&String::from_utf8_lossy(&script))?)
}
