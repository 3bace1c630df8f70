//! One unlocked vault: its root key, its timeouts and its last known state.
//!
//! A state that is older than the last known one is rejected, because the file was rolled back. The
//! last known state is kept in memory only and is lost together with the key.

use std::cell::Cell;
use std::collections::HashMap;

use secrets_core::crypto::CryptoError;
use secrets_core::crypto::aead::{Key, SALT};
use secrets_core::crypto::audit::{Action, AuditChange, MAX_ITEMS};
use secrets_core::crypto::head::Head;
use secrets_core::crypto::history::{Relation, Revision};
use secrets_core::crypto::ids::{DIRECTORY, Hash, OWNER, ProjectId, VaultId};
use secrets_core::crypto::keyring::Keyring;
use secrets_core::crypto::policy::Policy;
use secrets_core::crypto::project_entry::ProjectEntry;
use secrets_core::crypto::root_key::RootKey;
use secrets_core::crypto::rows::ProjectRow;
use secrets_core::crypto::signing::PublicKey;
use secrets_core::model::{ProjectName, SecretBytes, TAG_MAX, Timestamp};
use secrets_core::store::{MAX_PROJECTS, RowSet};
use secrets_core::vault::{
    ChangedDirectory, Directory, DirectoryChange, DirectoryState, OpenedProject, SignRequest,
    SignedHead, VaultError, WantedKey, derive_keys,
};

use super::protocol::{AgentFault, Handover, MAX_NAMES, SignFrame};

/// The largest difference in milliseconds between the time of a head and our clock.
const CLOCK_DIFFERENCE: u64 = 5 * 60 * 1000;

/// An unlocked vault. All keys are wiped when the session is dropped.
pub(super) struct Session {
    pub(super) path: Vec<u8>,
    pub(super) vault_id: VaultId,
    root: RootKey,
    /// The owner's public key
    owner: PublicKey,
    /// The hash of the sealed head of the directory that was verified last
    verified: Cell<Option<Hash>>,
    /// Seals the tickets of projects. It ends with the session, and so do they.
    tickets: Key,
    /// The time at which the session ends in any case
    deadline: u64,
    /// The time in milliseconds without use after which it ends
    idle: u64,
    last_used: u64,
    /// The directory's state that a client has read from the vault last
    seen: Option<Revision>,
    /// The hash of the slots in that state
    slots: Option<Hash>,
    /// The directory's state that this agent made last; it may never be committed
    made: Option<Revision>,
    /// The heads of projects that were seen last
    heads: HashMap<ProjectId, Revision>,
    /// The newest epoch and version of the policy of projects that were opened
    newest: HashMap<ProjectId, (u32, u64)>,
}

impl Session {
    /// Starts a session at the time `now`.
    pub(super) fn new(handover: &Handover<'_>, now: u64) -> Result<Self, CryptoError> {
        let Handover { path, vault_id, ttl, idle, key } = *handover;
        let root = RootKey::from_bytes(key)?;
        Ok(Self {
            path: path.to_vec(),
            vault_id,
            owner: root.signer().public(),
            root,
            verified: Cell::new(None),
            tickets: Key::random()?,
            deadline: now.saturating_add(ttl),
            idle,
            last_used: now,
            seen: None,
            slots: None,
            made: None,
            heads: HashMap::new(),
            newest: HashMap::new(),
        })
    }

    pub(super) fn key_is_locked(&self) -> bool {
        self.root.is_locked()
    }

    /// Returns the time at which the session ends if it is not used.
    pub(super) fn expires(&self) -> u64 {
        self.deadline.min(self.last_used.saturating_add(self.idle))
    }

    /// Returns the milliseconds until the session ends in any case, and if it is not used.
    pub(super) fn left(&self, now: u64) -> (u64, u64) {
        (self.deadline.saturating_sub(now), self.expires().saturating_sub(now))
    }

    /// Records a use, which postpones the idle timeout but not the final one.
    pub(super) fn touch(&mut self, now: u64) {
        self.last_used = now;
    }

    /// Returns the key that seals the vault's checkpoints. It opens nothing else.
    pub(super) fn checkpoint_key(&self) -> Key {
        self.root.checkpoint_key()
    }

    /// Returns the owner's public key.
    pub(super) fn owner(&self) -> [u8; 32] {
        *self.owner.bytes()
    }

