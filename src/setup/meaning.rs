//! Whether a rendered file means what its template means: every reader of a dotenv file takes the stored values from it,
//! and a JSON or YAML file still has the template's structure.
//!
//! A finding names variables, tags and readers, never a value.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;

use super::structure::{self, Format};
use crate::dotenv::readers::{Reader, Readers};
use crate::dotenv::{self, Entry};
use crate::model::{SecretBytes, Tag};
use crate::template::filter::Filter;
use crate::template::grammar::{Grammar, Placeholder};
use crate::template::{
    Event, Resolved, ScanDetails, ScanError, Template, TemplateError, WINDOW, scan,
};

/// Bytes of a template that are looked at, and of what it is rendered to: whoever writes a template could ask for any
/// number of large values.
const TEMPLATE: u64 = 1024 * 1024;
const RENDERED: usize = 2 * 1024 * 1024;

/// What a rendered file does not mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Variables of a dotenv file that some of its readers take otherwise
    Misread {
        /// The variables
        names: Vec<String>,
        /// The readers
        readers: Vec<Reader>,
    },
    /// Variables of a dotenv file that some of its readers cannot have, whatever their values are
    Unreadable {
        /// The variables
        names: Vec<String>,
        /// The readers
        readers: Vec<Reader>,
    },
    /// The file is broken, or has another structure than its template
    Structure {
        /// What the file is
        format: Format,
        /// The secret whose value breaks it, if one alone does
        tag: Option<Tag>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misread { names, readers } => {
                let (verb, value) = (
                    if readers.len() == 1 { "reads" } else { "read" },
                    if names.len() == 1 { "another value" } else { "other values" },
                );

                let readers = listed(readers.iter().map(|reader| reader.name()));
                write!(f, "{readers} {verb} {value} of {}; ", listed(names))?;
                f.write_str(
                    "write the placeholder without quotes and with the filter `dotenv`, or name the file's `readers`",
                )
            }
            Self::Unreadable { names, readers } => {
                let named = listed(readers.iter().map(|reader| reader.name()));
                let what = match (&readers[..], names.len()) {
                    ([Reader::Bash], 1) => "has no variable of the name",
                    ([Reader::Bash], _) => "has no variable of the names",
                    ([_], 1) => "gets no variable from the line of",
                    ([_], _) => "gets no variables from the lines of",
                    (_, 1) => "get no variable from the line of",
                    _ => "get no variables from the lines of",
                };

                write!(f, "{named} {what} {}; ", listed(names))?;
                f.write_str("name the programs that read the file in `readers`")
            }
            Self::Structure { format, tag } => {
                match tag {
                    Some(tag) => write!(f, "the value of `{tag}` breaks the {format}; ")?,
                    None => write!(f, "the stored values break the {format}; ")?,
                }

                f.write_str(
                    "write its placeholder between double quotes and with the filter `json`",
                )
            }
        }
    }
}

fn listed(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// Returns what is to be said of a template's output. `readers` are those that somebody named.
pub fn warnings(
    output: &Path,
    template: &mut Template,
    resolved: &Resolved,
    readers: Option<Readers>,
) -> Result<Vec<Warning>, TemplateError> {
    let name = output.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let format = Format::of(&name);
    if !is_dotenv(&name) && format.is_none() {
        return Ok(Vec::new());
    }

    let Some(text) = template.text(TEMPLATE)? else { return Ok(Vec::new()) };

    if let Some(format) = format {
        return Ok(structure::broken(format, &text, resolved).into_iter().collect());
    }

    Ok(misread(&text, resolved, readers))
}

/// Returns the variables of a dotenv file that its readers cannot have, of those that `is_meant` chooses.
pub fn unreadable(
    text: &[u8],
    is_meant: impl Fn(&str) -> bool,
    named: Option<Readers>,
) -> Vec<Warning> {
    let readers = likely_readers(text, named);
    let mut found = MisreadVariables::default();
    for entry in
        dotenv::parse(text).unwrap_or_default().iter().filter(|entry| is_meant(&entry.name))
    {
        let head = head(text, entry);
        found.note(readers.iter().filter(|reader| !reader.reads_name(head)).collect(), &entry.name);
    }

    found.warnings(|names, readers| Warning::Unreadable { names, readers })
}

/// The readers that somebody named, or those that a file whose readers nobody named probably has.
fn likely_readers(text: &[u8], named: Option<Readers>) -> Readers {
    let readers = named.unwrap_or_default();

    // A shell makes the carriage returns of Windows' lines parts of values: nobody means such a file for one.
    let is_for_shells = named.is_some() || memchr::memmem::find(text, b"\r\n").is_none();
    readers.iter().filter(|reader| is_for_shells || *reader != Reader::Bash).collect()
}

/// What precedes the `=` of an assignment.
fn head<'t>(text: &'t [u8], entry: &Entry) -> &'t [u8] {
    let line = &text[entry.whole.clone()];
    &line[..memchr::memchr(b'=', line).unwrap_or_default()]
}

/// Variables by the readers that take something else.
#[derive(Default)]
struct MisreadVariables(Vec<(Vec<Reader>, Vec<String>)>);

