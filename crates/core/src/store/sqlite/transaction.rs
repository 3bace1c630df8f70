//! Changes rows within one SQLite transaction.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use rusqlite::{OptionalExtension, params};

use super::super::{Change, CommitError, Doubt, StoreError, Transaction};
use super::{COMPACT_AT_ONCE, PATIENCE, ROW, SqliteStore, translate};
use crate::crypto::ids::ProjectId;
use crate::crypto::rows::{AuditRow, GrantRow, ProjectRow, Record, Slot};

/// All tables.
const TABLES: [&str; 9] =
    ["vault", "slots", "projects", "policies", "grants", "buckets", "records", "vals", "audit"];

/// An open transaction, which is rolled back on drop.
pub(in crate::store) struct SqliteTransaction<'a> {
    pub(super) store: &'a SqliteStore,
    /// An upper bound of the bytes of the file and of everything written since
    pub(super) size: Cell<u64>,
    pub(super) dead_bytes: bool,
    /// The dead bytes can give access to keys, so they are overwritten whatever the size of the
    /// file
    pub(super) keys_changed: bool,
    /// Everything was removed first
    cleared: bool,
    /// The last head that was written, and the last entry of an audit log
    head: Option<ProjectRow>,
    entry: Option<(ProjectId, AuditRow)>,
}

impl Drop for SqliteTransaction<'_> {
    fn drop(&mut self) {
        if !self.store.connection.is_autocommit() {
            let _ = self.store.connection.execute_batch("ROLLBACK");
        }
    }
}

impl<'a> SqliteTransaction<'a> {
    pub(super) fn new(store: &'a SqliteStore, size: u64) -> Self {
        Self {
            store,
            size: Cell::new(size),
            dead_bytes: false,
            keys_changed: false,
            cleared: false,
            head: None,
            entry: None,
        }
    }

    /// Sets the budget of the next statement.
    pub(super) fn begin_statement(&self) -> Result<(), StoreError> {
        if self.store.budget.begin_statement(self.size.get()) {
            Ok(())
        } else {
            Err(StoreError::Damaged("file"))
        }
    }

