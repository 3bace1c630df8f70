//! Puts rows of the cache back to a server that has lost them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::sqlite::SqliteTransaction;
use super::super::{Snapshot, StoreError};
use super::message::{Ask, Begin, Request, Rows, Scope, Update};
use super::{RemoteStore, ServerError};
use crate::crypto::ids::{DIRECTORY, Hash, ProjectId, RecordId};
use crate::crypto::rows::Record;
use crate::store::Extent;

impl RemoteStore {
    /// Makes the projects on the server those of the cache, which follow on them. Returns those of which
    /// the cache does not have everything that the server needs. They are left out. The directory is put
    /// back with all projects or not at all, because it must have the entries that belong to their heads.
    pub(super) fn restore_rows(
        &self,
        pids: &[ProjectId],
        has_grants: bool,
    ) -> Result<Vec<ProjectId>, StoreError> {
        let server = self.server()?;
        let scope = Scope { all: Some(Extent::Head), ..Scope::default() };
        let begin = Some(Begin::Write { directory: true });
        let now = server.ask(&Request {
            begin,
            scope,
            asks: vec![Ask::Everything],
            ..Request::default()
        });
        let planned = now.and_then(|now| plan(&self.cache.reading()?, &now, pids, has_grants));
        let restored = planned.and_then(|(update, left_out)| {
            let has_directory = pids.contains(&DIRECTORY);
            if left_out.len() == pids.len() || has_directory && !left_out.is_empty() {
                return Ok(left_out);
            }

            self.commit_open(&update)?;
            Ok(left_out)
        });
        server.end();
        restored
    }
}

/// Returns the rows to put back, and the projects of which the cache does not have all of them.
fn plan(
    cache: &SqliteTransaction<'_>,
    now: &Rows,
    pids: &[ProjectId],
    has_grants: bool,
) -> Result<(Update, Vec<ProjectId>), StoreError> {
    let (mut update, mut left_out) = (Update::default(), Vec::new());
    for pid in pids {
        let mut one = Update::default();
        match add_project(cache, now, pid, &mut one) {
            Ok(()) => update.append(one),
            Err(StoreError::Server(ServerError::NotCached(_))) => left_out.push(*pid),
            Err(error) => return Err(error),
        }
    }

    if pids.contains(&DIRECTORY) {
        add_vault(cache, now, has_grants, &mut update)?;
    }

    Ok((update, left_out))
}

fn missing() -> StoreError {
    ServerError::NotCached(None).into()
}

/// Adds the vault's row, the slots, and the grants if all of them are known.
fn add_vault(
    cache: &SqliteTransaction<'_>,
    now: &Rows,
    has_grants: bool,
    update: &mut Update,
) -> Result<(), StoreError> {
    update.rows.vault = cache.cached_vault()?;
    update.rows.slots = cache.slots()?;
    update.dropped_slots = now.slots.iter().map(|slot| slot.slot_id.clone()).collect();
    if has_grants {
        update.rows.grants = cache.grants()?;
        update.dropped_grants = now.grants.iter().map(|grant| grant.token_id).collect();
    }

    Ok(())
}

fn add_project(
    cache: &SqliteTransaction<'_>,
    now: &Rows,
    pid: &ProjectId,
    update: &mut Update,
) -> Result<(), StoreError> {
    update.rows.projects.push(cache.project(pid)?.ok_or_else(missing)?);
    update.rows.policies.extend(cache.policy(pid)?.map(|policy| (*pid, policy)));
    add_audit(cache, now, pid, update)?;

    let hashes = now.buckets.iter().filter(|(of, ..)| of == pid);
    let there: BTreeMap<u8, Hash> = hashes.map(|(_, number, hash)| (*number, *hash)).collect();
    let here: BTreeMap<u8, Hash> = cache.buckets(pid)?.into_iter().collect();
    let numbers: BTreeSet<u8> = here.keys().chain(there.keys()).copied().collect();
    for number in numbers {
        if here.get(&number) != there.get(&number) {
            add_bucket(cache, now, (pid, number), here.get(&number), update)?;
        }
    }

    Ok(())
}

/// Adds the entries of the audit log that the server does not have.
fn add_audit(
    cache: &SqliteTransaction<'_>,
    now: &Rows,
    pid: &ProjectId,
    update: &mut Update,
) -> Result<(), StoreError> {
    let there = now.audit.iter().filter(|(of, _)| of == pid).map(|(_, entry)| entry.seq).max();
    let mut next = there.unwrap_or(0) + 1;
    let mut is_complete = true;
    cache.audit(pid, next, &mut |entry| {
        is_complete &= entry.seq == next;
        next += 1;
        update.entries.push((*pid, entry));
        is_complete
    })?;

    if is_complete { Ok(()) } else { Err(missing()) }
}

/// Adds a bucket that differs: its hash, its records, and their values.
fn add_bucket(
    cache: &SqliteTransaction<'_>,
    now: &Rows,
    (pid, number): (&ProjectId, u8),
    hash: Option<&Hash>,
    update: &mut Update,
) -> Result<(), StoreError> {
    match hash {
        Some(hash) => update.rows.buckets.push((*pid, number, *hash)),
        None => update.dropped_buckets.push((*pid, number)),
    }

    if !cache.is_complete(pid, number)? {
        return Err(missing());
    }

    let of_bucket = |of: &ProjectId, record: &Record| of == pid && record.tag_ix[0] == number;
    let records = now.records.iter().filter(|(of, record)| of_bucket(of, record));
    let there: BTreeMap<RecordId, Hash> =
        records.clone().map(|(_, record)| (record.rid, record.val_hash)).collect();
    update.dropped_records.extend(records.map(|(of, record)| (*of, record.tag_ix)));

    let mut kept = BTreeSet::new();
    for leaf in cache.leaves(pid, number)? {
        let record = cache.record(pid, &leaf.tag_ix)?.ok_or_else(missing)?;
        kept.insert(record.rid);
        if there.get(&record.rid) != Some(&record.val_hash) {
            let value = cache.value(&record.rid)?.ok_or_else(missing)?;
            update.rows.values.push((record.rid, value));
        }

        update.rows.records.push((*pid, record));
    }

    update.dropped_values.extend(there.keys().filter(|rid| !kept.contains(*rid)));
    Ok(())
}
