//! MACs over trust records, which are kept outside of the vault (docs/design/trust.md).
//!
//! Only somebody who can open the vault can create and verify them.

use super::{Vault, VaultError};
use crate::crypto::checkpoint::trust_mac;
use crate::crypto::ids::{Hash, VaultId};

/// The MACs of one trust record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustMacs {
    /// The vault's id
    pub vault_id: VaultId,
    /// The MAC under the current keys
    pub current: Hash,
    /// The MACs under the vault's earlier keys, the latest first
    pub earlier: Vec<Hash>,
}

impl Vault {
    /// Returns the MACs of a trust record's digest.
    pub fn trust_macs(&self, digest: &Hash) -> Result<TrustMacs, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let (vault_id, key) = (state.vault.vault_id, self.access.checkpoint_key()?);

        let past = self.access.past_keys(&state.vault)?;
        let earlier =
            past.iter().map(|past| trust_mac(&past.checkpoint, &vault_id, digest)).collect();
        Ok(TrustMacs { vault_id, current: trust_mac(&key, &vault_id, digest), earlier })
    }
}
