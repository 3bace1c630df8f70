//! The owner's operations on tokens: create, list, change, rotate and revoke them, and issue their
//! grants (docs/format.md, section 8).
//!
//! Whatever takes keys from a token gives its project new keys, in the same transaction. The other
//! tokens of the project then get new grants, which are made from their escrows alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::access::OpenedProject;
use super::copies::BundleScope;
use super::grants;
use super::project::Project;
use super::state::State;
use super::token_change::{ChangeOfTokens, RemovedTokens, TokenChange};
use super::token_list::{DAMAGED, LostRights, Tokens, UseRights};
use super::writing::Writing;
use super::{RekeyOutcome, Vault, VaultError};
use crate::crypto::audit::Action;
use crate::crypto::grant::Escrow;
use crate::crypto::ids::{ProjectId, TokenId};
use crate::crypto::output_digest::OutputKey;
use crate::crypto::rows::{GrantRow, tokens_hash};
use crate::crypto::token::Token;
use crate::model::{
    Class, Level, Metadata, ProjectName, Secret, SecretBytes, Tag, Timestamp, TokenName,
};
use crate::store::{Extent, Transaction};

/// A token to create.
pub struct NewToken<'a> {
    /// Its name, which no other token of the vault has
    pub name: TokenName,
    /// Its level
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

impl<'a> NewToken<'a> {
    /// Returns a token for all team secrets of a project, which does not expire.
    pub fn new(name: TokenName, level: Level, project: &'a ProjectName) -> Self {
        let (is_restricted_allowed, is_strict) = (false, false);
        Self { name, level, project, only: None, is_restricted_allowed, is_strict, expires: None }
    }
}

/// The changes of a token. `None` keeps a property.
#[derive(Default)]
pub struct TokenChanges<'a> {
    /// Its level
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
    /// Its level
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

impl TokenInfo {
    /// Returns true if the token opens the metadata of a secret.
    pub fn includes(&self, secret: &Secret) -> bool {
        self.project == secret.project && self.includes_tag(&secret.metadata)
    }

    /// Returns true if the token may use the value of a secret of its project.
    pub fn may_use(&self, metadata: &Metadata) -> bool {
        self.includes_tag(metadata) && self.may_use_class(metadata.class)
    }

    /// Returns true if the token may use the values of its secrets of this class.
    pub fn may_use_class(&self, class: Class) -> bool {
        self.level >= Level::Use && (class == Class::Team || self.is_restricted_allowed)
    }

    fn includes_tag(&self, metadata: &Metadata) -> bool {
        let key = metadata.tag.key();
        self.secrets.as_ref().is_none_or(|tags| tags.iter().any(|tag| tag.key() == key))
    }
}

/// The result of a change that took something from a token.
pub struct Revoked {
    /// The tokens, as they were
    pub tokens: Vec<TokenInfo>,
    /// The secrets whose values they could use, which must be replaced
    pub exposed: Vec<Secret>,
    /// The number of secrets that were re-encrypted; `None` if the project kept its keys
    pub renewed: Option<u64>,
    /// The new keys for the digests of rendered files
    pub output_keys: Vec<OutputKey>,
    /// True if the project is damaged, so that it kept its keys and its last head
    pub is_damaged: bool,
    /// Tokens whose escrow is damaged, which were removed
    pub dropped: Vec<TokenId>,
    /// True if the project has no other token
    pub is_last: bool,
}

impl Vault {
    /// Creates a token. It needs the root key itself.
    pub fn create_token(&self, new: &NewToken<'_>) -> Result<(Token, TokenInfo), VaultError> {
        let mut change =
            TokenChange::begin(self, |ahead| ahead.project(new.project, Extent::IfSmall))?;
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
        change.settle(ChangeOfTokens::new(Action::CreateToken, &[keys.id]), project, &|_| {})?;
        let info = change.info(&keys.id)?;
        change.writing.commit()?;
        Ok((token, info))
    }

    /// Returns true if the vault has tokens.
    pub fn has_tokens(&self) -> Result<bool, VaultError> {
        let snapshot = self.store.read()?;
        Ok(has_tokens(&self.state(&*snapshot)?))
    }

