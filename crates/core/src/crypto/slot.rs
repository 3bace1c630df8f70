//! Key slots, which wrap the root key for a passphrase, with or without a key file, or a recovery code (docs/format.md, section
//! 3).
//!
//! A slot is hostile until it is opened. Its parameters are checked before memory is allocated.

use super::CryptoError;
use super::ids::VaultId;
use super::kdf::{KdfParams, Passphrase, SlotKeys};
use super::keychain::KeychainKey;
use super::random;
use super::recovery::RecoveryCode;
use super::root_key::RootKey;
use super::rows::Slot;
use super::ticket::Ticket;
use crate::model::Timestamp;

/// The slot type of a passphrase.
pub const PASSPHRASE_SLOT: u32 = 1;
/// The slot type of a recovery code.
pub const RECOVERY_SLOT: u32 = 2;
/// The slot type of a passphrase that is used with a key file.
pub const KEYED_SLOT: u32 = 3;

/// The slot type of a key that the desktop's keychain holds.
pub const KEYCHAIN_SLOT: u32 = 4;

/// The slot type of a ticket, which opens a vault on a server once.
pub const TICKET_SLOT: u32 = 5;

/// The maximum number of slots of a vault. Each one can cost a key derivation.
pub const MAX_SLOTS: usize = 16;

/// Returns true for a slot of a passphrase, with or without a key file.
pub fn is_of_passphrase(kind: u32) -> bool {
    matches!(kind, PASSPHRASE_SLOT | KEYED_SLOT)
}

/// A passphrase or a recovery code, which opens slots of one type.
pub trait Credential {
    /// Returns true if it can open slots of this type.
    fn opens(&self, kind: u32) -> bool;
    /// Derives the keys of one slot, at the cost of the slot's parameters. The slot's commitment
    /// and seal are not checked.
    fn slot_keys(&self, slot: &Slot, vault_id: &VaultId) -> Result<SlotKeys, CryptoError>;
    /// Returns the error for a commitment that does not match.
    fn wrong(&self) -> CryptoError;
}

impl Credential for Passphrase {
    fn opens(&self, kind: u32) -> bool {
        is_of_passphrase(kind)
    }

    fn slot_keys(&self, slot: &Slot, vault_id: &VaultId) -> Result<SlotKeys, CryptoError> {
        let (slot_id, salt) = (sixteen(&slot.slot_id)?, sixteen(&slot.salt)?);
        let params = KdfParams::decode(&slot.params)?;
        self.derive(slot.kind == KEYED_SLOT, params, salt, vault_id, slot_id)
    }

    fn wrong(&self) -> CryptoError {
        if self.has_key_file() {
            CryptoError::WrongPassphraseOrKeyFile
        } else {
            CryptoError::WrongPassphrase
        }
    }
}

impl Credential for RecoveryCode {
    fn opens(&self, kind: u32) -> bool {
        kind == RECOVERY_SLOT
    }

    fn slot_keys(&self, slot: &Slot, vault_id: &VaultId) -> Result<SlotKeys, CryptoError> {
        keys_of_random(self.expose(), slot, vault_id, &[])
    }

    fn wrong(&self) -> CryptoError {
        CryptoError::WrongRecoveryCode
    }
}

impl Credential for KeychainKey {
    fn opens(&self, kind: u32) -> bool {
        kind == KEYCHAIN_SLOT
    }

    fn slot_keys(&self, slot: &Slot, vault_id: &VaultId) -> Result<SlotKeys, CryptoError> {
        keys_of_random(self.expose(), slot, vault_id, &[])
    }

    fn wrong(&self) -> CryptoError {
        CryptoError::WrongKeychainKey
    }
}

/// The name of a damaged slot in messages.
pub const SLOT: &str = "the key slot";
const DAMAGED: CryptoError = CryptoError::Damaged(SLOT);

/// Derives the keys of a slot from 256 random bits. Nobody can guess them, so no costly derivation is needed.
pub(super) fn keys_of_random(
    bytes: &[u8; 32],
    slot: &Slot,
    vault_id: &VaultId,
    params: &[u8],
) -> Result<SlotKeys, CryptoError> {
    let (slot_id, _) = (sixteen(&slot.slot_id)?, sixteen(&slot.salt)?);
    if slot.params == params {
        Ok(SlotKeys::expand(bytes, vault_id, slot_id))
    } else {
        Err(DAMAGED)
    }
}

