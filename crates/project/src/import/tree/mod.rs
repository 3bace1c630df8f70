//! A file of JSON or YAML as a tree of values, and the names of the values in it.
//!
//! Numbers and booleans keep the text that the file has for them. The depth and the number of values
//! are limited, because the aliases of YAML can stand for any amount of text.

pub(super) mod json;
pub(super) mod yaml;

use base64ct::{Base64, Encoding};
use secrets_core::model::SecretBytes;

use super::{ImportError, Why};
use crate::position::Position;

/// The maximum depth of lists and maps.
const MAX_DEPTH: usize = 64;
/// The maximum number of values in a file, with those that aliases repeat.
const MAX_NODES: usize = 250_000;
/// The maximum length of a joined name in bytes.
const MAX_NAME: usize = 1024;
/// The maximum total length of the joined names of a file in bytes.
pub(super) const MAX_NAMES: usize = 32 * 1024 * 1024;
/// The maximum total size in bytes of the names and values that aliases repeat.
const MAX_REPEATED: usize = 16 * 1024 * 1024;

/// A value, a list or a map.
pub(super) struct Node {
    /// Where it begins
    pub(super) at: Position,
    /// True if a tag of YAML gives it a meaning that only another program knows
    pub(super) is_tagged: bool,
    pub(super) content: Content,
}

/// The content of a node. It does not implement `Debug`, because values are secret.
pub(super) enum Content {
    /// A text, number or boolean as written; empty for `null`
    Value(SecretBytes),
    List(Vec<Node>),
    /// The members in order; a name can occur twice
    Map(Vec<(String, Node)>),
}

/// A value and its name, which joins the names of all maps above it with `.`.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) value: SecretBytes,
    pub(super) at: Position,
    /// As in [`Node`]
    pub(super) is_tagged: bool,
}

/// The values below a node.
#[derive(Default)]
struct Flattened {
    all: Vec<Named>,
    /// The total length of their names
    bytes: usize,
}

impl Node {
    /// Returns the members of a map.
    pub(super) fn map(&self) -> Option<&[(String, Self)]> {
        if let Content::Map(members) = &self.content { Some(members) } else { None }
    }

    /// Returns the elements of a list.
    pub(super) fn list(&self) -> Option<&[Self]> {
        if let Content::List(elements) = &self.content { Some(elements) } else { None }
    }

    /// Returns the bytes of a value.
    pub(super) fn value(&self) -> Option<&SecretBytes> {
        if let Content::Value(value) = &self.content { Some(value) } else { None }
    }

    /// Returns a member of a map, the last one if the name occurs twice.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.map()?.iter().rev().find(|(other, _)| other == name).map(|(_, node)| node)
    }

    /// Returns a member that is a value, as text that is not secret.
    pub(super) fn label(&self, name: &str) -> Option<String> {
        let value = self.get(name)?.value()?;
        Some(String::from_utf8_lossy(value.expose()).into_owned())
    }

    /// Returns a copy of the value of a member.
    pub(super) fn copy(&self, name: &str) -> Option<SecretBytes> {
        Some(SecretBytes::copy_of(self.get(name)?.value()?.expose()))
    }

    /// Returns all values below this node with their names. A list's elements have numbers from 0.
    pub(super) fn flattened(self, name: &str) -> Result<Vec<Named>, ImportError> {
        let mut found = Flattened::default();
        self.flatten(name.to_owned(), false, &mut found)?;
        Ok(found.all)
    }

    fn flatten(
        self,
        name: String,
        is_tagged: bool,
        found: &mut Flattened,
    ) -> Result<(), ImportError> {
        let is_tagged = is_tagged || self.is_tagged;
        let below = |part: &str, node: &Self| match name.as_str() {
            "" => Ok(part.to_owned()),
            // Each name is a copy of the names above it, so their length is limited.
            name if name.len() + part.len() > MAX_NAME => {
                Err(ImportError::at(node.at, Why::TooLongName))
            }
            name => Ok(format!("{name}.{part}")),
        };

        let is_empty = match &self.content {
            Content::Value(_) => false,
            Content::List(elements) => elements.is_empty(),
            Content::Map(members) => members.is_empty(),
        };

        // A list or a map without content is reported as an empty value.
        let content = if is_empty && !name.is_empty() {
            Content::Value(SecretBytes::with_capacity(0))
        } else {
            self.content
        };

        match content {
            Content::Value(value) => {
                found.bytes += name.len();
                if found.bytes > MAX_NAMES {
                    return Err(ImportError::at(self.at, Why::TooMany));
                }

                found.all.push(Named { name, value, at: self.at, is_tagged });
            }
            Content::List(elements) => {
                for (number, element) in elements.into_iter().enumerate() {
                    let name = below(&number.to_string(), &element)?;
                    element.flatten(name, is_tagged, found)?;
                }
            }
            Content::Map(members) => {
                for (part, member) in members {
                    let name = below(&part, &member)?;
                    member.flatten(name, is_tagged, found)?;
                }
            }
        }

        Ok(())
    }
}

/// Decodes Base64 (RFC 4648, section 4).
pub(super) fn decode_base64(text: &[u8]) -> Option<SecretBytes> {
    let mut bytes = SecretBytes::zeroed(text.len() / 4 * 3);
    let length = Base64::decode(text, bytes.expose_mut()).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}
