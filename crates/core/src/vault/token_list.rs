//! The list of a vault's tokens, which the directory's head proves, as their escrows describe them
//! (docs/format.md, section 8).

use std::collections::BTreeMap;

use super::state::State;
use super::{GRANTS, VaultError};
use crate::crypto::CryptoError;
use crate::crypto::aead::Key;
use crate::crypto::grant::{Escrow, MAX_TOKENS};
use crate::crypto::ids::{ProjectId, RecordId, TokenId};
use crate::crypto::policy::{MAX_WRITERS, Writer};
use crate::crypto::root_key::RootKey;
use crate::crypto::rows::{GrantRow, tokens_hash};
use crate::model::{Class, Level, Timestamp, TokenName};
use crate::store::Snapshot;

/// The error for a list that is not the owner's.
pub(super) const DAMAGED: VaultError = VaultError::Crypto(CryptoError::Damaged(GRANTS));

/// A token with its escrow.
pub(super) struct OpenToken {
    pub(super) row: GrantRow,
    pub(super) escrow: Escrow,
    /// True if it needs a new grant
    pub(super) is_due: bool,
}

/// A token's rights to use values.
pub(super) struct UseRights {
    level: Level,
    is_restricted_allowed: bool,
    only: Option<Vec<RecordId>>,
}

impl UseRights {
    pub(super) fn of(escrow: &Escrow) -> Self {
        let Escrow { level, is_restricted_allowed, ref only, .. } = *escrow;
        Self { level, is_restricted_allowed, only: only.clone() }
    }

    /// Returns true if the token may use the value of a secret.
    fn include(&self, rid: RecordId, class: Class) -> bool {
        self.level >= Level::Use
            && (class == Class::Team || self.is_restricted_allowed)
            && self.only.as_ref().is_none_or(|only| only.contains(&rid))
    }
}

/// Rights that are taken from tokens.
pub(super) struct LostRights {
    had: Vec<UseRights>,
    /// The rights that are left of them
    has: Vec<UseRights>,
}

impl LostRights {
    /// Returns all rights of tokens.
    pub(super) fn of(tokens: &Tokens, ids: &[TokenId]) -> Self {
        let had = ids.iter().filter_map(|id| tokens.list.get(id));
        Self { had: had.map(|token| UseRights::of(&token.escrow)).collect(), has: Vec::new() }
    }

    /// Returns those that tokens had and no longer have.
    pub(super) fn between(had: Vec<UseRights>, has: Vec<UseRights>) -> Self {
        Self { had, has }
    }

    /// Returns true if the value of a secret could be used, and no longer can.
    pub(super) fn include(&self, rid: RecordId, class: Class) -> bool {
        self.had.iter().any(|had| had.include(rid, class))
            && !self.has.iter().any(|has| has.include(rid, class))
    }
}

/// The tokens of a vault whose escrow opens.
#[derive(Default)]
pub(super) struct Tokens {
    pub(super) list: BTreeMap<TokenId, OpenToken>,
    /// The names of all tokens, also of those that a change removes
    names: BTreeMap<TokenId, TokenName>,
}

impl Tokens {
    /// Reads all tokens. The directory's head proves that they are those of the owner.
    pub(super) fn read(rows: &dyn Snapshot, state: &State, key: &Key) -> Result<Self, VaultError> {
        match Self::read_damaged(rows, state, key)? {
            (tokens, true) => Ok(tokens),
            (_, false) => Err(DAMAGED),
        }
    }

    /// Reads all tokens whose escrow opens. Returns false as well if the directory's head does not prove
    /// that they are those of the owner: then a token that was revoked may be among them.
    pub(super) fn read_damaged(
        rows: &dyn Snapshot,
        state: &State,
        key: &Key,
    ) -> Result<(Self, bool), VaultError> {
        let grants = rows.grants()?;
        let is_proven = tokens_hash(&grants) == state.directory.policy;
        let open = |row: GrantRow| {
            let escrow = Escrow::open(key, state.vault_id(), &row).ok()?;
            Some((row.token_id, OpenToken { row, escrow, is_due: false }))
        };
        let list: BTreeMap<TokenId, OpenToken> = grants.into_iter().filter_map(open).collect();
        let names = list.iter().map(|(id, token)| (*id, token.escrow.name.clone())).collect();
        Ok((Self { list, names }, is_proven))
    }

