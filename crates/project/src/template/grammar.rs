//! The grammar of placeholders. Parsing is pure and never looks at more than 512 bytes at a time.
//!
//! ```text
//! placeholder = "{{" blank* reference ( blank* "|" blank* filter )* blank* "}}"  ; max 512 bytes
//! reference   = "secrets." tag | NAME
//! NAME        = [A-Z_][A-Z0-9_]*
//! ```

use std::fmt;
use std::str::FromStr;

use secrets_core::model::{Invalid, Tag};

use super::filter::Filter;
use crate::dotenv::readers::Readers;

/// The maximum length of a placeholder in bytes, delimiters included.
pub const MAX_LENGTH: usize = 512;
const MAX_DELIMITER: usize = 16;
/// What stands before the tag in a placeholder that is not bare.
pub const NAMESPACE: &[u8] = b"secrets.";

/// The delimiters that open and close a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delimiters {
    open: Vec<u8>,
    close: Vec<u8>,
}

impl Default for Delimiters {
    fn default() -> Self {
        Self { open: b"{{".to_vec(), close: b"}}".to_vec() }
    }
}

impl FromStr for Delimiters {
    type Err = Invalid;

    /// Parses `OPEN,CLOSE`. Rejects delimiters with a character that could occur between the
    /// delimiters of a placeholder.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((open, close)) = text.split_once(',') else {
            return Err(Invalid(
                "expected two delimiters with a comma between them, as in `[[,]]`".into(),
            ));
        };

        let inner = |c: char| {
            c.is_ascii_alphanumeric() || c.is_whitespace() || c.is_control() || r"_.|\,".contains(c)
        };

        for side in [open, close] {
            if side.is_empty() || side.len() > MAX_DELIMITER {
                return Err(Invalid(format!("a delimiter must have 1 to {MAX_DELIMITER} bytes")));
            }

            if side.contains(inner) {
                return Err(Invalid(
                    r"a delimiter cannot contain letters, digits, blanks, `_`, `.`, `|`, `\` or `,`"
                        .into(),
                ));
            }
        }

        if close.starts_with('-') {
            return Err(Invalid(
                "the closing delimiter cannot start with `-`, because a tag can end with it".into(),
            ));
        }

        Ok(Self { open: open.into(), close: close.into() })
    }
}

/// The syntax of the placeholders in one template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grammar {
    pub delimiters: Delimiters,
    /// Whether only `{{ secrets.tag }}` is a placeholder, and the bare `{{NAME}}` is not
    pub namespaced: bool,
    /// The filter for placeholders that have no filter themselves
    pub escape: Option<Filter>,
    /// The programs that read the rendered file, for the filter `dotenv`
    pub readers: Readers,
}

/// A valid placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The tag as spelled in the template
    pub tag: Tag,
    /// The filters in the order in which they are applied, including the one from `--escape`
    pub filters: Vec<Filter>,
}

/// The reason why text that was clearly meant as a placeholder is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// The text after `secrets.` is not a valid tag
    Tag(Invalid),
    /// The filter does not exist
    Filter,
    /// The placeholder is not closed: other text follows the tag or filter, or the template ends
    /// there
    Unclosed,
    /// The placeholder is longer than 512 bytes
    TooLong,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(why) => write!(f, "invalid tag: {why}"),
            Self::Filter => {
                write!(f, "unknown filter; the filters are {}", Filter::NAMES.join(", "))
            }
            Self::Unclosed => f.write_str("not closed after the tag or filter"),
            Self::TooLong => write!(f, "longer than {MAX_LENGTH} bytes"),
        }
    }
}

/// The result of parsing the text at an opening delimiter.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    /// Ordinary text, not a placeholder
    Ordinary,
    /// Undecided until more bytes are available
    Incomplete,
    /// A placeholder of `length` bytes
    Placeholder {
        placeholder: Placeholder,
        /// The placeholder's length in bytes, delimiters included
        length: usize,
    },
    /// Text that starts like a placeholder but is invalid
    Malformed(Malformed),
}

impl Grammar {
    /// Returns the opening delimiter, with which every placeholder starts.
    pub fn open(&self) -> &[u8] {
        &self.delimiters.open
    }

