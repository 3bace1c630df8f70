//! Compares every state that is opened with what this machine last saw of it, and remembers it
//! (docs/format.md, section 7).
//!
//! A checkpoint is never replaced with an older state. If it cannot be written, a later rollback goes
//! unnoticed. A read-only home directory is no reason to refuse a vault.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use super::VaultError;
use super::access::VaultAccess;
use crate::crypto::aead::Key;
use crate::crypto::checkpoint::{Checkpoint, NewestState};
use crate::crypto::history::Relation;
use crate::crypto::ids::{DIRECTORY, Hash, ProjectId, VaultId};
use crate::crypto::rows::VaultRow;
use crate::model::ProjectName;
use crate::store::CheckpointStore;

/// A notice about a copy that is seen at its path for the first time, while a newer or diverged
/// state was seen elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenElsewhere {
    /// The path of the other state; `None` if that state was sealed with keys that the copy does
    /// not have
    pub path: Option<PathBuf>,
    /// The difference between the copy and that state
    pub divergence: Divergence,
}

/// A callback that is called when such a copy is first opened.
pub type DivergenceNotice = Rc<dyn Fn(&SeenElsewhere)>;

/// The difference between a vault and its last checkpoint here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The relation of its slots, projects and tokens; [`Relation::Equal`] if only a project
    /// differs, [`Relation::Ahead`] if it is so far ahead that it cannot be proven to follow, `None`
    /// if the vault's keys do not open the checkpoint
    pub vault: Option<Relation>,
    /// The project that was rolled back or has diverged, or that is so far ahead that it cannot be
    /// proven to follow
    pub projects: Vec<(ProjectName, Relation)>,
    /// True if the vault is on a server
    pub is_remote: bool,
}

impl Divergence {
    /// The divergence of a vault with other keys than the checkpoint's.
    const KEY_CHANGE: Self = Self { vault: None, projects: Vec::new(), is_remote: false };

    /// Returns true if the vault has diverged, so that it is not merely an earlier state.
    pub fn is_fork(&self) -> bool {
        self.relations().any(|relation| relation == Relation::Diverged)
    }

    /// Returns true if a part is so far ahead that it cannot be proven to follow.
    pub fn is_unproven(&self) -> bool {
        self.relations().any(|relation| relation == Relation::Ahead)
    }

    /// Returns the number of changes that the vault has lost, if it was rolled back.
    pub fn lost(&self) -> Option<u64> {
        let behind = self.relations().filter_map(|relation| match relation {
            Relation::Behind(changes) => Some(changes),
            _ => None,
        });
        Some(behind.sum()).filter(|lost| *lost > 0 && !self.is_fork())
    }

    fn relations(&self) -> impl Iterator<Item = Relation> + '_ {
        self.vault.into_iter().chain(self.projects.iter().map(|(_, relation)| *relation))
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.vault.is_none() {
            "the vault has different keys than at its last checkpoint here, or that checkpoint is \
             damaged"
        } else if self.is_fork() && self.is_remote {
            "the vault on the server has diverged from what this machine has seen there"
        } else if self.is_fork() {
            "the vault has diverged from its last checkpoint here"
        } else if self.is_remote && self.lost().is_some() {
            "the server has lost changes that this machine has seen there"
        } else if self.is_remote {
            "the vault on the server has changed more than 32 times since this machine has seen it, \
             and its audit log does not prove that it follows"
        } else if self.vault == Some(Relation::Ahead) {
            "the vault's list of projects has changed more than 32 times since its last checkpoint \
             here, so it cannot be proven that it follows"
        } else {
            "the vault was rolled back to a state before its last checkpoint here"
        })
    }
}

/// A state to compare and to remember.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) pid: &'a ProjectId,
    /// The project's name; `None` for the directory
    pub(super) name: Option<&'a ProjectName>,
    pub(super) state: &'a Checkpoint,
}

/// The checkpoints of an opened vault.
pub(super) struct Checkpoints {
    store: CheckpointStore,
    notice: Option<DivergenceNotice>,
    /// Whether everything that was opened has been remembered
    written: Cell<bool>,
    /// Whether the notice was given
    noticed: Cell<bool>,
    /// The key that seals checkpoints, and the earlier ones, for the keys of a vault's row
    keys: RefCell<Option<(VaultRow, Rc<CheckpointKeys>)>>,
}

struct CheckpointKeys {
    current: Key,
    past: Vec<Key>,
}

