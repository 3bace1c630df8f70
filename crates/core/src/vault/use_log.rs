//! The log of uses and refusals: files in the state directory, to which every command appends
//! (docs/design/audit.md).
//!
//! The vault's own log would cost a transaction for each use, and could not be written on a read-only
//! file system. Nothing here is trusted when it is read: the files may be changed by any program of
//! the user.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use secrets_files::{KeptFile, Records, RecordsLock, open};

use super::{Vault, VaultError};
use crate::crypto::CryptoError;
use crate::crypto::aead::Key;
use crate::crypto::ids::{Hash, TokenId, VaultId};
use crate::crypto::uses::{MAX_SEALED, Position, SegmentHeader, UseEntry, sealing_key};

/// The maximum number of bytes of a segment.
pub const MAX_SEGMENT: u64 = 8 * 1024 * 1024;
/// The maximum number of segments that are read.
const MAX_SEGMENTS: u32 = 10_000;

/// The log of the uses of one vault.
pub struct UseLog {
    records: Records,
    vault_id: VaultId,
    name: String,
    largest: u64,
    /// Open from one entry to the next, because a proxy appends thousands
    files: Mutex<Files>,
}

/// The files of a log that are kept open.
#[derive(Default)]
struct Files {
    lock: Option<KeptFile>,
    position: Option<KeptFile>,
    segment: Option<KeptFile>,
}

/// The reason why a use was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum UseLogError {
    /// A file cannot be read or written
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The log has no position, and only the owner can begin one
    #[error("the log has not begun on this machine, or the file with its position is damaged")]
    NotBegun,
    /// A key failed
    #[error("{0}")]
    Crypto(#[from] CryptoError),
}

/// The keys of the owner that open the log: the present one, then earlier ones.
pub struct UseLogKeys(Vec<Key>);

/// The result of reading a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadUses {
    /// The number of the last entry that verified; 0 if there is none
    pub last: u64,
    /// The hash of the last entry that verified
    pub hash: Hash,
    /// The number of the first entry that is missing or does not verify
    pub fault: Option<u64>,
}

impl Vault {
    /// Returns the keys that begin and open the log of uses. An agent hands them out. A token has keys
    /// of its own, for a log that it begins where the owner has none.
    pub fn use_log_keys(&self) -> Result<UseLogKeys, VaultError> {
        let snapshot = self.store.read()?;
        let vault = self.state(&*snapshot)?.vault;
        let current = self.access.checkpoint_key()?;
        let past = self.access.past_keys(&vault)?;
        let all = std::iter::once(&current).chain(past.iter().map(|past| &past.checkpoint));
        Ok(UseLogKeys(all.map(|key| sealing_key(key, &vault.vault_id)).collect()))
    }
}

impl UseLog {
    /// Opens the log of a vault in a directory, which the first entry creates.
    pub fn new(directory: &Path, vault_id: VaultId) -> Self {
        let records = Records::new(directory, Position::SIZE as u64);
        let name = Records::name_of(&[&vault_id]);
        Self { records, vault_id, name, largest: MAX_SEGMENT, files: Mutex::default() }
    }

    /// Returns the log that a token begins on a machine where the owner has none.
    #[must_use]
    pub fn of_token(self, token_id: &TokenId) -> Self {
        let name = Records::name_of(&[&self.vault_id, token_id]);
        Self { name, ..self }
    }

