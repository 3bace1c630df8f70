//! A view of a vault on a server: what is known there, and the cache that has the rows.

use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::sqlite::{SqliteStore, SqliteTransaction};
use super::super::{Snapshot, StoreError};
use super::keep::Bucket;
use super::transaction::Touched;
use super::{Answered, RemoteStore};
use crate::crypto::ids::{DIRECTORY, ProjectId, RecordId, TokenId, record_of};
use crate::model::Timestamp;

/// The number of milliseconds after which the time of the last look at the server is written again.
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
pub(super) enum Head {
    /// The one in the cache
    Cached,
    /// The project does not exist
    Absent,
}

/// The knowledge of one snapshot.
pub(super) struct State {
    pub(super) mode: Mode,
    /// A transaction has begun on the server
    pub(super) has_begun: bool,
    /// The answer to the first question, whose transaction has begun
    pub(super) next: Option<Answered>,
    pub(super) heads: BTreeMap<ProjectId, Head>,
    /// The heads that the caller has read, by their signatures; empty if the project did not exist
    pub(super) used: BTreeMap<ProjectId, Vec<u8>>,
    /// The projects whose heads were put into the cache
    pub(super) changed: BTreeSet<ProjectId>,
    /// The projects whose heads were verified
    pub(super) accepted: RefCell<BTreeSet<ProjectId>>,
    /// Cached projects that the server no longer has
    pub(super) gone: Vec<ProjectId>,
    /// The indexes of the directory that were asked for
    pub(super) entries: BTreeSet<[u8; 16]>,
    /// All heads were asked for
    pub(super) has_all: bool,
    pub(super) located: BTreeMap<RecordId, Option<(ProjectId, [u8; 16])>>,
    pub(super) has_grants: bool,
    pub(super) grants: BTreeSet<TokenId>,
    /// The `seq` from which on a log is in the cache
    pub(super) logs: BTreeMap<ProjectId, u64>,
    /// Buckets whose records on the server do not give their hash
    pub(super) damaged: BTreeSet<Bucket>,
}

/// A view of a vault on a server.
pub(super) struct RemoteSnapshot<'a> {
    pub(super) store: &'a RemoteStore,
    /// The cache's transaction, except while another one begins
    cache: RefCell<Option<SqliteTransaction<'a>>>,
    /// The cache's transaction may change it
    is_changing: Cell<bool>,
    pub(super) state: RefCell<State>,
    /// Every row of the vault as the server has them, for an inspection
    pub(super) everything: OnceCell<SqliteStore>,
    /// The rows that a change has touched
    pub(super) touched: RefCell<Touched>,
}

impl<'a> RemoteSnapshot<'a> {
    pub(super) fn new(
        store: &'a RemoteStore,
        mode: Mode,
        next: Option<Answered>,
    ) -> Result<Self, StoreError> {
        let state = State {
            mode,
            has_begun: false,
            next,
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
            damaged: BTreeSet::new(),
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

    /// Returns true if the change of this snapshot has replaced everything, so that the server is not
    /// asked for anything any more.
    pub(super) fn is_replaced(&self) -> bool {
        self.touched.borrow().clears()
    }

    /// Runs `read` on all rows of the vault if they were fetched, or else on the cache.
    pub(super) fn read<T>(
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

impl Drop for RemoteSnapshot<'_> {
    fn drop(&mut self) {
        let is_open = self.state.borrow().has_begun || self.state.borrow().next.is_some();
        if is_open && let Some(server) = self.store.server.get() {
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
    /// Returns true if the vault has verified every head that the server has sent, except those that it
    /// has replaced.
    pub(super) fn is_verified(&self) -> bool {
        let (state, touched) = (self.state.borrow(), self.touched.borrow());
        let accepted = state.accepted.borrow();
        let is_known = |pid: &ProjectId| accepted.contains(pid) || touched.has_head(pid);
        state.changed.iter().all(is_known)
    }

    /// Keeps what was put into the cache, if the vault has verified all of it, and the time of this
    /// look at the server.
    fn keep(&self) -> Result<(), StoreError> {
        let state = self.state.borrow();
        let accepted = state.accepted.borrow();
        if accepted.is_empty() || !self.is_verified() {
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

        // The server may hide a project that the verified directory still has.
        if accepted.contains(&DIRECTORY) {
            for pid in &state.gone {
                if cache.locate(&record_of(pid))?.is_none() {
                    cache.drop_cached(pid)?;
                }
            }
        }

        cache.keep()
    }
}

impl RemoteSnapshot<'_> {
    /// Returns true if a reading may go on without the server: nothing was read yet.
    pub(super) fn may_fall_back(&self) -> bool {
        let state = self.state.borrow();
        matches!(state.mode, Mode::Read) && !state.has_begun
    }

    /// Returns true if this snapshot has a log that was begun by its own change.
    pub(super) fn is_changing_log(&self, pid: &ProjectId) -> bool {
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
}
