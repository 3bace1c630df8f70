//! The operations of the owner's key. Either the root key in this process or an agent that holds it
//! carries them out.
//!
//! The rest of the vault is the same for both. An agent never sends the root key or a key of the
//! directory.

use std::cell::RefCell;
use std::rc::Rc;

use super::VaultError;
use super::directory::{Directory, DirectoryState};
use super::next_head::SignedHead;
use super::token_access::{Needed, OpenGrant};
use crate::crypto::aead::{Key, MessageKey, SALT};
use crate::crypto::audit::AuditChange;
use crate::crypto::checkpoint::{PastKeys, open_past_keys};
use crate::crypto::grant::GrantedKeys;
use crate::crypto::head::Head;
use crate::crypto::ids::{RecordId, TokenId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::output_digest::OutputKey;
use crate::crypto::project_entry::ProjectEntry;
use crate::crypto::random;
use crate::crypto::record::VALUE_LABEL;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{PolicyRow, ProjectRow, VaultRow};
use crate::crypto::signing::PublicKey;
use crate::model::{Class, Level, ProjectName};
use crate::store::{Extent, Snapshot, Transaction, Want};

/// A project that was found in the directory.
#[derive(Clone)]
pub struct OpenedProject {
    /// The directory's entry
    pub entry: ProjectEntry,
    /// The project's keys; an agent keeps those that open values, and a token may have fewer
    pub keys: Rc<GrantedKeys>,
    /// All keys of the project, sealed by the agent for itself; empty without an agent
    pub ticket: Rc<[u8]>,
}

impl OpenedProject {
    /// Returns a project whose keys are all here.
    pub fn new(entry: ProjectEntry, keys: Keyring) -> Self {
        Self { entry, keys: Rc::new(GrantedKeys::Project(keys)), ticket: Rc::new([]) }
    }

    /// Returns the keys of the whole project. Fails for a token that has only some of its secrets.
    pub fn ring(&self) -> Result<&Keyring, VaultError> {
        self.keys.whole().ok_or(VaultError::Forbidden(Needed::WholeProject))
    }
}

/// The directory in one state of the vault.
pub struct OpenedDirectory {
    /// Its verified head
    pub head: Head,
    /// The generation of its keys
    pub epoch: u32,
    /// The key that verifies what the owner signs
    pub owner: PublicKey,
}

/// A change of the directory that needs no new keys for existing projects.
#[derive(Debug, Clone, Copy)]
pub enum DirectoryChange<'a> {
    /// Add empty projects with these names
    Add(&'a [&'a ProjectName]),
    /// Give a project another name
    Rename {
        /// The present name
        from: &'a ProjectName,
        /// The new name
        to: &'a ProjectName,
    },
    /// Delete these projects and everything in them
    Delete(&'a [&'a ProjectName]),
}

/// The result of a change of the directory.
pub struct ChangedDirectory {
    /// The directory's new head
    pub head: Head,
    /// The projects that were added
    pub added: Vec<OpenedProject>,
}

/// The seal for which a key is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedKey {
    /// The record
    pub rid: RecordId,
    /// The generation of its value's key
    pub generation: u32,
    /// Its class
    pub class: Class,
    /// The salt of the seal to open; `None` for a new seal, whose salt is drawn
    pub salt: Option<[u8; SALT]>,
}

/// A head to sign.
pub struct SignRequest<'a> {
    /// The project
    pub project: &'a OpenedProject,
    /// The row with the head before it
    pub previous: &'a ProjectRow,
    /// The project's policy
    pub policy: Option<&'a PolicyRow>,
    /// The head; its `audit_head` is still that of the head before
    pub head: Head,
    /// The description of the change
    pub change: AuditChange,
}

