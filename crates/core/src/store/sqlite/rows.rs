//! Reads rows from a vault's file and checks every column's type and length before it leaves here.
//!
//! The file is hostile. A row that is too long is not copied, and reading stops in a table that
//! does not end.

use std::cell::Cell;

use rusqlite::{Row, params};

use super::transaction::integer;
use super::{SqliteTransaction, translate};
use crate::crypto::grant::{MAX_ESCROW, MAX_GRANT, MAX_TOKENS};
use crate::crypto::ids::{Hash, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow};
use crate::crypto::slot::MAX_SLOTS;
use crate::crypto::tree::Leaf;
use crate::store::{Inspection, MAX_PROJECTS, OrphanRows, PROJECTS, Snapshot, StoreError, limits};

impl SqliteTransaction<'_> {
    /// Returns all rows of a statement. More than `most` of them count as damage.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        most: usize,
        what: &'static str,
        read: impl Fn(&Row<'_>) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.each(sql, params, what, |row| {
            found.push(read(row).ok_or(StoreError::Damaged(what))?);
            if found.len() > most { Err(StoreError::Damaged(what)) } else { Ok(true) }
        })?;

        Ok(found)
    }

    fn each(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        what: &'static str,
        mut visit: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let named = |error| match translate(error) {
            StoreError::Damaged(_) => StoreError::Damaged(what),
            other => other,
        };

        self.begin_statement().map_err(|_| StoreError::Damaged(what))?;
        let mut statement = self.store.connection.prepare_cached(sql).map_err(named)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params).map_err(named)?;

        while let Some(row) = rows.next().map_err(named)? {
            if !self.store.budget.take(size_of_row(row, columns)) {
                return Err(StoreError::Damaged(what));
            }

            if !visit(row)? {
                break;
            }
        }

        Ok(())
    }
}

/// Returns the number of bytes in a row's blobs. Many rows may share the pages of a long one.
fn size_of_row(row: &Row<'_>, columns: usize) -> u64 {
    let size = |column| {
        row.get_ref(column).ok().and_then(|cell| cell.as_blob().ok()).map_or(0, <[u8]>::len)
    };

    (0..columns).map(|column| size(column) as u64).sum()
}

fn blob<const N: usize>(row: &Row<'_>, column: usize) -> Option<[u8; N]> {
    row.get_ref(column).ok()?.as_blob().ok()?.try_into().ok()
}

/// Returns a column of at most `most` bytes. A longer one is not even copied.
fn bytes(row: &Row<'_>, column: usize, most: usize) -> Option<Vec<u8>> {
    let bytes = row.get_ref(column).ok()?.as_blob().ok()?;
    (bytes.len() <= most).then(|| bytes.to_vec())
}

fn number<N: TryFrom<i64>>(row: &Row<'_>, column: usize) -> Option<N> {
    row.get_ref(column).ok()?.as_i64().ok()?.try_into().ok()
}

/// Returns a query that counts the rows of a table that belong to no project. It looks up each
/// distinct project id once, instead of once for each row.
fn count_orphans(table: &str) -> String {
    format!(
        "SELECT count(*) FROM {table} WHERE pid IN (SELECT DISTINCT pid FROM {table} EXCEPT SELECT pid FROM projects)"
    )
}

const PROJECT: &str = "SELECT pid, epoch, head, sig FROM projects";
const GRANT: &str = "SELECT token_id, gen, body, escrow FROM grants";
const GRANTS: &str = "table of grants";

/// Reads a row of the table of grants. `too_long` stands in for a grant that is too long.
fn grant(row: &Row<'_>, too_long: fn() -> Option<Vec<u8>>) -> Option<GrantRow> {
    Some(GrantRow {
        token_id: blob(row, 0)?,
        generation: number(row, 1)?,
        grant: bytes(row, 2, MAX_GRANT).or_else(too_long)?,
        escrow: bytes(row, 3, MAX_ESCROW)?,
    })
}

