//! Opens everything for an export: the values of one project or of all, one after the other, from one state of the vault.
//!
//! Never holds more than one value.

use super::projects::known;
use super::{Vault, VaultError};
use crate::model::{Metadata, ProjectName, SecretValue};

/// What an export meets, in this order: a project, then its secrets by their tags' keys.
pub enum Exported<'a> {
    /// A project begins
    Project(&'a ProjectName),
    /// A secret of the project that began last
    Secret(&'a Metadata, &'a SecretValue),
}

impl Vault {
    /// Hands over one project with its values, or all of them sorted by name. An unknown project is an error.
    pub fn export<E: From<VaultError>>(
        &self,
        project: Option<&ProjectName>,
        mut take: impl FnMut(Exported<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let snapshot = self.store.read().map_err(VaultError::from)?;
        let state = self.state(&*snapshot)?;
        let places = match project {
            Some(name) => vec![known(&state, name)?],
            None => {
                let mut places: Vec<usize> = (0..state.keyrings.len()).collect();
                places.sort_by_key(|at| &state.keyrings[*at].name);
                places
            }
        };

        for at in places {
            let project = state.project(&*snapshot, at)?;

            // First the records, all verified; then the values, which are read by other statements.
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
