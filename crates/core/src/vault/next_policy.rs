//! The next policy of a project: who may sign from now on, and how the audit log says so
//! (docs/format.md, sections 4 and 5).

use super::VaultError;
use super::directory::Directory;
use super::token_list::Tokens;
use crate::crypto::audit::{Admitted, AuditChange};
use crate::crypto::ids::TokenId;
use crate::crypto::keyring::Keyring;
use crate::crypto::policy::{Policy, Writer};
use crate::crypto::project_entry::ProjectEntry;
use crate::crypto::rows::PolicyRow;
use crate::store::{Change, Transaction};

/// A policy that follows another one, and how it differs from it.
pub(super) struct NextPolicy {
    policy: Policy,
    /// The tokens that may sign from now on
    admitted: Vec<Admitted>,
    /// The tokens that may no longer sign
    removed: Vec<TokenId>,
}

impl NextPolicy {
    /// Returns the policy after `before`. Returns `None` for a project that has no policy and needs
    /// none.
    pub(super) fn after(
        before: Option<&Policy>,
        epoch: u32,
        writers: Vec<Writer>,
        tokens: &Tokens,
    ) -> Option<Self> {
        if before.is_none() && writers.is_empty() {
            return None;
        }

        let known = before.map_or(&[][..], |policy| &policy.writers);
        let is_in =
            |list: &[Writer], one: &Writer| list.iter().any(|it| it.token_id == one.token_id);
        let admitted = writers.iter().filter(|one| !is_in(known, one)).map(|one| Admitted {
            token_id: one.token_id,
            key: one.key,
            name: tokens.name(&one.token_id),
        });
        let admitted = admitted.collect();
        let removed = known.iter().filter(|one| !is_in(&writers, one)).map(|one| one.token_id);
        let removed = removed.collect();
        let version = before.map_or(1, |policy| policy.version + 1);
        Some(Self { policy: Policy { version, epoch, writers }, admitted, removed })
    }

    /// Seals, signs and writes the policy, and describes it in the directory's entry and in the
    /// project's entry of the audit log. A token may sign only after an entry has admitted it.
    pub(super) fn write(
        self,
        directory: &Directory,
        transaction: &mut dyn Transaction,
        (keys, entry): (&Keyring, &mut ProjectEntry),
        change: &mut AuditChange,
    ) -> Result<PolicyRow, VaultError> {
        (change.admitted, change.removed) = (self.admitted, self.removed);
        write(&self.policy, directory, transaction, (keys, entry))
    }
}

/// Seals, signs and writes a policy, and names it in the directory's entry.
pub(super) fn write(
    policy: &Policy,
    directory: &Directory,
    transaction: &mut dyn Transaction,
    (keys, entry): (&Keyring, &mut ProjectEntry),
) -> Result<PolicyRow, VaultError> {
    let row = directory.seal_policy(keys, &entry.pid, policy)?;
    transaction.apply(Change::Policy(&entry.pid, &row))?;
    entry.policy = policy.id(directory.vault_id(), &entry.pid);
    Ok(row)
}
