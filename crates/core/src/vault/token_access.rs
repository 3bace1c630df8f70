//! Access with a token: a grant in place of the root key (docs/format.md, section 8).
//!
//! A token opens one project, or some of its secrets. What it may do is decided by the keys in its
//! grant, and by the project's policy for what it signs.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::access::{
    ChangedDirectory, DirectoryChange, OpenedDirectory, OpenedProject, SignRequest, VaultAccess,
    WantedKey, derive_keys,
};
use super::next_head::{self, HeadPlace, SignedHead};
use super::{Divergence, Locked, Vault, VaultError};
use crate::crypto::aead::{Key, MessageKey};
use crate::crypto::checkpoint::{Checkpoint, GrantState, PastKeys};
use crate::crypto::grant::{Grant, GrantedKeys};
use crate::crypto::head::Head;
use crate::crypto::history::{Ancestors, Relation, Revision};
use crate::crypto::ids::{RecordId, TokenId, VaultId};
use crate::crypto::output_digest::OutputKey;
use crate::crypto::policy::Policy;
use crate::crypto::project_entry::{PolicyId, ProjectEntry};
use crate::crypto::rows::{GrantRow, VaultRow};
use crate::crypto::signing::PublicKey;
use crate::crypto::token::{Token, TokenKeys};
use crate::model::{Level, ProjectName, Timestamp, TokenName};
use crate::store::{Snapshot, Transaction};

/// The milliseconds by which a head may be ahead of our clock.
const MAX_AHEAD: u64 = 24 * 60 * 60 * 1000;

/// The access that a request would have needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// A token of this level
    Level(Level),
    /// A token for the whole project
    WholeProject,
    /// A token that includes the secret
    InSet,
    /// A token that includes restricted secrets
    Restricted,
    /// The project of the token
    OtherProject,
    /// The passphrase
    Passphrase,
    /// The vault itself instead of a bundle
    Vault,
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(level) => write!(f, "this needs a token with level `{level}`"),
            Self::WholeProject => f.write_str("this needs a token for the whole project"),
            Self::InSet => f.write_str("the token does not include this secret"),
            Self::Restricted => f.write_str(
                "the secret is restricted, and the token may not use restricted secrets",
            ),
            Self::OtherProject => f.write_str("the token is for another project"),
            Self::Passphrase => {
                f.write_str("this needs the passphrase; a token does not permit it")
            }
            Self::Vault => f.write_str("a bundle cannot be changed"),
        }
    }
}

/// The grant of a token, opened.
pub struct OpenGrant {
    /// The token's id
    pub token_id: TokenId,
    /// The number of times that the grant was issued
    pub generation: u64,
    /// The grant; its project's keys are in `project`
    pub grant: Granted,
    /// The project
    pub project: OpenedProject,
    row: GrantRow,
}

/// The content of a grant besides the keys.
pub struct Granted {
    /// The token's name
    pub name: TokenName,
    /// Its level
    pub level: Level,
    /// The time of its end; `None` for a token that does not expire
    pub expires: Option<Timestamp>,
    /// True if it stops when its uses cannot be recorded
    pub is_strict: bool,
    /// True for the old string of a rotated token
    pub is_replaced: bool,
    /// The number of its secrets; `None` for all of the project's
    pub secrets: Option<usize>,
    /// True if it includes restricted secrets
    pub is_restricted_allowed: bool,
    /// The key that verifies what the owner signs
    pub owner: PublicKey,
    floor: Revision,
}

impl OpenGrant {
    fn new(row: GrantRow, grant: Grant) -> Self {
        let Grant { name, level, expires, is_strict, is_replaced, owner, project, .. } = grant;
        let (secrets, is_restricted_allowed) = match &project.keys {
            GrantedKeys::Project(ring) => (None, ring.restricted.is_some()),
            GrantedKeys::Set(set) => (Some(set.records.len()), true),
        };

        let floor = project.floor;
        let granted = Granted {
            name,
            level,
            expires,
            is_strict,
            is_replaced,
            secrets,
            is_restricted_allowed,
            owner,
            // The heads before the floor are not known. An earlier state counts as diverged.
            floor: Revision { seq: floor.seq, hash: floor.head, ancestors: Ancestors::none() },
        };

        let entry = ProjectEntry {
            pid: project.pid,
            name: project.name,
            created: Timestamp(0),
            updated: Timestamp(0),
            epoch: project.epoch,
            policy: floor.policy,
            due: None,
            later: Vec::new(),
        };

        let (keys, ticket) = (Rc::new(project.keys), Rc::new([]));
        Self {
            token_id: row.token_id,
            generation: row.generation,
            grant: granted,
            project: OpenedProject { entry, keys, ticket },
            row,
        }
    }

