//! A root key handle that compares every state it opens with the vault's last checkpoint on this
//! machine.
//!
//! It records the states that it sees, and never replaces a checkpoint with an older state. If it
//! cannot write a checkpoint, a later rollback goes unnoticed. A read-only home directory is no
//! reason to refuse a vault.

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::VaultError;
use super::key_handle::{RootKeyHandle, RootTables};
use crate::crypto::aead::Key;
use crate::crypto::checkpoint::{Checkpoint, NewestState, ProjectCheckpoint, open_history};
use crate::crypto::history::{Relation, Revision};
use crate::crypto::ids::{ProjectId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::ProjectRow;
use crate::model::ProjectName;
use crate::store::CheckpointStore;

/// A root key handle that checks and records checkpoints.
pub(super) struct CheckpointedHandle {
    inner: Box<dyn RootKeyHandle>,
    checkpoints: CheckpointStore,
    notice: Option<DivergenceNotice>,
    written: Cell<bool>,
}

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
    /// The relation of its slots, projects and grants; [`Relation::Equal`] if only projects differ,
    /// `None` if the vault's keys do not open the checkpoint
    pub vault: Option<Relation>,
    /// The projects that were rolled back or have diverged; `None` for a project that was removed
    pub projects: Vec<(ProjectName, Option<Relation>)>,
}

impl Divergence {
    /// The divergence of a vault with other keys than the checkpoint's.
    const KEY_CHANGE: Self = Self { vault: None, projects: Vec::new() };

    /// Returns true if the vault has diverged, so that it is not merely an earlier state.
    pub fn is_fork(&self) -> bool {
        let forked = |relation: &Relation| *relation == Relation::Diverged;
        self.vault.as_ref().is_some_and(forked)
            || self.projects.iter().any(|(_, relation)| relation.as_ref().is_some_and(forked))
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.vault.is_none() {
            "the vault has different keys than at its last checkpoint here, or that checkpoint is \
             damaged"
        } else if self.is_fork() {
            "the vault has diverged from its last checkpoint here"
        } else {
            "the vault was rolled back to a state before its last checkpoint here"
        })
    }
}

impl CheckpointedHandle {
    pub(super) fn new(
        inner: Box<dyn RootKeyHandle>,
        checkpoints: CheckpointStore,
        notice: Option<DivergenceNotice>,
    ) -> Self {
        Self { inner, checkpoints, notice, written: Cell::new(false) }
    }
}

/// Compares the opened state with the last checkpoint here and records it. Returns false if it
/// could not be recorded. `key` seals checkpoints.
pub(super) fn check_and_record(
    checkpoints: &CheckpointStore,
    key: &Key,
    tables: &RootTables<'_>,
    keyrings: &[impl Borrow<Keyring>],
    notice: Option<&DivergenceNotice>,
) -> Result<bool, VaultError> {
    let vault_id = &tables.vault.vault_id;
    let mut before = Vec::new();
    for path_hash in checkpoints.path_hashes() {
        let opened = checkpoints.read(vault_id, path_hash)?.map(|bytes| {
            let opened = with_any_key(key, tables, |key| {
                Checkpoint::open(key, vault_id, path_hash, &bytes).ok()
            })?;

            opened.ok_or_else(|| VaultError::from(Divergence::KEY_CHANGE))
        });

        before.push(opened.transpose()?);
    }

    let known = before.iter().flatten().next();
    let projects = current_projects(known, vault_id, tables.projects, keyrings);
    let now = Checkpoint { root: tables.vault.revision(), projects };

    if let Some(divergence) = before.iter().flatten().find_map(|before| divergence(before, &now)) {
        return Err(divergence.into());
    }

    compare_with_newest(checkpoints, key, tables, &now, notice.filter(|_| known.is_none()))?;

    let mut is_written = true;
    for (path_hash, before) in checkpoints.path_hashes().iter().zip(&before) {
        if before.as_ref() != Some(&now) {
            let sealed = now.seal(key, vault_id, path_hash)?;
            is_written &= checkpoints.write(vault_id, path_hash, &sealed).is_ok();
        }
    }

    Ok(is_written)
}

/// Calls `open` with the current key, then with earlier keys. If the vault's keys were changed
/// elsewhere, the checkpoint here has an earlier key.
fn with_any_key<T>(
    key: &Key,
    tables: &RootTables<'_>,
    open: impl Fn(&Key) -> Option<T>,
) -> Result<Option<T>, VaultError> {
    if let Some(opened) = open(key) {
        return Ok(Some(opened));
    }

    let past = open_history(key, &tables.vault.vault_id, &tables.vault.checkpoint_history)?;
    Ok(past.iter().find_map(open))
}

