//! The operations on projects: list, rename and delete.

use super::edit::seal_root;
use super::state::State;
use super::{Vault, VaultError, WriteOutcome, nearest};
use crate::crypto::output_digest::OutputKey;
use crate::model::ProjectName;
use crate::store::Change;

impl Vault {
    /// Returns all projects with their numbers of secrets, sorted by name.
    pub fn projects(&self) -> Result<Vec<(ProjectName, u64)>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let mut projects = Vec::with_capacity(state.rows.len());
        for at in 0..state.rows.len() {
            let project = state.project(&*snapshot, at)?;
            projects.push((project.keyring.name.clone(), project.head.count));
        }

        projects.sort();
        Ok(projects)
    }

    /// Fails with the nearest name if the project does not exist.
    pub fn require_project(&self, name: &ProjectName) -> Result<(), VaultError> {
        let snapshot = self.store.read()?;
        require_project(&self.state(&*snapshot)?, name).map(drop)
    }

    /// Returns the key for the digests of a project's rendered files, or `None` if the project does
    /// not exist.
    pub fn output_key(&self, project: &ProjectName) -> Result<Option<OutputKey>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let at = state.position(project);
        Ok(at.map(|at| state.keyrings[at].output_key(&state.rows[at].pid)))
    }

    /// Returns the keys for the digests of all projects' rendered files.
    pub fn output_keys(&self) -> Result<Vec<OutputKey>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let keys = state
            .keyrings
            .iter()
            .zip(&state.rows)
            .map(|(keyring, row)| keyring.output_key(&row.pid));

        Ok(keys.collect())
    }

    /// Renames a project. Its secrets do not change.
    pub fn rename_project(
        &self,
        from: &ProjectName,
        to: &ProjectName,
    ) -> Result<WriteOutcome<()>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let at = require_project(&state, from)?;
        if state.position(to).is_some_and(|other| other != at) {
            return Err(VaultError::ProjectExists(to.clone()));
        }

        let mut rows = state.rows.clone();
        let row = &mut rows[at];
        let renamed = state.keyrings[at].renamed(&row.pid, to.clone());
        row.keys = self.root.seal_keyring(&state.vault.vault_id, &row.pid, row.epoch, &renamed)?;

        transaction.apply(Change::Project(row))?;
        seal_root(&state, &*self.root, rows, &mut *transaction)?;
        Ok(WriteOutcome::new((), self.commit(transaction)?))
    }

    /// Deletes projects with all their secrets, either all of `names` or none. Returns them with
    /// their numbers of secrets.
    pub fn delete_projects(
        &self,
        names: &[ProjectName],
    ) -> Result<WriteOutcome<Vec<(ProjectName, u64)>>, VaultError> {
        let mut transaction = self.store.write()?;
        let state = self.state(&*transaction)?;
        let mut positions = names
            .iter()
            .map(|name| require_project(&state, name))
            .collect::<Result<Vec<_>, _>>()?;
        positions.sort_unstable();
        positions.dedup();

        let mut deleted = Vec::new();
        for &at in &positions {
            let project = state.project(&*transaction, at)?;
            deleted.push((project.keyring.name.clone(), project.head.count));
        }

        let mut rows = state.rows.clone();
        for &at in positions.iter().rev() {
            transaction.apply(Change::DropProject(&rows.remove(at).pid))?;
        }

        seal_root(&state, &*self.root, rows, &mut *transaction)?;
        Ok(WriteOutcome::new(deleted, self.commit(transaction)?))
    }
}

pub(super) fn require_project(state: &State, name: &ProjectName) -> Result<usize, VaultError> {
    state.position(name).ok_or_else(|| {
        let names = state.keyrings.iter().map(|keyring| &keyring.name);
        let nearest = nearest(name.as_str(), names, |other| other.as_str().to_owned()).cloned();
        VaultError::NoProject { name: name.clone(), nearest }
    })
}
