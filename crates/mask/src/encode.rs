//! Encodes bytes as programs write them for JSON, a shell, a URL or a terminal.
//!
//! The filters of templates write values with these functions, and masks look for what they write.
//! So a mask knows every form that a filter can produce. All results are wiped.

use base64ct::{Base64, Base64Unpadded, Base64UrlUnpadded, Encoding as _};
use secrets_core::model::{SecretBytes, overwrite_stack};

use super::decode::{Encoding, Unit};

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn room_for(value: &[u8]) -> SecretBytes {
    SecretBytes::with_capacity(value.len() + value.len() / 8 + 16)
}

/// The escapes of a JSON writer beyond those that JSON requires.
#[derive(Clone, Copy)]
pub struct Json {
    /// ASCII characters that are written as `\u003c`
    pub unicode: &'static str,
    /// Whether all non-ASCII characters are written like that, in UTF-16 units
    pub ascii: bool,
    /// Whether hex digits are upper case: `\u003C` instead of `\u003c`
    pub upper: bool,
    /// Whether `/` is written as `\/`
    pub slash: bool,
    /// Whether all characters that YAML does not count as printable are written as `\u0085`, and so
    /// are backspace and form feed (YAML 1.2, section 5.1)
    pub yaml: bool,
}

impl Json {
    /// As few escapes as possible: JavaScript, Rust, Ruby.
    pub const PLAIN: Self =
        Self { unicode: "", ascii: false, upper: false, slash: false, yaml: false };
    /// The filter `json`, whose result is also the inside of a double-quoted YAML string.
    pub const FILTER: Self = Self { yaml: true, ..Self::PLAIN };
    /// The default of Python.
    pub(super) const ASCII: Self = Self { ascii: true, ..Self::PLAIN };
    /// Writers that escape for HTML as well: Go; Gson; .NET; PHP, without and with
    /// `JSON_UNESCAPED_UNICODE`.
    pub(super) const OTHERS: [Self; 5] = [
        Self { unicode: "<>&", ..Self::PLAIN },
        Self { unicode: "<>&'=", ..Self::PLAIN },
        Self { unicode: "\"'<>&+`", ascii: true, upper: true, ..Self::PLAIN },
        Self { slash: true, ..Self::ASCII },
        Self { slash: true, ..Self::PLAIN },
    ];
}

impl Json {
    /// Returns true for a character that is written as `\u003c`.
    fn escapes(self, c: char) -> bool {
        let is_unprintable = || {
            matches!(
                c,
                '\u{8}' | '\u{c}' | '\u{7f}'
                    ..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
            )
        };

        self.unicode.contains(c) || self.ascii && !c.is_ascii() || self.yaml && is_unprintable()
    }
}

/// Returns the inside of a JSON string.
pub fn json(text: &str, how: Json) -> SecretBytes {
    let mut out = room_for(text.as_bytes());
    for c in text.chars() {
        match c {
            c if how.escapes(c) => {
                unicode_escape(c, how.upper, &mut out);
            }
            '"' => out.extend(br#"\""#),
            '\\' => out.extend(br"\\"),
            '/' if how.slash => out.extend(br"\/"),
            '\n' => out.extend(br"\n"),
            '\r' => out.extend(br"\r"),
            '\t' => out.extend(br"\t"),
            '\u{8}' => out.extend(br"\b"),
            '\u{c}' => out.extend(br"\f"),
            c if c < ' ' => unicode_escape(c, how.upper, &mut out),
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    out
}

fn unicode_escape(c: char, upper: bool, out: &mut SecretBytes) {
    let digits = if upper { UPPER } else { LOWER };
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend(br"\u");
        (0..4).rev().for_each(|digit| out.push(digits[usize::from(*unit >> (4 * digit)) & 15]));
    }
}

pub fn replaced(value: &[u8], byte: u8, instead: &[u8]) -> SecretBytes {
    let mut out = room_for(value);
    for part in value.split_inclusive(|other| *other == byte) {
        match part.strip_suffix(&[byte]) {
            Some(before) => {
                out.extend(before);
                out.extend(instead);
            }
            None => out.extend(part),
        }
    }

    out
}

/// Returns a value as one word of a POSIX shell, in single quotes.
pub fn shell_word(value: &[u8]) -> SecretBytes {
    let inside = replaced(value, b'\'', br"'\''");
    let mut out = SecretBytes::with_capacity(inside.len() + 2);
    out.push(b'\'');
    out.extend(inside.expose());
    out.push(b'\'');
    out
}

/// Returns a value in padded Base64 (RFC 4648, section 4).
pub fn padded_base64(value: &[u8]) -> SecretBytes {
    let mut out = SecretBytes::zeroed(Base64::encoded_len(value));
    let length = Base64::encode(value, out.expose_mut()).map_or(0, str::len);

    debug_assert_eq!(length, out.len(), "the buffer has the encoded length");
    overwrite_stack::<4096>();
    out
}

/// The characters that RFC 3986 does not escape, besides letters and digits.
pub const UNRESERVED: &[u8] = b"-._~";
/// The characters that `encodeURIComponent` does not escape, besides letters and digits.
pub(super) const COMPONENT: &[u8] = b"-._~!'()*";

/// Percent-encodes everything but letters, digits and the characters in `kept`.
pub fn percent(value: &[u8], kept: &[u8]) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(value.len() * 3);
    for &byte in value {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(byte);
        } else {
            out.extend(&[b'%', UPPER[usize::from(byte >> 4)], UPPER[usize::from(byte & 15)]]);
        }
    }

    out
}

