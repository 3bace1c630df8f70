//! Creates tags from the names that other tools use. Never sees a value, and never returns a tag
//! twice.

use std::collections::{HashMap, HashSet};

use secrets_core::model::{Tag, TagKey};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::{ImportError, Why};

/// The maximum length of a tag in bytes.
const MAX_LENGTH: usize = 128;
/// The maximum length of a prefix. It leaves room for a number.
const MAX_PREFIX: usize = 100;
/// The maximum length of a field's part in a tag. The title gets the rest.
const MAX_FIELD: usize = 48;
/// The name used if no valid character of a title is left.
const FALLBACK: &str = "item";

/// The tags that were already assigned.
pub(super) struct Tags<'p> {
    prefix: &'p str,
    taken: HashSet<TagKey>,
    /// The next number to try after a tag that is taken.
    next: HashMap<TagKey, u64>,
}

/// The common start of one entry's tags.
pub(super) struct TagPrefix(Tag);

impl<'p> Tags<'p> {
    pub(super) fn new(prefix: &'p str) -> Result<Self, ImportError> {
        if prefix.len() > MAX_PREFIX || Tag::parse(&format!("{prefix}x")).is_err() {
            return Err(ImportError::without_position(Why::Prefix));
        }

        Ok(Self { prefix, taken: HashSet::new(), next: HashMap::new() })
    }

    /// Returns a tag for a name. The spelling is kept if it is a valid tag, except that `.` becomes
    /// `_`.
    pub(super) fn spelled(&mut self, name: &str) -> Result<Tag, ImportError> {
        let spelled = name.replace('.', "_");
        if Tag::parse(&format!("{}{spelled}", self.prefix)).is_ok() {
            self.take_free(&spelled)
        } else {
            self.take_free(&slug_or(name, FALLBACK))
        }
    }

    /// Returns the key of the tag that [`Self::spelled`] tries first, or `None` if the name's
    /// spelling is not a valid tag.
    pub(super) fn key_of(&self, name: &str) -> Option<TagKey> {
        Tag::parse(&format!("{}{}", self.prefix, name.replace('.', "_"))).ok().map(|tag| tag.key())
    }

    /// Returns a start for the tags of one entry that no other entry has.
    pub(super) fn stem(&mut self, title: &str) -> Result<TagPrefix, ImportError> {
        self.take_free(&slug_or(title, FALLBACK)).map(TagPrefix)
    }

    /// Returns the tag for one of an entry's fields.
    pub(super) fn field(&mut self, stem: &TagPrefix, field: &str) -> Result<Tag, ImportError> {
        let field = slug_or(field, "field");
        let field = truncate(&field, MAX_FIELD);
        let title = stem.0.as_str().get(self.prefix.len()..).unwrap_or_default();
        let title = truncate(title, self.room().saturating_sub(field.len() + 1));

        self.take_free(&format!("{title}-{field}"))
    }

    fn room(&self) -> usize {
        MAX_LENGTH.saturating_sub(self.prefix.len())
    }

    /// Takes the first free tag of `base`, `base-2`, `base-3` and so on. If `base` is not a valid
    /// tag, the first one is `base-1`.
    fn take_free(&mut self, base: &str) -> Result<Tag, ImportError> {
        let first = self.numbered(base, "").or_else(|_| self.numbered(base, "-1"))?;
        let key = first.key();
        if self.taken.insert(key.clone()) {
            return Ok(first);
        }

        let mut number = self.next.get(&key).copied().unwrap_or(2);
        loop {
            let tag = self.numbered(base, &format!("-{number}"))?;
            number += 1;
            if self.taken.insert(tag.key()) {
                self.next.insert(key, number);
                return Ok(tag);
            }
        }
    }

    fn numbered(&self, base: &str, number: &str) -> Result<Tag, ImportError> {
        let base = truncate(base, self.room().saturating_sub(number.len()));
        Tag::parse(&format!("{}{base}{number}", self.prefix))
            .map_err(|_| ImportError::without_position(Why::Prefix))
    }
}

