//! The vault's SQLite file (docs/format.md, section 6). This is the only folder that uses rusqlite.
//! `rows` reads rows.
//!
//! The file is hostile. SQLite's messages may contain its bytes, so they are never passed on. Every
//! column's type and length is checked before it leaves here.

mod budget;
mod cache;
mod near;
mod recovery;
mod rows;
mod schema;
mod transaction;

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Access, access};
use secrets_files::directory;

use super::neighbours;
use super::vault_path::{self, IfExists, StagedFile};
use super::{Doubt, FORMAT, Location, Snapshot, Store, StoreError, Transaction};
use crate::crypto::rows::Slot;
use budget::Budget;
pub use near::NearRows;
pub(super) use near::StagedNear;
use recovery::SavedNames;
use schema::FileKind;
pub(super) use transaction::SqliteTransaction;

const BUSY: Duration = Duration::from_secs(30);
/// How long a write waits for readers before it leaves the VACUUM to the next write.
const PATIENCE: Duration = Duration::from_secs(2);
/// Up to this size in bytes, a write that leaves dead bytes runs VACUUM at once, which takes a few
/// milliseconds (docs/design/compaction.md).
const COMPACT_AT_ONCE: u64 = 1024 * 1024;
/// A row without its value is smaller than this many bytes.
const ROW: u64 = 64 * 1024;
/// All cells of a vault are much smaller than this many bytes. SQLite refuses a larger one without
/// reading it.
const MAX_CELL: i32 = 4 * 1024 * 1024;

/// An open vault file.
pub struct SqliteStore {
    connection: Connection,
    budget: Budget,
    path: PathBuf,
    /// The absolute path as it was typed
    typed: PathBuf,
    is_exposed: bool,
    /// What the file may be, and what it was in the last transaction
    kinds: &'static [FileKind],
    kind: Cell<FileKind>,
    /// The last commit left dead bytes
    needs_compaction: Cell<bool>,
    /// An interrupted change was rolled back, and copies of the files from before the rollback are
    /// kept
    keeps_copies: Cell<bool>,
    /// The connection that checked whether a journal is hot; closing it could drop the locks of
    /// another connection, so it stays open
    _checker: Option<Connection>,
}

/// A vault under a temporary name. It is removed on drop, unless [`NewFile::persist`] was called.
pub struct NewFile(StagedFile);

impl NewFile {
    /// Opens the file, to fill or check it.
    pub fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::connect(self.0.path().to_owned())
    }

    /// Renames the file to its target. Everything written must be committed and closed before.
    pub fn persist(self) -> Result<PathBuf, StoreError> {
        self.0.persist()
    }
}

impl SqliteStore {
    /// Opens an existing vault. It must be a regular file, belong to us, be private and have a
    /// single name.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let found = vault_path::existing(path)?;
        recovery::check_is_a_vault(&found.path)?;
        let has_journal = neighbours::check_files(&found.path, found.is_exposed)?;
        let checker = if has_journal { recovery::before_replay(&found.path)? } else { None };

        let store = Self::connect(found.path)?;
        let store = Self {
            typed: typed(path),
            is_exposed: found.is_exposed,
            keeps_copies: Cell::new(SavedNames::new(&store.path).exist()),
            _checker: checker,
            ..store
        };

