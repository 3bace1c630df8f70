//! The vault's SQLite file (docs/format.md, section 6). This is the only folder that uses rusqlite.
//! `rows` reads rows.
//!
//! The file is hostile. SQLite's messages may contain its bytes, so they are never passed on. Every
//! column's type and length is checked before it leaves here.

mod budget;
mod recovery;
mod rows;

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use rustix::fs::{Access, access};
use secrets_files::directory;

use super::neighbours;
use super::vault_path::{self, IfExists, StagedFile};
use super::{APPLICATION_ID, Change, Committed, FORMAT, Snapshot, Store, StoreError, Transaction};
use crate::crypto::history::Ancestors;
use crate::crypto::ids::ProjectId;
use crate::crypto::rows::{Record, Slot, VaultRow};
use budget::Budget;
use recovery::SavedNames;

/// The whole schema, each statement as SQLite stores it.
const SCHEMA: [&str; 8] = [
    "CREATE TABLE vault(id INTEGER PRIMARY KEY CHECK(id = 1), vault_id BLOB NOT NULL, suite INTEGER NOT NULL, \
     root_seq INTEGER NOT NULL, root_mac BLOB NOT NULL) STRICT",
    "CREATE TABLE slots(slot_id BLOB PRIMARY KEY NOT NULL, type INTEGER NOT NULL, params BLOB NOT NULL, \
     salt BLOB NOT NULL, commitment BLOB NOT NULL, wrap BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE projects(pid BLOB PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, keys BLOB NOT NULL, \
     head BLOB NOT NULL, sig BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE grants(token_id BLOB PRIMARY KEY NOT NULL, gen INTEGER NOT NULL, bundle BLOB NOT NULL, \
     admin BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE buckets(pid BLOB NOT NULL, b INTEGER NOT NULL, h BLOB NOT NULL, PRIMARY KEY(pid, b)) STRICT, \
     WITHOUT ROWID",
    "CREATE TABLE records(pid BLOB NOT NULL, tag_ix BLOB NOT NULL, rid BLOB NOT NULL UNIQUE, epoch INTEGER NOT NULL, \
     ver INTEGER NOT NULL, vver INTEGER NOT NULL, meta BLOB NOT NULL, val_hash BLOB NOT NULL, leaf BLOB NOT NULL, \
     PRIMARY KEY(pid, tag_ix)) STRICT, WITHOUT ROWID",
    "CREATE TABLE vals(rid BLOB PRIMARY KEY NOT NULL, val BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, actor BLOB NOT NULL, prev BLOB NOT NULL, ct BLOB NOT NULL, \
     hash BLOB NOT NULL) STRICT",
];
/// The number of indexes that SQLite creates by itself for this schema: the one for the unique
/// `rid`.
const OWN_INDEXES: i64 = 1;

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
    is_exposed: bool,
    /// An interrupted change was rolled back, and copies of the files from before are kept
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

    /// Creates a vault with its first slot, and the missing directories above it. The vault appears
    /// at `path` complete or not at all, and never replaces an existing file.
    pub fn create(path: &Path, vault: &VaultRow, slot: &Slot) -> Result<Self, StoreError> {
        vault_path::create_directory_for(path)?;
        let new = Self::begin(path, IfExists::Refused)?;
        {
            let store = new.open()?;
            let mut transaction = store.write()?;
            transaction.apply(Change::Vault(vault))?;
            transaction.apply(Change::Slot(slot))?;
            transaction.commit()?;
        }

        Self::connect(new.persist()?)
    }

    /// Begins a vault for `path`, with empty tables.
    pub fn begin(path: &Path, if_exists: IfExists) -> Result<NewFile, StoreError> {
        let new = NewFile(StagedFile::new(path, if_exists)?);
        let connection = new.open()?.connection;
        let fill = || -> rusqlite::Result<()> {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", FORMAT)?;
            SCHEMA.iter().try_for_each(|statement| connection.execute_batch(statement))?;
            connection.execute_batch("COMMIT")
        };

        fill().map_err(translate)?;
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

        Ok(Self {
            connection,
            budget,
            path,
            is_exposed: false,
            keeps_copies: Cell::new(false),
            _checker: None,
        })
    }

    /// Checks the neighbouring files before each transaction. Returns the file's size.
    fn prepare(&self) -> Result<u64, StoreError> {
        neighbours::check_files(&self.path, self.is_exposed)?;
        let size = fs::symlink_metadata(&self.path).map_or(0, |found| found.len());
        self.budget.begin_statement(size);
        Ok(size)
    }

    // This runs inside a transaction, so that the schema that is checked is the one that is used.
    fn check_schema(&self) -> Result<(), StoreError> {
        let number =
            |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let not_ours = |error| match translate(error) {
            StoreError::Damaged(_) => StoreError::NotAVault(self.path.clone()),
            other => other,
        };

        if number("application_id").map_err(not_ours)? != APPLICATION_ID {
            return Err(StoreError::NotAVault(self.path.clone()));
        }

        match number("user_version").map_err(translate)? {
            1..=FORMAT => {}
            other => return Err(StoreError::Format(other)),
        }

        let mut found = 0;
        let mut statement = self
            .connection
            .prepare_cached("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
            .map_err(translate)?;

        let mut rows = statement.query([]).map_err(translate)?;
        while let Some(row) = rows.next().map_err(translate)? {
            let sql = row.get_ref(0).map_err(translate)?;
            if sql.as_str().ok() != SCHEMA.get(found).copied() {
                return Err(StoreError::Damaged("schema"));
            }

            found += 1;
        }

        let indexes: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM sqlite_schema WHERE sql IS NULL")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(translate)?;

        let audit: i64 = self
            .connection
            .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM audit LIMIT 1)")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(translate)?;

        if found != SCHEMA.len() || indexes != OWN_INDEXES || audit != 0 {
            return Err(StoreError::Damaged("schema"));
        }

        Ok(())
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
        let size = self.prepare()?;
        self.connection.execute_batch("BEGIN").map_err(translate)?;
        let open = Box::new(SqliteTransaction::new(self, size));
        self.check_schema()?;

        Ok(open)
    }

    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        // With a small cache, a large change would write its pages and read them again many times.
        let size = self.prepare()?;
        self.connection
            .execute_batch("PRAGMA cache_size=-131072; BEGIN IMMEDIATE")
            .map_err(translate)?;

        let open = Box::new(SqliteTransaction::new(self, size));
        self.check_schema()?;

        // If nothing can be written, SQLite treats BEGIN IMMEDIATE as a plain BEGIN.
        if self.connection.is_readonly("main").map_err(translate)? {
            return Err(unwritable(&self.path));
        }

        // Everything that is written has this format. An older version of the program then reports
        // the format instead of damage.
        self.connection.pragma_update(None, "user_version", FORMAT).map_err(translate)?;
        Ok(open)
    }

    fn compact(&self) -> Result<(), StoreError> {
        self.read()?;
        self.vacuum(BUSY)
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

/// An open transaction, which is rolled back on drop.
struct SqliteTransaction<'a> {
    store: &'a SqliteStore,
    /// An upper bound of the bytes of the file and of everything written since
    size: Cell<u64>,
    dead_bytes: bool,
    /// The dead bytes can give access to keys, so they are overwritten whatever the size of the
    /// file
    keys_changed: bool,
}