impl MisreadVariables {
    fn note(&mut self, readers: Vec<Reader>, name: &str) {
        if readers.is_empty() {
            return;
        }

        match self.0.iter_mut().find(|(known, _)| *known == readers) {
            Some((_, names)) => names.push(name.to_owned()),
            None => self.0.push((readers, vec![name.to_owned()])),
        }
    }

    fn warnings(self, warning: impl Fn(Vec<String>, Vec<Reader>) -> Warning) -> Vec<Warning> {
        self.0.into_iter().map(|(readers, names)| warning(names, readers)).collect()
    }
}

/// True for the usual names of dotenv files.
pub fn is_dotenv(name: &str) -> bool {
    name.starts_with(".env.") || name.rsplit_once('.').is_some_and(|(_, ending)| ending == "env")
}

/// Variables by the readers that take them otherwise. Constants, and values that a filter writes into a longer text, are
/// looked at only if the readers were named.
fn misread(text: &[u8], resolved: &Resolved, named: Option<Readers>) -> Vec<Warning> {
    let Ok(entries) = dotenv::parse(text) else { return Vec::new() };
    let readers = likely_readers(text, named);
    let (mut misread, mut unreadable) = (MisreadVariables::default(), MisreadVariables::default());
    let mut left = RENDERED;

    for (at, entry) in entries.iter().enumerate() {
        let end = entries.get(at + 1).map_or(text.len(), |next| next.whole.start);
        let head = head(text, entry);
        let piece = &text[entry.whole.start + head.len() + 1..end];
        if named.is_none() && placeholders(&text[entry.span.clone()], resolved.grammar()).is_empty()
        {
            continue;
        }

        let Some(rendered) = rendered(piece, resolved, left) else { break };
        left -= rendered.len();
        let intended = intended(entry, resolved);
        if named.is_none() && intended.is_none() {
            continue;
        }

        // A value is judged only by readers that have the variable.
        let (able, unable): (Vec<Reader>, Vec<Reader>) =
            readers.iter().partition(|reader| reader.reads_name(head));
        unreadable.note(unable, &entry.name);
        let able = able.into_iter().collect();
        misread.note(wrong_readers(able, rendered.expose(), intended.as_ref()), &entry.name);
    }

    let mut all = misread.warnings(|names, readers| Warning::Misread { names, readers });
    all.extend(unreadable.warnings(|names, readers| Warning::Unreadable { names, readers }));
    all
}

/// The readers that take something else than what is intended, or, if nobody can say what is intended, those that do not
/// take what the first one takes.
fn wrong_readers(readers: Readers, text: &[u8], intended: Option<&SecretBytes>) -> Vec<Reader> {
    let first;
    let intended = match intended {
        Some(intended) => intended,
        None => {
            let Some(read) = readers.iter().find_map(|reader| reader.read(text)) else {
                return readers.iter().collect();
            };

            first = read;
            &first
        }
    };

    readers.iter().filter(|reader| !reader.reads_as(text, intended.expose())).collect()
}

/// The value that a variable is meant to have; `None` if a filter writes a part of it for some reader.
fn intended(entry: &Entry, resolved: &Resolved) -> Option<SecretBytes> {
    let value = entry.value.expose();
    let found = placeholders(value, resolved.grammar());
    let writes = |placeholder: &Placeholder| {
        matches!(placeholder.filters.last(), Some(Filter::Dotenv | Filter::Shell | Filter::Json))
    };

    match &found[..] {
        [(placeholder, length)] if *length == value.len() && writes(placeholder) => {
            resolved.before_last_filter(placeholder)
        }
        all if all.iter().any(|(placeholder, _)| writes(placeholder)) => None,
        _ => rendered(value, resolved, RENDERED),
    }
}

/// The placeholders of a text, and how many bytes each takes.
fn placeholders(text: &[u8], grammar: &Grammar) -> Vec<(Placeholder, usize)> {
    let mut found = Vec::new();
    each(text, grammar, |event| {
        if let Event::Placeholder(placeholder, raw, _) = event {
            found.push((placeholder.clone(), raw.len()));
        }
    });

    found
}

/// A part of the template with its values; `None` if that is longer than `most` bytes.
fn rendered(text: &[u8], resolved: &Resolved, most: usize) -> Option<SecretBytes> {
    let mut out = SecretBytes::with_capacity(text.len());
    let mut is_too_long = false;
    each(text, resolved.grammar(), |event| {
        let bytes = match event {
            Event::Literal(bytes) => bytes,
            Event::Placeholder(placeholder, raw, _) => {
                resolved.replacement(placeholder).unwrap_or(raw)
            }
            _ => return,
        };

        is_too_long |= out.len() + bytes.len() > most;
        if !is_too_long {
            out.extend(bytes);
        }
    });

    (!is_too_long).then_some(out)
}

/// Hands over what a text consists of.
pub(super) fn each(text: &[u8], grammar: &Grammar, mut visit: impl FnMut(Event<'_>)) {
    let mut reader = text;
    let done: Result<(), ScanError<Infallible>> =
        scan(&mut reader, grammar, WINDOW, ScanDetails::NONE, |event| {
            visit(event);
            Ok(())
        });

    debug_assert!(done.is_ok(), "a text in memory can be read");
}
