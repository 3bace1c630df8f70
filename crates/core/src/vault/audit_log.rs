//! Reads the audit log of a project or of the directory, and checks that it is complete
//! (docs/format.md, section 5).

use std::collections::BTreeMap;

use super::project::Project;
use crate::crypto::aead::Key;
use crate::crypto::audit::SignedEntry;
use crate::crypto::head::Head;
use crate::crypto::ids::{Hash, OWNER, ProjectId, TokenId, VaultId};
use crate::crypto::signing::PublicKey;
use crate::store::{Snapshot, StoreError};

/// The log of one project, and the keys that open and verify it.
pub(super) struct AuditLog<'a> {
    /// AK
    pub(super) key: &'a Key,
    pub(super) vault_id: &'a VaultId,
    pub(super) pid: &'a ProjectId,
    /// The present owner's key
    pub(super) owner: PublicKey,
}

impl AuditLog<'_> {
    /// Passes each entry and its `seq` to `visit`, until `visit` returns false. Returns false if an
    /// entry does not open.
    fn each(
        &self,
        snapshot: &dyn Snapshot,
        mut visit: impl FnMut(u64, SignedEntry) -> bool,
    ) -> Result<bool, StoreError> {
        let mut opens = true;
        snapshot.audit(self.pid, 0, &mut |row| match SignedEntry::open(
            self.key,
            self.vault_id,
            self.pid,
            &row,
        ) {
            Ok(entry) => visit(row.seq, entry),
            Err(_) => {
                opens = false;
                false
            }
        })?;

        Ok(opens)
    }

    /// Returns true if the log has one entry for each change up to `head`, each naming the one before
    /// and signed by somebody who could sign at that time.
    pub(super) fn check(&self, snapshot: &dyn Snapshot, head: &Head) -> Result<bool, StoreError> {
        // An entry for a new root key names the owner's key before. So the log is read twice: an
        // earlier entry is verified with the key that a later one names.
        let mut owners: BTreeMap<u64, PublicKey> = BTreeMap::new();
        let opens = self.each(snapshot, |seq, signed| {
            if signed.entry.signer_id == OWNER {
                owners.extend(signed.entry.change.owner_before.map(|key| (seq, key)));
            }

            true
        })?;

        let mut writers: BTreeMap<TokenId, PublicKey> = BTreeMap::new();
        let (mut last, mut previous): (u64, Hash) = (0, [0; 32]);
        let (mut is_complete, mut is_last_of_head) = (true, false);
        let reads = self.each(snapshot, |seq, signed| {
            let owner = owners.range(seq + 1..).next().map_or(self.owner, |(_, key)| *key);
            let entry = &signed.entry;
            let signer = match entry.signer_id {
                OWNER => Some(&owner),
                token_id => writers.get(&token_id),
            };

            is_complete = seq == last + 1
                && entry.previous == previous
                && signer.is_some_and(|key| signed.is_signed_by(key, self.vault_id, self.pid, seq));

            // Only the owner says who else may sign.
            if entry.signer_id == OWNER {
                let admitted = entry.change.admitted.iter();
                writers.extend(admitted.map(|token| (token.token_id, token.key)));
                for token_id in &entry.change.removed {
                    writers.remove(token_id);
                }
            }

            is_last_of_head = entry.signer_id == head.signer_id
                && entry.time == head.time
                && entry.root_hash == head.root_hash;
            (last, previous) = (seq, signed.hash());
            is_complete
        })?;

        let ends_at_head = last == head.seq && previous == head.audit_head && is_last_of_head;
        Ok(opens && reads && is_complete && ends_at_head)
    }
}

/// Returns true if a project's log is complete.
pub(super) fn is_intact(
    snapshot: &dyn Snapshot,
    project: &Project,
    owner: Option<PublicKey>,
) -> bool {
    let Some(owner) = owner else { return false };
    let Ok(ring) = project.ring() else { return false };
    let pid = &project.row.pid;
    let log = AuditLog { key: &ring.audit_key(pid), vault_id: &project.vault_id, pid, owner };

    log.check(snapshot, &project.head).unwrap_or(false)
}
