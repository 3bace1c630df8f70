//! Reads packs. A pack has an index of ids, and it stores many objects as deltas against other
//! objects.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use secrets_files::open;

use super::GitError;
use super::object::{ExactReader, Hash, Id, Inflate, Kind, MAX_SIZE, Object, invalid, varint};

/// The maximum length of a delta chain, which is git's own limit.
const DEPTH: usize = 4095;
/// The maximum size in bytes of the cache of directories. It helps because consecutive deltas often
/// have the same base.
const KEPT: usize = 16 * 1024 * 1024;

/// A pack and its index.
pub(super) struct Pack {
    index: PathBuf,
    hash: Hash,
    files: OnceCell<PackFiles>,
    kept: RefCell<CachedObject>,
}

struct PackFiles {
    index: File,
    pack: File,
    /// For each first byte of an id, the number of ids that begin with this byte or a smaller one
    fanout: Vec<u32>,
}

#[derive(Default)]
struct CachedObject {
    trees: HashMap<u64, Rc<Vec<u8>>>,
    bytes: usize,
}

/// Looks up an object in another pack, or a loose object.
type ObjectLookup<'e> = &'e dyn Fn(&Id) -> Result<(Kind, Vec<u8>), GitError>;

impl Pack {
    pub(super) fn new(index: PathBuf, hash: Hash) -> Self {
        Self { index, hash, files: OnceCell::new(), kept: RefCell::default() }
    }

    fn files(&self) -> Result<&PackFiles, GitError> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }

        let opened = |path: &Path| open::regular(path).map_err(|source| GitError::io(path, source));
        let (index, pack) = (opened(&self.index)?, opened(&self.index.with_extension("pack"))?);
        let mut head = [0; 8 + 1024];
        index.read_exact_at(&mut head, 0).map_err(|source| GitError::io(&self.index, source))?;

        if head[..8] != *b"\xfftOc\0\0\0\x02" {
            return Err(GitError::invalid(
                &self.index,
                "its version is not 2; rebuild it with `git index-pack`",
            ));
        }

        let numbers = head[8..].chunks_exact(4);
        let fanout: Vec<u32> =
            numbers.map(|four| u32::from_be_bytes(four.try_into().unwrap_or_default())).collect();
        if !fanout.is_sorted() {
            return Err(GitError::invalid(&self.index, "it is not sorted"));
        }

        Ok(self.files.get_or_init(|| PackFiles { index, pack, fanout }))
    }

    /// Returns the offset of an object in the pack.
    pub(super) fn find(&self, id: &Id) -> Result<Option<u64>, GitError> {
        let files = self.files()?;
        let failed = |source| GitError::io(&self.index, source);
        let length = self.hash.length() as u64;
        let first = usize::from(id.as_bytes()[0]);
        let count = u64::from(files.fanout[255]);
        let mut low = first.checked_sub(1).map_or(0, |before| u64::from(files.fanout[before]));
        let mut high = u64::from(files.fanout[first]);
        let names = 8 + 1024;

        while low < high {
            let middle = low + (high - low) / 2;
            let mut name = [0; 32];
            let name = &mut name[..self.hash.length()];
            files.index.read_exact_at(name, names + middle * length).map_err(failed)?;

            match (*name).cmp(id.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    // After the ids come checksums, then offsets, then the offsets that need eight
                    // bytes.
                    let offsets = names + count * (length + 4);
                    let mut four = [0; 4];
                    files.index.read_exact_at(&mut four, offsets + middle * 4).map_err(failed)?;
                    let offset = u32::from_be_bytes(four);

                    if offset & 0x8000_0000 == 0 {
                        return Ok(Some(u64::from(offset)));
                    }

                    let mut eight = [0; 8];
                    let large = offsets + count * 4 + u64::from(offset & 0x7fff_ffff) * 8;
                    files.index.read_exact_at(&mut eight, large).map_err(failed)?;
                    return Ok(Some(u64::from_be_bytes(eight)));
                }
            }
        }

        Ok(None)
    }

    /// Opens the object at an offset. An object that is not a delta is read as a stream.
    pub(super) fn get(
        &self,
        offset: u64,
        look_up: ObjectLookup<'_>,
    ) -> Result<Object<'_>, GitError> {
        let path = self.index.with_extension("pack");
        let failed = |source| GitError::io(&path, source);
        let mut deltas: Vec<(u64, Vec<u8>)> = Vec::new();
        let (mut at, mut total) = (offset, 0);

        let (kind, base) = loop {
            if let Some(tree) = self.kept.borrow().trees.get(&at) {
                break (Kind::Tree, Rc::clone(tree));
            }

            let header = self.header(at).map_err(failed)?;
            let kind = match header.kind {
                Packed::Whole(kind) if deltas.is_empty() && kind != Kind::Tree => {
                    let content = self.content(&header).map_err(failed)?;
                    return Ok(Object { kind, content: Box::new(content) });
                }
                Packed::Whole(kind) => Some(kind),
                Packed::FromOffset(_) | Packed::FromId(_) => None,
            };

            total += header.size;
            if total > MAX_SIZE || deltas.len() > DEPTH {
                return Err(failed(invalid("a delta chain is too long")));
            }

            let mut content = Vec::new();
            self.content(&header)
                .and_then(|mut from| from.read_to_end(&mut content))
                .map_err(failed)?;

            if let Some(kind) = kind {
                let content = Rc::new(content);
                self.keep(kind, at, &content);
                break (kind, content);
            }

            deltas.push((at, content));
            match header.kind {
                Packed::FromOffset(base) => at = base,
                Packed::FromId(id) => match self.find(&id)? {
                    Some(base) => at = base,
                    None => {
                        let (kind, content) = look_up(&id)?;
                        break (kind, Rc::new(content));
                    }
                },
                Packed::Whole(_) => {}
            }
        };

        let mut content = base;
        while let Some((at, delta)) = deltas.pop() {
            content = Rc::new(
                apply(&content, &delta).ok_or_else(|| failed(invalid("a delta is invalid")))?,
            );

            self.keep(kind, at, &content);
        }

        let content = Rc::try_unwrap(content).unwrap_or_else(|shared| shared.to_vec());
        Ok(Object { kind, content: Box::new(Cursor::new(content)) })
    }

    fn keep(&self, kind: Kind, at: u64, content: &Rc<Vec<u8>>) {
        if kind != Kind::Tree || content.len() > KEPT / 16 {
            return;
        }

        let mut kept = self.kept.borrow_mut();
        if kept.bytes + content.len() > KEPT {
            *kept = CachedObject::default();
        }

        kept.bytes += content.len();
        kept.trees.insert(at, Rc::clone(content));
    }

    /// Reads the header of an object.
    fn header(&self, offset: u64) -> io::Result<Header> {
        let files = self.files.get().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = [0; 64];
        let length = read_at(&files.pack, &mut bytes, offset)?;
        let bytes = &bytes[..length];
        let truncated = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let first = *bytes.first().ok_or_else(truncated)?;
        let (mut size, mut shift, mut at) = (u64::from(first & 15), 4, 1);
        let mut byte = first;

        while byte & 128 != 0 {
            byte = *bytes.get(at).ok_or_else(truncated)?;
            at += 1;
            if shift > 56 {
                return Err(invalid("an object's size is too large"));
            }

            size |= u64::from(byte & 127) << shift;
            shift += 7;
        }

        let kind = match first >> 4 & 7 {
            1 => Packed::Whole(Kind::Commit),
            2 => Packed::Whole(Kind::Tree),
            3 => Packed::Whole(Kind::Blob),
            4 => Packed::Whole(Kind::Tag),
            6 => {
                let (distance, after) = varint(bytes, at).ok_or_else(truncated)?;
                at = after;
                let base = offset.checked_sub(distance).filter(|_| distance > 0);
                Packed::FromOffset(base.ok_or_else(|| invalid("a delta has no base"))?)
            }
            7 => {
                let id = bytes
                    .get(at..)
                    .and_then(|bytes| Id::from_bytes(bytes, self.hash))
                    .ok_or_else(truncated)?;

                at += self.hash.length();
                Packed::FromId(id)
            }
            _ => return Err(invalid("an object has an unknown kind")),
        };

        Ok(Header { kind, size, content: offset + at as u64 })
    }

    fn content(&self, header: &Header) -> io::Result<ExactReader<Inflate<BufReader<At<'_>>>>> {
        let files = self.files.get().ok_or(io::ErrorKind::NotFound)?;
        let from = BufReader::new(At { file: &files.pack, offset: header.content });
        Ok(ExactReader { from: Inflate::new(from), left: header.size })
    }
}

