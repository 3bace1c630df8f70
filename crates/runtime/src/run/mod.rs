//! Runs a program with secrets: its environment, files, masked output streams and signals.
//!
//! * `variables`: which names may be set, and which inherited variables are kept
//! * `environment`: variables from templates, with all values from one snapshot of the vault
//! * `files`: values in private files while the program runs
//! * `program`: checks whether the program exists before anything is asked for
//! * `child`: the code between fork and exec
//! * `signals`: received signals and their senders
//! * `stream`: an output stream and its mask
//! * `terminal`: pseudo-terminals, and raw mode of the real terminal
//! * `keyboard`: passes typed keys to a pseudo-terminal
//! * `monitor`: the process between us and the program on a pseudo-terminal
//! * `linger`: the process that masks others' output after the program's end
//! * `supervise`: the main loop
//!
//! No shell is involved, so arguments arrive unchanged. Values are passed in the program's
//! environment, files or stdin, and never in its arguments.

mod child;
pub mod environment;
mod files;
mod keyboard;
mod linger;
mod monitor;
mod program;
mod signals;
mod stream;
mod supervise;
mod terminal;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Signal, WaitStatus};
use secrets_core::model::{SecretValue, Tag};

pub use child::in_bound_session;
pub use files::{PrivateFiles, guard};
pub use linger::linger;
pub use monitor::monitor;
pub use program::check_program;
pub use stream::{StreamError, mask_stream};
pub use supervise::{become_program, run};

use crate::process;

/// The way in which a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Code(u8),
    Signal(Signal),
}

impl Outcome {
    /// Converts the status of a process. Returns `None` if the process has not ended.
    fn of(status: WaitStatus) -> Option<Self> {
        if let Some(code) = status.exit_status() {
            return Some(Self::Code(u8::try_from(code).unwrap_or(u8::MAX)));
        }

        let number = status.terminating_signal()?;
        Some(
            process::signal(number)
                .map_or(Self::Code(128_u8.saturating_add(number.try_into().ok()?)), Self::Signal),
        )
    }

    /// Returns the corresponding exit code, which is 128+n for signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX),
        }
    }

    /// Returns the signal if Ctrl-C or Ctrl-\ ended the program. Shells and make stop only if they
    /// see that a program died of that signal.
    pub fn interrupted(self) -> Option<Signal> {
        match self {
            Self::Signal(signal @ (Signal::INT | Signal::QUIT)) => Some(signal),
            _ => None,
        }
    }
}

/// A program to run.
pub struct Job {
    /// The program and its arguments
    pub command: Vec<OsString>,
    /// The complete environment
    pub environment: Vec<(OsString, OsString)>,
    /// The content of its stdin; `None` to pass on ours
    pub stdin: Option<SecretValue>,
    /// The values to mask in its output; `None` to mask nothing
    pub masked: Option<Vec<(Tag, SecretValue)>>,
    /// The path of this program, for the monitor
    pub executable: PathBuf,
    /// The options for the monitor, so that its messages look like ours
    pub options: Vec<&'static str>,
}

/// Our standard streams.
pub struct Streams {
    pub input: OwnedFd,
    pub output: OwnedFd,
    pub errors: OwnedFd,
}

/// The reason why a program was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("program `{0}` not found")]
    NotFound(String),
    /// The program exists but cannot be run
    #[error("cannot run `{name}`: {source}")]
    NotExecutable {
        /// The name as given
        name: String,
        source: io::Error,
    },
    #[error("the program's output was lost: {0}")]
    Output(StreamError),
    #[error("cannot {action}: {source}")]
    Io {
        /// The failed action as a verb: "create a pseudo-terminal"
        action: &'static str,
        source: io::Error,
    },
}

impl RunError {
    fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }
}
