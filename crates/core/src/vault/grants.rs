//! Builds grants from escrows and the present state of a project, and describes tokens.

use super::VaultError;
use super::project::Project;
use super::token_list::OpenToken;
use super::tokens::TokenInfo;
use crate::crypto::CryptoError;
use crate::crypto::aead::Key;
use crate::crypto::grant::{Escrow, Floor, Grant, GrantedKeys, GrantedProject, SetKeys, SetRecord};
use crate::crypto::history::Relation;
use crate::crypto::ids::TokenId;
use crate::crypto::keyring::Keyring;
use crate::crypto::signing::PublicKey;
use crate::model::{Class, Level, ProjectName, SecretBytes, Tag, Timestamp};
use crate::store::Snapshot;

/// Returns what an escrow says of a token, without its secrets.
pub(super) fn of_escrow(id: &TokenId, escrow: &Escrow, project: ProjectName) -> TokenInfo {
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

/// Returns what an escrow says of a token whose project is damaged.
pub(super) fn of_damaged(id: &TokenId, escrow: &Escrow, project: ProjectName) -> TokenInfo {
    let secrets = escrow.only.as_ref().map(|_| Vec::new());
    TokenInfo { secrets, ..of_escrow(id, escrow, project) }
}

/// Returns true for an error that anybody can cause who signs for a project.
pub(super) fn is_of_project(error: &VaultError) -> bool {
    match error {
        VaultError::Crypto(CryptoError::Newer(_) | CryptoError::Unsupported(_)) => true,
        VaultError::Diverged(divergence) => divergence.vault == Some(Relation::Equal),
        error => error.is_damage(),
    }
}

/// Describes a token, without its secrets if the project is damaged.
pub(super) fn info_or_escrow(
    rows: &dyn Snapshot,
    id: &TokenId,
    token: &OpenToken,
    project: &Project,
) -> Result<TokenInfo, VaultError> {
    match info(rows, id, token, project) {
        Err(error) if is_of_project(&error) => {
            Ok(of_damaged(id, &token.escrow, project.name().clone()))
        }
        found => found,
    }
}

/// Describes a token and its secrets.
pub(super) fn info(
    rows: &dyn Snapshot,
    id: &TokenId,
    token: &OpenToken,
    project: &Project,
) -> Result<TokenInfo, VaultError> {
    let info = of_escrow(id, &token.escrow, project.name().clone());
    let Some(only) = &token.escrow.only else { return Ok(info) };
    let mut tags = Vec::with_capacity(only.len());
    project.each_of(rows, only.iter().copied(), |found| tags.push(found.metadata.tag))?;
    tags.sort_by_cached_key(Tag::key);
    Ok(TokenInfo { secrets: Some(tags), ..info })
}

/// Builds a grant from an escrow and the present state of its project. One that has expired has no keys.
pub(super) fn grant(
    rows: &dyn Snapshot,
    project: &Project,
    escrow: &Escrow,
    owner: PublicKey,
) -> Result<Grant, VaultError> {
    let (ring, entry) = (project.ring()?, &project.opened.entry);
    let (pid, epoch) = (entry.pid, entry.epoch);
    let keys = match &escrow.only {
        // With a clock that is set back, a token that has expired still opens nothing new.
        _ if escrow.has_expired(Timestamp::now()) => {
            let (head, policy) = (Key::random()?, Key::random()?);
            GrantedKeys::Set(SetKeys { head, policy, records: Vec::new() })
        }
        None => GrantedKeys::Project(limited(ring, escrow)),
        Some(only) => {
            let mut records = Vec::with_capacity(only.len());
            // A secret that was deleted is in no grant.
            project.each_of(rows, only.iter().copied(), |found| {
                let rid = found.record.rid;
                let (class, generation) = (found.metadata.class, found.metadata.generation);
                let may_use = escrow.level >= Level::Use
                    && (class == Class::Team || escrow.is_restricted_allowed);
                let value = ring.value_key(&pid, &rid, class, generation).filter(|_| may_use);
                records.push(SetRecord {
                    rid,
                    tag: found.metadata.tag,
                    class,
                    generation,
                    metadata: ring.metadata_key(&pid, &rid),
                    value,
                });
            })?;

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
        is_replaced: escrow.replaced_by.is_some(),
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
