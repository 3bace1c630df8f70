//! The owner's operations on tokens: create, list, change, rotate and revoke them, and issue their
//! grants (docs/format.md, section 8).
//!
//! Whatever takes keys from a token gives its project new keys, in the same transaction. The other
//! tokens of the project then get new grants, which are made from their escrows alone.

use std::collections::{BTreeMap, BTreeSet};

use super::access::{OpenedProject, SignRequest};
use super::copies::BundleScope;
use super::directory::{Directory, DirectoryEdit};
use super::next_head::{self, HeadPlace};
use super::project::{Project, checkpoint};
use super::rekey::Rekey;
use super::state::State;
use super::writing::Writing;
use super::{Vault, VaultError, WriteOutcome};
use crate::crypto::CryptoError;
use crate::crypto::aead::Key;
use crate::crypto::audit::{Action, Admitted, AuditChange};
use crate::crypto::grant::{
    Escrow, Floor, Grant, GrantedKeys, GrantedProject, MAX_TOKENS, SetKeys, SetRecord,
};
use crate::crypto::head::Head;
use crate::crypto::ids::{DIRECTORY, ProjectId, RecordId, TokenId, VaultId, record_of};
use crate::crypto::keyring::Keyring;
use crate::crypto::output_digest::OutputKey;
use crate::crypto::policy::{MAX_WRITERS, Policy, Writer};
use crate::crypto::project_entry::PolicyId;
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{GrantRow, tokens_hash};
use crate::crypto::signing::PublicKey;
use crate::crypto::token::Token;
use crate::model::{
    Class, Level, ProjectName, Secret, SecretBytes, SecretRef, Tag, Timestamp, TokenName,
};
use crate::store::{Change, Snapshot, Transaction};

const GRANTS: VaultError = VaultError::Crypto(CryptoError::Damaged("the table of grants"));

/// A token to create.
pub struct NewToken<'a> {
    /// Its name, which no other token of the vault has
    pub name: TokenName,
    /// What it may do
    pub level: Level,
    /// Its project
    pub project: &'a ProjectName,
    /// Its secrets; `None` for all of the project's
    pub only: Option<&'a [Tag]>,
    /// True if it may use restricted secrets
    pub is_restricted_allowed: bool,
    /// True if it stops when its uses cannot be recorded
    pub is_strict: bool,
    /// The time of its end; `None` for a token that does not expire
    pub expires: Option<Timestamp>,
}

/// The changes of a token. `None` keeps a property.
#[derive(Default)]
pub struct TokenChanges<'a> {
    /// What it may do
    pub level: Option<Level>,
    /// Secrets to add
    pub add: &'a [Tag],
    /// Secrets to take away
    pub remove: &'a [Tag],
    /// True if it may use restricted secrets
    pub is_restricted_allowed: Option<bool>,
    /// True if it stops when its uses cannot be recorded
    pub is_strict: Option<bool>,
    /// The time of its end
    pub expires: Option<Option<Timestamp>>,
}

/// A token, without its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its id
    pub id: TokenId,
    /// Its name
    pub name: TokenName,
    /// What it may do
    pub level: Level,
    /// Its project
    pub project: ProjectName,
    /// Its secrets; `None` for all of the project's. Deleted ones are left out.
    pub secrets: Option<Vec<Tag>>,
    /// True if it may use restricted secrets
    pub is_restricted_allowed: bool,
    /// True if it stops when its uses cannot be recorded
    pub is_strict: bool,
    /// The time of its creation
    pub created: Timestamp,
    /// The time of its end; `None` for a token that does not expire
    pub expires: Option<Timestamp>,
    /// True if it was rotated, and works only until it expires
    pub is_replaced: bool,
}

/// The result of a change that took something from a token.
pub struct Revoked {
    /// The tokens, as they were
    pub tokens: Vec<TokenInfo>,
    /// The secrets whose values they could use, which must be changed where they come from
    pub exposed: Vec<Secret>,
    /// The number of secrets that were re-encrypted; `None` if the project kept its keys
    pub renewed: Option<u64>,
    /// The new keys for the digests of rendered files
    pub output_keys: Vec<OutputKey>,
    /// True if the project is damaged, so that it kept its keys and its last head
    pub is_damaged: bool,
    /// Tokens whose escrow is damaged, which were removed
    pub dropped: Vec<TokenId>,
}

