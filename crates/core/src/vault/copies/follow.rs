//! Restores an earlier state of a vault as a change of the present one.
//!
//! So everybody who remembers the vault sees that the restored state follows: its numbers go on, the
//! audit log keeps what happened since the backup, and no key of the backup is used again. The
//! passphrase and the recovery code are those of the backup.

use std::collections::{BTreeMap, BTreeSet};

use super::copy_project;
use super::replace::StateFingerprint;
use crate::crypto::audit::Action;
use crate::crypto::ids::{ProjectId, TokenId};
use crate::crypto::output_digest::OutputKey;
use crate::crypto::rows::{Slot, slots_hash, tokens_hash};
use crate::model::{Timestamp, TokenName};
use crate::store::{Change, Extent, Snapshot};
use crate::vault::access::OpenedProject;
use crate::vault::directory::DirectoryEdit;
use crate::vault::inspect::inspect;
use crate::vault::project::Project;
use crate::vault::rekey::{Rekey, drop_records};
use crate::vault::state::State;
use crate::vault::token_change::TokenChange;
use crate::vault::token_list::{OpenToken, Tokens};
use crate::vault::writing::Writing;
use crate::vault::{Vault, VaultError};

/// How a backup relates to the present vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackupRelation {
    /// It is the same or an earlier state
    Earlier,
    /// It is another vault, has another root key, or is later in a part
    Other,
    /// The present vault itself does not follow its checkpoint, so nothing is learned from it
    PresentDiverged,
}

/// The result of a restore as a change of the present vault.
pub(super) struct Followed {
    /// The tokens of the backup that the present vault does not have, unless they were kept
    pub(super) left_out: Vec<TokenName>,
    /// The tokens of projects that the backup does not have
    pub(super) removed: Vec<TokenName>,
    /// The new keys for the digests of rendered files
    pub(super) output_keys: Vec<OutputKey>,
}

impl Vault {
    /// Compares this vault, a backup, with the present one. Only the same or an earlier state with the
    /// same root key can become a change of `present`, and only if `present` follows its checkpoint.
    pub(super) fn relation_to(&self, present: &Self) -> Result<BackupRelation, VaultError> {
        let (then, now) = (self.store.read()?, present.store.read()?);
        let is_same_vault = then.vault()?.vault_id == now.vault()?.vault_id;
        if !is_same_vault || !self.root_key()?.is_same(present.root_key()?) {
            return Ok(BackupRelation::Other);
        }

        let now_state = match present.state(&*now) {
            Err(VaultError::Diverged(_)) => return Ok(BackupRelation::PresentDiverged),
            state => state?,
        };
        let then_state = self.state(&*then)?;
        let known = by_id(now_state.all(&*now)?);
        let mut is_behind = then_state.directory.seq <= now_state.directory.seq;
        for project in then_state.all(&*then)? {
            let Some(found) = known.get(&project.entry.pid) else { continue };
            let before = then_state.open(&*then, project)?;
            is_behind &= match now_state.open(&*now, found.clone()) {
                Err(VaultError::Diverged(_)) => return Ok(BackupRelation::PresentDiverged),
                after => before.head.seq <= after?.head.seq,
            };
        }

        Ok(if is_behind { BackupRelation::Earlier } else { BackupRelation::Other })
    }

    /// Gives `present` the content of this vault, which is an earlier state of it, in one transaction.
    /// Fails if `present` no longer has the state `seen`. Tokens stay as they are now; with
    /// `keeps_tokens`, those that only this vault has work again.
    pub(super) fn restore_onto(
        &self,
        present: &Self,
        seen: &StateFingerprint,
        keeps_tokens: bool,
    ) -> Result<Followed, VaultError> {
        let from = self.store.read()?;
        let then = self.state(&*from)?;
        let content = then.all(&*from)?;
        let copied = Tokens::read(&*from, &then, &self.root_key()?.escrow_key())?;
        let writing = present.writing(|ahead| ahead.all = Some(Extent::Everything))?;
        if !StateFingerprint::read(&*writing.transaction).is_ok_and(|now| now == *seen) {
            return Err(VaultError::VaultChanged);
        }

        let now = by_id(writing.state.all(&*writing.transaction)?);
        let is_kept = |pid: &ProjectId| content.iter().any(|one| one.entry.pid == *pid);
        let mut change = TokenChange::of(present, writing)?;
        let (left_out, removed) = merge_tokens(&mut change, copied, keeps_tokens, &is_kept)?;

        // Ids are unique in the vault, so everything that is replaced goes first.
        for pid in now.keys() {
            let rows = &mut *change.writing.transaction;
            if is_kept(pid) {
                drop_records(rows, pid)?;
            } else {
                rows.apply(Change::DropProject(pid))?;
            }
        }

        let (mut output_keys, mut restored) = (Vec::new(), Vec::with_capacity(content.len()));
        for project in &content {
            let source = then.open(&*from, project.clone())?;
            if !now.contains_key(&source.row.pid) {
                copy_project(from.inspection()?, &source.row, &mut *change.writing.transaction)?;
            }

            let found = now.get(&source.row.pid);
            let (opened, keys) = restore_project(&mut change, found, (&source, &*from))?;
            output_keys.extend(keys);
            restored.push(opened);
        }

        for project in &restored {
            change.set_due(&project.entry.pid);
            change.issue_all(project)?;
        }

        restore_directory(&mut change, &restored, &then.slots)?;

        // This inspects what is stored there now, without remembering it.
        let report = inspect(change.writing.transaction.inspection()?, self, &|_| {})?.report;
        if !report.damage.is_empty() {
            return Err(VaultError::DamagedVault(Box::new(report)));
        }

        // Checkpoints of a deleted project have later numbers than the backup.
        let returned: Vec<ProjectId> = content
            .iter()
            .map(|project| project.entry.pid)
            .filter(|pid| !now.contains_key(pid))
            .collect();
        if let Some(checkpoints) = &present.checkpoints {
            checkpoints.store().remove(&change.vault_id, &returned)?;
        }

        change.writing.commit()?;
        Ok(Followed { left_out, removed, output_keys })
    }
}

