//! The words of the contract as types: what they hold is checked when they are made.
//!
//! Nothing here does I/O, and nothing here can print a value.

mod bytes;
mod key_shape;
mod name;
mod value;

pub use bytes::SecretBytes;
pub(crate) use bytes::{DEEP, overwrite_stack};
pub(crate) use key_shape::resembles_a_key;
pub(crate) use name::TAG_MAX;
pub use name::{Description, Name, ProjectName, SecretId, SecretRef, Tag, TagKey};
pub use value::{Hint, SecretValue};

/// Why an input is not what its type asks for: half a sentence that fits behind "is not a tag: ".
///
/// It never holds the input itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// True for a character that a terminal acts on, or that changes how its neighbours look: controls (C0, DEL, C1),
/// bidirectional marks, zero-width and other format characters, line and paragraph separators.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A moment in UTC, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment it is called.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// RFC 3339 with milliseconds, as in `2026-11-21T09:30:00.125Z`.
    ///
    /// A moment past the year 9999 (only a vault written by other means holds one) is shown as its end.
    pub fn rfc3339(self) -> String {
        format!("{:.3}", self.moment())
    }

    /// The same as the library's type; a moment past the year 9999 is its end.
    pub(crate) fn moment(self) -> jiff::Timestamp {
        let moment =
            i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        moment.unwrap_or(jiff::Timestamp::MAX)
    }

    /// Reads RFC 3339 from 1970 on; what is finer than a millisecond is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(moment.as_millisecond()).ok().map(Self)
    }
}

/// What is kept about a secret beside its value, sealed under the project's metadata key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The identifier in its project, as spelled at `create`
    pub tag: Tag,
    /// A label for people
    pub name: Option<Name>,
    /// Free text
    pub description: Option<Description>,
    /// What may be shown of the value
    pub hint: Hint,
    /// When the secret was stored first
    pub created: Timestamp,
    /// When it was changed last
    pub updated: Timestamp,
}

/// One secret as `get` and `list` show it: everything but the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Unique in the vault, immutable
    pub id: SecretId,
    /// Where it belongs
    pub project: ProjectName,
    /// The rest
    pub metadata: Metadata,
    /// How often it was changed; a write names the version it has seen
    pub version: u64,
}
