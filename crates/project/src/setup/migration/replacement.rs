//! Decides what replaces a value in the template.

use secrets_core::model::{SecretBytes, Tag};

use crate::dotenv::Entry;
use crate::dotenv::readers::Readers;
use crate::template::filter::Filter;
use crate::template::grammar::{Grammar, Match as Found};

/// Escapes text so that a template renders to it. Each placeholder in it gets a backslash, and the
/// backslashes before it are doubled.
pub(super) fn escaped(text: &[u8], grammar: &Grammar) -> Vec<u8> {
    let (mut out, mut copied, mut from) = (Vec::with_capacity(text.len()), 0, 0);
    while let Some(found) = memchr::memmem::find(&text[from..], grammar.open()) {
        let at = from + found;
        from = at + 1;
        if text[..at].last() == Some(&b'$') {
            continue;
        }

        let Found::Placeholder { length, .. } = grammar.at(&text[at..], true) else { continue };

        let run = text[copied..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        out.extend_from_slice(&text[copied..at]);
        out.extend(std::iter::repeat_n(b'\\', run + 1));
        out.extend_from_slice(&text[at..at + length]);
        copied = at + length;
        from = copied;
    }

    out.extend_from_slice(&text[copied..]);
    out
}

/// Writes a placeholder, with or without quotes around it.
pub(super) fn placeholder_text(tag: &Tag, quote: Option<u8>, filter: Option<Filter>) -> Vec<u8> {
    let filter = filter.map_or_else(String::new, |filter| format!(" | {}", filter.name()));
    let quote: Vec<u8> = quote.into_iter().collect();
    [&quote[..], format!("{{{{ secrets.{tag}{filter} }}}}").as_bytes(), &quote[..]].concat()
}

/// What replaces a value in the template.
pub(super) struct Replacement {
    pub(super) placeholder: Vec<u8>,
    /// The value to store
    pub(super) value: SecretBytes,
    /// The text that the placeholder renders to
    pub(super) text: SecretBytes,
    pub(super) agreement: Agreement,
}

/// How many of the file's readers get the same value from the original file.
pub(super) enum Agreement {
    All,
    Most,
    None,
}

/// Decides how to write a value. If all readers agree, the placeholder gets the filter `dotenv`,
/// and the stored value is what they read. If they disagree, the placeholder goes between the old
/// quotes, and the output stays the same to the byte. If that is impossible, the filter writes the
/// value that most readers read. Returns `None` if no way works.
pub(super) fn replacement_for(
    entry: &Entry,
    text: &[u8],
    tag: &Tag,
    readers: Readers,
) -> Option<Replacement> {
    let line = &text[entry.whole.start..];
    let behind_equals = &line[memchr::memchr(b'=', line)? + 1..];
    let readings: Vec<Option<SecretBytes>> =
        readers.iter().map(|reader| reader.read(behind_equals)).collect();
    let agree = |value: &SecretBytes| {
        let same = |reading: &&Option<SecretBytes>| {
            reading.as_ref().is_some_and(|read| read.expose() == value.expose())
        };

        readings.iter().filter(same).count()
    };

    let for_all = |value: &SecretBytes, agreement| {
        let text_behind = &text[entry.span.end..];
        let spelling = readers.spell(value.expose()).ok().filter(|_| !value.is_empty())?;
        let line = SecretBytes::from_vec([spelling.expose(), text_behind].concat());
        let is_read = readers.iter().all(|reader| reader.reads_as(line.expose(), value.expose()));
        let placeholder = placeholder_text(tag, None, Some(Filter::Dotenv));
        let value = SecretBytes::copy_of(value.expose());

        is_read.then_some(Replacement { placeholder, value, text: spelling, agreement })
    };

    let unanimous =
        readings.first().and_then(Option::as_ref).filter(|value| agree(value) == readings.len());
    unanimous
        .and_then(|value| for_all(value, Agreement::All))
        .or_else(|| unchanged(entry, &text[entry.span.clone()], tag, readers))
        .or_else(|| {
            let has_most = 2 * agree(&entry.value) > readings.len();
            has_most.then(|| for_all(&entry.value, Agreement::Most)).flatten()
        })
}

/// Returns a placeholder between the quotes of the file, if it renders to the same bytes.
pub(super) fn unchanged(
    entry: &Entry,
    raw: &[u8],
    tag: &Tag,
    readers: Readers,
) -> Option<Replacement> {
    let value = entry.value.expose();
    let quote = raw.first().copied().filter(|b| matches!(b, b'"' | b'\'' | b'`'));
    let json = Filter::Json.apply(value, readers).ok();
    let options = [
        (quote, None, Some(value)),
        (Some(b'"'), Some(Filter::Json), json.as_ref().map(SecretBytes::expose)),
    ];

    options.into_iter().find_map(|(quote, filter, inside)| {
        let quotes: Vec<u8> = quote.into_iter().collect();
        let text = SecretBytes::from_vec([&quotes[..], inside?, &quotes[..]].concat());
        let placeholder = placeholder_text(tag, quote, filter);
        let value = SecretBytes::copy_of(value);
        let is_same = text.expose() == raw;

        is_same.then_some(Replacement { placeholder, value, text, agreement: Agreement::None })
    })
}
