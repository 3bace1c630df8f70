//! Checks, before SQLite opens a file for writing, that it is a vault and that the journal next to
//! it may be replayed.
//!
//! The journal of a killed writer is hot: the next process that opens the vault rolls the
//! interrupted change back with it. SQLite identifies a journal by its name only. So a hot journal
//! is read first (SQLite's file format, section 3), and both files are copied.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, ffi};
use secrets_files::directory;
use secrets_files::open;

use super::{BUSY, translate};
use crate::store::vault_path::{self, IfExists, StagedFile};
use crate::store::{APPLICATION_ID, StoreError};

/// The number of attempts. Another process may replay a journal and leave the next one while we
/// look at it.
const ROUNDS: usize = 20;
/// The first 8 bytes of a journal and of each of its later segments. A journal that belongs to a
/// change of several files also ends with them.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// The length of SQLite's file header, which is compared.
const HEADER: usize = 100;
/// The largest page size and the largest sector size.
const MAX_SIZE: u32 = 65_536;

/// The paths of the copies of a vault and its journal from before the journal was replayed.
pub(super) struct SavedNames {
    vault: PathBuf,
    journal: PathBuf,
}

impl SavedNames {
    pub(super) fn new(vault: &Path) -> Self {
        let copy = vault_path::before_recovery(vault);
        Self { journal: directory::with_suffix(&copy, ".journal"), vault: copy }
    }

    /// Returns true if at least one of them exists.
    pub(super) fn exist(&self) -> bool {
        [&self.vault, &self.journal].iter().any(|copy| fs::symlink_metadata(copy).is_ok())
    }

    /// Returns true if both copies exist and belong to this journal. The vault is copied last.
    /// Older copies may reappear after a power cut.
    fn match_journal(&self, journal: &Path) -> io::Result<bool> {
        if fs::symlink_metadata(&self.vault).is_err()
            || fs::symlink_metadata(&self.journal).is_err()
        {
            return Ok(false);
        }

        same_content(&File::open(&self.journal)?, &File::open(journal)?)
    }

    /// Copies both files and flushes them.
    fn create(&self, vault: &Path, journal: &Path) -> Result<(), StoreError> {
        for (from, to) in [(journal, &self.journal), (vault, &self.vault)] {
            let failed = |source: io::Error| match source.kind() {
                io::ErrorKind::StorageFull => StoreError::Full,
                io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
                _ => StoreError::Io { action: "copy", path: from.to_owned(), source },
            };

            let copy = StagedFile::new(to, IfExists::Replaced)?;
            let mut file = OpenOptions::new().write(true).open(copy.path()).map_err(failed)?;
            io::copy(&mut File::open(from).map_err(failed)?, &mut file).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            copy.persist()?;
        }

        Ok(())
    }

    /// Removes both copies. It does no harm if they reappear after a power cut, because they do not
    /// match a later journal.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.vault);
        let _ = fs::remove_file(&self.journal);
        let _ = self.vault.parent().map(directory::flush);
    }
}

/// Checks that `path` is a vault. Whatever the file is, nothing is written, locked or replayed for
/// that.
pub(super) fn check_is_a_vault(path: &Path) -> Result<(), StoreError> {
    // SQLite reads an immutable file as it is, without a lock, a journal or a log.
    let mut name = String::from("file:");
    path.as_os_str().as_encoded_bytes().iter().for_each(|byte| match byte {
        b'/' | b'.' | b'_' | b'-' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
            name.push(char::from(*byte));
        }
        other => name.push_str(&format!("%{other:02x}")),
    });

    let flags = read_only() | OpenFlags::SQLITE_OPEN_URI;
    let connection =
        Connection::open_with_flags(name + "?immutable=1", flags).map_err(translate)?;

    match connection
        .pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))
        .map_err(translate)
    {
        Ok(APPLICATION_ID) => Ok(()),
        // Somebody is writing, or a writer was killed, so the header is ahead of the rest. This way
        // of reading is a fallback, because closing the file drops the locks of other connections
        // in this process.
        Err(StoreError::Damaged(_))
            if File::open(path).is_ok_and(|file| vault_path::looks_like_a_vault(&file)) =>
        {
            Ok(())
        }

        Ok(_) | Err(StoreError::Damaged(_)) => Err(StoreError::NotAVault(path.to_owned())),
        Err(error) => Err(error),
    }
}

fn read_only() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE
}

/// Refuses a hot journal that was not written for the current state of the vault, and otherwise
/// copies both files. Returns the connection that was used, because closing it now could drop the
/// locks of others in this process.
pub(super) fn before_replay(vault: &Path) -> Result<Option<Connection>, StoreError> {
    let connection = Connection::open_with_flags(vault, read_only()).map_err(translate)?;
    connection.busy_timeout(BUSY).map_err(translate)?;
    let (journal, copies) = (directory::with_suffix(vault, "-journal"), SavedNames::new(vault));

    let mut outcome = Ok(());
    for _ in 0..ROUNDS {
        if !is_hot(&connection)? {
            outcome = Ok(());
            break;
        }

        outcome = match journal_matches(vault, &journal) {
            Ok(true) => copy_both(&copies, vault, &journal, &connection),
            Ok(false) => Err(StoreError::ForeignJournal(journal.clone())),
            // Another process has replayed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => Err(StoreError::Io { action: "read", path: journal.clone(), source }),
        };

        if outcome.is_ok() {
            break;
        }
    }

    outcome.map(|()| Some(connection))
}

