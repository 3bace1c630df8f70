//! Reads the audit log of a project or of the directory, and checks that it is complete
//! (docs/format.md, section 5).

use std::collections::BTreeMap;

use super::VaultError;
use super::project::Project;
use crate::crypto::aead::Key;
use crate::crypto::audit::{Admitted, PruneMark, SignedEntry};
use crate::crypto::checkpoint::Checkpoint;
use crate::crypto::head::Head;
use crate::crypto::ids::{Hash, OWNER, ProjectId, TokenId, VaultId};
use crate::crypto::signing::PublicKey;
use crate::store::{Snapshot, StoreError};

/// The log of one project, and the keys that open and verify it.
pub(super) struct AuditLog<'a> {
    /// AK
    pub(super) key: Key,
    pub(super) vault_id: &'a VaultId,
    pub(super) pid: &'a ProjectId,
    /// The present owner's key
    pub(super) owner: PublicKey,
}

/// An entry that was verified.
pub(super) struct VerifiedEntry<'a> {
    pub(super) seq: u64,
    pub(super) signed: &'a SignedEntry,
    pub(super) hash: Hash,
    /// The tokens that may sign after this entry. Its own signer is among them if it is a token.
    pub(super) signers: &'a BTreeMap<TokenId, Admitted>,
}

/// The result of verifying a log.
pub(super) struct VerifiedLog {
    /// The mark of the last prune
    pub(super) mark: Option<PruneMark>,
    /// The `seq` of the first entry that is missing or does not verify
    pub(super) fault: Option<u64>,
}

impl VerifiedLog {
    /// Returns the `seq` of the first entry.
    pub(super) fn begins(&self) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.seq) + 1
    }
}

/// The facts about a log that entries further down in it state.
#[derive(Default)]
struct Facts {
    /// The owner's key before, by the `seq` of the entry that names it
    owners: BTreeMap<u64, PublicKey>,
    mark: Option<PruneMark>,
}

impl<'a> AuditLog<'a> {
    /// Returns the log of a project. Fails for a token that has only some of its secrets.
    pub(super) fn of(project: &'a Project, owner: PublicKey) -> Result<Self, VaultError> {
        let pid = &project.row.pid;
        let key = project.ring()?.audit_key(pid);
        Ok(Self { key, vault_id: &project.vault_id, pid, owner })
    }

