//! The key slots of the passphrase and the recovery code: opens and changes them.
//!
//! A new slot is opened for a test in the transaction that adds it, before the old one is removed.
//! Changing slots requires the root key itself, which an agent never hands out.

use super::directory::{Directory, DirectoryEdit};
use super::state::{SLOTS, State};
use super::{KeyServiceError, Locked, Vault, VaultError};
use crate::crypto::CryptoError;
use crate::crypto::audit::Action;
use crate::crypto::ids::VaultId;
use crate::crypto::kdf::{KdfParams, Passphrase};
use crate::crypto::keychain::KeychainKey;
use crate::crypto::near_file;
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{Slot, slots_hash};
use crate::crypto::slot::{
    Credential, KEYCHAIN_SLOT, KEYED_SLOT, MAX_SLOTS, RECOVERY_SLOT, TICKET_SLOT, is_of_passphrase,
};
use crate::crypto::ticket::Ticket;
use crate::model::{SecretBytes, Timestamp};
use crate::store::{Change, NearRows, Snapshot, Transaction};

/// Opens the root key from the first slot that `by` opens.
pub(super) fn open(
    slots: &[Slot],
    by: &dyn Credential,
    vault_id: &VaultId,
) -> Result<RootKey, CryptoError> {
    let mut outcome = Err(if by.opens(RECOVERY_SLOT) {
        CryptoError::NoRecoveryCode
    } else if by.opens(KEYCHAIN_SLOT) {
        CryptoError::WrongKeychainKey
    } else if by.opens(TICKET_SLOT) {
        CryptoError::WrongTicket
    } else {
        CryptoError::Unsupported("the vault has no passphrase slot")
    });

    for slot in slots.iter().filter(|slot| by.opens(slot.kind)) {
        outcome = slot.open(by, vault_id);

        // Only a slot with another commitment is skipped. Damage is reported, even if a later slot
        // would give another answer.
        if !outcome.as_ref().is_err_and(|error| *error == by.wrong()) {
            break;
        }
    }

    outcome
}

/// Returns the highest costs among a vault's passphrase slots.
pub(super) fn strongest_params(slots: &[Slot]) -> KdfParams {
    slots
        .iter()
        .filter_map(Slot::kdf_params)
        .max_by_key(|params| params.cost())
        .unwrap_or(KdfParams::SMALL)
}

/// The owner of slots, if the vault is on a server.
#[derive(Clone, Copy)]
enum SlotsOf {
    /// This machine: a passphrase, a keychain
    Machine,
    /// The vault: the recovery code
    Vault,
}

pub(super) fn has_recovery_slot(slots: &[Slot]) -> bool {
    slots.iter().any(|slot| slot.kind == RECOVERY_SLOT)
}

/// Returns true if the passphrase opens the vault only together with a key file.
pub(super) fn needs_key_file(slots: &[Slot]) -> bool {
    let mut passphrases = slots.iter().filter(|slot| is_of_passphrase(slot.kind)).peekable();
    passphrases.peek().is_some() && passphrases.all(|slot| slot.kind == KEYED_SLOT)
}

impl Locked {
    /// Returns true if a keychain holds a key of the vault. It is not verified yet.
    pub fn has_keychain(&self) -> Result<bool, VaultError> {
        Ok(self.id_and_slots()?.1.iter().any(|slot| slot.kind == KEYCHAIN_SLOT))
    }

    /// Returns true if the passphrase opens the vault only together with a key file. It is not verified
    /// yet.
    pub fn needs_key_file(&self) -> Result<bool, VaultError> {
        Ok(needs_key_file(&self.id_and_slots()?.1))
    }

    /// Returns true if the vault has a recovery code. It is not verified yet.
    pub fn has_recovery(&self) -> Result<bool, VaultError> {
        Ok(has_recovery_slot(&self.id_and_slots()?.1))
    }
}

impl Vault {
    /// Returns the vault's id.
    pub fn id(&self) -> Result<VaultId, VaultError> {
        Ok(self.id_and_slots()?.0)
    }

