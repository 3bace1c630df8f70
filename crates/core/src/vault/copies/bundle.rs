//! Bundles: a read-only vault file for one token, with its project or its secrets and nothing else
//! (docs/format.md, section 8).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::crypto::CryptoError;
use crate::crypto::ids::{DIRECTORY, ProjectId, RecordId, TokenId, VaultId};
use crate::crypto::rows::{GrantRow, Record, VaultRow};
use crate::crypto::tree::{EMPTY_BUCKET, Leaf};
use crate::store::{Change, IfExists, Snapshot, SqliteStore, Store, StoreError, Transaction};
use crate::vault::token_access::Needed;
use crate::vault::{Locked, Vault, VaultError};

/// The content of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleScope {
    /// The token
    pub token_id: TokenId,
    /// Its project
    pub pid: ProjectId,
    /// Its secrets; `None` for all of the project's
    pub only: Option<Vec<RecordId>>,
    /// The tokens of other names, whose bundles are not replaced; `None` if they are not known
    pub others: Option<Vec<TokenId>>,
}

impl Locked {
    /// Returns the token of the bundle at this path, or `None` if the file is a whole vault.
    fn token_of_bundle(&self) -> Result<Option<TokenId>, VaultError> {
        let rows = self.store.read()?;
        let is_bundle = rows.project(&DIRECTORY)?.is_none();
        Ok(rows.grants()?.first().filter(|_| is_bundle).map(|grant| grant.token_id))
    }
}

impl BundleScope {
    /// Returns true for a bundle of this token. If the other tokens are known, it may be one of an
    /// earlier string.
    fn may_replace(&self, existing: &Locked, vault_id: &VaultId) -> Result<bool, VaultError> {
        let Some(of) = existing.token_of_bundle()? else { return Ok(false) };
        let is_earlier = self.others.as_ref().is_some_and(|others| !others.contains(&of));
        Ok(of == self.token_id || is_earlier && existing.vault_id()? == *vault_id)
    }
}

impl Vault {
    /// Writes a bundle to `path`. With `replace`, it replaces an existing bundle of the same token.
    /// Returns the number of secrets in it.
    pub fn write_bundle(
        &self,
        scope: &BundleScope,
        path: &Path,
        replace: bool,
    ) -> Result<u64, VaultError> {
        let snapshot = self.store.read()?;
        self.state(&*snapshot)?;
        let grant = snapshot.grant(&scope.token_id)?.ok_or(VaultError::NoGrant)?;
        if replace {
            match Locked::open(path) {
                Ok(existing) if scope.may_replace(&existing, &snapshot.vault()?.vault_id)? => {}
                Ok(_) => return Err(VaultError::NoBundle(path.to_owned())),
                Err(VaultError::Store(StoreError::Missing(_))) => {}
                Err(VaultError::Store(StoreError::NotAVault(_))) => {
                    return Err(VaultError::NoBundle(path.to_owned()));
                }
                Err(error) => return Err(error),
            }
        }

        let if_exists = if replace { IfExists::Replaced } else { IfExists::Refused };
        let new = SqliteStore::begin(path, if_exists)?;
        let count = {
            let store = new.open()?;
            let mut transaction = store.write()?;
            let count = copy(&*snapshot, &mut *transaction, scope, grant)?;
            transaction.commit().map_err(StoreError::from)?;
            count
        };

        new.persist()?;
        Ok(count)
    }

    /// Returns what a bundle for the token that opened this vault carries.
    pub fn own_bundle_scope(&self) -> Result<Option<BundleScope>, VaultError> {
        let snapshot = self.store.read()?;
        let state = self.state(&*snapshot)?;
        Ok(state.grant.map(|grant| BundleScope {
            token_id: grant.token_id,
            pid: grant.project.entry.pid,
            only: grant.record_ids(),
            others: None,
        }))
    }
}

/// Copies what a bundle carries. Of other secrets in the same buckets it gets index, id and leaf only,
/// without which the buckets could not be verified.
fn copy(
    from: &dyn Snapshot,
    to: &mut dyn Transaction,
    scope: &BundleScope,
    grant: GrantRow,
) -> Result<u64, VaultError> {
    let pid = &scope.pid;
    let damaged = |what| VaultError::Crypto(CryptoError::Damaged(what));
    let project = from.project(pid)?.ok_or_else(|| damaged("the table of projects"))?;

    to.apply(Change::Vault(&VaultRow { past: Vec::new(), ..from.vault()? }))?;
    to.apply(Change::Grant(&GrantRow { escrow: Vec::new(), ..grant }))?;
    to.apply(Change::Project(&project))?;
    if let Some(policy) = from.policy(pid)? {
        to.apply(Change::Policy(pid, &policy))?;
    }

    for (number, hash) in from.buckets(pid)? {
        let hash = Some(&hash).filter(|hash| **hash != EMPTY_BUCKET);
        to.apply(Change::Bucket(pid, number, hash))?;
    }

    let mut carried: BTreeMap<u8, BTreeSet<RecordId>> = BTreeMap::new();
    let mut is_every_bucket = scope.only.is_none();
    for rid in scope.only.iter().flatten() {
        match from.locate(rid)?.filter(|(of, _)| of == pid) {
            Some((_, tag_ix)) => {
                carried.entry(tag_ix[0]).or_default().insert(*rid);
            }
            // All buckets together prove that a secret was deleted.
            None => is_every_bucket = true,
        }
    }

    if is_every_bucket {
        for number in 0..=u8::MAX {
            carried.entry(number).or_default();
        }
    }

    let mut count = 0;
    for (number, rids) in carried {
        for leaf in from.leaves(pid, number)? {
            let is_carried = scope.only.is_none() || rids.contains(&leaf.rid);
            if !is_carried {
                to.apply(Change::Record(pid, &stub(leaf)))?;
                continue;
            }

            let record = from.record(pid, &leaf.tag_ix)?;
            let record = record.ok_or_else(|| damaged("the table of records"))?;
            let value = from.value(&record.rid)?.ok_or_else(|| damaged("the table of values"))?;
            to.apply(Change::Record(pid, &record))?;
            to.apply(Change::Value(&record.rid, &value))?;
            count += 1;
        }
    }

    Ok(count)
}

fn stub(leaf: Leaf) -> Record {
    let Leaf { tag_ix, rid, leaf } = leaf;
    let (meta, val_hash) = (Vec::new(), [0; 32]);
    Record { tag_ix, rid, epoch: 0, ver: 0, vver: 0, meta, val_hash, leaf }
}

/// Fails for a bundle, which is only read.
pub(in crate::vault) fn refuse_bundle(rows: &dyn Snapshot) -> Result<(), VaultError> {
    match rows.project(&DIRECTORY)? {
        Some(_) => Ok(()),
        None => Err(VaultError::Forbidden(Needed::Vault)),
    }
}