impl CheckpointKeys {
    /// Calls `open` with the current key, then with earlier keys. If the vault's keys were changed
    /// elsewhere, the checkpoint here has an earlier key.
    fn open<T>(&self, open: impl Fn(&Key) -> Option<T>) -> Option<T> {
        open(&self.current).or_else(|| self.past.iter().find_map(open))
    }
}

impl Checkpoints {
    pub(super) fn new(store: CheckpointStore, notice: Option<DivergenceNotice>) -> Self {
        Self {
            store,
            notice,
            written: Cell::new(true),
            noticed: Cell::new(false),
            keys: RefCell::default(),
        }
    }

    pub(super) fn store(&self) -> &CheckpointStore {
        &self.store
    }

    /// Returns true if everything that was opened has been remembered.
    pub(super) fn are_written(&self) -> bool {
        self.written.get()
    }

    fn keys(
        &self,
        vault: &VaultRow,
        owner: &dyn VaultAccess,
    ) -> Result<Rc<CheckpointKeys>, VaultError> {
        if let Some((of, keys)) = &*self.keys.borrow()
            && of == vault
        {
            return Ok(Rc::clone(keys));
        }

        let current = owner.checkpoint_key()?;
        let past = owner.past_keys(vault)?;
        let past = past.into_iter().map(|past| past.checkpoint).collect();
        let keys = Rc::new(CheckpointKeys { current, past });
        *self.keys.borrow_mut() = Some((vault.clone(), Rc::clone(&keys)));
        Ok(keys)
    }

    /// Compares a state with the last checkpoints here, and remembers it.
    ///
    /// `proves` finds out whether the audit log proves that the state follows an earlier one. On a
    /// server, a state that is more than 32 changes later needs that proof.
    pub(super) fn check(
        &self,
        vault: &VaultRow,
        owner: &dyn VaultAccess,
        seen: Seen<'_>,
        proves: &dyn Fn(&Checkpoint) -> Result<bool, VaultError>,
    ) -> Result<(), VaultError> {
        let keys = self.keys(vault, owner)?;
        let before = self.read(&vault.vault_id, &keys, seen.pid)?;
        let is_remote = self.store.is_remote();
        for before in before.iter().flatten() {
            let is_near = seen.state.head.proves(&before.head) || !is_remote;
            let divergence = match seen.differs(before) {
                Some(found) if !found.is_unproven() => Some(found),
                None if is_near => None,
                _ if is_remote && proves(before)? => None,
                found => found.or_else(|| Some(seen.departs(Relation::Ahead))),
            };

            if let Some(divergence) = divergence {
                return Err(Divergence { is_remote, ..divergence }.into());
            }
        }

        let is_known = before.iter().any(Option::is_some);
        self.compare_with_newest(&vault.vault_id, &keys, seen, is_known)?;
        if before.iter().any(|before| before.as_ref() != Some(seen.state)) {
            self.write(&vault.vault_id, &keys, seen)?;
        }

        Ok(())
    }

    /// Remembers a state that was just written. If another process has written a later one, that one
    /// stays.
    pub(super) fn remember(
        &self,
        vault: &VaultRow,
        owner: &dyn VaultAccess,
        seen: Seen<'_>,
    ) -> Result<(), VaultError> {
        let keys = self.keys(vault, owner)?;
        self.compare_with_newest(&vault.vault_id, &keys, seen, true)?;
        self.write(&vault.vault_id, &keys, seen)
    }

    /// Returns what was last seen of a project here, for each path of the vault.
    pub(super) fn last_seen(
        &self,
        vault: &VaultRow,
        owner: &dyn VaultAccess,
        pid: &ProjectId,
    ) -> Result<Vec<Checkpoint>, VaultError> {
        let keys = self.keys(vault, owner)?;
        Ok(self.read(&vault.vault_id, &keys, pid)?.into_iter().flatten().collect())
    }

    fn read(
        &self,
        vault_id: &VaultId,
        keys: &CheckpointKeys,
        pid: &ProjectId,
    ) -> Result<Vec<Option<Checkpoint>>, VaultError> {
        let read = |path_hash: &Hash| {
            let Some(bytes) = self.store.read(vault_id, path_hash, pid)? else { return Ok(None) };
            let opened =
                keys.open(|key| Checkpoint::open(key, vault_id, path_hash, pid, &bytes).ok());
            opened.map(Some).ok_or_else(|| VaultError::from(Divergence::KEY_CHANGE))
        };

        self.store.path_hashes().iter().map(read).collect()
    }

