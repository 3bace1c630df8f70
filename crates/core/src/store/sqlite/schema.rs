//! The tables of our SQLite files, and the check that a file has exactly these (docs/format.md, section
//! 6).

use std::path::Path;

use rusqlite::Connection;

use super::super::{APPLICATION_ID, FORMAT, StoreError};
use super::translate;

/// The tables of a vault, each statement as SQLite stores it.
pub(super) const SCHEMA: [&str; 9] = [
    "CREATE TABLE vault(id INTEGER PRIMARY KEY CHECK(id = 1), vault_id BLOB NOT NULL, suite INTEGER NOT NULL, \
     past BLOB NOT NULL) STRICT",
    "CREATE TABLE slots(slot_id BLOB PRIMARY KEY NOT NULL, type INTEGER NOT NULL, params BLOB NOT NULL, \
     salt BLOB NOT NULL, commitment BLOB NOT NULL, wrap BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE projects(pid BLOB PRIMARY KEY NOT NULL, epoch INTEGER NOT NULL, head BLOB NOT NULL, \
     sig BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE policies(pid BLOB NOT NULL, v INTEGER NOT NULL, body BLOB NOT NULL, sig BLOB NOT NULL, \
     PRIMARY KEY(pid, v)) STRICT, WITHOUT ROWID",
    "CREATE TABLE grants(token_id BLOB PRIMARY KEY NOT NULL, gen INTEGER NOT NULL, body BLOB NOT NULL, \
     escrow BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE buckets(pid BLOB NOT NULL, b INTEGER NOT NULL, h BLOB NOT NULL, PRIMARY KEY(pid, b)) STRICT, \
     WITHOUT ROWID",
    "CREATE TABLE records(pid BLOB NOT NULL, tag_ix BLOB NOT NULL, rid BLOB NOT NULL UNIQUE, epoch INTEGER NOT NULL, \
     ver INTEGER NOT NULL, vver INTEGER NOT NULL, val_hash BLOB NOT NULL, leaf BLOB NOT NULL, meta BLOB NOT NULL, \
     PRIMARY KEY(pid, tag_ix)) STRICT, WITHOUT ROWID",
    "CREATE TABLE vals(rid BLOB PRIMARY KEY NOT NULL, val BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE audit(pid BLOB NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, ct BLOB NOT NULL, \
     PRIMARY KEY(pid, seq)) STRICT, WITHOUT ROWID",
];
/// The tables that a near file has as well: where the vault is, and the key slots of this machine.
const NEAR: [&str; 2] = [
    "CREATE TABLE remote(id INTEGER PRIMARY KEY CHECK(id = 1), sealed BLOB NOT NULL, slots_mac BLOB NOT NULL) STRICT",
    "CREATE TABLE near_slots(slot_id BLOB PRIMARY KEY NOT NULL, type INTEGER NOT NULL, params BLOB NOT NULL, \
     salt BLOB NOT NULL, commitment BLOB NOT NULL, wrap BLOB NOT NULL) STRICT, WITHOUT ROWID",
];
/// The tables that a cache has as well. The records of a bucket are complete if its hash is the one
/// in `complete`. `seen` has the time at which a project was last equal to the server's. Others have
/// changed the buckets in `changed_buckets` and the values in `changed_vals` since the cache has known
/// the project.
const CACHE: [&str; 4] = [
    "CREATE TABLE complete(pid BLOB NOT NULL, b INTEGER NOT NULL, h BLOB NOT NULL, PRIMARY KEY(pid, b)) STRICT, \
     WITHOUT ROWID",
    "CREATE TABLE seen(pid BLOB PRIMARY KEY NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE changed_buckets(pid BLOB NOT NULL, b INTEGER NOT NULL, PRIMARY KEY(pid, b)) STRICT, WITHOUT ROWID",
    "CREATE TABLE changed_vals(rid BLOB PRIMARY KEY NOT NULL, pid BLOB NOT NULL) STRICT, WITHOUT ROWID",
];
/// The number of indexes that SQLite creates by itself for these tables: the one for the unique
/// `rid`.
const OWN_INDEXES: i64 = 1;

/// The kinds of our files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A vault
    Vault,
    /// The near file of a vault on a server: its key slots, and where the vault is
    Near,
    /// Rows of a vault on a server, as they were last seen
    Cache,
}

impl FileKind {
    fn tables(self) -> impl Iterator<Item = &'static str> {
        let more: &[&str] = match self {
            Self::Vault => &[],
            Self::Near => &NEAR,
            Self::Cache => &CACHE,
        };

        SCHEMA.into_iter().chain(more.iter().copied())
    }
}

/// Creates the tables in an empty file.
pub(super) fn create(connection: &Connection, kind: FileKind) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    kind.tables().try_for_each(|statement| connection.execute_batch(statement))?;
    connection.execute_batch("COMMIT")
}

/// Checks that a file has the tables of one of `kinds`, and returns which. This runs inside a
/// transaction, so that the schema that is checked is the one that is used.
pub(super) fn check(
    connection: &Connection,
    path: &Path,
    kinds: &[FileKind],
) -> Result<FileKind, StoreError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let not_ours = |error| match translate(error) {
        StoreError::Damaged(_) => StoreError::NotAVault(path.to_owned()),
        other => other,
    };

    if number("application_id").map_err(not_ours)? != APPLICATION_ID {
        return Err(StoreError::NotAVault(path.to_owned()));
    }

    match number("user_version").map_err(translate)? {
        FORMAT => {}
        other => return Err(StoreError::Format(other)),
    }

    let mut found = Vec::new();
    let mut statement = connection
        .prepare_cached("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
        .map_err(translate)?;

    let mut rows = statement.query([]).map_err(translate)?;
    let most = SCHEMA.len() + CACHE.len();
    while let Some(row) = rows.next().map_err(translate)? {
        let sql = row.get_ref(0).map_err(translate)?;
        found.push(sql.as_str().map_err(|_| StoreError::Damaged("schema"))?.to_owned());
        if found.len() > most {
            return Err(StoreError::Damaged("schema"));
        }
    }

    let indexes: i64 = connection
        .prepare_cached("SELECT count(*) FROM sqlite_schema WHERE sql IS NULL")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(translate)?;

    let kind = kinds.iter().find(|kind| kind.tables().eq(found.iter().map(String::as_str)));
    kind.copied().filter(|_| indexes == OWN_INDEXES).ok_or(StoreError::Damaged("schema"))
}
