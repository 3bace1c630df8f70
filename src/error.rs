//! Every sentence, hint and exit code of a failure.
//!
//! A message is one sentence in lower case without a full stop, names in backticks; a hint is what mends it. Neither
//! ever holds a value, a type's name or SQLite's words.

use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use crate::agent::PlaceError;
use crate::config::ConfigError;
use crate::crypto::CryptoError;
use crate::model::{ProjectName, SecretRef, Tag};
use crate::run::RunError;
use crate::run::environment::AssignmentError;
use crate::scan::ScanError;
use crate::store::StoreError;
use crate::template::grammar::Malformed;
use crate::template::{Findings, TemplateError, UnknownTag};
use crate::ui::UiError;
use crate::vault::{HolderError, VaultError};

/// What sort of failure: its exit code and its JSON type (contract, section 5). Never renumbered.
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
            Self::Interrupted => 130,
        }
    }

    fn json_type(self) -> &'static str {
        match self {
            Self::Failure | Self::Interrupted => "INTERNAL_ERROR",
            Self::Usage => "BAD_REQUEST",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict | Self::Differs => "CONFLICT",
            Self::Locked => "UNAUTHORIZED",
            Self::Damaged => "UNPROCESSABLE_CONTENT",
            Self::Refused => "FORBIDDEN",
        }
    }
}

/// A failure as it is told.
#[derive(Debug)]
pub(crate) struct Error {
    kind: Kind,
    message: String,
    notes: Vec<String>,
    hints: Vec<String>,
    details: Option<serde_json::Value>,
    /// A reader of stdout went away: nobody is to be told anything
    closed_pipe: bool,
    /// What `run` exits with instead of its kind's code
    code: Option<u8>,
}

/// A failure in JSON.
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
        Self { kind, message, notes: Vec::new(), hints: Vec::new(), details: None, closed_pipe: false, code: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn detailed(mut self, details: serde_json::Value) -> Self {
        self.details = Some(details);
        self
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.code.unwrap_or_else(|| self.kind.exit_code())
    }

    /// A failure of `run` itself: 125, as env(1) and timeout(1) have it, so that it is not taken for the program's.
    pub(crate) fn in_run(mut self) -> Self {
        if self.kind != Kind::Interrupted {
            self.code.get_or_insert(125);
        }
        self
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

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    pub(crate) fn json(&self) -> ErrorJson<'_> {
        let mut details = self.details.clone();
        if !self.hints.is_empty() {
            let object = details.get_or_insert_with(|| json!({}));
            object["hints"] = json!(self.hints);
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
            UiError::NoTerminal => Self::new(Kind::Locked, message),
            UiError::Interrupted => Self::new(Kind::Interrupted, message),
            UiError::Terminal(_) => Self::new(Kind::Failure, message),
            UiError::ControlCharacter => Self::usage(message)
                .hint("type it again; to keep one, pipe the value in, or use `--value-file PATH`; nothing was stored"),
            UiError::SeveralLines => {
                Self::usage(message).hint("pipe it in, or use `--value-file PATH`; nothing was stored")
            }
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::EmptyVaultPath | ConfigError::NoDataDirectory => {
                "name it with `--vault PATH` or SECRETS_VAULT"
            }
            ConfigError::NoAgentDirectory => "set XDG_RUNTIME_DIR to a directory of your own",
            ConfigError::Project { .. } => "name another one with `--project NAME`",
            ConfigError::Manifest { .. } => "the file's line should read: project = \"NAME\"",
        };
        Self::usage(error.to_string()).hint(hint)
    }
}

impl From<CryptoError> for Error {
    fn from(error: CryptoError) -> Self {
        let message = error.to_string();
        match error {
            CryptoError::WrongPassphrase => Self::new(Kind::Locked, message)
                .hint("it is the one given at `secrets init`; there is no way in without it"),
            CryptoError::Damaged(_) => Self::new(Kind::Damaged, message).hint(RESTORE),
            CryptoError::Unsupported(_) => Self::new(Kind::Damaged, message),
            CryptoError::Memory(_) | CryptoError::KeyMemory | CryptoError::Random => Self::new(Kind::Failure, message),
        }
    }
}

const RESTORE: &str = "nothing of it was used; put back a copy of the vault from a backup";

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Missing(_) => Self::new(Kind::NotFound, message).hint("make one with `secrets init`"),
            StoreError::Exists(_) => {
                Self::new(Kind::Conflict, message).hint("make another one with `secrets init --vault PATH`")
            }
            StoreError::BadPath(_) => Self::usage(message).hint("name a file with `--vault PATH` or SECRETS_VAULT"),
            StoreError::Unsafe { mend, .. } => {
                let error = Self::new(Kind::Refused, message);
                match mend {
                    Some(command) => error.hint(format!("mend it with `{command}`")),
                    None => error,
                }
            }
            StoreError::NotAVault(_) => {
                Self::new(Kind::Damaged, message).hint("name the vault with `--vault PATH` or SECRETS_VAULT")
            }
            StoreError::Format(_) => {
                Self::new(Kind::Damaged, message).hint("use the version of `secrets` that made it")
            }
            StoreError::Damaged(_) => Self::new(Kind::Damaged, message).hint(RESTORE),
            StoreError::Busy
            | StoreError::ReadOnly
            | StoreError::Full
            | StoreError::Sqlite(_)
            | StoreError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}

