//! Reads from the cache what the server has confirmed, and asks the server for the rest.

use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::sqlite::{SqliteStore, SqliteTransaction};
use super::super::{
    Change, Extent, Inspection, OrphanRows, Snapshot, StoreError, Transaction, Want,
};
use super::keep;
use super::message::{Ask, Begin, KnownHead, Request, Rows, Scope};
use super::plan::Plan;
use super::transaction::Touched;
use super::{RemoteStore, ServerError};
use crate::crypto::ids::{DIRECTORY, Hash, ProjectId, RecordId, TokenId};
use crate::crypto::rows::{AuditRow, GrantRow, PolicyRow, ProjectRow, Record, Slot, VaultRow};
use crate::crypto::tree::Leaf;
use crate::model::Timestamp;

/// How often a plan is made again because another process has changed the cache in the meantime.
const ATTEMPTS: usize = 20;
/// The time of the last look at the server is written again after so many milliseconds.
const SEEN_AGAIN: u64 = 60_000;

/// Where rows come from.
#[derive(Debug, Clone)]
pub(super) enum Mode {
    /// The cache, as far as the server confirms it
    Read,
    /// The cache alone; the commit finds out whether it was current
    Assumed,
    /// The cache, as far as the server confirms it, with locks on the server
    Locked,
    /// The cache alone, whatever its age, to compare it with the server
    Seen,
    /// The cache alone, for the reason given; `None` if the server is not wanted
    Offline(Option<Arc<StoreError>>),
}

/// The head of a project in this snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// The one in the cache
    Cached,
    /// The project does not exist
    Absent,
}

/// What is known in one snapshot.
pub(super) struct State {
    pub(super) mode: Mode,
    /// A transaction has begun on the server
    pub(super) has_begun: bool,
    heads: BTreeMap<ProjectId, Head>,
    /// The heads that the caller has read, by their signatures; empty if the project did not exist
    pub(super) used: BTreeMap<ProjectId, Vec<u8>>,
    /// The projects whose heads were put into the cache
    changed: BTreeSet<ProjectId>,
    /// The projects whose heads were verified
    accepted: RefCell<BTreeSet<ProjectId>>,
    /// Cached projects that the server no longer has
    gone: Vec<ProjectId>,
    /// The indexes of the directory that were asked for
    entries: BTreeSet<[u8; 16]>,
    /// All heads were asked for
    has_all: bool,
    located: BTreeMap<RecordId, Option<(ProjectId, [u8; 16])>>,
    has_grants: bool,
    grants: BTreeSet<TokenId>,
    /// The `seq` from which on a log is in the cache
    logs: BTreeMap<ProjectId, u64>,
}

/// A view of a vault on a server.
pub(super) struct RemoteSnapshot<'a> {
    pub(super) store: &'a RemoteStore,
    /// The cache's transaction. It is `None` only while another one begins.
    cache: RefCell<Option<SqliteTransaction<'a>>>,
    /// The cache's transaction may change it
    is_changing: Cell<bool>,
    pub(super) state: RefCell<State>,
    /// Every row of the vault as the server has them, for an inspection
    everything: OnceCell<SqliteStore>,
    /// What a change has touched
    pub(super) touched: RefCell<Touched>,
}

impl<'a> RemoteSnapshot<'a> {
    pub(super) fn new(store: &'a RemoteStore, mode: Mode) -> Result<Self, StoreError> {
        let state = State {
            mode,
            has_begun: false,
            heads: BTreeMap::new(),
            used: BTreeMap::new(),
            changed: BTreeSet::new(),
            accepted: RefCell::default(),
            gone: Vec::new(),
            entries: BTreeSet::new(),
            has_all: false,
            located: BTreeMap::new(),
            has_grants: false,
            grants: BTreeSet::new(),
            logs: BTreeMap::new(),
        };

        Ok(Self {
            store,
            cache: RefCell::new(Some(store.cache.reading()?)),
            is_changing: Cell::default(),
            state: RefCell::new(state),
            everything: OnceCell::new(),
            touched: RefCell::default(),
        })
    }

