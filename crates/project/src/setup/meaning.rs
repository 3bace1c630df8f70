//! Checks whether a rendered file means what its template means. Every reader of a dotenv file must
//! get the stored values from it, and a JSON or YAML file must keep the template's structure.
//!
//! A warning names variables, tags and readers, never a value.

use std::path::Path;

use secrets_core::model::SecretBytes;

use super::structure;
use super::warning::{Format, Warning};
use crate::dotenv::readers::{Reader, Readers};
use crate::dotenv::{self, Entry};
use crate::template::filter::Filter;
use crate::template::grammar::{Grammar, Placeholder};
use crate::template::{Event, Resolved, TemplateError, each_event};

/// The maximum sizes of a template that is checked, and of its rendered text, in bytes. They bound
/// memory, because a template could refer to any number of large values.
const TEMPLATE: u64 = 1024 * 1024;
const RENDERED: usize = 2 * 1024 * 1024;

/// Returns the warnings about a template's output. `readers` are those that the user named.
pub fn warnings(
    output: &Path,
    resolved: &Resolved,
    readers: Option<Readers>,
) -> Result<Vec<Warning>, TemplateError> {
    let name = output.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let format = Format::of(&name);
    if !is_dotenv(&name) && format.is_none() {
        return Ok(Vec::new());
    }

    let Some(text) = resolved.template().text(TEMPLATE)? else { return Ok(Vec::new()) };

    if let Some(format) = format {
        return Ok(structure::broken(format, &text, resolved).into_iter().collect());
    }

    Ok(misread(&text, resolved, readers))
}

/// Returns warnings about the variables of a dotenv file that some readers cannot read. Only
/// variables that `is_meant` accepts count.
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

/// Returns the readers that the user named, or else the likely readers of the file.
fn likely_readers(text: &[u8], named: Option<Readers>) -> Readers {
    let readers = named.unwrap_or_default();

    // A shell would make the carriage returns of CRLF line endings part of the values, so such a
    // file is hardly meant for a shell.
    let is_for_shells = named.is_some() || memchr::memmem::find(text, b"\r\n").is_none();
    readers.iter().filter(|reader| is_for_shells || *reader != Reader::Bash).collect()
}

/// Returns the text before the `=` of an assignment.
fn head<'t>(text: &'t [u8], entry: &Entry) -> &'t [u8] {
    let line = &text[entry.whole.clone()];
    &line[..memchr::memchr(b'=', line).unwrap_or_default()]
}

/// Variables, grouped by the readers that read them differently.
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

/// Returns true for the usual names of dotenv files.
pub fn is_dotenv(name: &str) -> bool {
    name.starts_with(".env.") || name.rsplit_once('.').is_some_and(|(_, ending)| ending == "env")
}

/// Returns warnings about variables that readers read differently. Constants, and values that a
/// filter puts into a longer text, are checked only if the user named the readers.
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

        // A value is checked only for readers that have the variable.
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

/// Returns the readers that do not read the intended value. If the intended value is not known, it
/// returns those that disagree with the first reader.
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

/// Returns the value that a variable is meant to have. Returns `None` if a filter writes a part of
/// it for some reader.
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

/// Returns the placeholders of a text, each with its length in bytes.
fn placeholders(text: &[u8], grammar: &Grammar) -> Vec<(Placeholder, usize)> {
    let mut found = Vec::new();
    each_event(text, grammar, |event| {
        if let Event::Placeholder(placeholder, raw, _) = event {
            found.push((placeholder.clone(), raw.len()));
        }
    });

    found
}

/// Renders a part of the template. Returns `None` if the result is longer than `most` bytes.
fn rendered(text: &[u8], resolved: &Resolved, most: usize) -> Option<SecretBytes> {
    let mut out = SecretBytes::with_capacity(text.len());
    let mut is_too_long = false;
    each_event(text, resolved.grammar(), |event| {
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
