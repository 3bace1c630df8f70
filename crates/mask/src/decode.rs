//! Alternative readings of a stream: escapes are decoded, or colours and line ends are skipped.

/// The largest length of one unit in bytes.
pub(super) const MAX_LENGTH: usize = 32;

const ESCAPE: u8 = 0x1b;

/// An alternative reading of a stream. Its units are the escapes that it decodes or skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Skips control sequences of terminals (ECMA-48 CSI) and selections of a character set
    Coloured,
    /// Skips line ends and the white space after them, for base64 and similar encodings in lines of
    /// any width
    Wrapped,
    /// Decodes `%2F` as `/`
    Percent,
    /// Decodes `\n`, `\"`, `\x2f`, `\u002F` and `\057`, as in JSON, shells and programming
    /// languages
    Escaped,
    /// Decodes `&lt;`, `&#60;` and `&#x3C;`
    Entities,
}

impl Encoding {
    pub(super) const ALL: [Self; 5] =
        [Self::Coloured, Self::Wrapped, Self::Percent, Self::Escaped, Self::Entities];

    /// Returns the reading in which a byte may begin a unit.
    pub(super) const fn of(byte: u8) -> Option<Self> {
        match byte {
            ESCAPE => Some(Self::Coloured),
            b'\n' | b'\r' => Some(Self::Wrapped),
            b'%' => Some(Self::Percent),
            b'\\' => Some(Self::Escaped),
            b'&' => Some(Self::Entities),
            _ => None,
        }
    }

    /// Returns true if the units are skipped.
    pub(super) const fn skips(self) -> bool {
        matches!(self, Self::Coloured | Self::Wrapped)
    }

    /// Returns true for a byte that always stands for itself.
    pub(super) const fn is_plain(self, byte: u8) -> bool {
        match self {
            Self::Coloured => byte != ESCAPE,
            Self::Wrapped => !matches!(byte, b'\n' | b'\r' | b' ' | b'\t'),
            Self::Percent => byte != b'%',
            Self::Escaped => byte != b'\\',
            Self::Entities => byte != b'&',
        }
    }

    /// Reads the first unit or byte. `broken` means that a line end, or white space after one, came
    /// before.
    pub(super) fn unit(self, bytes: &[u8], broken: bool) -> Unit {
        let found = match (self, bytes.first()) {
            (Self::Coloured, Some(&ESCAPE)) => sequence(bytes),
            (Self::Wrapped, Some(b'\n')) => Ok(Text::NOTHING.of(1)),
            (Self::Wrapped, Some(b'\r')) => at(bytes, 1).and_then(|next| match next {
                b'\n' => Ok(Text::NOTHING.of(2)),
                _ => Err(None),
            }),
            (Self::Wrapped, Some(b' ' | b'\t')) if broken => Ok(Text::NOTHING.of(1)),
            (Self::Percent, Some(b'%')) => {
                digits(bytes, 1, 2, 16).map(|byte| Text::byte(byte.to_le_bytes()[0]).of(3))
            }
            (Self::Escaped, Some(b'\\')) => backslash(bytes),
            (Self::Entities, Some(b'&')) => entity(bytes),
            _ => Err(None),
        };

        match found {
            Ok(unit) => unit,
            Err(Some(NeedMoreBytes)) if bytes.len() < MAX_LENGTH => Unit::Unfinished,
            Err(_) => Unit::Byte,
        }
    }
}

/// The next item of a stream in one reading.
pub(super) enum Unit {
    /// A byte that stands for itself
    Byte,
    /// A unit of this many bytes, and the text that it stands for
    Text(usize, Text),
    /// The bytes end inside a unit
    Unfinished,
}

/// Up to four bytes of text.
#[derive(Clone, Copy)]
pub(super) struct Text {
    bytes: [u8; 4],
    length: usize,
}

impl Text {
    const NOTHING: Self = Self { bytes: [0; 4], length: 0 };

    const fn byte(byte: u8) -> Self {
        Self { bytes: [byte, 0, 0, 0], length: 1 }
    }

    fn character(code: u32) -> Option<Self> {
        let mut bytes = [0; 4];
        let length = char::from_u32(code)?.encode_utf8(&mut bytes).len();
        Some(Self { bytes, length })
    }

