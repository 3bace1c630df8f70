//! A vault on a server: rows that are asked for there, and a cache of those that were verified.
//!
//! * `message`: what is asked in one trip, and the answers
//! * `plan`: what to ask for
//! * `keep`: checks what came, and puts it into the cache
//! * `confirm`: asks the server, and notes what it has confirmed
//! * `snapshot`: a view of the vault, with its cache
//! * `reads`: what is read in such a view
//! * `repair`: puts rows back that the server has lost
//! * `transaction`: a change, which is made in the cache and then committed on the server
//!
//! The server is hostile. What comes from it is believed by [`crate::vault`] only after verification,
//! and is kept in the cache only then. Nothing here has a key but that of the server's address.

mod confirm;
mod error;
mod keep;
mod message;
mod plan;
mod reads;
mod repair;
mod snapshot;
mod transaction;

use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use error::{ServerError, days};
pub use message::{
    Ask, Begin, Committed, KnownHead, MAX_DIFFERING, Request, Rows, Scope, Update, UpdateError,
    decode, encode,
};

use super::sqlite::{SqliteStore, StagedNear};
use super::{Doubt, Location, NearRows, Snapshot, Store, StoreError, Transaction};
use crate::crypto::aead::Key;
use crate::crypto::ids::{DIRECTORY, ProjectId, VaultId};
use crate::crypto::near_file;
use crate::crypto::rows::Slot;
use crate::model::{SecretBytes, Timestamp};
use snapshot::{Mode, RemoteSnapshot};

/// A connection to the server of a vault. It begins with the first question.
pub trait Server: Send {
    /// Asks for rows in one trip.
    fn ask(&self, request: &Request) -> Result<Rows, StoreError>;
    /// Commits an update in one trip.
    fn update(&self, update: &Update) -> Result<Committed, UpdateError>;
    /// Ends the transaction, if one has begun, without a commit. Does not wait for the server.
    fn end(&self);
}

/// Makes a connection to the server at an address, which is opened when it is first used.
pub type Connector = Box<dyn Fn(&SecretBytes) -> Result<Box<dyn Server>, StoreError> + Send>;

/// The place where a machine keeps the rows of a vault that it has seen.
#[derive(Clone, Copy)]
pub enum CachePlace<'a> {
    /// A file
    File(&'a Path),
    /// Nowhere
    Memory,
}

/// A vault on a server.
pub struct RemoteStore {
    cache: SqliteStore,
    /// This machine's key slots and the server's address
    near: Option<SqliteStore>,
    location: Location,
    connector: Connector,
    /// The opened address
    address: OnceCell<SecretBytes>,
    server: OnceCell<Box<dyn Server>>,
    offline: OfflineRules,
    /// Why the server was not asked, and the oldest time of rows that were read without it
    fallback: RefCell<Option<Fallback>>,
    /// The next change may assume that the cache is current
    assumes: Cell<bool>,
    /// The last change has only assumed that
    has_only_assumed: Cell<bool>,
    /// The last change that lost a race changed the directory
    locks_directory: Cell<bool>,
    /// The near file that takes effect with the change whose outcome is not known yet
    staged: RefCell<Option<StagedNear>>,
    /// The answer to what the change asked that lost a race. Its transaction is open.
    next: RefCell<Option<Answered>>,
    /// The last commit may be on one server only
    is_replicated: Cell<bool>,
}

/// A question with its answer.
struct Answered {
    request: Request,
    rows: Rows,
}

/// A reading without the server.
#[derive(Debug, Clone)]
pub struct Fallback {
    /// Why the server was not asked; `None` if it was not wanted
    pub cause: Option<Arc<StoreError>>,
    /// The time at which the rows were last equal to the server's, in milliseconds since 1970
    pub seen: u64,
    is_told: bool,
}

/// A callback that is called when something was read without the server.
pub type FallbackNotice = Box<dyn Fn(&Fallback) + Send>;

/// The rules for reading without the server.
pub struct OfflineRules {
    /// Whether the server is never asked
    pub is_offline: bool,
    /// The maximum age of rows
    pub max_age: Duration,
    /// Called the first time
    pub notice: Option<FallbackNotice>,
}

