//! Gives a secret another tag. It keeps its id, so grants for it stay good.

use super::{Vault, VaultError};
use crate::crypto::audit::Action;
use crate::crypto::rows::Record;
use crate::model::{Secret, Tag, TagKey, Timestamp};

impl Vault {
    /// Gives secrets of different projects the same new tag, all or none. `secrets` are as the caller has
    /// read them: if another process has changed one since, nothing is written. Returns them in their
    /// order.
    ///
    /// # Errors
    /// Fails if another secret has the tag, and for a token that has no key for the value, because its
    /// seal is bound to the tag.
    pub fn rename(&self, secrets: &[Secret], tag: &Tag) -> Result<Vec<Secret>, VaultError> {
        self.retrying(|| self.rename_once(secrets, tag))
    }

    fn rename_once(&self, secrets: &[Secret], tag: &Tag) -> Result<Vec<Secret>, VaultError> {
        let mut writing = self.writing(|ahead| {
            ahead.with_values();
            for secret in secrets {
                ahead.tags(&secret.project, [&secret.metadata.tag, tag]);
            }
        })?;
        let mut renamed = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let (rows, before) = (&*writing.transaction, &secret.metadata.tag);
            let project = writing.state.require(rows, &secret.project)?;
            let project = writing.state.open(rows, project)?;

            // Both tags are looked up together. They may be spellings of the same one.
            let mut keys: Vec<TagKey> = vec![before.key(), tag.key()];
            keys.dedup();
            let (mut found, mut taken) = (None, None);
            project.by_tags(rows, &keys, true, |at, record| {
                if at == 0 {
                    found = record;
                } else {
                    taken = record;
                }

                Ok(())
            })?;

            if let Some(taken) = taken {
                return Err(VaultError::Exists(vec![project.secret(taken)]));
            }

            let is_same =
                |record: &Record| (record.rid, record.ver) == (secret.id.0, secret.version);
            let mut found = found
                .filter(|found| is_same(&found.record))
                .ok_or_else(|| VaultError::Changed(before.clone()))?;
            let value = project.value(rows, &found)?;
            found.metadata.updated = Timestamp::now();
            renamed.push(
                writing.edit(project, Action::Rename, |edit| edit.rename(found, tag, &value))?,
            );
        }

        writing.commit()?;
        Ok(renamed)
    }
}
