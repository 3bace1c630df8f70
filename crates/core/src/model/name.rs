//! Names that are shown: tags, ids, project names, labels and descriptions.
//!
//! None of these holds a value. Text that comes out of a vault is checked against the same bounds
//! again.

use std::fmt;
use std::str::FromStr;

use super::{Invalid, is_hostile};

/// The maximum length of a tag in characters.
pub const TAG_MAX: usize = 128;
const NAME_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4096;
const SOURCE_MAX: usize = 2048;

/// A secret's identifier in its project, spelled as at `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// Parses `^[A-Za-z0-9_][A-Za-z0-9_-]{0,127}$` with at least one letter or digit. Rejects text
    /// that has the shape of an id.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_identifier(text, "-_")?;
        if text.starts_with('-') {
            return Err(Invalid::new("it begins with `-`"));
        }

        let tag = Self(text.to_owned());
        if SecretId::parse(tag.key().as_str()).is_some() {
            return Err(Invalid::new("it has the shape of an id (`se` and 16 hex digits)"));
        }

        Ok(tag)
    }

    /// Returns the form in which tags are compared.
    pub fn key(&self) -> TagKey {
        TagKey::new(&self.0)
    }

    /// Returns the spelling given at `create`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// The form in which tags are compared: ASCII lower case, with `_` for `-`. `my-secret` and
/// `MY_SECRET` have the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagKey(String);

impl TagKey {
    fn new(tag: &str) -> Self {
        Self(tag.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect())
    }

    /// Returns the key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A secret's id, shown as `se` and 16 lower-case hex digits. It is random, unique in the vault and
/// never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretId(pub [u8; 8]);

impl SecretId {
    /// Parses exactly the 18 characters that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("se")?;
        let lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 16 || !digits.bytes().all(lower_hex) {
            return None;
        }

        u64::from_str_radix(digits, 16).ok().map(|n| Self(n.to_be_bytes()))
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "se{:016x}", u64::from_be_bytes(self.0))
    }
}

/// A reference to a secret, by tag in the current project or by id in any project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// A tag in the current project, in any spelling
    Tag(Tag),
    /// An id, in any project
    Id(SecretId),
}

impl FromStr for SecretRef {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match SecretId::parse(text) {
            Some(id) => Ok(Self::Id(id)),
            None => Tag::parse(text).map(Self::Tag),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// A project's name: the characters of a tag and `.`, compared exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(String);

impl ProjectName {
    /// Parses `^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,127}$` with at least one letter or digit.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_identifier(text, "-_.")?;
        if text.starts_with('-') {
            return Err(Invalid::new("it begins with `-`"));
        }

        Ok(Self(text.to_owned()))
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProjectName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

/// A token's name: the characters of a project's name, at most 64 of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenName(String);

impl TokenName {
    /// The maximum length in bytes.
    pub const MAX: usize = 64;

    /// Parses `^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}$` with at least one letter or digit.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let ProjectName(name) = ProjectName::parse(text)?;
        if name.len() > Self::MAX {
            let (length, most) = (name.len(), Self::MAX);
            return Err(Invalid::new(format!("it has {length} characters; the maximum is {most}")));
        }

        Ok(Self(name))
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::parse(text)
    }
}

fn check_identifier(text: &str, punctuation: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || punctuation.contains(c);
    if text.is_empty() {
        Err(Invalid::new("it is empty"))
    } else if text.len() > TAG_MAX && text.chars().all(allowed) {
        Err(Invalid::new(format!("it has {} characters; the maximum is {TAG_MAX}", text.len())))
    } else if !text.chars().all(allowed) {
        let dot = if punctuation.contains('.') { ", `.`" } else { "" };
        Err(Invalid::new(format!("only ASCII letters, digits, `_`{dot} and `-` are allowed")))
    } else if !text.bytes().any(|b| b.is_ascii_alphanumeric()) {
        Err(Invalid::new("it has no letters or digits"))
    } else {
        Ok(())
    }
}

/// A label for people: 1 to 256 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks the bounds. Empty text gives `None`, which clears a name.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("it contains a control character"));
        }

        check_length(text, NAME_MAX)?;
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// Accepts a name from a vault. Only its length is checked. Printing makes hostile characters
    /// visible, so a vault that another program wrote can still be listed.
    pub fn stored(text: &str) -> Option<Self> {
        (!text.is_empty() && check_length(text, NAME_MAX).is_ok()).then(|| Self(text.to_owned()))
    }

