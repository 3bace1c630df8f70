//! How programs write bytes that have to pass through JSON, a shell, a URL or a terminal. Nothing here is shown: what
//! these functions make is only compared with. Every result is wiped.

use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};

use crate::model::SecretBytes;

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// What a writer of JSON escapes beyond what it has to.
#[derive(Clone, Copy, Default)]
pub(super) struct Json {
    /// All but ASCII, in UTF-16 units: Python's `json.dumps`, `jq -a`, PHP
    pub(super) ascii: bool,
    /// The control character that JSON does not forbid: Python again
    pub(super) delete: bool,
    /// `<`, `>`, `&` and the line separators: Go's `encoding/json`
    pub(super) html: bool,
    /// `/` as `\/`: PHP
    pub(super) slash: bool,
    /// What YAML does not print, and no `\b` and `\f`: our own filter
    pub(super) printable: bool,
}

fn room_for(value: &[u8]) -> SecretBytes {
    SecretBytes::with_capacity(value.len() + value.len() / 8 + 16)
}

/// The inside of a JSON string.
pub(super) fn json(text: &str, writer: Json) -> SecretBytes {
    let mut out = room_for(text.as_bytes());
    for c in text.chars() {
        match c {
            '"' => out.extend(br#"\""#),
            '\\' => out.extend(br"\\"),
            '\n' => out.extend(br"\n"),
            '\r' => out.extend(br"\r"),
            '\t' => out.extend(br"\t"),
            '\u{8}' if !writer.printable => out.extend(br"\b"),
            '\u{c}' if !writer.printable => out.extend(br"\f"),
            '/' if writer.slash => out.extend(br"\/"),
            c if c < ' ' || (writer.ascii && !c.is_ascii()) || writer.escapes(c) => unicode_escape(c, &mut out),
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

impl Json {
    fn escapes(self, c: char) -> bool {
        match c {
            '<' | '>' | '&' => self.html,
            '\u{2028}' | '\u{2029}' => self.html || self.printable,
            '\x7f' => self.delete || self.printable,
            '\u{80}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => self.printable,
            _ => false,
        }
    }
}

fn unicode_escape(c: char, out: &mut SecretBytes) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend(br"\u");
        (0..4).rev().for_each(|digit| out.push(LOWER[usize::from(*unit >> (4 * digit)) & 15]));
    }
}

/// The inside of single quotes, where a single quote is written as `quote`.
pub(super) fn single_quoted(value: &[u8], quote: &[u8]) -> SecretBytes {
    let mut out = room_for(value);
    for part in value.split_inclusive(|byte| *byte == b'\'') {
        match part.strip_suffix(b"'") {
            Some(before) => {
                out.extend(before);
                out.extend(quote);
            }
            None => out.extend(part),
        }
    }
    out
}

/// A word with backslashes, as bash's `printf %q` writes what is printable.
pub(super) fn backslashed(value: &[u8]) -> SecretBytes {
    let mut out = room_for(value);
    let mut before = None;
    for &byte in value {
        let begins_word = matches!(before, None | Some(b'=' | b':'));
        if b"\t\n !\"$&'()*,;<>?[\\]^`{|}".contains(&byte)
            || (byte == b'#' && before.is_none())
            || (byte == b'~' && begins_word)
        {
            out.push(b'\\');
        }
        out.push(byte);
        before = Some(byte);
    }
    out
}

/// The inside of `$'…'`, as bash's `printf %q` writes it; bytes that are not ASCII in octal where the locale is C.
pub(super) fn dollar_quoted(value: &[u8], octal: bool) -> SecretBytes {
    let mut out = room_for(value);
    for &byte in value {
        let letter = match byte {
            b'\x1b' => b'E',
            b'\x07' => b'a',
            b'\x08' => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            b'\x0b' => b'v',
            b'\x0c' => b'f',
            b'\r' => b'r',
            b'\\' | b'\'' => byte,
            0..b' ' | 0x7f | 0x80.. if byte.is_ascii() || octal => {
                out.extend(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend(&[b'\\', letter]);
    }
    out
}

/// Percent-encodes all but letters, digits and `kept`; a blank that is kept is written as `+`.
pub(super) fn percent(value: &[u8], kept: &[u8], upper: bool) -> SecretBytes {
    let digits = if upper { UPPER } else { LOWER };
    let mut out = SecretBytes::with_capacity(value.len() * 3);
    for &byte in value {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(if byte == b' ' { b'+' } else { byte });
        } else {
            out.extend(&[b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    out
}

/// The text of XML or HTML, quotes written as given.
pub(super) fn xml(value: &[u8], quote: &[u8], apostrophe: &[u8]) -> SecretBytes {
    let mut out = room_for(value);
    for &byte in value {
        match byte {
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'>' => out.extend(b"&gt;"),
            b'"' => out.extend(quote),
            b'\'' => out.extend(apostrophe),
            byte => out.push(byte),
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
    let mut shifted = SecretBytes::with_capacity(offset + value.len());
    shifted.extend(&[0; 2][..offset]);
    shifted.extend(value);
    let mut out = SecretBytes::zeroed(Base64Unpadded::encoded_len(shifted.expose()));
    let encode = if url { Base64UrlUnpadded::encode } else { Base64Unpadded::encode };
    let length = encode(shifted.expose(), out.expose_mut()).map_or(0, str::len);
    debug_assert_eq!(length, out.len(), "the buffer has the encoded length");
    (out, (offset * 8).div_ceil(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoders_write_what_programs_write() {
        let text = "a\"\\/<\u{8}\u{7f}\u{2028}é😀";
        let writers = [
            (Json::default(), "a\\\"\\\\/<\\b\u{7f}\u{2028}é😀"),
            (Json { ascii: true, ..Json::default() }, "a\\\"\\\\/<\\b\u{7f}\\u2028\\u00e9\\ud83d\\ude00"),
            (Json { delete: true, ..Json::default() }, "a\\\"\\\\/<\\b\\u007f\u{2028}é😀"),
            (Json { html: true, ..Json::default() }, "a\\\"\\\\/\\u003c\\b\u{7f}\\u2028é😀"),
            (Json { slash: true, ..Json::default() }, "a\\\"\\\\\\/<\\b\u{7f}\u{2028}é😀"),
            (Json { printable: true, ..Json::default() }, "a\\\"\\\\/<\\u0008\\u007f\\u2028é😀"),
        ];
        for (writer, expected) in writers {
            assert_eq!(json(text, writer).expose(), expected.as_bytes());
        }
        let cases: [(SecretBytes, &[u8]); 10] = [
            (single_quoted(b"'it's", br"'\''"), br"'\''it'\''s"),
            (backslashed(b"#a #~b=~c!"), br"\#a\ #~b=\~c\!"),
            (dollar_quoted(b"a'\\\t\x1b\x01\x7f\xc3\xa9", false), b"a\\'\\\\\\t\\E\\001\\177\xc3\xa9"),
            (dollar_quoted(b"\xc3\xa9\xff", true), br"\303\251\377"),
            (percent(b"a b/c~\xff", b"-._~", true), b"a%20b%2Fc~%FF"),
            (percent(b"a b/c~\xff", b" *-._", false), b"a+b%2fc%7e%ff"),
            (xml(b"a<b>&\"'", b"&quot;", b"'"), b"a&lt;b&gt;&amp;&quot;'"),
            (hex(b"\x00\xAf", false), b"00af"),
            (terminal_newlines(b"\na\r\n\n"), b"\r\na\r\n\r\n"),
            (base64(b"foobar", 1, false).0, b"AGZvb2Jhcg"),
        ];
        for (encoded, expected) in cases {
            assert_eq!(encoded.expose().escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_is_left_of_base64_is_the_values_own() {
        assert_eq!([0, 1, 2].map(|offset| base64(b"value", offset, true).1), [0, 2, 3]);
    }
}