        store.read()?;
        Ok(store)
    }

    /// Returns true if the file system has no Unix modes, so that others may be able to read or
    /// replace the file.
    pub fn is_exposed(&self) -> bool {
        self.is_exposed
    }

    /// Creates a vault with the rows that `fill` applies, and the missing directories above it. The
    /// vault appears at `path` complete or not at all, and never replaces an existing file.
    pub fn create<E: From<StoreError>>(
        path: &Path,
        fill: impl FnOnce(&mut dyn Transaction) -> Result<(), E>,
    ) -> Result<Self, E> {
        vault_path::create_directory_for(path)?;
        let new = Self::begin(path, IfExists::Refused)?;
        {
            let store = new.open()?;
            let mut transaction = store.write()?;
            fill(&mut *transaction)?;
            transaction.commit().map_err(StoreError::from)?;
        }

        Ok(Self { typed: typed(path), ..Self::connect(new.persist()?)? })
    }

    /// Begins a vault for `path`, with empty tables.
    pub fn begin(path: &Path, if_exists: IfExists) -> Result<NewFile, StoreError> {
        Self::begin_kind(path, if_exists, FileKind::Vault)
    }

    fn begin_kind(path: &Path, if_exists: IfExists, kind: FileKind) -> Result<NewFile, StoreError> {
        let new = NewFile(StagedFile::new(path, if_exists)?);
        schema::create(&new.open()?.connection, kind).map_err(translate)?;
        Ok(new)
    }

    /// Returns the file's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connect(path: PathBuf) -> Result<Self, StoreError> {
        // CREATE and URI are never set. NOFOLLOW closes the gap between the check of the path and
        // this.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(translate)?;
        let budget = Budget::attach(&mut connection).map_err(translate)?;
        harden(&connection).map_err(|error| match translate(error) {
            StoreError::Damaged(_) => StoreError::NotAVault(path.clone()),
            // SQLite rewrites a header that claims a write-ahead log, unless the header also claims
            // that the file is read-only.
            StoreError::ReadOnly => unwritable(&path),
            other => other,
        })?;

        Ok(Self::of(connection, budget, path))
    }

    fn of(connection: Connection, budget: Budget, path: PathBuf) -> Self {
        Self {
            connection,
            budget,
            typed: path.clone(),
            path,
            is_exposed: false,
            kinds: &[FileKind::Vault, FileKind::Near],
            kind: Cell::new(FileKind::Vault),
            needs_compaction: Cell::new(false),
            keeps_copies: Cell::new(false),
            _checker: None,
        }
    }

    /// Takes over the SQLite transaction that was just begun.
    fn begun(&self, size: u64) -> Result<SqliteTransaction<'_>, StoreError> {
        let open = SqliteTransaction::new(self, size);
        self.kind.set(schema::check(&self.connection, &self.path, self.kinds)?);
        Ok(open)
    }

    /// Checks the neighbouring files before each transaction. Returns the file's size.
    fn prepare(&self) -> Result<u64, StoreError> {
        if self.path.as_os_str().is_empty() {
            return self.size();
        }

        neighbours::check_files(&self.path, self.is_exposed)?;
        let size = fs::symlink_metadata(&self.path).map_or(0, |found| found.len());
        self.budget.begin_statement(size);
        Ok(size)
    }

    /// Returns the path of the marker, an empty file that says that a write left dead bytes and no
    /// VACUUM has followed yet.
    fn marker(&self) -> PathBuf {
        directory::with_suffix(&self.path, "-compact")
    }

    fn vacuum(&self, patience: Duration) -> Result<(), StoreError> {
        // VACUUM waits for readers. After a write it waits for a moment only.
        self.connection.busy_timeout(patience).map_err(translate)?;
        self.budget.begin_statement(self.size()?);
        let vacuumed = self.connection.execute_batch("VACUUM");
        self.connection.busy_timeout(BUSY).map_err(translate)?;
        vacuumed.map_err(translate)?;

        match fs::remove_file(self.marker()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::Io { action: "remove", path: self.marker(), source })
            }
            _ => Ok(()),
        }
    }

    /// Returns the size of all pages in bytes, including those of the current transaction.
    fn size(&self) -> Result<u64, StoreError> {
        let number =
            |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        Ok(u64::from(number("page_count").map_err(translate)?)
            * u64::from(number("page_size").map_err(translate)?))
    }
}

/// Returns the absolute form of a path as it was typed.
fn typed(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_CELL)?;
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
    ] {
        connection.set_db_config(setting, on)?;
    }

    connection.execute_batch(
        "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=ON; \
         PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;",
    )
}

/// Returns the reason why SQLite cannot write. If the system permits it, the header forbids it,
/// with an unknown "write version".
fn unwritable(path: &Path) -> StoreError {
    if access(path, Access::WRITE_OK).is_ok() {
        StoreError::Damaged("file")
    } else {
        StoreError::ReadOnly
    }
}

