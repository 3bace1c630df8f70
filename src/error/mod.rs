//! The message, the hints and the exit code of every error. `age`, `agent`, `template` and `vault`
//! convert the errors of those modules.
//!
//! A message is one sentence in lower case without a full stop, with names in backticks. A hint
//! says how to fix the problem. Neither ever contains a secret's value, the name of a type or
//! SQLite's own error text.

mod age;
mod agent;
mod hint;
mod server;
mod template;
mod vault;

use secrets_core::model::Tag;
use secrets_files::ReplaceError;
use secrets_project::git::GitError;
use secrets_project::scan::ScanError;
use secrets_runtime::run::RunError;
use serde::Serialize;
use serde_json::json;

use crate::config::ConfigError;
use crate::ui::UiError;
pub(crate) use age::age_file;
pub(crate) use hint::{Hint, Selection, hint};
pub(crate) use template::{AS_UTF8, assignment, malformed, setup, unknown};
pub(crate) use vault::findings;

/// The kind of an error, which decides its exit code and the `type` of its JSON form. Exit codes
/// never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Failure,
    Usage,
    NotFound,
    Conflict,
    Locked,
    Damaged,
    Refused,
    Differs,
    /// An answer whose status is 400 or more
    FailedAnswer,
    Interrupted,
}

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Locked => 5,
            Self::Damaged => 6,
            Self::Refused => 7,
            Self::Differs => 8,
            Self::FailedAnswer => 9,
            Self::Interrupted => 130,
        }
    }

    fn json_type(self) -> &'static str {
        match self {
            Self::Failure | Self::FailedAnswer | Self::Interrupted => "INTERNAL_ERROR",
            Self::Usage => "BAD_REQUEST",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict | Self::Differs => "CONFLICT",
            Self::Locked => "UNAUTHORIZED",
            Self::Damaged => "UNPROCESSABLE_CONTENT",
            Self::Refused => "FORBIDDEN",
        }
    }
}

/// An error as it is shown to the user.
#[derive(Debug)]
pub(crate) struct Error {
    kind: Kind,
    message: String,
    notes: Vec<String>,
    hints: Vec<Hint>,
    /// The details of the JSON form, boxed because few errors have them
    details: Option<Box<serde_json::Value>>,
    /// True if the reader of stdout closed it, in which case nothing is printed
    closed_pipe: bool,
    /// The exit code of `run`, which replaces that of the kind
    code: Option<u8>,
    /// The tag that does not exist in the project
    missing: Option<Tag>,
    /// True if this is the result of a command and not a failure: it is printed without `error:`
    is_answer: bool,
}

#[derive(Serialize)]
pub(crate) struct ErrorJson<'a> {
    r#type: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<serde_json::Value>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = without_number(message.into());
        Self {
            kind,
            message,
            notes: Vec::new(),
            hints: Vec::new(),
            details: None,
            closed_pipe: false,
            code: None,
            missing: None,
            is_answer: false,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Reports a case that only a bug in this program can cause.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Failure, message).hint("this is a bug of `secrets`; please report it")
    }

    pub(crate) fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Replaces all hints with this one.
    pub(crate) fn with_only_hint(self, hint: impl Into<Hint>) -> Self {
        Self { hints: vec![hint.into()], ..self }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Sets the lines that are printed below the message.
    pub(crate) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes = notes;
        self
    }

    /// Sets the `details` of the JSON form.
    pub(crate) fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// Marks the message as the result that the user asked for. It is printed without `error:`, and
    /// the exit code carries the rest.
    pub(crate) fn into_answer(mut self) -> Self {
        self.is_answer = true;
        self
    }

    /// Returns true if this is the result of a command and not a failure.
    pub(crate) fn is_answer(&self) -> bool {
        self.is_answer
    }

    /// Returns true if the command was refused, and not by the answer to a question.
    pub(crate) fn is_refusal(&self) -> bool {
        self.kind == Kind::Refused && !self.is_answer
    }

    /// Records the tag that does not exist in the project, because another project may have it.
    pub(crate) fn with_missing_tag(mut self, tag: Tag) -> Self {
        self.missing = Some(tag);
        self
    }

    /// Returns the tag that does not exist in the project.
    pub(crate) fn missing_tag(&self) -> Option<&Tag> {
        self.missing.as_ref()
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.code.unwrap_or_else(|| self.kind.exit_code())
    }

    /// Sets the exit code to 125, as env(1) and timeout(1) do, so that a failure of `run` itself is
    /// not mistaken for one of the program.
    pub(crate) fn in_run(mut self) -> Self {
        if self.kind != Kind::Interrupted {
            self.code.get_or_insert(125);
        }

        self
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.kind == Kind::Interrupted
    }

    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn has_hints(&self) -> bool {
        !self.hints.is_empty()
    }

    /// Returns the text of the hints. `selection` is what the options of this command select.
    pub(crate) fn hints(&self, selection: &Selection) -> Vec<String> {
        self.hints.iter().map(|hint| hint.render(selection)).collect()
    }

    pub(crate) fn json(&self, selection: &Selection) -> ErrorJson<'_> {
        let mut details = self.details.as_deref().cloned();
        if details.is_none() && !self.notes.is_empty() {
            let notes: Vec<&str> = self.notes.iter().map(|note| note.trim()).collect();
            details = Some(json!({ "notes": notes }));
        }

        if self.has_hints() {
            let object = details.get_or_insert_with(|| json!({}));
            object["hints"] = json!(self.hints(selection));
        }

        ErrorJson { r#type: self.kind.json_type(), message: &self.message, details }
    }
}