impl TagPrefix {
    /// Returns the start itself as a tag, for the entry's main secret.
    pub(super) fn tag(&self) -> Tag {
        self.0.clone()
    }
}

/// Truncates ASCII text to `max_length` characters.
fn truncate(text: &str, max_length: usize) -> &str {
    match text.get(..max_length) {
        Some(short) => short.trim_end_matches('-'),
        None => text,
    }
}

fn slug_or(text: &str, otherwise: &str) -> String {
    let slug = slug(text);
    if slug.is_empty() { otherwise.to_owned() } else { slug }
}

/// Converts a title into lower-case ASCII letters and digits, with a `-` for each run of other
/// characters. Diacritics are dropped: `Ä` becomes `a`.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        if slug.len() >= MAX_LENGTH {
            break;
        }

        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if let Some(transliteration) = transliteration(c) {
            slug.push_str(transliteration);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }

    truncate(slug.trim_end_matches('-'), MAX_LENGTH).to_owned()
}

/// Returns replacements for letters that Unicode does not decompose.
fn transliteration(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' | 'ẞ' => "ss",
        'æ' | 'Æ' => "ae",
        'œ' | 'Œ' => "oe",
        'ø' | 'Ø' => "o",
        'ł' | 'Ł' => "l",
        'đ' | 'Đ' | 'ð' | 'Ð' => "d",
        'þ' | 'Þ' => "th",
        'ħ' | 'Ħ' => "h",
        'ı' => "i",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for (title, expected) in [
            ("GitHub", "github"),
            ("  My  Bank (new)!", "my-bank-new"),
            ("Ümläute & Straße", "umlaute-strasse"),
            ("e\u{301}te\u{301}", "ete"),
            ("Łódź", "lodz"),
            ("ﬁle ①", "file-1"),
            ("API_KEY", "api-key"),
            ("--", ""),
            ("Привет", ""),
            ("🔑 key", "key"),
        ] {
            assert_eq!(slug(title), expected, "{title}");
        }

        assert_eq!(slug(&"ß".repeat(300)).len(), 128);
    }

    #[test]
    fn tags_are_given_once() {
        let mut tags = Tags::new("").unwrap();
        let mut spelled = |name: &str| tags.spelled(name).unwrap().as_str().to_owned();
        assert_eq!(spelled("A.B"), "A_B");
        assert_eq!(spelled("a-b"), "a-b-2");
        assert_eq!(spelled("A_B"), "A_B-3");
        assert_eq!(spelled("_"), "item");
        assert_eq!(spelled("se0123456789abcdef"), "se0123456789abcdef-1");
        assert_eq!(spelled("SE0123456789ABCDEF"), "se0123456789abcdef-2");
        assert_eq!(spelled(&"x".repeat(200)), "x".repeat(128));
        assert_eq!(spelled(&"x".repeat(201)), format!("{}-2", "x".repeat(126)));
    }

    #[test]
    fn a_field_keeps_its_name_behind_a_long_title() {
        let prefix = "p".repeat(MAX_PREFIX);
        let mut tags = Tags::new(&prefix).unwrap();
        let stem = tags.stem(&"x".repeat(300)).unwrap();
        assert_eq!(stem.tag().as_str(), format!("{prefix}{}", "x".repeat(28)));
        assert_eq!(
            tags.field(&stem, "totp").unwrap().as_str(),
            format!("{prefix}{}-totp", "x".repeat(23))
        );

        assert_eq!(
            tags.field(&stem, "totp").unwrap().as_str(),
            format!("{prefix}{}-to-2", "x".repeat(23))
        );

        assert!(tags.field(&stem, &"f".repeat(200)).is_ok());
        for bad in ["-", "a b", "ä", &"p".repeat(MAX_PREFIX + 1)] {
            assert!(Tags::new(bad).is_err(), "{bad}");
        }
    }
}