/// Decodes `%2F` and the like, and keeps everything else.
pub fn unpercent(text: &[u8]) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match Encoding::Percent.unit(&text[at..], false) {
            Unit::Text(length, decoded) => {
                out.extend(decoded.bytes());
                at += length;
            }
            _ => {
                out.push(text[at]);
                at += 1;
            }
        }
    }

    out
}

/// Returns two hex digits for each byte.
pub(super) fn hex(value: &[u8], upper: bool) -> SecretBytes {
    let digits = if upper { UPPER } else { LOWER };
    let mut out = SecretBytes::with_capacity(value.len() * 2);
    for byte in value {
        out.extend(&[digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
    }

    out
}

/// Returns a value with carriage return and newline for each newline. A newline that already
/// follows a carriage return is kept, unless `every` is set.
pub(super) fn terminal_newlines(value: &[u8], every: bool) -> SecretBytes {
    let mut out = room_for(value);
    let mut before = 0;
    for &byte in value {
        if byte == b'\n' && (every || before != b'\r') {
            out.push(b'\r');
        }

        out.push(byte);
        before = byte;
    }

    out
}

/// Encodes a value that follows `offset` other bytes in base64, without padding. Also returns the
/// number of characters at the start that hold bits of those other bytes.
pub(super) fn base64(value: &[u8], offset: usize, url: bool) -> (SecretBytes, usize) {
    let shifted = shifted(value, offset);
    let mut out = SecretBytes::zeroed(Base64Unpadded::encoded_len(shifted.expose()));
    let encode = if url { Base64UrlUnpadded::encode } else { Base64Unpadded::encode };
    let length = encode(shifted.expose(), out.expose_mut()).map_or(0, str::len);

    debug_assert_eq!(length, out.len(), "the buffer has the encoded length");
    (out, (offset * 8).div_ceil(6))
}

/// Encodes a value that follows `offset` other bytes in base32 (RFC 4648), without padding. Also
/// returns the number of characters at the start that hold bits of those other bytes.
pub(super) fn base32(value: &[u8], offset: usize) -> (SecretBytes, usize) {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let shifted = shifted(value, offset);
    let mut out = SecretBytes::with_capacity(shifted.len() * 8 / 5 + 1);
    let (mut bits, mut number) = (0_u16, 0);

    for byte in shifted.expose() {
        bits = bits << 8 | u16::from(*byte);
        number += 8;
        while number >= 5 {
            number -= 5;
            out.push(DIGITS[usize::from(bits >> number & 31)]);
        }

        bits &= (1 << number) - 1;
    }

    if number > 0 {
        out.push(DIGITS[usize::from(bits << (5 - number) & 31)]);
    }

    (out, (offset * 8).div_ceil(5))
}

fn shifted(value: &[u8], offset: usize) -> SecretBytes {
    let mut shifted = SecretBytes::with_capacity(offset + value.len());
    shifted.extend(&[0; 4][..offset]);
    shifted.extend(value);
    shifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoders_write_what_programs_write() {
        let text = "a\"\\/<\u{8}\u{1}é😀";
        assert_eq!(json(text, Json::PLAIN).expose(), "a\\\"\\\\/<\\b\\u0001é😀".as_bytes());
        assert_eq!(json(text, Json::ASCII).expose(), br#"a\"\\/<\b\u0001\u00e9\ud83d\ude00"#);
        let cases: [(SecretBytes, &[u8]); 11] = [
            (replaced(b"'it's", b'\'', br"'\''"), br"'\''it'\''s"),
            (percent(b"a b/c~\xff", UNRESERVED), b"a%20b%2Fc~%FF"),
            (percent(b"(a b/c~)", COMPONENT), b"(a%20b%2Fc~)"),
            (unpercent(b"a%20b%2fc%%zz%4"), b"a b/c%%zz%4"),
            (hex(b"\x00\xAf", false), b"00af"),
            (terminal_newlines(b"\na\r\n\n", false), b"\r\na\r\n\r\n"),
            (terminal_newlines(b"\na\r\n", true), b"\r\na\r\r\n"),
            (base64(b"foobar", 1, false).0, b"AGZvb2Jhcg"),
            (base32(b"foobar", 0).0, b"MZXW6YTBOI"),
            (base32(b"foob", 0).0, b"MZXW6YQ"),
            (base32(b"foobar", 2).0, b"AAAGM33PMJQXE"),
        ];

        for (encoded, expected) in cases {
            assert_eq!(
                encoded.expose().escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn json_is_written_as_libraries_write_it() {
        let text = "a\"'<>&=+`/\\é";
        let written = [
            r#"a\"'\u003c\u003e\u0026=+`/\\é"#,
            r#"a\"\u0027\u003c\u003e\u0026\u003d+`/\\é"#,
            r"a\u0022\u0027\u003C\u003E\u0026=\u002B\u0060/\\\u00E9",
            r#"a\"'<>&=+`\/\\\u00e9"#,
            r#"a\"'<>&=+`\/\\é"#,
        ];

        for (how, expected) in Json::OTHERS.into_iter().zip(written) {
            assert_eq!(String::from_utf8_lossy(json(text, how).expose()), expected);
        }
    }

    #[test]
    fn what_is_left_of_base64_is_the_values_own() {
        assert_eq!([0, 1, 2].map(|offset| base64(b"value", offset, true).1), [0, 2, 3]);
        assert_eq!([0, 1, 2, 3, 4].map(|offset| base32(b"value", offset).1), [0, 2, 4, 5, 7]);
    }
}
