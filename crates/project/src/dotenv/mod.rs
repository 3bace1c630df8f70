//! Parses `.env` files and returns names and values byte for byte as written. The parser never
//! expands `$`, runs a command, reads the environment or guesses the meaning of an invalid line.
//! It keeps bytes that other tools drop silently, or rejects the file.
//!
//! ```text
//! file    = [BOM] line*                  ; a line ends with "\n" or "\r\n"
//! line    = blank* ( ["export" blank+] name blank* "=" blank* value )? blank* comment?
//! name    = [A-Za-z0-9_] [A-Za-z0-9_.-]*
//! value   = "'" any but "'" "'"          ; literal, may span lines
//!         | "`" any but "`" "`"          ; literal, may span lines
//!         | '"' ( any | escape ) '"'     ; may span lines
//!         | the rest of the line         ; without blanks at both ends, no special characters
//! escape  = \n \r \t \\ \" \$ \`         ; any other "\" is literal
//! comment = "#" …                        ; needs a blank before it if it follows an unquoted value
//! blank   = " " | "\t"
//! ```
//!
//! The dialects of compose, node, ruby and python disagree. docs/design/dotenv.md lists which one
//! we follow in which case. `readers` models how each of these programs reads a value, and writes
//! values so that all of them agree.

mod dialects;
pub mod readers;

use std::fmt;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memrchr};
use secrets_core::model::SecretBytes;
use thiserror::Error;

use crate::position::Position;

pub const BOM: &[u8] = b"\xef\xbb\xbf";
const EXPORT: &[u8] = b"export";

/// An assignment. It does not implement `Debug`, because the value is secret.
pub struct Entry {
    /// The name in ASCII
    pub name: String,
    /// The value without its quotes and with escapes resolved; any bytes, including NUL
    pub value: SecretBytes,
    /// The line of the name, counted from 1
    pub line: u64,
    /// The byte range in the file from the start of that line to the end of the value
    pub whole: Range<usize>,
    /// The byte range of the value in the file, including its quotes
    pub span: Range<usize>,
}

/// The reason why a file is rejected, and its position. It contains no byte of the file, because a
/// presumed name may be the second line of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct DotenvError {
    /// The position; the byte order mark is not counted
    pub position: Position,
    pub why: Why,
}

/// The reason why a file is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Why {
    #[error("a name can contain only ASCII letters, digits, `_`, `.` and `-`")]
    Name,
    #[error("a name cannot begin with `.` or `-`")]
    First,
    #[error("there is no name before the `=`")]
    NoName,
    /// The name stands alone, or there is other text between it and the `=`
    #[error("no `=` follows the name; values are not taken from the environment")]
    NoEquals,
    /// The closing quote is missing; the position is the opening quote's
    #[error("the {0} is never closed")]
    Unclosed(Quote),
    #[error("only a comment may follow the closing {0}")]
    AfterQuote(Quote),
}

/// The quotes around a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quote {
    Double,
    Single,
    Backtick,
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Double => "double quote",
            Self::Single => "single quote",
            Self::Backtick => "backtick",
        })
    }
}

impl Quote {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'"' => Some(Self::Double),
            b'\'' => Some(Self::Single),
            b'`' => Some(Self::Backtick),
            _ => None,
        }
    }

    /// Returns the index of the closing quote in `text`.
    fn find_closing(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Double => unescaped_double_quote(text),
            Self::Single => memchr(b'\'', text),
            Self::Backtick => memchr(b'`', text),
        }
    }

    fn decode(self, inside: &[u8]) -> SecretBytes {
        match self {
            Self::Double => unescape(inside),
            Self::Single | Self::Backtick => SecretBytes::copy_of(inside),
        }
    }
}

/// Returns true if most readers would expand the value `written`, quotes included. This applies to
/// `${NAME}`, and to `$NAME` if `is_defined` returns true for that name. Nothing is expanded in
/// single quotes or backticks, or after `\` or another `$`.
pub fn refers_to_a_variable(written: &[u8], is_defined: impl Fn(&str) -> bool) -> bool {
    if matches!(written.first(), Some(b'\'' | b'`')) {
        return false;
    }

    let mut at = 0;
    while let Some(next) = memchr2(b'\\', b'$', &written[at..]) {
        at += next + 1;
        let rest = &written[at..];
        if written[at - 1] == b'\\' || rest.first() == Some(&b'$') {
            at = (at + 1).min(written.len());
            continue;
        }

        let braced = rest.first() == Some(&b'{');
        let name = &rest[usize::from(braced)..];
        let length =
            name.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let (name, end) = name.split_at(length);

        if name.first().is_none_or(u8::is_ascii_digit) {
            continue;
        }

        let ends = matches!(end, [b'}' | b':' | b'-' | b'+' | b'?', ..]);
        if braced && ends || !braced && std::str::from_utf8(name).is_ok_and(&is_defined) {
            return true;
        }
    }

    false
}