impl OfflineRules {
    /// The maximum age of rows unless something else is requested.
    pub const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
}

impl Default for OfflineRules {
    fn default() -> Self {
        Self { is_offline: false, max_age: Self::MAX_AGE, notice: None }
    }
}

impl RemoteStore {
    /// Opens a vault by its near file. [`Store::unlock`] opens the server's address.
    pub fn open(
        near: SqliteStore,
        cache: CachePlace<'_>,
        connector: Connector,
    ) -> Result<Self, StoreError> {
        let location = Location::Remote(near.near_rows()?.vault.vault_id);
        Self::new(Some(near), location, None, cache, connector)
    }

    /// Opens a vault by the server's address, for a token. `name` identifies the place.
    pub fn at(
        address: SecretBytes,
        name: VaultId,
        cache: CachePlace<'_>,
        connector: Connector,
    ) -> Result<Self, StoreError> {
        Self::new(None, Location::Remote(name), Some(address), cache, connector)
    }

    fn new(
        near: Option<SqliteStore>,
        location: Location,
        address: Option<SecretBytes>,
        cache: CachePlace<'_>,
        connector: Connector,
    ) -> Result<Self, StoreError> {
        let cache = match cache {
            CachePlace::File(path) => {
                SqliteStore::cache(path).or_else(|_| SqliteStore::cache_in_memory())?
            }
            CachePlace::Memory => SqliteStore::cache_in_memory()?,
        };

        Ok(Self {
            cache,
            near,
            location,
            connector,
            address: address.map_or_else(OnceCell::new, OnceCell::from),
            server: OnceCell::new(),
            offline: OfflineRules::default(),
            fallback: RefCell::default(),
            assumes: Cell::new(false),
            has_only_assumed: Cell::new(false),
            locks_directory: Cell::new(false),
            staged: RefCell::default(),
            next: RefCell::default(),
            is_replicated: Cell::new(true),
        })
    }

    /// Follows other rules for reading without the server.
    #[must_use]
    pub fn with_rules(self, offline: OfflineRules) -> Self {
        Self { offline, ..self }
    }

    fn server(&self) -> Result<&dyn Server, StoreError> {
        if let Some(server) = self.server.get() {
            return Ok(&**server);
        }

        let address = self.address.get().ok_or(ServerError::NoAddress)?;
        let server = (self.connector)(address)?;
        Ok(&**self.server.get_or_init(|| server))
    }

    /// Remembers that rows of this age are read without the server. Fails if they are too old.
    fn fall_back(&self, cause: Option<&Arc<StoreError>>, seen: u64) -> Result<(), StoreError> {
        let age = Duration::from_millis(Timestamp::now().0.saturating_sub(seen));
        if age > self.offline.max_age {
            return Err(ServerError::TooOld(age, cause.cloned()).into());
        }

        let mut fallback = self.fallback.borrow_mut();
        match &mut *fallback {
            Some(known) => known.seen = known.seen.min(seen),
            None => *fallback = Some(Fallback { cause: cause.cloned(), seen, is_told: false }),
        }

        Ok(())
    }

    /// Reports a reading without the server, once.
    fn tell_fallback(&self) {
        if let Some(fallback) = &mut *self.fallback.borrow_mut()
            && !fallback.is_told
            && let Some(notice) = &self.offline.notice
        {
            fallback.is_told = true;
            notice(fallback);
        }
    }

    /// Writes the near file that takes effect with a change.
    fn stage_near(&self, rows: Option<&NearRows>) -> Result<(), StoreError> {
        if let (Some(rows), Some(near)) = (rows, &self.near) {
            self.staged.replace(Some(near.stage_near(rows)?));
        }

        Ok(())
    }

