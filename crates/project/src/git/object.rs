//! What every reader of git's data shares: ids, kinds of objects, and streams of known length.

use std::fmt;
use std::io::{self, BufRead, Read};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// The maximum total size of a delta chain in bytes, and of its result, because both are in memory.
/// Git stores larger files without deltas.
pub(super) const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// The hash function that a repository uses for the ids of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, 20 bytes
    Sha1,
    /// SHA-256, 32 bytes
    Sha256,
}

impl Hash {
    /// Returns the length of an id in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// The id of an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id {
    bytes: [u8; 32],
    length: u8,
}

impl Id {
    /// Returns the id of zeros, which no object has.
    pub fn zero(hash: Hash) -> Self {
        Self { bytes: [0; 32], length: if hash == Hash::Sha1 { 20 } else { 32 } }
    }

    pub fn is_zero(&self) -> bool {
        self.bytes == [0; 32]
    }

    /// Creates an id from the first bytes. Returns `None` if there are too few.
    pub fn from_bytes(bytes: &[u8], hash: Hash) -> Option<Self> {
        let mut id = Self::zero(hash);
        id.bytes[..hash.length()].copy_from_slice(bytes.get(..hash.length())?);
        Some(id)
    }

    /// Parses hexadecimal digits. Returns `None` if the text contains anything else.
    pub fn from_hex(text: &[u8], hash: Hash) -> Option<Self> {
        if text.len() != hash.length() * 2 {
            return None;
        }

        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut id = Self::zero(hash);
        for (byte, pair) in id.bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }

        Some(id)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    /// A directory
    Tree,
    /// A file's content, or a link's target
    Blob,
    /// An annotated tag
    Tag,
}

/// An object that is being read.
pub(super) struct Object<'o> {
    pub(super) kind: Kind,
    pub(super) content: Box<dyn Read + 'o>,
}

pub(super) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A stream of known length. An early end is an error.
pub(super) struct ExactReader<R> {
    pub(super) from: R,
    pub(super) left: u64,
}

impl<R: Read> Read for ExactReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }

        let length = self.from.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }

        self.left -= length as u64;
        Ok(length)
    }
}

/// Decompresses a zlib stream.
pub(super) struct Inflate<R> {
    from: R,
    state: Box<InflateState>,
    ended: bool,
}

impl<R: BufRead> Inflate<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, state: InflateState::new_boxed(DataFormat::Zlib), ended: false }
    }
}

impl<R: BufRead> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            let input = self.from.fill_buf()?;
            let at_end = input.is_empty();
            let step = inflate(&mut self.state, input, buffer, MZFlush::None);
            self.from.consume(step.bytes_consumed);

            match step.status {
                Ok(MZStatus::StreamEnd) => self.ended = true,
                Ok(_) | Err(MZError::Buf) => {}
                Err(_) => return Err(invalid("the compressed data is damaged")),
            }

            if step.bytes_written > 0 {
                return Ok(step.bytes_written);
            }

            if !self.ended && (at_end || step.bytes_consumed == 0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }

        Ok(0)
    }
}

/// Reads git's variable-length number, in which every continuation byte adds one. Returns the
/// number and the offset after it.
pub(super) fn varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut byte = *bytes.get(at)?;
    let mut value = u64::from(byte & 127);
    while byte & 128 != 0 {
        at += 1;
        byte = *bytes.get(at)?;
        value = value.checked_add(1)?.checked_mul(128)? | u64::from(byte & 127);
    }

    Some((value, at + 1))
}
