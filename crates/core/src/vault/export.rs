//! Opens everything for an export: the values of one project or of all, one after the other, from
//! one state of the vault.
//!
//! It never holds more than one value.

use super::project::ValueRef;
use super::{Vault, VaultError};
use crate::model::{Metadata, ProjectName, SecretValue};

/// The items of an export, in this order: a project, then its secrets sorted by tag key.
pub enum Exported<'a> {
    /// The beginning of a project
    Project(&'a ProjectName),
    /// A secret of the last project
    Secret(&'a Metadata, &'a SecretValue),
}

impl Vault {
    /// Passes one project and its values to `take`, or all projects sorted by name. An unknown
    /// project is an error.
    pub fn export<E: From<VaultError>>(
        &self,
        project: Option<&ProjectName>,
        mut take: impl FnMut(Exported<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let snapshot = self.store.read().map_err(VaultError::from)?;
        let state = self.state(&*snapshot)?;
        let projects = match project {
            Some(name) => vec![state.require(&*snapshot, name)?],
            None => state.all(&*snapshot)?,
        };

        for project in projects {
            let project = state.open(&*snapshot, project)?;

            // All records are read and verified first. Values are read by other statements
            // afterwards.
            let mut found = Vec::new();
            project.each(&*snapshot, |record| found.push(record))?;
            found.sort_by_cached_key(|found| found.metadata.tag.key());
            take(Exported::Project(project.name()))?;

            let wanted: Vec<ValueRef> = found.iter().map(ValueRef::from).collect();
            project.values(&*snapshot, &wanted, |at, value| {
                take(Exported::Secret(&found[at].metadata, &value))
            })?;
        }

        Ok(())
    }
}
