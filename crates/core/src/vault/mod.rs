//! The vault as the rest of the program sees it: projects and secrets. It seals everything that it
//! stores and opens everything that it returns.
//!
//! * `ahead`: what an operation reads first, in one trip
//! * `access`: what the owner's key can do, by the key itself or by an agent that holds it
//! * `buckets`, `next_head`: reads, changes and signs the tree of a project or of the directory
//! * `directory`: the list of projects, which only the owner opens
//! * `checkpoints`: compares with what this machine last saw
//! * `project`, `state`: reading, with verification of everything that is read
//! * `edit`, `writing`: changing a project and signing it again; one change of the vault
//! * `audit_log`, `change_log`: verifies, reads and prunes the log of changes
//! * `slots`: the passphrase and the recovery code
//! * `inspect`: inspection of everything, damaged or not
//! * `copies`: backup, restore, salvage
//! * `error`: the reasons why something was not done
//! * `find`: secrets by tag or id, one or many
//! * `class`: makes a secret restricted, or a team secret again
//! * `destinations`: where a value may be sent
//! * `rename`: another tag for a secret
//! * `secrets`, `list`, `projects`, `copy`, `import`, `export`: the operations
//! * `rekey`: re-encryption under new keys
//! * `remote`: vaults on a server, and near files
//! * `repair`: changes that a server has lost
//! * `retries`: how often a change is made again after it lost a race
//! * `token_access`, `members`: what a token opens and signs
//! * `tokens`, `revoke_all`: what the owner does with tokens; `token_list`, `token_change`, `grants`, `next_policy`:
//!   how
//! * `trust`: MACs over records that are kept outside of the vault
//! * `use_log`: uses and refusals, in files outside of the vault
//! * `witness`: a place in a project's audit log that a repository remembers
//! * `revealed`: values that are opened together for several uses
//!
//! Nothing here prints, prompts or knows an exit code. Values leave through [`Reveal`], and through
//! [`Vault::export`] into a sealed file.

mod access;
mod ahead;
mod audit_log;
mod buckets;
mod change_log;
mod checkpoints;
mod class;
mod copies;
mod copy;
mod destinations;
mod directory;
mod edit;
mod error;
mod export;
mod find;
mod grants;
mod import;
mod inspect;
mod list;
mod members;
mod next_head;
mod next_policy;
mod project;
mod projects;
mod rekey;
mod remote;
mod rename;
mod repair;
mod retries;
mod revealed;
mod revoke_all;
mod secrets;
mod slots;
mod state;
mod token_access;
mod token_change;
mod token_list;
mod tokens;
mod trust;
mod use_log;
mod witness;
mod writing;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

pub use access::{
    ChangedDirectory, DirectoryChange, KeyServiceError, LocalOwner, OpenedDirectory, OpenedProject,
    SignRequest, VaultAccess, WantedKey, derive_keys,
};
pub use change_log::{ChangeLog, LogScope, LoggedChange, PrunedLog, Writer};
pub use checkpoints::{Divergence, DivergenceNotice, SeenElsewhere};
pub use copies::{
    BundleScope, Difference, Restore, RestoreEvent, RestoreInto, RestoreKeys, RestoreObserver,
    RestoreOutcome, RestorePlan, RestoreTarget, RestoreWork, SalvageOutcome, StateFingerprint,
};
pub use copy::{Action, CopyOutcome, CopyPlan, CopyRequest, OnConflict, PlannedCopy};
pub use destinations::ChangedDestinations;
pub use directory::{DIRECTORY_NAME, Directory, DirectoryState};
pub use error::VaultError;
pub use export::Exported;
pub use import::{Import, ImportOutcome, ImportResult, IncomingSecret};
pub use inspect::{Damage, ProjectReport, Report};
pub use list::Page;
pub use next_head::{HeadPlace, SignedHead, sign};
pub use rekey::RekeyOutcome;
pub use remote::{Joined, NewRemoteVault, RemoteStatus, near_rows};
pub use repair::{LostChanges, Repair};
pub use revealed::RevealedValues;
pub use secrets::{NewSecret, Scope, SecretChanges, Sendable};
pub use token_access::{Needed, OpenGrant, TokenAccess, TokenView};
pub use tokens::{NewToken, Revoked, TokenChanges, TokenInfo};
pub use trust::TrustMacs;
pub use use_log::{MAX_SEGMENT, ReadUses, UseLog, UseLogError, UseLogKeys};

