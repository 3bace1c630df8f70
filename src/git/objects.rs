//! Reads git's objects, loose and packed. It never fetches, so an object that a partial clone lacks
//! is reported as missing.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::GitError;
use super::files::{is_absent, open, read};
use super::pack::Pack;

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

    /// Returns true for the id of zeros.
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

    /// Returns the bytes of the id.
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

/// A repository's objects.
pub(super) struct Objects {
    directories: Vec<PathBuf>,
    packs: Vec<Pack>,
    hash: Hash,
}

/// The maximum number of object directories that are read, including those that `info/alternates`
/// names.
const DIRECTORIES: usize = 64;

impl Objects {
    /// Opens the objects of some directories, and of the directories that they borrow from.
    pub(super) fn open(directories: &[PathBuf], hash: Hash) -> Result<Self, GitError> {
        let mut all: Vec<PathBuf> = Vec::new();
        let mut pending: Vec<PathBuf> = directories.iter().rev().cloned().collect();

        while let Some(directory) = pending.pop() {
            if all.contains(&directory) || all.len() == DIRECTORIES {
                continue;
            }

            let borrowed =
                read(&directory.join("info/alternates"), 1024 * 1024)?.unwrap_or_default();
            let lines = borrowed
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty() && line[0] != b'#');

            pending
                .extend(lines.rev().map(|line| directory.join(std::ffi::OsStr::from_bytes(line))));
            all.push(directory);
        }

        let mut packs = Vec::new();
        for directory in &all {
            packs.extend(packs_of(&directory.join("pack"), hash)?);
        }

        Ok(Self { directories: all, packs, hash })
    }

    /// Opens an object.
    pub(super) fn get(&self, id: &Id) -> Result<Object<'_>, GitError> {
        let name = id.to_string();
        for directory in &self.directories {
            let path = directory.join(&name[..2]).join(&name[2..]);
            match open(&path) {
                Ok(file) => return loose(file).map_err(|source| GitError::io(&path, source)),
                Err(error) if is_absent(&error) => {}
                Err(source) => return Err(GitError::io(&path, source)),
            }
        }

        for pack in &self.packs {
            if let Some(offset) = pack.find(id)? {
                return pack.get(offset, &|id| self.base(id));
            }
        }

        Err(GitError::Missing(*id))
    }

    /// Returns the kind and content of the base object of a packed delta.
    fn base(&self, id: &Id) -> Result<(Kind, Vec<u8>), GitError> {
        // Git stores a delta only against an object of the same pack, and the pack was searched
        // before. So only loose objects are searched here.
        let name = id.to_string();
        for directory in &self.directories {
            let path = directory.join(&name[..2]).join(&name[2..]);
            if let Ok(file) = open(&path) {
                let failed = |source| GitError::io(&path, source);
                let object = loose(file).map_err(failed)?;
                let mut content = Vec::new();
                object
                    .content
                    .take(super::pack::LARGEST + 1)
                    .read_to_end(&mut content)
                    .map_err(failed)?;

                return Ok((object.kind, content));
            }
        }

        Err(GitError::Missing(*id))
    }

    /// Returns the content of an object, which must be of this kind and have at most `most` bytes.
    pub(super) fn whole(&self, id: &Id, kind: Kind, most: u64) -> Result<Vec<u8>, GitError> {
        let object = self.get(id)?;
        let failed = |why: String| GitError::Object { id: *id, why };
        if object.kind != kind {
            return Err(failed(
                format!("is a {:?}, expected a {kind:?}", object.kind).to_lowercase(),
            ));
        }

        let mut content = Vec::new();
        object
            .content
            .take(most + 1)
            .read_to_end(&mut content)
            .map_err(|error| failed(format!("is damaged: {error}")))?;

        if content.len() as u64 > most {
            return Err(failed("is too large".into()));
        }

        Ok(content)
    }

    /// Returns the hash function of the ids.
    pub(super) fn hash(&self) -> Hash {
        self.hash
    }
}

/// The maximum number of packs that are read.
const PACKS: usize = 10_000;

fn packs_of(directory: &Path, hash: Hash) -> Result<Vec<Pack>, GitError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(GitError::io(directory, source)),
    };

    let mut packs = Vec::new();
    for entry in entries.take(PACKS) {
        let path = entry.map_err(|source| GitError::io(directory, source))?.path();
        if path.extension().is_some_and(|extension| extension == "idx")
            && path.with_extension("pack").exists()
        {
            packs.push(Pack::new(path, hash));
        }
    }

    Ok(packs)
}

/// Opens a loose object. It consists of the kind and the size as text, a zero byte, and the
/// content, all compressed together.
fn loose(file: File) -> io::Result<Object<'static>> {
    let mut content = Inflate::new(BufReader::new(file));
    let mut header = Vec::new();
    loop {
        let mut byte = [0];
        content.read_exact(&mut byte)?;
        if byte == [0] {
            break;
        }

        header.push(byte[0]);
        if header.len() > 32 {
            return Err(invalid("the object's header is too long"));
        }
    }

    let mut words = header.split(|byte| *byte == b' ');
    let kind = match words.next() {
        Some(b"commit") => Kind::Commit,
        Some(b"tree") => Kind::Tree,
        Some(b"blob") => Kind::Blob,
        Some(b"tag") => Kind::Tag,
        _ => return Err(invalid("the object has an unknown kind")),
    };

    let size = words.next().and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
    let size = size.ok_or_else(|| invalid("the object has an invalid size"))?;
    Ok(Object { kind, content: Box::new(ExactReader { from: content, left: size }) })
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