const RECORD: &str = "SELECT tag_ix, rid, epoch, ver, vver, meta, val_hash, leaf FROM records";

fn record(row: &Row<'_>) -> Option<Record> {
    Some(Record {
        tag_ix: blob(row, 0)?,
        rid: blob(row, 1)?,
        epoch: number(row, 2)?,
        ver: number(row, 3)?,
        vver: number(row, 4)?,
        meta: bytes(row, 5, limits::META)?,
        val_hash: blob(row, 6)?,
        leaf: blob(row, 7)?,
    })
}

impl SqliteTransaction<'_> {
    /// Returns the key slots in a table.
    pub(super) fn slots_in(&self, table: &str) -> Result<Vec<Slot>, StoreError> {
        let sql = format!(
            "SELECT slot_id, type, params, salt, commitment, wrap FROM {table} ORDER BY slot_id"
        );
        self.rows(&sql, [], MAX_SLOTS, "table of key slots", |row| {
            Some(Slot {
                slot_id: bytes(row, 0, limits::SHORT)?,
                kind: number(row, 1)?,
                params: bytes(row, 2, limits::SHORT)?,
                salt: bytes(row, 3, limits::SHORT)?,
                commitment: bytes(row, 4, limits::SHORT)?,
                wrap: bytes(row, 5, limits::SHORT)?,
            })
        })
    }
}

