//! Reads rows from a server. It is hostile: each column's type and length is checked before it leaves
//! here, as in a vault's file (docs/format.md, section 6).

use secrets_core::crypto::grant::{MAX_ESCROW, MAX_GRANT, MAX_TOKENS};
use secrets_core::crypto::rows::{
    AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow,
};
use secrets_core::crypto::slot::MAX_SLOTS;
use secrets_core::store::remote::{Rows, ServerError};
use secrets_core::store::{MAX_PROJECTS, StoreError, limits};
use tokio_postgres::Row;

use crate::schema::FORMAT;

/// Where a row belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Nowhere: the row only says that something was locked
    Nothing,
    Vault,
    Slots,
    Heads,
    Policies,
    /// All hashes of a project's buckets in one row
    Buckets,
    /// One hash of a bucket
    Bucket,
    Audit,
    Records,
    Values,
    Located,
    Grants,
}

impl Table {
    /// Returns the name of the table in errors.
    fn name(self) -> &'static str {
        match self {
            Self::Nothing | Self::Vault => "own row",
            Self::Slots => "table of key slots",
            Self::Heads => "table of projects",
            Self::Policies => "table of policies",
            Self::Buckets | Self::Bucket => "table of buckets",
            Self::Audit => "audit log",
            Self::Records | Self::Located => "table of records",
            Self::Values => "table of values",
            Self::Grants => "table of grants",
        }
    }

    fn damaged(self) -> StoreError {
        StoreError::Damaged(self.name())
    }

    /// Adds a row.
    pub(crate) fn add(self, row: &Row, to: &mut Rows) -> Result<(), StoreError> {
        if self == Self::Vault {
            return add_vault(row, to);
        }

        self.add_row(row, to).ok_or_else(|| self.damaged())
    }

    fn add_row(self, row: &Row, to: &mut Rows) -> Option<()> {
        match self {
            Self::Nothing | Self::Vault => {}
            Self::Slots => {
                let short = |column| bytes(row, column, limits::SHORT);
                to.slots.push(Slot {
                    slot_id: short(0)?,
                    kind: int(row, 1)?,
                    params: short(2)?,
                    salt: short(3)?,
                    commitment: short(4)?,
                    wrap: short(5)?,
                });
                (to.slots.len() <= MAX_SLOTS).then_some(())?;
            }
            Self::Heads => {
                let pid = array(row, 0)?;
                to.present.push(pid);
                (to.present.len() <= MAX_PROJECTS + 1).then_some(())?;
                if !is_null(row, 2)? {
                    let (head, sig) = (bytes(row, 2, limits::LONG)?, bytes(row, 3, limits::LONG)?);
                    to.projects.push(ProjectRow { pid, epoch: number(row, 1)?, head, sig });
                }
            }
            Self::Policies => {
                let body = bytes(row, 2, limits::OTHER)?;
                let sig = bytes(row, 3, limits::SHORT)?;
                to.policies
                    .push((array(row, 0)?, PolicyRow { version: number(row, 1)?, body, sig }));
            }
            Self::Buckets => {
                let pid = array(row, 0)?;
                let all = bytes(row, 1, 256 * 33)?;
                let (hashes, rest) = all.as_chunks::<33>();
                rest.is_empty().then_some(())?;
                for [number, hash @ ..] in hashes {
                    to.buckets.push((pid, *number, *hash));
                }
            }
            Self::Bucket => to.buckets.push((array(row, 0)?, int(row, 1)?, array(row, 2)?)),
            Self::Audit => {
                let (seq, epoch) = (number(row, 1)?, number(row, 2)?);
                let ct = bytes(row, 3, limits::OTHER)?;
                to.audit.push((array(row, 0)?, AuditRow { seq, epoch, ct }));
            }
            Self::Records => to.records.push((array(row, 0)?, record(row)?)),
            Self::Values => to.values.push((array(row, 0)?, bytes(row, 1, limits::VALUE)?)),
            Self::Located => to.located.push((array(row, 0)?, array(row, 1)?, array(row, 2)?)),
            Self::Grants => {
                to.grants.push(GrantRow {
                    token_id: array(row, 0)?,
                    generation: number(row, 1)?,
                    grant: bytes(row, 2, MAX_GRANT).unwrap_or_default(),
                    escrow: bytes(row, 3, MAX_ESCROW)?,
                });
                (to.grants.len() <= MAX_TOKENS).then_some(())?;
            }
        }

        Some(())
    }
}

fn add_vault(row: &Row, to: &mut Rows) -> Result<(), StoreError> {
    let damaged = || Table::Vault.damaged();
    match row.try_get::<_, i32>(3) {
        Ok(FORMAT) => {}
        Ok(other) => return Err(StoreError::Format(other)),
        Err(_) => return Err(damaged()),
    }

    // A replica is behind what was seen of its primary.
    if row.try_get::<_, i32>(4).map_err(|_| damaged())? != 0 {
        return Err(ServerError::Unreachable("it is a read-only replica".into()).into());
    }

    let read = || {
        Some(VaultRow {
            vault_id: array(row, 0)?,
            suite: int(row, 1)?,
            past: bytes(row, 2, limits::LONG)?,
        })
    };
    if to.vault.replace(read().ok_or_else(damaged)?).is_some() {
        return Err(damaged());
    }

    Ok(())
}

fn record(row: &Row) -> Option<Record> {
    Some(Record {
        tag_ix: array(row, 1)?,
        rid: array(row, 2)?,
        epoch: number(row, 3)?,
        ver: number(row, 4)?,
        vver: number(row, 5)?,
        meta: bytes(row, 6, limits::META)?,
        val_hash: array(row, 7)?,
        leaf: array(row, 8)?,
    })
}

fn is_null(row: &Row, column: usize) -> Option<bool> {
    Some(row.try_get::<_, Option<&[u8]>>(column).ok()?.is_none())
}

fn array<const N: usize>(row: &Row, column: usize) -> Option<[u8; N]> {
    row.try_get::<_, &[u8]>(column).ok()?.try_into().ok()
}

fn bytes(row: &Row, column: usize, most: usize) -> Option<Vec<u8>> {
    let bytes: &[u8] = row.try_get(column).ok()?;
    (bytes.len() <= most).then(|| bytes.to_vec())
}

/// Reads an `int`.
fn int<N: TryFrom<i32>>(row: &Row, column: usize) -> Option<N> {
    row.try_get::<_, i32>(column).ok()?.try_into().ok()
}

/// Reads a `bigint`.
fn number<N: TryFrom<i64>>(row: &Row, column: usize) -> Option<N> {
    row.try_get::<_, i64>(column).ok()?.try_into().ok()
}
