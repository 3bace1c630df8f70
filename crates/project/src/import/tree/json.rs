//! Reads JSON, either as a tree or one level at a time. Never converts numbers to floats, and keeps
//! the order of keys.

use std::fmt;

use secrets_core::model::SecretBytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{ImportError, Why, begins_with};
use super::{Content, MAX_DEPTH, MAX_NODES, Node};
use crate::position::Lines;
use crate::position::Position;

/// Reads a file with one value, or several one after the other.
pub(in super::super) fn read(text: &str) -> Result<Vec<Node>, ImportError> {
    let document = Document::new(text);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let (mut nodes, mut left) = (Vec::new(), MAX_NODES);
    for value in &mut values {
        let value = value.map_err(|error| invalid(&error))?;
        nodes.push(document.node(value, 0, &mut left)?);
    }

    Ok(nodes)
}

/// A JSON text that can report the positions of its parts.
pub(in super::super) struct Document<'a> {
    text: &'a str,
    lines: Lines,
}

/// The members of an object, in order. Names may occur twice; the caller decides how to handle
/// that.
pub(in super::super) struct Object<'a>(pub(in super::super) Vec<(String, &'a RawValue)>);

impl<'a> Document<'a> {
    pub(in super::super) fn new(text: &'a str) -> Self {
        Self { text, lines: Lines::of(text.as_bytes()) }
    }

    /// Returns the object that forms the whole text.
    pub(in super::super) fn object(&self) -> Result<Object<'a>, ImportError> {
        if !begins_with(self.text, '{') {
            return Err(ImportError::without_position(Why::NotAnObject));
        }

        serde_json::from_str(self.text).map_err(|error| invalid(&error))
    }

    /// Returns a part with everything in it. `left` is the number of nodes that may still be made.
    fn node(
        &self,
        part: &'a RawValue,
        depth: usize,
        left: &mut usize,
    ) -> Result<Node, ImportError> {
        let at = self.position(part);
        *left = left.checked_sub(1).ok_or(ImportError::at(at, Why::TooMany))?;
        let below = || {
            if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(ImportError::at(at, Why::TooDeep)) }
        };

        let content = match part.get().as_bytes().first() {
            Some(b'{') => {
                let Object(members) = self.typed(part, '{', "")?.unwrap_or(Object(Vec::new()));
                let depth = below()?;
                let node = |(name, part)| Ok((name, self.node(part, depth, left)?));
                Content::Map(members.into_iter().map(node).collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = self.typed(part, '[', "")?.unwrap_or_default();
                let depth = below()?;
                let nodes = elements.into_iter().map(|part| self.node(part, depth, left));
                Content::List(nodes.collect::<Result<_, _>>()?)
            }
            _ => Content::Value(self.scalar(part)?.ok_or_else(|| ImportError::at(at, Why::Json))?),
        };

        Ok(Node { at, is_tagged: false, content })
    }

    pub(in super::super) fn position(&self, part: &RawValue) -> Position {
        let at = part.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.lines.position(at)
    }

    /// Returns the members of an object, or `None` for `null`. `of` names the part in errors.
    pub(in super::super) fn members(
        &self,
        part: &'a RawValue,
        of: &'static str,
    ) -> Result<Option<Object<'a>>, ImportError> {
        self.typed(part, '{', of)
    }

    /// Returns the elements of a list, or `None` for `null`. `of` names the part in errors.
    pub(in super::super) fn elements(
        &self,
        part: &'a RawValue,
        of: &'static str,
    ) -> Result<Option<Vec<&'a RawValue>>, ImportError> {
        self.typed(part, '[', of)
    }

    /// Checks the opening character first, because an error from serde would quote the text.
    fn typed<T: Deserialize<'a>>(
        &self,
        part: &'a RawValue,
        opening: char,
        of: &'static str,
    ) -> Result<Option<T>, ImportError> {
        if is_null(part) {
            return Ok(None);
        }

        if !part.get().starts_with(opening) {
            return Err(ImportError::at(self.position(part), Why::Shape(of)));
        }

        serde_json::from_str(part.get())
            .map(Some)
            .map_err(|_| ImportError::at(self.position(part), Why::Json))
    }

    /// Returns the bytes of a string, the text of a number or boolean as written, or nothing for
    /// `null`. Returns `None` for an object or a list.
    pub(in super::super) fn scalar(
        &self,
        part: &RawValue,
    ) -> Result<Option<SecretBytes>, ImportError> {
        let text = part.get();
        match text.as_bytes().first() {
            Some(b'{' | b'[') => Ok(None),
            Some(b'n') => Ok(Some(SecretBytes::with_capacity(0))),
            Some(b'"') => match serde_json::from_str(text) {
                Ok(Unescaped(bytes)) => Ok(Some(bytes)),
                Err(_) => Err(ImportError::at(self.position(part), Why::Json)),
            },
            _ => Ok(Some(SecretBytes::copy_of(text.as_bytes()))),
        }
    }
}

/// Returns the error for text that is not JSON. The library's own message is not passed on.
fn invalid(error: &serde_json::Error) -> ImportError {
    let (line, column) = (error.line().max(1) as u64, error.column().max(1) as u64);
    ImportError::at(Position { line, column }, Why::Json)
}

pub(in super::super) fn is_null(part: &RawValue) -> bool {
    part.get() == "null"
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }

                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// An unescaped string. If the string contains escapes, it passes through a buffer of `serde_json`,
/// which is not wiped.
struct Unescaped(SecretBytes);

impl<'de> Deserialize<'de> for Unescaped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Unescaped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Unescaped, E> {
                Ok(Unescaped(SecretBytes::copy_of(text.as_bytes())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}
