//! The CSV of 1Password, Bitwarden and KeePassXC: columns by their names, in any order and case. Never takes a row that
//! has not the cells its header names.

use csv::{ByteRecord, ErrorKind, ReaderBuilder};

use super::entry::{Collector, Entry, EntryField};
use super::place::Lines;
use super::references::FoundEntry;
use super::{Format, ImportError, Items, Why};
use crate::model::SecretBytes;

/// What a column is for.
#[derive(Clone)]
enum Column {
    Title,
    User,
    Url,
    Value(EntryField),
    /// Bitwarden's custom fields, all in one cell
    Fields,
    /// KeePassXC's path of groups
    Group,
    /// Orders entries, says nothing of them
    Order,
    /// One that no version had so far; its cells are kept as fields
    Unknown(String),
}

/// The format whose columns the first row names.
pub(super) fn format_of(text: &str) -> Option<Format> {
    let first = first_row(text)?;
    [Format::KeePass, Format::Bitwarden, Format::OnePassword]
        .into_iter()
        .find(|format| names(*format, &first))
}

pub(super) fn read(
    format: Format,
    text: &str,
    mut found: Collector<'_>,
) -> Result<Items, ImportError> {
    let header = first_row(text).filter(|header| names(format, header));
    let Some(header) = header else { return Err(ImportError::nowhere(Why::Columns)) };
    let lines = Lines::of(text.as_bytes());

    check_quotes(text.as_bytes()).map_err(|(at, why)| ImportError::at(lines.place(at), why))?;
    let columns: Vec<Column> = header.iter().map(|name| column(format, name)).collect();

    // `csv` reads by way of a buffer and a row of its own; both are freed unwiped.
    let mut rows = ReaderBuilder::new().from_reader(text.as_bytes());
    let mut row = ByteRecord::new();
    let mut entries = Vec::new();

    loop {
        match rows.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(fault(&error, text, &lines)),
        }

        let at = row.position().map(|position| place(position, text, &lines));
        let (entry, recycled) = entry_of(&columns, &row, at);
        let gone = recycled.then_some("it is in the recycle bin");
        entries.push(FoundEntry { entry, gone, id: None });
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

/// The first row's cells.
fn first_row(text: &str) -> Option<Vec<String>> {
    let mut rows =
        ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut row = ByteRecord::new();
    let there = rows.read_byte_record(&mut row).ok()?;
    there.then(|| row.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect())
}

/// True where a row has the columns without which it is not this format's header.
fn names(format: Format, header: &[String]) -> bool {
    let needed: &[&str] = match format {
        Format::OnePassword => &["title", "username", "password", "otpauth"],
        Format::Bitwarden => &["name", "login_username", "login_password"],
        Format::KeePass => &["group", "title", "username", "password"],
        Format::Dotenv | Format::Json | Format::Age => return false,
    };

    needed.iter().all(|needed| header.iter().any(|name| name.eq_ignore_ascii_case(needed)))
}

fn column(format: Format, name: &str) -> Column {
    match (format, name.to_ascii_lowercase().as_str()) {
        (Format::Bitwarden, "name") | (Format::OnePassword | Format::KeePass, "title") => {
            Column::Title
        }
        (Format::Bitwarden, "login_username")
        | (Format::OnePassword | Format::KeePass, "username") => Column::User,
        (Format::Bitwarden, "login_password")
        | (Format::OnePassword | Format::KeePass, "password") => {
            Column::Value(EntryField::Password)
        }
        (Format::Bitwarden, "login_uri") | (Format::OnePassword | Format::KeePass, "url") => {
            Column::Url
        }
        (Format::Bitwarden, "login_totp")
        | (Format::OnePassword, "otpauth")
        | (Format::KeePass, "totp") => Column::Value(EntryField::Totp),
        (_, "notes") => Column::Value(EntryField::Notes),
        (Format::Bitwarden, "fields") => Column::Fields,
        (Format::KeePass, "group") => Column::Group,
        (Format::OnePassword, "favorite" | "archived" | "tags" | "type" | "vault")
        | (
            Format::Bitwarden,
            "folder" | "collections" | "favorite" | "type" | "reprompt" | "archiveddate",
        )
        | (Format::KeePass, "icon" | "last modified" | "created" | "tags")
        | (_, "") => Column::Order,
        _ => Column::Unknown(name.to_owned()),
    }
}

/// An entry, and whether it lies in the recycle bin. KeePassXC's CSV knows that group by its name alone, which is
/// another one in another language: then the entry is kept.
fn entry_of(columns: &[Column], row: &ByteRecord, at: Option<(u64, u64)>) -> (Entry, bool) {
    let mut entry = Entry { at, ..Entry::default() };
    let mut recycled = false;
    for (column, cell) in columns.iter().zip(row) {
        let text = || String::from_utf8_lossy(cell).into_owned();
        match column {
            Column::Title => entry.title = text(),
            Column::User => entry.users.push(text()),
            Column::Url => entry.urls.push(text()),
            Column::Value(part) => entry.put(*part, SecretBytes::copy_of(cell)),
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

/// Custom fields, `name: value` in lines. Where a line has no such beginning, a value has several lines; then all of it
/// is one secret, for a value's second line could pass for a name.
fn fields(cell: &[u8], entry: &mut Entry) {
    let lines =
        || cell.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let parted = |line: &[u8]| line.windows(2).position(|pair| pair == b": ").filter(|at| *at > 0);
    if !lines().all(|line| line.is_empty() || parted(line).is_some()) {
        entry.fields.push(("fields".into(), SecretBytes::copy_of(cell)));
        return;
    }

    for line in lines() {
        if let Some(at) = parted(line) {
            // What a linked field is exported as: it shows another field, and holds nothing itself.
            if &line[at + 2..] == b"null" {
                continue;
            }

            let name = String::from_utf8_lossy(&line[..at]).into_owned();
            entry.fields.push((name, SecretBytes::copy_of(&line[at + 2..])));
        }
    }
}

/// Refuses quotes that do not tell where a cell ends (RFC 4180, section 2): `csv` would go on and take what follows for a
/// part of that cell, or the cell's end for the next one. Returns the place of such a quote.
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

/// Where a row begins. `csv` counts `\r\n` twice, and takes the end of the line before for the beginning.
fn place(position: &csv::Position, text: &str, lines: &Lines) -> (u64, u64) {
    let from = usize::try_from(position.byte()).map_or(text.len(), |at| at.min(text.len()));
    let blanks =
        text.as_bytes()[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    lines.place(from + blanks)
}

/// Only the place of a library's error: its text quotes.
fn fault(error: &csv::Error, text: &str, lines: &Lines) -> ImportError {
    let why = match error.kind() {
        ErrorKind::Utf8 { .. } => Why::Utf8,
        _ => Why::Row,
    };

    ImportError { at: error.position().map(|position| place(position, text, lines)), why }
}
