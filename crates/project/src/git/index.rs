//! Reads git's index, versions 2 to 4, which lists the contents of the next commit. A split index
//! is joined with its shared part, and a sparse index contains directories. Memory is bounded by
//! the size of the file, whatever it contains.

use std::path::Path;

use super::GitError;
use super::files::read;
use super::object::{Hash, Id, varint};

/// The maximum size of an index in bytes. A million files take about 100 MiB.
const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// The kind of an entry, which is part of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    /// A symbolic link
    Link,
    /// A submodule, which is another repository
    Repository,
    /// A directory of a sparse index, whose path ends with a slash
    Directory,
    /// A kind that git does not write
    Other,
}

impl EntryKind {
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

#[derive(Debug, Clone, Copy)]
pub struct IndexEntry<'a> {
    /// Type and permission bits
    pub mode: u32,
    /// The id of the content
    pub id: Id,
    /// 0, or the side of a conflict that the entry belongs to
    pub stage: u8,
    /// True after `git add -N`, when the content is not staged
    pub intent_to_add: bool,
    /// True if a sparse checkout leaves the file out of the working tree
    pub skip_worktree: bool,
    /// The path below the working tree, with `/` between its parts
    pub path: &'a [u8],
}

impl IndexEntry<'_> {
    pub fn kind(&self) -> EntryKind {
        EntryKind::of(self.mode)
    }
}

/// A phrase that says why the bytes are not an index.
pub(super) type Invalid = &'static str;

/// The bytes of an index, and of the shared index that it may refer to.
pub(super) struct Index {
    bytes: Vec<u8>,
    shared: Option<Vec<u8>>,
    hash: Hash,
}

impl Index {
    /// Reads an index. An index that does not exist is empty. `git_dir` contains the shared index.
    pub(super) fn open(path: &Path, git_dir: &Path, hash: Hash) -> Result<Self, GitError> {
        let Some(bytes) = read(path, MAX_SIZE)? else {
            return Ok(Self { bytes: Vec::new(), shared: None, hash });
        };

        let base = shared_id(&bytes, hash).map_err(|why| GitError::invalid(path, why))?;

        let Some(base) = base else { return Ok(Self { bytes, shared: None, hash }) };
        let shared_path = git_dir.join(format!("sharedindex.{base}"));
        let shared = read(&shared_path, MAX_SIZE)?
            .ok_or_else(|| GitError::invalid(path, "its shared index is missing"))?;

        Ok(Self { bytes, shared: Some(shared), hash })
    }

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

/// Returns the id of the shared index that an index refers to.
fn shared_id(bytes: &[u8], hash: Hash) -> Result<Option<Id>, Invalid> {
    let link = EntryReader::new(bytes, hash)?.link()?;
    let id = link.and_then(|link| Id::from_bytes(link, hash)).filter(|id| !id.is_zero());
    Ok(id)
}

/// Visits every entry of an index, which may refer to a shared one. Entries of the shared index
/// come first.
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
        return Err("its shared index refers to another shared index");
    }

    let (deleted, rest) = bitmap(bitmaps, base.count)?;
    let (replaced, _) = bitmap(rest, base.count)?;
    let mut own_pending = own.next()?;

    for at in 0..base.count {
        if !base.next()? {
            break;
        }

        let mut entry = base.entry();

        // An entry without a name replaces the next entry that the bitmap marks as replaced.
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

/// Refuses a path that could be outside of the working tree, or inside `.git`.
fn check(entry: &IndexEntry<'_>) -> Result<(), Invalid> {
    let path = match entry.kind() {
        EntryKind::Directory => {
            entry.path.strip_suffix(b"/").ok_or("a directory's name does not end with a slash")?
        }
        _ => entry.path,
    };

    if path.len() > 4096 || !path.split(|byte| *byte == b'/').all(is_safe_name) {
        return Err("it contains a path that git refuses");
    }

    Ok(())
}

/// Returns true if git accepts a name in a path.
pub(super) fn is_safe_name(name: &[u8]) -> bool {
    !(name.is_empty()
        || name == b"."
        || name == b".."
        || name.contains(&0)
        || name.eq_ignore_ascii_case(b".git"))
}

/// Reads the entries of one file in order.
struct EntryReader<'b> {
    bytes: &'b [u8],
    hash: Hash,
    version: u32,
    count: u32,
    /// The number of entries that were read
    seen: u32,
    /// The offset of the next entry
    at: usize,
    /// The mode of the last entry. The fields below belong to the same entry
    mode: u32,
    id: Id,
    flags: u16,
    extended: u16,
    path: Vec<u8>,
}

