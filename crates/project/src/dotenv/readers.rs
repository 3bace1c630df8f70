//! The programs that read a `.env` file. Finds a spelling that all of them read as the same value.

use std::fmt;
use std::str::FromStr;

use secrets_core::model::{Invalid, SecretBytes};

use super::dialects;

/// A program that reads `.env` files in its own dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// `source FILE` in a shell
    Bash,
    /// Compose v2
    Compose,
    /// `docker run --env-file`
    Docker,
    Nextjs,
    /// `node --env-file`
    Node,
    /// The npm package dotenv
    NpmDotenv,
    PythonDotenv,
    /// `EnvironmentFile=` in systemd units
    Systemd,
    Vite,
}

impl Reader {
    /// All readers, in the order of their names.
    pub const ALL: [Self; 9] = [
        Self::Bash,
        Self::Compose,
        Self::Docker,
        Self::Nextjs,
        Self::Node,
        Self::NpmDotenv,
        Self::PythonDotenv,
        Self::Systemd,
        Self::Vite,
    ];

    /// The names of all readers, in the same order.
    pub const NAMES: [&'static str; 9] = [
        "bash",
        "compose",
        "docker",
        "nextjs",
        "node",
        "npm-dotenv",
        "python-dotenv",
        "systemd",
        "vite",
    ];

    /// Returns the name in `.secrets.toml` and on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Returns the value that the program reads from an assignment. `text` is everything after the
    /// `=`, up to the next assignment or the end of the file. Returns `None` if the result is not
    /// reliable.
    pub fn read(self, text: &[u8]) -> Option<SecretBytes> {
        match self {
            Self::Bash => dialects::bash(text),
            Self::Compose => dialects::compose(text),
            Self::Docker => dialects::docker(text),
            Self::Nextjs | Self::Vite => dialects::npm_expanded(text),
            Self::Node => dialects::node(text),
            Self::NpmDotenv => dialects::npm(text),
            Self::PythonDotenv => dialects::python(text),
            Self::Systemd => dialects::systemd(text),
        }
    }

    /// Returns true if the program reads a variable from an assignment with `head` before the `=`.
    pub fn reads_name(self, head: &[u8]) -> bool {
        let head = head.trim_ascii_start();
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let exported =
            head.strip_prefix(b"export").filter(|rest| rest.first().is_some_and(is_blank));
        let name = exported.map_or(head, <[u8]>::trim_ascii_start);

        match self {
            Self::Bash => {
                name.first().is_some_and(|first| !first.is_ascii_digit())
                    && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            }
            Self::Docker => !head.iter().any(is_blank),
            Self::Systemd => exported.is_none(),
            _ => true,
        }
    }

    /// Returns true if the program reads `text` as `value`.
    pub fn reads_as(self, text: &[u8], value: &[u8]) -> bool {
        self.read(text).is_some_and(|read| read.expose() == value)
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Reader {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let at = Self::NAMES.iter().position(|known| *known == name);
        at.map(|at| Self::ALL[at]).ok_or_else(|| {
            Invalid(format!("unknown reader; the readers are {}", Self::NAMES.join(", ")))
        })
    }
}

/// The programs that read one file. The default is the set for a file whose readers are not
/// specified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Readers(u16);

impl Default for Readers {
    fn default() -> Self {
        [Reader::Bash, Reader::Compose, Reader::NpmDotenv, Reader::Node, Reader::PythonDotenv]
            .into_iter()
            .collect()
    }
}

impl FromIterator<Reader> for Readers {
    fn from_iter<I: IntoIterator<Item = Reader>>(readers: I) -> Self {
        Self(readers.into_iter().fold(0, |set, reader| set | 1 << reader as u16))
    }
}

impl Readers {
    /// Returns the readers, in the order of their names.
    pub fn iter(self) -> impl Iterator<Item = Reader> {
        Reader::ALL.into_iter().filter(move |reader| self.has(*reader))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Writes a value in the first spelling that every reader reads as that value.
    ///
    /// # Errors
    /// Names the reader that cannot read the value in any spelling, or the first two that need
    /// different spellings.
    pub fn spell(self, value: &[u8]) -> Result<SecretBytes, Unreadable> {
        let mut readable = [Self(0); SPELLINGS.len()];

        for (spelling, readable) in SPELLINGS.iter().zip(&mut readable) {
            let Some(text) = spelling.write(value) else { continue };
            let line = SecretBytes::from_vec([text.expose(), b"\n"].concat());
            *readable =
                self.iter().filter(|reader| reader.reads_as(line.expose(), value)).collect();
            if *readable == self {
                return Ok(text);
            }
        }

        Err(self.conflict(&readable))
    }

    /// Returns the error for a value that no spelling makes readable for all readers. `readable`
    /// holds the readers of each spelling.
    fn conflict(self, readable: &[Self]) -> Unreadable {
        let mut common: Vec<Self> = readable.to_vec();
        let mut others = self.iter();
        let mut first = None;

        let reader = others.find(|reader| {
            common.retain(|set| set.has(*reader));
            first.get_or_insert(*reader);
            common.is_empty()
        });

        let reader = reader.unwrap_or(Reader::Bash);
        let is_readable = readable.iter().any(|set| set.has(reader));
        Unreadable { reader, other: first.filter(|first| is_readable && *first != reader) }
    }

    fn has(self, reader: Reader) -> bool {
        self.0 & 1 << reader as u16 != 0
    }
}

/// The reason why a value cannot be written for its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Unreadable {
    /// The reader that cannot read the value
    pub reader: Reader,
    /// Another reader that needs a different spelling, if `reader` can read any spelling
    pub other: Option<Reader>,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.other {
            None => write!(
                f,
                "`{}` cannot read this value from a dotenv file in any spelling",
                self.reader
            ),
            Some(other) => {
                write!(f, "`{other}` and `{}` need different spellings of this value", self.reader)
            }
        }
    }
}

