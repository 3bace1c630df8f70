//! Running a program with secrets: its environment, its files, its streams with values masked, its signals.
//!
//! * `variables`: which names may be set, and what is left of our own environment
//! * `environment`: variables from templates, their values all from one state of the vault
//! * `files`: values in private files for as long as the program lives
//! * `program`: whether the program can be found, before anything is asked for
//! * `child`: between fork and exec
//! * `signals`: which came, and from whom
//! * `stream`: one output on its way through the mask
//! * `terminal`: pseudo-terminals, and the real one made raw
//! * `keyboard`: what is typed, on its way to a pseudo-terminal
//! * `monitor`: the process between us and the program on a pseudo-terminal
//! * `linger`: the process that goes on masking what others print after the program's end
//! * `supervise`: the loop that holds it all together
//!
//! No shell stands between: arguments arrive as they were given. A value is in the program's environment, files or stdin,
//! and never in its arguments.

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
pub mod variables;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Signal, WaitStatus};

pub use files::{PrivateFiles, guard};
pub use linger::linger;
pub use monitor::monitor;
pub use program::check_program;
pub use stream::{StreamError, mask_stream};
pub use supervise::{become_program, run};

use crate::model::{SecretValue, Tag};
use crate::process;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With an exit code
    Code(u8),
    /// By a signal
    Signal(Signal),
}

impl Outcome {
    /// What the system says of a process; `None` as long as it has not ended.
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

    /// The exit code that stands for it: 128+n for signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX),
        }
    }

    /// The signal of Ctrl-C or Ctrl-\ that ended it. Shells and make stop only if they see that a program died of it.
    pub fn interrupted(self) -> Option<Signal> {
        match self {
            Self::Signal(signal @ (Signal::INT | Signal::QUIT)) => Some(signal),
            _ => None,
        }
    }
}

/// A program to be run.
pub struct Job {
    /// The program and its arguments
    pub command: Vec<OsString>,
    /// Its whole environment
    pub environment: Vec<(OsString, OsString)>,
    /// What it finds on stdin instead of ours
    pub stdin: Option<SecretValue>,
    /// What must not be in its output; `None` where nothing is masked
    pub masked: Option<Vec<(Tag, SecretValue)>>,
    /// This program, for the process between
    pub executable: PathBuf,
    /// Its options, so that it speaks as we do
    pub options: Vec<&'static str>,
}

/// Our three streams.
pub struct Streams {
    /// Where input comes from
    pub input: OwnedFd,
    /// Where output goes
    pub output: OwnedFd,
    /// Where errors go
    pub errors: OwnedFd,
}

/// Why a program was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such program
    #[error("program `{0}` not found")]
    NotFound(String),
    /// It is there and cannot be run
    #[error("cannot run `{name}`: {source}")]
    NotExecutable {
        /// As it was named
        name: String,
        /// The system's word
        source: io::Error,
    },
    /// What it printed did not get to where it was to go
    #[error("the program's output was lost: {0}")]
    Output(StreamError),
    /// The system failed
    #[error("cannot {action}: {source}")]
    Io {
        /// "make a pseudo-terminal"
        action: &'static str,
        /// Its word
        source: io::Error,
    },
}

impl RunError {
    fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }
}