impl Drop for SqliteTransaction<'_> {
    fn drop(&mut self) {
        if !self.store.connection.is_autocommit() {
            let _ = self.store.connection.execute_batch("ROLLBACK");
        }
    }
}

impl<'a> SqliteTransaction<'a> {
    fn new(store: &'a SqliteStore, size: u64) -> Self {
        Self { store, size: Cell::new(size), dead_bytes: false, keys_changed: false }
    }

    /// Sets the budget of the next statement.
    fn begin_statement(&self) -> Result<(), StoreError> {
        if self.store.budget.begin_statement(self.size.get()) {
            Ok(())
        } else {
            Err(StoreError::Damaged("file"))
        }
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        self.size.set(self.size.get() + ROW);
        self.begin_statement()?;
        self.store
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(translate)
    }

    /// Writes a record. `?1` is its project, `?2` its index before the change, and the rest are its
    /// columns.
    fn record(
        &self,
        sql: &str,
        pid: &ProjectId,
        before: &[u8; 16],
        record: &Record,
    ) -> Result<usize, StoreError> {
        let Record { tag_ix, rid, epoch, ver, vver, meta, val_hash, leaf } = record;
        let columns = params![
            &pid[..],
            &before[..],
            &tag_ix[..],
            &rid[..],
            epoch,
            integer(*ver),
            integer(*vver),
            meta,
            &val_hash[..],
            &leaf[..]
        ];

        self.execute(sql, columns)
    }

    fn exists(&self, sql: &str, params: impl rusqlite::Params) -> Result<bool, StoreError> {
        self.begin_statement()?;
        let mut statement = self.store.connection.prepare_cached(sql).map_err(translate)?;
        statement
            .query_row(params, |_| Ok(()))
            .optional()
            .map(|row| row.is_some())
            .map_err(translate)
    }
}