    /// Returns the ids of the token's secrets in ascending order, or `None` for all of the project's.
    pub(super) fn record_ids(&self) -> Option<Vec<RecordId>> {
        match &*self.project.keys {
            GrantedKeys::Project(_) => None,
            GrantedKeys::Set(set) => Some(set.records.iter().map(|record| record.rid).collect()),
        }
    }

    /// Returns what a token remembers of its grant in every project: the owner and the project. Another
    /// holder of the token can write a grant, which must not lead to another owner.
    pub(super) fn pin(&self) -> Checkpoint {
        let entry = &self.project.entry;
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(&entry.pid);
        Checkpoint {
            epoch: 0,
            head: Revision { seq: 0, hash, ancestors: Ancestors::none() },
            audit_head: [0; 32],
            policy: PolicyId::default(),
            grant: Some(GrantState { generation: 0, owner: self.grant.owner }),
        }
    }

    /// Checks that a project's head follows the state in which the grant was issued, and that the
    /// token has not expired.
    pub(super) fn check(&self, vault_id: &VaultId, head: &Head) -> Result<GrantState, VaultError> {
        let entry = &self.project.entry;
        let now = head.revision(vault_id, &entry.pid, entry.epoch);
        match now.compare(&self.grant.floor) {
            Relation::Equal | Relation::Ahead => {}
            relation => {
                let projects = vec![(entry.name.clone(), relation)];
                return Err(Divergence {
                    vault: Some(Relation::Equal),
                    projects,
                    is_remote: false,
                }
                .into());
            }
        }

        self.check_time(head.time)?;
        Ok(GrantState { generation: self.generation, owner: self.grant.owner })
    }

    /// Fails if the token has expired by our clock or by the time of a head. A head that is far ahead
    /// of our clock does not count.
    fn check_time(&self, head: u64) -> Result<(), VaultError> {
        let clock = Timestamp::now().0;
        let now = if head > clock.saturating_add(MAX_AHEAD) { clock } else { clock.max(head) };
        let name = || self.grant.name.clone();
        match self.grant.expires {
            Some(end) if end.0 <= now && self.grant.is_replaced => {
                Err(VaultError::TokenReplaced { name: name(), end })
            }
            Some(expired) if expired.0 <= now => {
                Err(VaultError::TokenExpired { name: name(), expired })
            }
            _ => Ok(()),
        }
    }
}

/// The rights of the token that opened a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenView {
    /// Its id
    pub id: TokenId,
    /// Its name
    pub name: TokenName,
    /// Its level
    pub level: Level,
    /// Its project, by the name when its grant was issued
    pub project: ProjectName,
    /// The number of its secrets; `None` for all of the project's
    pub secrets: Option<usize>,
    /// The time of its end; `None` for a token that does not expire
    pub expires: Option<Timestamp>,
    /// True if it stops when its uses cannot be recorded
    pub is_strict: bool,
    /// True for the old string of a rotated token
    pub is_replaced: bool,
}

impl Locked {
    /// Returns true if the vault has a grant for a token. It is not verified yet.
    pub fn has_grant(&self, token: &TokenId) -> Result<bool, VaultError> {
        Ok(self.store.read()?.grant(token)?.is_some())
    }
}

impl Vault {
    /// Returns what the token that opened the vault may do, or `None` for the owner.
    pub fn token(&self) -> Result<Option<TokenView>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let Some(grant) = state.grant.clone() else { return Ok(None) };

        // The project's head shows whether the grant still opens it.
        state.open(&*snapshot, grant.project.clone())?;
        let Granted { name, level, expires, is_strict, is_replaced, secrets, .. } = &grant.grant;
        Ok(Some(TokenView {
            id: grant.token_id,
            name: name.clone(),
            level: *level,
            project: grant.project.entry.name.clone(),
            secrets: *secrets,
            expires: *expires,
            is_strict: *is_strict,
            is_replaced: *is_replaced,
        }))
    }
}

/// A token, and the grant that it has opened.
pub struct TokenAccess {
    token: Token,
    vault_id: VaultId,
    keys: TokenKeys,
    opened: RefCell<Option<Rc<OpenGrant>>>,
}

impl TokenAccess {
    /// Derives the keys of a token in a vault.
    pub fn new(token: Token, vault_id: VaultId) -> Self {
        let keys = token.keys(&vault_id);
        Self { token, vault_id, keys, opened: RefCell::default() }
    }

    /// Returns the level that the token's word names.
    pub fn level(&self) -> Level {
        self.token.level()
    }

    fn known(&self) -> Result<Rc<OpenGrant>, VaultError> {
        self.opened.borrow().clone().ok_or(VaultError::NoGrant)
    }

