//! The CSV of 1Password, Bitwarden, KeePassXC and LastPass. Columns are found by name, in any order and case.
//! Never accepts a row whose number of cells differs from the header's.

use std::borrow::Cow;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use quick_xml::escape::unescape;
use secrets_core::model::SecretBytes;

use super::super::collector::Collector;
use super::super::entry::{Entry, EntryField, FoundEntry};
use super::super::{Format, ImportError, Items, Why};
use crate::position::Lines;
use crate::position::Position;

/// The meaning of a column.
#[derive(Clone)]
enum Column {
    Title,
    User,
    Url,
    Value(EntryField),
    /// Bitwarden's custom fields, all in one cell
    Fields,
    /// KeePassXC's group path
    Group,
    /// Data that only organizes entries
    Order,
    /// A column that no known version has; its cells become fields
    Unknown(String),
}

/// Returns the format whose columns the first row names.
pub(in super::super) fn format_of(text: &str) -> Option<Format> {
    let first = first_row(text)?;
    [Format::KeePass, Format::Bitwarden, Format::OnePassword, Format::LastPass]
        .into_iter()
        .find(|format| has_columns(*format, &first))
}

pub(in super::super) fn read(
    format: Format,
    text: &str,
    mut found: Collector<'_>,
) -> Result<Items, ImportError> {
    let header = first_row(text).filter(|header| has_columns(format, header));
    let Some(header) = header else { return Err(ImportError::without_position(Why::Columns)) };
    let lines = Lines::of(text.as_bytes());

    check_quotes(text.as_bytes()).map_err(|(at, why)| ImportError::at(lines.position(at), why))?;
    let columns: Vec<Column> = header.iter().map(|name| column(format, name)).collect();
    let is_escaped = format == Format::LastPass && is_escaped(text);

    // `csv` uses a buffer and a row, which are not wiped when they are freed.
    let mut rows = ReaderBuilder::new().from_reader(text.as_bytes());
    let mut row = ByteRecord::new();
    let mut entries = Vec::new();

    loop {
        match rows.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(to_import_error(&error, text, &lines)),
        }

        let at = row.position().map(|position| row_position(position, text, &lines));
        let (entry, recycled) = entry_of(&columns, &row, at, is_escaped);
        let skip_reason = recycled.then_some("it is in the recycle bin");
        entries.push(FoundEntry { entry, skip_reason, id: None });
    }

    if format == Format::KeePass {
        found.entries(entries)?;
    } else {
        for FoundEntry { entry, .. } in entries {
            found.entry(entry)?;
        }
    }

    Ok(found.finish())
}

fn first_row(text: &str) -> Option<Vec<String>> {
    let mut rows =
        ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut row = ByteRecord::new();
    let has_row = rows.read_byte_record(&mut row).ok()?;
    let trimmed = |cell: &[u8]| String::from_utf8_lossy(cell).trim().to_owned();

    has_row.then(|| row.iter().map(trimmed).collect())
}

/// Returns true if the row has all columns that this format's header needs.
fn has_columns(format: Format, header: &[String]) -> bool {
    let needed: &[&str] = match format {
        Format::OnePassword => &["title", "username", "password", "otpauth"],
        Format::Bitwarden => &["name", "login_username", "login_password"],
        Format::KeePass => &["group", "title", "username", "password"],
        Format::LastPass => &["url", "username", "password", "extra", "name", "grouping"],
        _ => return false,
    };

    needed.iter().all(|needed| header.iter().any(|name| name.eq_ignore_ascii_case(needed)))
}

fn column(format: Format, name: &str) -> Column {
    match (format, name.to_ascii_lowercase().as_str()) {
        (Format::Bitwarden | Format::LastPass, "name")
        | (Format::OnePassword | Format::KeePass, "title") => Column::Title,
        (Format::Bitwarden, "login_username")
        | (Format::OnePassword | Format::KeePass | Format::LastPass, "username") => Column::User,
        (Format::Bitwarden, "login_password")
        | (Format::OnePassword | Format::KeePass | Format::LastPass, "password") => {
            Column::Value(EntryField::Password)
        }
        (Format::Bitwarden, "login_uri")
        | (Format::OnePassword | Format::KeePass | Format::LastPass, "url") => Column::Url,
        (Format::Bitwarden, "login_totp")
        | (Format::OnePassword, "otpauth")
        | (Format::KeePass | Format::LastPass, "totp") => Column::Value(EntryField::Totp),
        (_, "notes") | (Format::LastPass, "extra") => Column::Value(EntryField::Notes),
        (Format::Bitwarden, "fields") => Column::Fields,
        (Format::KeePass, "group") => Column::Group,
        (Format::OnePassword, "favorite" | "archived" | "tags" | "type" | "vault")
        | (
            Format::Bitwarden,
            "folder" | "collections" | "favorite" | "type" | "reprompt" | "archiveddate",
        )
        | (Format::KeePass, "icon" | "last modified" | "created" | "tags")
        | (Format::LastPass, "grouping" | "fav") => Column::Order,
        _ => Column::Unknown(name.to_owned()),
    }
}

