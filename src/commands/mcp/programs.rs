//! The command lines that an agent may start.

use crate::error::Error;

/// The command lines that the agent can start.
#[derive(clap::Args)]
pub(super) struct ProgramArgs {
    /// Let the agent start exactly this command line, with the secrets of `secrets run`; may be given
    /// several times
    #[arg(long, value_name = "COMMAND")]
    allow_run: Vec<String>,
    /// Give those commands placeholders instead of values, as `secrets run --proxy` does
    #[arg(long, requires = "allow_run")]
    pub(super) proxy: bool,
}

/// A command line that may be started.
pub(super) struct AllowedCommand {
    pub(super) text: String,
    pub(super) words: Vec<String>,
}

impl ProgramArgs {
    /// Returns the command lines. Fails if one needs a shell.
    pub(super) fn allowed(&self) -> Result<Vec<AllowedCommand>, Error> {
        self.allow_run.iter().map(|text| AllowedCommand::parse(text)).collect()
    }
}

impl AllowedCommand {
    /// Splits a command line at blanks. Quotes and escapes would need a shell's rules.
    fn parse(text: &str) -> Result<Self, Error> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Err(Error::usage("the command of `--allow-run` is empty"));
        }

        if let Some(c) = text.chars().find(|c| "\"'\\$`|&;<>*?(){}[]~#".contains(*c)) {
            return Err(Error::usage(format!(
                "`--allow-run` does not understand the character `{c}`"
            ))
            .hint("it starts a program without a shell; put more into a script"));
        }

        Ok(Self { text: words.join(" "), words })
    }
}
