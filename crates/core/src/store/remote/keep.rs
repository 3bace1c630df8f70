//! Checks rows that came from a server against the hashes above them, and puts them into the cache.
//!
//! Every record must give its leaf, every bucket its hash, and every value the hash in its record. A
//! bucket or a value that fails this check is left out, and reading it is an error. So a damaged project
//! does not stop an operation that needs none of its records, for example the revocation of the manager
//! who has damaged it.
//!
//! The head above them is verified by the vault. Until then nothing of this is kept.

use std::collections::BTreeMap;

use super::super::sqlite::SqliteTransaction;
use super::super::{Change, Snapshot, StoreError, Transaction};
use super::message::Rows;
use crate::crypto::ids::{Hash, ProjectId, VaultId};
use crate::crypto::rows::{PolicyRow, ProjectRow, Record};
use crate::crypto::tree::{self, EMPTY_BUCKET, Leaf};

/// A bucket of a project.
pub(super) type Bucket = (ProjectId, u8);

/// Puts rows into a cache. Returns the buckets whose records do not give their hash.
pub(super) fn put(
    cache: &mut SqliteTransaction<'_>,
    rows: &Rows,
) -> Result<Vec<Bucket>, StoreError> {
    let vault_id = put_vault(cache, rows)?;
    for row in &rows.projects {
        put_head(cache, row, rows)?;
    }

    for (pid, entry) in &rows.audit {
        cache.apply(Change::Audit(pid, entry))?;
    }

    for grant in &rows.grants {
        cache.apply(Change::Grant(grant))?;
    }

    let damaged = put_records(cache, &vault_id, &rows.records)?;
    for (rid, value) in &rows.values {
        let Some((pid, index)) = cache.locate(rid)? else { continue };
        let record = cache.record(&pid, &index)?;
        if record.is_some_and(|record| record.val_hash == tree::value_hash(value)) {
            cache.apply(Change::Value(rid, value))?;
        }
    }

    Ok(damaged)
}

/// Puts the vault's row and the slots. A cache of another vault is emptied.
fn put_vault(cache: &mut SqliteTransaction<'_>, rows: &Rows) -> Result<VaultId, StoreError> {
    let cached = cache.cached_vault()?;
    let Some(vault) = &rows.vault else {
        return cached.map(|row| row.vault_id).ok_or(StoreError::Damaged("own row"));
    };

    if cached.as_ref().is_some_and(|cached| cached.vault_id != vault.vault_id) {
        cache.forget_all()?;
    }

    if cached.as_ref() != Some(vault) {
        cache.apply(Change::Vault(vault))?;
    }

    let before = cache.slots()?;
    if before != rows.slots {
        for slot in &before {
            cache.apply(Change::DropSlot(&slot.slot_id))?;
        }

        for slot in &rows.slots {
            cache.apply(Change::Slot(slot))?;
        }
    }

    Ok(vault.vault_id)
}

fn put_head(
    cache: &mut SqliteTransaction<'_>,
    row: &ProjectRow,
    rows: &Rows,
) -> Result<(), StoreError> {
    let of = |pid: &ProjectId| *pid == row.pid;
    let policies = rows.policies.iter().filter(|(pid, _)| of(pid));
    let policies: Vec<&PolicyRow> = policies.map(|(_, policy)| policy).collect();
    if policies.len() > 1 {
        return Err(StoreError::Damaged("table of policies"));
    }

    let hashes = rows.buckets.iter().filter(|(pid, ..)| of(pid));
    let hashes: Vec<(u8, Hash)> = hashes.map(|(_, number, hash)| (*number, *hash)).collect();
    let is_ordered = hashes.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !is_ordered || hashes.iter().any(|(_, hash)| *hash == EMPTY_BUCKET) {
        return Err(StoreError::Damaged("table of buckets"));
    }

    cache.replace_head(row, policies.first().copied(), &hashes)
}

fn put_records(
    cache: &mut SqliteTransaction<'_>,
    vault_id: &VaultId,
    records: &[(ProjectId, Record)],
) -> Result<Vec<Bucket>, StoreError> {
    let mut damaged = Vec::new();
    let mut buckets: BTreeMap<Bucket, Vec<&Record>> = BTreeMap::new();
    for (pid, record) in records {
        buckets.entry((*pid, record.tag_ix[0])).or_default().push(record);
    }

    for ((pid, number), mut records) in buckets {
        // A token gets an entry of the directory with an id, but not the directory's head.
        if cache.project(&pid)?.is_none() {
            continue;
        }

        records.sort_by_key(|record| record.tag_ix);
        records.dedup_by_key(|record| record.tag_ix);

        let leaf = |record: &&Record| {
            let Record { tag_ix, rid, leaf, .. } = **record;
            Leaf { tag_ix, rid, leaf }
        };
        let leaves: Vec<Leaf> = records.iter().map(leaf).collect();
        let are_current =
            records.iter().all(|record| tree::leaf(vault_id, &pid, record) == record.leaf);
        let hash = cache.bucket_hash(&pid, number)?;
        if are_current && hash == Some(tree::bucket(&pid, number, &leaves)) {
            cache.replace_bucket(&pid, number, &records)?;
        } else if hash.is_none() || !cache.is_complete(&pid, number)? {
            // Wrong records are no loss where the cache has the right ones.
            damaged.push((pid, number));
        }
    }

    Ok(damaged)
}
