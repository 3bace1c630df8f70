//! Changes rows within one SQLite transaction.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use rusqlite::{OptionalExtension, params};

use super::super::{Change, Committed, StoreError, Transaction};
use super::{COMPACT_AT_ONCE, PATIENCE, ROW, SqliteStore, translate};
use crate::crypto::ids::ProjectId;
use crate::crypto::rows::Record;

/// All tables.
const TABLES: [&str; 9] =
    ["vault", "slots", "projects", "policies", "grants", "buckets", "records", "vals", "audit"];

/// An open transaction, which is rolled back on drop.
pub(super) struct SqliteTransaction<'a> {
    pub(super) store: &'a SqliteStore,
    /// An upper bound of the bytes of the file and of everything written since
    pub(super) size: Cell<u64>,
    pub(super) dead_bytes: bool,
    /// The dead bytes can give access to keys, so they are overwritten whatever the size of the
    /// file
    pub(super) keys_changed: bool,
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
        Self { store, size: Cell::new(size), dead_bytes: false, keys_changed: false }
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
            integer(*ver),
            integer(*vver),
            meta,
            &val_hash[..],
            &leaf[..]
        ];

        self.execute(sql, columns)
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

// A count of changes never comes near 2^63.
pub(super) fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Transaction for SqliteTransaction<'_> {
    fn apply(&mut self, change: Change<'_>) -> Result<(), StoreError> {
        match change {
            Change::Vault(v) => self.execute(
                "INSERT OR REPLACE INTO vault(id, vault_id, suite, past) VALUES(1, ?1, ?2, ?3)",
                params![&v.vault_id[..], v.suite, v.past],
            ),
            Change::Slot(s) => self.execute(
                "INSERT INTO slots(slot_id, type, params, salt, commitment, wrap) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                params![s.slot_id, s.kind, s.params, s.salt, s.commitment, s.wrap],
            ),
            Change::Clear => {
                self.keys_changed = true;
                for table in TABLES {
                    self.execute(&format!("DELETE FROM {table}"), [])?;
                }

                Ok(0)
            }
            Change::Grant(g) => {
                self.keys_changed = self.keys_changed
                    || self.exists("SELECT 1 FROM grants WHERE token_id = ?1", [&g.token_id[..]])?;
                self.size.set(self.size.get() + (g.grant.len() + g.escrow.len()) as u64);
                self.execute(
                    "INSERT OR REPLACE INTO grants(token_id, gen, body, escrow) VALUES(?1, ?2, ?3, ?4)",
                    params![&g.token_id[..], integer(g.generation), g.grant, g.escrow],
                )
            }
            Change::DropGrant(token_id) => {
                self.keys_changed = true;
                self.execute("DELETE FROM grants WHERE token_id = ?1", [&token_id[..]])
            }
            Change::Policy(pid, policy) => {
                self.execute("DELETE FROM policies WHERE pid = ?1", [&pid[..]])?;
                self.execute(
                    "INSERT INTO policies(pid, v, body, sig) VALUES(?1, ?2, ?3, ?4)",
                    params![&pid[..], integer(policy.version), policy.body, policy.sig],
                )
            }
            Change::Audit(pid, entry) => self.execute(
                "INSERT OR REPLACE INTO audit(pid, seq, epoch, ct) VALUES(?1, ?2, ?3, ?4)",
                params![&pid[..], integer(entry.seq), entry.epoch, entry.ct],
            ),
            Change::DropAudit(pid, last) => {
                self.dead_bytes = true;
                self.execute(
                    "DELETE FROM audit WHERE pid = ?1 AND seq <= ?2",
                    params![&pid[..], integer(last)],
                )
            }
            Change::DropSlot(slot_id) => {
                self.keys_changed = true;
                self.execute("DELETE FROM slots WHERE slot_id = ?1", [slot_id])
            }
            Change::Project(p) => self.execute(
                "INSERT OR REPLACE INTO projects(pid, epoch, head, sig) VALUES(?1, ?2, ?3, ?4)",
                params![&p.pid[..], p.epoch, p.head, p.sig],
            ),
            Change::DropProject(pid) => {
                self.dead_bytes = true;
                self.execute("DELETE FROM vals WHERE rid IN (SELECT rid FROM records WHERE pid = ?1)", [&pid[..]])?;
                for table in ["records", "buckets", "policies", "audit", "projects"] {
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
