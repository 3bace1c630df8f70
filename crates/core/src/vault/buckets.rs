//! The buckets of a project or of the directory: reads them with verification, and changes them.
//!
//! A bucket is verified before its first change. Otherwise our signature would legitimise a change
//! that an attacker made.

use std::collections::BTreeMap;

use super::VaultError;
use crate::crypto::ids::{Hash, ProjectId};
use crate::crypto::tree::{self, BUCKETS, EMPTY_BUCKET, Leaf};
use crate::store::{Change, Snapshot, StoreError, Transaction};

/// The hashes of all buckets.
pub(super) type BucketHashes = Box<[Hash; BUCKETS]>;

/// Reads the hashes of a project's buckets. Returns `None` if they do not give this root hash.
pub(super) fn read(
    snapshot: &dyn Snapshot,
    pid: &ProjectId,
    root_hash: &Hash,
) -> Result<Option<BucketHashes>, StoreError> {
    let mut buckets = empty();
    let mut has_empty_row = false;
    for (number, hash) in snapshot.buckets(pid)? {
        has_empty_row |= hash == EMPTY_BUCKET;
        buckets[usize::from(number)] = hash;
    }

    let is_valid = !has_empty_row && tree::root_hash(pid, &buckets) == *root_hash;
    Ok(is_valid.then_some(buckets))
}

/// Returns the hashes of a project without records.
pub(super) fn empty() -> BucketHashes {
    Box::new([EMPTY_BUCKET; BUCKETS])
}

/// Returns the leaf of a record among the sorted leaves of its bucket.
pub(super) fn leaf_at<'l>(leaves: &'l [Leaf], tag_ix: &[u8; 16]) -> Option<&'l Leaf> {
    leaves.binary_search_by(|leaf| leaf.tag_ix.cmp(tag_ix)).ok().map(|at| &leaves[at])
}

/// The buckets that an edit has read and may have changed.
pub(super) struct BucketEdit {
    pid: ProjectId,
    hashes: BucketHashes,
    leaves: BTreeMap<u8, Vec<Leaf>>,
}

impl BucketEdit {
    pub(super) fn new(pid: ProjectId, hashes: BucketHashes) -> Self {
        Self { pid, hashes, leaves: BTreeMap::new() }
    }

    /// Returns the leaves of a bucket with all changes so far. Returns `None` if the stored ones are
    /// not those that were signed.
    pub(super) fn leaves(
        &mut self,
        snapshot: &dyn Snapshot,
        bucket: u8,
    ) -> Result<Option<&mut Vec<Leaf>>, StoreError> {
        if !self.leaves.contains_key(&bucket) {
            let stored = snapshot.leaves(&self.pid, bucket)?;
            if tree::bucket(&self.pid, bucket, &stored) != self.hashes[usize::from(bucket)] {
                return Ok(None);
            }

            self.leaves.insert(bucket, stored);
        }

        Ok(self.leaves.get_mut(&bucket))
    }

    /// Writes the hashes of the buckets that were read, and returns the root hash.
    pub(super) fn write(mut self, transaction: &mut dyn Transaction) -> Result<Hash, VaultError> {
        for (number, leaves) in &self.leaves {
            self.hashes[usize::from(*number)] =
                write_bucket(transaction, &self.pid, *number, leaves)?;
        }

        Ok(tree::root_hash(&self.pid, &self.hashes))
    }
}

/// Adds a leaf, or replaces the one at the same index.
pub(super) fn put(leaves: &mut Vec<Leaf>, leaf: Leaf) {
    match leaves.binary_search_by(|other| other.tag_ix.cmp(&leaf.tag_ix)) {
        Ok(at) => leaves[at] = leaf,
        Err(at) => leaves.insert(at, leaf),
    }
}

/// Removes the leaf at an index.
pub(super) fn remove(leaves: &mut Vec<Leaf>, tag_ix: &[u8; 16]) {
    if let Ok(at) = leaves.binary_search_by(|leaf| leaf.tag_ix.cmp(tag_ix)) {
        leaves.remove(at);
    }
}

/// Writes the hash of a bucket and returns it.
pub(super) fn write_bucket(
    transaction: &mut dyn Transaction,
    pid: &ProjectId,
    number: u8,
    leaves: &[Leaf],
) -> Result<Hash, VaultError> {
    let hash = tree::bucket(pid, number, leaves);
    transaction.apply(Change::Bucket(pid, number, (hash != EMPTY_BUCKET).then_some(&hash)))?;
    Ok(hash)
}
