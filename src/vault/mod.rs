//! The vault as the rest of the program sees it: projects and secrets; seal on the way in, open on the way out.
//!
//! * `holder`: the root key's few operations, by the key itself or by an agent that has it
//! * `anchored`: a holder that remembers what was last seen here
//! * `slots`: the passphrase and the recovery code
//! * `state`: reading, with everything verified that is read
//! * `edit`: changing a project, signing it anew
//! * `examine`: everything looked at, damaged or not
//! * `copies`: backup, restore, salvage
//! * `find`: secrets by tag or id, one or many
//! * `secrets`, `list`, `projects`, `copy`, `import`, `export`: the operations
//! * `rekey`: everything sealed anew under new keys
//! * `trust`: MACs over records that are kept outside of the vault
//! * `opened`: values opened together, for several uses
//!
//! Nothing here prints, prompts or knows an exit code. A value leaves through [`Reveal`], and through [`Vault::export`]
//! into a sealed file.

mod checkpointed;
mod copies;
mod copy;
mod edit;
mod export;
mod find;
mod import;
mod inspect;
mod key_handle;
mod list;
mod projects;
mod rekey;
mod revealed;
mod secrets;
mod slots;
mod state;
mod trust;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

pub use checkpointed::{Divergence, DivergenceNotice, SeenElsewhere};
pub use copies::{Difference, SalvageOutcome, StateFingerprint};
pub use copy::{Action, CopyOutcome, CopyPlan, CopyRequest, OnConflict, PlannedCopy};
pub use export::Exported;
pub use import::{Import, ImportOutcome, ImportResult, IncomingSecret};
pub use inspect::{Damage, ProjectReport, Report};
pub use key_handle::{KeyServiceError, RootKeyHandle, RootTables};
pub use list::Page;
pub use rekey::RekeyOutcome;
pub use revealed::RevealedValues;
pub use secrets::{NewSecret, Scope, SecretChanges};
pub use trust::TrustMacs;

use crate::crypto::CryptoError;
use crate::crypto::ids::VaultId;
use crate::crypto::kdf::{KdfParams, Passphrase};
use crate::crypto::random;
use crate::crypto::root_key::{ROOT_TABLES, RootKey};
use crate::crypto::rows::{Slot, VaultRow};
use crate::crypto::slot::Credential;
use crate::model::{ProjectName, Secret, SecretId, SecretRef, SecretValue, Tag};
use crate::store::{
    CheckpointStore, Committed, Snapshot, SqliteStore, Store, StoreError, Transaction,
};
use checkpointed::{CheckpointedHandle, check_and_record};
use state::State;

/// Key derivations, where others change the slots meanwhile.
const UNLOCKS: usize = 5;

/// A vault that has been found but not unlocked.
pub struct Locked {
    store: Box<dyn Store>,
    checkpoints: Option<CheckpointStore>,
    notice: Option<DivergenceNotice>,
    /// The slots that the root key was opened from
    opened: RefCell<Option<Vec<Slot>>>,
    is_exposed: bool,
    keeps_copies: bool,
}

