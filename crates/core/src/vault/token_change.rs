//! One change of tokens in a transaction: the policy of their project, the grants that are issued again,
//! and the directory that names them (docs/format.md, section 8).

use std::collections::{BTreeMap, BTreeSet};

use super::access::{OpenedProject, SignRequest};
use super::ahead::Ahead;
use super::directory::{Directory, DirectoryEdit};
use super::grants;
use super::next_head::{self, HeadPlace};
use super::next_policy::{self, NextPolicy};
use super::project::{Project, checkpoint};
use super::rekey::Rekey;
use super::state::State;
use super::token_list::{DAMAGED, LostRights, OpenToken, Tokens};
use super::tokens::{Revoked, TokenInfo};
use super::writing::Writing;
use super::{Vault, VaultError};
use crate::crypto::aead::Key;
use crate::crypto::audit::{Action, AuditChange};
use crate::crypto::head::Head;
use crate::crypto::ids::{DIRECTORY, ProjectId, RecordId, TokenId, VaultId, record_of};
use crate::crypto::output_digest::OutputKey;
use crate::crypto::policy::{Policy, Writer};
use crate::crypto::project_entry::PolicyId;
use crate::crypto::rows::{GrantRow, tokens_hash};
use crate::model::{ProjectName, Secret, SecretRef, Tag, Timestamp, TokenName};
use crate::store::Change;

/// The number of removed tokens that the directory's audit log names.
const MOST_REMOVED: usize = 64;

/// Tokens that were removed from the list.
pub(super) struct RemovedTokens {
    pub(super) ids: Vec<TokenId>,
    /// The tokens, as they were
    pub(super) tokens: Vec<TokenInfo>,
    pub(super) rights: LostRights,
}

/// A change of tokens, as the directory's audit log names it.
#[derive(Clone, Copy)]
pub(super) struct ChangeOfTokens<'a> {
    action: Action,
    /// The tokens that are created, changed or removed
    about: &'a [TokenId],
    removed: &'a [TokenId],
    /// True if the project gets new keys
    renews: bool,
    /// The rights that are taken away
    lost: Option<&'a LostRights>,
}

impl<'a> ChangeOfTokens<'a> {
    pub(super) fn new(action: Action, about: &'a [TokenId]) -> Self {
        Self { action, about, removed: &[], renews: false, lost: None }
    }

    /// Sets the rights that are taken away, to find out what their holders may have kept.
    pub(super) fn taking(self, lost: Option<&'a LostRights>) -> Self {
        Self { lost, ..self }
    }

    /// Does the same as [`Self::new`] for a change that removes tokens.
    pub(super) fn removing(action: Action, about: &'a [TokenId], removed: &'a [TokenId]) -> Self {
        Self { removed, ..Self::new(action, about) }
    }

    /// Sets whether the project gets new keys.
    pub(super) fn renewing(self, renews: bool) -> Self {
        Self { renews, ..self }
    }
}

/// The result of [`TokenChange::settle`].
pub(super) struct Settled {
    pub(super) renewed: Option<u64>,
    pub(super) output_keys: Vec<OutputKey>,
    /// The secrets whose values could be used and no longer can, sorted by tag
    pub(super) exposed: Vec<Secret>,
    is_damaged: bool,
    dropped: Vec<TokenId>,
    is_last: bool,
}

impl Settled {
    pub(super) fn revoked(self, tokens: Vec<TokenInfo>) -> Revoked {
        let Self { renewed, output_keys, exposed, is_damaged, dropped, is_last } = self;
        Revoked { tokens, exposed, renewed, output_keys, is_damaged, dropped, is_last }
    }
}

/// A change of tokens in a transaction.
pub(super) struct TokenChange<'v> {
    pub(super) writing: Writing<'v>,
    pub(super) directory: Directory,
    escrow_key: Key,
    pub(super) vault_id: VaultId,
    pub(super) tokens: Tokens,
    /// Tokens whose escrow does not open or whose project was deleted
    pub(super) dropped: Vec<TokenId>,
    /// True if the project does not verify, so that it is not read
    pub(super) is_damaged: bool,
}

impl<'v> TokenChange<'v> {
    pub(super) fn begin<'a>(
        vault: &'v Vault,
        collect: impl FnOnce(&mut Ahead<'a>),
    ) -> Result<Self, VaultError> {
        let writing = vault.writing(|ahead| {
            ahead.grants = true;
            collect(ahead);
        })?;
        Self::of(vault, writing)
    }

    pub(super) fn of(vault: &Vault, writing: Writing<'v>) -> Result<Self, VaultError> {
        let key = vault.root_key()?.escrow_key();
        let tokens = Tokens::read(&*writing.transaction, &writing.state, &key)?;
        Self::with(vault, writing, tokens)
    }