    /// Puts that near file in place if the change has happened, or removes it.
    fn settle_near(&self, has_happened: bool) -> Result<(), StoreError> {
        match self.staged.take() {
            Some(staged) if has_happened => staged.persist(),
            Some(staged) => {
                staged.discard();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Commits the open transaction with an update, and notes whether the standby has it.
    fn commit_open(&self, update: &Update) -> Result<(), StoreError> {
        match self.server()?.update(update) {
            Ok(committed) => {
                self.is_replicated.set(committed.replicated);
                Ok(())
            }
            Err(UpdateError::Failed(error)) => Err(error),
            Err(UpdateError::Overtaken(_)) => Err(StoreError::Raced),
            Err(UpdateError::Unknown(_)) => Err(StoreError::UnknownOutcome),
        }
    }

    fn begin(&self, mode: Mode) -> Result<RemoteSnapshot<'_>, StoreError> {
        let next = self.next.take();
        if next.is_some() && !matches!(mode, Mode::Locked) {
            self.server()?.end();
            return RemoteSnapshot::new(self, mode, None);
        }

        RemoteSnapshot::new(self, mode, next)
    }
}

impl Store for RemoteStore {
    fn read(&self) -> Result<Box<dyn Snapshot + '_>, StoreError> {
        let mode = if self.offline.is_offline { Mode::Offline(None) } else { Mode::Read };
        Ok(Box::new(self.begin(mode)?))
    }

    fn write(&self) -> Result<Box<dyn Transaction + '_>, StoreError> {
        if self.offline.is_offline {
            return Err(ServerError::Offline.into());
        }

        let assumes = self.assumes.take();
        self.has_only_assumed.set(assumes);
        let mode = if assumes { Mode::Assumed } else { Mode::Locked };
        Ok(Box::new(self.begin(mode)?))
    }

    fn assume_current(&self, may_assume: bool) {
        self.assumes.set(may_assume);
    }

    fn has_only_assumed(&self) -> bool {
        self.has_only_assumed.get()
    }

    fn has_locked(&self) -> bool {
        self.next.borrow().is_some()
    }

    fn location(&self) -> Location {
        self.location.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn unlock(&self, key: &Key) {
        let Some(near) = &self.near else { return };
        let opened = near.near_rows().and_then(|rows| {
            near_file::open_address(key, &rows.vault.vault_id, &rows.address)
                .map_err(|_| StoreError::Damaged("server's address"))
        });
        if let Ok(opened) = opened {
            let _ = self.address.set(opened);
        }
    }

    fn near(&self) -> Result<Option<NearRows>, StoreError> {
        self.near.as_ref().map(SqliteStore::near_rows).transpose()
    }

    fn replace_near(&self, rows: &NearRows) -> Result<(), StoreError> {
        match &self.near {
            Some(near) => near.replace_near(rows),
            None => Err(ServerError::NoAddress.into()),
        }
    }

    fn address(&self) -> Option<&SecretBytes> {
        self.address.get()
    }

    fn recovery_slots(&self) -> Result<Vec<Slot>, StoreError> {
        self.cache.reading()?.slots()
    }

    fn settle(&self, doubt: &Doubt) -> Result<bool, StoreError> {
        // The lock waits for a backend that is still at work.
        self.locks_directory.set(true);
        let stored = self.begin(Mode::Locked).and_then(|snapshot| {
            let is_stored = doubt.is_stored(&snapshot)?;
            if is_stored {
                // A server that has crashed shows a commit that no standby has. The end of this
                // transaction, which has locked rows, is acknowledged after it.
                self.commit_open(&Update::default())?;
            }

            Ok(is_stored)
        });
        self.locks_directory.set(false);
        let is_stored = stored?;
        self.settle_near(is_stored)?;
        Ok(is_stored)
    }

    /// Compacts the cache. The server has a cleaner of its own.
    fn compact(&self) -> Result<(), StoreError> {
        self.cache.compact()
    }

    fn fallback(&self) -> Option<Fallback> {
        self.fallback.borrow().clone()
    }

    fn cached(&self) -> Result<(Box<dyn Snapshot + '_>, Vec<ProjectId>), StoreError> {
        let snapshot = self.begin(Mode::Seen)?;
        let pids = snapshot.cache()?.cached_projects()?;
        Ok((Box::new(snapshot), pids))
    }

    fn put_back(&self, pids: &[ProjectId], has_grants: bool) -> Result<Vec<ProjectId>, StoreError> {
        self.restore_rows(pids, has_grants)
    }

    fn last_seen(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.cache.reading()?.seen(&DIRECTORY)?.map(Timestamp))
    }

    fn is_replicated(&self) -> bool {
        self.is_replicated.get()
    }
}
