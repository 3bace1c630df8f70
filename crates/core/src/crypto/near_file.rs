//! Protects the address of the server and this machine's key slots in a near file with the
//! checkpoint key (docs/format.md, section 9).

use sha2::{Digest, Sha256};

use super::CryptoError;
use super::aead::Key;
use super::checkpoint::trust_mac;
use super::ids::{Hash, VaultId};
use super::padding::{pad, unpad};
use super::record::metadata_size;
use super::rows::{Slot, slots_hash};
use crate::model::SecretBytes;

/// The name of the address in messages.
const ADDRESS: &str = "the address of the vault's server";

/// Seals the address of the server, with the password there.
pub fn seal_address(
    key: &Key,
    vault_id: &VaultId,
    address: &SecretBytes,
) -> Result<Vec<u8>, CryptoError> {
    key.seal("address", vault_id, &[], pad(address.expose(), metadata_size).expose())
}

/// Opens the result of [`seal_address`].
pub fn open_address(
    key: &Key,
    vault_id: &VaultId,
    sealed: &[u8],
) -> Result<SecretBytes, CryptoError> {
    let padded = key.open("address", vault_id, &[], sealed, ADDRESS)?;
    Ok(SecretBytes::copy_of(unpad(padded.expose(), metadata_size, ADDRESS)?))
}

/// Returns the MAC of the key slots in a near file. The vault's own head does not name them, because
/// each machine has others.
pub fn slots_mac(key: &Key, vault_id: &VaultId, slots: &[Slot]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(b"secrets/v3/near-slots\0");
    digest.update(slots_hash(slots, &[]));
    trust_mac(key, vault_id, &digest.finalize().into())
}