    /// Derives the keys of the directory for one request. Only the root key, whose page is locked,
    /// is kept between requests.
    fn keys(&self) -> Directory {
        Directory::new(&self.root, self.vault_id).with_verified(self.verified.get())
    }

    /// Returns the indexes of projects' names.
    pub(super) fn indexes(&self, names: &[&[u8]]) -> Option<Vec<u8>> {
        let keys = self.keys();
        let index = |name: &&[u8]| Some(keys.index(&parsed(name)?));
        let indexes = names.iter().map(index).collect::<Option<Vec<_>>>()?;
        Some(indexes.concat())
    }

    /// Opens and verifies the directory's head.
    fn read(&self, keys: &Directory, rows: &RowSet) -> Result<DirectoryState, AgentFault> {
        let state = keys.read(rows).map_err(|error| fault(&error))?;
        self.verified.set(keys.verified());
        Ok(state)
    }

    /// Verifies the directory that a client has read from the vault, and remembers its state.
    pub(super) fn directory(&mut self, rows: &RowSet) -> Result<DirectoryState, AgentFault> {
        // A copy, such as a backup, may be older or newer, and is only read.
        if rows.is_copy() {
            return self.read(&self.keys(), rows);
        }

        let state = self.verified(&self.keys(), rows)?;
        let now = self.revision(&state.head, state.row.epoch);
        if self.seen.as_ref() != Some(&now) {
            (self.seen, self.made) = (Some(now), None);
        }

        self.slots = Some(state.head.directory);
        Ok(state)
    }

    /// Verifies the directory, and compares it with the last known state. The state may also be the
    /// one that this agent made last, because a large change is made in several requests. It is not
    /// remembered, because it may never be committed.
    fn verified(&self, keys: &Directory, rows: &RowSet) -> Result<DirectoryState, AgentFault> {
        if rows.is_copy() {
            return Err(AgentFault::Directory);
        }

        let state = self.read(keys, rows).map_err(|fault| match fault {
            // If the vault was given a new root key elsewhere, its slots differ as well. Only a
            // client with the passphrase can distinguish that from damage.
            AgentFault::Directory if self.slots != Some(rows.slots()) => AgentFault::WrongKey,
            fault => fault,
        })?;

        let now = self.revision(&state.head, state.row.epoch);
        let follows = self.seen.as_ref().is_none_or(|seen| now.proves(seen));
        if follows || self.made.as_ref() == Some(&now) {
            Ok(state)
        } else {
            Err(AgentFault::RolledBack)
        }
    }

    fn revision(&self, head: &Head, epoch: u32) -> Revision {
        head.revision(&self.vault_id, &DIRECTORY, epoch)
    }

    /// Opens projects of the directory.
    pub(super) fn open(
        &mut self,
        rows: &RowSet,
        indexes: &[[u8; 16]],
    ) -> Result<Vec<Option<OpenedProject>>, AgentFault> {
        let keys = self.keys();
        let state = self.verified(&keys, rows)?;
        let found = keys.projects(&state, rows, indexes).map_err(|error| fault(&error))?;
        found.iter().flatten().for_each(|project| self.note(&project.entry));
        Ok(found)
    }

    /// Remembers the keys and the policy of a project. A ticket with earlier ones signs nothing.
    fn note(&mut self, entry: &ProjectEntry) {
        if self.newest.len() >= MAX_PROJECTS && !self.newest.contains_key(&entry.pid) {
            self.newest.clear();
        }

        let known = self.newest.entry(entry.pid).or_default();
        *known = (*known).max(state_of(entry));
    }

    /// Seals all keys of a project and its entry for a later request. Only this session opens the
    /// ticket.
    pub(super) fn ticket(&self, project: &OpenedProject) -> Result<Vec<u8>, AgentFault> {
        let ring = project.ring().map_err(|_| AgentFault::System)?;
        let (entry, keys) = (project.entry.to_bytes(), ring.encode());
        let mut plain = SecretBytes::with_capacity(entry.len() + keys.len() + 8);
        secrets_core::codec::prefixed(
            &mut |piece| plain.extend(piece),
            &[entry.expose(), keys.expose()],
        );

        let sealed = self.tickets.seal("ticket", &self.vault_id, &[], plain.expose());
        sealed.map_err(|_| AgentFault::System)
    }

