//! Reads git's index, versions 2 to 4: what the next commit consists of. A split index is put together, and a sparse one
//! names directories. Memory is bounded by the file, whatever is in it.

use std::path::Path;

use super::GitError;
use super::files::read;
use super::objects::{Hash, Id};

/// An index of more bytes is refused. A million files take about 100 MiB.
const LARGEST: u64 = 512 * 1024 * 1024;

/// The kind of an entry, out of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file
    File,
    /// A symbolic link
    Link,
    /// Another repository: a submodule
    Repository,
    /// A directory of a sparse index, with a slash at the end of its path
    Directory,
    /// Something that git does not write
    Other,
}

impl EntryKind {
    /// The kind of a mode.
    pub fn of(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o120_000 => Self::Link,
            0o160_000 => Self::Repository,
            0o040_000 => Self::Directory,
            _ => Self::Other,
        }
    }
}

/// One entry of an index.
#[derive(Debug, Clone, Copy)]
pub struct IndexEntry<'a> {
    /// Type and permission bits
    pub mode: u32,
    /// The content
    pub id: Id,
    /// 0, or which side of a conflict this is
    pub stage: u8,
    /// `git add -N`: its content is not staged
    pub intent_to_add: bool,
    /// Left out of the working tree on purpose
    pub skip_worktree: bool,
    /// Below the working tree, `/` between its parts
    pub path: &'a [u8],
}

impl IndexEntry<'_> {
    /// What the entry is.
    pub fn kind(&self) -> EntryKind {
        EntryKind::of(self.mode)
    }
}

/// Why the bytes are not an index: half a sentence.
pub(super) type Invalid = &'static str;

/// The bytes of an index, and of the shared one that it may refer to.
pub(super) struct Index {
    bytes: Vec<u8>,
    shared: Option<Vec<u8>>,
    hash: Hash,
}

impl Index {
    /// Reads an index; one that does not exist is empty. `git_dir` holds its shared part.
    pub(super) fn open(path: &Path, git_dir: &Path, hash: Hash) -> Result<Self, GitError> {
        let Some(bytes) = read(path, LARGEST)? else {
            return Ok(Self { bytes: Vec::new(), shared: None, hash });
        };

        let base = shared_id(&bytes, hash).map_err(|why| GitError::invalid(path, why))?;

        let Some(base) = base else { return Ok(Self { bytes, shared: None, hash }) };
        let place = git_dir.join(format!("sharedindex.{base}"));
        let shared = read(&place, LARGEST)?
            .ok_or_else(|| GitError::invalid(path, "its shared index is missing"))?;

        Ok(Self { bytes, shared: Some(shared), hash })
    }