    /// Limits segments to `largest` bytes instead of 8 MiB, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_segments_of(self, largest: u64) -> Self {
        Self { largest, ..self }
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.records.directory().join(format!("{}-{number:010}.log", self.name))
    }

    fn position_path(&self) -> PathBuf {
        self.records.directory().join(format!("{}.next", self.name))
    }

    /// Reads the position. Returns `None` if it is absent or damaged.
    fn position(&self) -> io::Result<Option<Position>> {
        match open::without_following(&self.position_path()) {
            Err(error) if open::is_absent(&error) => Ok(None),
            file => Ok(read_position(&file?)),
        }
    }

    /// Appends an entry. A refusal is flushed to the disk. `keys` is called if the log must begin,
    /// which only the owner can do.
    pub fn append(
        &self,
        entry: &UseEntry,
        keys: &dyn Fn() -> Option<UseLogKeys>,
    ) -> Result<(), UseLogError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = &mut *files;
        let _lock = match self.records.lock_again(&mut files.lock) {
            Err(error) if open::is_absent(&error) => {
                // The directory was removed after the last entry.
                *files = Files::default();
                self.records.lock_again(&mut files.lock)?
            }
            lock => lock?,
        };

        let position = match KeptFile::reopen(&mut files.position, self.position_path(), false) {
            Err(error) if open::is_absent(&error) => None,
            file => read_position(&file?),
        };

        let (mut at, file) = match position {
            Some(position) => match self.reopen(position, &mut files.segment)? {
                (at, Some(file)) if at.offset < self.largest => (at, file),
                (at, _) => self.begin(at, keys().as_ref())?,
            },
            None => {
                let keys = keys().ok_or(UseLogError::NotBegun)?;
                self.begin(self.first_position()?, Some(&keys))?
            }
        };

        let offset = at.offset;
        let bytes = at.seal(&self.vault_id, entry)?;
        if let Err(error) = file.write_all_at(&bytes, offset) {
            let _ = file.set_len(offset);
            return Err(error.into());
        }

        if entry.refused {
            file.sync_data()?;
        }

        Ok(self.set_position(&at, &mut files.position, entry.refused)?)
    }

    /// Begins the log if there is none yet, so that uses by tokens are recorded in it from then on.
    pub fn ensure_begun(&self, keys: &dyn Fn() -> Option<UseLogKeys>) -> Result<(), UseLogError> {
        if self.position()?.is_some() {
            return Ok(());
        }

        let _lock = self.records.lock()?;
        if self.position()?.is_none()
            && let Some(keys) = keys()
        {
            self.begin(self.first_position()?, Some(&keys))?;
        }

        Ok(())
    }

    /// Opens the segment of a position for appending. Returns no file if the segment is not as the
    /// position says.
    fn reopen(
        &self,
        position: Position,
        kept: &mut Option<KeptFile>,
    ) -> io::Result<(Position, Option<File>)> {
        let file = match KeptFile::reopen(kept, self.segment(position.segment), false) {
            Err(error) if open::is_absent(&error) => return Ok((position, None)),
            file => file?,
        };

        let length = file.metadata()?.len();
        let Some(more) = length.checked_sub(position.offset) else { return Ok((position, None)) };
        if more == 0 {
            return Ok((position, Some(file)));
        }

        // A process that was killed has written an entry, or a part of one, but not the position
        // after it.
        let mut rest = Vec::new();
        let mut reader = &file;
        reader.seek(SeekFrom::Start(position.offset))?;
        reader.take(2 * MAX_SEALED as u64).read_to_end(&mut rest)?;
        let mut after = position.copy();
        if after.open(&self.vault_id, &rest).is_some() && after.offset == length {
            return Ok((after, Some(file)));
        }

        if is_part(&rest) {
            file.set_len(position.offset)?;
            return Ok((position, Some(file)));
        }

        Ok((position, None))
    }

    /// Returns the position before the first segment, or after the last one if the position is lost.
    fn first_position(&self) -> Result<Position, UseLogError> {
        let segment = self.segments()?.last().copied().unwrap_or(0);
        let key = Key::random()?;
        Ok(Position { segment, seq: 1, offset: 0, previous: [0; 32], key })
    }

    /// Begins the next segment.
    fn begin(
        &self,
        mut at: Position,
        keys: Option<&UseLogKeys>,
    ) -> Result<(Position, File), UseLogError> {
        let header = at.begin_segment(&self.vault_id, keys.and_then(|keys| keys.0.first()))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let path = self.segment(at.segment);
        let mut file = options.open(&path)?;
        if let Err(error) = file.write_all(&header) {
            let _ = std::fs::remove_file(&path);
            return Err(error.into());
        }

        self.set_position(&at, &mut None, false)?;
        Ok((at, file))
    }

    /// Overwrites the position in its place, so that the key before is no longer in the file.
    fn set_position(
        &self,
        at: &Position,
        kept: &mut Option<KeptFile>,
        flush: bool,
    ) -> io::Result<()> {
        let file = KeptFile::reopen(kept, self.position_path(), true)?;
        file.write_all_at(at.encode().expose(), 0)?;
        if flush { file.sync_data() } else { Ok(()) }
    }

    /// Returns the numbers of the existing segments in ascending order.
    fn segments(&self) -> io::Result<Vec<u32>> {
        let entries = match std::fs::read_dir(self.records.directory()) {
            Err(error) if open::is_absent(&error) => return Ok(Vec::new()),
            entries => entries?,
        };

        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| {
                let number = name.strip_prefix(&self.name)?.strip_prefix('-')?;
                let number: u32 = number.strip_suffix(".log")?.parse().ok()?;
                (*name == *self.segment(number).file_name()?).then_some(number)
            });
            numbers.extend(number.filter(|number| (1..=MAX_SEGMENTS).contains(number)));
        }

        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns the directory of the log.
    pub fn directory(&self) -> &Path {
        self.records.directory()
    }

    /// Passes each entry with its number and its hash to `visit`, and verifies the whole log up to its position.
    /// Stops at the first entry that does not verify.
    pub fn read(
        &self,
        keys: &UseLogKeys,
        mut visit: impl FnMut(u64, &Hash, UseEntry),
    ) -> io::Result<ReadUses> {
        // A read-only directory has no writers that could disturb.
        let _lock: Option<RecordsLock> =
            if self.records.directory().is_dir() { self.records.lock().ok() } else { None };
        let (segments, end) = (self.segments()?, self.position()?);
        let mut found = ReadUses::default();
        if segments.is_empty() && end.is_none() {
            return Ok(found);
        }

        let mut at: Option<Position> = None;
        let mut before: Option<Position> = None;
        for number in segments {
            let bytes = self.bytes_of(number)?;
            let header = SegmentHeader::read(&self.vault_id, number, &bytes);
            let begun = header.and_then(|header| begin_reading(&header, at.as_ref(), keys, self));
            let Some(begun) = begun else {
                return Ok(fault(found));
            };

            let mut now = begun;
            while now.offset < bytes.len() as u64 {
                let rest = usize::try_from(now.offset).ok().and_then(|from| bytes.get(from..));
                let (place, seq) = (now.copy(), now.seq);
                let Some(entry) = rest.and_then(|rest| now.open(&self.vault_id, rest)) else {
                    // The process that wrote a part of an entry has not set the position after it.
                    let is_last = end.as_ref().is_some_and(|end| end.is_same(&place));
                    let is_part = rest.is_some_and(is_part);
                    return Ok(if is_last && is_part { found } else { fault(found) });
                };

                before = Some(place);
                (found.last, found.hash) = (seq, now.previous);
                visit(seq, &found.hash, entry);
            }

            at = Some(now);
        }

        // The position has the key after the last entry, which nobody has who cuts the log.
        let is_end = |at: &Option<Position>| {
            at.as_ref().zip(end.as_ref()).is_some_and(|(at, end)| at.is_same(end))
        };

        Ok(if is_end(&at) || is_end(&before) { found } else { fault(found) })
    }

    fn bytes_of(&self, number: u32) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = open::without_following(&self.segment(number))?;
        if file.metadata()?.is_file() {
            file.take(MAX_SEGMENT + 2 * MAX_SEALED as u64).read_to_end(&mut bytes)?;
        }

        Ok(bytes)
    }
}