/// A way to write a value.
struct ValueSyntax {
    quote: Option<u8>,
    /// Bytes that are escaped, and their escape sequences
    escapes: &'static [(u8, &'static [u8])],
    /// Whether this syntax is only for values without special characters
    is_plain: bool,
}

const fn spelling(quote: Option<u8>, escapes: &'static [(u8, &'static [u8])]) -> ValueSyntax {
    ValueSyntax { quote, escapes, is_plain: false }
}

const SINGLE: Option<u8> = Some(b'\'');
const DOUBLE: Option<u8> = Some(b'"');

/// The spellings, best first: unquoted for values that need no quotes, then the quotes in which the
/// fewest readers expand variables.
const SPELLINGS: [ValueSyntax; 20] = [
    ValueSyntax { quote: None, escapes: &[], is_plain: true },
    spelling(SINGLE, &[]),
    spelling(DOUBLE, &[]),
    spelling(DOUBLE, &[(b'\\', br"\\"), (b'"', br#"\""#), (b'$', br"\$"), (b'`', br"\`")]),
    spelling(DOUBLE, &[(b'\\', br"\\"), (b'"', br#"\""#), (b'$', br"\$")]),
    spelling(DOUBLE, &[(b'\\', br"\\"), (b'"', br#"\""#)]),
    spelling(SINGLE, &[(b'$', br"\$")]),
    spelling(DOUBLE, &[(b'$', br"\$")]),
    spelling(Some(b'`'), &[]),
    spelling(Some(b'`'), &[(b'$', br"\$")]),
    spelling(DOUBLE, &[(b'\n', br"\n"), (b'\r', br"\r")]),
    spelling(DOUBLE, &[(b'\n', br"\n"), (b'\r', br"\r"), (b'$', br"\$")]),
    spelling(DOUBLE, &[(b'\\', br"\\"), (b'"', br#"\""#), (b'\n', br"\n"), (b'\r', br"\r")]),
    spelling(
        DOUBLE,
        &[(b'\\', br"\\"), (b'"', br#"\""#), (b'$', br"\$"), (b'\n', br"\n"), (b'\r', br"\r")],
    ),
    spelling(SINGLE, &[(b'\'', br"\'")]),
    spelling(SINGLE, &[(b'\\', br"\\"), (b'\'', br"\'")]),
    spelling(SINGLE, &[(b'\'', br"'\''")]),
    spelling(None, &[]),
    spelling(None, &[(b'$', br"\$")]),
    spelling(None, &[(b'$', b"$$")]),
];

impl ValueSyntax {
    /// Returns the value in this syntax, or `None` if the syntax is not meant for the value.
    fn write(&self, value: &[u8]) -> Option<SecretBytes> {
        if self.is_plain && !is_plain(value) {
            return None;
        }

        let longest = self.escapes.iter().map(|(_, escape)| escape.len()).max().unwrap_or(1);
        let mut text = SecretBytes::with_capacity(value.len() * longest + 2);
        self.quote.into_iter().for_each(|quote| text.push(quote));

        for byte in value {
            match self.escapes.iter().find(|(escaped, _)| escaped == byte) {
                Some((_, escape)) => text.extend(escape),
                None => text.push(*byte),
            }
        }

        self.quote.into_iter().for_each(|quote| text.push(quote));
        Some(text)
    }
}

/// Returns true if every reader reads the unquoted value unchanged.
fn is_plain(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(byte))
}
