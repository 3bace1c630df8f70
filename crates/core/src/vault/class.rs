//! Changes the class of a secret. The value is opened and sealed again under the key of the other
//! class.

use super::find::find;
use super::token_change::TokenChange;
use super::{Vault, VaultError};
use crate::crypto::audit::Action;
use crate::model::{Class, ProjectName, Secret, SecretRef, Timestamp};

impl Vault {
    /// Makes a secret restricted, or a team secret again, as one new version. A restricted secret
    /// loses its hint, and a team secret gets the hint of its value. `seen` is the version that the
    /// caller has read: if another process has changed the secret since, nothing is written.
    /// Returns `None` if the secret has this class already.
    ///
    /// # Errors
    /// Requires the root key itself. Only this process asks for it. An agent gives out the message
    /// keys of both classes, so it does not prevent such a change.
    pub fn set_class(
        &self,
        project: &ProjectName,
        wanted: &SecretRef,
        seen: Option<u64>,
        class: Class,
    ) -> Result<Option<Secret>, VaultError> {
        let mut change =
            TokenChange::begin(self, |ahead| ahead.refs(project, std::slice::from_ref(wanted)))?;
        let writing = &mut change.writing;
        let (project, mut found) = find(&writing.state, &*writing.transaction, project, wanted)?;
        if found.metadata.class == class {
            return Ok(None);
        }

        if seen.is_some_and(|version| version != found.record.ver) {
            return Err(VaultError::Changed(found.metadata.tag));
        }

        let value = project.value(&*writing.transaction, &found)?;
        found.metadata.class = class;
        found.metadata.set_hint(value.hint());
        found.metadata.updated = Timestamp::now();
        let (opened, rid) = (project.opened.clone(), found.record.rid);
        let secret = writing.edit(project, Action::Access, |edit| edit.put(found, Some(&value)))?;

        // A grant for some secrets has the value's key, which is another one now.
        change.issue_for(opened, rid)?;
        change.writing.commit()?;
        Ok(Some(secret))
    }
}