fn sixteen(column: &[u8]) -> Result<&[u8; 16], CryptoError> {
    column.try_into().map_err(|_| DAMAGED)
}

impl Slot {
    /// Seals `root` under a passphrase. With `is_keyed`, its key file will be needed as well.
    pub fn create(
        passphrase: &Passphrase,
        is_keyed: bool,
        params: KdfParams,
        vault_id: &VaultId,
        root: &RootKey,
    ) -> Result<Self, CryptoError> {
        let kind = if is_keyed { KEYED_SLOT } else { PASSPHRASE_SLOT };
        Self::sealed(passphrase, kind, params.encode().to_vec(), vault_id, root)
    }

    /// Seals `root` under a recovery code.
    pub fn for_recovery(
        code: &RecoveryCode,
        vault_id: &VaultId,
        root: &RootKey,
    ) -> Result<Self, CryptoError> {
        Self::sealed(code, RECOVERY_SLOT, Vec::new(), vault_id, root)
    }

    /// Seals `root` under a keychain's key.
    pub fn for_keychain(
        key: &KeychainKey,
        vault_id: &VaultId,
        root: &RootKey,
    ) -> Result<Self, CryptoError> {
        Self::sealed(key, KEYCHAIN_SLOT, Vec::new(), vault_id, root)
    }

    /// Seals `root` under a ticket.
    pub fn for_ticket(
        ticket: &Ticket,
        vault_id: &VaultId,
        root: &RootKey,
    ) -> Result<Self, CryptoError> {
        Self::sealed(ticket, TICKET_SLOT, ticket.params(), vault_id, root)
    }

    /// Returns the time until which its ticket is valid. Returns `None` for another type of slot.
    pub fn ticket_until(&self) -> Option<Timestamp> {
        let until: [u8; 8] = self.params.as_slice().try_into().ok()?;
        (self.kind == TICKET_SLOT).then(|| Timestamp(u64::from_be_bytes(until)))
    }

    fn sealed(
        by: &dyn Credential,
        kind: u32,
        params: Vec<u8>,
        vault_id: &VaultId,
        root: &RootKey,
    ) -> Result<Self, CryptoError> {
        let slot_id: [u8; 16] = random::array()?;
        let salt: [u8; 16] = random::array()?;
        let (commitment, wrap) = (Vec::new(), Vec::new());
        let (slot_id, salt) = (slot_id.to_vec(), salt.to_vec());
        let mut slot = Self { slot_id, kind, params, salt, commitment, wrap };
        let keys = by.slot_keys(&slot, vault_id)?;

        slot.commitment = keys.commitment.to_vec();
        slot.wrap = keys.kek.seal("slot", vault_id, &slot.context(), root.expose())?;
        Ok(slot)
    }

    /// Opens the root key. Fails with [`Credential::wrong`] if the commitment differs. If it
    /// matches and the seal does not open, the slot is damaged.
    pub fn open(&self, by: &dyn Credential, vault_id: &VaultId) -> Result<RootKey, CryptoError> {
        // This is checked before the expensive key derivation.
        if self.commitment.len() != 32 {
            return Err(DAMAGED);
        }

        let keys = by.slot_keys(self, vault_id)?;
        if !keys.commits_to(&self.commitment) {
            return Err(by.wrong());
        }

        let root = keys.kek.open("slot", vault_id, &self.context(), &self.wrap, SLOT)?;
        RootKey::from_bytes(root.expose().try_into().map_err(|_| DAMAGED)?)
    }

    /// Returns the cost of a guess at its passphrase. Returns `None` for another type of slot and
    /// for costs out of bounds.
    pub fn kdf_params(&self) -> Option<KdfParams> {
        KdfParams::decode(&self.params).ok().filter(|_| is_of_passphrase(self.kind))
    }

    fn context(&self) -> Vec<u8> {
        [&self.slot_id[..], &self.kind.to_be_bytes(), &self.params, &self.salt].concat()
    }
}