struct Header {
    kind: Packed,
    size: u64,
    content: u64,
}

#[derive(Clone, Copy)]
enum Packed {
    Whole(Kind),
    FromOffset(u64),
    FromId(Id),
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }

    Ok(length)
}

/// A file, read from an offset on.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

/// Applies a delta to its base. Returns `None` if the two do not match or the delta is invalid.
pub fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let (from, at) = size(delta, 0)?;
    let (to, mut at) = size(delta, at)?;
    if from != base.len() as u64 || to > MAX_SIZE {
        return None;
    }

    let to = usize::try_from(to).ok()?;
    let mut content = Vec::new();

    while let Some(&step) = delta.get(at) {
        at += 1;
        if step & 128 == 0 {
            let end = at + usize::from(step);
            content.extend_from_slice(delta.get(at..end).filter(|bytes| !bytes.is_empty())?);
            at = end;
        } else {
            // The low bits say which of seven bytes follow: four of an offset and three of a
            // length.
            let mut number = 0_u64;

            for bit in 0..7 {
                if step >> bit & 1 == 1 {
                    number |= u64::from(*delta.get(at)?) << (bit * 8);
                    at += 1;
                }
            }

            let offset = usize::try_from(number & 0xffff_ffff).ok()?;
            let length = usize::try_from(number >> 32)
                .ok()
                .map(|length| if length == 0 { 0x10000 } else { length })?;

            content.extend_from_slice(base.get(offset..offset.checked_add(length)?)?);
        }

        if content.len() > to {
            return None;
        }
    }

    (content.len() == to).then_some(content)
}

/// Reads a number of a delta, which has seven bits per byte, lowest bits first.
fn size(delta: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = *delta.get(at)?;
        at += 1;
        if shift > 56 {
            return None;
        }

        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 {
            return Some((value, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn deltas_copy_and_insert() {
        let base = b"the quick brown fox";

        // This delta copies 4 bytes from 0, inserts "slow ", and copies 9 bytes from 10.
        let delta = b"\x13\x12\x90\x04\x05slow \x91\x0a\x09";
        assert_eq!(apply(base, delta).unwrap(), b"the slow brown fox");
        for end in 0..delta.len() {
            assert_eq!(apply(base, &delta[..end]), None, "truncated after {end}");
        }

        assert_eq!(apply(b"another", delta), None);

        // The deltas copy past the base's end, give a wrong length, and use a reserved instruction.
        assert_eq!(apply(base, b"\x13\x04\x91\x10\x04"), None);
        assert_eq!(apply(base, b"\x13\x01\x90\x04"), None);
        assert_eq!(apply(base, b"\x13\x00\x00"), None);
    }
}