    /// Passes each entry and its `seq` to `visit`, until `visit` returns false. An entry that does
    /// not open is `None`. Returns false if the table is damaged.
    fn each(
        &self,
        snapshot: &dyn Snapshot,
        mut visit: impl FnMut(u64, Option<SignedEntry>) -> bool,
    ) -> Result<bool, StoreError> {
        let read = snapshot.audit(self.pid, 0, &mut |row| {
            visit(row.seq, SignedEntry::open(&self.key, self.vault_id, self.pid, &row).ok())
        });

        match read {
            Ok(()) => Ok(true),
            Err(StoreError::Damaged(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Collects what later entries say about earlier ones: the owner's keys before, and the last mark
    /// of a prune. These entries are verified with the rest.
    fn facts(&self, snapshot: &dyn Snapshot) -> Result<Facts, StoreError> {
        let mut facts = Facts::default();
        self.each(snapshot, |seq, signed| {
            if let Some(entry) = signed.map(|signed| signed.entry)
                && entry.signer_id == OWNER
            {
                facts.owners.extend(entry.change.owner_before.map(|key| (seq, key)));
                facts.mark = entry.change.pruned.or_else(|| facts.mark.take());
            }

            true
        })?;

        Ok(facts)
    }

    /// Verifies that the log has one entry for each change up to `head`, each naming the one before
    /// and signed by somebody who could sign at that time. Passes each entry that verifies to
    /// `visit`, and stops at the first one that does not.
    pub(super) fn verify(
        &self,
        snapshot: &dyn Snapshot,
        head: &Head,
        mut visit: impl FnMut(VerifiedEntry<'_>),
    ) -> Result<VerifiedLog, StoreError> {
        let Facts { owners, mark } = self.facts(snapshot)?;
        let mut signers: BTreeMap<TokenId, Admitted> = BTreeMap::new();
        let (mut last, mut previous): (u64, Hash) = (0, [0; 32]);
        if let Some(mark) = &mark {
            signers.extend(mark.signers.iter().map(|token| (token.token_id, token.clone())));
            (last, previous) = (mark.seq, mark.hash);
        }

        let (mut is_complete, mut is_last_of_head) = (true, false);
        let is_readable = self.each(snapshot, |seq, signed| {
            // An entry for a new root key names the owner's key before.
            let owner = owners.range(seq + 1..).next().map_or(self.owner, |(_, key)| *key);
            let holds = |signed: &SignedEntry| {
                let key = match signed.entry.signer_id {
                    OWNER => Some(owner),
                    token_id => signers.get(&token_id).map(|token| token.key),
                };

                signed.entry.previous == previous
                    && key
                        .is_some_and(|key| signed.is_signed_by(&key, self.vault_id, self.pid, seq))
            };

            let signed = signed.filter(|_| seq == last + 1 && seq <= head.seq).filter(holds);
            let Some(signed) = signed else {
                is_complete = false;
                return false;
            };

            // Only the owner says who else may sign.
            let entry = &signed.entry;
            if entry.signer_id == OWNER {
                let admitted = entry.change.admitted.iter();
                signers.extend(admitted.map(|token| (token.token_id, token.clone())));
                for token_id in &entry.change.removed {
                    signers.remove(token_id);
                }
            }

            is_last_of_head = entry.signer_id == head.signer_id
                && entry.time == head.time
                && entry.root_hash == head.root_hash;
            (last, previous) = (seq, signed.hash());
            visit(VerifiedEntry { seq, signed: &signed, hash: previous, signers: &signers });
            true
        })?;

        let ends_at_head = last == head.seq && previous == head.audit_head && is_last_of_head;
        let fault = if !is_readable || !is_complete || last < head.seq {
            Some(last + 1)
        } else {
            (!ends_at_head).then_some(last)
        };

        Ok(VerifiedLog { mark, fault })
    }

    /// Returns true if the entries after a state that was seen lead to `head`: each names the one
    /// before, the first one names the last entry of that state, and the head names the last one.
    pub(super) fn leads(
        &self,
        snapshot: &dyn Snapshot,
        seen: &Checkpoint,
        head: &Head,
    ) -> Result<bool, StoreError> {
        self.leads_from(snapshot, seen.head.seq, head, |hash| *hash == seen.audit_head)
    }

    /// Does the same as [`AuditLog::leads`] with the number of an entry and a test of its hash.
    pub(super) fn leads_from(
        &self,
        snapshot: &dyn Snapshot,
        seq: u64,
        head: &Head,
        is_first: impl Fn(&Hash) -> bool,
    ) -> Result<bool, StoreError> {
        let (mut last, mut previous): (u64, Option<Hash>) = (seq, None);
        snapshot.audit(self.pid, seq + 1, &mut |row| {
            let signed = SignedEntry::open(&self.key, self.vault_id, self.pid, &row).ok();
            let follows = |before: &Hash| match &previous {
                Some(previous) => before == previous,
                None => is_first(before),
            };
            let next = signed.filter(|signed| {
                row.seq == last + 1 && row.seq <= head.seq && follows(&signed.entry.previous)
            });
            if let Some(signed) = &next {
                (last, previous) = (row.seq, Some(signed.hash()));
            }

            next.is_some()
        })?;

        let is_head =
            previous.map_or_else(|| is_first(&head.audit_head), |it| it == head.audit_head);
        Ok(last == head.seq && is_head)
    }

    /// Returns true if the log verifies.
    pub(super) fn is_intact(&self, snapshot: &dyn Snapshot, head: &Head) -> bool {
        self.verify(snapshot, head, |_| {}).is_ok_and(|log| log.fault.is_none())
    }
}