impl Locked {
    /// Opens the vault at `path`.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let store = SqliteStore::open(path)?;
        let is_exposed = store.is_exposed();
        Ok(Self { is_exposed, ..Self::over(Box::new(store)) })
    }

    /// Takes any store.
    pub fn over(store: Box<dyn Store>) -> Self {
        Self {
            store,
            checkpoints: None,
            notice: None,
            opened: RefCell::default(),
            is_exposed: false,
            keeps_copies: false,
        }
    }

    /// True if its file system has no Unix modes: others may be able to read or replace the file.
    pub fn is_exposed(&self) -> bool {
        self.is_exposed
    }

    /// Keeps the copies that were made before an interrupted change was rolled back, even if everything turns out to be right.
    #[must_use]
    pub fn keeping_copies(self) -> Self {
        Self { keeps_copies: true, ..self }
    }

    /// Holds every state that is opened against what was last seen here, and remembers it.
    #[must_use]
    pub fn checkpointed(self, checkpoints: CheckpointStore) -> Self {
        Self { checkpoints: Some(checkpoints), ..self }
    }

    /// Has `notice` told of a copy that is seen for the first time at its path, if a newer state was seen elsewhere.
    #[must_use]
    pub fn noticing(self, notice: DivergenceNotice) -> Self {
        Self { notice: Some(notice), ..self }
    }

    /// Opens the root key with a passphrase or a recovery code. Costs what the slot's parameters say.
    pub fn root_key(&self, by: &dyn Credential) -> Result<RootKey, VaultError> {
        let look = || {
            let snapshot = self.store.read()?;
            Ok::<_, VaultError>((state::checked_row(&*snapshot)?.vault_id, snapshot.slots()?))
        };

        let mut found = look()?;

        // The key derivation takes its time, and nobody waits for it: a `rekey` meanwhile is no damage.
        for _ in 0..UNLOCKS {
            let root = slots::open(&found.1, by, &found.0);
            let now = look()?;
            if now == found {
                let root = root?;
                self.opened.replace(Some(found.1));
                return Ok(root);
            }

            found = now;
        }

        Err(VaultError::SlotsChanged)
    }

    /// The vault's own id, by which an agent knows it. It is not verified yet.
    pub fn vault_id(&self) -> Result<VaultId, VaultError> {
        Ok(state::checked_row(&*self.store.read()?)?.vault_id)
    }

    /// What a guess at the passphrase costs. It is not verified yet.
    pub fn kdf_params(&self) -> Result<KdfParams, VaultError> {
        Ok(slots::dearest(&self.store.read()?.slots()?))
    }

    /// True if a recovery code opens the vault. It is not verified yet.
    pub fn has_recovery(&self) -> Result<bool, VaultError> {
        Ok(slots::have_recovery(&self.store.read()?.slots()?))
    }

    /// The vault, with what holds its root key.
    pub fn unlocked(self, root: impl RootKeyHandle + 'static) -> Vault {
        Vault {
            root: remembering(root, self.checkpoints.as_ref(), self.notice),
            store: self.store,
            checkpoints: self.checkpoints,
            slots_seen: self.opened,
            keeps_copies: self.keeps_copies,
        }
    }

    /// Opens and unlocks in one go.
    pub fn unlock(self, by: &dyn Credential) -> Result<Vault, VaultError> {
        let root = self.root_key(by)?;
        Ok(self.unlocked(root))
    }

    /// Checks what the root MAC and the heads cover, and changes nothing.
    pub fn check(&self, root: &dyn RootKeyHandle) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        let state = told_apart(State::read(&*snapshot, root), &self.opened, &*snapshot)?;
        if let Some(checkpoints) = &self.checkpoints {
            check_and_record(
                checkpoints,
                &root.checkpoint_key()?,
                &state.tables(),
                &state.keyrings,
                self.notice.as_ref(),
            )?;
        }

        (0..state.rows.len()).try_for_each(|at| state.project(&*snapshot, at).map(drop))
    }

    /// Has `root` open what the root MAC covers. What it then returns is not used, and nothing is remembered here.
    pub fn compare(&self, root: &dyn RootKeyHandle) -> Result<(), VaultError> {
        State::read(&*self.store.read()?, root).map(drop)
    }

    /// Overwrites what deleted and changed rows have left behind in the file. Needs no key.
    pub fn compact(&self) -> Result<(), VaultError> {
        Ok(self.store.compact()?)
    }
}

/// An unlocked vault.
pub struct Vault {
    store: Box<dyn Store>,
    root: Box<dyn RootKeyHandle>,
    checkpoints: Option<CheckpointStore>,
    /// The slots as they were when the vault was unlocked or they were first looked at, until they are changed
    slots_seen: RefCell<Option<Vec<Slot>>>,
    keeps_copies: bool,
}

/// A holder that holds what it opens against what was last seen.
fn remembering(
    root: impl RootKeyHandle + 'static,
    checkpoints: Option<&CheckpointStore>,
    notice: Option<DivergenceNotice>,
) -> Box<dyn RootKeyHandle> {
    match checkpoints {
        Some(checkpoints) => {
            Box::new(CheckpointedHandle::new(Box::new(root), checkpoints.clone(), notice))
        }
        None => Box::new(root),
    }
}

impl Vault {
    /// Makes an empty vault at `path` and unlocks it.
    pub fn init(
        path: &Path,
        passphrase: &Passphrase,
        params: KdfParams,
    ) -> Result<Self, VaultError> {
        let root = RootKey::random()?;
        let mut row = VaultRow::first(random::array()?);
        let slot = Slot::create(passphrase, params, &row.vault_id, &root)?;
        row.root_mac = root.mac(&row, std::slice::from_ref(&slot), &[], &[]);

        let store = SqliteStore::create(path, &row, &slot)?;
        Ok(Self {
            store: Box::new(store),
            root: Box::new(root),
            checkpoints: None,
            slots_seen: RefCell::default(),
            keeps_copies: false,
        })
    }

    /// Reads a state, verified.
    fn state(&self, snapshot: &dyn Snapshot) -> Result<State, VaultError> {
        let state = told_apart(State::read(snapshot, &*self.root), &self.slots_seen, snapshot)?;
        if self.store.keeps_copies() && !self.keeps_copies {
            self.confirm(snapshot)?;
        }

        Ok(state)
    }

    /// Looks at everything once an interrupted change was rolled back. If it is right, the copies from before are not needed.
    fn confirm(&self, snapshot: &dyn Snapshot) -> Result<(), VaultError> {
        if inspect::examine(snapshot, &*self.root, &|_| {})?.report.damage.is_empty() {
            self.store.confirm();
        }

        Ok(())
    }

    /// True where the slots are not those that were seen before.
    fn slots_changed(&self, snapshot: &dyn Snapshot) -> bool {
        differ(&self.slots_seen, snapshot)
    }

    /// Commits, and shows the new state to a holder that remembers: it notices when that is taken back.
    fn commit(&self, transaction: Box<dyn Transaction + '_>) -> Result<Committed, VaultError> {
        let committed = transaction.commit()?;
        if self.root.has_checkpoints() {
            // What was written is written: what now fails is told by the next command.
            let _ = self.store.read().map_err(VaultError::from).and_then(|now| self.state(&*now));
        }

        Ok(committed)
    }
}