    /// Returns the cache's transaction.
    pub(super) fn cache(&self) -> Result<Ref<'_, SqliteTransaction<'a>>, StoreError> {
        Ref::filter_map(self.cache.borrow(), Option::as_ref).map_err(|_| StoreError::Raced)
    }

    /// Returns the cache's transaction, which may change the cache. Fails if another process has
    /// changed a head there that was read.
    pub(super) fn changing(&self) -> Result<RefMut<'_, SqliteTransaction<'a>>, StoreError> {
        if !self.is_changing.get() {
            self.cache.replace(None);
            let changing = self.store.cache.changing()?;
            for (pid, sig) in &self.state.borrow().used {
                if changing.project(pid)?.map(|row| row.sig).unwrap_or_default() != *sig {
                    return Err(StoreError::Raced);
                }
            }

            self.cache.replace(Some(changing));
            self.is_changing.set(true);
        }

        RefMut::filter_map(self.cache.borrow_mut(), Option::as_mut).map_err(|_| StoreError::Raced)
    }

    /// Takes the cache's transaction.
    pub(super) fn take_cache(&self) -> Option<SqliteTransaction<'a>> {
        self.cache.take()
    }

    fn is_asking(&self) -> bool {
        matches!(self.state.borrow().mode, Mode::Read | Mode::Locked)
    }

    /// Asks the server for everything in a plan, in one trip.
    fn ask(
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

    /// Returns true if the server is to be asked. Without it, what the cache has is used as it is.
    fn may_ask(&self, plan: &Plan) -> Result<bool, StoreError> {
        if self.is_asking() {
            return Ok(true);
        }

        let mode = self.state.borrow().mode.clone();
        let has_all = plan.scope.known.iter().all(|known| !known.sig.is_empty())
            && plan.scope.entries.is_empty()
            && plan.scope.ids.is_empty()
            && plan.scope.all.is_none()
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
                Ok(true)
            }
            Mode::Offline(cause) => {
                self.read_offline(plan, cause.as_ref(), true)?;
                Ok(false)
            }
            Mode::Seen => {
                self.read_offline(plan, None, false)?;
                Ok(false)
            }
            Mode::Read | Mode::Locked => Ok(true),
        }
    }

    /// Takes the heads that the cache has, whatever the server would say.
    fn read_offline(
        &self,
        plan: &Plan,
        cause: Option<&Arc<StoreError>>,
        checks_age: bool,
    ) -> Result<(), StoreError> {
        let cache = self.cache()?;
        let mut state = self.state.borrow_mut();
        for known in &plan.scope.known {
            if known.sig.is_empty() {
                return Err(not_cached(cause));
            }

            if checks_age {
                self.store.fall_back(cause, cache.seen(&known.pid)?.unwrap_or(0))?;
            }

            state.heads.insert(known.pid, Head::Cached);
        }

        if plan.scope.all.is_some() {
            for pid in cache.cached_projects()? {
                state.heads.insert(pid, Head::Cached);
            }
        }

        Ok(())
    }

    /// Sends a question. A reading whose first question finds no server goes on with the cache.
    fn answer(&self, plan: &Plan) -> Result<Rows, StoreError> {
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
        }

        let request = Request { begin, scope, asks: plan.asks.clone() };
        let asked = self.store.server().and_then(|server| server.ask(&request));
        if asked.is_ok() {
            self.state.borrow_mut().has_begun = true;
        }

        asked
    }

    /// Adds the heads that the caller has read, so that they are locked as well.
    fn add_used(&self, scope: &mut Scope) -> Result<(), StoreError> {
        let cache = self.cache()?;
        for (pid, sig) in &self.state.borrow().used {
            if !scope.known.iter().any(|known| known.pid == *pid) {
                let last_entry = cache.last_entry(pid)?;
                let (pid, sig, extent) = (*pid, sig.clone(), Extent::Head);
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

        if !rows.is_unchanged(&*self.cache()?)? {
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

            keep::put(&mut cache, rows)?;
        }

        self.note(plan, rows)?;
        Ok(true)
    }

    /// Notes what an answer has confirmed.
    fn note(&self, plan: &Plan, rows: &Rows) -> Result<(), StoreError> {
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

        Ok(())
    }

    /// Returns true if the change of this snapshot has replaced everything, so that the server is not
    /// asked for anything any more.
    fn is_replaced(&self) -> bool {
        self.touched.borrow().clears()
    }

    /// Confirms the head of a project. Returns false if the project does not exist.
    fn need_head(&self, pid: &ProjectId) -> Result<bool, StoreError> {
        if self.touched.borrow().has_head(pid) {
            return Ok(self.cache()?.project(pid)?.is_some());
        }

        if !self.state.borrow().heads.contains_key(pid) {
            self.ask(|cache| {
                let mut plan = Plan::default();
                plan.head(cache, pid, Extent::Head)?;
                Ok(plan)
            })?;
        }

        let is_present = self.state.borrow().heads.get(pid) == Some(&Head::Cached);
        let row = if is_present { self.cache()?.project(pid)? } else { None };
        let sig = row.as_ref().map(|row| row.sig.clone()).unwrap_or_default();
        self.state.borrow_mut().used.entry(*pid).or_insert(sig);

        Ok(row.is_some())
    }

    fn need_buckets(&self, pid: &ProjectId, wanted: &[u8]) -> Result<(), StoreError> {
        if !self.need_head(pid)? {
            return Ok(());
        }

        let mut missing = Vec::new();
        for number in wanted {
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
                return Err(StoreError::Damaged("table of records"));
            }
        }

        Ok(())
    }

    /// Fails if something is missing in the cache and the server cannot be asked for it.
    fn require_server(&self) -> Result<(), StoreError> {
        match &self.state.borrow().mode {
            Mode::Offline(cause) => Err(not_cached(cause.as_ref())),
            Mode::Seen => Err(not_cached(None)),
            _ => Ok(()),
        }
    }

    /// Runs `read` on all rows of the vault if they were fetched, or else on the cache.
    fn read<T>(
        &self,
        need: impl FnOnce() -> Result<bool, StoreError>,
        absent: T,
        read: impl FnOnce(&SqliteTransaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(everything) = self.everything.get() {
            return read(&everything.reading()?);
        }

        if need()? { read(&*self.cache()?) } else { Ok(absent) }
    }
}

/// Returns the error for rows that the cache does not have.
fn not_cached(cause: Option<&Arc<StoreError>>) -> StoreError {
    ServerError::NotCached(cause.cloned()).into()
}

impl Drop for RemoteSnapshot<'_> {
    fn drop(&mut self) {
        if self.state.borrow().has_begun
            && let Some(server) = self.store.server.get()
        {
            server.end();
        }

        if matches!(self.state.borrow().mode, Mode::Offline(_)) {
            self.store.tell_fallback();
        }

        if matches!(self.state.borrow().mode, Mode::Read) {
            // A cache that cannot be written is no reason to fail.
            let _ = self.keep();
        }
    }
}

