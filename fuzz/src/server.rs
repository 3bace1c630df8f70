//! A server in memory. It has the rows of a vault, and gives other rows in some of its answers.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use terminal_secrets::crypto::ids::{DIRECTORY, ProjectId, RecordId};
use terminal_secrets::crypto::rows::Record;
use terminal_secrets::model::SecretBytes;
use terminal_secrets::store::remote::{
    Ask, Committed, Request, Rows, Scope, Server, Update, UpdateError,
};
use terminal_secrets::store::{CachePlace, RemoteStore, StoreError};

use super::world::VAULT_ID;

/// A server, shared by its connections.
#[derive(Clone, Default)]
pub(super) struct MemoryServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rows: Rows,
    lies: Lies,
    /// The number of answers so far
    answers: usize,
}

/// Wrong answers.
#[derive(Default)]
pub(super) struct Lies {
    /// The rows that are given
    pub(super) rows: Rows,
    /// The numbers of the answers in which they are given
    pub(super) during: Range<usize>,
    /// Sends only the hashes of a project's buckets with its head, as for a large one
    pub(super) sends_hashes: bool,
    /// Sends every row in these answers, also those that nobody has asked for
    pub(super) sends_all: bool,
    /// Says once that another writer came first
    pub(super) refuses: bool,
}

impl State {
    fn answer(&mut self, request: &Request) -> Rows {
        let lies = &self.lies;
        let is_lie = lies.during.contains(&self.answers);
        self.answers += 1;
        let from = if is_lie { &lies.rows } else { &self.rows };
        let rows = select(from, request, lies.sends_hashes);
        if is_lie && lies.sends_all {
            Rows { present: rows.present, located: rows.located, ..from.clone() }
        } else {
            rows
        }
    }
}

impl MemoryServer {
    pub(super) fn new(rows: Rows, lies: Lies) -> Self {
        Self(Arc::new(Mutex::new(State { rows, lies, answers: 0 })))
    }

    /// Returns a store that uses this server, and a cache in memory.
    pub(super) fn store(&self) -> RemoteStore {
        let server = self.clone();
        let connector = Box::new(move |_: &SecretBytes| -> Result<Box<dyn Server>, StoreError> {
            Ok(Box::new(server.clone()))
        });
        RemoteStore::at(SecretBytes::copy_of(b"here"), VAULT_ID, CachePlace::Memory, connector)
            .expect("there is memory")
    }

    /// Gives only right answers from now on.
    pub(super) fn stop_lying(&self) {
        self.lock().lies.during = 0..0;
    }

    /// Returns a copy of the rows.
    pub(super) fn rows(&self) -> Rows {
        self.lock().rows.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread has panicked")
    }
}

impl Server for MemoryServer {
    fn ask(&self, request: &Request) -> Result<Rows, StoreError> {
        Ok(self.lock().answer(request))
    }

    fn update(&self, update: &Update) -> Result<Committed, UpdateError> {
        let mut state = self.lock();
        if let Some(request) = update.or_ask.as_ref().filter(|_| state.lies.refuses) {
            state.lies.refuses = false;
            return Err(UpdateError::Overtaken(Box::new(state.answer(request))));
        }

        let rows = &mut state.rows;
        let sig = |pid: &ProjectId| rows.projects.iter().find(|row| row.pid == *pid);
        let is_raced = update.expected.iter().any(|(pid, expected)| {
            sig(pid).map_or(&[][..], |row| &row.sig[..]) != expected.as_slice()
        });
        if is_raced {
            return Err(UpdateError::Failed(StoreError::Damaged("expected head")));
        }

        apply(rows, update);
        Ok(Committed { replicated: true })
    }

    fn end(&self) {}
}

/// Returns the rows that answer a question.
fn select(all: &Rows, request: &Request, sends_hashes: bool) -> Rows {
    let mut rows = Rows::default();
    if request.begin.is_some() {
        rows.vault.clone_from(&all.vault);
        rows.slots.clone_from(&all.slots);
    }

    let wanted = projects(all, &request.scope);
    for row in all.projects.iter().filter(|row| wanted.contains(&row.pid)) {
        rows.present.push(row.pid);
        let known = request.scope.known.iter().find(|known| known.pid == row.pid);
        if known.is_some_and(|known| known.sig == row.sig) {
            continue;
        }

        rows.projects.push(row.clone());
        if request.heads_only {
            continue;
        }

        let from = known.map_or(0, |known| known.last_entry + 1);
        let of = |pid: &ProjectId| *pid == row.pid;
        rows.policies.extend(all.policies.iter().filter(|(pid, _)| of(pid)).cloned());
        rows.buckets.extend(all.buckets.iter().filter(|(pid, ..)| of(pid)));
        let entries = all.audit.iter().filter(|(pid, entry)| of(pid) && entry.seq >= from);
        rows.audit.extend(entries.cloned());
        if !sends_hashes {
            records(all, &mut rows, true, |pid, _| of(pid));
        }
    }

    for ask in &request.asks {
        answer(all, ask, &mut rows);
    }

    rows
}

/// Returns the projects of a scope.
fn projects(all: &Rows, scope: &Scope) -> BTreeSet<ProjectId> {
    let mut wanted: BTreeSet<ProjectId> = scope.known.iter().map(|known| known.pid).collect();
    for (pid, record) in &all.records {
        if *pid == DIRECTORY && scope.entries.iter().any(|(index, _)| *index == record.tag_ix) {
            let of = all.projects.iter().filter(|row| row.pid.starts_with(&record.rid));
            wanted.extend(of.map(|row| row.pid));
        }

        if scope.ids.contains(&record.rid) {
            wanted.insert(*pid);
        }
    }

    if scope.all.is_some() {
        wanted.extend(all.projects.iter().map(|row| row.pid));
    }

    wanted
}

