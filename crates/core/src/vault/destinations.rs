//! Changes where a value may be sent. Its seal is bound to its destinations, so it is opened and
//! sealed again, and nobody who cannot open it can change them.

use super::find::find;
use super::{Vault, VaultError};
use crate::crypto::audit::Action;
use crate::model::{Destinations, ProjectName, Secret, SecretRef, SecretValue, Timestamp};

/// The result of [`Vault::change_destinations`].
pub enum ChangedDestinations<T> {
    /// There was something to change
    Changed(Secret, T),
    /// The secret has these destinations already
    Same(Secret, T),
}

impl Vault {
    /// Changes the destinations of a secret as one new version. `change` gets the value, because some
    /// values cannot stand in some places. Nothing is written if it changes nothing, or fails.
    ///
    /// # Errors
    /// Fails for a token that does not permit changes, or that has no key for the value.
    pub fn change_destinations<T, E: From<VaultError>>(
        &self,
        project: &ProjectName,
        wanted: &SecretRef,
        change: impl FnOnce(&mut Destinations, &SecretValue) -> Result<T, E>,
    ) -> Result<ChangedDestinations<T>, E> {
        let mut writing =
            self.writing(|ahead| ahead.refs(project, std::slice::from_ref(wanted)))?;
        let (project, mut found) = find(&writing.state, &*writing.transaction, project, wanted)?;
        let value = project.value(&*writing.transaction, &found)?;

        let before = found.metadata.destinations.clone();
        let outcome = change(&mut found.metadata.destinations, &value)?;
        if found.metadata.destinations == before {
            return Ok(ChangedDestinations::Same(project.secret(found), outcome));
        }

        found.metadata.updated = Timestamp::now();
        let secret = writing.edit(project, Action::Allow, |edit| edit.put(found, Some(&value)))?;
        writing.commit()?;
        Ok(ChangedDestinations::Changed(secret, outcome))
    }
}
