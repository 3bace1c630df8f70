//! Filters: the transformations that a placeholder can apply to a value. Every intermediate result
//! is wiped.

use std::str::FromStr;

use secrets_core::model::{Invalid, SecretBytes, Timestamp};
use secrets_mask::encode;

use crate::dotenv::readers::{Readers, Unreadable};
use crate::one_time::{OneTimeError, OneTimeKey};

/// The maximum length of a filtered value in bytes. Without a limit, a chain of `base64` filters
/// could grow a value without end.
pub const MAX_SIZE: usize = 16 * 1024 * 1024;

/// A filter in a placeholder, such as `json` in `{{ secrets.x | json }}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Escapes the value for the inside of a JSON string or a double-quoted YAML string; adds no
    /// quotes
    Json,
    /// Quotes the value as one word for a POSIX shell
    Shell,
    /// Percent-encodes every byte except the unreserved characters of RFC 3986
    Url,
    /// Encodes the value as padded Base64 (RFC 4648, section 4)
    Base64,
    /// Removes ASCII white space at both ends
    Trim,
    /// Quotes the value for a dotenv file if necessary, so that all readers of that file read it
    /// back unchanged
    Dotenv,
    /// Generates the current one-time password from a key
    Totp,
}

/// The reason why a filter cannot be applied to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The value is not UTF-8, but JSON text is Unicode
    #[error("the filter `json` needs a UTF-8 value")]
    NotUtf8,
    /// The value contains a NUL byte, which a shell word cannot contain
    #[error("the filter `shell` cannot quote a value with a NUL byte")]
    Nul,
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// The value is no key for one-time passwords
    #[error("the filter `totp` needs a key for one-time passwords: {0}")]
    NotAKey(#[from] OneTimeError),
    /// The result is longer than [`MAX_SIZE`]
    #[error("the filtered value is larger than 16 MiB")]
    TooLarge,
}

impl FromStr for Filter {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::named(name.as_bytes()).ok_or_else(|| {
            let names = Self::NAMES.join(", ");
            Invalid(format!("unknown filter; the filters are {names}"))
        })
    }
}

impl Filter {
    /// The names of all filters, in the order of the documentation.
    pub const NAMES: [&'static str; 7] =
        ["json", "shell", "url", "base64", "trim", "dotenv", "totp"];

    pub fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"json" => Self::Json,
            b"shell" => Self::Shell,
            b"url" => Self::Url,
            b"base64" => Self::Base64,
            b"trim" => Self::Trim,
            b"dotenv" => Self::Dotenv,
            b"totp" => Self::Totp,
            _ => return None,
        })
    }

    /// Returns the filter's name, as placeholders spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Shell => "shell",
            Self::Url => "url",
            Self::Base64 => "base64",
            Self::Trim => "trim",
            Self::Dotenv => "dotenv",
            Self::Totp => "totp",
        }
    }

    /// Applies the filter to `value`. The filter `dotenv` quotes the value for `readers`, the
    /// programs that read the rendered file.
    pub fn apply(self, value: &[u8], readers: Readers) -> Result<SecretBytes, FilterError> {
        let filtered = match self {
            Self::Json => {
                let text = std::str::from_utf8(value).map_err(|_| FilterError::NotUtf8)?;
                encode::json(text, encode::Json::FILTER)
            }
            Self::Shell if value.contains(&0) => return Err(FilterError::Nul),
            Self::Shell => encode::shell_word(value),
            Self::Url => encode::percent(value, encode::UNRESERVED),
            Self::Base64 => encode::padded_base64(value),
            Self::Trim => trim(value),
            Self::Dotenv => readers.spell(value)?,
            Self::Totp => OneTimeKey::parse(value)?.code(Timestamp::now().0 / 1000),
        };

        if filtered.len() > MAX_SIZE { Err(FilterError::TooLarge) } else { Ok(filtered) }
    }
}

/// Removes the characters that C's `isspace` accepts from both ends: blank, tab, newline, vertical
/// tab, form feed and carriage return. Rust's `trim_ascii` does not remove vertical tabs.
fn trim(value: &[u8]) -> SecretBytes {
    let solid = |byte: &u8| !matches!(byte, b' ' | b'\t'..=b'\r');
    let start = value.iter().position(solid).unwrap_or(value.len());
    let end = value.iter().rposition(solid).map_or(start, |last| last + 1);
    SecretBytes::copy_of(&value[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(name: &str, value: &[u8]) -> Result<Vec<u8>, FilterError> {
        Filter::named(name.as_bytes())
            .unwrap()
            .apply(value, Readers::default())
            .map(|bytes| bytes.expose().to_vec())
    }

    #[test]
    fn filters_escape_for_their_readers() {
        let cases: [(&str, &[u8], &str); 16] = [
            ("json", b"a\"b\\c\n\x01", r#"a\"b\\c\n\u0001"#),
            ("json", "é€😀".as_bytes(), "é€😀"),
            ("json", "\u{7f}\u{85}\u{2028}".as_bytes(), r"\u007f\u0085\u2028"),
            ("shell", b"", "''"),
            ("shell", b"it's $HOME `x`\n", "'it'\\''s $HOME `x`\n'"),
            ("url", b"a b/c~d-e.f_g\xff", "a%20b%2Fc~d-e.f_g%FF"),
            ("base64", b"", ""),
            ("base64", b"f", "Zg=="),
            ("base64", b"foobar", "Zm9vYmFy"),
            ("base64", b"\xff\xfe", "//4="),
            ("trim", b" \t\r\n a b \x0b\x0c", "a b"),
            ("trim", b"\n\n", ""),
            ("trim", "\u{a0}x".as_bytes(), "\u{a0}x"),
            ("json", b"", ""),
            ("dotenv", b"abc", "abc"),
            ("dotenv", b"pa$word", "'pa$word'"),
        ];

        for (name, value, expected) in cases {
            assert_eq!(apply(name, value).unwrap(), expected.as_bytes(), "{name} {value:?}");
        }

        assert_eq!(apply("json", b"\xff"), Err(FilterError::NotUtf8));
        assert_eq!(apply("shell", b"a\0b"), Err(FilterError::Nul));
        assert_eq!(apply("url", &vec![0; MAX_SIZE / 3 + 1]), Err(FilterError::TooLarge));
    }

    #[test]
    fn names_and_filters_agree() {
        for name in Filter::NAMES {
            assert_eq!(Filter::named(name.as_bytes()).unwrap().name(), name);
        }

        assert_eq!(Filter::named(b"JSON"), None);
    }
}
