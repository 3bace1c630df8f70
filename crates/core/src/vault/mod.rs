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
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
pub use export::Exported;
pub use import::{Import, ImportOutcome, ImportResult, IncomingSecret};
pub use inspect::{Damage, ProjectReport, Report};
pub use list::Page;
pub use next_head::{HeadPlace, SignedHead, sign};
pub use rekey::RekeyOutcome;
pub use remote::{Joined, NewRemoteVault, RemoteStatus, near_rows};
pub use repair::Repaired;
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
use crate::model::{
    ProjectName, Secret, SecretId, SecretRef, SecretValue, Tag, Timestamp, TokenName,
};
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
    fn retrying<T>(
        &self,
        mut change: impl FnMut() -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut retries = Retries::begin();
        self.store.assume_current(true);
        loop {
            match change() {
                Err(VaultError::Store(StoreError::Raced)) => retries.wait()?,
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

impl From<Divergence> for VaultError {
    fn from(divergence: Divergence) -> Self {
        Self::Diverged(Box::new(divergence))
    }
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

/// The reason why the vault did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store failed
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key or a seal failed
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The agent, or another holder of the root key, failed
    #[error(transparent)]
    KeyService(#[from] KeyServiceError),
    /// The file to replace is a copy of another vault
    #[error("`{}` is not a copy of this vault", .0.display())]
    AnotherVault(PathBuf),
    /// The file to replace is a newer state of the vault or has diverged from it
    #[error("`{}` is not an earlier copy of this vault: it contains changes that the vault does not have", .0.display())]
    NoEarlierCopy(PathBuf),
    /// The credential opens the vault that would be replaced, but not the backup
    #[error(
        "the backup has different keys from the vault: it opens with the passphrase it was made with"
    )]
    OtherKeys,
    /// Parts of the vault are damaged
    #[error("the vault is damaged or was tampered with")]
    DamagedVault(Box<Report>),
    /// Nothing in the vault can be read
    #[error("no secret in the vault can be read")]
    NothingToSave(Box<Report>),
    /// Another process changed the key slots in the meantime
    #[error("another process changed the vault's key slots in the meantime")]
    SlotsChanged,
    /// A project does not follow the state that a repository remembers
    #[error(
        "project `{0}` does not follow its witness in `.secrets.toml`: it was rolled back, or it is \
         another project"
    )]
    NotOfWitness(ProjectName),
    /// The vault is a file on this machine
    #[error("the vault is a file on this machine, and not on a server")]
    NotRemote,
    /// The vault on a server got new keys by another machine
    #[error(
        "the vault got new keys by `secrets rekey` on another machine, which this machine does not have"
    )]
    RekeyedElsewhere,
    /// Another process changed the vault to be replaced in the meantime
    #[error("another process changed the vault in the meantime")]
    VaultChanged,
    /// The state neither equals the last checkpoint here nor follows it
    #[error("{0}")]
    Diverged(Box<Divergence>),
    /// A record differs from the signed one, so no part of it is shown
    #[error("{what} of `{id}` in project `{project}` is damaged or was tampered with")]
    Record {
        /// The part, for example "the value" or "the metadata"
        what: &'static str,
        /// The record
        id: SecretId,
        /// The project of the record
        project: ProjectName,
    },
    /// The file differs from what the project's head was signed over
    #[error("{what} of project `{project}` is damaged or was tampered with")]
    Project {
        /// The part, for example "the head" or "a bucket"
        what: &'static str,
        /// The project
        project: ProjectName,
    },
    /// An entry of an audit log is missing or does not verify
    #[error("entry {seq} of the audit log of {} is missing, damaged or not signed by its writer", of_log(project.as_ref()))]
    AuditLog {
        /// The project; `None` for the vault's own log
        project: Option<ProjectName>,
        /// The number of the entry
        seq: u64,
    },
    /// The project has no secret with this tag, or no project has a secret with this id
    #[error("no secret `{wanted}`")]
    NoSecret {
        /// The tag or id
        wanted: SecretRef,
        /// The project in which it was looked up
        project: ProjectName,
        /// The tag that was probably meant
        nearest: Option<Tag>,
    },
    /// The vault has no project of this name
    #[error("no project `{name}`")]
    NoProject {
        /// The name
        name: ProjectName,
        /// The name that was probably meant
        nearest: Option<ProjectName>,
    },
    /// Secrets with these tags already exist
    #[error("{} secrets already exist", .0.len())]
    Exists(Vec<Secret>),
    /// The vault has the maximum number of projects
    #[error("the vault has {} projects, which is the maximum", crate::store::MAX_PROJECTS)]
    TooManyProjects,
    /// A project of this name already exists
    #[error("project `{0}` already exists")]
    ProjectExists(ProjectName),
    /// Another process changed the secret since it was read
    #[error("another process changed `{0}` in the meantime")]
    Changed(Tag),
    /// Two secrets would get the same tag
    #[error("`{0}` and `{1}` would be stored under the same tag")]
    SameTarget(Tag, Tag),
    /// A secret would be copied onto itself
    #[error("`{0}` would be copied onto itself")]
    OntoItself(Tag),
    /// The file to replace is not a bundle of the same token
    #[error("`{}` is not a bundle of this token", .0.display())]
    NoBundle(PathBuf),
    /// The file is a bundle, which only its token opens
    #[error("the file is a bundle, which only its token opens")]
    IsBundle,
    /// The token does not permit this; the text says what is needed
    #[error("{0}")]
    Forbidden(Needed),
    /// The vault has no token of this name
    #[error("no token `{0}`")]
    NoToken(TokenName),
    /// A token of this name already exists
    #[error("token `{0}` already exists")]
    TokenExists(TokenName),
    /// The vault has the maximum number of tokens
    #[error("the vault has {} tokens, which is the maximum", crate::crypto::grant::MAX_TOKENS)]
    TooManyTokens,
    /// The project has the maximum number of tokens that may sign
    #[error(
        "the project has {} tokens with level `manage`, which is the maximum",
        crate::crypto::policy::MAX_WRITERS
    )]
    TooManyWriters,
    /// Who may change some secrets signs for the whole project
    #[error("a token with level `manage` cannot be limited to some secrets")]
    ManageOfSome,
    /// A secret cannot be added to a token that has all of its project
    #[error("token `{0}` has every secret of its project already")]
    HasWholeProject(TokenName),
    /// A bundle cannot be changed, so a token that manages secrets gets none
    #[error("a token with level `manage` gets no bundle, because a bundle cannot be changed")]
    BundleOfManager,
    /// Tokens of several projects cannot be revoked together
    #[error("the tokens belong to different projects")]
    TokensOfProjects,
    /// The vault has no grant for the token
    #[error(
        "the token opens nothing in this vault: it was revoked, or it belongs to another vault"
    )]
    NoGrant,
    /// The project has newer keys than the token
    #[error(
        "the token no longer opens project `{0}`: it was revoked, or this copy of the vault has \
         no new grant for it"
    )]
    TokenRevoked(ProjectName),
    /// The token has expired
    #[error("the token `{name}` expired on {}", .expired.to_jiff().strftime("%Y-%m-%d"))]
    TokenExpired {
        /// Its name
        name: TokenName,
        /// The time of its end
        expired: Timestamp,
    },
    /// A new string replaced the token's
    #[error(
        "this string of token `{name}` was replaced and worked until {}",
        .end.to_jiff().strftime("%Y-%m-%d")
    )]
    TokenReplaced {
        /// Its name
        name: TokenName,
        /// The time of its end
        end: Timestamp,
    },
    /// A token must not sign on a head from the future
    #[error(
        "the last change of project `{0}` is dated more than 24 hours after the time of this \
         machine"
    )]
    FromTheFuture(ProjectName),
    /// Only a bug in this program can cause this
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl VaultError {
    /// Returns true if the content of the file is damaged, and false if the system or another
    /// process is the cause.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Crypto(CryptoError::Damaged(_))
                | Self::Store(StoreError::Damaged(_))
                | Self::Project { .. }
                | Self::Record { .. }
                | Self::AuditLog { .. }
        )
    }
}

fn of_log(project: Option<&ProjectName>) -> String {
    project.map_or_else(|| "the vault".into(), |project| format!("project `{project}`"))
}

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