/// Parses a whole file in linear time. Returns the assignments in the file's order. A name that is
/// assigned twice is returned twice.
///
/// Placeholders have no meaning here, but none is ever cut, because no placeholder in `{{ }}`
/// contains `#`, a quote or a line break. The caller has to wipe `text`. Each value is copied only
/// once, into the returned entry.
///
/// # Errors
/// Reports the first invalid line. The values before it are wiped.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, DotenvError> {
    read(text, &mut |error, _| Err(error))
}

pub struct BrokenLine {
    /// The line's number, counted from 1
    pub line: u64,
    /// The line's byte range in the file, without the line ending
    pub span: Range<usize>,
    /// The name, if the line starts with `NAME=`
    pub name: Option<String>,
}

/// Parses a file that may contain invalid lines. Returns them separately and continues with the
/// next line.
pub fn parse_leniently(text: &[u8]) -> (Vec<Entry>, Vec<BrokenLine>) {
    let mut broken = Vec::new();
    let mark = text.len() - text.strip_prefix(BOM).unwrap_or(text).len();
    let entries = read(text, &mut |_, reader| {
        let (line, begin) = (reader.line_of(reader.at), reader.at + mark);
        let span = begin..begin + reader.line().len();
        broken.push(BrokenLine { line, span, name: reader.assigned_name() });
        Ok(())
    });

    (entries.unwrap_or_default(), broken)
}

/// Parses a file. `on_error` receives a reader at the start of the invalid line, and may leave the
/// reader anywhere in that line.
fn read(
    text: &[u8],
    on_error: &mut dyn FnMut(DotenvError, &mut Reader<'_>) -> Result<(), DotenvError>,
) -> Result<Vec<Entry>, DotenvError> {
    let inside = text.strip_prefix(BOM).unwrap_or(text);
    let mark = text.len() - inside.len();
    let mut reader = Reader { text: inside, at: 0, line: 1, counted: 0 };
    let mut entries = Vec::new();

    while !reader.rest().is_empty() {
        let (begin, line, counted) = (reader.at, reader.line, reader.counted);
        reader.skip_blanks();
        if !matches!(reader.line().first(), None | Some(b'#')) {
            match reader.entry() {
                Ok(mut entry) => {
                    entry.span = entry.span.start + mark..entry.span.end + mark;
                    entry.whole = begin + mark..entry.span.end;
                    entries.push(entry);
                }
                Err(error) => {
                    (reader.at, reader.line, reader.counted) = (begin, line, counted);
                    on_error(error, &mut reader)?;
                }
            }
        }

        reader.skip_line();
    }

    Ok(entries)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// The line number at `counted`. Counting continues from there, so that it takes linear time in
    /// total.
    line: u64,
    counted: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Returns the rest of the line. A `\r` at the end of the file counts as a truncated line
    /// ending.
    fn line(&self) -> &'a [u8] {
        let rest = self.rest();
        let line = memchr(b'\n', rest).map_or(rest, |end| &rest[..end]);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn skip_line(&mut self) {
        self.at += memchr(b'\n', self.rest()).map_or(self.rest().len(), |end| end + 1);
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().iter().take_while(|b| is_blank(**b)).count();
    }

    /// Reads an assignment. Only a comment may follow it on its line.
    fn entry(&mut self) -> Result<Entry, DotenvError> {
        self.skip_export();
        let line = self.line_of(self.at);
        let name = self.name()?;
        self.skip_blanks();
        if self.rest().first() != Some(&b'=') {
            return Err(self.error(self.at, Why::NoEquals));
        }

        self.at += 1;
        let (value, span) = self.value()?;
        Ok(Entry { name, value, line, whole: 0..0, span })
    }

    /// Skips `export` if a name follows it. In `export=1` and `export = 1`, `export` is the name.
    fn skip_export(&mut self) {
        let Some(rest) = self.line().strip_prefix(EXPORT) else { return };
        let blanks = rest.iter().take_while(|b| is_blank(**b)).count();
        if blanks > 0 && !matches!(rest.get(blanks), None | Some(b'=' | b'#')) {
            self.at += EXPORT.len() + blanks;
        }
    }

    fn name(&mut self) -> Result<String, DotenvError> {
        let line = self.line();
        let length = line.iter().take_while(|b| is_word(**b) || matches!(b, b'.' | b'-')).count();
        let (name, after) = line.split_at(length);

        match (name.first(), after.first()) {
            (None, Some(b'=')) => Err(self.error(self.at, Why::NoName)),
            (Some(first), _) if !is_word(*first) => Err(self.error(self.at, Why::First)),
            (Some(_), None | Some(b'=' | b' ' | b'\t')) => {
                self.at += length;
                Ok(name.iter().copied().map(char::from).collect())
            }
            _ => Err(self.error(self.at + length, Why::Name)),
        }
    }

    /// Returns the name if the line starts with `NAME=`, whatever follows.
    fn assigned_name(&mut self) -> Option<String> {
        self.skip_blanks();
        self.skip_export();
        let name = self.name().ok()?;
        self.skip_blanks();

        (self.rest().first() == Some(&b'=')).then_some(name)
    }

    /// Returns the value and its byte range.
    fn value(&mut self) -> Result<(SecretBytes, Range<usize>), DotenvError> {
        let (line, begin) = (self.line(), self.at);
        self.skip_blanks();
        match self.rest().first().copied().and_then(Quote::from_byte) {
            Some(quote) => self.quoted(quote),
            None => {
                let span = unquoted(line);
                Ok((
                    SecretBytes::copy_of(&line[span.clone()]),
                    begin + span.start..begin + span.end,
                ))
            }
        }
    }

    fn quoted(&mut self, quote: Quote) -> Result<(SecretBytes, Range<usize>), DotenvError> {
        let open = self.at;
        self.at += 1;
        let inside = self.rest();
        let length =
            quote.find_closing(inside).ok_or_else(|| self.error(open, Why::Unclosed(quote)))?;
        self.at += length + 1;

        let span = open..self.at;
        self.skip_blanks();
        if !matches!(self.line().first(), None | Some(b'#')) {
            return Err(self.error(self.at, Why::AfterQuote(quote)));
        }

        Ok((quote.decode(&inside[..length]), span))
    }

    /// Returns the line number at `at`, which must never decrease between calls.
    fn line_of(&mut self, at: usize) -> u64 {
        let newlines = memchr_iter(b'\n', &self.text[self.counted..at]).count();
        self.line += newlines as u64;
        self.counted = at;
        self.line
    }

    fn error(&mut self, at: usize, why: Why) -> DotenvError {
        let before = memrchr(b'\n', &self.text[..at]).map_or(0, |newline| newline + 1);
        let position = Position { line: self.line_of(at), column: (at - before + 1) as u64 };
        DotenvError { position, why }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns the range of the value in the text after the `=`. In `A=#x` there is no blank before the
/// `#`, so it belongs to the value. A password may start with `#`.
fn unquoted(line: &[u8]) -> Range<usize> {
    let mut signs = memchr_iter(b'#', line);
    let comment = signs.find(|at| line[..*at].last().is_some_and(|before| is_blank(*before)));
    let line = &line[..comment.unwrap_or(line.len())];
    let from = line.iter().take_while(|b| is_blank(**b)).count();
    let blanks = line[from..].iter().rev().take_while(|b| is_blank(**b)).count();

    from..line.len() - blanks
}

/// Finds the first `"` that is not escaped with a backslash.
fn unescaped_double_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }

        at += 2;
    }
}