    /// Opens a ticket. Returns `None` for anything that this session did not seal. The directory has
    /// no ticket.
    fn project(&self, ticket: &[u8]) -> Option<OpenedProject> {
        let plain = self.tickets.open("ticket", &self.vault_id, &[], ticket, "ticket").ok()?;
        let mut reader = secrets_core::codec::Reader::new(plain.expose());
        let entry = ProjectEntry::from_bytes(reader.prefixed()?).ok()?;
        let keys = Keyring::decode(reader.prefixed()?).ok()?;
        Some(OpenedProject::new(entry, keys)).filter(|project| project.entry.pid != DIRECTORY)
    }

    /// Returns the salt and the key of each wanted seal of a project.
    pub(super) fn message_keys(
        &self,
        ticket: &[u8],
        wanted: &[WantedKey],
    ) -> Option<Result<SecretBytes, AgentFault>> {
        let project = self.project(ticket)?;
        let Ok(keys) = derive_keys(&project, wanted) else { return Some(Err(AgentFault::System)) };
        let mut bytes = SecretBytes::with_capacity(keys.len() * (SALT + 44));
        for key in &keys {
            bytes.extend(key.salt());
            bytes.extend(key.expose());
        }

        Some(Ok(bytes))
    }

    /// Signs the next head of a project, if it follows the one before.
    pub(super) fn sign(&mut self, frame: &SignFrame<'_>) -> Option<Result<SignedHead, AgentFault>> {
        let project = self.project(frame.ticket)?;
        let is_newest = self
            .newest
            .get(&project.entry.pid)
            .is_none_or(|newest| *newest <= state_of(&project.entry));
        let head = self.checked(&project, frame).filter(|_| is_newest);
        let change = signable(frame.change);
        let (Some((previous, head)), Some(change)) = (head, change) else {
            return Some(Err(AgentFault::Refused));
        };

        // A head that is signed may never be committed, so the head before is remembered.
        if let Err(fault) = self.remember(project.entry.pid, previous) {
            return Some(Err(fault));
        }

        let (previous, policy) = (&frame.previous, frame.policy.as_ref());
        let request = SignRequest { project: &project, previous, policy, head, change };
        Some(Ok(self.keys().sign(request)))
    }

    /// Compares the head of a project, which the client has verified, with the last one seen.
    pub(super) fn show_head(
        &mut self,
        ticket: &[u8],
        row: &ProjectRow,
    ) -> Option<Result<(), AgentFault>> {
        let project = self.project(ticket)?;
        let (pid, epoch) = (project.entry.pid, project.entry.epoch);
        if row.pid != pid || row.epoch != epoch {
            return Some(Err(AgentFault::Refused));
        }

        let head = Head::open(&project.keys.head_key(&pid), &self.vault_id, row);
        Some(match head {
            Ok(head) => self.remember(pid, head.revision(&self.vault_id, &pid, epoch)),
            Err(_) => Err(AgentFault::Refused),
        })
    }

    /// Remembers the head of a project, if it is not older than the last one seen.
    fn remember(&mut self, pid: ProjectId, head: Revision) -> Result<(), AgentFault> {
        let known = self.heads.get(&pid);
        let follows = |seen| matches!(head.compare(seen), Relation::Equal | Relation::Ahead);
        if known.is_some_and(|seen| !follows(seen)) {
            return Err(AgentFault::ProjectRolledBack);
        }

        // The limit is the maximum number of projects in a vault. Only deleted projects can exceed
        // it.
        if self.heads.len() >= MAX_PROJECTS && known.is_none() {
            self.heads.clear();
        }

        self.heads.insert(pid, head);
        Ok(())
    }

