//! Opens everything for an export: the values of one project or of all, one after the other, from
//! one state of the vault.
//!
//! It never holds more than one value.

use super::projects::require_project;
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
        let positions = match project {
            Some(name) => vec![require_project(&state, name)?],
            None => {
                let mut positions: Vec<usize> = (0..state.keyrings.len()).collect();
                positions.sort_by_key(|at| &state.keyrings[*at].name);
                positions
            }
        };

        for at in positions {
            let project = state.project(&*snapshot, at)?;

            // All records are read and verified first. Values are read by other statements
            // afterwards.
            let mut found = Vec::new();
            project.each(&*snapshot, |record| found.push(record))?;
            found.sort_by_cached_key(|found| found.metadata.tag.key());
            take(Exported::Project(&project.keyring.name))?;

            for found in found {
                take(Exported::Secret(
                    &found.metadata,
                    &project.value(&*snapshot, &found.record)?,
                ))?;
            }
        }

        Ok(())
    }
}