    /// Returns all tokens, sorted by name. It needs the root key itself.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>, VaultError> {
        let root = self.root_key()?;
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let tokens = Tokens::read(&*snapshot, &state, &root.escrow_key())?;
        let mut infos = Vec::new();
        let mut projects: BTreeMap<ProjectId, Option<(ProjectName, Option<Project>)>> =
            BTreeMap::new();
        for (id, token) in &tokens.list {
            let project = match projects.entry(token.escrow.pid) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let found = state.with_id(&*snapshot, &token.escrow.pid).ok();
                    unknown.insert(found.map(|found| {
                        (found.entry.name.clone(), state.open(&*snapshot, found).ok())
                    }))
                }
            };

            // A damaged project must not hide its tokens.
            infos.extend(project.as_ref().map(|(name, project)| match project {
                Some(project) => grants::info_or_escrow(&*snapshot, id, token, project),
                None => Ok(grants::of_damaged(id, &token.escrow, name.clone())),
            }));
        }

        let mut infos = infos.into_iter().collect::<Result<Vec<_>, _>>()?;
        infos.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(infos)
    }

    /// Returns the token of this name. It needs the root key itself.
    pub fn token_named(&self, name: &TokenName) -> Result<TokenInfo, VaultError> {
        let mut tokens = self.tokens()?.into_iter();
        let found = tokens.find(|token| token.name == *name && !token.is_replaced);
        found.ok_or_else(|| VaultError::NoToken(name.clone()))
    }

    /// Returns what a bundle for a token carries. It needs the root key itself.
    pub fn bundle_scope_of(&self, name: &TokenName) -> Result<BundleScope, VaultError> {
        let root = self.root_key()?;
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        let tokens = Tokens::read(&*snapshot, &state, &root.escrow_key())?;
        let id = tokens.named(name).ok_or_else(|| VaultError::NoToken(name.clone()))?;
        let escrow = &tokens.list[&id].escrow;
        if escrow.level == Level::Manage {
            return Err(VaultError::BundleOfManager);
        }

        let others = tokens.list.iter().filter(|(_, token)| token.escrow.name != *name);
        let others = Some(others.map(|(id, _)| *id).collect());
        Ok(BundleScope { token_id: id, pid: escrow.pid, only: escrow.only.clone(), others })
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
        let mut change = TokenChange::of(self, Writing::new(self, transaction, state))?;
        let is_present = |id: &TokenId, row: &GrantRow| {
            present.iter().any(|now| now.token_id == *id && now.generation == row.generation)
        };

        let (mut doomed, mut names) = (BTreeMap::new(), Vec::new());
        for (id, token) in &change.tokens.list {
            if !is_present(id, &token.row) {
                doomed.entry(token.escrow.pid).or_insert_with(Vec::new).push(*id);
                names.push(token.escrow.name.clone());
            }
        }

        let all: Vec<TokenId> = doomed.values().flatten().copied().collect();
        let what = ChangeOfTokens::removing(Action::RevokeTokens, &all, &all).renewing(true);
        change.tokens.list.retain(|id, _| !all.contains(id));
        let mut changed = Vec::with_capacity(doomed.len());
        for pid in doomed.keys() {
            let project = change.writing.state.with_id(&*change.writing.transaction, pid)?;
            changed.push(change.settle_project(what, project, &|_| {})?.1);
        }

        if !changed.is_empty() {
            change.sign_directory(&what, &changed)?;
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
    ) -> Result<(TokenInfo, Option<Revoked>), VaultError> {
        let mut change = TokenChange::begin(self, |_| ())?;
        let (id, project) = change.require(name)?;
        let project_name = project.entry.name.clone();
        let before = change.info(&id)?;
        let added = change.records(&project_name, changes.add)?;
        let removed = change.records(&project_name, changes.remove)?;

        // Taking secrets away from a token for the whole project leaves those that exist now.
        let is_whole = change.tokens.list[&id].escrow.only.is_none();
        if is_whole && !added.is_empty() {
            return Err(VaultError::HasWholeProject(name.clone()));
        }

        let rest = if is_whole && !removed.is_empty() {
            change.all_records(&project)?
        } else {
            Vec::new()
        };

        // The old string of a rotated token has the same rights.
        let ids = change.tokens.all_named(name);
        let (mut had, mut has) = (Vec::new(), Vec::new());
        let mut narrows = false;
        for id in &ids {
            let token = change.tokens.list.get_mut(id).ok_or(DAMAGED)?;
            let escrow = &mut token.escrow;
            had.push(UseRights::of(escrow));
            if let Some(level) = changes.level {
                narrows |= level < escrow.level;
                escrow.level = level;
            }

            if !added.is_empty() || !removed.is_empty() {
                narrows |= escrow.only.is_none();
                let only = escrow.only.get_or_insert_with(|| rest.clone());
                narrows |= removed.iter().any(|rid| only.contains(rid));
                only.retain(|rid| !removed.contains(rid));
                only.extend(&added);
                only.sort_unstable();
                only.dedup();
            }

            if let Some(allowed) = changes.is_restricted_allowed {
                narrows |= escrow.is_restricted_allowed && !allowed;
                escrow.is_restricted_allowed = allowed;
            }

            escrow.is_strict = changes.is_strict.unwrap_or(escrow.is_strict);
            if escrow.replaced_by.is_none() {
                escrow.expires = changes.expires.unwrap_or(escrow.expires);
            }

            if escrow.only.is_some() && escrow.level == Level::Manage {
                return Err(VaultError::ManageOfSome);
            }

            has.push(UseRights::of(escrow));
            token.is_due = true;
        }

        let lost = LostRights::between(had, has);
        let what = ChangeOfTokens::new(Action::UpdateToken, &ids)
            .renewing(narrows && !keeps_keys)
            .taking(narrows.then_some(&lost));
        let settled = change.settle(what, project, on_progress)?;
        let info = change.info(&id)?;
        let revoked = narrows.then(|| settled.revoked(vec![before]));
        change.writing.commit()?;
        Ok((info, revoked))
    }

    /// Replaces a token by a new string with the same rights. The old one works until `until`. If that
    /// is `None`, neither the old one nor one that was replaced earlier works any longer, and the
    /// project gets new keys, unless `keeps_keys`. It needs the root key itself.
    pub fn rotate_token(
        &self,
        name: &TokenName,
        expires: Option<Timestamp>,
        until: Option<Timestamp>,
        keeps_keys: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<(Token, TokenInfo, Option<Revoked>), VaultError> {
        let mut change = TokenChange::begin(self, |_| ())?;
        let (id, project) = change.require(name)?;
        let token = Token::random(change.tokens.list[&id].escrow.level)?;
        let keys = token.keys(&change.vault_id);

        let old = change.tokens.list.get_mut(&id).ok_or(DAMAGED)?;
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

        let end = until.map(|until| old.escrow.expires.map_or(until, |it| it.min(until)));
        let removed = match end {
            Some(_) => {
                old.escrow.expires = end;
                old.escrow.replaced_by = Some(keys.id);
                old.is_due = true;
                None
            }
            None => Some(change.remove(change.tokens.all_named(name))?),
        };

        change.tokens.add(keys.id, escrow)?;
        let renews = until.is_none() && !keeps_keys;
        let ids = removed.as_ref().map_or(&[][..], |removed| &removed.ids);
        let about = [keys.id];
        let what = ChangeOfTokens::removing(Action::UpdateToken, &about, ids)
            .renewing(renews)
            .taking(removed.as_ref().map(|removed| &removed.rights));
        let settled = change.settle(what, project, on_progress)?;
        let info = change.info(&keys.id)?;
        let revoked = removed.map(|removed| settled.revoked(removed.tokens));
        change.writing.commit()?;
        Ok((token, info, revoked))
    }

    /// Revokes tokens of one project: they sign nothing more, and the project gets new keys unless
    /// `keeps_keys`. If the project is damaged, they still sign nothing more. It needs the root key
    /// itself.
    pub fn revoke_tokens(
        &self,
        names: &[TokenName],
        keeps_keys: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<Revoked, VaultError> {
        match self.revoke(names, keeps_keys, false, on_progress) {
            // A manager must not keep the owner from revoking him by signing damaged records.
            Err(error) if grants::is_of_project(&error) => {
                self.revoke(names, keeps_keys, true, on_progress)
            }
            outcome => outcome,
        }
    }

    /// Revokes tokens. If the project `is_damaged`, nothing of it is read.
    fn revoke(
        &self,
        names: &[TokenName],
        keeps_keys: bool,
        is_damaged: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<Revoked, VaultError> {
        let mut change = TokenChange::begin(self, |_| ())?;
        change.is_damaged = is_damaged;
        let mut ids = Vec::new();
        let mut of: Option<OpenedProject> = None;
        for name in names {
            // A rotated token that still works has the name of its successor.
            let found = change.tokens.all_named(name);
            let Some(first) = found.first() else {
                return Err(VaultError::NoToken(name.clone()));
            };

            let pid = change.tokens.list[first].escrow.pid;
            if of.as_ref().is_some_and(|project| project.entry.pid != pid) {
                return Err(VaultError::TokensOfProjects);
            }

            if of.is_none() {
                of = Some(change.writing.state.with_id(&*change.writing.transaction, &pid)?);
            }

            ids.extend(found);
        }

        let project = of.ok_or(VaultError::Internal("no token was named"))?;
        let RemovedTokens { ids, tokens, rights } = change.remove(ids)?;
        let what = ChangeOfTokens::removing(Action::RevokeTokens, &ids, &ids)
            .renewing(!keeps_keys)
            .taking(Some(&rights));
        let settled = change.settle(what, project, on_progress)?;
        change.writing.commit()?;
        Ok(settled.revoked(tokens))
    }

    /// Gives a project new keys. The old keys open nothing that is stored from now on. Its tokens get
    /// new grants. Calls `on_progress` with the number of secrets re-encrypted so far.
    pub fn rekey_project(
        &self,
        name: &ProjectName,
        on_progress: &dyn Fn(u64),
    ) -> Result<RekeyOutcome, VaultError> {
        let mut change = TokenChange::begin(self, |ahead| ahead.project(name, Extent::Everything))?;
        let project = change.writing.state.require(&*change.writing.transaction, name)?;

        // A damaged project is not re-encrypted.
        change.writing.state.open(&*change.writing.transaction, project.clone())?;
        let what = ChangeOfTokens::new(Action::Rekey, &[]).renewing(true);
        let settled = change.settle(what, project, on_progress)?;
        let rekeyed = RekeyOutcome {
            projects: 1,
            secrets: settled.renewed.unwrap_or_default(),
            recovery: None,
            keychains: 0,
            output_keys: settled.output_keys,
            tokens: Vec::new(),
        };
        change.writing.commit()?;
        Ok(rekeyed)
    }
}

/// Returns true if a vault in this state has tokens.
pub(super) fn has_tokens(state: &State) -> bool {
    state.grant.is_some() || state.directory.policy != tokens_hash(&[])
}
