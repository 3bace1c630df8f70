//! MACs of a vault over records that are kept outside of it (docs/design/trust.md).
//!
//! Who can open the vault can make and check them; nobody else can.

use super::{Vault, VaultError};
use crate::crypto::checkpoint::{open_history, trust_mac};
use crate::crypto::ids::{Hash, VaultId};

/// The MACs of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustMacs {
    /// Whose
    pub vault_id: VaultId,
    /// Under the present keys
    pub current: Hash,
    /// Under the keys that the vault had before they were changed, the latest first
    pub earlier: Vec<Hash>,
}

impl Vault {
    /// Returns the MACs of a record's digest.
    pub fn trust_macs(&self, digest: &Hash) -> Result<TrustMacs, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let (vault_id, key) = (state.vault.vault_id, self.root.checkpoint_key()?);

        let past = open_history(&key, &vault_id, &state.vault.checkpoint_history)?;
        let earlier = past.iter().map(|key| trust_mac(key, &vault_id, digest)).collect();
        Ok(TrustMacs { vault_id, current: trust_mac(&key, &vault_id, digest), earlier })
    }
}