const TRUNCATED: Invalid = "it is truncated";

impl<'b> EntryReader<'b> {
    fn new(bytes: &'b [u8], hash: Hash) -> Result<Self, Invalid> {
        let number = |at: usize| number(bytes, at).ok_or(TRUNCATED);
        if !bytes.starts_with(b"DIRC") {
            return Err("it is not a git index");
        }

        let (version, count) = (number(4)?, number(8)?);

        if !(2..=4).contains(&version) {
            return Err("its version is not 2, 3 or 4");
        }

        if bytes.len() < 12 + hash.length() || count as usize > bytes.len() / (40 + hash.length()) {
            return Err(TRUNCATED);
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
            return Err(TRUNCATED);
        }

        self.mode = number(self.bytes, begin + 24).ok_or(TRUNCATED)?;
        self.id = Id::from_bytes(&self.bytes[begin + 40..], self.hash).ok_or(TRUNCATED)?;
        self.flags = u16::from_be_bytes([self.bytes[at - 2], self.bytes[at - 1]]);
        self.extended = 0;

        if self.flags & 0x4000 != 0 && self.version >= 3 {
            let pair = self.bytes.get(at..at + 2).ok_or(TRUNCATED)?;
            self.extended = u16::from_be_bytes([pair[0], pair[1]]);
            at += 2;
        }

        if self.version == 4 {
            let (stripped, after) = varint(&self.bytes[..end], at).ok_or(TRUNCATED)?;
            let kept = usize::try_from(stripped)
                .ok()
                .and_then(|stripped| self.path.len().checked_sub(stripped));

            self.path.truncate(kept.ok_or("a compressed path is invalid")?);
            at = after;
        } else {
            self.path.clear();
        }

        let name = self.bytes.get(at..end).ok_or(TRUNCATED)?;
        let name = &name[..memchr::memchr(0, name).ok_or(TRUNCATED)?];
        self.path.extend_from_slice(name);
        if self.path.len() > 8192 {
            return Err("a path is too long");
        }

        at += name.len() + 1;

        // Up to version 3, entries are padded with zeros to a multiple of eight bytes.
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

    /// Reads to the end and returns the extension `link` of a split index. An unknown extension
    /// that must be understood is an error.
    fn link(&self) -> Result<Option<&'b [u8]>, Invalid> {
        let mut all = Self { path: Vec::new(), ..*self };
        while all.next()? {}

        let end = self.bytes.len() - self.hash.length();
        let (mut at, mut link) = (all.at, None);
        while at + 8 <= end {
            let name = &self.bytes[at..at + 4];
            let size = number(self.bytes, at + 4).ok_or(TRUNCATED)? as usize;
            let content =
                at.checked_add(8 + size).filter(|after| *after <= end).ok_or(TRUNCATED)?;

            match name {
                b"link" => link = Some(&self.bytes[at + 8..content]),
                b"sdir" => {}
                // An extension whose name begins with a capital letter is optional.
                _ if name[0].is_ascii_uppercase() => {}
                _ => return Err("it has an unknown required extension"),
            }

            at = content;
        }

        Ok(link)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads a compressed bitmap (EWAH) over `count` entries. Returns its words, each for 64 entries,
/// and the bytes after it.
fn bitmap(bytes: &[u8], count: u32) -> Result<(Vec<u64>, &[u8]), Invalid> {
    let most = (count as usize).div_ceil(64);
    if bytes.is_empty() {
        return Ok((Vec::new(), bytes));
    }

    let words = number(bytes, 4).ok_or(TRUNCATED)? as usize;
    let after = words.checked_mul(8).and_then(|size| size.checked_add(12)).ok_or(TRUNCATED)?;
    let content = bytes.get(8..after - 4).ok_or(TRUNCATED)?;
    let rest = bytes.get(after..).ok_or(TRUNCATED)?;
    let mut content =
        content.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().unwrap_or_default()));

    let mut found = Vec::new();

    while let Some(marker) = content.next() {
        // A marker holds a bit, the number of words that repeat it, and the number of literal words
        // that follow.
        let filling = if marker & 1 == 1 { u64::MAX } else { 0 };
        let repeated = usize::try_from(marker >> 1 & 0xffff_ffff).map_err(|_| TRUNCATED)?;
        let literal = usize::try_from(marker >> 33).map_err(|_| TRUNCATED)?;
        found.resize(found.len() + repeated.min(most.saturating_sub(found.len())), filling);

        for _ in 0..literal {
            let word = content.next().ok_or(TRUNCATED)?;
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