fn by_id(projects: Vec<OpenedProject>) -> BTreeMap<ProjectId, OpenedProject> {
    projects.into_iter().map(|project| (project.entry.pid, project)).collect()
}

/// Adds the tokens that only the copy has, if they are kept, and removes those of projects that are
/// not kept. Returns the names of the copy's tokens that are left out, and of those that are removed.
fn merge_tokens(
    change: &mut TokenChange<'_>,
    copied: Tokens,
    keeps_tokens: bool,
    is_kept: &dyn Fn(&ProjectId) -> bool,
) -> Result<(Vec<TokenName>, Vec<TokenName>), VaultError> {
    let is_gone = |token: &OpenToken| !is_kept(&token.escrow.pid);
    let gone: Vec<TokenId> =
        change.tokens.list.iter().filter(|(_, token)| is_gone(token)).map(|(id, _)| *id).collect();
    let mut removed: Vec<TokenName> = Vec::new();
    for id in &gone {
        removed.extend(change.tokens.list.remove(id).map(|token| token.escrow.name));
    }

    change.dropped.extend(gone);
    change.remove_dropped()?;

    let (now, changes) = (Timestamp::now(), change.writing.state.directory.seq);
    let taken: BTreeSet<TokenName> =
        change.tokens.list.values().map(|token| token.escrow.name.clone()).collect();
    let mut left_out = Vec::new();
    for (id, token) in copied.list {
        let name = token.escrow.name.clone();
        if change.tokens.list.contains_key(&id) {
            continue;
        }

        if keeps_tokens && !token.escrow.has_expired(now) && !taken.contains(&name) {
            change.tokens.bring_back(id, token, changes)?;
        } else {
            left_out.push(name);
        }
    }

    for names in [&mut left_out, &mut removed] {
        names.sort_unstable();
        names.dedup();
    }

    Ok((left_out, removed))
}

/// Gives a project the content that it has in the copy, under new keys. `found` is the present one;
/// without it, the rows of the copy are already in the transaction.
fn restore_project(
    change: &mut TokenChange<'_>,
    found: Option<&OpenedProject>,
    (source, rows): (&Project, &dyn Snapshot),
) -> Result<(OpenedProject, Vec<OutputKey>), VaultError> {
    let State { access, owner, .. } = &change.writing.state;
    let transaction = &mut *change.writing.transaction;
    let present = found.unwrap_or(&source.opened).clone();
    let project =
        Project::open(&*transaction, change.vault_id, owner, present, access.clone(), None)?;
    let content = found.map(|_| (source, rows));

    let signers = (change.tokens.writers(&source.row.pid, Timestamp::now())?, &change.tokens);
    let mut rekey = Rekey::new(&change.directory, signers, &|_| {}).named(Action::Restore);
    let (opened, state) = rekey.project(transaction, &project, content)?;
    let keys = std::mem::take(&mut rekey.output_keys);
    change.writing.remember(opened.entry.pid, Some(&opened.entry.name), state);
    Ok((opened, keys))
}

/// Writes the key slots of the copy, and the directory of the restored projects.
fn restore_directory(
    change: &mut TokenChange<'_>,
    restored: &[OpenedProject],
    slots: &[Slot],
) -> Result<(), VaultError> {
    let Writing { transaction, state, .. } = &mut change.writing;
    let transaction = &mut **transaction;
    for slot in &state.slots {
        transaction.apply(Change::DropSlot(&slot.slot_id))?;
    }

    slots.iter().try_for_each(|slot| transaction.apply(Change::Slot(slot)))?;
    let (tokens, slots) =
        (tokens_hash(&transaction.grants()?), slots_hash(slots, &state.vault.past));
    let before = (&state.directory, state.epoch);
    let mut edit = DirectoryEdit::empty(&change.directory, before, transaction, Action::Restore)?;
    (edit.tokens, edit.slots) = (tokens, slots);
    restored.iter().try_for_each(|project| edit.adopt(project))?;
    let head = edit.sign()?;
    change.writing.set_directory(head);
    Ok(())
}