impl Store for SqliteStore {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        Ok(Box::new(self.reading()?))
    }

    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        // With a small cache, a large change would write its pages and read them again many times.
        let size = self.prepare()?;
        self.connection
            .execute_batch("PRAGMA cache_size=-131072; BEGIN IMMEDIATE")
            .map_err(translate)?;

        let open = Box::new(self.begun(size)?);

        // If nothing can be written, SQLite treats BEGIN IMMEDIATE as a plain BEGIN.
        if self.connection.is_readonly("main").map_err(translate)? {
            return Err(unwritable(&self.path));
        }

        // Everything that is written has this format. An older version of the program then reports
        // the format instead of damage.
        self.connection.pragma_update(None, "user_version", FORMAT).map_err(translate)?;
        Ok(open)
    }

    fn location(&self) -> Location {
        Location::File { path: self.path.clone(), typed: self.typed.clone() }
    }

    fn near(&self) -> Result<Option<NearRows>, StoreError> {
        if self.is_near() { self.near_rows().map(Some) } else { Ok(None) }
    }

    fn replace_near(&self, rows: &NearRows) -> Result<(), StoreError> {
        self.write_near(rows)
    }

    fn recovery_slots(&self) -> Result<Vec<Slot>, StoreError> {
        // This is asked before the vault is unlocked, so nobody is reading.
        if self.is_near() { self.read()?.slots() } else { Ok(Vec::new()) }
    }

    fn settle(&self, doubt: &Doubt) -> Result<bool, StoreError> {
        // SQLite commits by removing the journal. If it could not flush the directory afterwards, the
        // change is stored, but a power cut could bring the journal back.
        let directory = self.path.parent().unwrap_or(&self.path);
        directory::flush(directory).map_err(|source| StoreError::Io {
            action: "write to",
            path: directory.to_owned(),
            source,
        })?;

        doubt.is_stored(&*self.read()?)
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.read()?;
        self.vacuum(BUSY)?;
        self.needs_compaction.set(false);
        Ok(())
    }

    fn needs_compaction(&self) -> bool {
        self.needs_compaction.get()
    }

    fn keeps_copies(&self) -> bool {
        self.keeps_copies.get()
    }

    fn confirm(&self) {
        if self.keeps_copies.take() {
            SavedNames::new(&self.path).remove();
        }
    }
}

/// Converts SQLite's error into ours, without its text.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn translate(error: rusqlite::Error) -> StoreError {
    let failure = match error {
        rusqlite::Error::SqliteFailure(failure, _) => failure,
        // A statement of ours does not fit its parameters or columns, whatever the file contains.
        rusqlite::Error::InvalidParameterCount(..)
        | rusqlite::Error::InvalidColumnIndex(_)
        | rusqlite::Error::InvalidQuery
        | rusqlite::Error::MultipleStatement
        | rusqlite::Error::ExecuteReturnedResults => {
            return StoreError::Sqlite(rusqlite::ffi::SQLITE_MISUSE);
        }
        _ => return StoreError::Damaged("file"),
    };

    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy,
        ErrorCode::DiskFull => StoreError::Full,
        ErrorCode::ReadOnly => StoreError::ReadOnly,
        // Only the id of a record is unique without being a primary key.
        ErrorCode::ConstraintViolation
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE =>
        {
            StoreError::IdTaken
        }
        ErrorCode::SystemIoFailure if NO_LOCKS.contains(&failure.extended_code) => {
            StoreError::NoLocks
        }
        ErrorCode::SystemIoFailure if !SHORT_READS.contains(&failure.extended_code) => {
            StoreError::Sqlite(failure.extended_code)
        }
        ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::OutOfMemory
        | ErrorCode::ApiMisuse
        | ErrorCode::ParameterOutOfRange
        | ErrorCode::FileLockingProtocolFailed => StoreError::Sqlite(failure.extended_code),
        // The file is cut short, garbled, or has other types than its schema says, or the budget
        // ran out, which interrupts SQLite.
        _ => StoreError::Damaged("file"),
    }
}

const NO_LOCKS: [i32; 4] = [
    rusqlite::ffi::SQLITE_IOERR_LOCK,
    rusqlite::ffi::SQLITE_IOERR_RDLOCK,
    rusqlite::ffi::SQLITE_IOERR_UNLOCK,
    rusqlite::ffi::SQLITE_IOERR_CHECKRESERVEDLOCK,
];
const SHORT_READS: [i32; 2] =
    [rusqlite::ffi::SQLITE_IOERR_SHORT_READ, rusqlite::ffi::SQLITE_IOERR_CORRUPTFS];