    /// Visits every entry.
    pub(super) fn each(
        &self,
        path: &Path,
        visit: &mut dyn FnMut(&IndexEntry<'_>),
    ) -> Result<(), GitError> {
        if self.bytes.is_empty() {
            return Ok(());
        }

        visit_entries(&self.bytes, self.shared.as_deref(), self.hash, visit)
            .map_err(|why| GitError::invalid(path, why))
    }
}

/// The id of the shared index that an index refers to.
fn shared_id(bytes: &[u8], hash: Hash) -> Result<Option<Id>, Invalid> {
    let link = EntryReader::new(bytes, hash)?.link()?;
    let id = link.and_then(|link| Id::from_bytes(link, hash)).filter(|id| !id.is_zero());
    Ok(id)
}

/// Visits every entry of an index that may refer to a shared one. Entries of the shared one come first.
pub fn visit_entries(
    bytes: &[u8],
    shared: Option<&[u8]>,
    hash: Hash,
    visit: &mut dyn FnMut(&IndexEntry<'_>),
) -> Result<(), Invalid> {
    let mut own = EntryReader::new(bytes, hash)?;
    let link = own.link()?;

    let (Some(link), Some(shared)) = (link, shared) else {
        while own.next()? {
            let entry = own.entry();
            check(&entry)?;
            visit(&entry);
        }

        return Ok(());
    };

    let bitmaps = link.get(hash.length()..).unwrap_or_default();
    let mut base = EntryReader::new(shared, hash)?;
    if base.link()?.is_some() {
        return Err("its shared index refers to another one");
    }

    let (deleted, rest) = bitmap(bitmaps, base.count)?;
    let (replaced, _) = bitmap(rest, base.count)?;
    let mut own_pending = own.next()?;

    for at in 0..base.count {
        if !base.next()? {
            break;
        }

        let mut entry = base.entry();

        // An entry without a name stands for the next replaced one.
        if is_set(&replaced, at) && own_pending && own.entry().path.is_empty() {
            entry = IndexEntry { path: entry.path, ..own.entry() };
            check(&entry)?;
            if !is_set(&deleted, at) {
                visit(&entry);
            }

            own_pending = own.next()?;
            continue;
        }

        check(&entry)?;
        if !is_set(&deleted, at) {
            visit(&entry);
        }
    }

    while own_pending {
        let entry = own.entry();
        check(&entry)?;
        visit(&entry);
        own_pending = own.next()?;
    }

    Ok(())
}

/// Refuses a path that could lie outside of the working tree, or in `.git`.
fn check(entry: &IndexEntry<'_>) -> Result<(), Invalid> {
    let path = match entry.kind() {
        EntryKind::Directory => {
            entry.path.strip_suffix(b"/").ok_or("a directory's name has no slash")?
        }
        _ => entry.path,
    };

    if path.len() > 4096 || !path.split(|byte| *byte == b'/').all(is_safe_name) {
        return Err("it names a path that git refuses");
    }

    Ok(())
}

/// True for a name that git accepts in a path.
pub(super) fn is_safe_name(name: &[u8]) -> bool {
    !(name.is_empty()
        || name == b"."
        || name == b".."
        || name.contains(&0)
        || name.eq_ignore_ascii_case(b".git"))
}

/// The entries of one file, read one after the other.
struct EntryReader<'b> {
    bytes: &'b [u8],
    hash: Hash,
    version: u32,
    count: u32,
    /// Entries that were read
    seen: u32,
    /// Where the next entry begins
    at: usize,
    /// The last entry, without its path
    mode: u32,
    id: Id,
    flags: u16,
    extended: u16,
    path: Vec<u8>,
}

const CUT: Invalid = "it ends too early";

impl<'b> EntryReader<'b> {
    fn new(bytes: &'b [u8], hash: Hash) -> Result<Self, Invalid> {
        let number = |at: usize| number(bytes, at).ok_or(CUT);
        if !bytes.starts_with(b"DIRC") {
            return Err("it is not an index");
        }

        let (version, count) = (number(4)?, number(8)?);

        if !(2..=4).contains(&version) {
            return Err("its version is not 2, 3 or 4");
        }

        if bytes.len() < 12 + hash.length() || count as usize > bytes.len() / (40 + hash.length()) {
            return Err(CUT);
        }

        let id = Id::zero(hash);
        Ok(Self {
            bytes,
            hash,
            version,
            count,
            seen: 0,
            at: 12,
            mode: 0,
            id,
            flags: 0,
            extended: 0,
            path: Vec::new(),
        })
    }

