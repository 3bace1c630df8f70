//! An entry of a password manager, and its conversion into items. The parts that are shown never
//! depend on a secret value.

use secrets_core::model::{Description, SecretBytes};

use crate::position::Position;

pub(super) const MAX_NAME: usize = 256;
const MAX_DESCRIPTION: usize = 4096;

/// The parts of an entry that all password managers have in common.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) title: String,
    pub(super) users: Vec<String>,
    pub(super) urls: Vec<String>,
    pub(super) password: Option<SecretBytes>,
    pub(super) totp: Option<SecretBytes>,
    pub(super) notes: Option<SecretBytes>,
    /// Other values with their labels, in the source's order
    pub(super) fields: Vec<(String, SecretBytes)>,
    /// Labels of the parts that cannot be imported, with the reasons
    pub(super) dropped: Vec<(String, &'static str)>,
    pub(super) at: Option<Position>,
}

/// An entry of a file, before it is decided whether it becomes items.
pub(super) struct FoundEntry {
    pub(super) entry: Entry,
    /// The reason why the entry is skipped, if it is
    pub(super) skip_reason: Option<&'static str>,
    /// The entry's id in KeePass
    pub(super) id: Option<Id>,
}

/// The 16 bytes of an entry's id.
pub(super) type Id = [u8; 16];

impl Entry {
    /// Returns the entry's label for messages.
    pub(super) fn label(&self) -> String {
        label(&self.title)
    }

    /// Returns the texts that are shown: title, user names and addresses.
    pub(super) fn labels(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.title).chain(&self.users).chain(&self.urls)
    }

    /// Returns the secret values: password, one-time password, notes and fields.
    pub(super) fn values(&self) -> impl Iterator<Item = &SecretBytes> {
        let places = [&self.password, &self.totp, &self.notes].into_iter().flatten();
        places.chain(self.fields.iter().map(|(_, value)| value))
    }

    /// Stores a value in a part that holds a single value. A second value becomes a field.
    pub(super) fn set(&mut self, part: EntryField, value: SecretBytes) {
        let (place, field) = match part {
            EntryField::Password => (&mut self.password, "password"),
            EntryField::Totp => (&mut self.totp, "totp"),
            EntryField::Notes => (&mut self.notes, "notes"),
        };

        if place.as_ref().is_none_or(SecretBytes::is_empty) {
            *place = Some(value);
        } else {
            self.fields.push((field.into(), value));
        }
    }

    pub(super) fn description(&self) -> Option<Description> {
        let lines = |name: &'static str, texts: &[String]| {
            let texts = texts
                .iter()
                .map(|text| displayable(text, MAX_DESCRIPTION))
                .filter(|text| !text.is_empty());

            texts.map(|text| format!("{name}: {text}")).collect::<Vec<_>>()
        };

        let urls: Vec<String> = self.urls.iter().map(|url| without_credentials(url)).collect();
        let all = [lines("user", &self.users), lines("url", &urls)].concat().join("\n");
        let all: String = all.chars().take(MAX_DESCRIPTION).collect();
        Description::parse(&all).ok().flatten()
    }
}

/// A part of an entry that holds a single value.
#[derive(Clone, Copy)]
pub(super) enum EntryField {
    Password,
    Totp,
    Notes,
}

/// Returns a label as messages show it.
pub(super) fn label(text: &str) -> String {
    let label = displayable(text, MAX_NAME);
    if label.is_empty() { "(untitled)".into() } else { label }
}

/// Removes control characters and blanks at both ends, and truncates the text to
/// `max_length` characters.
pub(super) fn displayable(text: &str, max_length: usize) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.trim().chars().take(max_length).collect()
}

/// Removes the parts of an address that may be secret: `user:password@`, the query and the
/// fragment.
fn without_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let authority = url.find("//").map_or(0, |at| at + 2);
    let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    match url[authority..path].rfind('@') {
        Some(at) => [&url[..authority], &url[authority + at + 1..]].concat(),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_no_credentials() {
        for (url, shown) in [
            ("https://example.org/login", "https://example.org/login"),
            ("https://me:hunter2@example.org/a@b?token=x#y", "https://example.org/a@b"),
            ("me@example.org", "example.org"),
            ("https://a@b:c@example.org", "https://example.org"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(url), shown, "{url}");
        }
    }
}