impl Vault {
    /// Creates a token. It needs the root key itself.
    pub fn create_token(
        &self,
        new: &NewToken<'_>,
    ) -> Result<WriteOutcome<(Token, TokenInfo)>, VaultError> {
        let mut change = TokenChange::begin(self)?;
        if change.tokens.named(&new.name).is_some() {
            return Err(VaultError::TokenExists(new.name.clone()));
        }

        let project = change.writing.state.require(&*change.writing.transaction, new.project)?;
        let pid = project.entry.pid;
        let only = match new.only {
            Some(tags) => Some(change.records(new.project, tags)?),
            None => None,
        };

        let token = Token::random(new.level)?;
        let keys = token.keys(&change.vault_id);
        let escrow = Escrow {
            kek: keys.kek,
            writer: keys.signer.public(),
            name: new.name.clone(),
            level: new.level,
            expires: new.expires,
            is_strict: new.is_strict,
            pid,
            is_restricted_allowed: new.is_restricted_allowed,
            only,
            created: Timestamp::now(),
            replaced_by: None,
            later: SecretBytes::with_capacity(0),
        };

        change.tokens.add(keys.id, escrow)?;
        change.settle(Action::CreateToken, project, &[], false, &|_| {})?;
        let info = change.info(&keys.id)?;
        Ok(WriteOutcome::new((token, info), change.writing.commit()?))
    }

