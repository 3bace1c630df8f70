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

/// No honest vault gets this many revisions ahead of what a machine last saw of it.
const MAX_AHEAD: u64 = 1 << 20;

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

    /// Returns the revision `distance` steps before, or `None` if that is too long ago.
    fn at(&self, distance: u64) -> Option<&[u8; SHORT]> {
        self.0.get(usize::try_from(distance).ok()?.checked_sub(1)?)
    }

    /// Returns true if exactly those entries are zero that would name a revision before the first
    /// one. Without this rule, a writer could leave entries out so that nobody notices a fork.
    pub fn are_those_of(&self, seq: u64) -> bool {
        (1..)
            .zip(self.0.iter())
            .all(|(distance, named)| (*named == [0; SHORT]) == (distance >= seq))
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
    /// It is a later revision; more than 32 revisions later, this is not verified, and more than 2^20
    /// later it counts as diverged
    Ahead,
    /// It is this many revisions earlier; more than 32 revisions earlier, it may also have diverged
    Behind(u64),
    /// The two have a common ancestor, and neither follows the other
    Diverged,
}

impl Revision {
    /// Returns true if this revision names `seen` as an ancestor, or is the same.
    pub fn proves(&self, seen: &Self) -> bool {
        self.seq.checked_sub(seen.seq).is_some_and(|distance| distance <= NAMED as u64)
            && matches!(self.compare(seen), Relation::Equal | Relation::Ahead)
    }

    /// Compares this revision with one that was `seen` before.
    pub fn compare(&self, seen: &Self) -> Relation {
        if self.seq.abs_diff(seen.seq) > MAX_AHEAD {
            return Relation::Diverged;
        }

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
    fn a_revision_names_all_its_ancestors_and_no_other() {
        for seq in [1, 2, 31, 32, 33, 34, 1000] {
            let ancestors = revision(seq, 1000).ancestors;
            assert!(ancestors.are_those_of(seq), "{seq}");
            assert!(seq > 32 || !ancestors.are_those_of(seq + 1), "{seq}");
            assert!(seq > 33 || seq == 1 || !ancestors.are_those_of(seq - 1), "{seq}");
            assert_eq!(Ancestors::none().are_those_of(seq), seq == 1, "{seq}");
        }
    }

    #[test]
    fn a_revision_that_is_absurdly_far_ahead_is_refused() {
        let far = Revision { seq: 7 + MAX_AHEAD + 1, ..revision(40, 1000) };
        assert_eq!(far.compare(&revision(7, 1000)), Relation::Diverged);
        let near = Revision { seq: 7 + MAX_AHEAD, ..far };
        assert_eq!(near.compare(&revision(7, 1000)), Relation::Ahead);
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
