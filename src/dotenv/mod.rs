//! `.env` files: names, and values byte for byte as written. Never expands `$`, runs a command, asks the environment or
//! guesses what a broken line meant: where a tool would drop bytes in silence, this keeps them or refuses the file.
//!
//! ```text
//! file    = [BOM] line*                        a line ends with "\n" or "\r\n"
//! line    = blank* ( ["export" blank+] name blank* "=" blank* value )? blank* comment?
//! name    = [A-Za-z0-9_] [A-Za-z0-9_.-]*
//! value   = "'" any but "'" "'"                literal, over lines too
//!         | "`" any but "`" "`"                literal, over lines too
//!         | '"' ( any | escape ) '"'           over lines too; escapes \n \r \t \\ \" \$ \`, another "\" is itself
//!         | the rest of the line               without blanks at its ends; nothing in it is special
//! comment = "#" …                              behind an unquoted value only after a blank
//! blank   = " " | "\t"
//! ```
//!
//! The dialects of compose, node, ruby and python disagree; docs/design/dotenv.md says which one was followed where.
//! `readers` knows how each of these programs reads a value, and writes values so that all of them agree.

mod dialects;
pub mod readers;

use std::fmt;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memrchr};
use thiserror::Error;

use crate::model::SecretBytes;

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";
const EXPORT: &[u8] = b"export";

/// One assignment. It has no `Debug`: the value is secret.
pub struct Entry {
    /// The name, ASCII
    pub name: String,
    /// The value without its quotes, escapes undone; any bytes, NUL too
    pub value: SecretBytes,
    /// Line of the name, counted from 1
    pub line: u64,
    /// Bytes of the file from the begin of that line to the value's end
    pub whole: Range<usize>,
    /// Bytes of the file that are the value as it is written, its quotes included
    pub span: Range<usize>,
}

/// Why a file is refused, and where. It holds no byte of the file: what looks like a name may be a value's second line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct DotenvError {
    /// Line, counted from 1
    pub line: u64,
    /// Column, counted from 1 in bytes; the byte order mark has none
    pub column: u64,
    /// What is wrong there
    pub why: Why,
}

/// What is wrong in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Why {
    /// This byte cannot be part of a name
    #[error("a name can contain only ASCII letters, digits, `_`, `.` and `-`")]
    Name,
    /// This byte cannot begin one
    #[error("a name cannot begin with `.` or `-`")]
    First,
    /// The line begins with `=`
    #[error("there is no name before the `=`")]
    NoName,
    /// A name alone, or something between name and `=`
    #[error("no `=` follows the name; values are not taken from the environment")]
    NoEquals,
    /// No closing quote up to the end of the file; the place is the opening one's
    #[error("the {0} is never closed")]
    Unclosed(Quote),
    /// Something other than a comment follows a quoted value
    #[error("only a comment may follow the closing {0}")]
    AfterQuote(Quote),
}

/// What a value stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quote {
    /// `"`
    Double,
    /// `'`
    Single,
    /// `` ` ``
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
    fn opened_by(byte: u8) -> Option<Self> {
        match byte {
            b'"' => Some(Self::Double),
            b'\'' => Some(Self::Single),
            b'`' => Some(Self::Backtick),
            _ => None,
        }
    }

    /// Where in `text` it is closed.
    fn closed_at(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Double => unescaped_double_quote(text),
            Self::Single => memchr(b'\'', text),
            Self::Backtick => memchr(b'`', text),
        }
    }

    fn value_of(self, inside: &[u8]) -> SecretBytes {
        match self {
            Self::Double => unescape(inside),
            Self::Single | Self::Backtick => SecretBytes::copy_of(inside),
        }
    }
}

/// True for a value that most readers expand: as it is written, quotes included, it has `${NAME}`, or `$NAME` of a
/// variable that is there. Nothing is expanded in single quotes, nor behind `\` or another `$`.
pub fn refers_to_a_variable(written: &[u8], is_there: impl Fn(&str) -> bool) -> bool {
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
        if braced && ends || !braced && std::str::from_utf8(name).is_ok_and(&is_there) {
            return true;
        }
    }

    false
}

