//! Bitwarden's unencrypted JSON: logins, notes, cards, identities, keys and unknown kinds. Never
//! tries to interpret encrypted exports.

use secrets_core::model::SecretBytes;
use serde_json::value::RawValue;

use super::super::collector::Collector;
use super::super::entry::{Entry, EntryField};
use super::super::tree::json::{Document, Object, is_null};
use super::super::{ImportError, Items, Why};

pub(in super::super) fn read(text: &str, mut found: Collector<'_>) -> Result<Items, ImportError> {
    let document = Document::new(text);
    let Object(members) = document.object()?;
    if let Some((_, part)) =
        members.iter().find(|(name, part)| name == "encrypted" && part.get() == "true")
    {
        return Err(ImportError::at(document.position(part), Why::Encrypted));
    }

    let items = members.iter().find(|(name, part)| name == "items" && part.get().starts_with('['));
    let Some((_, items)) = items else { return Err(ImportError::without_position(Why::NoItems)) };
    let reader = Reader { document: &document };

    for item in document.elements(items, "items")?.unwrap_or_default() {
        let (entry, deleted) = reader.item(item)?;
        if deleted {
            found.skip(&entry.title, entry.at, "it is in the trash");
        } else {
            found.entry(entry)?;
        }
    }

    Ok(found.finish())
}

/// Members of an entry that only organize entries.
const ORDER: [&str; 14] = [
    "archivedDate",
    "attachments",
    "collectionIds",
    "creationDate",
    "deletedDate",
    "favorite",
    "folderId",
    "id",
    "key",
    "organizationId",
    "passwordHistory",
    "reprompt",
    "revisionDate",
    "type",
];

struct Reader<'d, 'a> {
    document: &'d Document<'a>,
}

impl<'a> Reader<'_, 'a> {
    /// Reads an entry and whether it was deleted.
    fn item(&self, item: &'a RawValue) -> Result<(Entry, bool), ImportError> {
        let mut entry = Entry { at: Some(self.document.position(item)), ..Entry::default() };
        let mut deleted = false;
        for (name, part) in self.members(item, "items")? {
            match name.as_str() {
                "name" => entry.title = self.label(part, "name")?,
                "notes" => entry.set(EntryField::Notes, self.value(part, "notes")?),
                "login" => self.login(part, &mut entry)?,
                "fields" => self.fields(part, &mut entry)?,
                "deletedDate" => deleted = !is_null(part),
                "attachments" if !self.elements(part, "attachments")?.is_empty() => {
                    entry.dropped.push(("attachments".into(), "the export does not contain files"));
                }
                "secureNote" => {} // only marks the kind; the text is in `notes`
                _ if part.get().starts_with('{') => self.other(part, &mut entry)?,
                name if ORDER.contains(&name) => {}
                name => self.unknown(name, part, &mut entry)?,
            }
        }

        Ok((entry, deleted))
    }

    fn login(&self, login: &'a RawValue, entry: &mut Entry) -> Result<(), ImportError> {
        for (name, part) in self.members(login, "login")? {
            match name.as_str() {
                "username" => entry.users.push(self.label(part, "username")?),
                "password" => entry.set(EntryField::Password, self.value(part, "password")?),
                "totp" => entry.set(EntryField::Totp, self.value(part, "totp")?),
                "uris" => {
                    for uri in self.elements(part, "uris")? {
                        for (name, part) in self.members(uri, "uris")? {
                            if name == "uri" {
                                entry.urls.push(self.label(part, "uri")?);
                            }
                        }
                    }
                }
                "fido2Credentials" if !self.elements(part, "fido2Credentials")?.is_empty() => {
                    entry.dropped.push(("passkey".into(), "passkeys cannot be imported"));
                }
                "fido2Credentials" | "passwordRevisionDate" | "autofillOnPageLoad" | "uri" => {}
                name => self.unknown(name, part, entry)?,
            }
        }

        Ok(())
    }

    /// Reads custom fields. A linked field (type 3) contains no value.
    fn fields(&self, fields: &'a RawValue, entry: &mut Entry) -> Result<(), ImportError> {
        for field in self.elements(fields, "fields")? {
            let (mut label, mut value, mut checkbox) = (String::new(), None, false);
            for (name, part) in self.members(field, "fields")? {
                match name.as_str() {
                    "name" => label = self.label(part, "name")?,
                    "value" => value = Some(self.value(part, "value")?),
                    "type" => checkbox = part.get() == "2",
                    _ => {}
                }
            }

            match value {
                Some(_) if checkbox => entry.dropped.push((label, "it is a checkbox")),
                Some(value) => entry.fields.push((label, value)),
                None => {}
            }
        }

        Ok(())
    }

    /// Reads a card, an identity, a key, or an unknown kind. Each text in it becomes a field.
    fn other(&self, part: &'a RawValue, entry: &mut Entry) -> Result<(), ImportError> {
        for (name, part) in self.members(part, "items")? {
            match self.document.scalar(part)? {
                Some(value) => entry.fields.push((words(&name), value)),
                None => entry.dropped.push((words(&name), "it is an object or a list")),
            }
        }

        Ok(())
    }

    /// Keeps a member that no known version has: a value as a field, anything else with a warning.
    fn unknown(
        &self,
        name: &str,
        part: &'a RawValue,
        entry: &mut Entry,
    ) -> Result<(), ImportError> {
        match self.document.scalar(part)? {
            Some(value) => entry.fields.push((words(name), value)),
            None if part.get() == "[]" => {}
            None => entry.dropped.push((words(name), "it is an object or a list")),
        }

        Ok(())
    }

    fn members(
        &self,
        part: &'a RawValue,
        of: &'static str,
    ) -> Result<Vec<(String, &'a RawValue)>, ImportError> {
        Ok(self.document.members(part, of)?.map(|Object(members)| members).unwrap_or_default())
    }

    fn elements(
        &self,
        part: &'a RawValue,
        of: &'static str,
    ) -> Result<Vec<&'a RawValue>, ImportError> {
        Ok(self.document.elements(part, of)?.unwrap_or_default())
    }

    fn value(&self, part: &RawValue, of: &'static str) -> Result<SecretBytes, ImportError> {
        let value = self.document.scalar(part)?;
        value.ok_or_else(|| ImportError::at(self.document.position(part), Why::Shape(of)))
    }

    /// Reads a text that is not secret.
    fn label(&self, part: &RawValue, of: &'static str) -> Result<String, ImportError> {
        self.value(part, of).map(|text| String::from_utf8_lossy(text.expose()).into_owned())
    }
}

/// Splits a camel-case name such as `privateKey` into words.
fn words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }

        words.push(c.to_ascii_lowercase());
    }

    words
}
