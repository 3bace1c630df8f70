//! Revokes every token, even if the list of tokens is damaged.

use std::collections::BTreeSet;

use super::grants;
use super::token_change::{ChangeOfTokens, TokenChange};
use super::token_list::{LostRights, Tokens};
use super::tokens::Revoked;
use super::{Vault, VaultError};
use crate::crypto::audit::Action;
use crate::crypto::ids::{ProjectId, TokenId};
use crate::store::Extent;

impl Vault {
    /// Revokes all tokens of the vault, and gives each project that they open new keys unless
    /// `keeps_keys`. If the list of tokens is damaged, nobody knows which projects they open, so every
    /// project is treated so. A damaged project is left as it is. It needs the root key itself.
    pub fn revoke_all_tokens(
        &self,
        keeps_keys: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<Revoked, VaultError> {
        // A manager must not keep the owner from revoking him by signing damaged records.
        let mut damaged = BTreeSet::new();
        loop {
            let mut current = None;
            match self.try_to_revoke_all(&damaged, &mut current, keeps_keys, on_progress) {
                Err(error) if grants::is_of_project(&error) => match current {
                    Some(pid) if damaged.insert(pid) => {}
                    _ => return Err(error),
                },
                outcome => return outcome,
            }
        }
    }

    /// Revokes all tokens. Of `damaged` projects, no record is read. `current` is the project that is
    /// being changed.
    fn try_to_revoke_all(
        &self,
        damaged: &BTreeSet<ProjectId>,
        current: &mut Option<ProjectId>,
        keeps_keys: bool,
        on_progress: &dyn Fn(u64),
    ) -> Result<Revoked, VaultError> {
        let writing = self.writing(|ahead| ahead.all = Some(Extent::Everything))?;
        let key = self.root_key()?.escrow_key();
        let (tokens, is_proven) =
            Tokens::read_damaged(&*writing.transaction, &writing.state, &key)?;
        let mut change = TokenChange::with(self, writing, tokens)?;
        let mut revoked = Revoked {
            tokens: Vec::new(),
            exposed: Vec::new(),
            renewed: None,
            output_keys: Vec::new(),
            is_damaged: !damaged.is_empty(),
            dropped: change.dropped.clone(),
            is_last: true,
        };

        let mut affected = Vec::new();
        for project in change.writing.state.all(&*change.writing.transaction)? {
            let pid = project.entry.pid;
            let ids: Vec<TokenId> = change.tokens.of(&pid).map(|(id, _)| *id).collect();
            if ids.is_empty() && is_proven {
                continue;
            }

            *current = Some(pid);
            change.is_damaged = damaged.contains(&pid);
            for id in &ids {
                revoked.tokens.push(change.info(id)?);
            }

            affected.push((project, LostRights::of(&change.tokens, &ids)));
        }

        let ids: Vec<TokenId> = change.tokens.list.keys().copied().collect();
        change.tokens.list.clear();
        let what = ChangeOfTokens::removing(Action::RevokeTokens, &ids, &ids).renewing(!keeps_keys);
        let mut changed = Vec::with_capacity(affected.len());
        for (project, lost) in affected {
            *current = Some(project.entry.pid);
            change.is_damaged = damaged.contains(&project.entry.pid);
            let what = what.taking(Some(&lost));
            let (settled, opened) = change.settle_project(what, project, on_progress)?;
            revoked.exposed.extend(settled.exposed);
            revoked.output_keys.extend(settled.output_keys);
            if let Some(secrets) = settled.renewed {
                revoked.renewed = Some(revoked.renewed.unwrap_or_default() + secrets);
            }

            changed.push(opened);
        }

        *current = None;
        if !changed.is_empty() || !revoked.dropped.is_empty() || !is_proven {
            change.remove_dropped()?;
            change.sign_directory(&what, &changed)?;
        }

        change.writing.commit()?;
        Ok(revoked)
    }
}