/// Resolves the escapes. The buffer is allocated once, because resolving never makes a value
/// longer.
fn unescape(text: &[u8]) -> SecretBytes {
    let mut value = SecretBytes::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        value.extend(&rest[..at]);
        let (byte, length) = match rest.get(at + 1) {
            Some(b'n') => (b'\n', 2),
            Some(b'r') => (b'\r', 2),
            Some(b't') => (b'\t', 2),
            Some(byte @ (b'\\' | b'"' | b'$' | b'`')) => (*byte, 2),
            _ => (b'\\', 1),
        };

        value.push(byte);
        rest = &rest[at + length..];
    }

    value.extend(rest);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_on_behind_a_value_of_several_lines() {
        let entries = parse(b"\xef\xbb\xbfA=1\r\n\n# c\nB='\n\n'\n export C=\"\\n\"").ok().unwrap();
        assert_eq!(
            entries.iter().map(|e| (e.name.as_str(), e.line)).collect::<Vec<_>>(),
            [("A", 1), ("B", 4), ("C", 7)]
        );

        let error = parse(b"A='\n\n'\nB=`\n` x").err().unwrap();
        assert_eq!(
            error,
            DotenvError {
                position: Position { line: 5, column: 3 },
                why: Why::AfterQuote(Quote::Backtick)
            }
        );

        let error = parse(b"\xef\xbb\xbf A = \"\n\n").err().unwrap();
        assert_eq!(
            error,
            DotenvError {
                position: Position { line: 1, column: 6 },
                why: Why::Unclosed(Quote::Double)
            }
        );
    }

    #[test]
    fn a_broken_line_does_not_hide_the_lines_behind_it() {
        let text = b"\xef\xbb\xbfA=1\n no name\r\nexport B\nC='x\ny' z\nexport D = \"open\nE=2\n=3";
        let (entries, broken) = parse_leniently(text);
        let entries: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.line)).collect();
        assert_eq!(entries, [("A", 1), ("E", 7)]);

        let broken: Vec<_> =
            broken.iter().map(|b| (b.line, b.name.as_deref(), &text[b.span.clone()])).collect();
        let expected: [(u64, Option<&str>, &[u8]); 6] = [
            (2, None, b" no name"),
            (3, None, b"export B"),
            (4, Some("C"), b"C='x"),
            (5, None, b"y' z"),
            (6, Some("D"), b"export D = \"open"),
            (8, None, b"=3"),
        ];

        assert_eq!(broken, expected);
    }
}