    /// Returns the head before and the head to sign, if the latter follows the former.
    fn checked(&self, project: &OpenedProject, frame: &SignFrame<'_>) -> Option<(Revision, Head)> {
        let (vault_id, entry, keys) = (&self.vault_id, &project.entry, &project.keys);
        let (pid, epoch, row) = (&entry.pid, entry.epoch, &frame.previous);
        (row.pid == *pid && row.epoch == epoch).then_some(())?;

        let owner = self.owner;
        let before = Head::open(&keys.head_key(pid), vault_id, row).ok()?;
        let open = |row| Policy::open(&keys.policy_key(pid), &owner, vault_id, pid, row).ok();
        let policy = match &frame.policy {
            Some(row) => Some(open(row)?),
            None => None,
        };

        let id = policy.as_ref().map(|policy| policy.id(vault_id, pid)).unwrap_or_default();
        let signer = match before.signer_id {
            OWNER => owner,
            token_id => {
                let writer = policy.as_ref()?.writer(&token_id)?;
                (before.time <= writer.until).then_some(writer.key)?
            }
        };

        // These are the rules by which readers accept a head. Our signature must not make a head
        // good that they would refuse.
        let is_newest = id == entry.policy
            && before.policy == entry.policy.hash
            && policy.as_ref().is_none_or(|policy| policy.epoch == epoch);
        let message = before.encode(vault_id, pid, epoch);
        let is_signed = before.directory == [0; 32] && signer.verifies(&message, &row.sig);
        (is_newest && is_signed).then_some(())?;

        let head = Head::decode_for(frame.head, vault_id, pid, epoch)?;
        let previous = before.revision(vault_id, pid, epoch);
        let follows = head.seq == before.seq.checked_add(1)?
            && head.ancestors == before.ancestors.then(&previous.hash)
            && head.audit_head == before.audit_head
            && head.policy == before.policy
            && head.directory == before.directory
            && head.signer_id == OWNER
            && head.time.abs_diff(Timestamp::now().0) <= CLOCK_DIFFERENCE;
        follows.then_some((previous, head))
    }

    /// Changes the directory in `rows`. Returns the generation of its keys as well.
    pub(super) fn change(
        &mut self,
        rows: &mut RowSet,
        change: DirectoryChange<'_>,
    ) -> Result<(ChangedDirectory, u32), AgentFault> {
        let keys = self.keys();
        let epoch = self.verified(&keys, rows)?.row.epoch;
        let changed = keys.change(rows, change).map_err(|error| fault(&error))?;
        self.made = Some(self.revision(&changed.head, epoch));
        Ok((changed, epoch))
    }
}

/// Returns the epoch and the version of the policy. Neither goes back.
fn state_of(entry: &ProjectEntry) -> (u32, u64) {
    (entry.epoch, entry.policy.version)
}

/// Returns an encoded change if the agent signs it for a client. Every other action takes the
/// passphrase. An entry of the owner also decides which keys verify other entries, so a client must
/// not choose them.
fn signable(change: &[u8]) -> Option<AuditChange> {
    let change = AuditChange::decode(change).ok()?;
    let is_allowed = matches!(
        change.action,
        Action::Create
            | Action::Update
            | Action::Delete
            | Action::Clone
            | Action::Import
            | Action::Allow
            | Action::Rename
    );

    let names_no_keys =
        change.admitted.is_empty() && change.removed.is_empty() && change.owner_before.is_none();
    let has_room = change.items.len() <= MAX_ITEMS
        && change.items.iter().all(|item| item.name.len() <= TAG_MAX);
    let is_understood = change.later.is_empty();
    (is_allowed && names_no_keys && has_room && is_understood).then_some(change)
}

/// Parses the names of a request. Returns `None` for a name that breaks the rule, and for too many.
pub(super) fn parsed_names(names: &[&[u8]]) -> Option<Vec<ProjectName>> {
    let parse = |name: &&[u8]| parsed(name);
    (names.len() <= MAX_NAMES).then(|| names.iter().map(parse).collect::<Option<_>>())?
}

fn parsed(name: &[u8]) -> Option<ProjectName> {
    ProjectName::parse(std::str::from_utf8(name).ok()?).ok()
}

/// Returns the fault that tells a client about an error of the directory.
fn fault(error: &VaultError) -> AgentFault {
    match error {
        VaultError::NoProject { .. } => AgentFault::NoProject,
        VaultError::ProjectExists(_) => AgentFault::ProjectExists,
        VaultError::TooManyProjects => AgentFault::TooManyProjects,
        VaultError::Crypto(CryptoError::Newer(_)) => AgentFault::Newer,
        VaultError::Crypto(
            CryptoError::Random | CryptoError::KeyMemory | CryptoError::Internal(_),
        ) => AgentFault::System,
        _ => AgentFault::Directory,
    }
}
