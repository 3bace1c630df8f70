//! The cache of a vault on a server: rows as they were last seen there. Only verified rows are kept.
//!
//! A cache can be lost without harm but for a look at the vault without the server. So its file is not
//! flushed to the disk, and a damaged one is removed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::schema::{self, FileKind};
use super::transaction::integer;
use super::{Budget, SqliteStore, SqliteTransaction, harden, translate};
use crate::crypto::ids::{Hash, ProjectId, RecordId};
use crate::crypto::rows::{PolicyRow, ProjectRow, Record};
use crate::store::remote::{Rows, Update};
use crate::store::vault_path::{self, IfExists};
use crate::store::{Change, Inspection, Snapshot, StoreError, Transaction};

const CACHE: &[FileKind] = &[FileKind::Cache];
/// The name of the cache's tables in errors.
const TABLE: &str = "cache";

impl SqliteStore {
    /// Opens the cache at `path`, or begins it. A file that cannot be used is removed.
    pub(in crate::store) fn cache(path: &Path) -> Result<Self, StoreError> {
        match Self::existing_cache(path) {
            Err(StoreError::Missing(_)) => {}
            Err(StoreError::Damaged(_) | StoreError::NotAVault(_) | StoreError::Format(_)) => {
                let removed = std::fs::remove_file(path);
                removed.map_err(|source| StoreError::Io {
                    action: "remove",
                    path: path.to_owned(),
                    source,
                })?;
            }
            other => return other,
        }

        vault_path::create_directory_for(path)?;
        match Self::begin_kind(path, IfExists::Refused, FileKind::Cache)?.persist() {
            // Another process was faster.
            Ok(_) | Err(StoreError::Exists(_)) => Self::existing_cache(path),
            Err(error) => Err(error),
        }
    }

    fn existing_cache(path: &Path) -> Result<Self, StoreError> {
        let found = vault_path::existing(path)?;
        let store = Self { is_exposed: found.is_exposed, ..Self::connect(found.path)? };
        let store = Self { kinds: CACHE, ..store };
        store.connection.execute_batch("PRAGMA synchronous=OFF").map_err(translate)?;
        super::Store::read(&store)?;
        Ok(store)
    }

    /// Begins a cache that ends with this process.
    pub(in crate::store) fn cache_in_memory() -> Result<Self, StoreError> {
        Self::in_memory(FileKind::Cache)
    }

    fn in_memory(kind: FileKind) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection = Connection::open_in_memory_with_flags(flags).map_err(translate)?;
        let budget = Budget::attach(&mut connection).map_err(translate)?;
        harden(&connection).map_err(translate)?;
        schema::create(&connection, kind).map_err(translate)?;
        let kinds = if kind == FileKind::Cache { CACHE } else { &[FileKind::Vault] };
        Ok(Self { kinds, ..Self::of(connection, budget, Path::new("").to_owned()) })
    }

    /// Begins to read the cache.
    pub(in crate::store) fn reading(&self) -> Result<SqliteTransaction<'_>, StoreError> {
        let size = self.prepare()?;
        self.connection.execute_batch("BEGIN").map_err(translate)?;
        self.begun(size)
    }

    /// Begins to change the cache, if no other process is changing it.
    pub(in crate::store) fn changing_at_once(
        &self,
    ) -> Result<Option<SqliteTransaction<'_>>, StoreError> {
        self.connection.busy_timeout(Duration::ZERO).map_err(translate)?;
        let begun = self.changing();
        self.connection.busy_timeout(super::BUSY).map_err(translate)?;
        match begun {
            Err(StoreError::Busy) => Ok(None),
            begun => begun.map(Some),
        }
    }

    /// Returns a vault in memory with these rows, which were not checked, after an update.
    pub(in crate::store) fn of_rows(rows: &Rows, and: &Update) -> Result<Self, StoreError> {
        let store = Self::in_memory(FileKind::Vault)?;
        let mut open = store.changing()?;
        rows.apply(&mut open)?;
        and.apply(&mut open)?;
        open.keep()?;
        Ok(store)
    }

    /// Begins to change the cache.
    pub(in crate::store) fn changing(&self) -> Result<SqliteTransaction<'_>, StoreError> {
        let size = self.prepare()?;
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(translate)?;
        self.begun(size)
    }
}

