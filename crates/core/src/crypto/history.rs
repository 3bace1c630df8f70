//! Finds out which of two revisions came first, and whether they diverged (docs/format.md, section
//! 5).
//!
//! Every revision names the last 32 before it. This file compares hashes that are already verified,
//! and stores nothing.

use super::ids::Hash;

/// The number of earlier revisions that a revision names.
pub const NAMED: usize = 32;
/// The number of bytes kept of each hash.
const SHORT: usize = 16;

/// The revisions before one, nearest first, each as the first 16 bytes of its hash. Unused entries
/// are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestors(Box<[[u8; SHORT]; NAMED]>);

impl Ancestors {
    /// The length of [`Ancestors::encode`] in bytes.
    pub const SIZE: usize = NAMED * SHORT;

    /// Returns the ancestors of a first revision.
    pub fn none() -> Self {
        Self(Box::new([[0; SHORT]; NAMED]))
    }

    /// Returns the ancestors of the next revision: these, with `hash` as the nearest.
    #[must_use]
    pub fn then(&self, hash: &Hash) -> Self {
        let mut next = Self::none();
        next.0[0] = short(hash);
        next.0[1..].copy_from_slice(&self.0[..NAMED - 1]);
        next
    }

    /// Returns all entries, one after the other.
    pub fn encode(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// Decodes the bytes of [`Ancestors::encode`]. Any other length gives `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut found = Self::none();
        let entries = found.0.as_flattened_mut();
        if bytes.len() != entries.len() {
            return None;
        }

        entries.copy_from_slice(bytes);
        Some(found)
    }

    /// Returns the revision `distance` steps before. Returns `None` if that is too long ago, or if
    /// it was written in format 1, which names no ancestors.
    fn at(&self, distance: u64) -> Option<&[u8; SHORT]> {
        self.0
            .get(usize::try_from(distance).ok()?.checked_sub(1)?)
            .filter(|named| **named != [0; SHORT])
    }
}

fn short(hash: &Hash) -> [u8; SHORT] {
    let mut short = [0; SHORT];
    short.copy_from_slice(&hash[..SHORT]);
    short
}

/// A revision of a vault or a project: its number, its hash and its ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The number of this revision, from 1
    pub seq: u64,
    /// The hash that identifies it
    pub hash: Hash,
    /// The revisions before it
    pub ancestors: Ancestors,
}

/// The relation of a revision to one that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Both are the same revision
    Equal,
    /// It is a later revision; more than 32 revisions later, this is not verified
    Ahead,
    /// It is this many revisions earlier; more than 32 revisions earlier, it may also have diverged
    Behind(u64),
    /// The two have a common ancestor, and neither follows the other
    Diverged,
}

impl Revision {
    /// Compares this revision with one that was `seen` before.
    pub fn compare(&self, seen: &Self) -> Relation {
        let names = |later: &Self, earlier: &Self| {
            later
                .ancestors
                .at(later.seq - earlier.seq)
                .is_none_or(|named| *named == short(&earlier.hash))
        };

        if self.seq == seen.seq {
            return if self.hash == seen.hash { Relation::Equal } else { Relation::Diverged };
        }

        if self.seq > seen.seq {
            return if names(self, seen) { Relation::Ahead } else { Relation::Diverged };
        }

        if names(seen, self) { Relation::Behind(seen.seq - self.seq) } else { Relation::Diverged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns revision `seq` of a branch that left the main line after revision `left`.
    fn revision(seq: u64, left: u64) -> Revision {
        let hash = |at: u64| {
            let mut hash = [u8::from(at > left); 32];
            hash[..8].copy_from_slice(&at.to_be_bytes());
            hash
        };

        let mut ancestors = Ancestors::none();
        (1..seq).for_each(|at| ancestors = ancestors.then(&hash(at)));
        Revision { seq, hash: hash(seq), ancestors }
    }

    #[test]
    fn revisions_of_one_branch_are_ordered() {
        for (now, seen) in [(1, 1), (2, 1), (33, 1), (34, 1), (90, 57), (90, 58), (500, 3)] {
            let (now, seen) = (revision(now, 1000), revision(seen, 1000));
            let by = now.seq - seen.seq;
            assert_eq!(now.compare(&seen), if by == 0 { Relation::Equal } else { Relation::Ahead });
            assert_eq!(
                seen.compare(&now),
                if by == 0 { Relation::Equal } else { Relation::Behind(by) }
            );
        }
    }

    #[test]
    fn diverged_branches_are_detected() {
        for left in 1..50 {
            for by in 0..=32 {
                let (now, seen) = (revision(left + 1 + by, left), revision(left + 1, 1000));
                assert_eq!(now.compare(&seen), Relation::Diverged, "{left} {by}");
                assert_eq!(seen.compare(&now), Relation::Diverged, "{left} {by}");
            }
        }

        // These are further apart than a revision names ancestors.
        assert_eq!(revision(50, 10).compare(&revision(11, 1000)), Relation::Ahead);
        assert_eq!(revision(11, 10).compare(&revision(50, 1000)), Relation::Behind(39));
    }

    #[test]
    fn relations_beyond_named_ancestors_are_not_verified() {
        let silent = |seq| Revision { ancestors: Ancestors::none(), ..revision(seq, 1000) };
        assert_eq!(silent(9).compare(&revision(7, 1000)), Relation::Ahead);
        assert_eq!(revision(7, 1000).compare(&silent(9)), Relation::Behind(2));

        // This is the first revision that names ancestors, after some that name none.
        let next =
            Revision { ancestors: Ancestors::none().then(&silent(9).hash), ..revision(10, 1000) };
        assert_eq!([8, 9].map(|seq| next.compare(&silent(seq))), [Relation::Ahead; 2]);
        assert_eq!(next.compare(&revision(9, 5)), Relation::Diverged);
    }

    #[test]
    fn ancestors_are_encoded_as_their_hashes() {
        let ancestors = revision(4, 1000).ancestors;
        assert_eq!(Ancestors::decode(ancestors.encode()), Some(ancestors.clone()));
        assert_eq!(ancestors.encode()[..8], 3_u64.to_be_bytes());
        assert_eq!(ancestors.encode().len(), Ancestors::SIZE);
        assert_eq!(Ancestors::decode(&[0; Ancestors::SIZE - 1]), None);
    }
}
