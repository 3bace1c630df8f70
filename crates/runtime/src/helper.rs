//! Helper processes: our own executable, started again with a hidden command.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The byte with which a helper process reports that its work begins. An agent sends another one if
/// its key is not kept out of swap.
pub const READY: u8 = b'.';

/// The first byte of a helper process's stdout.
pub(crate) enum FirstByte {
    Said(u8),
    /// It has ended, or closed its stdout
    Closed,
    /// It has said nothing in time
    Late,
}

/// Starts a helper process with `input` and waits until it reports that it works. Returns false if it
/// does not in time.
pub fn start(
    helper: &Helper<'_>,
    executable: &Path,
    input: &[u8],
    patience: Duration,
) -> io::Result<bool> {
    let (_, said) = hand_over(helper.command(executable), input, patience)?;
    Ok(matches!(said, FirstByte::Said(READY)))
}

/// Starts a helper process, sends `input` to its stdin, closes it, and waits for the first byte of its
/// stdout.
pub(crate) fn hand_over(
    mut command: Command,
    input: &[u8],
    patience: Duration,
) -> io::Result<(Child, FirstByte)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn()?;
    let pipes = process.stdin.take().zip(process.stdout.take());
    let (mut stdin, mut stdout) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
    stdin.write_all(input)?;
    drop(stdin);

    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut byte = [0];
    let said = if !matches!(poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout)), Ok(1))
    {
        FirstByte::Late
    } else if matches!(stdout.read(&mut byte), Ok(1)) {
        FirstByte::Said(byte[0])
    } else {
        FirstByte::Closed
    };

    Ok((process, said))
}

/// A helper process and what its command line says. It gets everything else, above all secrets,
/// through its standard streams.
pub enum Helper<'a> {
    /// Holds the key of an unlocked vault and listens in a directory
    Agent { directory: &'a Path },
    /// Keeps the connection to the server of a vault and listens in a directory
    Link { directory: &'a Path },
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
            Self::Link { .. } => &["link", "--directory"],
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
            Self::Agent { directory } | Self::Link { directory } | Self::Guard { directory } => {
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
