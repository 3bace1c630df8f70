//! Tags made of what other tools call a secret. Never sees a value, never gives one tag twice.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::{ImportError, Why};
use crate::model::{Tag, TagKey};

/// Most characters of a tag.
const MOST: usize = 128;
/// Most of a prefix: a number still fits behind it.
const PREFIX_MOST: usize = 100;
/// Most of the part that names a field; the title has the rest.
const FIELD_MOST: usize = 48;
/// What stands in for a title of which nothing is left.
const NOTHING: &str = "item";

/// The tags that were given.
pub(super) struct Tags<'p> {
    prefix: &'p str,
    taken: HashSet<TagKey>,
    /// The next number to be tried behind a tag that is taken.
    next: HashMap<TagKey, u64>,
}

/// What the tags of one entry begin with.
pub(super) struct TagPrefix(Tag);

impl<'p> Tags<'p> {
    pub(super) fn new(prefix: &'p str) -> Result<Self, ImportError> {
        if prefix.len() > PREFIX_MOST || Tag::parse(&format!("{prefix}x")).is_err() {
            return Err(ImportError::nowhere(Why::Prefix));
        }

        Ok(Self { prefix, taken: HashSet::new(), next: HashMap::new() })
    }

    /// The tag for a name, spelled as it is where that is a tag; a `.` becomes `_`.
    pub(super) fn spelled(&mut self, name: &str) -> Result<Tag, ImportError> {
        let spelled = name.replace('.', "_");
        if Tag::parse(&format!("{}{spelled}", self.prefix)).is_ok() {
            self.free(&spelled)
        } else {
            self.free(&slug_or(name, NOTHING))
        }
    }

    /// What [`Self::spelled`] compares of a name that can be a tag as it is.
    pub(super) fn key_of(&self, name: &str) -> Option<TagKey> {
        Tag::parse(&format!("{}{}", self.prefix, name.replace('.', "_"))).ok().map(|tag| tag.key())
    }

    /// A beginning for the tags of one entry that no other entry has.
    pub(super) fn stem(&mut self, title: &str) -> Result<TagPrefix, ImportError> {
        self.free(&slug_or(title, NOTHING)).map(TagPrefix)
    }

    /// The tag for one of an entry's fields.
    pub(super) fn field(&mut self, stem: &TagPrefix, field: &str) -> Result<Tag, ImportError> {
        let field = slug_or(field, "field");
        let field = cut(&field, FIELD_MOST);
        let title = stem.0.as_str().get(self.prefix.len()..).unwrap_or_default();
        let title = cut(title, self.room().saturating_sub(field.len() + 1));

        self.free(&format!("{title}-{field}"))
    }

    fn room(&self) -> usize {
        MOST.saturating_sub(self.prefix.len())
    }

    /// The first tag of `base`, `base-1` (where the former is none), `base-2`, … that is free; it is taken by that.
    fn free(&mut self, base: &str) -> Result<Tag, ImportError> {
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
        let base = cut(base, self.room().saturating_sub(number.len()));
        Tag::parse(&format!("{}{base}{number}", self.prefix))
            .map_err(|_| ImportError::nowhere(Why::Prefix))
    }
}

impl TagPrefix {
    /// The stem itself, for the entry's own secret.
    pub(super) fn tag(&self) -> Tag {
        self.0.clone()
    }
}

/// The first `most` characters of ASCII.
fn cut(text: &str, most: usize) -> &str {
    match text.get(..most) {
        Some(short) => short.trim_end_matches('-'),
        None => text,
    }
}

fn slug_or(text: &str, otherwise: &str) -> String {
    let slug = slug(text);
    if slug.is_empty() { otherwise.to_owned() } else { slug }
}

/// Small ASCII letters and digits, a `-` for each run of others. Marks on letters are dropped: `Ä` becomes `a`.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        if slug.len() >= MOST {
            break;
        }

        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if let Some(letters) = letters(c) {
            slug.push_str(letters);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }

    cut(slug.trim_end_matches('-'), MOST).to_owned()
}

/// Letters that Unicode does not take apart.
fn letters(c: char) -> Option<&'static str> {
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
        let prefix = "p".repeat(PREFIX_MOST);
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
        for bad in ["-", "a b", "ä", &"p".repeat(PREFIX_MOST + 1)] {
            assert!(Tags::new(bad).is_err(), "{bad}");
        }
    }
}