impl RemoteSnapshot<'_> {
    /// Keeps what was put into the cache, if the vault has verified all of it, and the time of this
    /// look at the server.
    fn keep(&self) -> Result<(), StoreError> {
        let state = self.state.borrow();
        let accepted = state.accepted.borrow();
        if !state.changed.is_subset(&accepted) {
            return Ok(());
        }

        let now = Timestamp::now().0;
        let mut old = Vec::new();
        for pid in accepted.iter() {
            let seen = self.cache()?.seen(pid)?.unwrap_or(0);
            if now.saturating_sub(seen) > SEEN_AGAIN || state.changed.contains(pid) {
                old.push(*pid);
            }
        }

        if !self.is_changing.get() {
            if old.is_empty() {
                return Ok(());
            }

            self.cache.replace(None);
            let Some(changing) = self.store.cache.changing_at_once()? else { return Ok(()) };
            self.cache.replace(Some(changing));
        }

        let Some(mut cache) = self.cache.take() else { return Ok(()) };
        for pid in &old {
            cache.set_seen(pid, now)?;
        }

        if accepted.contains(&DIRECTORY) {
            for pid in &state.gone {
                cache.drop_cached(pid)?;
            }
        }

        cache.keep()
    }
}

impl Rows {
    /// Returns true if the cache has nothing to learn from these rows.
    fn is_unchanged(&self, cache: &SqliteTransaction<'_>) -> Result<bool, StoreError> {
        let has_none = self.projects.is_empty()
            && self.audit.is_empty()
            && self.records.is_empty()
            && self.values.is_empty()
            && self.grants.is_empty();
        let is_same = match &self.vault {
            Some(vault) => {
                cache.cached_vault()?.as_ref() == Some(vault) && cache.slots()? == self.slots
            }
            None => true,
        };

        Ok(has_none && is_same)
    }
}