fn did_you_mean(nearest: Option<&impl std::fmt::Display>) -> Option<String> {
    nearest.map(|name| format!("did you mean `{name}`?"))
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        let message = error.to_string();
        match error {
            VaultError::Store(error) => error.into(),
            VaultError::Crypto(error) => error.into(),
            VaultError::Holder(error) => error.into(),
            VaultError::Record { .. } | VaultError::Project { .. } => Self::new(Kind::Damaged, message).hint(RESTORE),
            VaultError::NoSecret { wanted, project, nearest } => {
                let place = match wanted {
                    SecretRef::Tag(_) => format!("in project `{project}`"),
                    SecretRef::Id(_) => "in any project".into(),
                };
                Self::new(Kind::NotFound, format!("{message} {place}"))
                    .hint(did_you_mean(nearest.as_ref()).unwrap_or_else(|| "`secrets list` shows what is there".into()))
            }
            VaultError::NoProject { nearest, .. } => Self::new(Kind::NotFound, message).hint(
                did_you_mean(nearest.as_ref()).unwrap_or_else(|| "`secrets project list` shows what is there".into()),
            ),
            VaultError::Exists(secrets) => exists(&secrets),
            VaultError::ProjectExists(_) => Self::new(Kind::Conflict, message),
            VaultError::TooManyProjects => Self::usage(message).hint("make another vault with `--vault PATH`"),
            VaultError::Changed(_) => {
                Self::new(Kind::Conflict, message).hint("nothing was written; look at it and try again")
            }
            VaultError::SameTarget(..) => Self::new(Kind::Conflict, message).hint("clone them one by one with `--tag`"),
            VaultError::OntoItself(_) => {
                Self::usage(message).hint("name another project with `--to`, or another tag with `--tag`")
            }
        }
    }
}

const RESTART: &str = "`secrets lock --all` ends it; then `secrets unlock` again";

impl From<HolderError> for Error {
    fn from(error: HolderError) -> Self {
        let message = error.to_string();
        match error {
            HolderError::Locked | HolderError::OtherSlots => {
                Self::new(Kind::Locked, message).hint("unlock it with `secrets unlock`")
            }
            HolderError::Replaced => {
                Self::new(Kind::Damaged, message).hint("if that was you, `secrets unlock` takes this one")
            }
            HolderError::RolledBack(_) => Self::new(Kind::Damaged, message)
                .hint("put the newest copy back; if the older one is wanted, `secrets lock` and unlock it again"),
            HolderError::OtherVersion | HolderError::Nonsense => Self::new(Kind::Failure, message).hint(RESTART),
            HolderError::Silent => Self::new(Kind::Failure, message)
                .hint("`pkill -KILL -x -u $(id -u) secrets-agent` ends it; then `secrets unlock` again"),
            HolderError::TooMany => Self::new(Kind::Failure, message).hint("`secrets lock --all` makes room"),
            HolderError::Impostor => Self::new(Kind::Refused, message),
            HolderError::Failed | HolderError::Io(_) => Self::new(Kind::Failure, message),
        }
    }
}

