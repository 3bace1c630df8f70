//! Output for people and scripts: results on stdout, everything else on stderr.
//!
//! It receives names, hints and counts, but never a value. Text from a vault is escaped before it
//! is printed.

pub(crate) mod escape;
pub(crate) mod input;
mod progress;
pub(crate) mod prompt;
pub(crate) mod raw;
mod table;
pub(crate) mod time;
mod turn;
mod wrap;

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use terminal_size::terminal_size_of;

use crate::model::{Secret, SecretBytes, Timestamp};
use escape::{PlainJson, visible, visible_lines};
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

/// Why input or output failed.
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
    warnings: RefCell<Vec<String>>,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const LABEL: Style = Style::new().bold();

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
            warnings: RefCell::default(),
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

    /// Returns true if stdout is a terminal.
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

    /// Returns a writer to stdout for results that arrive one at a time.
    pub(crate) fn results(&self) -> Results {
        Results(io::BufWriter::new(io::stdout()))
    }

    /// Prints a recovery code: on a terminal in two lines, which fit everywhere, otherwise in one.
    /// As JSON, `members` come first. No buffer keeps a part of it.
    pub(crate) fn code(&self, code: &SecretBytes, members: &[(&str, u64)]) -> Result<(), UiError> {
        let mut line = SecretBytes::with_capacity(512);
        if self.json {
            line.push(b'{');
            for (name, number) in members {
                line.extend(format!("\"{name}\":{number},").as_bytes());
            }

            line.extend(b"\"recoveryCode\":\"");
            line.extend(code.expose());
            line.extend(b"\"}");
        } else {
            let (first, second) = code.expose().split_at(code.len().div_ceil(2));
            line.extend(first);
            line.extend(if io::stdout().is_terminal() { b"\n" } else { b"" });
            line.extend(second);
        }

        line.push(b'\n');
        let mut rest = line.expose();
        while !rest.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), rest));
            rest = &rest[written.map_err(|error| UiError::Stdout(error.into()))?..];
        }

        Ok(())
    }

    /// Prints text unchanged.
    pub(crate) fn text(&self, text: &str) -> Result<(), UiError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(UiError::Stdout)
    }

    /// Prints one secret's metadata and hint.
    pub(crate) fn show(&self, secret: &Secret) -> Result<(), UiError> {
        if self.json {
            return self.json(&SecretJson::of(secret));
        }

        let m = &secret.metadata;
        let id = secret.id.to_string();
        let (created, updated) = (time::local(m.created), time::local(m.updated));
        let description = m
            .description
            .as_ref()
            .map(|text| visible_lines(text.as_str()).replace('\n', "\n             "));

        let lines = [
            ("tag", Some(m.tag.to_string())),
            ("name", m.name.as_ref().map(|name| visible(name.as_str()))),
            ("description", description),
            ("project", Some(secret.project.to_string())),
            ("hint", Some(visible(m.hint.as_str()))),
            ("id", Some(id)),
            ("created", Some(created)),
            ("updated", Some(updated)),
        ];

        let lines: Vec<_> =
            lines.into_iter().filter_map(|(label, text)| Some((label, text?))).collect();
        self.labelled(&lines)
    }

    /// Prints labelled lines. The texts have to be escaped already.
    pub(crate) fn labelled(&self, lines: &[(&str, String)]) -> Result<(), UiError> {
        let line = |(label, text): &(&str, String)| {
            format!("{}{text}\n", self.styled(LABEL, &format!("{label:<13}"), self.color_out))
        };

        self.text(&lines.iter().map(line).collect::<String>())
    }

    /// Prints secrets as a table on a terminal, otherwise as lines with tab-separated columns.
    pub(crate) fn list(&self, secrets: &[Secret], with_project: bool) -> Result<(), UiError> {
        self.table(table::of_secrets(secrets, with_project))
    }

    /// Prints rows in the same way. The texts have to be escaped already.
    pub(crate) fn rows<const N: usize>(
        &self,
        titles: [&'static str; N],
        rows: &[[String; N]],
    ) -> Result<(), UiError> {
        self.table(table::of_rows(titles, rows))
    }

    fn table(&self, columns: Vec<table::Column>) -> Result<(), UiError> {
        let terminal = io::stdout().is_terminal();
        self.text(&if terminal {
            table::table(columns, self.color_out)
        } else {
            table::lines(&columns)
        })
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
            self.warnings.borrow_mut().push(text.to_owned());
        } else {
            self.message(&self.styled(WARNING, "warning:", self.color_err), text);
        }
    }

    /// Prints the warnings that were held back until success.
    pub(crate) fn finish(&self) {
        for text in self.warnings.take() {
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

/// A writer for results that arrive one at a time.
pub(crate) struct Results(io::BufWriter<io::Stdout>);

impl Results {
    pub(crate) fn text(&mut self, text: &str) -> Result<(), UiError> {
        self.0.write_all(text.as_bytes()).map_err(UiError::Stdout)
    }

    pub(crate) fn json(&mut self, document: &impl Serialize) -> Result<(), UiError> {
        let mut serializer = serde_json::Serializer::with_formatter(&mut self.0, PlainJson);
        document.serialize(&mut serializer).map_err(|error| UiError::Stdout(error.into()))
    }

    pub(crate) fn finish(mut self) -> Result<(), UiError> {
        self.0.flush().map_err(UiError::Stdout)
    }
}

fn write_json(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, PlainJson);
    document.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// A secret in JSON. The field names are those of Cortex's API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretJson<'a> {
    id: String,
    tag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    project: &'a str,
    hint: &'a str,
    created_at: String,
    updated_at: String,
}

impl<'a> SecretJson<'a> {
    pub(crate) fn of(secret: &'a Secret) -> Self {
        let m = &secret.metadata;
        Self {
            id: secret.id.to_string(),
            tag: m.tag.as_str(),
            name: m.name.as_ref().map(crate::model::Name::as_str),
            description: m.description.as_ref().map(crate::model::Description::as_str),
            project: secret.project.as_str(),
            hint: m.hint.as_str(),
            created_at: m.created.rfc3339(),
            updated_at: m.updated.rfc3339(),
        }
    }
}

/// Several secrets in JSON, without paging.
#[derive(Serialize)]
pub(crate) struct SecretsJson<'a> {
    secrets: Vec<SecretJson<'a>>,
}

impl<'a> SecretsJson<'a> {
    pub(crate) fn of(secrets: &'a [Secret]) -> Self {
        Self { secrets: secrets.iter().map(SecretJson::of).collect() }
    }
}