    /// Parses the text at the start of `input`, which starts with the opening delimiter. Set
    /// `complete` if the template ends with `input`.
    pub fn at(&self, input: &[u8], complete: bool) -> Match {
        let cut = input.len() >= MAX_LENGTH;
        let mut cursor =
            Cursor { input: &input[..input.len().min(MAX_LENGTH)], at: self.delimiters.open.len() };
        cursor.skip_blanks();
        let ours = cursor.rest().starts_with(NAMESPACE);

        if !ours && !cut && !complete && NAMESPACE.starts_with(cursor.rest()) {
            return Match::Incomplete;
        }

        match self.parse(&mut cursor, ours) {
            Ok(placeholder) => Match::Placeholder { placeholder, length: cursor.at },
            Err(ParseStop::End) if !cut && !complete => Match::Incomplete,
            Err(_) if !ours => Match::Ordinary,
            Err(ParseStop::End) if cut => Match::Malformed(Malformed::TooLong),
            Err(ParseStop::End) => Match::Malformed(Malformed::Unclosed),
            Err(ParseStop::Malformed(why)) => Match::Malformed(why),
        }
    }

    /// Returns the tag that ordinary text at an opening delimiter was probably meant to name:
    /// `{{ stripe-key }}`, `{{ secret.x }}`, `{{- secrets.x -}}`. The caller warns only if a secret
    /// has that tag, because other tools write such text too. With `namespaced`, the text must
    /// contain a namespace similar to `secrets`.
    pub fn near_miss(&self, input: &[u8]) -> Option<Tag> {
        let inner = input.get(self.delimiters.open.len()..input.len().min(MAX_LENGTH))?;
        let inner = &inner[..memchr::memmem::find(inner, &self.delimiters.close)?];
        let inner = std::str::from_utf8(inner).ok().filter(|inner| !inner.contains('\n'))?;
        let reference = inner.split('|').next().unwrap_or_default();

        let reference =
            reference.trim().trim_start_matches(['-', '.']).trim_end_matches('-').trim();
        let name = match reference.split_once('.') {
            Some((namespace, name)) if is_like_our_namespace(namespace) => name,
            Some(_) => return None,
            None if self.namespaced => return None,
            None => reference,
        };

        Tag::parse(name).ok()
    }

    fn parse(&self, cursor: &mut Cursor<'_>, ours: bool) -> Result<Placeholder, ParseStop> {
        let name = if ours {
            cursor.at += NAMESPACE.len();
            cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))?
        } else {
            let bare = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
            cursor.take_while(|b| !self.namespaced && bare(b))?
        };

        if !ours && name.first().is_none_or(u8::is_ascii_digit) {
            return Err(ParseStop::Malformed(Malformed::Unclosed));
        }

        let tag =
            std::str::from_utf8(name).map_err(|_| ParseStop::Malformed(Malformed::Unclosed))?;
        let tag = Tag::parse(tag).map_err(|why| ParseStop::Malformed(Malformed::Tag(why)))?;
        let mut filters = Vec::new();

        loop {
            cursor.skip_blanks();
            if cursor.take(&self.delimiters.close)? {
                if filters.is_empty() {
                    filters.extend(self.escape);
                }

                return Ok(Placeholder { tag, filters });
            }

            if !cursor.take(b"|")? {
                return Err(ParseStop::Malformed(Malformed::Unclosed));
            }

            cursor.skip_blanks();
            let name =
                cursor.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))?;
            filters.push(Filter::named(name).ok_or(ParseStop::Malformed(Malformed::Filter))?);
        }
    }
}

fn is_like_our_namespace(word: &str) -> bool {
    ["secret", "secrets"].iter().any(|ours| word.eq_ignore_ascii_case(ours))
}