    /// Opens the project's policy, and checks that this token may sign.
    fn check_writer(
        &self,
        grant: &OpenGrant,
        request: &SignRequest<'_>,
        time: u64,
    ) -> Result<(), VaultError> {
        let entry = &request.project.entry;
        let key = request.project.keys.policy_key(&entry.pid);
        let open = |row| Policy::open(&key, &grant.grant.owner, &self.vault_id, &entry.pid, row);
        let policy = request.policy.map(open).transpose()?;
        let writer = policy.as_ref().and_then(|policy| policy.writer(&self.keys.id));
        match writer {
            None => Err(VaultError::TokenRevoked(entry.name.clone())),
            Some(writer) if writer.until < time => Err(VaultError::TokenExpired {
                name: grant.grant.name.clone(),
                expired: Timestamp(writer.until),
            }),
            Some(_) => Ok(()),
        }
    }
}

impl VaultAccess for TokenAccess {
    fn directory(&self, _: &VaultId, _: &dyn Snapshot) -> Result<OpenedDirectory, VaultError> {
        Err(VaultError::Forbidden(Needed::Passphrase))
    }

    // A token has no directory, so nothing of it is fetched ahead.
    fn indexes(&self, _: &[&ProjectName]) -> Result<Vec<[u8; 16]>, VaultError> {
        Ok(Vec::new())
    }

    fn find(
        &self,
        _: &VaultId,
        _: &dyn Snapshot,
        names: &[&ProjectName],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError> {
        let grant = self.known()?;
        let find = |name: &&ProjectName| {
            if **name == grant.project.entry.name {
                Ok(Some(grant.project.clone()))
            } else {
                Err(VaultError::Forbidden(Needed::OtherProject))
            }
        };

        names.iter().map(find).collect()
    }

    fn at(
        &self,
        _: &VaultId,
        _: &dyn Snapshot,
        _: &[[u8; 16]],
    ) -> Result<Vec<Option<OpenedProject>>, VaultError> {
        Err(VaultError::Forbidden(Needed::Passphrase))
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
        let grant = self.known()?;
        if grant.grant.level < Level::Manage {
            return Err(VaultError::Forbidden(Needed::Level(Level::Manage)));
        }

        let SignRequest { project, previous, .. } = request;
        let entry = &project.entry;
        let before = Head::open(&project.keys.head_key(&entry.pid), vault_id, previous)?;
        let clock = Timestamp::now().0;
        if before.time > clock.saturating_add(MAX_AHEAD) {
            return Err(VaultError::FromTheFuture(entry.name.clone()));
        }

        let time = clock.max(before.time);
        self.check_writer(&grant, &request, time)?;
        let head = Head { signer_id: self.keys.id, time, ..request.head };
        let place = HeadPlace { vault_id, pid: &entry.pid, epoch: entry.epoch };
        Ok(next_head::sign(place, head, request.change, &self.keys.signer))
    }

    fn change(
        &self,
        _: &VaultId,
        _: &mut dyn Transaction,
        _: DirectoryChange<'_>,
    ) -> Result<ChangedDirectory, VaultError> {
        Err(VaultError::Forbidden(Needed::Passphrase))
    }

    fn checkpoint_key(&self) -> Result<Key, VaultError> {
        Ok(Key::copy_of(self.keys.checkpoint.expose()))
    }

    fn past_keys(&self, _: &VaultRow) -> Result<Vec<PastKeys>, VaultError> {
        Ok(Vec::new())
    }

    fn output_key(&self, project: &OpenedProject) -> Result<OutputKey, VaultError> {
        let pid = project.entry.pid;
        Ok(match project.keys.whole() {
            Some(ring) => ring.output_key(&pid),
            None => OutputKey::new(self.keys.output.expand("output", &pid), pid),
        })
    }

    fn grant(
        &self,
        vault_id: &VaultId,
        rows: &dyn Snapshot,
    ) -> Result<Option<Rc<OpenGrant>>, VaultError> {
        let row = rows.grant(&self.keys.id)?.filter(|_| *vault_id == self.vault_id);
        let row = row.ok_or(VaultError::NoGrant)?;
        let mut opened = self.opened.borrow_mut();
        if let Some(known) = opened.as_ref().filter(|known| known.row == row) {
            return Ok(Some(Rc::clone(known)));
        }

        let grant = Grant::open(&self.keys.kek, vault_id, &row)?;
        let grant = Rc::new(OpenGrant::new(row, grant));
        grant.check_time(0)?;
        Ok(Some(Rc::clone(opened.insert(grant))))
    }

    fn token_id(&self) -> Option<TokenId> {
        Some(self.keys.id)
    }
}

impl From<TokenAccess> for Rc<dyn VaultAccess> {
    fn from(access: TokenAccess) -> Self {
        Rc::new(access)
    }
}