impl Snapshot for RemoteSnapshot<'_> {
    fn fetch(&self, wants: &[Want<'_>]) -> Result<(), StoreError> {
        if self.everything.get().is_some() || self.is_replaced() {
            return Ok(());
        }

        let plan = |cache: &SqliteTransaction<'_>| {
            let mut plan = Plan::default();
            for want in wants {
                plan.want(cache, want)?;
            }

            Ok(plan)
        };

        match self.ask(plan) {
            Err(error @ StoreError::Server(ServerError::Unreachable(_)))
                if self.may_fall_back() =>
            {
                self.state.borrow_mut().mode = Mode::Offline(Some(Arc::new(error)));
                self.ask(plan)
            }
            asked => asked,
        }
    }

    fn accept(&self, pid: &ProjectId) {
        self.state.borrow().accepted.borrow_mut().insert(*pid);
    }

    fn vault(&self) -> Result<VaultRow, StoreError> {
        self.fetch(&[Want::Directory])?;
        self.read(|| Ok(true), None, |rows| rows.cached_vault())?
            .ok_or(StoreError::Damaged("own row"))
    }

    fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.fetch(&[Want::Directory])?;
        self.read(|| Ok(true), Vec::new(), |rows| rows.slots())
    }

    fn project(&self, pid: &ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        self.read(|| self.need_head(pid), None, |rows| rows.project(pid))
    }

    fn grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        self.fetch(&[Want::Grants])?;
        self.read(|| Ok(true), Vec::new(), |rows| rows.grants())
    }

    fn grant(&self, token_id: &TokenId) -> Result<Option<GrantRow>, StoreError> {
        self.fetch(&[Want::Grant(token_id)])?;
        self.read(|| Ok(true), None, |rows| rows.grant(token_id))
    }

    fn policy(&self, pid: &ProjectId) -> Result<Option<PolicyRow>, StoreError> {
        self.read(|| self.need_head(pid), None, |rows| rows.policy(pid))
    }

    fn audit(
        &self,
        pid: &ProjectId,
        from: u64,
        visit: &mut dyn FnMut(AuditRow) -> bool,
    ) -> Result<(), StoreError> {
        let need = || {
            let has_log = self.state.borrow().logs.get(pid).is_some_and(|first| *first <= from);
            if !has_log && !self.is_replaced() && self.need_head(pid)? && !self.is_changing_log(pid)
            {
                self.require_server()?;
                let ask = || Plan { asks: vec![Ask::Audit(*pid, from)], ..Plan::default() };
                self.ask(|_| Ok(ask()))?;
            }

            Ok(true)
        };

        self.read(need, (), |rows| rows.audit(pid, from, visit))
    }

    fn buckets(&self, pid: &ProjectId) -> Result<Vec<(u8, Hash)>, StoreError> {
        self.read(|| self.need_head(pid), Vec::new(), |rows| rows.buckets(pid))
    }

    fn leaves(&self, pid: &ProjectId, bucket: u8) -> Result<Vec<Leaf>, StoreError> {
        let need = || {
            self.need_buckets(pid, &[bucket])?;
            self.need_head(pid)
        };

        self.read(need, Vec::new(), |rows| rows.leaves(pid, bucket))
    }

    fn record(&self, pid: &ProjectId, tag_ix: &[u8; 16]) -> Result<Option<Record>, StoreError> {
        let need = || {
            self.need_buckets(pid, &[tag_ix[0]])?;
            self.need_head(pid)
        };

        self.read(need, None, |rows| rows.record(pid, tag_ix))
    }

    fn records(
        &self,
        pid: &ProjectId,
        visit: &mut dyn FnMut(Record) -> bool,
    ) -> Result<(), StoreError> {
        let need = || {
            let is_present = self.need_head(pid)?;
            if is_present {
                let missing = self.cache()?.incomplete(pid)?;
                self.need_buckets(pid, &missing)?;
            }

            Ok(is_present)
        };

        self.read(need, (), |rows| rows.records(pid, visit))
    }

    fn locate(&self, rid: &RecordId) -> Result<Option<(ProjectId, [u8; 16])>, StoreError> {
        if let Some(everything) = self.everything.get() {
            return everything.reading()?.locate(rid);
        }

        let cached = self.cache()?.locate(rid)?;
        if self.is_replaced() {
            return Ok(cached);
        }

        if let Some((pid, index)) = cached
            && self.need_head(&pid)?
            && self.cache()?.is_complete(&pid, index[0])?
        {
            return Ok(cached);
        }

        if let Some(located) = self.state.borrow().located.get(rid) {
            return Ok(*located);
        }

        self.require_server()?;
        self.ask(|_| Ok(Plan { asks: vec![Ask::Located(vec![*rid])], ..Plan::default() }))?;
        Ok(self.state.borrow().located.get(rid).copied().flatten())
    }

    fn value(&self, rid: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        let need = || {
            let has_value = self.cache()?.has_value(rid)? || self.is_replaced();
            if !has_value && self.cache()?.locate(rid)?.is_some() {
                self.require_server()?;
                self.ask(|_| Ok(Plan { asks: vec![Ask::Values(vec![*rid])], ..Plan::default() }))?;
            }

            Ok(true)
        };

        self.read(need, None, |rows| rows.value(rid))
    }

    fn inspection(&self) -> Result<&dyn Inspection, StoreError> {
        if self.everything.get().is_none() && !self.is_replaced() {
            self.require_server()?;
            let plan = Plan { asks: vec![Ask::Everything], ..Plan::default() };
            let mut rows = self.answer(&plan)?;
            if rows.vault.is_none() {
                // These came with the first question of the transaction.
                rows.vault = self.cache()?.cached_vault()?;
                rows.slots = self.cache()?.slots()?;
            }

            let _ = self.everything.set(SqliteStore::of_rows(&rows, &self.changes()?)?);
        }

        Ok(self)
    }
}