    pub(super) fn with(
        vault: &Vault,
        writing: Writing<'v>,
        mut tokens: Tokens,
    ) -> Result<Self, VaultError> {
        let root = vault.root_key()?;
        let vault_id = *writing.state.vault_id();
        let directory = Directory::new(root, vault_id);
        let known = writing.transaction.grants()?.into_iter().map(|row| row.token_id);

        // The grants of a project that was deleted open nothing.
        let mut is_there = BTreeMap::new();
        for token in tokens.list.values() {
            let pid = token.escrow.pid;
            let located = writing.transaction.locate(&record_of(&pid))?;
            is_there.insert(pid, located.is_some_and(|(of, _)| of == DIRECTORY));
        }

        tokens.list.retain(|_, token| is_there.get(&token.escrow.pid) == Some(&true));
        let dropped = known.filter(|id| !tokens.list.contains_key(id)).collect();
        let (escrow_key, is_damaged) = (root.escrow_key(), false);
        Ok(Self { writing, directory, escrow_key, vault_id, tokens, dropped, is_damaged })
    }

    /// Finds a token by name, and its project.
    pub(super) fn require(&self, name: &TokenName) -> Result<(TokenId, OpenedProject), VaultError> {
        let id = self.tokens.named(name).ok_or_else(|| VaultError::NoToken(name.clone()))?;
        let pid = self.tokens.list[&id].escrow.pid;
        Ok((id, self.writing.state.with_id(&*self.writing.transaction, &pid)?))
    }