    const fn of(self, length: usize) -> Unit {
        Unit::Text(length, self)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The answer depends on bytes that are still to come.
struct NeedMoreBytes;

/// The error for something that is not a unit: `None` if that is certain, `NeedMoreBytes` if it
/// depends on bytes to come.
type Decoded<T> = Result<T, Option<NeedMoreBytes>>;

fn at(bytes: &[u8], index: usize) -> Decoded<u8> {
    bytes.get(index).copied().ok_or(Some(NeedMoreBytes))
}

fn sequence(bytes: &[u8]) -> Decoded<Unit> {
    match at(bytes, 1)? {
        b'[' => {
            let mut index = 2;
            while matches!(at(bytes, index)?, b' '..=b'?') && index < MAX_LENGTH {
                index += 1;
            }

            let is_final = matches!(bytes[index], b'@'..=b'~') && index < MAX_LENGTH;
            is_final.then(|| Text::NOTHING.of(index + 1)).ok_or(None)
        }
        b'(' | b')' => {
            matches!(at(bytes, 2)?, b'0'..=b'~').then(|| Text::NOTHING.of(3)).ok_or(None)
        }
        _ => Err(None),
    }
}

/// Returns whether a control sequence resets all colours and attributes. Returns `None` if it does
/// not set any.
pub(super) fn resets(sequence: &[u8]) -> Option<bool> {
    let inner = sequence.strip_prefix(b"\x1b[")?.strip_suffix(b"m")?;
    Some(inner.iter().all(|byte| *byte == b'0'))
}

/// Parses a number of exactly `count` digits.
fn digits(bytes: &[u8], from: usize, count: usize, radix: u32) -> Decoded<u32> {
    let mut number = 0;
    for index in from..from + count {
        let digit = char::from(at(bytes, index)?).to_digit(radix).ok_or(None)?;
        number = number * radix + digit;
    }

    Ok(number)
}

/// Parses a number of at most `most` digits, and returns it with the number of digits.
fn number(bytes: &[u8], from: usize, most: usize, radix: u32) -> Decoded<(u32, usize)> {
    let (mut number, mut count) = (0, 0);
    while count < most {
        let Some(digit) = char::from(at(bytes, from + count)?).to_digit(radix) else { break };
        number = number * radix + digit;
        count += 1;
    }

    if count == 0 { Err(None) } else { Ok((number, count)) }
}

fn character(code: u32, length: usize) -> Decoded<Unit> {
    Text::character(code).map(|text| text.of(length)).ok_or(None)
}

fn backslash(bytes: &[u8]) -> Decoded<Unit> {
    let byte = match at(bytes, 1)? {
        b'u' if at(bytes, 2)? == b'{' => {
            let (code, count) = number(bytes, 3, 6, 16)?;
            return if at(bytes, 3 + count)? == b'}' {
                character(code, 4 + count)
            } else {
                Err(None)
            };
        }
        b'u' => return utf16(bytes),
        b'U' => return character(digits(bytes, 2, 8, 16)?, 10),
        b'x' => return Ok(Text::byte(digits(bytes, 2, 2, 16)?.to_le_bytes()[0]).of(4)),
        b'0'..=b'7' => {
            let (code, count) = number(bytes, 1, 3, 8)?;
            return Ok(Text::byte(code.to_le_bytes()[0]).of(1 + count));
        }
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'v' => 11,
        b'a' => 7,
        b'e' | b'E' => ESCAPE,
        other => other,
    };

    Ok(Text::byte(byte).of(2))
}

/// Decodes `\uXXXX`, or two of them that form a surrogate pair.
fn utf16(bytes: &[u8]) -> Decoded<Unit> {
    let first = digits(bytes, 2, 4, 16)?;
    if !(0xd800..0xdc00).contains(&first) {
        return character(first, 6);
    }

    if at(bytes, 6)? != b'\\' || at(bytes, 7)? != b'u' {
        return Err(None);
    }

    let second = digits(bytes, 8, 4, 16)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(None);
    }

    character(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
}

/// The named characters that all HTML and XML writers escape.
const NAMES: [(&[u8], u8); 5] =
    [(b"amp;", b'&'), (b"lt;", b'<'), (b"gt;", b'>'), (b"quot;", b'"'), (b"apos;", b'\'')];

fn entity(bytes: &[u8]) -> Decoded<Unit> {
    if at(bytes, 1)? == b'#' {
        let is_hex = matches!(at(bytes, 2)?, b'x' | b'X');
        let (from, radix) = if is_hex { (3, 16) } else { (2, 10) };
        let (code, count) = number(bytes, from, 8, radix)?;
        return if at(bytes, from + count)? == b';' {
            character(code, from + count + 1)
        } else {
            Err(None)
        };
    }

    let rest = &bytes[1..];
    for (name, byte) in NAMES {
        if rest.starts_with(name) {
            return Ok(Text::byte(byte).of(1 + name.len()));
        }
    }

    Err(NAMES.iter().any(|(name, _)| name.starts_with(rest)).then_some(NeedMoreBytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text in a reading.
    fn read(reading: Encoding, text: &[u8]) -> Vec<u8> {
        let (mut out, mut at, mut broken) = (Vec::new(), 0, false);
        while at < text.len() {
            match reading.unit(&text[at..], broken) {
                Unit::Text(length, text) => {
                    out.extend(text.bytes());
                    broken = text.bytes().is_empty();
                    at += length;
                }
                Unit::Byte => {
                    out.push(text[at]);
                    broken = false;
                    at += 1;
                }
                Unit::Unfinished => {
                    out.extend(b"<...>");
                    break;
                }
            }
        }

        out
    }

    #[test]
    fn units_decode_as_programs_encode_them() {
        use Encoding::{Coloured, Entities, Escaped, Percent, Wrapped};
        let cases: [(Encoding, &str, &str); 22] = [
            (Coloured, "a\x1b[01;31m\x1b[Kb\x1b(B\x1b[mc", "abc"),
            (Coloured, "a\x1b]0;t\x07\x1b[é", "a\x1b]0;t\x07\x1b[é"),
            (Coloured, "a\x1b[38;5;", "a<...>"),
            (Wrapped, "ab\r\n \tcd e\nf\rg\r", "abcd ef\rg<...>"),
            (Percent, "a%2Fb%c3%a9%zz%", "a/bé%zz<...>"),
            (Escaped, r#"\"\/\\\n\t\'\$\ \e"#, "\"/\\\n\t'$ \x1b"),
            (Escaped, r"\u002B\u00e9\uD83D\uDE00\u{1F600}\U0001F600", "+é😀😀😀"),
            (Escaped, r"\x2b\303\251\0z", "+é\0z"),
            (Escaped, r"\ud83dx\u12", "\\ud83dx<...>"),
            (Escaped, r"\xzz", r"\xzz"),
            (Escaped, "\\", "<...>"),
            (Escaped, r"\u{110000}", r"\u{110000}"),
            (Entities, "&lt;&gt;&amp;&quot;&apos;", "<>&\"'"),
            (Entities, "&#39;&#039;&#x27;&#X2B;&#233;&#x1F600;", "'''+é😀"),
            (Entities, "a & b &nbsp; &#; &#x; &#1z", "a & b &nbsp; &#; &#x; &#1z"),
            (Entities, "&qu", "<...>"),
            (Entities, "&#xD800;", "&#xD800;"),
            (Entities, "&#99999999;", "&#99999999;"),
            (Percent, "%%41", "%A"),
            (Percent, "%4", "<...>"),
            (Escaped, "\\é", "é"),
            (Wrapped, "a b", "a b"),
        ];

        for (reading, text, expected) in cases {
            assert_eq!(
                String::from_utf8_lossy(&read(reading, text.as_bytes())),
                expected,
                "{reading:?} {text:?}"
            );
        }
    }

    #[test]
    fn an_endless_sequence_is_not_a_unit() {
        let text = format!("\x1b[{}", "1".repeat(100));
        assert!(matches!(Encoding::Coloured.unit(text.as_bytes(), false), Unit::Byte));
    }

    #[test]
    fn resets_are_distinguished_from_colours() {
        let cases: [(&[u8], Option<bool>); 5] = [
            (b"\x1b[m", Some(true)),
            (b"\x1b[0m", Some(true)),
            (b"\x1b[01;31m", Some(false)),
            (b"\x1b[K", None),
            (b"\x1b(B", None),
        ];

        for (sequence, expected) in cases {
            assert_eq!(resets(sequence), expected);
        }
    }
}