/// Copies both files, unless copies of this journal exist.
fn copy_both(
    copies: &SavedNames,
    vault: &Path,
    journal: &Path,
    connection: &Connection,
) -> Result<(), StoreError> {
    if copies.match_journal(journal).unwrap_or(false) {
        return Ok(());
    }

    copies.create(vault, journal)?;

    // Another process replayed the journal while the files were copied, so the copies match neither
    // state.
    if !is_hot(connection)? {
        copies.remove();
    }

    Ok(())
}

/// Returns true if SQLite would replay the journal because its writer no longer exists.
fn is_hot(connection: &Connection) -> Result<bool, StoreError> {
    match connection.pragma_query_value(None, "schema_version", |_| Ok(())) {
        Ok(()) => Ok(false),
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if failure.extended_code == ffi::SQLITE_READONLY_ROLLBACK =>
        {
            Ok(true)
        }
        Err(error) => Err(translate(error)),
    }
}

/// Returns true if the journal was written by a change of the vault's current state. It must hold
/// the first page from before that change, and the change counter in the vault must be that page's
/// or the next one.
fn journal_matches(vault: &Path, journal: &Path) -> io::Result<bool> {
    let (vault, journal) = (open::without_following(vault)?, open::without_following(journal)?);

    let (mut now, size) = ([0; HEADER], vault.metadata()?.len());
    if !read_whole(&vault, &mut now, 0)? {
        return Ok(false);
    }

    match Saved::read(&journal, page_size(&now))? {
        // No page of it was flushed, so the vault was not changed.
        Saved::Nothing { pages } => {
            Ok(u64::from(pages) == size.div_ceil(u64::from(page_size(&now))))
        }
        Saved::FirstPage(before) => {
            let (counter, next) = (number(&before, 24), number(&now, 24));
            Ok(before == now || (is_vault_header(&before) && next == counter.wrapping_add(1)))
        }
        Saved::Unknown => Ok(false),
    }
}

/// The content of a journal.
enum Saved {
    /// The header of the first page
    FirstPage([u8; HEADER]),
    /// No page yet, only the number of pages that the file had
    Nothing { pages: u32 },
    /// Something that our writers do not leave
    Unknown,
}

impl Saved {
    fn read(journal: &File, page_size: u32) -> io::Result<Self> {
        let (mut head, mut end, size) = ([0; 28], [0; 8], journal.metadata()?.len());
        if !read_whole(journal, &mut head, 0)?
            || !read_whole(journal, &mut end, size.saturating_sub(8))?
        {
            return Ok(Self::Unknown);
        }

        let [records, nonce, pages, sector, journals_page_size] =
            [8, 12, 16, 20, 24].map(|at| number(&head, at));
        let is_ours = head.starts_with(&MAGIC) && end != MAGIC && journals_page_size == page_size;
        if !is_ours || !(32..=MAX_SIZE).contains(&sector) || !(512..=MAX_SIZE).contains(&page_size)
        {
            return Ok(Self::Unknown);
        }

        if records == 0 {
            return Ok(Self::Nothing { pages });
        }

        let mut record = vec![0; page_size as usize + 8];
        let mut at = u64::from(sector);
        for _ in 0..records {
            // SQLite replays no record after one that is cut short or has a wrong checksum.
            if !read_whole(journal, &mut record, at)? {
                break;
            }

            let (page, sum) = record[4..].split_at(page_size as usize);
            if number(sum, 0) != checksum(nonce, page) {
                break;
            }

            if number(&record, 0) == 1 {
                return Ok(page
                    .first_chunk()
                    .map_or(Self::Unknown, |header| Self::FirstPage(*header)));
            }

            at += record.len() as u64;
        }

        Ok(Self::Unknown)
    }
}

/// Returns the journal's checksum of a page, which adds up every 200th byte from the end.
fn checksum(nonce: u32, page: &[u8]) -> u32 {
    let places =
        (1..).map(|n| page.len().checked_sub(200 * n)).map_while(|at| at.filter(|at| *at > 0));
    places.fold(nonce, |sum, at| sum.wrapping_add(u32::from(page[at])))
}

fn is_vault_header(header: &[u8; HEADER]) -> bool {
    header.starts_with(b"SQLite format 3\0") && number(header, 68).cast_signed() == APPLICATION_ID
}

fn page_size(header: &[u8; HEADER]) -> u32 {
    match u16::from_be_bytes([header[16], header[17]]) {
        1 => MAX_SIZE,
        size => u32::from(size),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

fn same_content(one: &File, other: &File) -> io::Result<bool> {
    let size = one.metadata()?.len();
    if size != other.metadata()?.len() {
        return Ok(false);
    }

    let (mut part, mut others) = (vec![0; MAX_SIZE as usize], vec![0; MAX_SIZE as usize]);
    for at in (0..size).step_by(part.len()) {
        let length = usize::try_from(size - at).map_or(part.len(), |left| left.min(part.len()));
        let (part, others) = (&mut part[..length], &mut others[..length]);
        if !read_whole(one, part, at)? || !read_whole(other, others, at)? || part != others {
            return Ok(false);
        }
    }

    Ok(true)
}

/// Fills `bytes`. Returns false if the file is too short.
fn read_whole(file: &File, bytes: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}
