//! One unlocked vault: its root key, its timeouts and its last known state.
//!
//! A state that is older than the last known one is rejected, because the file was rolled back. The
//! last known state is kept in memory only and is lost together with the key.

use std::collections::HashMap;

use secrets_core::codec::Reader;
use secrets_core::crypto::CryptoError;
use secrets_core::crypto::aead::Key;
use secrets_core::crypto::history::{Ancestors, Relation, Revision};
use secrets_core::crypto::ids::{ProjectId, VaultId};
use secrets_core::crypto::keyring::Keyring;
use secrets_core::crypto::root_key::{RootKey, RootMac};
use secrets_core::crypto::rows::ProjectRow;
use secrets_core::model::SecretBytes;
use secrets_core::store::MAX_PROJECTS;
use sha2::{Digest, Sha256};

use super::protocol::{AgentFault, Handover};

type Hash = [u8; 32];

/// An unlocked vault. The key is wiped when the session is dropped.
pub(super) struct Session {
    pub(super) path: Vec<u8>,
    pub(super) vault_id: VaultId,
    root: RootKey,
    /// The time at which the session ends in any case
    deadline: u64,
    /// The time in milliseconds without use after which it ends
    idle: u64,
    last_used: u64,
    seen: Option<SeenRoot>,
    heads: HashMap<ProjectId, SeenHead>,
}

/// The root state that was last verified.
struct SeenRoot {
    slots: Hash,
    state: Revision,
}

/// The project head that was last verified.
struct SeenHead {
    head: Revision,
    /// The hash of the sealed head, so that the same head is not verified again
    sealed: Hash,
}

/// An unfinished root MAC.
pub(super) struct MacInProgress {
    mac: RootMac,
    seq: u64,
    ancestors: Ancestors,
    slots: Hash,
}

impl MacInProgress {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
    }
}

impl Session {
    /// Starts a session at the time `now`.
    pub(super) fn new(handover: &Handover<'_>, now: u64) -> Result<Self, CryptoError> {
        let Handover { path, vault_id, ttl, idle, key } = *handover;
        let (path, root, deadline) =
            (path.to_vec(), RootKey::from_bytes(key)?, now.saturating_add(ttl));
        let heads = HashMap::new();
        Ok(Self { path, vault_id, root, deadline, idle, last_used: now, seen: None, heads })
    }

    pub(super) fn key_is_locked(&self) -> bool {
        self.root.is_locked()
    }

    /// Returns the time at which the session ends if it is not used.
    pub(super) fn expires(&self) -> u64 {
        self.deadline.min(self.last_used.saturating_add(self.idle))
    }

    /// Returns the milliseconds until the session ends in any case, and if it is not used.
    pub(super) fn left(&self, now: u64) -> (u64, u64) {
        (self.deadline.saturating_sub(now), self.expires().saturating_sub(now))
    }

    /// Records a use, which postpones the idle timeout but not the final one.
    pub(super) fn touch(&mut self, now: u64) {
        self.last_used = now;
    }

    /// Begins a MAC over the vault's row and its key slots, and parses both.
    pub(super) fn begin_mac(
        &self,
        row_and_slots: &[u8],
    ) -> Option<Result<MacInProgress, AgentFault>> {
        // The row is lp(vault_id) ‖ lp(suite) ‖ lp(root_seq) ‖ lp(ancestors), followed by the
        // slots. Format 1 has no ancestors. See docs/format.md, section 5.
        let (vault_id, rest) = column::<16>(row_and_slots)?;
        let (_suite, rest) = column::<4>(rest)?;
        let (seq, rest) = column::<8>(rest)?;

        // In format 1 the slots follow directly. Their count is never as large as the length of the
        // ancestors column, so the two formats cannot be confused.
        let (ancestors, slots) = match column::<{ Ancestors::SIZE }>(rest) {
            Some((ancestors, slots)) => (Ancestors::decode(&ancestors)?, slots),
            None => (Ancestors::none(), rest),
        };

        if vault_id != self.vault_id {
            return Some(Err(AgentFault::Replaced));
        }

        let slots = Sha256::digest(slots).into();
        let (mac, seq) = (self.root.begin_mac(row_and_slots), u64::from_be_bytes(seq));
        Some(Ok(MacInProgress { mac, seq, ancestors, slots }))
    }