    /// Returns the label's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Free text: 1 to 4,096 characters, without control characters other than newline and tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description(String);

impl Description {
    /// Checks the bounds. Empty text gives `None`, which clears a description.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            return Err(Invalid::new("it contains a control character other than newline and tab"));
        }

        check_length(text, DESCRIPTION_MAX)?;
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// Accepts a description from a vault, with the same checks as [`Name::stored`].
    pub fn stored(text: &str) -> Option<Self> {
        (!text.is_empty() && check_length(text, DESCRIPTION_MAX).is_ok())
            .then(|| Self(text.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The web page where a new value can be had: an `https` or `http` address of at most 2,048
/// characters, without a user name and without invisible characters. Nothing opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    /// Checks the address. Empty text gives `None`, which clears a source.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        if text.is_empty() {
            return Ok(None);
        }

        let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(Invalid::new("it does not begin with `https://` or `http://` and a host"));
        }

        if text.chars().any(|c| is_hostile(c) || c.is_whitespace()) {
            return Err(Invalid::new("it contains a blank or a control character"));
        }

        // `https://github.com@example.org` leads to example.org, and a password would be shown.
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        if host.contains('@') {
            return Err(Invalid::new("it contains a user name"));
        }

        check_length(text, SOURCE_MAX)?;
        Ok(Some(Self(text.to_owned())))
    }

    /// Accepts an address from a vault, with the same checks as [`Name::stored`].
    pub fn stored(text: &str) -> Option<Self> {
        (!text.is_empty() && check_length(text, SOURCE_MAX).is_ok()).then(|| Self(text.to_owned()))
    }

    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_length(text: &str, most: usize) -> Result<(), Invalid> {
    let length = text.chars().count();
    if length > most {
        return Err(Invalid::new(format!("it has {length} characters; the maximum is {most}")));
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_the_documented_form() {
        let longest = "a".repeat(128);
        for good in [
            "a",
            "0",
            "_a",
            "my-secret",
            "MY_SECRET",
            "a-",
            "__0",
            &longest,
            "se",
            "seg123456789abcdef",
        ] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }

        let too_long = "a".repeat(129);
        let bad = ["", "-a", "_", "__", "a b", "a.b", "ä", "a\n", "a/b", &too_long];
        for bad in bad.into_iter().chain(["se0123456789abcdef", "SE0123456789ABCDEF"]) {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spellings_share_a_key() {
        let key = Tag::parse("my-secret").unwrap().key();
        for spelling in ["my_secret", "MY_SECRET", "My-Secret"] {
            assert_eq!(Tag::parse(spelling).unwrap().key(), key);
        }

        assert_eq!(key.as_str(), "my_secret");
    }

    #[test]
    fn ids_round_trip() {
        let id = SecretId([0, 1, 2, 0xab, 0xff, 0, 9, 0x10]);
        assert_eq!(id.to_string(), "se000102abff000910");
        assert_eq!(SecretId::parse(&id.to_string()), Some(id));

        for bad in [
            "se000102ABFF000910",
            "se0",
            "xx000102abff000910",
            "se+00102abff000910",
            "se000102abff0009100",
        ] {
            assert_eq!(SecretId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn projects_take_dots() {
        for good in ["web", "web.api", ".x", "1"] {
            assert!(ProjectName::parse(good).is_ok(), "{good}");
        }

        for bad in ["", ".", "..", "-x", "a b", "a/b", "é"] {
            assert!(ProjectName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_have_bounds_in_characters() {
        assert!(Name::parse(&"é".repeat(256)).unwrap().is_some());
        assert!(Name::parse(&"é".repeat(257)).is_err());
        assert!(Name::parse("").unwrap().is_none());
        for bad in ["a\nb", "a\x1b[0m", "a\u{85}b"] {
            assert!(Name::parse(bad).is_err());
        }

        assert!(Description::parse("a\n\tb").unwrap().is_some());
        assert!(Description::parse("a\rb").is_err());
        assert!(Description::parse(&"x".repeat(4097)).is_err());
    }

    #[test]
    fn sources_are_addresses_of_web_pages() {
        for good in ["https://example.com/keys?a=b@c#d", "http://localhost:8080"] {
            assert_eq!(Source::parse(good).unwrap().unwrap().as_str(), good);
        }

        assert_eq!(Source::parse("").unwrap(), None);
        let long = format!("https://example.com/{}", "x".repeat(2048));
        let bad =
            ["example.com", "https://", "https:///x", "javascript:x", "https://a b", "ftp://a"];
        let hidden = ["https://github.com@example.org/", "https://a\\@b", "https://a\u{202e}b"];
        for bad in bad.into_iter().chain(hidden).chain(["https://a\n", &long]) {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }
}