impl SqliteTransaction<'_> {
    /// Returns the projects whose heads are in the cache, in ascending order.
    pub(in crate::store) fn cached_projects(&self) -> Result<Vec<ProjectId>, StoreError> {
        Ok(Inspection::projects(self)?.into_iter().map(|row| row.pid).collect())
    }

    /// Returns the `seq` of the last entry of a project's audit log, or 0.
    pub(in crate::store) fn last_entry(&self, pid: &ProjectId) -> Result<u64, StoreError> {
        let sql = "SELECT max(seq) FROM audit WHERE pid = ?1 AND seq > 0";
        let last = self.optional_number(sql, [&pid[..]])?;
        Ok(last.unwrap_or(0))
    }

    /// Returns the project whose id begins with this.
    pub(in crate::store) fn project_of(
        &self,
        rid: RecordId,
    ) -> Result<Option<ProjectId>, StoreError> {
        let last = [&rid[..], &[0xff; 8]].concat();
        let sql = "SELECT pid FROM projects WHERE pid BETWEEN ?1 AND ?2 LIMIT 1";
        let found = self.rows(sql, params![&rid[..], last], 1, TABLE, |row| {
            row.get_ref(0).ok()?.as_blob().ok()?.try_into().ok()
        })?;

        Ok(found.into_iter().next())
    }

    /// Returns the hash of a bucket, if it holds records.
    pub(in crate::store) fn bucket_hash(
        &self,
        pid: &ProjectId,
        bucket: u8,
    ) -> Result<Option<Hash>, StoreError> {
        let sql = "SELECT h FROM buckets WHERE pid = ?1 AND b = ?2";
        let found = self.rows(sql, params![&pid[..], bucket], 1, TABLE, |row| {
            row.get_ref(0).ok()?.as_blob().ok()?.try_into().ok()
        })?;

        Ok(found.into_iter().next())
    }

    /// Returns true if all records of a bucket are in the cache.
    pub(in crate::store) fn is_complete(
        &self,
        pid: &ProjectId,
        bucket: u8,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM buckets k LEFT JOIN complete c USING(pid, b) WHERE k.pid = ?1 \
                   AND k.b = ?2 AND c.h IS NOT k.h";
        Ok(!self.exists(sql, params![&pid[..], bucket])?)
    }

    /// Returns the buckets of a project that are not complete.
    pub(in crate::store) fn incomplete(&self, pid: &ProjectId) -> Result<Vec<u8>, StoreError> {
        let sql = "SELECT k.b FROM buckets k LEFT JOIN complete c USING(pid, b) WHERE k.pid = ?1 \
                   AND c.h IS NOT k.h ORDER BY k.b";
        self.rows(sql, [&pid[..]], 256, TABLE, |row| {
            row.get_ref(0).ok()?.as_i64().ok()?.try_into().ok()
        })
    }

    /// Returns true if the value of a record is in the cache.
    pub(in crate::store) fn has_value(&self, rid: RecordId) -> Result<bool, StoreError> {
        self.exists("SELECT 1 FROM vals WHERE rid = ?1", [&rid[..]])
    }

    /// Replaces the head of a project, with its policy and the hashes of its buckets.
    pub(in crate::store) fn replace_head(
        &mut self,
        row: &ProjectRow,
        policy: Option<&PolicyRow>,
        hashes: &[(u8, Hash)],
    ) -> Result<(), StoreError> {
        let pid = &row.pid;
        let is_known = self.project(pid)?.is_some();
        self.apply(Change::Project(row))?;
        self.execute("DELETE FROM policies WHERE pid = ?1", [&pid[..]])?;
        if let Some(policy) = policy {
            self.apply(Change::Policy(pid, policy))?;
        }

        let before = self.buckets(pid)?;
        self.execute("DELETE FROM buckets WHERE pid = ?1", [&pid[..]])?;
        for (number, _) in &before {
            if !hashes.iter().any(|(kept, _)| kept == number) {
                self.replace_bucket(pid, *number, &[])?;
            }
        }

        for (number, hash) in hashes {
            self.apply(Change::Bucket(pid, *number, Some(hash)))?;
            if is_known && !before.contains(&(*number, *hash)) {
                let sql = "INSERT OR IGNORE INTO changed_buckets(pid, b) VALUES(?1, ?2)";
                self.execute(sql, params![&pid[..], number])?;
            }
        }

        Ok(())
    }

    /// Replaces the records of a bucket, whose hash they give. Values of other records are removed.
    pub(in crate::store) fn replace_bucket(
        &mut self,
        pid: &ProjectId,
        bucket: u8,
        records: &[&Record],
    ) -> Result<(), StoreError> {
        let (first, last) = ([bucket], [&[bucket][..], &[0xff; 16]].concat());
        let mut stale: Vec<(RecordId, Hash)> = self.rows(
            "SELECT rid, val_hash FROM records WHERE pid = ?1 AND tag_ix BETWEEN ?2 AND ?3",
            params![&pid[..], &first[..], last],
            usize::MAX,
            TABLE,
            |row| {
                let blob = |column| row.get_ref(column).ok()?.as_blob().ok();
                Some((blob(0)?.try_into().ok()?, blob(1)?.try_into().ok()?))
            },
        )?;
        self.execute(
            "DELETE FROM records WHERE pid = ?1 AND tag_ix BETWEEN ?2 AND ?3",
            params![&pid[..], &first[..], last],
        )?;

        let sql = "SELECT 1 FROM changed_buckets WHERE pid = ?1 AND b = ?2";
        let is_changed = self.exists(sql, params![&pid[..], bucket])?;
        for record in records {
            // The record may have been at another index.
            self.execute("DELETE FROM records WHERE rid = ?1", [&record.rid[..]])?;
            self.apply(Change::Record(pid, record))?;
            let before = stale.len();
            stale.retain(|(rid, val_hash)| (*rid, *val_hash) != (record.rid, record.val_hash));
            if is_changed && stale.len() == before {
                let sql = "INSERT OR REPLACE INTO changed_vals(rid, pid) VALUES(?1, ?2)";
                self.execute(sql, [&record.rid[..], pid])?;
            }
        }

        for (rid, _) in stale {
            self.drop_value(rid)?;
        }

        self.mark_complete(pid, bucket)
    }

    /// Says that all records of a bucket are in the cache.
    pub(in crate::store) fn mark_complete(
        &mut self,
        pid: &ProjectId,
        bucket: u8,
    ) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO complete(pid, b, h) SELECT pid, b, h FROM buckets WHERE pid = ?1 \
             AND b = ?2",
            params![&pid[..], bucket],
        )?;
        let sql = "DELETE FROM changed_buckets WHERE pid = ?1 AND b = ?2";
        self.execute(sql, params![&pid[..], bucket]).map(drop)
    }

    /// Returns the buckets that others have changed since the cache has known the project, if it does not
    /// have the records or a value that was changed.
    pub(in crate::store) fn missing(&self, pid: &ProjectId) -> Result<BTreeSet<u8>, StoreError> {
        let sql = "SELECT b FROM changed_buckets JOIN buckets USING(pid, b) WHERE pid = ?1";
        let mut missing: BTreeSet<u8> = self
            .rows(sql, [&pid[..]], 256, TABLE, |row| {
                row.get_ref(0).ok()?.as_i64().ok()?.try_into().ok()
            })?
            .into_iter()
            .collect();
        let sql = "SELECT DISTINCT substr(r.tag_ix, 1, 1) FROM changed_vals c JOIN records r USING(rid, pid) \
                   WHERE c.pid = ?1 AND NOT EXISTS (SELECT 1 FROM vals v WHERE v.rid = c.rid)";
        let of_values = self.rows(sql, [&pid[..]], 256, TABLE, |row| {
            row.get_ref(0).ok()?.as_blob().ok()?.first().copied()
        })?;
        missing.extend(of_values);
        Ok(missing)
    }

    /// Forgets what others have changed in a project.
    pub(in crate::store) fn forget_changes(&mut self, pid: &ProjectId) -> Result<(), StoreError> {
        self.execute("DELETE FROM changed_buckets WHERE pid = ?1", [&pid[..]])?;
        self.execute("DELETE FROM changed_vals WHERE pid = ?1", [&pid[..]]).map(drop)
    }

    /// Returns the time at which a project was last equal to the server's, in milliseconds since
    /// 1970.
    pub(in crate::store) fn seen(&self, pid: &ProjectId) -> Result<Option<u64>, StoreError> {
        self.optional_number("SELECT at FROM seen WHERE pid = ?1", [&pid[..]])
    }

    /// Sets that time.
    pub(in crate::store) fn set_seen(
        &mut self,
        pid: &ProjectId,
        at: u64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO seen(pid, at) VALUES(?1, ?2)";
        self.execute(sql, params![&pid[..], integer(at)?]).map(drop)
    }

    /// Removes a record, but not its value.
    pub(in crate::store) fn drop_record(
        &mut self,
        pid: &ProjectId,
        index: &[u8; 16],
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM records WHERE pid = ?1 AND tag_ix = ?2";
        self.execute(sql, [&pid[..], index]).map(drop)
    }

    /// Removes a value.
    pub(in crate::store) fn drop_value(&mut self, rid: RecordId) -> Result<(), StoreError> {
        self.execute("DELETE FROM vals WHERE rid = ?1", [&rid[..]]).map(drop)
    }

    /// Removes the entries of a log from a `seq` on.
    pub(in crate::store) fn drop_log(
        &mut self,
        pid: &ProjectId,
        from: u64,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM audit WHERE pid = ?1 AND seq >= ?2";
        self.execute(sql, params![&pid[..], integer(from)?]).map(drop)
    }

    /// Returns true if there are entries of a log from a `seq` on.
    pub(in crate::store) fn has_log(&self, pid: &ProjectId, from: u64) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM audit WHERE pid = ?1 AND seq >= ?2";
        self.exists(sql, params![&pid[..], integer(from)?])
    }

    /// Removes the grants of all tokens.
    pub(in crate::store) fn drop_grants(&mut self) -> Result<(), StoreError> {
        self.execute("DELETE FROM grants", []).map(drop)
    }

    /// Removes a project.
    pub(in crate::store) fn drop_cached(&mut self, pid: &ProjectId) -> Result<(), StoreError> {
        self.apply(Change::DropProject(pid))?;
        self.forget_changes(pid)?;
        self.execute("DELETE FROM complete WHERE pid = ?1", [&pid[..]])?;
        self.execute("DELETE FROM seen WHERE pid = ?1", [&pid[..]]).map(drop)
    }

    /// Removes everything, for another vault.
    pub(in crate::store) fn forget_all(&mut self) -> Result<(), StoreError> {
        self.apply(Change::Clear)?;
        for table in ["complete", "seen", "changed_buckets", "changed_vals"] {
            self.execute(&format!("DELETE FROM {table}"), [])?;
        }

        Ok(())
    }

    /// Keeps all changes of the cache.
    pub(in crate::store) fn keep(self) -> Result<(), StoreError> {
        self.store.connection.execute_batch("COMMIT").map_err(translate)
    }

    /// Returns the vault's row, if the cache has one.
    pub(in crate::store) fn cached_vault(
        &self,
    ) -> Result<Option<crate::crypto::rows::VaultRow>, StoreError> {
        if self.exists("SELECT 1 FROM vault", [])? { self.vault().map(Some) } else { Ok(None) }
    }

    fn optional_number(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Option<u64>, StoreError> {
        let number = |row: &rusqlite::Row<'_>| match row.get_ref(0).ok()? {
            rusqlite::types::ValueRef::Null => Some(None),
            value => Some(Some(u64::try_from(value.as_i64().ok()?).ok()?)),
        };

        let found = self.rows(sql, params, 1, TABLE, number)?;
        Ok(found.into_iter().next().flatten())
    }
}