// A count of changes never comes near 2^63.
fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Transaction for SqliteTransaction<'_> {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        match change {
            Change::Vault(v) => self.execute(
                "INSERT OR REPLACE INTO vault(id, vault_id, suite, root_seq, root_mac) VALUES(1, ?1, ?2, ?3, ?4)",
                params![&v.vault_id[..], v.suite, integer(v.root_seq), {
                    let ancestors = v.ancestors.as_ref().map_or(&[][..], Ancestors::encode);
                    [&v.root_mac[..], ancestors, &v.checkpoint_history].concat()
                }],
            ),
            Change::Slot(s) => self.execute(
                "INSERT INTO slots(slot_id, type, params, salt, commitment, wrap) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                params![s.slot_id, s.kind, s.params, s.salt, s.commitment, s.wrap],
            ),
            Change::Clear => {
                self.keys_changed = true;
                for table in ["vault", "slots", "projects", "grants", "buckets", "records", "vals"] {
                    self.execute(&format!("DELETE FROM {table}"), [])?;
                }

                Ok(0)
            }
            Change::Grant(g) => self.execute(
                "INSERT INTO grants(token_id, gen, bundle, admin) VALUES(?1, ?2, ?3, ?4)",
                params![g.token_id, integer(g.generation), g.bundle, g.admin],
            ),
            Change::DropSlot(slot_id) => {
                self.keys_changed = true;
                self.execute("DELETE FROM slots WHERE slot_id = ?1", [slot_id])
            }
            Change::Project(p) => self.execute(
                "INSERT OR REPLACE INTO projects(pid, epoch, keys, head, sig) VALUES(?1, ?2, ?3, ?4, ?5)",
                params![&p.pid[..], p.epoch, p.keys, p.head, p.sig],
            ),
            Change::DropProject(pid) => {
                self.dead_bytes = true;
                self.execute("DELETE FROM vals WHERE rid IN (SELECT rid FROM records WHERE pid = ?1)", [&pid[..]])?;
                for table in ["records", "buckets", "projects"] {
                    self.execute(&format!("DELETE FROM {table} WHERE pid = ?1"), [&pid[..]])?;
                }

                Ok(0)
            }
            Change::Bucket(pid, number, Some(hash)) => self.execute(
                "INSERT OR REPLACE INTO buckets(pid, b, h) VALUES(?1, ?2, ?3)",
                params![&pid[..], number, &hash[..]],
            ),
            Change::Bucket(pid, number, None) => {
                self.execute("DELETE FROM buckets WHERE pid = ?1 AND b = ?2", params![&pid[..], number])
            }
            Change::Record(pid, record) => self.record(
                "INSERT INTO records(pid, tag_ix, rid, epoch, ver, vver, meta, val_hash, leaf) \
                 VALUES(?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT(pid, tag_ix) DO UPDATE SET \
                 rid = ?4, epoch = ?5, ver = ?6, vver = ?7, meta = ?8, val_hash = ?9, leaf = ?10",
                pid,
                &record.tag_ix,
                record,
            ),
            Change::MoveRecord(pid, from, record) => {
                self.keys_changed = true;
                self.record(
                    "UPDATE records SET tag_ix = ?3, rid = ?4, epoch = ?5, ver = ?6, vver = ?7, meta = ?8, val_hash = ?9, \
                     leaf = ?10 WHERE pid = ?1 AND tag_ix = ?2",
                    pid,
                    from,
                    record,
                )
            }
            Change::DropRecord(pid, r) => {
                self.dead_bytes = true;
                self.execute("DELETE FROM records WHERE pid = ?1 AND tag_ix = ?2", params![&pid[..], &r.tag_ix[..]])?;
                self.execute("DELETE FROM vals WHERE rid = ?1", [&r.rid[..]])
            }
            Change::Value(rid, sealed) => {
                self.size.set(self.size.get() + sealed.len() as u64);
                self.dead_bytes = self.dead_bytes || self.exists("SELECT 1 FROM vals WHERE rid = ?1", [&rid[..]])?;
                self.execute("INSERT OR REPLACE INTO vals(rid, val) VALUES(?1, ?2)", params![&rid[..], sealed])
            }
        }
        .map(drop)
    }

    fn commit(self: Box<Self>) -> Result<Committed, StoreError> {
        let marker = self.store.marker();
        let dead_bytes = self.dead_bytes || self.keys_changed;
        if dead_bytes {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            let made = options
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(&marker);

            made.map_err(|source| StoreError::Io {
                action: "create",
                path: marker.clone(),
                source,
            })?;
        }

        self.store.connection.execute_batch("COMMIT").map_err(translate)?;

        // From here on the change is durable, so nothing below may turn it into an error.
        if !marker.exists() {
            return Ok(Committed { compaction_due: false });
        }

        let small = self.store.size().is_ok_and(|bytes| bytes <= COMPACT_AT_ONCE);
        if !small && !self.keys_changed {
            return Ok(Committed { compaction_due: dead_bytes });
        }

        Ok(Committed { compaction_due: self.store.vacuum(PATIENCE).is_err() })
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
        // SQLite cannot make sense of the file, which is cut short, garbled or has other types than
        // its schema says. Or the budget ran out, which interrupts SQLite.
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