impl From<UiError> for Error {
    fn from(error: UiError) -> Self {
        let message = error.to_string();
        match error {
            UiError::Stdout(source) => {
                let closed_pipe = source.kind() == std::io::ErrorKind::BrokenPipe;
                Self { closed_pipe, ..Self::new(Kind::Failure, message) }
            }
            UiError::TooLarge(..) => Self::usage(message),
            UiError::StdinTaken => Self::usage(message)
                .hint("read one of them from a file, for example with `--passphrase-file PATH`"),
            UiError::NoTerminal => Self::new(Kind::Locked, message),
            UiError::Interrupted => Self::new(Kind::Interrupted, message),
            UiError::Terminal(_) | UiError::Input { .. } => Self::new(Kind::Failure, message),
            UiError::ControlCharacter => Self::usage(message).hint(
                "type it again; if the value needs that character, pipe the value in or use \
                 `--value-file PATH`; nothing was stored",
            ),
            UiError::SeveralLines => Self::usage(message)
                .hint("pipe the value in, or use `--value-file PATH`; nothing was stored"),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::EmptyVaultPath | ConfigError::NoDataDirectory => {
                "set it with `--vault PATH` or SECRETS_VAULT"
            }
            ConfigError::NoAgentDirectory => "set XDG_RUNTIME_DIR to a directory that you own",
            ConfigError::Project { .. } => "choose another project with `--project NAME`",
            ConfigError::Environment { .. } => "choose another environment with `-E NAME`",
            ConfigError::Manifest { .. } => {
                "see `secrets setup --help` for what the file can contain; it never holds a value"
            }
        };

        Self::usage(error.to_string()).hint(hint)
    }
}

fn did_you_mean(nearest: Option<&impl std::fmt::Display>) -> Option<String> {
    nearest.map(|name| format!("did you mean `{name}`?"))
}

impl From<ScanError> for Error {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Git(error) => error.into(),
            error => Self::new(Kind::Failure, error.to_string()),
        }
    }
}

impl From<GitError> for Error {
    fn from(error: GitError) -> Self {
        let message = error.to_string();
        let failure = Self::new(Kind::Failure, message);
        match error {
            GitError::NoRepository(_) => failure
                .hint("change to the working tree of a repository, or create one with `git init`"),
            GitError::Invalid { .. } | GitError::Object { .. } => {
                failure.hint("check the repository with `git fsck`")
            }
            GitError::Missing(_) => failure.hint(
                "fetch it with `git fetch`; a partial clone omits objects, and `secrets` never \
                 fetches them",
            ),
            GitError::Io { .. } => failure,
        }
    }
}

impl From<ReplaceError> for Error {
    fn from(error: ReplaceError) -> Self {
        let message = error.to_string();
        match error {
            ReplaceError::Changed { .. } => Self::new(Kind::Conflict, message)
                .hint("run the command again; nothing was changed"),
            ReplaceError::Failed { .. } => {
                Self::new(Kind::Failure, message).hint("nothing was changed")
            }
            ReplaceError::NotPutBack { .. } => Self::new(Kind::Failure, message),
        }
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        let message = error.to_string();
        match error {
            RunError::NotFound(_) => Self { code: Some(127), ..Self::new(Kind::NotFound, message) },
            RunError::NotExecutable { source, .. } => {
                let error = Self { code: Some(126), ..Self::new(Kind::Failure, message) };
                match source.kind() {
                    std::io::ErrorKind::ArgumentListTooLong => error.hint(
                        "select fewer secrets with `--only TAG,...`, or pass large ones as files \
                         with `--file NAME=TAG`",
                    ),
                    _ => error,
                }
            }
            RunError::Output(_) | RunError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}

/// Removes the number that std appends to the system's error text, as in "No such file or directory
/// (os error 2)".
fn without_number(mut message: String) -> String {
    if let Some(at) = message.rfind(" (os error ")
        && message.ends_with(')')
    {
        message.truncate(at);
    }

    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrets_core::crypto::CryptoError;
    use secrets_core::vault::{KeyServiceError, VaultError};

    #[test]
    fn a_bug_is_not_reported_as_damage() {
        let errors = [
            VaultError::Internal("what happened"),
            CryptoError::Internal("what happened").into(),
            KeyServiceError::Internal("what happened").into(),
        ];

        for error in errors {
            assert!(!error.is_damage());
            let error = Error::from(error);
            assert_eq!((error.kind(), error.exit_code()), (Kind::Failure, 1));
            assert_eq!(error.message(), "internal error: what happened");
            let hints = error.hints(&Selection::default());
            assert_eq!(hints, ["this is a bug of `secrets`; please report it"]);
        }
    }
}