use crate::crypto::CryptoError;
use crate::crypto::audit::{self, AuditChange};
use crate::crypto::ids::{DIRECTORY, VaultId};
use crate::crypto::kdf::{KdfParams, Passphrase};
use crate::crypto::random;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{Slot, VaultRow, slots_hash, tokens_hash};
use crate::crypto::slot::Credential;
use crate::model::{SecretValue, Tag};
use crate::store::{
    Change, CheckpointStore, Snapshot, SqliteStore, Store, StoreError, Transaction,
};
use ahead::KnownProjects;
use checkpoints::Checkpoints;
use copies::refuse_bundle;
use retries::Retries;
use state::{SLOTS, State};

/// The maximum number of key derivations if other processes change the slots in the meantime.
const UNLOCK_ATTEMPTS: usize = 5;

/// A vault that was opened but not unlocked.
pub struct Locked {
    store: Box<dyn Store>,
    checkpoints: Option<CheckpointStore>,
    notice: Option<DivergenceNotice>,
    /// The slots from which the root key was opened
    opened: RefCell<Option<Vec<Slot>>>,
    /// The id of the vault of those slots
    id_opened: Cell<Option<VaultId>>,
    is_exposed: bool,
    keeps_copies: bool,
    max_age: Option<Duration>,
}

impl Locked {
    /// Opens the vault at `path`.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let store = SqliteStore::open(path)?;
        if store.is_near() && store.read()?.project(&DIRECTORY)?.is_none() {
            return Err(StoreError::IsNear(path.to_owned()).into());
        }

        Ok(Self::with_file(store))
    }

    /// Creates a locked vault from its file.
    pub fn with_file(store: SqliteStore) -> Self {
        let is_exposed = store.is_exposed();
        Self { is_exposed, ..Self::with_store(Box::new(store)) }
    }

    /// Creates a locked vault from any store.
    pub fn with_store(store: Box<dyn Store>) -> Self {
        Self {
            store,
            checkpoints: None,
            notice: None,
            opened: RefCell::default(),
            id_opened: Cell::default(),
            is_exposed: false,
            keeps_copies: false,
            max_age: None,
        }
    }

    /// Returns true if the vault's file system has no Unix modes, so that others may be able to
    /// read or replace the file.
    pub fn is_exposed(&self) -> bool {
        self.is_exposed
    }

    /// Keeps the copies from before an interrupted change was rolled back, even if the vault turns
    /// out to be intact.
    #[must_use]
    pub fn keeping_copies(self) -> Self {
        Self { keeps_copies: true, ..self }
    }

    /// Refuses projects whose last change is older than this by the clock of this machine. A server that
    /// hides changes looks like a project without them.
    #[must_use]
    pub fn with_max_age(self, max_age: Option<Duration>) -> Self {
        Self { max_age, ..self }
    }

    /// Compares every state that is opened with the checkpoint on this machine in `directory`, and
    /// records it. Checkpoints are bound to the location of the store.
    #[must_use]
    pub fn with_checkpoints(self, directory: &Path) -> Self {
        let checkpoints = CheckpointStore::new(directory, &self.store.location());
        Self { checkpoints: Some(checkpoints), ..self }
    }

    /// Calls `notice` for a copy that is seen at its path for the first time, if a newer state was
    /// seen elsewhere.
    #[must_use]
    pub fn on_divergence(self, notice: DivergenceNotice) -> Self {
        Self { notice: Some(notice), ..self }
    }

    /// Fails for a bundle, which no passphrase opens. Call it before a passphrase is asked for.
    pub fn refuse_bundle(&self) -> Result<(), VaultError> {
        if self.store.is_remote() {
            return Ok(());
        }

        let snapshot = self.store.read()?;
        let is_bundle = snapshot.slots()?.is_empty() && refuse_bundle(&*snapshot).is_err();
        if is_bundle { Err(VaultError::IsBundle) } else { Ok(()) }
    }

    /// Opens the root key with a passphrase or a recovery code, at the cost of the slot's
    /// parameters.
    pub fn root_key(&self, by: &dyn Credential) -> Result<RootKey, VaultError> {
        self.refuse_bundle()?;
        let mut found = self.id_and_slots()?;

        // The key derivation is slow and does not lock the vault, so a `rekey` in the meantime is
        // not damage.
        for _ in 0..UNLOCK_ATTEMPTS {
            let root = slots::open(&found.1, by, &found.0);
            let now = self.id_and_slots()?;
            if now == found {
                let root = root?;
                self.opened.replace(Some(found.1));
                self.id_opened.set(Some(found.0));
                return Ok(root);
            }

            found = now;
        }

        Err(VaultError::SlotsChanged)
    }

    /// Returns the vault's id and the slots that open it on this machine. They are not verified yet.
    fn id_and_slots(&self) -> Result<(VaultId, Vec<Slot>), VaultError> {
        if let Some(near) = self.store.near()? {
            let slots = slots::of_machine(near.slots, self.store.recovery_slots()?);
            return Ok((state::checked_suite(near.vault)?.vault_id, slots));
        }

        let snapshot = self.store.read()?;
        Ok((state::checked_row(&*snapshot)?.vault_id, snapshot.slots()?))
    }

    /// Returns the vault's id, by which an agent identifies it. It is not verified yet.
    pub fn vault_id(&self) -> Result<VaultId, VaultError> {
        Ok(self.id_and_slots()?.0)
    }

    /// Returns the cost of a guess at the passphrase. It is not verified yet.
    pub fn kdf_params(&self) -> Result<KdfParams, VaultError> {
        Ok(slots::strongest_params(&self.id_and_slots()?.1))
    }

    /// Returns the vault, unlocked by its root key or by an agent that holds it.
    pub fn unlocked(self, access: impl Into<Rc<dyn VaultAccess>>) -> Vault {
        let access = access.into();
        self.unlock_address(&*access);
        let notice = self.notice;
        let checkpoints = self.checkpoints.map(|checkpoints| {
            Rc::new(Checkpoints::new(checkpoints.held_by(access.token_id()), notice))
        });
        Vault {
            store: self.store,
            access,
            checkpoints,
            slots_seen: self.opened,
            known_id: Cell::new(None),
            id_seen: self.id_opened,
            known: Rc::default(),
            keeps_copies: self.keeps_copies,
            max_age: self.max_age,
        }
    }

    /// Opens the address of the vault's server.
    fn unlock_address(&self, access: &dyn VaultAccess) {
        if self.store.is_remote()
            && access.token_id().is_none()
            && let Ok(key) = access.checkpoint_key()
        {
            self.store.unlock(&key);
        }
    }

    /// Opens the root key and unlocks the vault.
    pub fn unlock(self, by: &dyn Credential) -> Result<Vault, VaultError> {
        let root = self.root_key(by)?;
        Ok(self.unlocked(root))
    }

    /// Verifies the slots and the list of projects, and compares them with their checkpoint. Changes
    /// nothing in the vault.
    pub fn check(&self, root: &RootKey) -> Result<(), VaultError> {
        self.check_with(root.copy()?)
    }

    /// Does the same as [`Locked::check`] with an agent that holds the root key.
    pub fn check_with(&self, access: impl Into<Rc<dyn VaultAccess>>) -> Result<(), VaultError> {
        let access: Rc<dyn VaultAccess> = access.into();
        self.unlock_address(&*access);
        let snapshot = self.store.read()?;
        let notice = self.notice.clone();
        let checkpoints = self
            .checkpoints
            .clone()
            .map(|checkpoints| Rc::new(Checkpoints::new(checkpoints, notice)));

        let read = State::read(&*snapshot, &access, checkpoints.as_ref());
        detect_slot_change(read, &self.opened, &*snapshot).map(drop)
    }

    /// Overwrites the remains of deleted and changed rows in the file. Needs no key.
    pub fn compact(&self) -> Result<(), VaultError> {
        Ok(self.store.compact()?)
    }
}

