//! Helper processes: our own executable, started again with a hidden command.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A helper process and what its command line says. It gets everything else, above all secrets,
/// through its standard streams.
pub enum Helper<'a> {
    /// Holds the key of an unlocked vault and listens in a directory
    Agent { directory: &'a Path },
    /// Removes a directory of private files when we are killed
    Guard { directory: &'a Path },
    /// Masks what other processes print after a program has ended
    Linger,
    /// Offers a value on the clipboard for a while
    Offer { seconds: &'a str },
    /// Leads the session of a program on a pseudo-terminal
    Monitor { options: &'a [&'static str], command: &'a [OsString] },
}

impl Helper<'_> {
    /// Returns the command line after the program's name.
    pub fn arguments(&self) -> Vec<&OsStr> {
        let words: &[&str] = match self {
            Self::Agent { .. } => &["agent", "--directory"],
            Self::Guard { .. } => &["guard", "--directory"],
            Self::Linger => &["linger"],
            Self::Offer { .. } => &["offer", "--seconds"],
            Self::Monitor { .. } => &["monitor", "--"],
        };

        let mut arguments: Vec<&OsStr> = match self {
            Self::Monitor { options, .. } => options.iter().map(OsStr::new).collect(),
            _ => Vec::new(),
        };

        arguments.extend(words.iter().map(OsStr::new));
        match self {
            Self::Agent { directory } | Self::Guard { directory } => {
                arguments.push(directory.as_os_str());
            }
            Self::Monitor { command, .. } => {
                arguments.extend(command.iter().map(OsString::as_os_str));
            }
            Self::Offer { seconds } => arguments.push(seconds.as_ref()),
            Self::Linger => {}
        }

        arguments
    }

    /// Returns the command that starts the process with an empty environment. The caller sets its
    /// streams. Only a monitor keeps our working directory, because its program does.
    pub(crate) fn command(&self, executable: &Path) -> Command {
        let mut command = Command::new(executable);
        command.arg0("secrets").args(self.arguments()).env_clear();
        if !matches!(self, Self::Monitor { .. }) {
            command.current_dir("/");
        }

        command
    }
}