    /// Returns the cost of a guess at the passphrase.
    pub fn kdf_params(&self) -> Result<KdfParams, VaultError> {
        Ok(strongest_params(&self.id_and_slots()?.1))
    }

    /// Sets a new passphrase with the costs `params`. The old one's slot is removed from the file. A vault
    /// that needs a key file still does.
    pub fn set_passphrase(&self, new: &Passphrase, params: KdfParams) -> Result<(), VaultError> {
        let seen = self.slots_seen.borrow().as_deref().map(needs_key_file);
        let is_keyed = seen.map_or_else(|| self.needs_key_file(), Ok)?;
        self.set_slot(new, is_keyed, params)
    }

    /// Makes the vault need the passphrase's key file, or no longer need one.
    pub fn set_key_file(
        &self,
        passphrase: &Passphrase,
        is_keyed: bool,
        params: KdfParams,
    ) -> Result<(), VaultError> {
        self.set_slot(passphrase, is_keyed, params)
    }

    /// Returns true if the passphrase opens the vault only together with a key file.
    pub fn needs_key_file(&self) -> Result<bool, VaultError> {
        Ok(needs_key_file(&self.id_and_slots()?.1))
    }

    fn set_slot(
        &self,
        new: &Passphrase,
        is_keyed: bool,
        params: KdfParams,
    ) -> Result<(), VaultError> {
        // The key derivation is slow, so it runs before the transaction begins.
        let slot = Slot::create(new, is_keyed, params, &self.id_of_slots()?, self.root_key()?)?;
        let is_replaced = |slot: &Slot| is_of_passphrase(slot.kind);
        self.replace_slots(SlotsOf::Machine, is_replaced, Some((&slot, new)))
    }

    /// Returns true if the vault has a recovery code.
    pub fn has_recovery(&self) -> Result<bool, VaultError> {
        Ok(has_recovery_slot(&self.id_and_slots()?.1))
    }

    /// Creates a recovery code. An old one no longer opens the vault.
    pub fn create_recovery(&self) -> Result<RecoveryCode, VaultError> {
        let code = RecoveryCode::random()?;
        let slot = Slot::for_recovery(&code, &self.id_of_slots()?, self.root_key()?)?;
        let is_replaced = |slot: &Slot| slot.kind == RECOVERY_SLOT;
        self.replace_slots(SlotsOf::Vault, is_replaced, Some((&slot, &code)))?;
        Ok(code)
    }

    /// Deletes the recovery code, which then no longer opens the vault.
    pub fn delete_recovery(&self) -> Result<(), VaultError> {
        if !self.has_recovery()? {
            return Err(CryptoError::NoRecoveryCode.into());
        }

        self.replace_slots(SlotsOf::Vault, |slot| slot.kind == RECOVERY_SLOT, None)
    }

    /// Adds a slot for a new key, which the keychain of this machine will hold.
    pub fn add_keychain(&self) -> Result<KeychainKey, VaultError> {
        if self.id_and_slots()?.1.len() >= MAX_SLOTS {
            return Err(CryptoError::TooManySlots.into());
        }

        let key = KeychainKey::random()?;
        let slot = Slot::for_keychain(&key, &self.id_of_slots()?, self.root_key()?)?;
        self.replace_slots(SlotsOf::Machine, |_| false, Some((&slot, &key)))?;
        Ok(key)
    }

    /// Removes the keychain slots: that of `key`, or all. Returns how many were removed.
    pub fn remove_keychains(&self, key: Option<&KeychainKey>) -> Result<usize, VaultError> {
        let (vault_id, slots) = self.id_and_slots()?;
        let is_meant = |slot: &Slot| {
            slot.kind == KEYCHAIN_SLOT && key.is_none_or(|key| slot.open(key, &vault_id).is_ok())
        };
        let meant: Vec<Vec<u8>> =
            slots.iter().filter(|slot| is_meant(slot)).map(|slot| slot.slot_id.clone()).collect();
        if !meant.is_empty() {
            self.replace_slots(SlotsOf::Machine, |slot| meant.contains(&slot.slot_id), None)?;
        }

        Ok(meant.len())
    }

