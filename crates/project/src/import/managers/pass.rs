//! Entries of pass and gopass, as `pass show` prints them.
//!
//! The first line is the password. The lines below follow a convention of the program's users: `user:
//! me`, `url: …`, a line `otpauth://…`, other names with values, and text. A key in PEM, a JSON document or
//! binary data is one value. Old versions of gopass have headers in place of the first line.

use secrets_core::model::SecretBytes;
use serde::de::IgnoredAny;

use super::super::collector::Collector;
use super::super::entry::{Entry, EntryField};
use super::super::{ImportError, ImportOptions, Items, tags};

/// The longest name of a line `name: value`, in characters.
const MAX_LABEL: usize = 40;

/// The first line of entries of gopass 1.9 and older.
const OLD_GOPASS: &[u8] = b"GOPASS-SECRET-1.0";

/// An entry of a store: its path in the store, and what the program printed.
pub struct StoreEntry {
    pub path: String,
    pub content: SecretBytes,
}

/// Reads the entries of a store.
///
/// # Errors
/// A value is too large, or the prefix is not a start of a tag.
pub fn read_store(
    entries: Vec<StoreEntry>,
    options: ImportOptions<'_>,
) -> Result<Items, ImportError> {
    let mut found = Collector::new(tags::Tags::new(options.prefix)?, options.as_is);
    for StoreEntry { path, content } in entries {
        found.entry(entry(path, content))?;
    }

    Ok(found.finish())
}

fn entry(path: String, content: SecretBytes) -> Entry {
    let mut entry = Entry { title: path, ..Entry::default() };
    let bytes = content.expose();
    let end = memchr::memchr(b'\n', bytes);
    let (Some(end), false) = (end, is_one_value(bytes)) else {
        entry.password = Some(content);
        return entry;
    };

    let first = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if first == OLD_GOPASS {
        // The password is in one of the lines.
    } else if first.starts_with(b"otpauth://") {
        entry.set(EntryField::Totp, SecretBytes::copy_of(first));
    } else {
        entry.set(EntryField::Password, SecretBytes::copy_of(first));
    }

    lines(&bytes[end + 1..], &mut entry);
    entry
}

/// Returns true for content whose first line is not a password.
fn is_one_value(bytes: &[u8]) -> bool {
    let begins = |with: &[u8]| bytes.trim_ascii_start().starts_with(with);
    let is_document = || serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    bytes.contains(&0)
        || std::str::from_utf8(bytes).is_err()
        || begins(b"-----BEGIN ")
        || ((begins(b"{") || begins(b"[")) && is_document())
}

/// Reads the lines below the password. If one of them is neither a name with a value nor a key for
/// one-time passwords, all lines from there on are one text, which becomes the notes.
fn lines(bytes: &[u8], entry: &mut Entry) {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii();
        if text.starts_with(b"otpauth://") {
            entry.set(EntryField::Totp, SecretBytes::copy_of(text));
        } else if let Some((name, value)) = pair(text) {
            field(&name, value, entry);
        } else if !text.is_empty() && text != b"---" {
            let notes = bytes[at..].trim_ascii_end();
            entry.set(EntryField::Notes, SecretBytes::copy_of(notes));
            return;
        }

        at += line.len();
    }
}

/// Returns the name and value of a line `name: value`.
fn pair(line: &[u8]) -> Option<(String, &[u8])> {
    let at = memchr::memchr(b':', line)?;
    let name = std::str::from_utf8(&line[..at]).ok()?.trim();
    let value = line[at + 1..].trim_ascii();
    let is_name = !name.is_empty()
        && name.chars().count() <= MAX_LABEL
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.'));
    (is_name && !value.starts_with(b"//")).then(|| (name.to_owned(), value))
}

fn field(name: &str, value: &[u8], entry: &mut Entry) {
    let text = || String::from_utf8_lossy(value).into_owned();
    match name.to_lowercase().as_str() {
        "user" | "username" | "login" | "email" => entry.users.push(text()),
        "url" | "uri" | "website" => entry.urls.push(text()),
        "password" => entry.set(EntryField::Password, SecretBytes::copy_of(value)),
        "notes" | "note" | "comments" | "comment" => {
            entry.set(EntryField::Notes, SecretBytes::copy_of(value));
        }
        _ => entry.fields.push((name.to_owned(), SecretBytes::copy_of(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns each item's tag, value and description.
    fn items(entries: &[(&str, &str)]) -> Vec<(String, String, String)> {
        let entry = |(path, content): &(&str, &str)| StoreEntry {
            path: (*path).to_owned(),
            content: SecretBytes::copy_of(content.as_bytes()),
        };

        let items = read_store(entries.iter().map(entry).collect(), ImportOptions::default());
        let item = |item: super::super::super::Item| {
            let value = String::from_utf8(item.value.expose().to_vec()).unwrap();
            let description =
                item.description.map_or_else(String::new, |it| it.as_str().to_owned());
            (item.tag.to_string(), value, description)
        };

        items.unwrap().items.into_iter().map(item).collect()
    }

    fn expect(content: &str, expected: &[(&str, &str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(tag, value, text)| ((*tag).to_owned(), (*value).to_owned(), (*text).to_owned()))
            .collect();
        assert_eq!(items(&[("a/b", content)]), expected, "{content}");
    }

    #[test]
    fn lines_below_the_password_have_meanings() {
        expect("hunter2\n", &[("a-b", "hunter2", "")]);
        expect("hunter2", &[("a-b", "hunter2", "")]);
        expect(
            "hunter2\nlogin: me\nurl: https://example.org\nPIN: 12:34\notpauth://totp/x?secret=A\n",
            &[
                ("a-b", "hunter2", "user: me\nurl: https://example.org"),
                ("a-b-totp", "otpauth://totp/x?secret=A", "user: me\nurl: https://example.org"),
                ("a-b-pin", "12:34", "user: me\nurl: https://example.org"),
            ],
        );
        expect(
            "hunter2\nuser: me\n\nRecovery codes\nuser: other\n",
            &[
                ("a-b", "hunter2", "user: me"),
                ("a-b-notes", "Recovery codes\nuser: other", "user: me"),
            ],
        );
        expect(
            "GOPASS-SECRET-1.0\nPassword: hunter2\nUser: me\n\nmore text\n",
            &[("a-b", "hunter2", "user: me"), ("a-b-notes", "more text", "user: me")],
        );
        expect(
            "hunter2\nhttps://example.org/a: b\n",
            &[("a-b", "hunter2", ""), ("a-b-notes", "https://example.org/a: b", "")],
        );
    }

    #[test]
    fn keys_and_documents_are_one_value() {
        let pem = "-----BEGIN KEY-----\nkey: value\n-----END KEY-----";
        let binary = read_store(
            vec![StoreEntry { path: "b".into(), content: SecretBytes::copy_of(b"\xff\n") }],
            ImportOptions::default(),
        );
        assert_eq!(binary.unwrap().items[0].value.expose(), b"\xff\n");
        expect(&format!("{pem}\n"), &[("a-b", &format!("{pem}\n"), "")]);
        expect("{\n\"a\": 1\n}\n", &[("a-b", "{\n\"a\": 1\n}\n", "")]);
        expect("{open\nuser: me\n", &[("a-b", "{open", "user: me")]);
    }

    #[test]
    fn paths_with_the_same_tag_are_numbered() {
        let all = items(&[("a/b", "1"), ("a-b", "2"), ("Böse/Über", "3")]);
        let tags: Vec<&str> = all.iter().map(|(tag, ..)| tag.as_str()).collect();
        assert_eq!(tags, ["a-b", "a-b-2", "bose-uber"]);
    }
}