/// Records the state as the vault's newest one, or calls `notice` if it is not.
fn compare_with_newest(
    checkpoints: &CheckpointStore,
    key: &Key,
    tables: &RootTables<'_>,
    now: &Checkpoint,
    notice: Option<&DivergenceNotice>,
) -> Result<(), VaultError> {
    let vault_id = &tables.vault.vault_id;
    let report = |path, divergence| {
        if let Some(notice) = notice {
            notice(&SeenElsewhere { path, divergence });
        }
    };

    if let Some(bytes) = checkpoints.read_newest(vault_id) {
        let Some(newest) =
            with_any_key(key, tables, |key| NewestState::open(key, vault_id, &bytes).ok())?
        else {
            report(None, Divergence::KEY_CHANGE);
            return Ok(());
        };

        if newest.state == *now {
            return Ok(());
        }

        if let Some(divergence) = divergence(&newest.state, now) {
            report(Some(PathBuf::from(OsStr::from_bytes(&newest.path))), divergence);
            return Ok(());
        }
    }

    let newest = NewestState {
        path: checkpoints.path().as_os_str().as_bytes().to_vec(),
        state: now.clone(),
    };

    // The record only leads to a warning, so a failure to write it is no reason to refuse the
    // vault.
    let _ = checkpoints.write_newest(vault_id, &newest.seal(key, vault_id)?);
    Ok(())
}

/// Returns the current state of all projects. If a head does not open, the project keeps its last
/// checkpoint, and the operation that uses the project reports the damage.
fn current_projects(
    before: Option<&Checkpoint>,
    vault_id: &VaultId,
    rows: &[ProjectRow],
    keyrings: &[impl Borrow<Keyring>],
) -> Vec<ProjectCheckpoint> {
    let known: HashMap<ProjectId, &ProjectCheckpoint> = before
        .iter()
        .flat_map(|checkpoint| &checkpoint.projects)
        .map(|project| (project.pid, project))
        .collect();

    let see = |(row, keyring): (&ProjectRow, &Keyring)| {
        let known = known.get(&row.pid).copied();
        let sealed = Sha256::new().chain_update(&row.head).chain_update(&row.sig).finalize().into();
        let head = match known.filter(|known| known.sealed == sealed) {
            Some(known) => Ok(known.head.clone()),
            None => keyring
                .open_head(vault_id, row)
                .map(|head| head.revision(vault_id, &row.pid, row.epoch)),
        };

        match head {
            Ok(head) => {
                Some(ProjectCheckpoint { pid: row.pid, name: keyring.name.clone(), head, sealed })
            }
            Err(_) => known.cloned(),
        }
    };

    rows.iter().zip(keyrings.iter().map(Borrow::borrow)).filter_map(see).collect()
}

/// Returns how a state differs from the one before. Returns `None` if it is the same or follows it.
fn divergence(before: &Checkpoint, now: &Checkpoint) -> Option<Divergence> {
    let is_divergence =
        |relation: Relation| matches!(relation, Relation::Behind(_) | Relation::Diverged);
    let vault = now.root.compare(&before.root);
    let heads: HashMap<ProjectId, &Revision> =
        now.projects.iter().map(|project| (project.pid, &project.head)).collect();
    let projects = before.projects.iter().filter_map(|seen| {
        let relation = heads.get(&seen.pid).map(|head| head.compare(&seen.head));

        // A project may have been deleted. In that case the vault's own state is a later one.
        let has_diverged = relation.map_or(is_divergence(vault), is_divergence);
        has_diverged.then(|| (seen.name.clone(), relation))
    });

    let projects: Vec<_> = projects.collect();
    if !is_divergence(vault) && projects.is_empty() {
        return None;
    }

    let vault = if is_divergence(vault) { vault } else { Relation::Equal };
    Some(Divergence { vault: Some(vault), projects })
}

impl RootKeyHandle for CheckpointedHandle {
    fn open(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError> {
        let keyrings = self.inner.open(tables)?;
        self.written.set(check_and_record(
            &self.checkpoints,
            &self.inner.checkpoint_key()?,
            tables,
            &keyrings,
            self.notice.as_ref(),
        )?);

        Ok(keyrings)
    }

    fn open_unchecked(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError> {
        self.inner.open_unchecked(tables)
    }

    fn mac(&self, tables: &RootTables<'_>) -> Result<[u8; 32], VaultError> {
        self.inner.mac(tables)
    }

    fn seal_keyring(
        &self,
        vault_id: &VaultId,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, VaultError> {
        self.inner.seal_keyring(vault_id, pid, epoch, keyring)
    }

    fn checkpoint_key(&self) -> Result<Key, VaultError> {
        self.inner.checkpoint_key()
    }

    fn root_key(&self) -> Option<&RootKey> {
        self.inner.root_key()
    }

    fn has_checkpoints(&self) -> bool {
        true
    }

    fn has_written(&self) -> bool {
        self.written.get()
    }
}
