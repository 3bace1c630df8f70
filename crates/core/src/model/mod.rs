//! The domain types: tags, ids, names, values and metadata. Each checks its content when it is
//! created.
//!
//! Nothing here does I/O, and nothing here can print a value.

mod bytes;
mod destination;
mod key_shape;
mod level;
mod name;
mod period;
mod value;

pub use bytes::SecretBytes;
pub use bytes::{STACK_DEPTH, overwrite_stack};
pub use destination::{
    BasicPart, Destination, Destinations, Host, HostPattern, Methods, Origin, OriginPattern,
    PathError, PathPattern, Place, RequestPath, is_framing_header,
};
pub use key_shape::{is_known_api_key, looks_like_api_key};
pub use level::Level;
pub use name::TAG_MAX;
pub use name::{
    Description, Name, ProjectName, SecretId, SecretRef, Source, Tag, TagKey, TokenName,
};
pub use period::{Expiry, Period};
pub use value::{Hint, SecretValue};

/// The reason why an input is invalid, worded so that it fits after "is not a tag: ".
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

/// Returns true for a character that a terminal acts on or that changes how its neighbours look:
/// controls (C0, DEL, C1), bidirectional marks, zero-width and other format characters, line and
/// paragraph separators.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A point in time, in UTC, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the current time.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns RFC 3339 with milliseconds, for example `2026-11-21T09:30:00.125Z`.
    ///
    /// A time after the year 9999 can only come from a vault that another program wrote. It is
    /// shown as the end of that year.
    pub fn rfc3339(self) -> String {
        format!("{:.3}", self.to_jiff())
    }

    /// Converts to the type of the `jiff` crate. A time after the year 9999 becomes the end of that
    /// year.
    pub fn to_jiff(self) -> jiff::Timestamp {
        let moment =
            i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        moment.unwrap_or(jiff::Timestamp::MAX)
    }

    /// Parses RFC 3339 from 1970 on, and drops what is finer than a millisecond.
    pub fn parse(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(moment.as_millisecond()).ok().map(Self)
    }
}

/// The data stored about a secret next to its value, sealed under the project's metadata key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The identifier in its project, as spelled at `create`
    pub tag: Tag,
    /// A label for people
    pub name: Option<Name>,
    /// Free text
    pub description: Option<Description>,
    /// The part of the value that may be shown
    pub hint: Hint,
    /// The time of creation
    pub created: Timestamp,
    /// The time of the last change
    pub updated: Timestamp,
    /// The readers who may use the value
    pub class: Class,
    /// The generation of the value's key; it never changes in a vault that is one file
    pub generation: u32,
    /// The time by which the value must be replaced
    pub expires: Option<Timestamp>,
    /// The place where a new value can be had
    pub source: Option<Source>,
    /// Where the value may be sent
    pub destinations: Destinations,
    /// Fields of later versions, as they are encoded
    pub later: Vec<u8>,
}

impl Metadata {
    /// Returns the metadata of a new secret with this tag and value, without any optional field.
    pub fn new(tag: Tag, value: &SecretValue, now: Timestamp) -> Self {
        Self {
            tag,
            name: None,
            description: None,
            hint: value.hint(),
            created: now,
            updated: now,
            class: Class::Team,
            generation: 0,
            expires: None,
            source: None,
            destinations: Destinations::default(),
            later: Vec::new(),
        }
    }
}

impl Metadata {
    /// Takes over the hint of a new value. Every reader of the project sees hints, so a restricted
    /// secret has none.
    pub fn set_hint(&mut self, hint: Hint) {
        self.hint = match self.class {
            Class::Team => hint,
            Class::Restricted => Hint::none(),
        };
    }
}

/// The readers who may use a secret's value. The stricter class is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Class {
    /// Everybody who may use the project's values
    #[default]
    Team,
    /// Only readers with a grant for restricted secrets
    Restricted,
}

impl Class {
    /// Returns the word for the class, `team` or `restricted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Restricted => "restricted",
        }
    }

    /// Returns the class of the word `team` or `restricted`.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Team, Self::Restricted].into_iter().find(|class| class.as_str() == word)
    }

    /// Returns the class of a value that replaces another one: restricted if either is. So no copy
    /// gives a restricted value to more readers.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        self.max(other)
    }
}

/// A secret as `get` and `list` show it: everything but the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Unique in the vault, immutable
    pub id: SecretId,
    /// The project that it belongs to
    pub project: ProjectName,
    /// Its tag, name, description, hint and times
    pub metadata: Metadata,
    /// The number of changes; a write names the version that it is based on
    pub version: u64,
}