    /// Returns true if the vault has tokens.
    pub fn has_tokens(&self) -> Result<bool, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        Ok(state.grant.is_some() || state.directory.policy != tokens_hash(&[]))
    }

    /// Returns all tokens, sorted by name. It needs the root key itself.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, VaultError> {
        let root = self.root_key()?;
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let tokens = Tokens::read(&*snapshot, &state, root.escrow_key())?;
        let mut infos = Vec::new();
        let mut projects: BTreeMap<ProjectId, Option<Project>> = BTreeMap::new();
        for (id, token) in &tokens.0 {
            let project = match projects.entry(token.escrow.pid) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(unknown) => {
                    let found = state.with_id(&*snapshot, &token.escrow.pid);
                    let open = |found| state.open(&*snapshot, found);
                    unknown.insert(found.and_then(open).ok())
                }
            };

            infos.extend(project.as_ref().map(|project| info(&*snapshot, id, token, project)));
        }

        let mut infos = infos.into_iter().collect::<Result<Vec<_>, _>>()?;
        infos.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(infos)
    }

    /// Returns what a bundle for a token carries. It needs the root key itself.
    pub fn bundle_scope_of(&self, name: &TokenName) -> Result<BundleScope, VaultError> {
        let root = self.root_key()?;
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let tokens = Tokens::read(&*snapshot, &state, root.escrow_key())?;
        let id = tokens.named(name).ok_or_else(|| VaultError::NoToken(name.clone()))?;
        let escrow = &tokens.0[&id].escrow;
        if escrow.level == Level::Manage {
            return Err(VaultError::BundleOfManager);
        }

        Ok(BundleScope { token_id: id, pid: escrow.pid, only: escrow.only.clone() })
    }

    /// Revokes the tokens that a copy of this vault brings back, in the transaction that made the copy:
    /// those that are not in `present`, or there with another generation. Their projects get new keys.
    /// Returns their names.
    pub(super) fn revoke_returned<'v>(
        &'v self,
        transaction: Box<dyn Transaction + 'v>,
        present: &[GrantRow],
    ) -> Result<(Box<dyn Transaction + 'v>, Vec<TokenName>), VaultError> {
        let state = State::read(&*transaction, &self.access, None)?;
        let mut change = TokenChange::of(self, Writing::of(self, transaction, state))?;
        let is_present = |id: &TokenId, row: &GrantRow| {
            present.iter().any(|now| now.token_id == *id && now.generation == row.generation)
        };

        let (mut doomed, mut names) = (BTreeMap::new(), Vec::new());
        for (id, token) in &change.tokens.0 {
            if !is_present(id, &token.row) {
                doomed.entry(token.escrow.pid).or_insert_with(Vec::new).push(*id);
                names.push(token.escrow.name.clone());
            }
        }

        for (pid, ids) in doomed {
            ids.iter().for_each(|id| drop(change.tokens.0.remove(id)));
            let rows = &*change.writing.transaction;
            let project = change.writing.state.with_id(rows, &pid)?;
            change.settle(Action::RevokeTokens, project, &ids, true, &|_| {})?;
        }

        names.sort_unstable();
        Ok((change.writing.transaction, names))
    }

    /// Changes a token; its string stays the same. Whatever takes keys from it gives the project new
    /// keys, unless `keeps_keys`. It needs the root key itself.
    pub fn update_token(
        &self,
        name: &TokenName,
        changes: &TokenChanges<'_>,
        keeps_keys: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<WriteOutcome<(TokenInfo, Option<Revoked>)>, VaultError> {
        let mut change = TokenChange::begin(self)?;
        let (id, project) = change.require(name)?;
        let project_name = project.entry.name.clone();
        let before = change.info(&id)?;
        let added = change.records(&project_name, changes.add)?;
        let removed = change.records(&project_name, changes.remove)?;

        let token = change.tokens.0.get_mut(&id).ok_or(GRANTS)?;
        let escrow = &mut token.escrow;
        let mut narrows = false;
        if let Some(level) = changes.level {
            narrows |= level < escrow.level;
            escrow.level = level;
        }

        if !added.is_empty() || !removed.is_empty() {
            let only = escrow.only.get_or_insert_default();
            narrows |= removed.iter().any(|rid| only.contains(rid));
            only.retain(|rid| !removed.contains(rid));
            only.extend(added);
            only.sort_unstable();
            only.dedup();
        }

        if let Some(allowed) = changes.is_restricted_allowed {
            narrows |= escrow.is_restricted_allowed && !allowed;
            escrow.is_restricted_allowed = allowed;
        }

        escrow.is_strict = changes.is_strict.unwrap_or(escrow.is_strict);
        escrow.expires = changes.expires.unwrap_or(escrow.expires);
        if escrow.only.is_some() && escrow.level == Level::Manage {
            return Err(VaultError::ManageOfSome);
        }

        token.is_due = true;
        let exposed = match narrows {
            true => change.exposed(&project, &[&before], &[id])?,
            false => Vec::new(),
        };
        let renews = narrows && !keeps_keys;
        let settled = change.settle(Action::UpdateToken, project, &[], renews, on_progress)?;
        let info = change.info(&id)?;
        let revoked = narrows.then(|| settled.revoked(vec![before], exposed));
        Ok(WriteOutcome::new((info, revoked), change.writing.commit()?))
    }

    /// Replaces a token by a new string with the same rights. The old one works until `until`, or no
    /// longer if that is `None`: then the project gets new keys, unless `keeps_keys`. It needs the
    /// root key itself.
    pub fn rotate_token(
        &self,
        name: &TokenName,
        expires: Option<Timestamp>,
        until: Option<Timestamp>,
        keeps_keys: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<WriteOutcome<(Token, TokenInfo, Option<Revoked>)>, VaultError> {
        let mut change = TokenChange::begin(self)?;
        let (id, project) = change.require(name)?;
        let before = change.info(&id)?;
        let token = Token::random(before.level)?;
        let keys = token.keys(&change.vault_id);

        let old = change.tokens.0.get_mut(&id).ok_or(GRANTS)?;
        let escrow = Escrow {
            kek: keys.kek,
            writer: keys.signer.public(),
            name: name.clone(),
            level: old.escrow.level,
            expires,
            is_strict: old.escrow.is_strict,
            pid: old.escrow.pid,
            is_restricted_allowed: old.escrow.is_restricted_allowed,
            only: old.escrow.only.clone(),
            created: Timestamp::now(),
            replaced_by: None,
            later: SecretBytes::copy_of(old.escrow.later.expose()),
        };

        let mut removed = Vec::new();
        let mut exposed = Vec::new();
        match until {
            Some(until) => {
                let end = old.escrow.expires.map_or(until, |expires| expires.min(until));
                old.escrow.expires = Some(end);
                old.escrow.replaced_by = Some(keys.id);
                old.is_due = true;
            }
            None => {
                exposed = change.exposed(&project, &[&before], &[id])?;
                removed.push(id);
                change.tokens.0.remove(&id);
            }
        }

        change.tokens.add(keys.id, escrow)?;
        let renews = until.is_none() && !keeps_keys;
        let settled = change.settle(Action::UpdateToken, project, &removed, renews, on_progress)?;
        let info = change.info(&keys.id)?;
        let revoked = until.is_none().then(|| settled.revoked(vec![before], exposed));
        Ok(WriteOutcome::new((token, info, revoked), change.writing.commit()?))
    }

    /// Revokes tokens of one project: they sign nothing more, and the project gets new keys unless
    /// `keeps_keys`. If the project is damaged, they still sign nothing more. It needs the root key
    /// itself.
    pub fn revoke_tokens(
        &self,
        names: &[TokenName],
        keeps_keys: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<WriteOutcome<Revoked>, VaultError> {
        let mut change = TokenChange::begin(self)?;
        let mut ids = Vec::new();
        let mut of: Option<OpenedProject> = None;
        for name in names {
            // A rotated token that still works has the name of its successor.
            let found = change.tokens.all_named(name);
            let Some(first) = found.first() else {
                return Err(VaultError::NoToken(name.clone()));
            };

            let pid = change.tokens.0[first].escrow.pid;
            if of.as_ref().is_some_and(|project| project.entry.pid != pid) {
                return Err(VaultError::TokensOfProjects);
            }

            if of.is_none() {
                of = Some(change.writing.state.with_id(&*change.writing.transaction, &pid)?);
            }

            ids.extend(found);
        }

        let project = of.ok_or(VaultError::Internal("no token was named"))?;
        let infos = ids.iter().map(|id| change.info(id)).collect::<Result<Vec<_>, _>>()?;
        let exposed = change.exposed(&project, &infos.iter().collect::<Vec<_>>(), &ids)?;
        ids.iter().for_each(|id| drop(change.tokens.0.remove(id)));

        let settled =
            change.settle(Action::RevokeTokens, project, &ids, !keeps_keys, on_progress)?;
        Ok(WriteOutcome::new(settled.revoked(infos, exposed), change.writing.commit()?))
    }

    /// Gives a project new keys. The old keys open nothing that is stored from now on. Its tokens get
    /// new grants. Calls `on_progress` with the number of secrets re-encrypted so far.
    pub fn rekey_project(
        &self,
        name: &ProjectName,
        on_progress: &dyn Fn(u64),
    ) -> Result<WriteOutcome<super::RekeyOutcome>, VaultError> {
        let mut change = TokenChange::begin(self)?;
        let project = change.writing.state.require(&*change.writing.transaction, name)?;

        // A damaged project is not re-encrypted.
        change.writing.state.open(&*change.writing.transaction, project.clone())?;
        let settled = change.settle(Action::Rekey, project, &[], true, on_progress)?;
        let rekeyed = super::RekeyOutcome {
            projects: 1,
            secrets: settled.renewed.unwrap_or_default(),
            recovery: None,
            output_keys: settled.output_keys,
            tokens: Vec::new(),
        };
        Ok(WriteOutcome::new(rekeyed, change.writing.commit()?))
    }
}

/// A token with its escrow.
struct OpenToken {
    row: GrantRow,
    escrow: Escrow,
    /// True if it needs a new grant
    is_due: bool,
}

/// The tokens of a vault whose escrow opens.
struct Tokens(BTreeMap<TokenId, OpenToken>);

impl Tokens {
    /// Reads all tokens. The directory's head proves that they are those of the owner.
    fn read(rows: &dyn Snapshot, state: &State, key: Key) -> Result<Self, VaultError> {
        let grants = rows.grants()?;
        if tokens_hash(&grants) != state.directory.policy {
            return Err(GRANTS);
        }

        let open = |row: GrantRow| {
            let escrow = Escrow::open(&key, state.vault_id(), &row).ok()?;
            Some((row.token_id, OpenToken { row, escrow, is_due: false }))
        };
        Ok(Self(grants.into_iter().filter_map(open).collect()))
    }

    /// Returns the token of this name that was not rotated.
    fn named(&self, name: &TokenName) -> Option<TokenId> {
        let is_named =
            |token: &OpenToken| token.escrow.name == *name && token.escrow.replaced_by.is_none();
        self.0.iter().find(|(_, token)| is_named(token)).map(|(id, _)| *id)
    }

    /// Returns all tokens of this name.
    fn all_named(&self, name: &TokenName) -> Vec<TokenId> {
        let named = self.0.iter().filter(|(_, token)| token.escrow.name == *name);
        named.map(|(id, _)| *id).collect()
    }

    fn add(&mut self, id: TokenId, escrow: Escrow) -> Result<(), VaultError> {
        if self.0.len() >= MAX_TOKENS {
            return Err(VaultError::TooManyTokens);
        }

        if escrow.only.is_some() && escrow.level == Level::Manage {
            return Err(VaultError::ManageOfSome);
        }

        let row = GrantRow { token_id: id, generation: 0, grant: Vec::new(), escrow: Vec::new() };
        self.0.insert(id, OpenToken { row, escrow, is_due: true });
        Ok(())
    }

    fn of(&self, pid: &ProjectId) -> impl Iterator<Item = (&TokenId, &OpenToken)> {
        self.0.iter().filter(move |(_, token)| token.escrow.pid == *pid)
    }

    /// Returns the tokens that may sign for a project, in the order of their ids.
    fn writers(&self, pid: &ProjectId, now: Timestamp) -> Result<Vec<Writer>, VaultError> {
        let may_sign = |token: &OpenToken| {
            token.escrow.level == Level::Manage
                && token.escrow.expires.is_none_or(|expires| expires > now)
        };
        let writers: Vec<Writer> = self
            .of(pid)
            .filter(|(_, token)| may_sign(token))
            .map(|(id, OpenToken { escrow, .. })| Writer {
                token_id: *id,
                key: escrow.writer,
                until: escrow.expires.map_or(u64::MAX, |expires| expires.0),
            })
            .collect();

        if writers.len() > MAX_WRITERS { Err(VaultError::TooManyWriters) } else { Ok(writers) }
    }
}

/// The result of [`TokenChange::settle`].
struct Settled {
    renewed: Option<u64>,
    output_keys: Vec<OutputKey>,
    is_damaged: bool,
    dropped: Vec<TokenId>,
}

impl Settled {
    fn revoked(self, tokens: Vec<TokenInfo>, exposed: Vec<Secret>) -> Revoked {
        let Self { renewed, output_keys, is_damaged, dropped } = self;
        Revoked { tokens, exposed, renewed, output_keys, is_damaged, dropped }
    }
}

/// A change of tokens in a transaction.
pub(super) struct TokenChange<'v> {
    pub(super) writing: Writing<'v>,
    directory: Directory,
    escrow_key: Key,
    vault_id: VaultId,
    tokens: Tokens,
    dropped: Vec<TokenId>,
}

impl<'v> TokenChange<'v> {
    pub(super) fn begin(vault: &'v Vault) -> Result<Self, VaultError> {
        Self::of(vault, vault.writing()?)
    }

    fn of(vault: &Vault, writing: Writing<'v>) -> Result<Self, VaultError> {
        let root = vault.root_key()?;
        let vault_id = *writing.state.vault_id();
        let directory = Directory::new(root, vault_id);
        let tokens = Tokens::read(&*writing.transaction, &writing.state, root.escrow_key())?;
        let known = writing.transaction.grants()?.into_iter().map(|row| row.token_id);

        // The grants of a project that was deleted open nothing.
        let mut tokens = tokens;
        let mut is_there = BTreeMap::new();
        for token in tokens.0.values() {
            let pid = token.escrow.pid;
            let located = writing.transaction.locate(&record_of(&pid))?;
            is_there.insert(pid, located.is_some_and(|(of, _)| of == DIRECTORY));
        }

        tokens.0.retain(|_, token| is_there.get(&token.escrow.pid) == Some(&true));
        let dropped = known.filter(|id| !tokens.0.contains_key(id)).collect();
        Ok(Self { writing, directory, escrow_key: root.escrow_key(), vault_id, tokens, dropped })
    }

    /// Finds a token by name, and its project.
    fn require(&self, name: &TokenName) -> Result<(TokenId, OpenedProject), VaultError> {
        let id = self.tokens.named(name).ok_or_else(|| VaultError::NoToken(name.clone()))?;
        let pid = self.tokens.0[&id].escrow.pid;
        Ok((id, self.writing.state.with_id(&*self.writing.transaction, &pid)?))
    }

    /// Returns the ids of secrets, in ascending order.
    fn records(&self, name: &ProjectName, tags: &[Tag]) -> Result<Vec<RecordId>, VaultError> {
        let rows = &*self.writing.transaction;
        let wanted: Vec<SecretRef> = tags.iter().cloned().map(SecretRef::Tag).collect();
        let found = super::find::find_all(&self.writing.state, rows, name, &wanted)?;
        let secrets = found.iter().flat_map(|found| &found.secrets);
        let mut ids: Vec<RecordId> = secrets.map(|(_, secret)| secret.record.rid).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn info(&self, id: &TokenId) -> Result<TokenInfo, VaultError> {
        let token = self.tokens.0.get(id).ok_or(GRANTS)?;
        let rows = &*self.writing.transaction;
        let found = self.writing.state.with_id(rows, &token.escrow.pid)?;
        match self.open(found.clone()) {
            Ok(project) => info(rows, id, token, &project),
            // A damaged project must not keep anybody from revoking.
            Err(error) if error.is_damage() => Ok(TokenInfo {
                secrets: token.escrow.only.as_ref().map(|_| Vec::new()),
                ..of_escrow(id, &token.escrow, found.entry.name)
            }),
            Err(error) => Err(error),
        }
    }

    /// Opens a project with the changes of this transaction.
    fn open(&self, found: OpenedProject) -> Result<Project, VaultError> {
        let State { access, owner, .. } = &self.writing.state;
        let rows = &*self.writing.transaction;
        Project::open(rows, self.vault_id, owner, found, access.clone(), None)
    }

    /// Returns the secrets whose values tokens could use.
    fn exposed(
        &self,
        project: &OpenedProject,
        infos: &[&TokenInfo],
        ids: &[TokenId],
    ) -> Result<Vec<Secret>, VaultError> {
        let project = match self.open(project.clone()) {
            Ok(project) => project,
            Err(error) if error.is_damage() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };

        let escrows: Vec<&Escrow> = ids
            .iter()
            .zip(infos)
            .filter(|(_, info)| info.level >= Level::Use)
            .filter_map(|(id, _)| self.tokens.0.get(id).map(|token| &token.escrow))
            .collect();
        let could_use = |rid: &RecordId, class: Class| {
            escrows.iter().any(|escrow| {
                (class == Class::Team || escrow.is_restricted_allowed)
                    && escrow.only.as_ref().is_none_or(|only| only.contains(rid))
            })
        };

        let mut exposed = Vec::new();
        project.each(&*self.writing.transaction, |found| {
            if could_use(&found.record.rid, found.metadata.class) {
                exposed.push(project.secret(found));
            }
        })?;
        exposed.sort_by_cached_key(|secret| secret.metadata.tag.key());
        Ok(exposed)
    }

    /// Carries out the change: removes `removed`, gives the project new keys if `renews`, writes its
    /// policy and head if the list of tokens that may sign differs, issues the grants that are due,
    /// and signs the directory.
    fn settle(
        &mut self,
        action: Action,
        found: OpenedProject,
        removed: &[TokenId],
        renews: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<Settled, VaultError> {
        let pid = found.entry.pid;
        let dropped = std::mem::take(&mut self.dropped);
        for id in removed.iter().chain(&dropped) {
            self.writing.transaction.apply(Change::DropGrant(id))?;
        }

        let project = match self.writing.state.open(&*self.writing.transaction, found.clone()) {
            Ok(project) => Some(project),
            Err(error) if error.is_damage() && action == Action::RevokeTokens => None,
            Err(error) => return Err(error),
        };

        let is_damaged = project.is_none();
        let mut settled = Settled { renewed: None, output_keys: Vec::new(), is_damaged, dropped };
        let mut opened = found;
        let writers = self.tokens.writers(&pid, Timestamp::now())?;
        match project {
            Some(project) if renews => {
                let mut rekey = Rekey::new(&self.directory, None, on_progress);
                rekey.writers = Some(writers);
                let transaction = &mut *self.writing.transaction;
                let (renewed, state) = rekey.project(transaction, &project)?;
                settled.renewed = Some(rekey.secrets);
                settled.output_keys = std::mem::take(&mut rekey.output_keys);
                self.writing.remember(pid, Some(&renewed.entry.name), state);
                opened = renewed;
                self.set_due(&pid);
            }
            Some(project) => opened = self.write_policy(project, writers)?,
            None => opened = self.write_policy_of_damaged(opened, writers)?,
        }

        if !is_damaged {
            self.issue_all(&opened)?;
        } else if renews {
            opened.entry.due = Some(Timestamp::now());
        }

        self.sign_directory(action, &opened, removed)?;
        Ok(settled)
    }

    /// Issues the grants again that name this secret.
    pub(super) fn issue_for(
        &mut self,
        project: OpenedProject,
        rid: RecordId,
    ) -> Result<(), VaultError> {
        let mut is_named = false;
        for token in self.tokens.0.values_mut() {
            if token.escrow.only.as_ref().is_some_and(|only| only.contains(&rid)) {
                (token.is_due, is_named) = (true, true);
            }
        }

        if is_named {
            self.settle(Action::UpdateToken, project, &[], false, &|_| {})?;
        }

        Ok(())
    }

    fn set_due(&mut self, pid: &ProjectId) {
        let of = self.tokens.0.values_mut().filter(|token| token.escrow.pid == *pid);
        of.for_each(|token| token.is_due = true);
    }

    /// Returns the policy that a project has.
    fn policy(&self, project: &Project) -> Result<Option<Policy>, VaultError> {
        let Some(row) = &project.policy else { return Ok(None) };
        let pid = &project.row.pid;
        let key = project.ring()?.policy_key(pid);
        Ok(Some(Policy::open(&key, &self.directory.owner(), &self.vault_id, pid, row)?))
    }

    /// Writes the next policy and a head that names it, if the writers differ.
    fn write_policy(
        &mut self,
        project: Project,
        writers: Vec<Writer>,
    ) -> Result<OpenedProject, VaultError> {
        let before = self.policy(&project)?;
        let known = before.as_ref().map_or(&[][..], |policy| &policy.writers);
        if known == writers {
            return Ok(project.opened);
        }

        let (admitted, gone) = difference(known, &writers, &self.tokens);
        if !gone.is_empty() {
            // A reader without memory believes the policy that its grant names.
            self.set_due(&project.row.pid);
        }

        let version = before.map_or(1, |policy| policy.version + 1);
        let mut opened = project.opened.clone();
        let (pid, epoch) = (opened.entry.pid, opened.entry.epoch);
        let policy = Policy { version, epoch, writers };
        let row = self.directory.seal_policy(opened.ring()?, &pid, &policy)?;
        self.writing.transaction.apply(Change::Policy(&pid, &row))?;
        opened.entry.policy = policy.id(&self.vault_id, &pid);

        let place = HeadPlace { vault_id: &self.vault_id, pid: &pid, epoch };
        let Head { root_hash, count, .. } = project.head;
        let head = Head {
            policy: opened.entry.policy.hash,
            ..next_head::next(place, &project.head, epoch, root_hash, count)
        };
        let mut change = AuditChange::new(Action::Policy);
        (change.admitted, change.removed) = (admitted, gone);
        change.count = (change.admitted.len() + change.removed.len()) as u64;

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

        let (pid, epoch) = (opened.entry.pid, opened.entry.epoch);
        let policy = Policy { version: version + 1, epoch, writers };
        let row = self.directory.seal_policy(opened.ring()?, &pid, &policy)?;
        self.writing.transaction.apply(Change::Policy(&pid, &row))?;
        opened.entry.policy = policy.id(&self.vault_id, &pid);
        Ok(opened)
    }

    /// Issues the grants of a project's tokens that are due.
    fn issue_all(&mut self, opened: &OpenedProject) -> Result<(), VaultError> {
        let pid = opened.entry.pid;
        let due: BTreeSet<TokenId> =
            self.tokens.of(&pid).filter(|(_, token)| token.is_due).map(|(id, _)| *id).collect();
        if due.is_empty() {
            return Ok(());
        }

        let project = self.open(opened.clone())?;
        for id in due {
            let token = self.tokens.0.get_mut(&id).ok_or(GRANTS)?;
            let rows = &*self.writing.transaction;
            let grant = grant(rows, &project, &token.escrow, self.directory.owner())?;
            let generation = token.row.generation + 1;
            let escrow = &token.escrow;
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

    fn sign_directory(
        &mut self,
        action: Action,
        opened: &OpenedProject,
        removed: &[TokenId],
    ) -> Result<(), VaultError> {
        let before = self.directory.read(&*self.writing.transaction)?;
        let tokens = tokens_hash(&self.writing.transaction.grants()?);
        let transaction = &mut *self.writing.transaction;
        let mut edit = DirectoryEdit::new(&self.directory, before, transaction, action);
        edit.tokens = tokens;
        let entry = edit.require(&opened.entry.name)?;
        edit.replace(entry, opened)?;
        edit.change().removed = removed.to_vec();
        let head = edit.sign()?;
        self.writing.set_directory(head);
        Ok(())
    }
}

/// Returns the names of all tokens, sorted. A token whose escrow is damaged has none.
pub(super) fn names(
    rows: &dyn Snapshot,
    state: &State,
    root: &RootKey,
) -> Result<Vec<TokenName>, VaultError> {
    let Tokens(tokens) = Tokens::read(rows, state, root.escrow_key())?;
    let mut names: Vec<TokenName> = tokens.into_values().map(|token| token.escrow.name).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Returns the tokens that may sign from now on, and those that may no longer.
fn difference(before: &[Writer], now: &[Writer], tokens: &Tokens) -> (Vec<Admitted>, Vec<TokenId>) {
    let is_in = |list: &[Writer], id: &TokenId| list.iter().any(|one| one.token_id == *id);
    let name = |id: &TokenId| tokens.0.get(id).map(|token| token.escrow.name.as_str().to_owned());
    let admitted = now.iter().filter(|one| !is_in(before, &one.token_id)).map(|one| Admitted {
        token_id: one.token_id,
        key: one.key,
        name: name(&one.token_id).unwrap_or_default(),
    });
    let gone = before.iter().filter(|one| !is_in(now, &one.token_id)).map(|one| one.token_id);
    (admitted.collect(), gone.collect())
}

fn of_escrow(id: &TokenId, escrow: &Escrow, project: ProjectName) -> TokenInfo {
    TokenInfo {
        id: *id,
        name: escrow.name.clone(),
        level: escrow.level,
        project,
        secrets: None,
        is_restricted_allowed: escrow.is_restricted_allowed,
        is_strict: escrow.is_strict,
        created: escrow.created,
        expires: escrow.expires,
        is_replaced: escrow.replaced_by.is_some(),
    }
}

fn info(
    rows: &dyn Snapshot,
    id: &TokenId,
    token: &OpenToken,
    project: &Project,
) -> Result<TokenInfo, VaultError> {
    let info = of_escrow(id, &token.escrow, project.name().clone());
    let Some(only) = &token.escrow.only else { return Ok(info) };
    let mut tags = Vec::with_capacity(only.len());
    for rid in only {
        tags.extend(project.member(rows, *rid)?.map(|found| found.metadata.tag));
    }

    tags.sort_by_cached_key(Tag::key);
    Ok(TokenInfo { secrets: Some(tags), ..info })
}

/// Builds a grant from an escrow and the present state of its project.
fn grant(
    rows: &dyn Snapshot,
    project: &Project,
    escrow: &Escrow,
    owner: PublicKey,
) -> Result<Grant, VaultError> {
    let (ring, entry) = (project.ring()?, &project.opened.entry);
    let (pid, epoch) = (entry.pid, entry.epoch);
    let keys = match &escrow.only {
        None => GrantedKeys::Project(limited(ring, escrow)),
        Some(only) => {
            let mut records = Vec::with_capacity(only.len());
            for rid in only {
                // A secret that was deleted is in no grant.
                let Some(found) = project.member(rows, *rid)? else { continue };
                let (class, generation) = (found.metadata.class, found.metadata.generation);
                let may_use = escrow.level >= Level::Use
                    && (class == Class::Team || escrow.is_restricted_allowed);
                let value = ring.value_key(&pid, rid, class, generation).filter(|_| may_use);
                records.push(SetRecord {
                    rid: *rid,
                    tag: found.metadata.tag,
                    class,
                    generation,
                    metadata: ring.metadata_key(&pid, rid),
                    value,
                });
            }

            let (head, policy) = (ring.head_key(&pid), ring.policy_key(&pid));
            GrantedKeys::Set(SetKeys { head, policy, records })
        }
    };

    let head = project.head.revision(&project.vault_id, &pid, epoch);
    let floor = Floor { seq: head.seq, head: head.hash, policy: entry.policy };
    Ok(Grant {
        name: escrow.name.clone(),
        level: escrow.level,
        expires: escrow.expires,
        is_strict: escrow.is_strict,
        owner,
        project: GrantedProject { pid, name: entry.name.clone(), epoch, floor, keys },
        later: SecretBytes::with_capacity(0),
    })
}

/// Returns the keys of a project that a token gets.
fn limited(ring: &Keyring, escrow: &Escrow) -> Keyring {
    let copy = |key: &Key| Key::copy_of(key.expose());
    let may_use = escrow.level >= Level::Use;
    let values = ring.values.as_ref().filter(|_| may_use).map(copy);
    let restricted = ring.restricted.as_ref();
    let restricted = restricted.filter(|_| may_use && escrow.is_restricted_allowed).map(copy);
    Keyring::new(copy(&ring.metadata), values, restricted, copy(&ring.index))
}