    /// Returns the token of this name that was not rotated.
    pub(super) fn named(&self, name: &TokenName) -> Option<TokenId> {
        let is_named =
            |token: &OpenToken| token.escrow.name == *name && token.escrow.replaced_by.is_none();
        self.list.iter().find(|(_, token)| is_named(token)).map(|(id, _)| *id)
    }

    /// Returns the name of a token, or an empty one if it is not known.
    pub(super) fn name(&self, id: &TokenId) -> String {
        self.names.get(id).map(|name| name.as_str().to_owned()).unwrap_or_default()
    }

    /// Returns all tokens of this name.
    pub(super) fn all_named(&self, name: &TokenName) -> Vec<TokenId> {
        let named = self.list.iter().filter(|(_, token)| token.escrow.name == *name);
        named.map(|(id, _)| *id).collect()
    }

    pub(super) fn add(&mut self, id: TokenId, escrow: Escrow) -> Result<(), VaultError> {
        if self.list.len() >= MAX_TOKENS {
            return Err(VaultError::TooManyTokens);
        }

        if escrow.only.is_some() && escrow.level == Level::Manage {
            return Err(VaultError::ManageOfSome);
        }

        let row = GrantRow { token_id: id, generation: 0, grant: Vec::new(), escrow: Vec::new() };
        self.names.insert(id, escrow.name.clone());
        self.list.insert(id, OpenToken { row, escrow, is_due: true });
        Ok(())
    }

    pub(super) fn of(&self, pid: &ProjectId) -> impl Iterator<Item = (&TokenId, &OpenToken)> {
        self.list.iter().filter(move |(_, token)| token.escrow.pid == *pid)
    }

    /// Adds a token of a copy of the vault. `changes` is the number of changes of the directory, which
    /// no generation of a grant exceeds. A machine that remembers the token accepts later ones only.
    pub(super) fn bring_back(
        &mut self,
        id: TokenId,
        token: OpenToken,
        changes: u64,
    ) -> Result<(), VaultError> {
        let OpenToken { row, escrow, .. } = token;
        self.add(id, escrow)?;
        if let Some(added) = self.list.get_mut(&id) {
            added.row = GrantRow { generation: row.generation.max(changes), ..row };
        }

        Ok(())
    }

    /// Returns the tokens that may sign for a project, in the order of their ids.
    pub(super) fn writers(
        &self,
        pid: &ProjectId,
        now: Timestamp,
    ) -> Result<Vec<Writer>, VaultError> {
        let may_sign = |OpenToken { escrow, .. }: &OpenToken| {
            escrow.level == Level::Manage && !escrow.has_expired(now)
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

/// Returns the names of all tokens, sorted. A token whose escrow is damaged has none. They are for a
/// message before all of them are removed, so damage to the table does not matter.
pub(super) fn names(
    rows: &dyn Snapshot,
    state: &State,
    root: &RootKey,
) -> Result<Vec<TokenName>, VaultError> {
    let (tokens, _) = Tokens::read_damaged(rows, state, &root.escrow_key())?;
    let mut names: Vec<TokenName> = tokens.names.into_values().collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signing::PublicKey;
    use crate::model::SecretBytes;

    #[test]
    fn a_vault_has_at_most_1024_tokens() {
        let mut tokens = Tokens::default();
        let mut add = |number: u128| {
            let escrow = Escrow {
                kek: Key::copy_of(&[1; 32]),
                writer: PublicKey::new([2; 32]),
                name: TokenName::parse("ci").unwrap(),
                level: Level::Read,
                expires: None,
                is_strict: false,
                pid: [3; 16],
                is_restricted_allowed: false,
                only: None,
                created: Timestamp(0),
                replaced_by: None,
                later: SecretBytes::with_capacity(0),
            };
            tokens.add(number.to_be_bytes(), escrow)
        };

        assert!((0..1024).all(|number| add(number).is_ok()));
        assert!(matches!(add(1024), Err(VaultError::TooManyTokens)));
    }
}
