//! Finds placeholders in bytes: those of all secrets in one pass.

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

/// A placeholder that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The number of its secret
    pub secret: usize,
    /// The offset of its first byte
    pub start: usize,
    /// The offset after its last byte
    pub end: usize,
}

/// The placeholders of all secrets of a session.
pub struct Placeholders(AhoCorasick);

impl Placeholders {
    /// Prepares the placeholders for searching. Their positions are the numbers of their secrets.
    ///
    /// # Errors
    /// Fails if there are more placeholders than the automaton has room for.
    pub fn new<'p>(placeholders: impl IntoIterator<Item = &'p str>) -> Result<Self, BuildError> {
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest).build(placeholders).map(Self)
    }

    /// Returns all placeholders in `bytes`, in their order.
    pub fn find(&self, bytes: &[u8]) -> Vec<Found> {
        self.0
            .find_iter(bytes)
            .map(|one| Found {
                secret: one.pattern().as_usize(),
                start: one.start(),
                end: one.end(),
            })
            .collect()
    }

    /// Returns true if there is a placeholder in `bytes`.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}
