//! Objects and scalars of JSON, looked at one level at a time. Never goes through a float, keeps the order of keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::place::Lines;
use super::{ImportError, Why};
use crate::model::SecretBytes;

/// A text and the places of its parts.
pub(super) struct Document<'a> {
    text: &'a str,
    lines: Lines,
}

/// The members of an object, in order; what a name that stands there twice means is the caller's to say.
pub(super) struct Object<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, lines: Lines::of(text.as_bytes()) }
    }

    /// The object that is the whole text.
    pub(super) fn object(&self) -> Result<Object<'a>, ImportError> {
        if !super::begins_with(self.text, '{') {
            return Err(ImportError::nowhere(Why::NotAnObject));
        }

        serde_json::from_str(self.text).map_err(|error| {
            let at = (error.line().max(1) as u64, error.column().max(1) as u64);
            ImportError::at(at, Why::Json)
        })
    }

    /// Where a part of the text begins.
    pub(super) fn place(&self, part: &RawValue) -> (u64, u64) {
        let at = part.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        self.lines.place(at)
    }

    /// The members of a part, `None` where it is `null`. `of` says what it is.
    pub(super) fn members(
        &self,
        part: &'a RawValue,
        of: &'static str,
    ) -> Result<Option<Object<'a>>, ImportError> {
        self.typed(part, '{', of)
    }

    /// The elements of a part, `None` where it is `null`.
    pub(super) fn elements(
        &self,
        part: &'a RawValue,
        of: &'static str,
    ) -> Result<Option<Vec<&'a RawValue>>, ImportError> {
        self.typed(part, '[', of)
    }

    /// Asks for the opening character first: an error of serde's own would carry the text of what it met.
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
            return Err(ImportError::at(self.place(part), Why::Shape(of)));
        }

        serde_json::from_str(part.get())
            .map(Some)
            .map_err(|_| ImportError::at(self.place(part), Why::Json))
    }

    /// The bytes of a string, the text of a number or a boolean as it is written; empty for `null`. `None` where it is
    /// an object or a list.
    pub(super) fn scalar(&self, part: &RawValue) -> Result<Option<SecretBytes>, ImportError> {
        let text = part.get();
        match text.as_bytes().first() {
            Some(b'{' | b'[') => Ok(None),
            Some(b'n') => Ok(Some(SecretBytes::with_capacity(0))),
            Some(b'"') => match serde_json::from_str(text) {
                Ok(Unescaped(bytes)) => Ok(Some(bytes)),
                Err(_) => Err(ImportError::at(self.place(part), Why::Json)),
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

/// A string without its escapes. One that has some passes through a buffer of serde_json's, which it frees unwiped.
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