/// Adds records, and their values if these are wanted.
fn records(
    all: &Rows,
    to: &mut Rows,
    has_values: bool,
    is_wanted: impl Fn(&ProjectId, &Record) -> bool,
) {
    for (pid, record) in all.records.iter().filter(|(pid, record)| is_wanted(pid, record)) {
        to.records.push((*pid, record.clone()));
        if has_values {
            values(all, to, &[record.rid]);
        }
    }
}

fn values(all: &Rows, to: &mut Rows, wanted: &[RecordId]) {
    to.values.extend(all.values.iter().filter(|(rid, _)| wanted.contains(rid)).cloned());
}

fn located(all: &Rows, to: &mut Rows, wanted: &[RecordId]) {
    let found = all.records.iter().filter(|(_, record)| wanted.contains(&record.rid));
    to.located.extend(found.map(|(pid, record)| (record.rid, *pid, record.tag_ix)));
}

fn answer(all: &Rows, ask: &Ask, to: &mut Rows) {
    match ask {
        Ask::Buckets(buckets) => {
            records(all, to, false, |pid, record| buckets.contains(&(*pid, record.tag_ix[0])));
        }
        Ask::Differing(of, prefixes) => {
            let differs = |number: u8| {
                let known = prefixes.chunks(4).nth(number.into());
                all.buckets
                    .iter()
                    .any(|(pid, at, hash)| (pid, *at) == (of, number) && known != Some(&hash[..4]))
            };
            records(all, to, true, |pid, record| pid == of && differs(record.tag_ix[0]));
        }
        Ask::Records(pids) => records(all, to, false, |pid, _| pids.contains(pid)),
        Ask::Indexes { pid: of, indexes, values: has_values } => {
            let is_near = |record: &Record| {
                indexes.iter().any(|index: &[u8; 16]| index[0] == record.tag_ix[0])
            };
            records(all, to, *has_values, |pid, record| pid == of && is_near(record));
        }
        Ask::Ids(rids) => {
            located(all, to, rids);
            let mut pids: Vec<ProjectId> = to.located.iter().map(|(_, pid, _)| *pid).collect();
            pids.push(DIRECTORY);
            records(all, to, true, |pid, _| pids.contains(pid));
        }
        Ask::Values(rids) => values(all, to, rids),
        Ask::Located(rids) => located(all, to, rids),
        Ask::Grants => to.grants.extend(all.grants.iter().cloned()),
        Ask::Grant(id) => {
            to.grants.extend(all.grants.iter().filter(|row| row.token_id == *id).cloned());
        }
        Ask::Audit(of, from) => {
            let entries = all.audit.iter().filter(|(pid, row)| pid == of && row.seq >= *from);
            to.audit.extend(entries.cloned());
        }
        Ask::Everything => to.append(all.clone()),
    }
}

fn apply(rows: &mut Rows, update: &Update) {
    if update.clears {
        *rows = Rows::default();
    }

    let is_dropped = |pid: &ProjectId| update.dropped_projects.contains(pid);
    rows.projects.retain(|row| !is_dropped(&row.pid));
    rows.policies.retain(|(pid, _)| !is_dropped(pid));
    rows.audit.retain(|(pid, row)| {
        let is_old = |(of, to): &(ProjectId, u64)| of == pid && row.seq <= *to;
        !is_dropped(pid) && !update.dropped_audit.iter().any(is_old)
    });
    rows.buckets.retain(|(pid, number, _)| {
        !is_dropped(pid) && !update.dropped_buckets.contains(&(*pid, *number))
    });
    rows.records.retain(|(pid, record)| {
        !is_dropped(pid) && !update.dropped_records.contains(&(*pid, record.tag_ix))
    });
    rows.values.retain(|(rid, _)| !update.dropped_values.contains(rid));
    rows.grants.retain(|row| !update.dropped_grants.contains(&row.token_id));
    rows.slots.retain(|slot| !update.dropped_slots.contains(&slot.slot_id));

    let new = &update.rows;
    rows.vault = new.vault.clone().or(rows.vault.take());
    put(&mut rows.slots, &new.slots, |slot| slot.slot_id.clone());
    put(&mut rows.projects, &update.new_projects, |row| row.pid);
    put(&mut rows.projects, &new.projects, |row| row.pid);
    put(&mut rows.buckets, &new.buckets, |(pid, number, _)| (*pid, *number));
    put(&mut rows.policies, &new.policies, |(pid, _)| *pid);
    put(&mut rows.audit, &new.audit, |(pid, row)| (*pid, row.seq));
    put(&mut rows.audit, &update.entries, |(pid, row)| (*pid, row.seq));
    put(&mut rows.records, &new.records, |(pid, record)| (*pid, record.tag_ix));
    put(&mut rows.values, &new.values, |(rid, _)| *rid);
    put(&mut rows.grants, &new.grants, |row| row.token_id);
}

/// Adds rows or replaces those with the same keys. The rows are then in the order of their keys.
fn put<T: Clone, K: Ord>(to: &mut Vec<T>, new: &[T], key: impl Fn(&T) -> K) {
    to.retain(|row| !new.iter().any(|new| key(new) == key(row)));
    to.extend_from_slice(new);
    to.sort_by_key(key);
}