/// The keys and signatures that somebody has: the owner himself, the owner through an agent, or a token.
pub trait VaultAccess {
    /// Opens and verifies the directory's head.
    fn directory(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
    ) -> Result<OpenedDirectory, VaultError>;
    /// Opens and verifies the head of the directory in a copy of the vault. It is not compared with
    /// what was seen of the vault.
    fn directory_of_copy(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
    ) -> Result<OpenedDirectory, VaultError> {
        self.directory(vault_id, rows)
    }
    /// Returns the indexes of projects' names in the directory, so that a store on a network is asked
    /// for their entries at once. They are known before anything was read.
    fn indexes(&self, names: &[&ProjectName]) -> Result<Vec<[u8; 16]>, VaultError>;
    /// Finds projects by name. Returns `None` for a name that is not there.
    fn find(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
        names: &[&ProjectName],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError> {
        self.at(vault_id, rows, &self.indexes(names)?)
    }
    /// Opens the projects at these indexes of the directory.
    fn at(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
        indexes: &[[u8; 16]],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError>;
    /// Returns the keys of single seals of values.
    fn message_keys(
        &self,
        vault_id: &VaultId,
        project: &OpenedProject,
        wanted: &[WantedKey],
    ) -> Result<Vec<MessageKey>, VaultError>;
    /// Signs the next head of a project, and the entry of the audit log that belongs to it.
    fn sign(&self, vault_id: &VaultId, request: SignRequest<'_>) -> Result<SignedHead, VaultError>;
    /// Changes the directory.
    fn change(
        &self,
        vault_id: &VaultId,
        rows: &mut dyn Transaction,
        change: DirectoryChange<'_>,
    ) -> Result<ChangedDirectory, VaultError>;
    /// Shows the head of a project that was verified. An agent compares it with the last one that it
    /// was shown.
    fn show_head(
        &self,
        _vault_id: &VaultId,
        _project: &OpenedProject,
        _row: &ProjectRow,
    ) -> Result<(), VaultError> {
        Ok(())
    }
    /// Returns the key that seals checkpoints.
    fn checkpoint_key(&self) -> Result<Key, VaultError>;
    /// Returns the keys that are kept of earlier root keys, the latest first.
    fn past_keys(&self, vault: &VaultRow) -> Result<Vec<PastKeys>, VaultError> {
        Ok(open_past_keys(&self.checkpoint_key()?, &vault.vault_id, &vault.past)?)
    }
    /// Returns the key for the digests of a project's rendered files.
    fn output_key(&self, project: &OpenedProject) -> Result<OutputKey, VaultError> {
        Ok(project.ring()?.output_key(&project.entry.pid))
    }
    /// Opens the grant of a token. The owner has none.
    fn grant(
        &self,
        _vault_id: &VaultId,
        _rows: &dyn Snapshot,
    ) -> Result<Option<Rc<OpenGrant>>, VaultError> {
        Ok(None)
    }
    /// Returns the id of the token that gives access, or `None` for the owner.
    fn token_id(&self) -> Option<TokenId> {
        None
    }
    /// Returns the root key itself, if this process has it.
    fn root_key(&self) -> Option<&RootKey> {
        None
    }
}

/// The root key in this process, and the directory that it opens.
pub struct LocalOwner {
    root: RootKey,
    /// The directory of the vault that was used last
    directory: RefCell<Option<Rc<Directory>>>,
}

impl LocalOwner {
    /// Takes the root key.
    pub fn new(root: RootKey) -> Self {
        Self { root, directory: RefCell::default() }
    }

    fn open(&self, vault_id: &VaultId) -> Rc<Directory> {
        let mut cached = self.directory.borrow_mut();
        match cached.as_ref().filter(|directory| directory.vault_id() == vault_id) {
            Some(directory) => Rc::clone(directory),
            None => {
                let opened = Rc::new(Directory::new(&self.root, *vault_id));
                Rc::clone(cached.insert(opened))
            }
        }
    }
}

impl VaultAccess for LocalOwner {
    fn directory(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
    ) -> Result<OpenedDirectory, VaultError> {
        let directory = self.open(vault_id);
        let DirectoryState { row, head, .. } = directory.read(rows)?;
        Ok(OpenedDirectory { head, epoch: row.epoch, owner: directory.owner() })
    }

    fn indexes(&self, names: &[&ProjectName]) -> Result<Vec<[u8; 16]>, VaultError> {
        let keys = self.root.directory_keys();
        Ok(names.iter().map(|name| keys.tag_ix(name.as_str())).collect())
    }

    fn at(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
        indexes: &[[u8; 16]],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError> {
        rows.fetch(&[Want::Entries(indexes, Extent::Entry)])?;
        let directory = self.open(vault_id);
        directory.projects(&directory.read(rows)?, rows, indexes)
    }

    fn message_keys(
        &self,
        _: &VaultId,
        project: &OpenedProject,
        wanted: &[WantedKey],
    ) -> Result<Vec<MessageKey>, VaultError> {
        derive_keys(project, wanted)
    }

    fn sign(&self, vault_id: &VaultId, request: SignRequest<'_>) -> Result<SignedHead, VaultError> {
        Ok(self.open(vault_id).sign(request))
    }

    fn change(
        &self,
        vault_id: &VaultId,
        rows: &mut dyn Transaction,
        change: DirectoryChange<'_>,
    ) -> Result<ChangedDirectory, VaultError> {
        self.open(vault_id).change(rows, change)
    }

    fn checkpoint_key(&self) -> Result<Key, VaultError> {
        Ok(self.root.checkpoint_key())
    }

    fn root_key(&self) -> Option<&RootKey> {
        Some(&self.root)
    }
}

/// Derives the keys of single seals from a project's keys.
pub fn derive_keys(
    project: &OpenedProject,
    wanted: &[WantedKey],
) -> Result<Vec<MessageKey>, VaultError> {
    let OpenedProject { entry, keys, .. } = project;
    let derive = |wanted: &WantedKey| {
        let WantedKey { rid, generation, class, salt } = wanted;
        let key = keys.value_key(&entry.pid, rid, *class, *generation);
        let key = key.ok_or(VaultError::Forbidden(match class {
            Class::Team => Needed::Level(Level::Use),
            Class::Restricted => Needed::Restricted,
        }))?;

        let salt = salt.map_or_else(random::array, Ok)?;
        Ok(key.message_key(VALUE_LABEL, &salt))
    };

    wanted.iter().map(derive).collect()
}

impl From<RootKey> for Rc<dyn VaultAccess> {
    fn from(root: RootKey) -> Self {
        Rc::new(LocalOwner::new(root))
    }
}

/// The reason why an agent did not do what was requested.
#[derive(Debug, thiserror::Error)]
pub enum KeyServiceError {
    /// The agent has no key to this vault, or no longer has it
    #[error("the vault is locked")]
    Locked,
    /// Another vault is at the path
    #[error("the vault at this path is not the one that was unlocked")]
    Replaced,
    /// The state is older than one that the agent has seen; the project is given if only a project
    /// was rolled back
    #[error("the agent has seen a newer state of {}", .0.as_ref().map_or_else(|| "this vault".into(), |p| format!("project `{p}`")))]
    RolledBack(Option<ProjectName>),
    /// Only the root key itself can do this, and an agent never hands it out
    #[error("changing how the vault is unlocked requires the passphrase")]
    PassphraseNeeded,
    /// The agent's key does not open the vault's current state
    #[error("the unlocked key does not open the vault")]
    WrongKey,
    /// The agent does not sign what it was asked to sign
    #[error(
        "the agent refused to sign the change, because it does not follow the project's last state"
    )]
    Refused,
    /// The agent uses another version of the protocol
    #[error("the agent was started by another version of `secrets`")]
    OtherVersion,
    /// The agent ran out of memory or random bytes
    #[error("the agent ran out of memory, or the system's random generator failed")]
    Failed,
    /// A new agent ended before it held the key
    #[error("the agent could not be started")]
    NotStarted,
    /// The agent did not answer in time
    #[error("the agent does not respond")]
    Timeout,
    /// The agent sent an invalid answer
    #[error("the agent sent an invalid response")]
    InvalidResponse,
    /// The process that listens instead of the agent belongs to another user
    #[error("the process that listens on the agent's socket belongs to another user")]
    ForeignProcess,
    /// Only a bug in this program can cause this
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// The connection failed
    #[error("cannot reach the agent: {0}")]
    Io(#[from] std::io::Error),
}