/// Reads an entry and whether it is in the recycle bin. KeePassXC's CSV contains only that group's
/// name, which depends on the language. In other languages than English, the entry is kept.
fn entry_of(
    columns: &[Column],
    row: &ByteRecord,
    at: Option<Position>,
    is_escaped: bool,
) -> (Entry, bool) {
    let mut entry = Entry { at, ..Entry::default() };
    let mut recycled = false;
    for (column, cell) in columns.iter().zip(row) {
        let unescaped = std::str::from_utf8(cell).ok().filter(|_| is_escaped);
        let unescaped = unescaped.and_then(|cell| unescape(cell).ok());
        let cell = unescaped.as_ref().map_or(cell, |cell| Cow::as_ref(cell).as_bytes());
        let text = || String::from_utf8_lossy(cell).into_owned();
        match column {
            Column::Title => entry.title = text(),
            Column::User => entry.users.push(text()),
            // LastPass gives notes this address.
            Column::Url if cell == b"http://sn" => {}
            Column::Url => entry.urls.push(text()),
            Column::Value(part) => entry.set(*part, SecretBytes::copy_of(cell)),
            Column::Fields => fields(cell, &mut entry),
            Column::Group => {
                recycled = cell.split(|byte| *byte == b'/').nth(1) == Some(b"Recycle Bin");
            }
            Column::Order => {}
            Column::Unknown(name) => entry.fields.push((name.clone(), SecretBytes::copy_of(cell))),
        }
    }

    (entry, recycled)
}

/// Returns true for an export in which the characters that HTML reserves are replaced, as old versions of
/// LastPass do. Each `&` then begins an entity, and an address with a query shows that the entities
/// are not part of the passwords.
fn is_escaped(text: &str) -> bool {
    let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&apos;"];
    let (mut is_address, mut is_proved) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b',' | b'"' | b'\n' => is_address = false,
            b':' if text[at..].starts_with("://") => is_address = true,
            b'&' if entities.iter().any(|entity| text[at..].starts_with(entity)) => {
                is_proved |= is_address;
            }
            b'<' | b'>' | b'&' => return false,
            _ => {}
        }
    }

    is_proved
}

/// Reads custom fields, which are lines of `name: value`. If a line does not have this form, some
/// value spans several lines. The whole cell then becomes one secret, because the second line of a
/// value could look like a name.
fn fields(cell: &[u8], entry: &mut Entry) {
    let lines =
        || cell.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let separator =
        |line: &[u8]| line.windows(2).position(|pair| pair == b": ").filter(|at| *at > 0);
    if !lines().all(|line| line.is_empty() || separator(line).is_some()) {
        entry.fields.push(("fields".into(), SecretBytes::copy_of(cell)));
        return;
    }

    for line in lines() {
        if let Some(at) = separator(line) {
            // A linked field, which shows another field, is exported as `null`.
            if &line[at + 2..] == b"null" {
                continue;
            }

            let name = String::from_utf8_lossy(&line[..at]).into_owned();
            entry.fields.push((name, SecretBytes::copy_of(&line[at + 2..])));
        }
    }
}

/// Rejects quotes after which the end of a cell is ambiguous (RFC 4180, section 2). `csv` would
/// continue and read the following text as part of the cell, or the rest of the cell as the next
/// one. Returns the offset of such a quote.
fn check_quotes(text: &[u8]) -> Result<(), (usize, Why)> {
    let (mut at, mut begins) = (0, true);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' if begins => {
                let open = at;
                at += 1;
                loop {
                    let Some(length) = memchr::memchr(b'"', &text[at..]) else {
                        return Err((open, Why::Quote));
                    };

                    at += length + 1;
                    match text.get(at) {
                        Some(b'"') => at += 1,
                        Some(b',' | b'\r' | b'\n') | None => break,
                        Some(_) => return Err((at - 1, Why::BareQuote)),
                    }
                }

                begins = false;
            }
            b'"' => return Err((at, Why::BareQuote)),
            _ => {
                begins = matches!(byte, b',' | b'\r' | b'\n');
                at += 1;
            }
        }
    }

    Ok(())
}

/// Returns the position where a row starts. `csv` counts `\r\n` as two lines, and reports the end
/// of the previous line as the start.
fn row_position(position: &csv::Position, text: &str, lines: &Lines) -> Position {
    let from = usize::try_from(position.byte()).map_or(text.len(), |at| at.min(text.len()));
    let blanks =
        text.as_bytes()[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    lines.position(from + blanks)
}

/// Converts an error of the library. Only its position is used, because its text quotes values.
fn to_import_error(error: &csv::Error, text: &str, lines: &Lines) -> ImportError {
    let why = match error.kind() {
        ErrorKind::Utf8 { .. } => Why::Utf8,
        _ => Why::Row,
    };

    ImportError { at: error.position().map(|position| row_position(position, text, lines)), why }
}
