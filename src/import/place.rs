//! Lines and columns of a text. Never holds the text.

use memchr::memchr_iter;

use super::{ImportError, Why};

/// Where the lines of a text end, so that many places in it are found in linear time together.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &[u8]) -> Self {
        Self(memchr_iter(b'\n', text).collect())
    }

    /// Line and column of a byte, counted from 1.
    pub(super) fn place(&self, at: usize) -> (u64, u64) {
        let before = self.0.partition_point(|newline| *newline < at);
        let start = before
            .checked_sub(1)
            .and_then(|last| self.0.get(last))
            .map_or(0, |newline| newline + 1);

        (before as u64 + 1, (at - start) as u64 + 1)
    }
}

/// The text, or where it is none.
pub(super) fn utf8(text: &[u8]) -> Result<&str, ImportError> {
    std::str::from_utf8(text)
        .map_err(|error| ImportError::at(Lines::of(text).place(error.valid_up_to()), Why::Utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one() {
        let lines = Lines::of(b"a\n\nbc");
        let places: Vec<_> = (0..=5).map(|at| lines.place(at)).collect();
        assert_eq!(places, [(1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (3, 3)]);
    }
}
