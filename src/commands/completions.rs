//! `secrets completions`: prints a shell script that completes our command lines.

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

/// Print a shell completion script
///
/// The script asks `secrets` for candidates, so it stays correct when the program is updated.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// Print the script for this shell
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
    let written = shells.completer(name).map(|shell| {
        shell.write_registration("COMPLETE", "secrets", "secrets", "secrets", &mut script)
    });

    if !matches!(written, Some(Ok(()))) {
        return Err(Error::new(Kind::Failure, format!("there are no completions for `{name}`")));
    }

    let script = String::from_utf8_lossy(&script);
    Ok(cx.ui.text(&if name == "bash" { with_whole_words(&script) } else { script.into_owned() })?)
}

/// The part of bash's script that reads the words of the command line.
const BASH_WORDS: &str = r#"    local words=("${COMP_WORDS[@]}")
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        words[COMP_CWORD]="$2"
    fi
"#;

/// Readline splits words at `=`, so `--file KEY=TAG` arrives as four words. This script joins them.
const BASH_WHOLE_WORDS: &str = r#"    local words=() word part index=0 joins=false
    for ((word = 0; word <= COMP_CWORD; word++)); do
        part="${COMP_WORDS[word]}"
        if [[ $word == "$COMP_CWORD" && $part != "=" && ${BASH_VERSINFO[0]} -ge 4 ]]; then
            part="$2"
        fi
        if ((word > 0)) && { [[ $part == "=" ]] || $joins; }; then
            words[index]+="$part"
        else
            index=${#words[@]}
            words[index]="$part"
        fi
        [[ $part == "=" ]] && joins=true || joins=false
    done
    _CLAP_COMPLETE_INDEX=$index
    local before=""
    [[ $COMP_WORDBREAKS == *=* && ${words[index]} == *=* ]] && before="${words[index]%=*}="
"#;

/// The part of bash's script that returns the candidates.
const BASH_CANDIDATES: &str = "    if [[ $? != 0 ]]; then\n        unset COMPREPLY\n";

/// Readline replaces only the text after `=`, so this script removes the text before it.
const BASH_ENDS: &str = r#"    local status=$?
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    if [[ $status != 0 ]]; then
        unset COMPREPLY
"#;

fn with_whole_words(script: &str) -> String {
    script.replace(BASH_WORDS, BASH_WHOLE_WORDS).replace(BASH_CANDIDATES, BASH_ENDS)
}