impl From<PlaceError> for Error {
    fn from(error: PlaceError) -> Self {
        let message = error.to_string();
        match error {
            PlaceError::Unsafe { path, .. } => Self::new(Kind::Refused, message)
                .hint(format!("the agent needs a directory of your own, mode 700: `{}`", path.display())),
            PlaceError::TooLong(_) => {
                Self::usage(message).hint("set XDG_RUNTIME_DIR to a directory with a shorter path")
            }
            PlaceError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}

impl From<ScanError> for Error {
    fn from(error: ScanError) -> Self {
        Self::new(Kind::Failure, error.to_string())
    }
}

/// What a program's environment is made of; `project` is where its secrets were looked for.
pub(crate) fn assignment(error: AssignmentError, project: &ProjectName) -> Error {
    let message = error.to_string();
    match error {
        AssignmentError::Malformed { place, findings } => {
            malformed(&findings, &place).hint("mend it; `{{ secrets.TAG | FILTER }}` is what it looks like")
        }
        AssignmentError::Unknown { place, findings } => unknown(&findings, &place, project),
        AssignmentError::Nul { .. } => Error::usage(message).hint("give it with `--file NAME=TAG`"),
        AssignmentError::Template(error) => error.into(),
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        let message = error.to_string();
        match error {
            RunError::NotFound(_) => Self { code: Some(127), ..Self::new(Kind::NotFound, message) },
            RunError::NotExecutable { .. } => Self { code: Some(126), ..Self::new(Kind::Failure, message) },
            RunError::Output(_) | RunError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}

fn exists(secrets: &[crate::model::Secret]) -> Error {
    let tags: Vec<&str> = secrets.iter().map(|secret| secret.metadata.tag.as_str()).collect();
    let project = secrets.first().map_or_else(String::new, |secret| secret.project.to_string());
    let error = match secrets {
        [only] => {
            let tag = only.metadata.tag.as_str();
            Error::new(Kind::Conflict, format!("there is a secret `{tag}` in project `{project}` already"))
        }
        _ => {
            let message = format!("there are {} secrets of these tags in project `{project}` already", secrets.len());
            let mut error = Error::new(Kind::Conflict, message);
            error.notes = tags.iter().map(|tag| format!("  {tag}")).collect();
            error
        }
    };
    error.detailed(json!({ "tags": tags, "project": project }))
}

impl From<TemplateError> for Error {
    fn from(error: TemplateError) -> Self {
        let message = error.to_string();
        match error {
            TemplateError::Vault(error) => error.into(),
            TemplateError::Filter { .. } | TemplateError::FilteredTooLarge | TemplateError::TooManyReferences => {
                Self::usage(message)
            }
            TemplateError::UnsafeOutput { .. } => {
                Self::new(Kind::Refused, message).hint("name a regular file of your own, or a new one, with `-o`")
            }
            TemplateError::Moved(_) | TemplateError::Stopped | TemplateError::Io { .. } => {
                Self::new(Kind::Failure, message)
            }
        }
    }
}

/// Drops the number that std puts behind the system's words: "No such file or directory (os error 2)".
fn without_number(mut message: String) -> String {
    if let Some(at) = message.rfind(" (os error ")
        && message.ends_with(')')
    {
        message.truncate(at);
    }
    message
}

/// Placeholders that are not well formed.
pub(crate) fn malformed(findings: &Findings<Malformed>, file: &str) -> Error {
    let message = match findings.total {
        1 => "a placeholder is not well formed".to_owned(),
        n => format!("{n} placeholders are not well formed"),
    };
    let mut error = Error::usage(message);
    error.notes = notes(findings, file, ToString::to_string);
    let places = findings.listed.iter().map(|finding| {
        let p = finding.position;
        json!({ "file": file, "line": p.line, "column": p.column, "reason": finding.what.to_string() })
    });
    let places = json!({ "placeholders": places.collect::<Vec<_>>() });
    error.detailed(places)
}

/// Placeholders that name no secret.
pub(crate) fn unknown(findings: &Findings<UnknownTag>, file: &str, project: &ProjectName) -> Error {
    let message = match findings.total {
        1 => format!("a placeholder names no secret in project `{project}`"),
        n => format!("{n} placeholders name no secret in project `{project}`"),
    };
    let mut error = Error::new(Kind::NotFound, message);
    let text = |what: &UnknownTag| {
        let mut text = format!("`{}`", what.tag);
        if let Some(question) = did_you_mean(what.nearest.as_ref()) {
            let _ = write!(text, ", {question}");
        }
        text
    };
    error.notes = notes(findings, file, text);
    let places = findings.listed.iter().map(|finding| {
        let p = finding.position;
        let suggestion = finding.what.nearest.as_ref().map(Tag::as_str);
        json!({ "tag": finding.what.tag.as_str(), "file": file, "line": p.line, "column": p.column,
                "suggestion": suggestion })
    });
    let places = json!({ "placeholders": places.collect::<Vec<_>>() });
    let hint = match findings.listed.iter().find(|finding| finding.what.nearest.is_none()) {
        Some(finding) => format!("store it with `secrets create --tag {}`", finding.what.tag),
        None => "mend the template; `secrets list` shows what is there".to_owned(),
    };
    error.detailed(places).hint(hint)
}

fn notes<T>(findings: &Findings<T>, file: &str, text: impl Fn(&T) -> String) -> Vec<String> {
    let mut notes = Vec::new();
    for finding in &findings.listed {
        notes.push(format!("{file}:{}:{}: {}", finding.position.line, finding.position.column, text(&finding.what)));
        if let Some((line, caret)) = &finding.excerpt {
            notes.push(format!("    {line}"));
            notes.push(format!("    {}^", " ".repeat(*caret)));
        }
    }
    let more = findings.total - findings.listed.len() as u64;
    if more > 0 {
        notes.push(format!("and {more} more"));
    }
    notes
}
