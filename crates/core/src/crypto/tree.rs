//! Leaf, bucket and root hash of a project's records (docs/format.md, section 5).
//!
//! A lookup hashes one bucket of 256; the signed head covers the root hash.

use sha2::{Digest, Sha256};

use super::ids::{Hash, ProjectId, RecordId, VaultId};
use super::rows::Record;
use crate::codec::{self, prefixed};

/// The number of buckets of a project. A record's bucket is the first byte of its tag's index.
pub const BUCKETS: usize = 256;
/// The hash of a bucket without records, which has no row.
pub const EMPTY_BUCKET: Hash = [0; 32];

/// Returns the SHA-256 (FIPS 180-4) of a sealed value, as `records.val_hash` holds it.
pub fn value_hash(sealed: &[u8]) -> Hash {
    Sha256::digest(sealed).into()
}

/// Returns the leaf of a record: a hash of every column but `leaf`, bound to its vault and project.
pub fn leaf(vault_id: &VaultId, pid: &ProjectId, record: &Record) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"secrets/v3/leaf\0");
    hash.update(vault_id);
    hash.update(pid);
    hash.update(record.rid);
    hash.update(record.epoch.to_be_bytes());
    hash.update(record.ver.to_be_bytes());
    hash.update(record.vver.to_be_bytes());
    prefixed(&mut |piece| hash.update(piece), &[&record.tag_ix, &record.meta]);
    hash.update(record.val_hash);

    hash.finalize().into()
}

/// The columns of a record that its bucket's hash covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    /// The blind index of its tag
    pub tag_ix: [u8; 16],
    /// Its id
    pub rid: RecordId,
    /// Its [`leaf`]
    pub leaf: Hash,
}

/// Returns the hash of bucket `number` over its leaves in ascending order of `tag_ix`, or
/// [`EMPTY_BUCKET`] without leaves.
pub fn bucket(pid: &ProjectId, number: u8, leaves: &[Leaf]) -> Hash {
    if leaves.is_empty() {
        return EMPTY_BUCKET;
    }

    let mut hash = Sha256::new();
    hash.update(b"secrets/v3/bucket\0");
    hash.update(pid);
    hash.update([number]);
    hash.update(codec::length(leaves.len()));

    for leaf in leaves {
        hash.update(leaf.tag_ix);
        hash.update(leaf.rid);
        hash.update(leaf.leaf);
    }

    hash.finalize().into()
}

/// Returns the hash over a project's 256 buckets.
pub fn root_hash(pid: &ProjectId, buckets: &[Hash; BUCKETS]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"secrets/v3/top\0");
    hash.update(pid);
    for bucket in buckets {
        hash.update(bucket);
    }

    hash.finalize().into()
}