/// An unlocked vault.
pub struct Vault {
    store: Box<dyn Store>,
    access: Rc<dyn VaultAccess>,
    checkpoints: Option<Rc<Checkpoints>>,
    /// The slots at the time of unlocking or of their first use, until this process changes them
    slots_seen: RefCell<Option<Vec<Slot>>>,
    /// The id in the state that was verified last
    known_id: Cell<Option<VaultId>>,
    /// The id of the vault of those slots
    id_seen: Cell<Option<VaultId>>,
    /// The projects that were opened
    known: Rc<KnownProjects>,
    keeps_copies: bool,
    max_age: Option<Duration>,
}

/// Writes the rows of an empty vault into an empty store.
pub fn begin_vault(
    transaction: &mut dyn Transaction,
    vault_id: VaultId,
    root: &RootKey,
    slots: &[Slot],
) -> Result<(), VaultError> {
    let row = VaultRow::first(vault_id);
    transaction.apply(Change::Vault(&row))?;
    for slot in slots {
        transaction.apply(Change::Slot(slot))?;
    }

    let slots = slots_hash(slots, &row.past);
    let change = AuditChange::new(audit::Action::Begin);
    Directory::new(root, vault_id).begin(transaction, slots, tokens_hash(&[]), change)?;
    Ok(())
}

impl Vault {
    /// Creates an empty vault at `path` and unlocks it.
    pub fn init(
        path: &Path,
        passphrase: &Passphrase,
        params: KdfParams,
    ) -> Result<Self, VaultError> {
        let (root, vault_id) = (RootKey::random()?, random::array()?);
        let slot = Slot::create(passphrase, false, params, &vault_id, &root)?;
        let store = SqliteStore::create(path, |transaction| {
            begin_vault(transaction, vault_id, &root, std::slice::from_ref(&slot))
        })?;

        Ok(Locked::with_store(Box::new(store)).unlocked(root))
    }

