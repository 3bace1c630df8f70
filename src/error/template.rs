//! The errors of templates, of their output and of a program's environment. They list each
//! placeholder with its file, line and column.

use std::fmt::Write;

use secrets_core::model::{ProjectName, Tag};
use secrets_files::OutputError;
use secrets_project::setup::SetupError;
use secrets_project::template::grammar::Malformed;
use secrets_project::template::{TemplateError, TemplateFinding, TemplateFindings, UnknownTag};
use secrets_runtime::run::environment::AssignmentError;
use serde_json::json;

use super::{Error, Kind, did_you_mean, hint};

/// The hint for UTF-16 text.
pub(crate) const AS_UTF8: &str = "save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`";

/// Reports an error in a program's environment. `project` is the project whose secrets were used.
///
/// The message does not quote the text around a placeholder, because a variable can contain a plain
/// value as well.
pub(crate) fn assignment(error: AssignmentError, project: &ProjectName) -> Error {
    let message = error.to_string();
    match error {
        AssignmentError::Malformed { place, mut findings } => {
            findings.listed.iter_mut().for_each(|finding| finding.excerpt = None);
            malformed(&[(&place, &findings)])
                .hint("write placeholders as `{{ secrets.TAG | FILTER }}`")
        }
        AssignmentError::Unknown { place, mut findings } => {
            findings.listed.iter_mut().for_each(|finding| finding.excerpt = None);
            unknown(&[(&place, &findings)], project)
        }
        AssignmentError::Nul { .. } | AssignmentError::TooLarge { .. } => {
            Error::usage(message).hint("pass it as a file with `--file NAME=TAG`")
        }
        AssignmentError::Template(error) => error.into(),
    }
}

impl From<TemplateError> for Error {
    fn from(error: TemplateError) -> Self {
        let message = error.to_string();
        match error {
            TemplateError::Vault(error) => error.into(),
            TemplateError::Filter { .. }
            | TemplateError::FilteredTooLarge
            | TemplateError::TooManyReferences => Self::usage(message),
            TemplateError::Utf16(_) => Self::usage(message).hint(AS_UTF8),
            TemplateError::Output(error) => error.into(),
            TemplateError::Moved(_) | TemplateError::Stopped | TemplateError::Io { .. } => {
                Self::new(Kind::Failure, message)
            }
        }
    }
}

impl From<OutputError> for Error {
    fn from(error: OutputError) -> Self {
        let message = error.to_string();
        match error {
            OutputError::Unsafe { .. } => Self::new(Kind::Refused, message)
                .hint("choose a new file, or a regular file that you own, with `-o`"),
            OutputError::NoDirectory(_) => Self::new(Kind::Failure, message)
                .hint("create it with `mkdir -p`, or choose another file; nothing was written"),
            OutputError::Io { .. } => Self::new(Kind::Failure, message),
        }
    }
}

/// Reports an error in a project's files. `project` is the project whose secrets were used.
pub(crate) fn setup(error: SetupError, project: &ProjectName) -> Error {
    fn by_file<T>(found: &[(String, TemplateFindings<T>)]) -> Vec<(&str, &TemplateFindings<T>)> {
        found.iter().map(|(file, findings)| (file.as_str(), findings)).collect()
    }

    let message = error.to_string();
    match error {
        SetupError::Malformed(found) => malformed(&by_file(&found)).hint(
            "fix it, or set other `delimiters` for the template in `.secrets.toml`; nothing was \
             written",
        ),
        SetupError::Unknown(found) => unknown(&by_file(&found), project),
        SetupError::Outside(_) => Error::new(Kind::Refused, message)
            .hint("replace the symbolic link in its path; nothing was written"),
        SetupError::Output(OutputError::Unsafe { .. })
        | SetupError::Template(TemplateError::Output(OutputError::Unsafe { .. })) => {
            Error::new(Kind::Refused, message).hint(
                "move it away, or choose another file in `.secrets.toml`; nothing was written",
            )
        }
        SetupError::Template(error) => error.into(),
        SetupError::Output(error) => error.into(),
        SetupError::Gitignore { .. } => Error::new(Kind::Failure, message),
        SetupError::Git(error) => error.into(),
    }
}

/// Reports invalid placeholders by file.
pub(crate) fn malformed(found: &[(&str, &TemplateFindings<Malformed>)]) -> Error {
    let message = match total(found) {
        1 => "invalid placeholder".to_owned(),
        n => format!("{n} invalid placeholders"),
    };

    let mut error = Error::usage(message);
    error.notes = notes(found, ToString::to_string);
    let places = listed(found).map(|(file, finding)| {
        let p = finding.position;
        json!({ "file": file, "line": p.line, "column": p.column, "reason": finding.what.to_string() })
    });

    let places = json!({ "placeholders": places.collect::<Vec<_>>() });
    error.with_details(places)
}

/// Reports placeholders whose secrets do not exist, by file.
pub(crate) fn unknown(
    found: &[(&str, &TemplateFindings<UnknownTag>)],
    project: &ProjectName,
) -> Error {
    let message = match total(found) {
        1 => format!("a placeholder refers to a secret that does not exist in project `{project}`"),
        n => {
            format!("{n} placeholders refer to secrets that do not exist in project `{project}`")
        }
    };

    let mut error = Error::new(Kind::NotFound, message);
    let text = |what: &UnknownTag| {
        let mut text = format!("`{}`", what.tag);
        if let Some(question) = did_you_mean(what.nearest.as_ref()) {
            let _ = write!(text, ", {question}");
        }

        text
    };

    error.notes = notes(found, text);
    let places = listed(found).map(|(file, finding)| {
        let p = finding.position;
        let suggestion = finding.what.nearest.as_ref().map(Tag::as_str);
        json!({ "tag": finding.what.tag.as_str(), "file": file, "line": p.line, "column": p.column,
                "suggestion": suggestion })
    });

    let places = json!({ "placeholders": places.collect::<Vec<_>>() });
    let hint = match listed(found).find(|(_, finding)| finding.what.nearest.is_none()) {
        Some((_, finding)) => hint!("store it with `secrets create {}`", finding.what.tag),
        None => "fix the template; `secrets list` shows the secrets of the project".into(),
    };

    let error = error.with_details(places).hint(hint);
    match listed(found).next() {
        Some((_, finding)) => error.with_missing_tag(finding.what.tag.clone()),
        None => error,
    }
}

fn total<T>(found: &[(&str, &TemplateFindings<T>)]) -> u64 {
    found.iter().map(|(_, findings)| findings.total).sum()
}

fn listed<'a, T>(
    found: &'a [(&'a str, &'a TemplateFindings<T>)],
) -> impl Iterator<Item = (&'a str, &'a TemplateFinding<T>)> {
    found.iter().flat_map(|(file, findings)| findings.listed.iter().map(|finding| (*file, finding)))
}

fn notes<T>(found: &[(&str, &TemplateFindings<T>)], text: impl Fn(&T) -> String) -> Vec<String> {
    let mut notes = Vec::new();
    for (file, finding) in listed(found) {
        notes.push(format!(
            "{file}:{}:{}: {}",
            finding.position.line,
            finding.position.column,
            text(&finding.what)
        ));

        if let Some((line, caret)) = &finding.excerpt {
            notes.push(format!("    {line}"));
            notes.push(format!("    {}^", " ".repeat(*caret)));
        }
    }

    let more = total(found) - listed(found).count() as u64;
    if more > 0 {
        notes.push(format!("and {more} more"));
    }

    notes
}
