//! Asks the server for what a snapshot needs: to confirm what the cache has, and for the rest.

use std::sync::Arc;

use super::super::sqlite::SqliteTransaction;
use super::super::{Change, Extent, Snapshot, StoreError, Transaction, Want};
use super::message::{Ask, Begin, KnownHead, Request, Rows, Scope};
use super::plan::Plan;
use super::snapshot::{Head, Mode, RemoteSnapshot};
use super::{Answered, ServerError, keep};
use crate::crypto::ids::ProjectId;
use crate::crypto::rows::ProjectRow;

/// How often a plan is made again because another process has changed the cache in the meantime.
const ATTEMPTS: usize = 20;
/// Records that do not give the hash of their bucket.
pub(super) const RECORDS: StoreError = StoreError::Damaged("table of records");

impl RemoteSnapshot<'_> {
    fn is_asking(&self) -> bool {
        matches!(self.state.borrow().mode, Mode::Read | Mode::Locked)
    }

    /// Asks the server for everything in a plan, in one trip.
    pub(super) fn ask(
        &self,
        plan: impl Fn(&SqliteTransaction<'_>) -> Result<Plan, StoreError>,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let mut planned = plan(&*self.cache()?)?;
            self.leave_out_confirmed(&mut planned);
            if planned.is_empty() || !self.may_ask(&planned)? {
                return Ok(());
            }

            if self.put(&planned, &self.answer(&planned)?)? {
                return Ok(());
            }
        }

        Err(StoreError::Busy)
    }

    /// Leaves out what the server has confirmed in this snapshot.
    fn leave_out_confirmed(&self, plan: &mut Plan) {
        let state = self.state.borrow();
        plan.scope.known.retain(|known| !state.heads.contains_key(&known.pid));
        plan.scope.entries.retain(|(index, _)| !state.entries.contains(index));
        plan.scope.ids.retain(|rid| !state.located.contains_key(rid));
        plan.scope.all = plan.scope.all.filter(|_| !state.has_all);
        plan.asks.retain(|ask| match ask {
            Ask::Grants => !state.has_grants,
            Ask::Grant(token_id) => !state.has_grants && !state.grants.contains(token_id),
            Ask::Ids(rids) => rids.iter().any(|rid| !state.located.contains_key(rid)),
            Ask::Indexes { pid, .. } => state.heads.get(pid) != Some(&Head::Absent),
            _ => true,
        });
    }

    /// Returns true if the server has to be asked. Without it, what the cache has is used as it is.
    fn may_ask(&self, plan: &Plan) -> Result<bool, StoreError> {
        if self.is_asking() {
            return Ok(true);
        }

        let mode = self.state.borrow().mode.clone();
        let has_all = plan.scope.known.iter().all(|known| !known.sig.is_empty())
            && plan.scope.is_known()
            && plan.asks.is_empty();
        match mode {
            Mode::Assumed if has_all => {
                let mut state = self.state.borrow_mut();
                for known in &plan.scope.known {
                    state.heads.insert(known.pid, Head::Cached);
                }

                Ok(false)
            }
            Mode::Assumed => {
                // The heads that were assumed are asked for again, now with locks.
                let mut state = self.state.borrow_mut();
                state.mode = Mode::Locked;
                state.heads.clear();
                self.store.has_only_assumed.set(false);
                Ok(true)
            }
            Mode::Offline(cause) => {
                self.read_offline(plan, cause.as_ref())?;
                Ok(false)
            }
            Mode::Seen => {
                self.read_seen(plan)?;
                Ok(false)
            }
            Mode::Read | Mode::Locked => Ok(true),
        }
    }

    /// Takes the heads that the cache has, if they are not too old.
    fn read_offline(&self, plan: &Plan, cause: Option<&Arc<StoreError>>) -> Result<(), StoreError> {
        for known in &plan.scope.known {
            if known.sig.is_empty() {
                return Err(not_cached(cause));
            }

            let seen = self.cache()?.seen(&known.pid)?.unwrap_or(0);
            self.store.fall_back(cause, seen)?;
        }

        self.read_seen(plan)
    }

    /// Takes the heads that the cache has, whatever their age. Other projects were not seen.
    fn read_seen(&self, plan: &Plan) -> Result<(), StoreError> {
        let cache = self.cache()?;
        let heads = &mut self.state.borrow_mut().heads;
        for known in &plan.scope.known {
            let head = if known.sig.is_empty() { Head::Absent } else { Head::Cached };
            heads.insert(known.pid, head);
        }

        if plan.scope.all.is_some() {
            heads.extend(cache.cached_projects()?.into_iter().map(|pid| (pid, Head::Cached)));
        }

        Ok(())
    }

    /// Sends a question. A reading whose first question finds no server goes on with the cache.
    pub(super) fn answer(&self, plan: &Plan) -> Result<Rows, StoreError> {
        let (begin, mode) = {
            let state = self.state.borrow();
            (!state.has_begun, state.mode.clone())
        };

        let begin = begin.then_some(match mode {
            Mode::Locked => Begin::Write { directory: self.store.locks_directory.get() },
            _ => Begin::Read,
        });

        let mut scope = plan.scope.clone();
        if begin.is_some() {
            self.add_used(&mut scope)?;
            if let Some(rows) = self.answered(begin, &scope, &plan.asks)? {
                self.state.borrow_mut().has_begun = true;
                return Ok(rows);
            }
        }

        let heads_only = begin == Some(Begin::Read) && plan.confirms_heads();
        let request = Request { begin, scope, heads_only, asks: plan.asks.clone() };
        let server = self.store.server()?;
        let asked = server.ask(&request);
        match asked {
            Ok(mut rows) => {
                self.state.borrow_mut().has_begun = true;
                if heads_only && !rows.projects.is_empty() {
                    let whole = Request { begin: None, heads_only: false, ..request };
                    let (vault, slots) = (rows.vault.take(), std::mem::take(&mut rows.slots));
                    rows = Rows { vault, slots, ..server.ask(&whole)? };
                }

                Ok(rows)
            }
            // The transaction may have begun, with its locks.
            Err(error) => {
                if begin.is_some() {
                    server.end();
                }

                Err(error)
            }
        }
    }

    /// Returns the answer that came with the refusal of the attempt before, if it answers this question
    /// and the cache has not changed since then. Otherwise, the next question ends its transaction.
    fn answered(
        &self,
        begin: Option<Begin>,
        scope: &Scope,
        asks: &[Ask],
    ) -> Result<Option<Rows>, StoreError> {
        let next = self.state.borrow_mut().next.take();
        let Some(Answered { request, rows }) = next else { return Ok(None) };
        let cache = self.cache()?;
        for known in &request.scope.known {
            if cache.project(&known.pid)?.is_none_or(|row| row.sig != known.sig) {
                return Ok(None);
            }
        }

        let is_known = |known: &KnownHead| {
            request.scope.known.iter().any(|asked| {
                (asked.pid, &asked.sig, asked.last_entry)
                    == (known.pid, &known.sig, known.last_entry)
                    && known.extent <= asked.extent
            })
        };
        let is_same = request.begin == begin
            && asks.is_empty()
            && scope.is_known()
            && scope.known.iter().all(is_known);
        Ok(is_same.then_some(rows))
    }

    /// Adds the heads that the caller has read, so that they are locked as well.
    pub(super) fn add_used(&self, scope: &mut Scope) -> Result<(), StoreError> {
        let cache = self.cache()?;
        for (pid, sig) in &self.state.borrow().used {
            if !scope.known.iter().any(|known| known.pid == *pid) {
                let last_entry = cache.last_entry(pid)?;
                let (pid, sig, extent) = (*pid, sig.clone(), Extent::IfSmall);
                scope.known.push(KnownHead { pid, sig, last_entry, extent });
            }
        }

        Ok(())
    }

    /// Puts an answer into the cache. Returns false if another process has changed the cache since
    /// the question was made, so that it has to be asked again.
    fn put(&self, plan: &Plan, rows: &Rows) -> Result<bool, StoreError> {
        let is_raced = {
            let state = self.state.borrow();
            let is_used =
                |row: &ProjectRow| state.used.get(&row.pid).is_some_and(|sig| *sig != row.sig);
            let is_lost = |known: &KnownHead| {
                state.used.get(&known.pid).is_some_and(|sig| !sig.is_empty())
                    && !rows.present.contains(&known.pid)
            };
            rows.projects.iter().any(is_used) || plan.scope.known.iter().any(is_lost)
        };
        if is_raced {
            return Err(StoreError::Raced);
        }

        if !rows.is_unchanged(&plan.asks, &*self.cache()?)? {
            let own = self.touched.borrow().replaceable(&*self.cache()?)?;
            let mut cache = self.changing()?;
            for known in &plan.scope.known {
                let sig = cache.project(&known.pid)?.map(|row| row.sig).unwrap_or_default();
                if sig != known.sig && !self.touched.borrow().has_head(&known.pid) {
                    return Ok(false);
                }
            }

            for ask in &plan.asks {
                match ask {
                    Ask::Audit(pid, from) => cache.drop_log(pid, *from)?,
                    Ask::Grants => cache.drop_grants()?,
                    Ask::Grant(token_id) => cache.apply(Change::DropGrant(token_id))?,
                    _ => {}
                }
            }

            let damaged = keep::put(&mut cache, rows)?;
            own.apply(&mut cache)?;
            self.state.borrow_mut().damaged.extend(damaged);
        }

        self.note(plan, rows);
        Ok(true)
    }

    /// Notes what an answer has confirmed.
    fn note(&self, plan: &Plan, rows: &Rows) {
        let mut state = self.state.borrow_mut();
        for pid in &rows.present {
            state.heads.insert(*pid, Head::Cached);
        }

        for known in &plan.scope.known {
            if !rows.present.contains(&known.pid) {
                state.heads.insert(known.pid, Head::Absent);
                state.gone.extend((!known.sig.is_empty()).then_some(known.pid));
            }
        }

        state.entries.extend(plan.scope.entries.iter().map(|(index, _)| *index));
        state.has_all |= plan.scope.all.is_some();
        for known in plan.scope.known.iter().filter(|known| known.last_entry > 0) {
            if rows.projects.iter().any(|row| row.pid == known.pid) {
                state.logs.entry(known.pid).or_insert(known.last_entry + 1);
            }
        }

        if plan.scope.all == Some(Extent::Everything) {
            let fetched = rows.projects.iter().filter(|row| !plan.knows(&row.pid));
            state.logs.extend(fetched.map(|row| (row.pid, 0)));
        }

        state.changed.extend(rows.projects.iter().map(|row| row.pid));
        for (rid, pid, index) in &rows.located {
            state.located.insert(*rid, Some((*pid, *index)));
        }

        for ask in &plan.asks {
            match ask {
                Ask::Ids(rids) | Ask::Located(rids) => {
                    for rid in rids {
                        state.located.entry(*rid).or_insert(None);
                    }
                }
                Ask::Grants => state.has_grants = true,
                Ask::Grant(token_id) => drop(state.grants.insert(*token_id)),
                Ask::Audit(pid, from) => drop(state.logs.insert(*pid, *from)),
                _ => {}
            }
        }
    }

    /// Confirms the head of a project. Returns false if the project does not exist.
    ///
    /// A small project comes whole, so that a machine can put back the changes that it follows on.
    pub(super) fn need_head(&self, pid: &ProjectId) -> Result<bool, StoreError> {
        if self.touched.borrow().has_head(pid) {
            return Ok(self.cache()?.project(pid)?.is_some());
        }

        if !self.state.borrow().heads.contains_key(pid) {
            self.ask(|cache| {
                let mut plan = Plan::default();
                plan.head(cache, pid, Extent::IfSmall)?;
                Ok(plan)
            })?;
        }

        let is_present = self.state.borrow().heads.get(pid) == Some(&Head::Cached);
        let row = if is_present { self.cache()?.project(pid)? } else { None };
        let sig = row.as_ref().map(|row| row.sig.clone()).unwrap_or_default();
        self.state.borrow_mut().used.entry(*pid).or_insert(sig);

        Ok(row.is_some())
    }

    /// Reads the head of a project, unless the caller has read it.
    pub(super) fn read_head(&self, pid: &ProjectId) -> Result<(), StoreError> {
        let is_read = self.state.borrow().used.contains_key(pid);
        if is_read { Ok(()) } else { self.need_head(pid).map(drop) }
    }

    /// Confirms the vault's row and the slots, which come with the beginning of the transaction. The
    /// directory's head is not asked for, because a token does not verify it.
    pub(super) fn need_vault(&self) -> Result<(), StoreError> {
        let has_begun = self.state.borrow().has_begun;
        let is_known = has_begun || !self.is_asking() && self.cache()?.cached_vault()?.is_some();
        if is_known { Ok(()) } else { self.fetch(&[Want::Directory]) }
    }

    pub(super) fn need_buckets(&self, pid: &ProjectId, wanted: &[u8]) -> Result<(), StoreError> {
        if !self.need_head(pid)? {
            return Ok(());
        }

        let mut missing = Vec::new();
        for number in wanted {
            if self.state.borrow().damaged.contains(&(*pid, *number)) {
                return Err(RECORDS);
            }

            if !self.cache()?.is_complete(pid, *number)? {
                missing.push((*pid, *number));
            }
        }

        if missing.is_empty() {
            return Ok(());
        }

        self.require_server()?;
        let is_most = missing.len() > 128;
        self.ask(|_| {
            let ask =
                if is_most { Ask::Records(vec![*pid]) } else { Ask::Buckets(missing.clone()) };
            Ok(Plan { asks: vec![ask], ..Plan::default() })
        })?;

        for (_, number) in &missing {
            if !self.cache()?.is_complete(pid, *number)? {
                return Err(RECORDS);
            }
        }

        Ok(())
    }

    /// Fails if something is missing in the cache and the server cannot be asked for it.
    pub(super) fn require_server(&self) -> Result<(), StoreError> {
        match &self.state.borrow().mode {
            Mode::Offline(cause) => Err(not_cached(cause.as_ref())),
            Mode::Seen => Err(not_cached(None)),
            _ => Ok(()),
        }
    }
}

/// Returns the error for rows that the cache does not have.
pub(super) fn not_cached(cause: Option<&Arc<StoreError>>) -> StoreError {
    ServerError::NotCached(cause.cloned()).into()
}

impl Rows {
    /// Returns true if the cache has nothing to learn from these rows, which answer `asks`.
    fn is_unchanged(
        &self,
        asks: &[Ask],
        cache: &SqliteTransaction<'_>,
    ) -> Result<bool, StoreError> {
        let has_none = self.projects.is_empty()
            && self.audit.is_empty()
            && self.records.is_empty()
            && self.values.is_empty();
        let mut is_same = match &self.vault {
            Some(vault) => {
                cache.cached_vault()?.as_ref() == Some(vault) && cache.slots()? == self.slots
            }
            None => true,
        };

        // The server may also have removed what was asked for.
        for ask in asks {
            is_same &= match ask {
                Ask::Grants => cache.grants()? == self.grants,
                Ask::Grant(token_id) => cache.grant(token_id)?.as_slice() == self.grants,
                Ask::Audit(pid, from) => !cache.has_log(pid, *from)?,
                _ => true,
            };
        }

        Ok(has_none && is_same)
    }
}
