//! The programs that read a `.env` file, and the spelling of a value that all of them read as that value.

use std::fmt;
use std::str::FromStr;

use super::dialects;
use crate::model::{Invalid, SecretBytes};

/// A program that reads `.env` files in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// `source FILE` in a shell
    Bash,
    /// Compose v2
    Compose,
    /// `docker run --env-file`
    Docker,
    /// Next.js
    Nextjs,
    /// `node --env-file`
    Node,
    /// The npm package dotenv
    NpmDotenv,
    /// python-dotenv
    PythonDotenv,
    /// `EnvironmentFile=` of systemd
    Systemd,
    /// Vite
    Vite,
}

impl Reader {
    /// All of them, in the order of their names.
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

    /// Their names, in the same order.
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

    /// The name in `.secrets.toml` and on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Returns the value that the program takes from an assignment. `text` is what follows the `=`, up to the next
    /// assignment or the end of the file. `None` means that it reads nothing reliable there.
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

    /// True where the program takes a variable from an assignment that begins so. `head` is what precedes the `=`.
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

    /// True where the program reads `text` as `value`.
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
            Invalid(format!("this reader is unknown; the readers are {}", Self::NAMES.join(", ")))
        })
    }
}

/// The programs that read one file. The default is the set for a file whose readers nobody has named.
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
    /// The readers, in the order of their names.
    pub fn iter(self) -> impl Iterator<Item = Reader> {
        Reader::ALL.into_iter().filter(move |reader| self.has(*reader))
    }

    /// True for a set without a reader.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Writes a value in the first spelling that every reader reads as that value.
    ///
    /// # Errors
    /// The reader that reads the value in no spelling, or the first two that need different ones.
    pub fn spell(self, value: &[u8]) -> Result<SecretBytes, Unreadable> {
        let mut reached = [Self(0); SPELLINGS.len()];

        for (spelling, reached) in SPELLINGS.iter().zip(&mut reached) {
            let Some(text) = spelling.write(value) else { continue };
            let line = SecretBytes::from_vec([text.expose(), b"\n"].concat());
            *reached = self.iter().filter(|reader| reader.reads_as(line.expose(), value)).collect();
            if *reached == self {
                return Ok(text);
            }
        }

        Err(self.unreachable(&reached))
    }

    /// Names who is in the way, where no set of `reached` is the whole one.
    fn unreachable(self, reached: &[Self]) -> Unreadable {
        let mut common: Vec<Self> = reached.to_vec();
        let mut others = self.iter();
        let mut first = None;

        let reader = others.find(|reader| {
            common.retain(|set| set.has(*reader));
            first.get_or_insert(*reader);
            common.is_empty()
        });

        let reader = reader.unwrap_or(Reader::Bash);
        let is_reached = reached.iter().any(|set| set.has(reader));
        Unreadable { reader, other: first.filter(|first| is_reached && *first != reader) }
    }

    fn has(self, reader: Reader) -> bool {
        self.0 & 1 << reader as u16 != 0
    }
}

/// Why a value cannot be written for its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Unreadable {
    /// The reader that cannot read it
    pub reader: Reader,
    /// The reader whose spelling it cannot read, if it could read another one
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

/// One way to write a value.
struct ValueSyntax {
    quote: Option<u8>,
    /// Bytes that are written in another way
    escapes: &'static [(u8, &'static [u8])],
    /// Only for values of harmless bytes
    is_plain: bool,
}

const fn spelling(quote: Option<u8>, escapes: &'static [(u8, &'static [u8])]) -> ValueSyntax {
    ValueSyntax { quote, escapes, is_plain: false }
}

const SINGLE: Option<u8> = Some(b'\'');
const DOUBLE: Option<u8> = Some(b'"');

/// The spellings, the best first: bare for what needs no quotes, then quotes in which the fewest readers expand.
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
    /// The value in this spelling; `None` where the spelling is not meant for it.
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

/// True for a value that means itself everywhere.
fn is_plain(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(byte))
}