/// Tells keys that somebody has changed since this process opened them from damage.
fn told_apart(
    read: Result<State, VaultError>,
    seen: &RefCell<Option<Vec<Slot>>>,
    snapshot: &dyn Snapshot,
) -> Result<State, VaultError> {
    match read {
        Err(VaultError::Crypto(CryptoError::Damaged(ROOT_TABLES))) if differ(seen, snapshot) => {
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
        Self::Departed(Box::new(divergence))
    }
}

/// The result of a change, and whether dead bytes stay in the file until `compact`.
#[derive(Debug)]
pub struct WriteOutcome<T> {
    /// What was written
    pub value: T,
    /// Deleted or replaced bytes are still in the file
    pub compaction_due: bool,
}

impl<T> WriteOutcome<T> {
    fn new(value: T, committed: Committed) -> Self {
        Self { value, compaction_due: committed.compaction_due }
    }
}

/// What opens values for use: a project of a vault; later an agent's client, a token.
pub trait Reveal {
    /// Opens the values of `tags`, in their order, all from one state of the vault. A tag that is not there comes
    /// back with the nearest one that is.
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError>;
}

/// The answer to one tag.
pub enum Revealed {
    /// Its value
    Value {
        /// As it was spelled when it was stored
        tag: Tag,
        /// The value
        value: SecretValue,
    },
    /// No such secret
    Missing {
        /// What was perhaps meant
        nearest: Option<Tag>,
    },
}

/// Why the vault did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key, a seal
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// What holds the root key
    #[error(transparent)]
    Holder(#[from] KeyServiceError),
    /// It would give way to a copy of another vault
    #[error("`{}` is not a copy of this vault", .0.display())]
    AnotherVault(PathBuf),
    /// It would give way to an older state of it, or to one that went another way
    #[error("`{}` is not an earlier copy of this vault: it contains changes that the vault does not have", .0.display())]
    NoEarlierCopy(PathBuf),
    /// The credential opens what it would replace, and not this one
    #[error(
        "the backup has different keys from the vault: it opens with the passphrase it was made with"
    )]
    OtherKeys,
    /// Not everything in it holds
    #[error("the vault is damaged or was tampered with")]
    NotWhole(Box<Report>),
    /// Nothing in it can be read
    #[error("no secret in the vault can be read")]
    NothingToSave(Box<Report>),
    /// Somebody else changed how the vault is unlocked, meanwhile
    #[error("another process changed the vault's key slots in the meantime")]
    SlotsChanged,
    /// Somebody else changed what was to give way, meanwhile
    #[error("another process changed the vault in the meantime")]
    ChangedBelow,
    /// Not the state that was last seen here, nor one that follows on it
    #[error("{0}")]
    Departed(Box<Divergence>),
    /// A record that is not what was signed; nothing of it is shown
    #[error("{what} of `{id}` in project `{project}` is damaged or was tampered with")]
    Record {
        /// "the value", "the metadata"
        what: &'static str,
        /// Which record
        id: SecretId,
        /// Of which project
        project: ProjectName,
    },
    /// What a project's head was signed over is not what the file holds
    #[error("{what} of project `{project}` is damaged or was tampered with")]
    Project {
        /// "the head", "a bucket"
        what: &'static str,
        /// Of which project
        project: ProjectName,
    },
    /// No secret of that tag in the project, or of that id anywhere
    #[error("no secret `{wanted}`")]
    NoSecret {
        /// As asked for
        wanted: SecretRef,
        /// Where it was looked for
        project: ProjectName,
        /// What was perhaps meant
        nearest: Option<Tag>,
    },
    /// No project of that name
    #[error("no project `{name}`")]
    NoProject {
        /// As asked for
        name: ProjectName,
        /// What was perhaps meant
        nearest: Option<ProjectName>,
    },
    /// Secrets of these tags are there already
    #[error("{} secrets already exist", .0.len())]
    Exists(Vec<Secret>),
    /// The vault has as many projects as fit
    #[error("the vault has {} projects, which is the maximum", crate::store::MOST_PROJECTS)]
    TooManyProjects,
    /// A project of that name is there already
    #[error("project `{0}` already exists")]
    ProjectExists(ProjectName),
    /// Somebody else changed the secret since it was read
    #[error("another process changed `{0}` in the meantime")]
    Changed(Tag),
    /// Two sources of one copy have the same tag
    #[error("`{0}` and `{1}` would be stored under the same tag")]
    SameTarget(Tag, Tag),
    /// Source and target of a copy are one secret
    #[error("`{0}` would be copied onto itself")]
    OntoItself(Tag),
}

impl VaultError {
    /// True where it is the file's content that is not as it should be, not the machine, and nobody else.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Crypto(CryptoError::Damaged(_))
                | Self::Store(StoreError::Damaged(_))
                | Self::Project { .. }
                | Self::Record { .. }
        )
    }
}

/// The candidate that `wanted` was perhaps meant to be: at most a third of it mistyped.
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
