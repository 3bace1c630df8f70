//! How programs write bytes that have to pass through JSON, a shell, a URL or a terminal. Nothing here is shown: what
//! these functions make is only compared with. Every result is wiped.

use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};

use super::decode::{Reading, Unit};
use crate::model::SecretBytes;

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn room_for(value: &[u8]) -> SecretBytes {
    SecretBytes::with_capacity(value.len() + value.len() / 8 + 16)
}

/// The inside of a JSON string, with as few escapes as possible; all but ASCII in UTF-16 units if `ascii`.
pub(super) fn json(text: &str, ascii: bool) -> SecretBytes {
    let mut out = room_for(text.as_bytes());
    for c in text.chars() {
        match c {
            '"' => out.extend(br#"\""#),
            '\\' => out.extend(br"\\"),
            '\n' => out.extend(br"\n"),
            '\r' => out.extend(br"\r"),
            '\t' => out.extend(br"\t"),
            '\u{8}' => out.extend(br"\b"),
            '\u{c}' => out.extend(br"\f"),
            c if c < ' ' || (ascii && !c.is_ascii()) => unicode_escape(c, &mut out),
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

fn unicode_escape(c: char, out: &mut SecretBytes) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend(br"\u");
        (0..4).rev().for_each(|digit| out.push(LOWER[usize::from(*unit >> (4 * digit)) & 15]));
    }
}

/// A value in which each `byte` is written as `instead`.
pub(super) fn replaced(value: &[u8], byte: u8, instead: &[u8]) -> SecretBytes {
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

/// Percent-encodes all but letters, digits and `-._~` (RFC 3986).
pub(super) fn percent(value: &[u8]) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(value.len() * 3);
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend(&[b'%', UPPER[usize::from(byte >> 4)], UPPER[usize::from(byte & 15)]]);
        }
    }
    out
}

/// Decodes `%2F` and the like; what is no escape stays as it is.
pub(super) fn unpercent(text: &[u8]) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match Reading::Percent.unit(&text[at..], false) {
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

/// Two digits for each byte.
pub(super) fn hex(value: &[u8], upper: bool) -> SecretBytes {
    let digits = if upper { UPPER } else { LOWER };
    let mut out = SecretBytes::with_capacity(value.len() * 2);
    for byte in value {
        out.extend(&[digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
    }
    out
}

/// Every newline as carriage return and newline, where it is not so already.
pub(super) fn terminal_newlines(value: &[u8]) -> SecretBytes {
    let mut out = room_for(value);
    let mut before = 0;
    for &byte in value {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

/// Base64 without padding of a value behind `offset` other bytes, and how many characters at its start are not the
/// value's own: they hold a bit of those other bytes.
pub(super) fn base64(value: &[u8], offset: usize, url: bool) -> (SecretBytes, usize) {
    let shifted = shifted(value, offset);
    let mut out = SecretBytes::zeroed(Base64Unpadded::encoded_len(shifted.expose()));
    let encode = if url { Base64UrlUnpadded::encode } else { Base64Unpadded::encode };
    let length = encode(shifted.expose(), out.expose_mut()).map_or(0, str::len);
    debug_assert_eq!(length, out.len(), "the buffer has the encoded length");
    (out, (offset * 8).div_ceil(6))
}

/// The same in base32 (RFC 4648).
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
        assert_eq!(json(text, false).expose(), "a\\\"\\\\/<\\b\\u0001é😀".as_bytes());
        assert_eq!(json(text, true).expose(), br#"a\"\\/<\b\u0001\u00e9\ud83d\ude00"#);
        let cases: [(SecretBytes, &[u8]); 9] = [
            (replaced(b"'it's", b'\'', br"'\''"), br"'\''it'\''s"),
            (percent(b"a b/c~\xff"), b"a%20b%2Fc~%FF"),
            (unpercent(b"a%20b%2fc%%zz%4"), b"a b/c%%zz%4"),
            (hex(b"\x00\xAf", false), b"00af"),
            (terminal_newlines(b"\na\r\n\n"), b"\r\na\r\n\r\n"),
            (base64(b"foobar", 1, false).0, b"AGZvb2Jhcg"),
            (base32(b"foobar", 0).0, b"MZXW6YTBOI"),
            (base32(b"foob", 0).0, b"MZXW6YQ"),
            (base32(b"foobar", 2).0, b"AAAGM33PMJQXE"),
        ];
        for (encoded, expected) in cases {
            assert_eq!(encoded.expose().escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_is_left_of_base64_is_the_values_own() {
        assert_eq!([0, 1, 2].map(|offset| base64(b"value", offset, true).1), [0, 2, 3]);
        assert_eq!([0, 1, 2, 3, 4].map(|offset| base32(b"value", offset).1), [0, 2, 4, 5, 7]);
    }
}