    /// Returns the ids of secrets, in ascending order.
    pub(super) fn records(
        &self,
        name: &ProjectName,
        tags: &[Tag],
    ) -> Result<Vec<RecordId>, VaultError> {
        let rows = &*self.writing.transaction;
        let wanted: Vec<SecretRef> = tags.iter().cloned().map(SecretRef::Tag).collect();
        let found = super::find::find_all(&self.writing.state, rows, name, &wanted, false)?;
        let secrets = found.iter().flat_map(|found| &found.secrets);
        let mut ids: Vec<RecordId> = secrets.map(|(_, secret)| secret.record.rid).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    pub(super) fn info(&self, id: &TokenId) -> Result<TokenInfo, VaultError> {
        let token = self.tokens.list.get(id).ok_or(DAMAGED)?;
        let rows = &*self.writing.transaction;
        let found = self.writing.state.with_id(rows, &token.escrow.pid)?;
        if self.is_damaged {
            return Ok(grants::of_damaged(id, &token.escrow, found.entry.name));
        }

        grants::info(rows, id, token, &self.open(found)?)
    }

    /// Returns the ids of all secrets of a project.
    pub(super) fn all_records(&self, project: &OpenedProject) -> Result<Vec<RecordId>, VaultError> {
        let mut ids = Vec::new();
        let project = self.open(project.clone())?;
        project.each(&*self.writing.transaction, |found| ids.push(found.record.rid))?;
        Ok(ids)
    }

    /// Opens a project with the changes of this transaction.
    fn open(&self, found: OpenedProject) -> Result<Project, VaultError> {
        let State { access, owner, .. } = &self.writing.state;
        let rows = &*self.writing.transaction;
        Project::open(rows, self.vault_id, owner, found, access.clone(), None)
    }

    /// Removes tokens of a project from the list.
    pub(super) fn remove(&mut self, ids: Vec<TokenId>) -> Result<RemovedTokens, VaultError> {
        let tokens = ids.iter().map(|id| self.info(id)).collect::<Result<Vec<_>, _>>()?;
        let rights = LostRights::of(&self.tokens, &ids);
        self.tokens.list.retain(|id, _| !ids.contains(id));
        Ok(RemovedTokens { ids, tokens, rights })
    }

    /// Returns the secrets whose values could be used and no longer can.
    fn exposed(&self, project: &Project, lost: &LostRights) -> Result<Vec<Secret>, VaultError> {
        let mut exposed = Vec::new();
        project.each(&*self.writing.transaction, |found| {
            if lost.include(found.record.rid, found.metadata.class) {
                exposed.push(project.secret(found));
            }
        })?;
        Ok(exposed)
    }

    /// Carries out the change of one project's tokens, and signs the directory.
    pub(super) fn settle(
        &mut self,
        what: ChangeOfTokens<'_>,
        found: OpenedProject,
        on_progress: &dyn Fn(u64),
    ) -> Result<Settled, VaultError> {
        let (settled, opened) = self.settle_project(what, found, on_progress)?;
        self.sign_directory(&what, &[opened])?;
        Ok(settled)
    }

    /// Removes the grants of tokens whose escrow does not open or whose project was deleted, and
    /// returns their ids.
    pub(super) fn remove_dropped(&mut self) -> Result<Vec<TokenId>, VaultError> {
        let dropped = std::mem::take(&mut self.dropped);
        for id in &dropped {
            self.writing.transaction.apply(Change::DropGrant(id))?;
        }

        Ok(dropped)
    }

    /// Removes the tokens, gives the project new keys if the change does so, writes its policy and head
    /// if the list of tokens that may sign differs, and issues the grants that are due. The directory
    /// must be signed afterwards.
    pub(super) fn settle_project(
        &mut self,
        what: ChangeOfTokens<'_>,
        found: OpenedProject,
        on_progress: &dyn Fn(u64),
    ) -> Result<(Settled, OpenedProject), VaultError> {
        let ChangeOfTokens { removed, renews, lost, .. } = what;
        let pid = found.entry.pid;
        for id in removed {
            self.writing.transaction.apply(Change::DropGrant(id))?;
        }

        let dropped = self.remove_dropped()?;

        let is_damaged = self.is_damaged;
        let project = if is_damaged {
            None
        } else {
            Some(self.writing.state.open(&*self.writing.transaction, found.clone())?)
        };

        let (output_keys, exposed) = (Vec::new(), Vec::new());
        let is_last = self.tokens.of(&pid).all(|(id, _)| what.about.contains(id));
        let renewed = None;
        let mut settled = Settled { renewed, output_keys, exposed, is_damaged, dropped, is_last };
        let mut opened = found;
        let writers = self.tokens.writers(&pid, Timestamp::now())?;
        match project {
            Some(project) if renews => {
                let signers = (writers, &self.tokens);
                let mut rekey = Rekey::new(&self.directory, signers, on_progress).taking(lost);
                let transaction = &mut *self.writing.transaction;
                let (renewed, state) = rekey.project(transaction, &project, None)?;
                settled.renewed = Some(rekey.secrets);
                settled.output_keys = std::mem::take(&mut rekey.output_keys);
                settled.exposed = std::mem::take(&mut rekey.exposed);
                self.writing.remember(pid, Some(&renewed.entry.name), state);
                opened = renewed;
                self.set_due(&pid);
            }
            Some(project) => {
                if let Some(lost) = lost {
                    settled.exposed = self.exposed(&project, lost)?;
                }

                opened = self.write_policy(project, writers)?;
            }
            // A head that verifies can be followed, whatever is wrong with the records.
            None => {
                let found = self.writing.state.open(&*self.writing.transaction, opened.clone());
                let written = found.and_then(|project| self.write_policy(project, writers.clone()));
                opened = match written {
                    Err(error) if grants::is_of_project(&error) => {
                        self.write_policy_of_damaged(opened, writers)?
                    }
                    written => written?,
                };
            }
        }

        if !is_damaged {
            self.issue_all(&opened)?;
        } else if renews {
            opened.entry.due = Some(Timestamp::now());
        }

        settled.exposed.sort_by_cached_key(|secret| secret.metadata.tag.key());
        Ok((settled, opened))
    }

    /// Issues the grants again that name this secret.
    pub(super) fn issue_for(
        &mut self,
        project: OpenedProject,
        rid: RecordId,
    ) -> Result<(), VaultError> {
        let mut about = Vec::new();
        for (id, token) in &mut self.tokens.list {
            if token.escrow.only.as_ref().is_some_and(|only| only.contains(&rid)) {
                token.is_due = true;
                about.push(*id);
            }
        }

        if !about.is_empty() {
            self.settle(ChangeOfTokens::new(Action::UpdateToken, &about), project, &|_| {})?;
        }

        Ok(())
    }

    /// Marks the tokens of a project for new grants. One that has expired gets no new keys.
    pub(super) fn set_due(&mut self, pid: &ProjectId) {
        let now = Timestamp::now();
        for OpenToken { escrow, is_due, .. } in self.tokens.list.values_mut() {
            *is_due |= escrow.pid == *pid && !escrow.has_expired(now);
        }
    }

    /// Writes the next policy and a head that names it, if the writers differ.
    fn write_policy(
        &mut self,
        project: Project,
        writers: Vec<Writer>,
    ) -> Result<OpenedProject, VaultError> {
        let before = project.policy.as_ref().map(|(_, policy)| policy);
        let known = before.map_or(&[][..], |policy| &policy.writers);
        if known == writers {
            return Ok(project.opened);
        }

        let is_shortened = |one: &Writer| {
            let same = writers.iter().find(|writer| writer.token_id == one.token_id);
            same.is_none_or(|writer| writer.until < one.until)
        };
        if known.iter().any(is_shortened) {
            // A reader without memory believes the policy that its grant names.
            self.set_due(&project.row.pid);
        }

        let OpenedProject { mut entry, keys, ticket } = project.opened.clone();
        let (pid, epoch) = (entry.pid, entry.epoch);
        let Some(next) = NextPolicy::after(before, epoch, writers, &self.tokens) else {
            return Ok(project.opened);
        };

        let mut change = AuditChange::new(Action::Policy);
        let transaction = &mut *self.writing.transaction;
        let to = (project.ring()?, &mut entry);
        let row = next.write(&self.directory, transaction, to, &mut change)?;
        let ids: Vec<TokenId> = change.admitted.iter().map(|token| token.token_id).collect();
        for id in ids.iter().chain(&change.removed.clone()) {
            change.add_token(id, &self.tokens.name(id));
        }

        let opened = OpenedProject { entry, keys, ticket };

        let place = HeadPlace { vault_id: &self.vault_id, pid: &pid, epoch };
        let Head { root_hash, count, .. } = project.head;
        let head = Head {
            policy: opened.entry.policy.hash,
            ..next_head::next(place, &project.head, epoch, root_hash, count)
        };
        let request = SignRequest {
            project: &opened,
            previous: &project.row,
            policy: Some(&row),
            head,
            change,
        };
        let signed = self.directory.sign(request);
        next_head::write(&mut *self.writing.transaction, place, opened.ring()?, &signed)?;
        let state = checkpoint(&self.vault_id, &opened, &signed.head);
        self.writing.remember(pid, Some(&opened.entry.name), state);
        Ok(opened)
    }

    /// Writes the next policy of a project that does not verify. Its head is left, and everybody
    /// refuses it.
    fn write_policy_of_damaged(
        &mut self,
        mut opened: OpenedProject,
        writers: Vec<Writer>,
    ) -> Result<OpenedProject, VaultError> {
        let PolicyId { version, .. } = opened.entry.policy;
        if version == 0 && writers.is_empty() {
            return Ok(opened);
        }

        let policy = Policy { version: version + 1, epoch: opened.entry.epoch, writers };
        let mut entry = opened.entry.clone();
        let to = (opened.ring()?, &mut entry);
        next_policy::write(&policy, &self.directory, &mut *self.writing.transaction, to)?;
        opened.entry = entry;
        Ok(opened)
    }

    /// Issues the grants of a project's tokens that are due.
    pub(super) fn issue_all(&mut self, opened: &OpenedProject) -> Result<(), VaultError> {
        let pid = opened.entry.pid;
        let due: BTreeSet<TokenId> =
            self.tokens.of(&pid).filter(|(_, token)| token.is_due).map(|(id, _)| *id).collect();
        if due.is_empty() {
            return Ok(());
        }

        let project = self.open(opened.clone())?;
        for id in due {
            let token = self.tokens.list.get_mut(&id).ok_or(DAMAGED)?;
            let (rows, escrow) = (&*self.writing.transaction, &token.escrow);
            let grant = grants::grant(rows, &project, escrow, self.directory.owner())?;
            let generation = token.row.generation + 1;
            token.row = GrantRow {
                token_id: id,
                generation,
                grant: grant.seal(&escrow.kek, &self.vault_id, &id, generation)?,
                escrow: escrow.seal(&self.escrow_key, &self.vault_id, &id, generation)?,
            };
            token.is_due = false;
            self.writing.transaction.apply(Change::Grant(&token.row))?;
        }

        Ok(())
    }

    /// Writes the new entries of changed projects and signs the directory, once, because its readers
    /// follow at most 32 changes.
    pub(super) fn sign_directory(
        &mut self,
        what: &ChangeOfTokens<'_>,
        changed: &[OpenedProject],
    ) -> Result<(), VaultError> {
        let before = self.directory.read(&*self.writing.transaction)?;
        let tokens = tokens_hash(&self.writing.transaction.grants()?);
        let transaction = &mut *self.writing.transaction;
        let mut edit = DirectoryEdit::new(&self.directory, before, transaction, what.action);
        edit.tokens = tokens;
        for id in what.about {
            edit.change().add_token(id, &self.tokens.name(id));
        }

        for opened in changed {
            let entry = edit.require(&opened.entry.name)?;
            edit.replace(entry, opened)?;
        }

        // An entry has at most 8 KiB. Only the log of a project needs all of them.
        edit.change().removed = what.removed.iter().copied().take(MOST_REMOVED).collect();
        let head = edit.sign()?;
        self.writing.set_directory(head);
        Ok(())
    }
}