impl Snapshot for SqliteTransaction<'_> {
    fn vault(&self) -> Result<VaultRow, StoreError> {
        const WHAT: &str = "own row";
        let rows =
            self.rows("SELECT vault_id, suite, past, id FROM vault", [], 1, WHAT, |row| {
                (number::<i64>(row, 3)? == 1).then_some(())?;
                Some(VaultRow {
                    vault_id: blob(row, 0)?,
                    suite: number(row, 1)?,
                    past: bytes(row, 2, limits::LONG)?,
                })
            })?;

        rows.into_iter().next().ok_or(StoreError::Damaged(WHAT))
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.slots_in("slots")
    }

    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        let sql = format!("{PROJECT} WHERE pid = ?1");
        let rows = self.rows(&sql, [&pid[..]], 1, PROJECTS, |row| {
            Some(ProjectRow {
                pid: blob(row, 0)?,
                epoch: number(row, 1)?,
                head: bytes(row, 2, limits::LONG)?,
                sig: bytes(row, 3, limits::LONG)?,
            })
        })?;

        Ok(rows.into_iter().next())
    }

    fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        let sql = format!("{GRANT} ORDER BY token_id");
        self.rows(&sql, [], MAX_TOKENS, GRANTS, |row| grant(row, || Some(Vec::new())))
    }

    fn grant(&self, token_id: &TokenId) -> Result<Option<GrantRow>, StoreError> {
        let sql = format!("{GRANT} WHERE token_id = ?1");
        let rows = self.rows(&sql, [&token_id[..]], 1, GRANTS, |row| grant(row, || None))?;
        Ok(rows.into_iter().next())
    }

    fn policy(&self, pid: &ProjectId) -> Result<Option<PolicyRow>, StoreError> {
        let sql = "SELECT v, body, sig FROM policies WHERE pid = ?1";
        let rows = self.rows(sql, [&pid[..]], 1, "table of policies", |row| {
            Some(PolicyRow {
                version: number(row, 0)?,
                body: bytes(row, 1, limits::OTHER)?,
                sig: bytes(row, 2, limits::SHORT)?,
            })
        })?;

        Ok(rows.into_iter().next())
    }

    fn audit(
        &self,
        pid: &ProjectId,
        from: u64,
        visit: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError> {
        const WHAT: &str = "audit log";
        let sql = "SELECT seq, epoch, ct FROM audit WHERE pid = ?1 AND seq >= ?2 ORDER BY seq";

        // Each row must come after the one before. Pages that point at each other would repeat
        // their rows forever.
        let mut before: Option<u64> = None;
        self.each(sql, params![&pid[..], integer(from)?], WHAT, |row| {
            let entry = || {
                let (seq, epoch) = (number(row, 0)?, number(row, 1)?);
                Some(AuditRow { seq, epoch, ct: bytes(row, 2, limits::OTHER)? })
            };

            let entry = entry().filter(|entry| before.replace(entry.seq) < Some(entry.seq));
            Ok(visit(entry.ok_or(StoreError::Damaged(WHAT))?))
        })
    }

    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError> {
        let sql = "SELECT b, h FROM buckets WHERE pid = ?1 ORDER BY b";
        self.rows(sql, [&pid[..]], 256, "table of buckets", |row| {
            Some((number(row, 0)?, blob(row, 1)?))
        })
    }

    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError> {
        let sql = "SELECT tag_ix, rid, leaf FROM records WHERE pid = ?1 AND tag_ix BETWEEN ?2 AND ?3 ORDER BY tag_ix";

        // The range covers blobs of any length that begin with the bucket's byte. One of a wrong
        // length is then reported as damage instead of being overlooked.
        let (first, last) = ([bucket], [&[bucket][..], &[0xff; 16]].concat());

        // Each row must come after the one before. Pages that point at each other would repeat
        // their rows forever.
        let before = Cell::new(None);
        self.rows(sql, params![&pid[..], &first[..], last], usize::MAX, "table of records", |row| {
            let leaf = Leaf { tag_ix: blob(row, 0)?, rid: blob(row, 1)?, leaf: blob(row, 2)? };
            (before.replace(Some(leaf.tag_ix)) < Some(leaf.tag_ix)).then_some(leaf)
        })
    }

    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError> {
        let sql = format!("{RECORD} WHERE pid = ?1 AND tag_ix = ?2");
        let rows = self.rows(&sql, [&pid[..], tag_ix], 1, "table of records", record)?;
        Ok(rows.into_iter().next())
    }

    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        const WHAT: &str = "table of records";
        let sql = format!("{RECORD} WHERE pid = ?1 ORDER BY tag_ix");

        self.each(&sql, [&pid[..]], WHAT, |row| {
            Ok(visit(record(row).ok_or(StoreError::Damaged(WHAT))?))
        })
    }

    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError> {
        let sql = "SELECT pid, tag_ix FROM records WHERE rid = ?1";
        let rows = self.rows(sql, [&rid[..]], 1, "table of records", |row| {
            Some((blob(row, 0)?, blob(row, 1)?))
        })?;

        Ok(rows.into_iter().next())
    }

    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.rows(
            "SELECT val FROM vals WHERE rid = ?1",
            [&rid[..]],
            1,
            "table of values",
            |row| bytes(row, 0, limits::VALUE),
        )?;

        Ok(rows.into_iter().next())
    }
    fn inspection(&self) -> Result<&dyn Inspection, StoreError> {
        Ok(self)
    }
}