/// Reads a whole file, in linear time. Assignments come in the file's order; of a name that stands there twice, both.
///
/// Placeholders have no meaning here. None is ever cut: no placeholder in `{{ }}` holds `#`, a quote or a line's end.
/// `text` stays the caller's to wipe; no copy of a value is made but the one that is returned.
///
/// # Errors
/// The first line that breaks the grammar; what was read before it is wiped.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, DotenvError> {
    read(text, &mut |error, _| Err(error))
}

/// A line that breaks the grammar.
pub struct BrokenLine {
    /// Its number, counted from 1
    pub line: u64,
    /// Its bytes in the file, without the end of the line
    pub span: Range<usize>,
    /// The name, if the line begins with `NAME=`
    pub name: Option<String>,
}

/// Reads a file that may break the grammar: a line that does is returned as broken, and the reader goes on with the next one.
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

/// Reads a file. `on_error` gets a reader at the beginning of the line with the error, and may leave it anywhere in that line.
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
    /// Number of the line in which `counted` is; counting goes on from there, so that all of it is linear.
    line: u64,
    counted: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What is left of the line. A `\r` that ends the file counts as an ending, cut short.
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

    /// Reads an assignment whose line goes on with nothing but a comment.
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

    /// Skips `export` where a name follows it: in `export=1` and `export = 1` it is the name.
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
        let (name, behind) = line.split_at(length);

        match (name.first(), behind.first()) {
            (None, Some(b'=')) => Err(self.error(self.at, Why::NoName)),
            (Some(first), _) if !is_word(*first) => Err(self.error(self.at, Why::First)),
            (Some(_), None | Some(b'=' | b' ' | b'\t')) => {
                self.at += length;
                Ok(name.iter().copied().map(char::from).collect())
            }
            _ => Err(self.error(self.at + length, Why::Name)),
        }
    }

    /// Returns the name of a line that begins with `NAME=`, whatever follows.
    fn assigned_name(&mut self) -> Option<String> {
        self.skip_blanks();
        self.skip_export();
        let name = self.name().ok()?;
        self.skip_blanks();

        (self.rest().first() == Some(&b'=')).then_some(name)
    }

    /// The value and where it stands.
    fn value(&mut self) -> Result<(SecretBytes, Range<usize>), DotenvError> {
        let (line, begin) = (self.line(), self.at);
        self.skip_blanks();
        match self.rest().first().copied().and_then(Quote::opened_by) {
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
            quote.closed_at(inside).ok_or_else(|| self.error(open, Why::Unclosed(quote)))?;
        self.at += length + 1;

        let span = open..self.at;
        self.skip_blanks();
        if !matches!(self.line().first(), None | Some(b'#')) {
            return Err(self.error(self.at, Why::AfterQuote(quote)));
        }

        Ok((quote.value_of(&inside[..length]), span))
    }

    /// Number of the line in which `at` is. Asked for rising places only.
    fn line_of(&mut self, at: usize) -> u64 {
        let newlines = memchr_iter(b'\n', &self.text[self.counted..at]).count();
        self.line += newlines as u64;
        self.counted = at;
        self.line
    }

    fn error(&mut self, at: usize, why: Why) -> DotenvError {
        let before = memrchr(b'\n', &self.text[..at]).map_or(0, |newline| newline + 1);
        DotenvError { line: self.line_of(at), column: (at - before + 1) as u64, why }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the value is in what follows the `=`. In `A=#x` nothing blank stands before the `#`: a password may begin with it.
fn unquoted(line: &[u8]) -> Range<usize> {
    let mut signs = memchr_iter(b'#', line);
    let comment = signs.find(|at| line[..*at].last().is_some_and(|before| is_blank(*before)));
    let line = &line[..comment.unwrap_or(line.len())];
    let from = line.iter().take_while(|b| is_blank(**b)).count();
    let blanks = line[from..].iter().rev().take_while(|b| is_blank(**b)).count();

    from..line.len() - blanks
}

/// The first `"` that no backslash stands before, itself not escaped.
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

/// Undoes the escapes. The room is taken at once: no value grows by it.
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
            DotenvError { line: 5, column: 3, why: Why::AfterQuote(Quote::Backtick) }
        );

        let error = parse(b"\xef\xbb\xbf A = \"\n\n").err().unwrap();
        assert_eq!(error, DotenvError { line: 1, column: 6, why: Why::Unclosed(Quote::Double) });
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