    /// Creates a ticket that opens the vault on another machine until a date, at an address without a
    /// password. Tickets whose date has passed are removed from the server.
    pub fn create_ticket(
        &self,
        until: Timestamp,
        address: SecretBytes,
    ) -> Result<Ticket, VaultError> {
        if !self.store.is_remote() {
            return Err(VaultError::NotRemote);
        }

        let vault_id = self.id_of_slots()?;
        let ticket = Ticket::random(vault_id, until, address)?;
        let slot = Slot::for_ticket(&ticket, &vault_id, self.root_key()?)?;
        let now = Timestamp::now();
        let is_over = |slot: &Slot| slot.ticket_until().is_some_and(|until| until < now);
        self.replace_slots(SlotsOf::Vault, is_over, Some((&slot, &ticket)))?;
        Ok(ticket)
    }

    /// Removes a ticket, which was used, from the server.
    pub fn remove_ticket(&self, ticket: &Ticket) -> Result<(), VaultError> {
        let vault_id = *ticket.vault_id();
        let is_used =
            |slot: &Slot| slot.ticket_until().is_some() && slot.open(ticket, &vault_id).is_ok();
        self.replace_slots(SlotsOf::Vault, is_used, None)
    }

    /// Returns the vault's id and its slots. Only the slots that the first call finds may be
    /// replaced later. If they differ by then, another process has changed them.
    fn id_and_slots(&self) -> Result<(VaultId, Vec<Slot>), VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let slots = match self.near()? {
            Some(near) => of_machine(near.slots, state.slots),
            None => state.slots,
        };

        self.slots_seen.borrow_mut().get_or_insert_with(|| slots.clone());
        self.id_seen.set(Some(state.vault.vault_id));
        Ok((state.vault.vault_id, slots))
    }

    /// Returns the near file of a vault on a server, with verified slots.
    pub(super) fn near(&self) -> Result<Option<NearRows>, VaultError> {
        let Some(near) = self.store.near()? else { return Ok(None) };
        let key = self.access.checkpoint_key()?;
        if near_file::slots_mac(&key, &near.vault.vault_id, &near.slots) == near.slots_mac {
            Ok(Some(near))
        } else {
            Err(CryptoError::Damaged(SLOTS).into())
        }
    }

    /// Returns the id of the vault for a new slot. If this process has opened a slot, it knows the id
    /// and the slots. They are verified when the slot is added.
    fn id_of_slots(&self) -> Result<VaultId, VaultError> {
        match self.id_seen.get().filter(|_| self.slots_seen.borrow().is_some()) {
            Some(id) => Ok(id),
            None => Ok(self.id_and_slots()?.0),
        }
    }

    /// Returns the root key, if this process has it.
    pub(super) fn root_key(&self) -> Result<&RootKey, VaultError> {
        self.access.root_key().ok_or(VaultError::KeyService(KeyServiceError::PassphraseNeeded))
    }

    /// Replaces slots with a new one, or removes them.
    fn replace_slots(
        &self,
        of: SlotsOf,
        is_replaced: impl Fn(&Slot) -> bool,
        new: Option<(&Slot, &dyn Credential)>,
    ) -> Result<(), VaultError> {
        match (of, self.near()?) {
            (SlotsOf::Machine, Some(near)) => self.replace_near_slots(near, is_replaced, new),
            _ => self.retrying(|| self.replace_vault_slots(&is_replaced, new)),
        }
    }

    /// Replaces slots in the near file.
    fn replace_near_slots(
        &self,
        mut near: NearRows,
        is_replaced: impl Fn(&Slot) -> bool,
        new: Option<(&Slot, &dyn Credential)>,
    ) -> Result<(), VaultError> {
        let root = self.root_key()?;
        let vault_id = near.vault.vault_id;
        near.slots.retain(|slot| !is_replaced(slot));
        if let Some((slot, by)) = new {
            // The old slots are removed only if the new one opens.
            match slot.open(by, &vault_id) {
                Ok(opened) if opened.is_same(root) => near.slots.push(slot.clone()),
                Err(error @ (CryptoError::Memory(_) | CryptoError::KeyMemory)) => {
                    return Err(error.into());
                }
                _ => return Err(VaultError::Internal("the new key slot does not open")),
            }
        }

        near.slots.sort_by(|one, other| one.slot_id.cmp(&other.slot_id));
        near.slots_mac = near_file::slots_mac(&root.checkpoint_key(), &vault_id, &near.slots);
        Ok(self.store.replace_near(&near)?)
    }

    /// Replaces slots in the vault.
    fn replace_vault_slots(
        &self,
        is_replaced: &impl Fn(&Slot) -> bool,
        new: Option<(&Slot, &dyn Credential)>,
    ) -> Result<(), VaultError> {
        let root = self.root_key()?;
        let mut writing = self.writing(|_| ())?;
        let state = &writing.state;
        // On a server, the slots of this machine are elsewhere.
        let seen = self.slots_seen.take().filter(|_| !self.store.is_remote());
        if seen.is_some_and(|seen| seen != state.slots) {
            return Err(VaultError::SlotsChanged);
        }

        let (vault_id, past) = (*state.vault_id(), state.vault.past.clone());
        self.id_seen.set(Some(vault_id));
        let (old, mut slots): (Vec<Slot>, Vec<Slot>) =
            state.slots.iter().cloned().partition(is_replaced);
        if let Some((slot, by)) = new {
            add_slot(&mut *writing.transaction, slot, by, &vault_id, root)?;
            slots.push(slot.clone());
        }

        for old in &old {
            writing.transaction.apply(Change::DropSlot(&old.slot_id))?;
        }

        slots.sort_by(|one, other| one.slot_id.cmp(&other.slot_id));
        let directory = Directory::new(root, vault_id);
        let before = directory.read(&*writing.transaction)?;
        let transaction = &mut *writing.transaction;
        let mut edit = DirectoryEdit::new(&directory, before, transaction, Action::Credentials);
        edit.slots = slots_hash(&slots, &past);
        let head = edit.sign()?;
        writing.set_directory(head);

        writing.commit()
    }
}

