//! The streams for people and scripts: results on stdout, everything else on stderr. The room
//! `output` has the forms of the results.
//!
//! It receives names, hints and counts, but never a value. Text from a vault is escaped before it
//! is printed.

pub(crate) mod escape;
pub(crate) mod input;
mod lines;
mod progress;
pub(crate) mod prompt;
pub(crate) mod raw;
pub(crate) mod time;
mod turn;
pub(crate) mod wrap;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};
use secrets_core::model::Timestamp;
use serde::Serialize;
use terminal_size::terminal_size_of;

use escape::{PlainJson, visible};
pub(crate) use lines::{finish_lines, line_from_thread, warn_from_thread};
pub(crate) use progress::Progress;

/// Formats a timestamp of JSON in local time, or returns the text if it is not a timestamp.
pub(crate) fn local_time(text: &str) -> String {
    Timestamp::parse(text).map_or_else(|| visible(text), time::local)
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UiError {
    #[error("cannot read `{name}`: {source}")]
    Input { name: String, source: io::Error },
    #[error("stdin cannot provide both the passphrase and other input")]
    StdinTaken,
    #[error("`{0}` is larger than {1}")]
    TooLarge(String, &'static str),
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
    #[error("there is no terminal to ask on")]
    NoTerminal,
    #[error("interrupted")]
    Interrupted,
    #[error("cannot use the terminal: {0}")]
    Terminal(io::Error),
    #[error("the value has several lines, but a prompt takes only one")]
    SeveralLines,
    #[error(
        "the typed value contains a control character, such as those from arrow keys or \
             Ctrl-Z"
    )]
    ControlCharacter,
}

/// The three standard streams, configured by the options.
pub(crate) struct Ui {
    json: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
    /// The width of the terminal in columns, if stderr is one
    width: Option<usize>,
    /// Warnings, which `--json` holds back until success: on failure stderr has only one JSON
    /// object
    warnings: Mutex<Vec<String>>,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

impl Ui {
    pub(crate) fn new(json: bool, quiet: bool, color: ColorWhen) -> Self {
        let wanted = |terminal: bool| match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => terminal,
        };

        Self {
            json,
            quiet,
            color_out: wanted(io::stdout().is_terminal()),
            color_err: wanted(io::stderr().is_terminal()),
            width: terminal_size_of(io::stderr()).map(|(width, _)| usize::from(width.0)),
            warnings: Mutex::default(),
        }
    }

    /// Returns true if results are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns true if no status lines are printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet || self.json
    }

    /// Returns true if stdout is coloured.
    pub(crate) fn is_colored(&self) -> bool {
        self.color_out
    }

    pub(crate) fn stdout_is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Returns true if stderr is coloured.
    pub(crate) fn is_colored_err(&self) -> bool {
        self.color_err
    }

    /// Prints one JSON document and a newline.
    pub(crate) fn json(&self, document: &impl Serialize) -> Result<(), UiError> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write_json(&mut out, document).and_then(|()| out.flush()).map_err(UiError::Stdout)
    }

    /// Prints text unchanged.
    pub(crate) fn text(&self, text: &str) -> Result<(), UiError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(UiError::Stdout)
    }

    /// Prints a status line on stderr.
    pub(crate) fn status(&self, text: &str) {
        if !self.quiet && !self.json {
            self.message("", text);
        }
    }

    /// Returns a progress line that counts `what`. It is shown only on a terminal, and only if the
    /// work takes long.
    pub(crate) fn progress(&self, what: &'static str) -> Progress {
        Progress::new(what, !self.quiet && !self.json && io::stderr().is_terminal())
    }

    /// Prints a warning on stderr.
    pub(crate) fn warn(&self, text: &str) {
        if self.json {
            self.held_back().push(text.to_owned());
        } else {
            self.message(&self.styled(WARNING, "warning:", self.color_err), text);
        }
    }

    fn held_back(&self) -> MutexGuard<'_, Vec<String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints the warnings that were held back until success.
    pub(crate) fn finish(&self) {
        for text in std::mem::take(&mut *self.held_back()) {
            self.stderr(&format!("warning: {}\n", visible(&text)));
        }
    }

    /// Prints an error for people: the message, its notes and the hints. An answer is printed
    /// without a label.
    pub(crate) fn failure(
        &self,
        is_answer: bool,
        message: &str,
        notes: &[String],
        hints: &[String],
    ) {
        let label =
            if is_answer { String::new() } else { self.styled(ERROR, "error:", self.color_err) };
        self.message(&label, message);

        // Notes can quote lines of files with a caret below, so they are not wrapped.
        for note in notes {
            self.stderr(&format!("{}\n", visible(note)));
        }

        for hint in hints {
            self.message(&self.styled(HINT, "hint:", self.color_err), hint);
        }
    }

    /// Prints one message, wrapped at words if stderr is a terminal.
    fn message(&self, label: &str, text: &str) {
        let text = [label, &visible(text)]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ");

        self.stderr(&format!("{}\n", wrap::at_words(&text, self.width)));
    }

    /// Prints an error as one JSON object.
    pub(crate) fn json_failure(&self, document: &impl Serialize) {
        let mut out = Vec::new();
        if write_json(&mut out, document).is_ok() {
            let _ = io::stderr().lock().write_all(&out);
        }
    }

    fn styled(&self, style: Style, text: &str, color: bool) -> String {
        if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    // If stderr cannot be written either, nothing is left to report to.
    fn stderr(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Formats a number of things: `1 file`, `2 files`.
pub(crate) fn counted<N: Copy + Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    if number == N::from(1) { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Formats names in backticks, with commas between them.
pub(crate) fn listed(names: impl IntoIterator<Item = impl Display>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn write_json(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, PlainJson);
    document.serialize(&mut serializer)?;
    out.write_all(b"\n")
}