impl RemoteSnapshot<'_> {
    /// Returns true if a reading may go on without the server: nothing was read yet.
    fn may_fall_back(&self) -> bool {
        let state = self.state.borrow();
        matches!(state.mode, Mode::Read) && !state.has_begun
    }

    /// Returns true if this snapshot has a log that was begun by its own change.
    fn is_changing_log(&self, pid: &ProjectId) -> bool {
        self.state.borrow().used.get(pid).is_some_and(Vec::is_empty)
    }

    /// Forgets the rows for an inspection, which a change makes outdated.
    pub(super) fn forget_everything(&mut self) {
        self.everything.take();
    }

    /// Notes a project that the caller has added.
    pub(super) fn add_project(&self, pid: &ProjectId) {
        let mut state = self.state.borrow_mut();
        state.heads.insert(*pid, Head::Cached);
        state.used.entry(*pid).or_default();
    }

    /// Notes a project that the caller has removed.
    pub(super) fn remove_project(&self, pid: &ProjectId) {
        self.state.borrow_mut().heads.insert(*pid, Head::Absent);
    }

    fn all_rows<T>(
        &self,
        read: impl FnOnce(&SqliteTransaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.everything.get() {
            Some(everything) => read(&everything.reading()?),
            None => read(&*self.cache()?),
        }
    }
}

impl Inspection for RemoteSnapshot<'_> {
    fn readable_projects(&self) -> Result<(Vec<ProjectRow>, bool), StoreError> {
        self.all_rows(|rows| rows.readable_projects())
    }

    fn id_index(&self, visit: &mut dyn FnMut(ProjectId, [u8; 16])) -> Result<(), StoreError> {
        self.all_rows(|rows| rows.id_index(visit))
    }

    fn orphans(&self) -> Result<OrphanRows, StoreError> {
        self.all_rows(|rows| rows.orphans())
    }

    fn is_sound(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}