    pub(super) fn execute(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<usize, StoreError> {
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
    pub(super) fn record(
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
            integer(*ver)?,
            integer(*vver)?,
            meta,
            &val_hash[..],
            &leaf[..]
        ];

        self.execute(sql, columns)
    }

    /// Writes a project's row, and remembers it in case that the outcome of the commit is unknown.
    fn project(&mut self, sql: &str, row: &ProjectRow) -> Result<usize, StoreError> {
        self.head = Some(row.clone());
        self.execute(sql, params![&row.pid[..], row.epoch, row.head, row.sig])
    }

    /// Adds a key slot to a table.
    pub(super) fn add_slot(&self, table: &str, s: &Slot) -> Result<usize, StoreError> {
        self.execute(
            &format!(
                "INSERT INTO {table}(slot_id, type, params, salt, commitment, wrap) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6)"
            ),
            params![s.slot_id, s.kind, s.params, s.salt, s.commitment, s.wrap],
        )
    }

    fn grant(&mut self, g: &GrantRow) -> Result<usize, StoreError> {
        self.keys_changed = self.keys_changed
            || self.exists("SELECT 1 FROM grants WHERE token_id = ?1", [&g.token_id[..]])?;
        self.size.set(self.size.get() + (g.grant.len() + g.escrow.len()) as u64);
        self.execute(
            "INSERT OR REPLACE INTO grants(token_id, gen, body, escrow) VALUES(?1, ?2, ?3, ?4)",
            params![&g.token_id[..], integer(g.generation)?, g.grant, g.escrow],
        )
    }

    fn drop_project(&mut self, pid: &ProjectId) -> Result<usize, StoreError> {
        self.dead_bytes = true;
        self.execute(
            "DELETE FROM vals WHERE rid IN (SELECT rid FROM records WHERE pid = ?1)",
            [&pid[..]],
        )?;

        for table in ["records", "buckets", "policies", "audit", "projects"] {
            self.execute(&format!("DELETE FROM {table} WHERE pid = ?1"), [&pid[..]])?;
        }

        Ok(0)
    }

    pub(super) fn exists(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<bool, StoreError> {
        self.begin_statement()?;
        let mut statement = self.store.connection.prepare_cached(sql).map_err(translate)?;
        statement
            .query_row(params, |_| Ok(()))
            .optional()
            .map(|row| row.is_some())
            .map_err(translate)
    }
}

/// Returns a number as SQLite stores it.
pub(super) fn integer(n: u64) -> Result<i64, StoreError> {
    i64::try_from(n).map_err(|_| StoreError::Damaged("count of changes"))
}

impl Transaction for SqliteTransaction<'_> {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        match change {
            Change::Vault(v) => self.execute(
                "INSERT OR REPLACE INTO vault(id, vault_id, suite, past) VALUES(1, ?1, ?2, ?3)",
                params![&v.vault_id[..], v.suite, v.past],
            ),
            Change::Near(rows) => self.put_near(rows),
            Change::Slot(slot) => self.add_slot("slots", slot),
            Change::Clear => {
                (self.keys_changed, self.cleared) = (true, true);
                for table in TABLES {
                    self.execute(&format!("DELETE FROM {table}"), [])?;
                }

                Ok(0)
            }
            Change::Grant(grant) => self.grant(grant),
            Change::DropGrant(token_id) => {
                self.keys_changed = true;
                self.execute("DELETE FROM grants WHERE token_id = ?1", [&token_id[..]])
            }
            Change::Policy(pid, policy) => {
                self.execute("DELETE FROM policies WHERE pid = ?1", [&pid[..]])?;
                self.execute(
                    "INSERT INTO policies(pid, v, body, sig) VALUES(?1, ?2, ?3, ?4)",
                    params![&pid[..], integer(policy.version)?, policy.body, policy.sig],
                )
            }
            Change::DropAudit(pid, last) => {
                self.dead_bytes = true;
                self.execute(
                    "DELETE FROM audit WHERE pid = ?1 AND seq <= ?2",
                    params![&pid[..], integer(last)?],
                )
            }
            Change::Audit(pid, entry) => {
                self.entry = (!self.cleared).then(|| (*pid, entry.clone()));
                self.execute(
                    "INSERT OR REPLACE INTO audit(pid, seq, epoch, ct) VALUES(?1, ?2, ?3, ?4)",
                    params![&pid[..], integer(entry.seq)?, entry.epoch, entry.ct],
                )
            }
            Change::DropSlot(slot_id) => {
                self.keys_changed = true;
                self.execute("DELETE FROM slots WHERE slot_id = ?1", [slot_id])
            }
            Change::Project(p) => self.project(
                "INSERT OR REPLACE INTO projects(pid, epoch, head, sig) VALUES(?1, ?2, ?3, ?4)",
                p,
            ),
            Change::NewProject(p) => match self.project(
                "INSERT OR IGNORE INTO projects(pid, epoch, head, sig) VALUES(?1, ?2, ?3, ?4)",
                p,
            )? {
                0 => Err(StoreError::IdTaken),
                added => Ok(added),
            },
            Change::DropProject(pid) => self.drop_project(pid),
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

    fn commit(mut self: Box<Self>) -> Result<(), CommitError> {
        let store = self.store;
        let marker = store.marker();
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

        store.needs_compaction.set(false);
        store.connection.execute_batch("COMMIT").map_err(|error| self.failed(translate(error)))?;

        // From here on the change is durable, so nothing below may turn it into an error.
        if !marker.exists() {
            return Ok(());
        }

        let small = store.size().is_ok_and(|bytes| bytes <= COMPACT_AT_ONCE);
        let needs_compaction =
            if small || self.keys_changed { store.vacuum(PATIENCE).is_err() } else { dead_bytes };

        store.needs_compaction.set(needs_compaction);
        Ok(())
    }
}

impl SqliteTransaction<'_> {
    /// Returns the error of a commit that failed. If SQLite was refused the lock or the space, it has
    /// not committed. It may report any other error after it has removed the journal, which commits.
    fn failed(&mut self, cause: StoreError) -> CommitError {
        match cause {
            StoreError::Busy | StoreError::Full | StoreError::ReadOnly => {
                CommitError::Failed(cause)
            }
            cause => {
                let (head, entry) = (self.head.take(), self.entry.take());
                CommitError::Unknown(Box::new(Doubt { head, entry, cause }))
            }
        }
    }
}