    fn next(&mut self) -> Result<bool, Invalid> {
        if self.seen == self.count {
            return Ok(false);
        }

        let begin = self.at;
        let end = self.bytes.len() - self.hash.length();
        let length = self.hash.length();
        let mut at = begin + 40 + length + 2;

        if at > end {
            return Err(CUT);
        }

        self.mode = number(self.bytes, begin + 24).ok_or(CUT)?;
        self.id = Id::from_bytes(&self.bytes[begin + 40..], self.hash).ok_or(CUT)?;
        self.flags = u16::from_be_bytes([self.bytes[at - 2], self.bytes[at - 1]]);
        self.extended = 0;

        if self.flags & 0x4000 != 0 && self.version >= 3 {
            let pair = self.bytes.get(at..at + 2).ok_or(CUT)?;
            self.extended = u16::from_be_bytes([pair[0], pair[1]]);
            at += 2;
        }

        if self.version == 4 {
            let (stripped, behind) = varint(&self.bytes[..end], at).ok_or(CUT)?;
            let kept = usize::try_from(stripped)
                .ok()
                .and_then(|stripped| self.path.len().checked_sub(stripped));

            self.path.truncate(kept.ok_or("a path is cut short by more than it has")?);
            at = behind;
        } else {
            self.path.clear();
        }

        let name = self.bytes.get(at..end).ok_or(CUT)?;
        let name = &name[..memchr::memchr(0, name).ok_or(CUT)?];
        self.path.extend_from_slice(name);
        if self.path.len() > 8192 {
            return Err("a path is too long");
        }

        at += name.len() + 1;

        // Up to version 3 entries are filled up with zeros to a multiple of eight bytes.
        self.at = if self.version == 4 { at } else { begin + (at - begin).div_ceil(8) * 8 };
        self.seen += 1;
        Ok(true)
    }

    fn entry(&self) -> IndexEntry<'_> {
        IndexEntry {
            mode: self.mode,
            id: self.id,
            stage: u8::try_from(self.flags >> 12 & 3).unwrap_or(0),
            intent_to_add: self.extended & 0x2000 != 0,
            skip_worktree: self.extended & 0x4000 != 0,
            path: &self.path,
        }
    }

    /// Reads to the end and returns the extension `link` of a split index. An extension that has to be understood and is not
    /// known is an error.
    fn link(&self) -> Result<Option<&'b [u8]>, Invalid> {
        let mut all = Self { path: Vec::new(), ..*self };
        while all.next()? {}

        let end = self.bytes.len() - self.hash.length();
        let (mut at, mut link) = (all.at, None);
        while at + 8 <= end {
            let name = &self.bytes[at..at + 4];
            let size = number(self.bytes, at + 4).ok_or(CUT)? as usize;
            let content = at.checked_add(8 + size).filter(|behind| *behind <= end).ok_or(CUT)?;

            match name {
                b"link" => link = Some(&self.bytes[at + 8..content]),
                b"sdir" => {}
                // A capital letter: it may be passed over.
                _ if name[0].is_ascii_uppercase() => {}
                _ => return Err("it has an extension that is not known"),
            }

            at = content;
        }

        Ok(link)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads git's variable-length number, of which each step adds one; returns it and what follows.
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

/// Reads a compressed bitmap (EWAH) over `count` entries; returns it, 64 entries a word, and what follows.
fn bitmap(bytes: &[u8], count: u32) -> Result<(Vec<u64>, &[u8]), Invalid> {
    let most = (count as usize).div_ceil(64);
    if bytes.is_empty() {
        return Ok((Vec::new(), bytes));
    }

    let words = number(bytes, 4).ok_or(CUT)? as usize;
    let behind = words.checked_mul(8).and_then(|size| size.checked_add(12)).ok_or(CUT)?;
    let content = bytes.get(8..behind - 4).ok_or(CUT)?;
    let rest = bytes.get(behind..).ok_or(CUT)?;
    let mut content =
        content.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().unwrap_or_default()));

    let mut found = Vec::new();

    while let Some(marker) = content.next() {
        // One bit that is repeated, how often in words, and how many words follow as they are.
        let filling = if marker & 1 == 1 { u64::MAX } else { 0 };
        let repeated = usize::try_from(marker >> 1 & 0xffff_ffff).map_err(|_| CUT)?;
        let literal = usize::try_from(marker >> 33).map_err(|_| CUT)?;
        found.resize(found.len() + repeated.min(most.saturating_sub(found.len())), filling);

        for _ in 0..literal {
            let word = content.next().ok_or(CUT)?;
            if found.len() < most {
                found.push(word);
            }
        }
    }

    Ok((found, rest))
}

fn is_set(bitmap: &[u64], at: u32) -> bool {
    bitmap.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}