    /// Writes a state for each path, unless the present checkpoint is of a later one.
    fn write(
        &self,
        vault_id: &VaultId,
        keys: &CheckpointKeys,
        seen: Seen<'_>,
    ) -> Result<(), VaultError> {
        // Another process may have seen a later state in the meantime.
        let lock = self.store.lock();
        let mut is_written = lock.is_ok();
        if is_written {
            let now = self.read(vault_id, keys, seen.pid).unwrap_or_default();
            for (number, path_hash) in self.store.path_hashes().iter().enumerate() {
                let there = now.get(number).and_then(Option::as_ref);
                if there.is_none_or(|there| seen.differs(there).is_none()) {
                    let sealed = seen.state.seal(&keys.current, vault_id, path_hash, seen.pid)?;
                    is_written &= self.store.write(vault_id, path_hash, seen.pid, &sealed).is_ok();
                }
            }
        }

        self.written.set(self.written.get() && is_written);
        Ok(())
    }

    /// Remembers a state as the newest one, or calls the notice if it is not.
    fn compare_with_newest(
        &self,
        vault_id: &VaultId,
        keys: &CheckpointKeys,
        seen: Seen<'_>,
        is_known: bool,
    ) -> Result<(), VaultError> {
        let report = |path, divergence| {
            if let Some(notice) = &self.notice
                && !is_known
                && !self.noticed.replace(true)
            {
                notice(&SeenElsewhere { path, divergence });
            }
        };

        if let Some(bytes) = self.store.read_newest(vault_id, seen.pid) {
            let Some(newest) =
                keys.open(|key| NewestState::open(key, vault_id, seen.pid, &bytes).ok())
            else {
                report(None, Divergence::KEY_CHANGE);
                return Ok(());
            };

            if newest.state == *seen.state {
                return Ok(());
            }

            if let Some(divergence) = seen.differs(&newest.state) {
                report(Some(PathBuf::from(OsStr::from_bytes(&newest.path))), divergence);
                return Ok(());
            }
        }

        let path = self.store.path().as_os_str().as_bytes().to_vec();
        let newest = NewestState { path, state: seen.state.clone() };

        // The record only leads to a warning, so a failure to write it is no reason to refuse the
        // vault.
        let sealed = newest.seal(&keys.current, vault_id, seen.pid)?;
        let _ = self.store.write_newest(vault_id, seen.pid, &sealed);
        Ok(())
    }
}

impl Seen<'_> {
    /// Returns how a state differs from the one before. Returns `None` if it is the same or follows
    /// it.
    fn differs(&self, before: &Checkpoint) -> Option<Divergence> {
        let now = self.state;
        let relation = match now.head.compare(&before.head) {
            Relation::Equal | Relation::Ahead if went_back(now, before) => {
                let is_equal = now.head == before.head;
                let older = older_grant(now, before).filter(|_| is_equal);
                older.map_or(Relation::Diverged, Relation::Behind)
            }
            // The directory says which keys and tokens are valid, so it must be proven to follow.
            Relation::Ahead if *self.pid == DIRECTORY && !now.head.proves(&before.head) => {
                return Some(self.departs(Relation::Ahead));
            }
            Relation::Equal | Relation::Ahead => return None,
            relation => relation,
        };

        Some(self.departs(relation))
    }

    /// Returns the divergence of a state with this relation to its checkpoint.
    fn departs(&self, relation: Relation) -> Divergence {
        let is_remote = false;
        match self.name {
            None => Divergence { vault: Some(relation), projects: Vec::new(), is_remote },
            Some(name) => Divergence {
                vault: Some(Relation::Equal),
                projects: vec![(name.clone(), relation)],
                is_remote,
            },
        }
    }
}

/// Returns by how many generations a state's grant is older, if it differs from the one before in
/// nothing else.
fn older_grant(now: &Checkpoint, before: &Checkpoint) -> Option<u64> {
    let (new, old) = (now.grant.as_ref()?, before.grant.as_ref()?);
    let is_same =
        new.owner == old.owner && now.epoch == before.epoch && now.policy == before.policy;
    old.generation.checked_sub(new.generation).filter(|older| *older > 0 && is_same)
}

/// Returns true if the keys, the policy or the grant of a state are older than before, or if the grant
/// names another owner.
fn went_back(now: &Checkpoint, before: &Checkpoint) -> bool {
    let is_other_grant = match (&now.grant, &before.grant) {
        (Some(now), Some(before)) => {
            now.generation < before.generation || now.owner != before.owner
        }
        _ => false,
    };

    is_other_grant
        || now.epoch < before.epoch
        || now.policy.version < before.policy.version
        || now.policy.version == before.policy.version && now.policy.hash != before.policy.hash
}
