//! The changes that a backup makes to a vault.

use secrets_core::vault::Difference;
use serde::Serialize;

use super::secret::SortedSecrets;

/// The difference between a vault and a backup. Without a vault to compare, only the secrets of the
/// backup are known.
#[derive(Serialize)]
pub(crate) struct Restored<'a> {
    added: SortedSecrets<'a>,
    changed: Option<SortedSecrets<'a>>,
    removed: Option<SortedSecrets<'a>>,
}

impl<'a> Restored<'a> {
    pub(crate) fn of(difference: &'a Difference, is_compared: bool) -> Self {
        Self {
            added: SortedSecrets(&difference.added),
            changed: is_compared.then_some(SortedSecrets(&difference.changed)),
            removed: is_compared.then_some(SortedSecrets(&difference.removed)),
        }
    }
}