/// The reason why parsing stopped before the closing delimiter.
enum ParseStop {
    End,
    Malformed(Malformed),
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    }

    /// Takes bytes as long as `fits` accepts them. Returns [`ParseStop::End`] if the input ends
    /// first, because more matching bytes could follow.
    fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> Result<&'a [u8], ParseStop> {
        let rest = self.rest();
        let length = rest.iter().position(|b| !fits(*b)).ok_or(ParseStop::End)?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// Takes `token` if the input continues with it, and returns whether it does.
    fn take(&mut self, token: &[u8]) -> Result<bool, ParseStop> {
        let rest = self.rest();
        if rest.starts_with(token) {
            self.at += token.len();
            Ok(true)
        } else if token.starts_with(rest) {
            Err(ParseStop::End)
        } else {
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Match {
        Grammar::default().at(text.as_bytes(), true)
    }

    fn placeholder(text: &str) -> Option<(String, Vec<Filter>, usize)> {
        match at(text) {
            Match::Placeholder { placeholder: p, length } => {
                Some((p.tag.to_string(), p.filters, length))
            }
            _ => None,
        }
    }

    #[test]
    fn placeholders_of_both_forms() {
        let cases: [(&str, &str, &[Filter]); 8] = [
            ("{{ secrets.my-secret }}", "my-secret", &[]),
            ("{{secrets.my_secret}}", "my_secret", &[]),
            ("{{\t secrets.A1\t}}", "A1", &[]),
            ("{{MY_API_TOKEN}}", "MY_API_TOKEN", &[]),
            ("{{ _X1 }}", "_X1", &[]),
            ("{{ X|json }}", "X", &[Filter::Json]),
            ("{{ secrets.x | trim|\turl }}", "x", &[Filter::Trim, Filter::Url]),
            ("{{X|shell|base64}}", "X", &[Filter::Shell, Filter::Base64]),
        ];

        for (text, tag, filters) in cases {
            assert_eq!(placeholder(text), Some((tag.into(), filters.into(), text.len())), "{text}");
            assert_eq!(
                placeholder(&format!("{text}}}}} rest")),
                Some((tag.into(), filters.into(), text.len()))
            );
        }
    }

    #[test]
    fn what_is_not_ours_is_ordinary() {
        for text in [
            "{{ .Values.x }}",
            "{{#if}}",
            "{{ user.name }}",
            "{{ lower }}",
            "{{ TITLE | upper }}",
            "{{",
            "{{ ",
            "{{ X",
            "{{ X }",
            "{{ X } }",
            "{{X\n}}",
            "{{ _ }}",
            "{{ 1X }}",
            "{{}}",
            "{{{X}}}",
            "{{ X | }}",
            "{{ X || json }}",
            "{{ SE0123456789ABCDEF }}",
            "{{ secretsX }}",
            "{{ secret.x }}",
            "{{ Secrets.x }}",
            "{{\u{a0}X}}",
            "{{ X-Y }}",
        ] {
            assert_eq!(at(text), Match::Ordinary, "{text}");
        }

        let long = format!("{{{{ X{} }}}}", " ".repeat(MAX_LENGTH));
        assert_eq!(at(&long), Match::Ordinary);
        let name = format!("{{{{{}}}}}", "A".repeat(129));
        assert_eq!(at(&name), Match::Ordinary, "a NAME that is not a valid tag");
    }

    #[test]
    fn what_plainly_meant_us_is_malformed() {
        let tag = |text: &str| matches!(at(text), Match::Malformed(Malformed::Tag(_)));
        for text in [
            "{{ secrets. }}",
            "{{ secrets.-x }}",
            "{{ secrets._ }}",
            "{{secrets.se0123456789abcdef}}",
        ] {
            assert!(tag(text), "{text}");
        }

        assert!(tag(&format!("{{{{ secrets.{} }}}}", "a".repeat(129))));
        let unclosed = Match::Malformed(Malformed::Unclosed);
        for text in [
            "{{ secrets.x",
            "{{ secrets.x ",
            "{{ secrets.x }",
            "{{ secrets.x y }}",
            "{{ secrets.x\n}}",
            "{{secrets.x|",
            "{{secrets.x|json",
            "{{ secrets.x.y }}",
            "{{ secrets.",
            "{{ secrets.x || 'y' }}",
            "{{ secrets.é }}",
        ] {
            let found = at(text);
            let filter = Match::Malformed(Malformed::Filter);
            assert!(found == unclosed || found == filter || tag(text), "{text} {found:?}");
        }

        assert_eq!(at("{{ secrets.x | upper }}"), Match::Malformed(Malformed::Filter));
        let fits = format!("{{{{ secrets.x{}}}}}", " ".repeat(MAX_LENGTH - 14));
        assert_eq!((fits.len(), placeholder(&fits).map(|p| p.2)), (MAX_LENGTH, Some(MAX_LENGTH)));
        assert_eq!(at(&fits.replace("}}", " }}")), Match::Malformed(Malformed::TooLong));
    }

    #[test]
    fn a_near_miss_names_the_tag_that_was_probably_meant() {
        let meant =
            |text: &str| Grammar::default().near_miss(text.as_bytes()).map(|tag| tag.to_string());
        for (text, tag) in [
            ("{{ stripe-key }}", "stripe-key"),
            ("{{ Stripe_Key }}", "Stripe_Key"),
            ("{{ secret.x }}", "x"),
            ("{{ Secrets.x }}", "x"),
            ("{{ .secrets.x }}", "x"),
            ("{{- secrets.x -}}", "x"),
            ("{{-secrets.x-}}", "x"),
            ("{{ stripe-key | upper }}", "stripe-key"),
            ("{{\u{a0}X\u{a0}}}", "X"),
        ] {
            assert_eq!(meant(text).as_deref(), Some(tag), "{text}");
        }

        for text in [
            "{{ .Values.x }}",
            "{{#if}}",
            "{{ user.name }}",
            "{{ x",
            "{{}}",
            "{{ a b }}",
            "{{ X\n}}",
            "{{ _ }}",
        ] {
            assert_eq!(meant(text), None, "{text}");
        }

        let namespaced = Grammar { namespaced: true, ..Grammar::default() };
        assert_eq!(namespaced.near_miss(b"{{ stripe-key }}"), None);
        assert!(namespaced.near_miss(b"{{ secret.stripe-key }}").is_some());
    }

    #[test]
    fn every_prefix_of_a_placeholder_is_incomplete() {
        for text in ["{{ secrets.my-secret | json }}", "{{ MY_SECRET|trim }}"] {
            for cut in 2..text.len() {
                assert_eq!(
                    Grammar::default().at(&text.as_bytes()[..cut], false),
                    Match::Incomplete,
                    "{cut}"
                );
            }
        }

        assert_eq!(Grammar::default().at(b"{{ secrex", false), Match::Ordinary);
        assert_eq!(Grammar::default().at(b"{{ X }x", false), Match::Ordinary);
    }

    #[test]
    fn other_delimiters_and_namespaced() {
        let grammar = |text: &str, namespaced| Grammar {
            delimiters: text.parse().unwrap(),
            namespaced,
            ..Grammar::default()
        };

        let found = |g: &Grammar, text: &str| {
            matches!(g.at(text.as_bytes(), true), Match::Placeholder { .. })
        };

        assert!(
            found(&grammar("[[,]]", false), "[[ X ]]")
                && found(&grammar("<%=,%>", false), "<%= secrets.x %>")
        );

        assert!(found(&grammar("%,%", false), "%X%") && found(&grammar("${,}", false), "${X}"));
        assert!(
            found(&grammar("{{,}}", true), "{{ secrets.X }}")
                && !found(&grammar("{{,}}", true), "{{ X }}")
        );

        for bad in
            ["", "[[", ",", "[[,", ",]]", "a,b", "{ {,}}", "[[,]],", "\\{,}", "<!--,-->", "{{,|}}"]
        {
            assert!(bad.parse::<Delimiters>().is_err(), "{bad}");
        }

        let escape = Grammar { escape: Some(Filter::Json), ..Grammar::default() };
        let filters = |text: &str| match escape.at(text.as_bytes(), true) {
            Match::Placeholder { placeholder, .. } => placeholder.filters,
            other => panic!("{other:?}"),
        };

        assert_eq!(filters("{{X}}"), [Filter::Json]);
        assert_eq!(filters("{{X|url}}"), [Filter::Url]);
    }
}
