//! The secrets that a restore would add, remove and change.

use std::collections::HashMap;

use crate::model::{Secret, SecretId};

/// The secrets that differ between the current vault and a restored one, sorted by project and tag.
#[derive(Debug, Default)]
pub struct Difference {
    /// Secrets that the restored vault adds
    pub added: Vec<Secret>,
    /// Secrets that the restored vault removes
    pub removed: Vec<Secret>,
    /// Secrets that exist in both in different versions, as they will be after the restore
    pub changed: Vec<Secret>,
}

impl Difference {
    /// Returns true if both vaults hold the same secrets.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Returns the changes if `then` replaces `now`.
    pub fn between(now: &[Secret], then: Vec<Secret>) -> Self {
        let mut before: HashMap<SecretId, &Secret> =
            now.iter().map(|secret| (secret.id, secret)).collect();
        let mut difference = Self::default();
        for secret in then {
            match before.remove(&secret.id) {
                None => difference.added.push(secret),
                Some(existing)
                    if existing.version == secret.version
                        && existing.metadata == secret.metadata => {}
                Some(_) => difference.changed.push(secret),
            }
        }

        difference.removed =
            now.iter().filter(|secret| before.contains_key(&secret.id)).cloned().collect();
        difference
    }
}
