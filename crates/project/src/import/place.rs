//! Converts byte offsets in a text into lines and columns. Never holds the text.

use memchr::memchr_iter;

use super::{ImportError, Why};

/// The offsets of a text's newlines. Many positions can thus be looked up without reading the text
/// again.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &[u8]) -> Self {
        Self(memchr_iter(b'\n', text).collect())
    }

    /// Returns the line and column of a byte offset, counted from 1.
    pub(super) fn position(&self, at: usize) -> (u64, u64) {
        let before = self.0.partition_point(|newline| *newline < at);
        let start = before
            .checked_sub(1)
            .and_then(|last| self.0.get(last))
            .map_or(0, |newline| newline + 1);

        (before as u64 + 1, (at - start) as u64 + 1)
    }
}

/// Returns the text as a string, or an error with the position of the first invalid byte.
pub(super) fn utf8(text: &[u8]) -> Result<&str, ImportError> {
    std::str::from_utf8(text)
        .map_err(|error| ImportError::at(Lines::of(text).position(error.valid_up_to()), Why::Utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one() {
        let lines = Lines::of(b"a\n\nbc");
        let places: Vec<_> = (0..=5).map(|at| lines.position(at)).collect();
        assert_eq!(places, [(1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (3, 3)]);
    }
}