/// Returns the slots that open a vault on a server: those of this machine, and the recovery code, which
/// is on the server.
pub(super) fn of_machine(mut near: Vec<Slot>, far: Vec<Slot>) -> Vec<Slot> {
    near.extend(far.into_iter().filter(|slot| slot.kind == RECOVERY_SLOT));
    near.sort_by(|one, other| one.slot_id.cmp(&other.slot_id));
    near
}

/// Reports a directory that does not open as a rekey on another machine, if the vault has other past
/// keys than when this machine last saw it.
pub(super) fn detect_rekey(
    read: Result<State, VaultError>,
    near: &NearRows,
    snapshot: &dyn Snapshot,
) -> Result<State, VaultError> {
    match read {
        Err(VaultError::Crypto(CryptoError::Damaged(_)))
            if snapshot.vault().is_ok_and(|now| now.past != near.vault.past) =>
        {
            Err(VaultError::RekeyedElsewhere)
        }
        read => read,
    }
}

/// Adds a slot and opens it as it is now stored. Fails if that does not give the root key.
pub(super) fn add_slot(
    transaction: &mut dyn Transaction,
    slot: &Slot,
    by: &dyn Credential,
    vault_id: &VaultId,
    root: &RootKey,
) -> Result<(), VaultError> {
    transaction.apply(Change::Slot(slot))?;
    let stored = transaction.slots()?.into_iter().find(|stored| stored.slot_id == slot.slot_id);
    match stored.map(|stored| stored.open(by, vault_id)) {
        Some(Ok(opened)) if opened.is_same(root) => Ok(()),
        Some(Err(error @ (CryptoError::Memory(_) | CryptoError::KeyMemory))) => Err(error.into()),
        // Nobody else can change what this transaction has just written.
        _ => Err(VaultError::Internal("the new key slot does not open")),
    }
}
