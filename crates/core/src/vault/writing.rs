//! One change of a vault: a transaction, the state that it changes, and what is remembered once it is
//! committed.

use super::access::{ChangedDirectory, DirectoryChange, OpenedProject};
use super::checkpoints::Seen;
use super::edit::Edit;
use super::project::Project;
use super::state::State;
use super::{Vault, VaultError};
use crate::crypto::audit::Action;
use crate::crypto::checkpoint::Checkpoint;
use crate::crypto::head::Head;
use crate::crypto::ids::{DIRECTORY, ProjectId};
use crate::model::ProjectName;
use crate::store::{self, Transaction};

/// A change that is not committed yet.
pub(super) struct Writing<'v> {
    vault: &'v Vault,
    pub(super) transaction: Box<dyn Transaction + 'v>,
    pub(super) state: State,
    /// The states to remember
    seen: Vec<(ProjectId, Option<ProjectName>, Checkpoint)>,
}

impl<'v> Writing<'v> {
    pub(super) fn new(
        vault: &'v Vault,
        transaction: Box<dyn Transaction + 'v>,
        state: State,
    ) -> Self {
        Self { vault, transaction, state, seen: Vec::new() }
    }

    /// Opens a project by its name.
    pub(super) fn named(&self, name: &ProjectName) -> Result<Option<Project>, VaultError> {
        self.state.named(&*self.transaction, name)
    }

    /// Opens the project of this name, or creates it.
    pub(super) fn open_or_create(&mut self, name: &ProjectName) -> Result<Project, VaultError> {
        if let Some(project) = self.named(name)? {
            return Ok(project);
        }

        let added = self.change_directory(DirectoryChange::Add(&[name]))?;
        let added = added.into_iter().next();
        self.open_new(added.ok_or(VaultError::Internal("no project was added"))?)
    }

    /// Finds the projects of these names, and creates those that do not exist.
    pub(super) fn find_or_create(
        &mut self,
        names: &[&ProjectName],
    ) -> Result<Vec<FoundOrNew>, VaultError> {
        let vault_id = *self.state.vault_id();
        let found = self.state.access.find(&vault_id, &*self.transaction, names)?;
        let missing: Vec<&ProjectName> = names
            .iter()
            .zip(&found)
            .filter_map(|(name, found)| found.is_none().then_some(*name))
            .collect();

        let mut added = Vec::new();
        if !missing.is_empty() {
            added = self.change_directory(DirectoryChange::Add(&missing))?;
        }

        let mut added = added.into_iter();
        let target = |found: Option<OpenedProject>| match found {
            Some(found) => Some(FoundOrNew::Found(found)),
            None => added.next().map(FoundOrNew::New),
        };

        let targets = found.into_iter().map(target).collect::<Option<Vec<_>>>();
        targets.ok_or(VaultError::Internal("no project was added"))
    }

    /// Opens a target of [`Writing::find_or_create`].
    pub(super) fn open(&self, target: FoundOrNew) -> Result<Project, VaultError> {
        match target {
            FoundOrNew::Found(found) => self.state.open(&*self.transaction, found),
            FoundOrNew::New(added) => self.open_new(added),
        }
    }

    /// Opens a project that this change added. It is not compared with checkpoints, because it may
    /// never be committed.
    fn open_new(&self, project: OpenedProject) -> Result<Project, VaultError> {
        let State { access, owner, .. } = &self.state;
        let vault_id = *self.state.vault_id();
        Project::open(&*self.transaction, vault_id, owner, project, access.clone(), None)
    }

    /// Changes the directory.
    pub(super) fn change_directory(
        &mut self,
        change: DirectoryChange<'_>,
    ) -> Result<Vec<OpenedProject>, VaultError> {
        let vault_id = *self.state.vault_id();
        let access = self.state.access.clone();
        let ChangedDirectory { head, added } =
            access.change(&vault_id, &mut *self.transaction, change)?;
        self.set_directory(head);
        Ok(added)
    }

    /// Takes over the directory's new head.
    pub(super) fn set_directory(&mut self, head: Head) {
        let state = self.state.checkpoint(&head);
        self.state.directory = head;
        self.remember(DIRECTORY, None, state);
    }

    /// Remembers a state after the commit.
    pub(super) fn remember(
        &mut self,
        pid: ProjectId,
        name: Option<&ProjectName>,
        state: Checkpoint,
    ) {
        self.seen.push((pid, name.cloned(), state));
    }

    /// Changes one project and signs it.
    pub(super) fn edit<T>(
        &mut self,
        project: Project,
        action: Action,
        change: impl FnOnce(&mut Edit<'_>) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let (pid, name) = (project.row.pid, project.name().clone());
        let mut edit = Edit::new(&mut *self.transaction, project, action);
        let value = change(&mut edit)?;
        let state = edit.sign()?;
        self.remember(pid, Some(&name), state);
        Ok(value)
    }

    /// Commits, then remembers the new states, so that a rollback of the change is noticed.
    pub(super) fn commit(self) -> Result<(), VaultError> {
        let Self { vault, transaction, state, seen } = self;
        store::commit(&*vault.store, transaction)?;
        if let Some(checkpoints) = &vault.checkpoints {
            for (pid, name, checkpoint) in &seen {
                // The change is durable. Not remembering it is no reason to report a failure.
                let seen = Seen { pid, name: name.as_ref(), state: checkpoint };
                let _ = checkpoints.remember(&state.vault, &*state.access, seen);
            }
        }

        Ok(())
    }
}

/// A project that existed before a change, or one that the change has added.
pub(super) enum FoundOrNew {
    Found(OpenedProject),
    New(OpenedProject),
}