impl Inspection for SqliteTransaction<'_> {
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError> {
        let sql = format!("{PROJECT} ORDER BY pid");
        let (mut found, mut seen, mut whole) = (Vec::new(), 0, true);
        let read = self.each(&sql, [], PROJECTS, |row| {
            // Invalid rows count as well: pages that point at each other would repeat them forever.
            seen += 1;
            if seen > MAX_PROJECTS + 1 {
                whole = false;
                return Ok(false);
            }

            let (head, sig) = (bytes(row, 2, limits::LONG), bytes(row, 3, limits::LONG));
            let are_there = head.is_some() && sig.is_some();
            let project = || {
                let (head, sig) = (head.unwrap_or_default(), sig.unwrap_or_default());
                Some(ProjectRow { pid: blob(row, 0)?, epoch: number(row, 1)?, head, sig })
            };

            let project = project();
            whole &= are_there && project.is_some();
            found.extend(project);
            Ok(true)
        });

        match read {
            Err(StoreError::Damaged(_)) => Ok((found, false)),
            read => read.map(|()| (found, whole)),
        }
    }

    fn id_index(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError> {
        const WHAT: &str = "index of ids";

        // The index contains all three columns, so the table itself is not read. Each row must come
        // after the one before, because pages that point at each other would repeat their rows
        // forever.
        let mut before: Option<RecordId> = None;
        self.each("SELECT pid, tag_ix, rid FROM records ORDER BY rid", [], WHAT, |row| {
            let (Some(pid), Some(tag_ix), Some(rid)) = (blob(row, 0), blob(row, 1), blob(row, 2))
            else {
                return Err(StoreError::Damaged(WHAT));
            };

            if before.replace(rid) >= Some(rid) {
                return Err(StoreError::Damaged(WHAT));
            }

            visit(pid, tag_ix);
            Ok(true)
        })
    }

    fn orphans(&self) -> Result<OrphanRows, StoreError> {
        let count = |sql: &str| {
            let counts = self.rows(sql, [], 1, "structure", |row| number(row, 0))?;
            Ok::<_, StoreError>(counts.into_iter().next().unwrap_or(0))
        };

        Ok(OrphanRows {
            values: count("SELECT count(*) FROM vals WHERE rid NOT IN (SELECT rid FROM records)")?,
            records: count(&count_orphans("records"))?,
            buckets: count(&count_orphans("buckets"))?,
            policies: count(&count_orphans("policies"))?,
            audit: count(&count_orphans("audit"))?,
        })
    }

    fn is_sound(&self) -> Result<bool, StoreError> {
        // SQLite's answer is not passed on, because it may contain bytes of a hostile file.
        let found = self.rows("PRAGMA integrity_check(1)", [], 1, "structure", |row| {
            Some(row.get_ref(0).ok()?.as_str().ok()? == "ok")
        })?;

        Ok(found == [true])
    }

    fn begin_walk(&self) -> Result<(), StoreError> {
        self.store.budget.begin_walk(self.store.size()?);
        Ok(())
    }

    fn end_walk(&self) {
        self.store.budget.end_walk();
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::sqlite::schema::SCHEMA;

    #[test]
    fn only_its_token_notices_that_a_grant_is_too_long() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&SCHEMA.join(";")).unwrap();
        let is_read = |body: usize, escrow: usize| {
            let lengths = [body, escrow].map(|length| i64::try_from(length).unwrap());
            let row =
                "INSERT OR REPLACE INTO grants VALUES(zeroblob(16), 1, zeroblob(?1), zeroblob(?2))";
            connection.execute(row, lengths).unwrap();
            let read = |too_long| {
                let lengths = |row: &Row<'_>| {
                    Ok(grant(row, too_long).map(|row| [row.grant.len(), row.escrow.len()]))
                };
                connection.query_row(GRANT, [], lengths).unwrap()
            };
            [read(|| None), read(|| Some(Vec::new()))]
        };

        assert_eq!(is_read(MAX_GRANT, MAX_ESCROW), [Some([MAX_GRANT, MAX_ESCROW]); 2]);
        assert_eq!(is_read(MAX_GRANT + 1, 1), [None, Some([0, 1])]);
        assert_eq!(is_read(1, MAX_ESCROW + 1), [None; 2]);
    }

    #[test]
    fn counting_orphans_does_not_read_a_project_for_each_record() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&SCHEMA.join(";")).unwrap();
        let plan = |sql: &str| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = statement.query_map([], |row| row.get(3)).unwrap();
            steps.collect::<Result<Vec<String>, _>>().unwrap().join("; ")
        };

        let for_each = "SELECT count(*) FROM records WHERE pid NOT IN (SELECT pid FROM projects)";
        assert!(!plan(for_each).contains("SCAN projects"), "{}", plan(for_each));
        for table in ["records", "buckets", "policies", "audit"] {
            let plan = plan(&count_orphans(table));
            let searches = ["SEARCH projects", "sqlite_autoindex_projects_1 FOR IN-OPERATOR"];
            assert!(
                plan.contains("SCAN projects") && !searches.iter().any(|step| plan.contains(step)),
                "{plan}"
            );
        }
    }
}