    /// Verifies a MAC, and compares the verified state with the last known one.
    pub(super) fn verify(
        &mut self,
        in_progress: MacInProgress,
        stored: &[u8],
    ) -> Result<(), AgentFault> {
        let MacInProgress { mac, seq, ancestors, slots } = in_progress;
        let (Ok(()), Ok(stored)) = (mac.verify(stored), stored.try_into()) else {
            // If the vault was given a new root key elsewhere, its slots differ as well. Only a
            // client with the passphrase can distinguish that from damage.
            let are_known = self.seen.as_ref().is_some_and(|seen| seen.slots == slots);
            return Err(if are_known { AgentFault::RootTables } else { AgentFault::WrongKey });
        };

        let state = Revision { seq, hash: stored, ancestors };
        if self.seen.as_ref().is_some_and(|seen| !follows(&state, &seen.state)) {
            return Err(AgentFault::RolledBack);
        }

        self.seen = Some(SeenRoot { slots, state });
        Ok(())
    }

    /// Signs a changed state. Its key slots must be the verified ones, because changing them
    /// requires the passphrase.
    pub(super) fn sign(&self, in_progress: MacInProgress) -> Result<Hash, AgentFault> {
        match &self.seen {
            Some(seen) if seen.slots == in_progress.slots => Ok(in_progress.mac.finish()),
            _ => Err(AgentFault::UnverifiedSlots),
        }
    }

    /// Opens a key ring, and compares the project's head with the last known one.
    pub(super) fn open(
        &mut self,
        row: &ProjectRow,
        number: u32,
    ) -> Result<SecretBytes, AgentFault> {
        let keyring =
            self.root.open_keyring(&self.vault_id, row).map_err(|_| AgentFault::Keyring(number))?;
        let sealed = Sha256::new().chain_update(&row.head).chain_update(&row.sig).finalize().into();
        if self.heads.get(&row.pid).is_none_or(|seen| seen.sealed != sealed) {
            self.check_and_record(row, &keyring, sealed)
                .map_err(|()| AgentFault::ProjectRolledBack(number))?;
        }

        Ok(keyring.encode())
    }

    fn check_and_record(
        &mut self,
        row: &ProjectRow,
        keyring: &Keyring,
        sealed: Hash,
    ) -> Result<(), ()> {
        // The client that uses the project reports a head that does not open.
        let Ok(head) = keyring.open_head(&self.vault_id, row) else { return Ok(()) };
        let head = head.revision(&self.vault_id, &row.pid, row.epoch);
        if self.heads.get(&row.pid).is_some_and(|seen| !follows(&head, &seen.head)) {
            return Err(());
        }

        // The limit is the maximum number of projects in a vault. Only deleted projects can exceed
        // it.
        if self.heads.len() >= MAX_PROJECTS && !self.heads.contains_key(&row.pid) {
            self.heads.clear();
        }

        self.heads.insert(row.pid, SeenHead { head, sealed });
        Ok(())
    }

    /// Returns the key that seals the vault's checkpoints. It opens nothing else.
    pub(super) fn checkpoint_key(&self) -> Key {
        self.root.checkpoint_key()
    }

    pub(super) fn seal(
        &self,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, AgentFault> {
        self.root.seal_keyring(&self.vault_id, pid, epoch, keyring).map_err(|_| AgentFault::System)
    }
}

/// Returns true if the state equals the last known one or follows it.
fn follows(now: &Revision, seen: &Revision) -> bool {
    matches!(now.compare(seen), Relation::Equal | Relation::Ahead)
}

/// Splits off a column that must have length `N`, which its length prefix states.
fn column<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    let mut reader = Reader::new(bytes);
    Some((reader.prefixed_array()?, reader.rest()))
}
