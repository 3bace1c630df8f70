//! The XML of KeePass 2 and KeePassXC. Never expands an entity that the file defines, never takes
//! an encrypted value for plain text, and skips entries in the history and the recycle bin.
//!
//! Line breaks in values are kept as they are, although XML requires `\r\n` to become `\n`.
//! KeePassXC writes the `\r` of a value without escaping it, and we must not drop bytes of a value.

use std::mem;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use secrets_core::model::SecretBytes;

use super::super::collector::Collector;
use super::super::entry::{Entry, EntryField};
use super::super::entry::{FoundEntry, Id};
use super::super::{ImportError, Items, Why};
use super::references;
use crate::position::Lines;

/// The id that means "no group".
const NO_GROUP: &[u8] = b"AAAAAAAAAAAAAAAAAAAAAA==";

/// An open element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    File,
    Meta,
    RecycleBinId,
    Root,
    Group {
        recycled: bool,
    },
    GroupId,
    Entry,
    EntryId,
    Pair,
    Key,
    Value,
    Binary,
    BinaryName,
    /// Any other element, with its whole content
    Other,
}

/// Returns true if the root element is KeePass's.
pub(in super::super) fn is_root_of(text: &str) -> bool {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(Event::Start(start) | Event::Empty(start)) => {
                return start.name().as_ref() == "KeePassFile";
            }
            Ok(Event::Eof) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

pub(in super::super) fn read(text: &str, mut found: Collector<'_>) -> Result<Items, ImportError> {
    let mut xml = Reader::from_str(text);
    xml.config_mut().expand_empty_elements = true;
    let mut file = File {
        lines: Lines::of(text.as_bytes()),
        open: Vec::new(),
        text: empty(),
        recycle_bin: empty(),
        entry: Entry::default(),
        key: String::new(),
        value: empty(),
        id: None,
        entries: Vec::new(),
        has_root: false,
    };

    loop {
        let before = position(xml.buffer_position());
        let event = xml.read_event();
        let at =
            |at: usize, why| Err(ImportError::at(file.lines.position(at.min(text.len())), why));

        match event {
            Err(_) => return at(position(xml.error_position()), Why::Xml),
            Ok(Event::Start(start)) => file.open(&start, before)?,
            Ok(Event::End(_)) => file.close(),
            Ok(Event::Text(part)) => file.append(&part),
            Ok(Event::CData(part)) => file.append(&part),
            Ok(Event::GeneralRef(entity)) => match entity.resolve_char_ref() {
                Ok(Some(character)) => file.append(character.encode_utf8(&mut [0; 4])),
                Ok(None) => match resolve_predefined_entity(&entity) {
                    Some(text) => file.append(text),
                    None => return at(before, Why::Entity),
                },
                Err(_) => return at(before, Why::Entity),
            },
            Ok(Event::Eof) if !file.open.is_empty() => return at(before, Why::Xml),
            Ok(Event::Eof) if !file.has_root => return at(0, Why::NotKeePass),
            Ok(Event::Eof) => {
                found.entries(file.entries)?;
                return Ok(found.finish());
            }
            Ok(
                Event::Empty(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::DocType(_),
            ) => {}
        }
    }
}

struct File {
    lines: Lines,
    open: Vec<Element>,
    /// The text of the open element, if that element's text is used
    text: SecretBytes,
    recycle_bin: SecretBytes,
    entry: Entry,
    key: String,
    value: SecretBytes,
    id: Option<Id>,
    entries: Vec<FoundEntry>,
    has_root: bool,
}

impl File {
    fn open(&mut self, start: &BytesStart<'_>, at: usize) -> Result<(), ImportError> {
        let fault = |why| Err(ImportError::at(self.lines.position(at), why));
        let name = start.name();
        let element = match (self.open.last(), name.as_ref()) {
            (None, "KeePassFile") if !self.has_root => Element::File,
            (None, _) => return fault(Why::NotKeePass),
            (Some(Element::File), "Meta") => Element::Meta,
            (Some(Element::Meta), "RecycleBinUUID") => Element::RecycleBinId,
            (Some(Element::File), "Root") => Element::Root,
            (Some(Element::Root), "Group") => Element::Group { recycled: false },
            (Some(Element::Group { recycled }), "Group") => Element::Group { recycled: *recycled },
            (Some(Element::Group { .. }), "UUID") => Element::GroupId,
            (Some(Element::Group { .. }), "Entry") => Element::Entry,
            (Some(Element::Entry), "UUID") => Element::EntryId,
            (Some(Element::Entry), "String") => Element::Pair,
            (Some(Element::Entry), "Binary") => Element::Binary,
            (Some(Element::Pair), "Key") => Element::Key,
            (Some(Element::Pair), "Value") => Element::Value,
            (Some(Element::Binary), "Key") => Element::BinaryName,
            _ => Element::Other,
        };

        match element {
            Element::Value => match is_protected(start) {
                Some(false) => {}
                Some(true) => return fault(Why::Protected),
                None => return fault(Why::Xml),
            },
            Element::Entry => {
                self.entry = Entry { at: Some(self.lines.position(at)), ..Entry::default() }
            }
            _ => {}
        }

        if element.has_text() {
            self.text = empty();
        }

        self.has_root = true;
        self.open.push(element);
        Ok(())
    }

    /// Handles the end of the innermost element. The XML reader has checked that start and end tags
    /// match.
    fn close(&mut self) {
        let closed = self.open.pop();
        match closed {
            Some(Element::RecycleBinId) => self.recycle_bin = mem::replace(&mut self.text, empty()),
            Some(Element::GroupId) => {
                let id = self.text.expose();
                let is_bin = id == self.recycle_bin.expose() && !id.is_empty() && id != NO_GROUP;
                if let (true, Some(Element::Group { recycled })) = (is_bin, self.open.last_mut()) {
                    *recycled = true;
                }
            }
            Some(Element::EntryId) => self.id = references::id(self.text.expose()),
            Some(Element::Key) => self.key = self.label(),
            Some(Element::Value) => self.value = mem::replace(&mut self.text, empty()),
            Some(Element::BinaryName) => {
                let name = self.label();
                self.entry.dropped.push((name, "attached files cannot be imported"));
            }
            Some(Element::Pair) => self.pair(),
            Some(Element::Entry) => {
                let recycled = self.open.last() == Some(&Element::Group { recycled: true });
                self.entries.push(FoundEntry {
                    entry: mem::take(&mut self.entry),
                    skip_reason: recycled.then_some("it is in the recycle bin"),
                    id: self.id.take(),
                });
            }
            _ => {}
        }
    }

    fn pair(&mut self) {
        let value = mem::replace(&mut self.value, empty());
        let text = |value: &SecretBytes| String::from_utf8_lossy(value.expose()).into_owned();
        match mem::take(&mut self.key).as_str() {
            "Title" => self.entry.title = text(&value),
            "UserName" => self.entry.users.push(text(&value)),
            "URL" => self.entry.urls.push(text(&value)),
            "Password" => self.entry.set(EntryField::Password, value),
            "Notes" => self.entry.set(EntryField::Notes, value),
            "otp" => self.entry.set(EntryField::Totp, value),
            other => self.entry.fields.push((other.to_owned(), value)),
        }
    }

    fn append(&mut self, part: &str) {
        if self.open.last().is_some_and(|element| element.has_text()) {
            self.text.extend(part.as_bytes());
        }
    }

    fn label(&self) -> String {
        String::from_utf8_lossy(self.text.expose()).into_owned()
    }
}

impl Element {
    fn has_text(self) -> bool {
        matches!(
            self,
            Self::RecycleBinId
                | Self::GroupId
                | Self::EntryId
                | Self::Key
                | Self::Value
                | Self::BinaryName
        )
    }
}

/// Returns whether a value is encrypted, or `None` if the attributes are invalid or one occurs
/// twice.
fn is_protected(start: &BytesStart<'_>) -> Option<bool> {
    let attributes = start.attributes().collect::<Result<Vec<_>, _>>().ok()?;
    let mut protected = attributes.iter().filter(|attribute| attribute.key.as_ref() == "Protected");
    Some(protected.any(|attribute| attribute.value.eq_ignore_ascii_case("true")))
}

fn position(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn empty() -> SecretBytes {
    SecretBytes::with_capacity(0)
}