/// Reads the position from its file. Returns `None` if it is damaged.
fn read_position(file: &File) -> Option<Position> {
    let mut bytes = [0; Position::SIZE];
    let read = file.read_exact_at(&mut bytes, 0);
    let position = read.ok().and_then(|()| Position::decode(&bytes));
    zeroize::Zeroize::zeroize(&mut bytes);
    position
}

/// Returns true if the bytes are the beginning of an entry.
fn is_part(rest: &[u8]) -> bool {
    let announced = rest.first_chunk().map_or(0, |length| u32::from_be_bytes(*length)) as usize;
    announced <= MAX_SEALED && rest.len() < 4 + 8 + 32 + announced
}

fn fault(found: ReadUses) -> ReadUses {
    ReadUses { fault: Some(found.last + 1), ..found }
}

/// Returns the position after a header. It must follow the segment before.
fn begin_reading(
    header: &SegmentHeader<'_>,
    before: Option<&Position>,
    keys: &UseLogKeys,
    log: &UseLog,
) -> Option<Position> {
    let sealed = header.first_key(&log.vault_id, &keys.0);
    match before {
        None => {
            let first = header.position(&sealed?);
            (first.segment == 1 && header.seq == 1 && header.previous == [0; 32]).then_some(first)
        }
        Some(before) => {
            let next = header.position(&before.key);
            let follows = header.seq == before.seq
                && header.previous == before.previous
                && next.segment == before.segment + 1
                && sealed.is_none_or(|key| key.expose() == before.key.expose());
            follows.then_some(next)
        }
    }
}
