//! One unlocked vault: its root key, its time, and what was last seen of it.
//!
//! A state that is older than one that was seen here is refused: the file was put back. Nothing is written anywhere; with
//! the key, the memory of what was seen is gone.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::protocol::{AgentFault, Handover};
use crate::crypto::CryptoError;
use crate::crypto::aead::Key;
use crate::crypto::history::{Ancestors, Relation, Revision};
use crate::crypto::ids::{ProjectId, VaultId};
use crate::crypto::keyring::Keyring;
use crate::crypto::root_key::{RootKey, RootMac};
use crate::crypto::rows::ProjectRow;
use crate::model::SecretBytes;
use crate::store::MOST_PROJECTS;

type Hash = [u8; 32];

/// A vault's key and what belongs to it. Dropped, the key is wiped.
pub(super) struct Session {
    pub(super) path: Vec<u8>,
    pub(super) vault_id: VaultId,
    root: RootKey,
    /// When it ends, whatever happens
    ends: u64,
    /// Milliseconds without use after which it ends
    idle: u64,
    used: u64,
    seen: Option<SeenRoot>,
    heads: HashMap<ProjectId, SeenHead>,
}

/// The root state that was verified last.
struct SeenRoot {
    slots: Hash,
    state: Revision,
}

/// The head that was verified last.
struct SeenHead {
    head: Revision,
    /// Of the sealed head: what was seen before is not verified again
    sealed: Hash,
}

/// A root MAC in the making.
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
    /// Begins now.
    pub(super) fn new(handover: &Handover<'_>, now: u64) -> Result<Self, CryptoError> {
        let Handover { path, vault_id, ttl, idle, key } = *handover;
        let (path, root, ends) =
            (path.to_vec(), RootKey::from_bytes(key)?, now.saturating_add(ttl));
        Ok(Self { path, vault_id, root, ends, idle, used: now, seen: None, heads: HashMap::new() })
    }

    pub(super) fn key_is_locked(&self) -> bool {
        self.root.is_locked()
    }

    /// When it ends if nothing happens.
    pub(super) fn expires(&self) -> u64 {
        self.ends.min(self.used.saturating_add(self.idle))
    }

    /// Milliseconds left by either clock.
    pub(super) fn left(&self, now: u64) -> (u64, u64) {
        (self.ends.saturating_sub(now), self.expires().saturating_sub(now))
    }

    /// Use puts off the end by idling, never the other one.
    pub(super) fn touch(&mut self, now: u64) {
        self.used = now;
    }

    /// Begins a MAC over the vault's row and its slots, which are looked at.
    pub(super) fn begin_mac(
        &self,
        row_and_slots: &[u8],
    ) -> Option<Result<MacInProgress, AgentFault>> {
        // lp(vault_id) ‖ lp(suite) ‖ lp(root_seq) ‖ lp(ancestors), not in format 1 ‖ slots, docs/format.md, section 5.
        let (vault_id, rest) = column::<16>(row_and_slots)?;
        let (_suite, rest) = column::<4>(rest)?;
        let (seq, rest) = column::<8>(rest)?;

        // In format 1 the slots follow at once, of which no vault has as many as that column has bytes.
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

    /// Compares a MAC, and the state under it with the last one.
    pub(super) fn verify(
        &mut self,
        under_way: MacInProgress,
        stored: &[u8],
    ) -> Result<(), AgentFault> {
        let MacInProgress { mac, seq, ancestors, slots } = under_way;
        let (Ok(()), Ok(stored)) = (mac.verify(stored), stored.try_into()) else {
            // A vault that was given other keys elsewhere has other slots; who has the passphrase can tell that from damage.
            let are_known = self.seen.as_ref().is_some_and(|seen| seen.slots == slots);
            return Err(if are_known { AgentFault::RootTables } else { AgentFault::OtherKey });
        };

        let state = Revision { seq, hash: stored, ancestors };
        if self.seen.as_ref().is_some_and(|seen| !follows(&state, &seen.state)) {
            return Err(AgentFault::RolledBack);
        }

        self.seen = Some(SeenRoot { slots, state });
        Ok(())
    }

    /// Signs a changed state, whose slots must be those that were verified: how the vault is unlocked is changed by
    /// whoever has the passphrase.
    pub(super) fn sign(&self, under_way: MacInProgress) -> Result<Hash, AgentFault> {
        match &self.seen {
            Some(seen) if seen.slots == under_way.slots => Ok(under_way.mac.finish()),
            _ => Err(AgentFault::OtherSlots),
        }
    }

    /// Opens a key ring, and compares its project's head with the last one.
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
        // A head that does not open is told by whoever uses its project.
        let Ok(head) = keyring.open_head(&self.vault_id, row) else { return Ok(()) };
        let head = head.moment(&self.vault_id, &row.pid, row.epoch);
        if self.heads.get(&row.pid).is_some_and(|seen| !follows(&head, &seen.head)) {
            return Err(());
        }

        // As many as a vault has; those of deleted projects go when there are more.
        if self.heads.len() >= MOST_PROJECTS && !self.heads.contains_key(&row.pid) {
            self.heads.clear();
        }

        self.heads.insert(row.pid, SeenHead { head, sealed });
        Ok(())
    }

    /// The key to what was last seen of the vault; it opens nothing else.
    pub(super) fn checkpoint_key(&self) -> Key {
        self.root.checkpoint_key()
    }

    /// Seals a key ring.
    pub(super) fn seal(
        &self,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, AgentFault> {
        self.root.seal_keyring(&self.vault_id, pid, epoch, keyring).map_err(|_| AgentFault::System)
    }
}

/// True for a state that is the one that was seen, or follows on it.
fn follows(now: &Revision, seen: &Revision) -> bool {
    matches!(now.since(seen), Relation::Equal | Relation::Ahead)
}

/// A column of known length behind its own.
fn column<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (column, rest) = rest.split_first_chunk()?;
    (usize::try_from(u32::from_be_bytes(*length)) == Ok(N)).then_some((*column, rest))
}
