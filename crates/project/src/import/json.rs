//! Reads JSON objects and scalars one level at a time. Never converts numbers to floats, and keeps
//! the order of keys.

use std::fmt;

use secrets_core::model::SecretBytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{ImportError, Why};
use crate::position::Lines;
use crate::position::Position;

/// A JSON text that can report the positions of its parts.
pub(super) struct Document<'a> {
    text: &'a str,
    lines: Lines,
}

/// The members of an object, in order. Names may occur twice; the caller decides how to handle
/// that.
pub(super) struct Object<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, lines: Lines::of(text.as_bytes()) }
    }

    /// Returns the object that forms the whole text.
    pub(super) fn object(&self) -> Result<Object<'a>, ImportError> {
        if !super::begins_with(self.text, '{') {
            return Err(ImportError::without_position(Why::NotAnObject));
        }

        serde_json::from_str(self.text).map_err(|error| {
            let (line, column) = (error.line().max(1) as u64, error.column().max(1) as u64);
            let at = Position { line, column };
            ImportError::at(at, Why::Json)
        })
    }

    pub(super) fn position(&self, part: &RawValue) -> Position {
        let at = part.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.lines.position(at)
    }

    /// Returns the members of an object, or `None` for `null`. `of` names the part in errors.
    pub(super) fn members(
        &self,
        part: &'a RawValue,
        of: &'static str,
    ) -> Result<Option<Object<'a>>, ImportError> {
        self.typed(part, '{', of)
    }

    /// Returns the elements of a list, or `None` for `null`. `of` names the part in errors.
    pub(super) fn elements(
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
    pub(super) fn scalar(&self, part: &RawValue) -> Result<Option<SecretBytes>, ImportError> {
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

pub(super) fn is_null(part: &RawValue) -> bool {
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
