//! Positions in a text.

use std::fmt;

use memchr::memchr_iter;

/// A line and a column. Both count from 1, and the column counts bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The offsets of a text's newlines. Many positions can thus be looked up without reading the text
/// again, and the text is not kept.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &[u8]) -> Self {
        Self(memchr_iter(b'\n', text).collect())
    }

    /// Returns the position of a byte offset.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let before = self.0.partition_point(|newline| *newline < offset);
        let newline = before.checked_sub(1).and_then(|last| self.0.get(last));
        let start = newline.map_or(0, |newline| newline + 1);
        Position { line: before as u64 + 1, column: (offset - start) as u64 + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one() {
        let lines = Lines::of(b"a\n\nbc");
        let positions: Vec<_> = (0..=5).map(|at| lines.position(at).to_string()).collect();
        assert_eq!(positions, ["1:1", "1:2", "2:1", "3:1", "3:2", "3:3"]);
    }
}
