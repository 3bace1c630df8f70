//! The operations on projects: list, rename and delete.

use super::access::DirectoryChange;
use super::{Vault, VaultError};
use crate::crypto::output_digest::OutputKey;
use crate::model::{ProjectName, Timestamp};
use crate::store::Extent;

impl Vault {
    /// Returns all projects with their numbers of secrets, sorted by name.
    pub fn projects(&self) -> Result<Vec<(ProjectName, u64)>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.all = Some(Extent::Head))?;
        let mut projects = Vec::new();
        for project in state.all(&*snapshot)? {
            let project = state.open(&*snapshot, project)?;
            projects.push((project.name().clone(), project.head.count));
        }

        Ok(projects)
    }

    /// Fails with the nearest name if the project does not exist.
    pub fn require_project(&self, name: &ProjectName) -> Result<(), VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.project(name, Extent::Entry))?;
        state.require(&*snapshot, name).map(drop)
    }

    /// Returns the time since which a project needs new keys, because a right to read was taken away.
    /// Returns `None` if it needs none or does not exist.
    pub fn keys_due(&self, name: &ProjectName) -> Result<Option<Timestamp>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.project(name, Extent::Entry))?;
        Ok(state.find(&*snapshot, name)?.and_then(|found| found.entry.due))
    }

    /// Returns the key for the digests of a project's rendered files, or `None` if the project does
    /// not exist.
    pub fn output_key(&self, project: &ProjectName) -> Result<Option<OutputKey>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.project(project, Extent::Entry))?;
        let found = state.find(&*snapshot, project)?;
        found.map(|found| self.access.output_key(&found)).transpose()
    }

    /// Returns the keys for the digests of all projects' rendered files.
    pub fn output_keys(&self) -> Result<Vec<OutputKey>, VaultError> {
        let (snapshot, state) = self.reading(|ahead| ahead.all = Some(Extent::Entry))?;
        let all = state.all(&*snapshot)?;
        all.iter().map(|project| self.access.output_key(project)).collect()
    }

    /// Renames a project. Its secrets do not change.
    pub fn rename_project(&self, from: &ProjectName, to: &ProjectName) -> Result<(), VaultError> {
        self.retrying(|| {
            let mut writing = self.writing(|ahead| {
                ahead.project(from, Extent::Entry);
                ahead.project(to, Extent::Entry);
            })?;

            writing.state.require(&*writing.transaction, from)?;
            writing.change_directory(DirectoryChange::Rename { from, to })?;
            writing.commit()
        })
    }

    /// Deletes projects with all their secrets, either all of `names` or none. Returns them with
    /// their numbers of secrets.
    pub fn delete_projects(
        &self,
        names: &[ProjectName],
    ) -> Result<Vec<(ProjectName, u64)>, VaultError> {
        self.retrying(|| self.delete_projects_once(names))
    }

    fn delete_projects_once(
        &self,
        names: &[ProjectName],
    ) -> Result<Vec<(ProjectName, u64)>, VaultError> {
        let mut writing = self.writing(|ahead| {
            for name in names {
                ahead.project(name, Extent::Head);
            }
        })?;

        let mut wanted: Vec<&ProjectName> = names.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();

        let mut deleted = Vec::new();
        for name in &wanted {
            let snapshot = &*writing.transaction;
            let found = writing.state.require(snapshot, name)?;
            let project = writing.state.open(snapshot, found)?;
            deleted.push((project.name().clone(), project.head.count));
        }

        writing.change_directory(DirectoryChange::Delete(&wanted))?;
        writing.commit()?;
        Ok(deleted)
    }
}