    /// Reads and verifies the current state.
    fn state(&self, snapshot: &dyn Snapshot) -> Result<State, VaultError> {
        let read = State::read(snapshot, &self.access, self.checkpoints.as_ref());
        let mut state = match self.store.near()? {
            Some(near) => slots::detect_rekey(read, &near, snapshot)?,
            None => detect_slot_change(read, &self.slots_seen, snapshot)?,
        };
        state.known = Rc::clone(&self.known);
        state.max_age = self.max_age;
        self.known_id.set(Some(*state.vault_id()));
        if self.store.keeps_copies() && !self.keeps_copies {
            self.confirm(snapshot)?;
        }

        Ok(state)
    }

    /// Inspects everything after an interrupted change was rolled back. If the vault is intact, the
    /// copies from before are removed.
    fn confirm(&self, snapshot: &dyn Snapshot) -> Result<(), VaultError> {
        let report = inspect::inspect(snapshot.inspection()?, self, &|_| {})?.report;
        if report.damage.is_empty() && report.divergence.is_none() {
            self.store.confirm();
        }

        Ok(())
    }

    /// Returns the vault's id, if this process has verified a state of it. Reads nothing.
    pub fn known_id(&self) -> Option<VaultId> {
        self.known_id.get()
    }

    /// Returns true if the last change left deleted bytes in the store, until `compact`.
    pub fn needs_compaction(&self) -> bool {
        self.store.needs_compaction()
    }

    /// Makes a change, and makes it again if another writer came first. Everything is read, verified and
    /// sealed again each time. Gives up after 30 seconds.
    ///
    /// The first attempt assumes that this machine has seen the last state. If it ends without a commit,
    /// for example because a secret does not exist, it is made again in the last state.
    fn retrying<T>(
        &self,
        mut change: impl FnMut() -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut retries = Retries::begin();
        let mut is_first = true;
        self.store.assume_current(true);
        loop {
            let result = change();
            let was_assumed = is_first && self.store.has_only_assumed();
            is_first = false;

            match result {
                Err(VaultError::Store(StoreError::Raced)) if self.store.has_locked() => {}
                Err(VaultError::Store(StoreError::Raced)) => retries.wait()?,
                _ if was_assumed => {}
                result => return result,
            }
        }
    }

    /// Returns true if this process has the root key itself.
    pub fn holds_root_key(&self) -> bool {
        self.access.root_key().is_some()
    }

    /// Returns true if the slots differ from those seen before.
    fn slots_changed(&self, snapshot: &dyn Snapshot) -> bool {
        differ(&self.slots_seen, snapshot)
    }
}

/// Reports a list of projects that does not open as `SlotsChanged` if the key slots differ from those
/// that this process opened. That is a concurrent `passwd` or `rekey`, not tampering.
fn detect_slot_change(
    read: Result<State, VaultError>,
    seen: &RefCell<Option<Vec<Slot>>>,
    snapshot: &dyn Snapshot,
) -> Result<State, VaultError> {
    match read {
        Err(VaultError::Crypto(CryptoError::Damaged(DIRECTORY_NAME | SLOTS)))
            if differ(seen, snapshot) =>
        {
            Err(VaultError::SlotsChanged)
        }
        read => read,
    }
}

fn differ(seen: &RefCell<Option<Vec<Slot>>>, snapshot: &dyn Snapshot) -> bool {
    seen.borrow().as_ref().is_some_and(|seen| snapshot.slots().is_ok_and(|now| now != *seen))
}

/// A source of values: a project of a vault, or values that were opened before.
pub trait Reveal {
    /// Opens the values of `tags` in their order, all from one state of the vault. For a tag that
    /// does not exist, returns the nearest existing one.
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError>;
}

/// The result for one tag.
pub enum Revealed {
    /// The tag exists
    Value {
        /// The tag as it was stored
        tag: Tag,
        /// The value
        value: SecretValue,
    },
    /// The tag does not exist
    Missing {
        /// The tag that was probably meant
        nearest: Option<Tag>,
    },
}

/// The name of the list of tokens in messages.
pub const GRANTS: &str = "the table of grants";

/// Returns the candidate that was probably meant by `wanted`, with at most a third of it mistyped.
fn nearest<'a, T: 'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a T>,
    text: impl Fn(&T) -> String,
) -> Option<&'a T> {
    let length = wanted.chars().count();
    let most = (length / 3).max(1).min(length.saturating_sub(1));
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(wanted, &text(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
