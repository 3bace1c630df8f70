//! Finds tokens of this program by their form and their checksum, so no vault is needed.
//!
//! A token need not be a word of its own. In escaped text, the `n` of `\n` may stand right before
//! it. By chance, one in four billion words with its form has its checksum.

use memchr::memmem;
use secrets_core::crypto::token::Token;
use secrets_core::model::{Level, SecretBytes};

use super::{Finding, Found, Lines, Location};

/// The number of bytes of a token that has not ended.
const UNFINISHED: usize = Token::LENGTH - 1;

/// Returns the start and the level of every token in some bytes.
pub(super) fn tokens_in(bytes: &[u8]) -> impl Iterator<Item = (usize, Level)> {
    memmem::find_iter(bytes, b"sx").filter_map(|start| {
        let word = bytes.get(start..start + Token::LENGTH)?;
        if !Token::is_one(word) {
            return None;
        }

        let token = Token::parse(&SecretBytes::copy_of(word)).ok()?;
        Some((start, token.level()))
    })
}

/// Finds tokens in a stream that comes in pieces.
pub(super) struct TokenSearch {
    /// The last bytes of the stream so far, in which a token may have begun
    tail: SecretBytes,
    /// The offset of the current piece
    base: u64,
    lines: Lines,
}

impl TokenSearch {
    pub(super) fn new() -> Self {
        Self { tail: SecretBytes::with_capacity(0), base: 0, lines: Lines::default() }
    }

    /// Adds the tokens that end in the next piece.
    pub(super) fn push(&mut self, bytes: &[u8], findings: &mut Vec<Finding>) {
        let tail = self.tail.expose().len();
        let mut seam = SecretBytes::with_capacity(2 * UNFINISHED);
        seam.extend(self.tail.expose());
        seam.extend(&bytes[..bytes.len().min(UNFINISHED)]);

        let begun = self.base - tail as u64;
        let in_seam = tokens_in(seam.expose()).take_while(|(start, _)| *start < tail);
        for (start, level) in in_seam {
            self.add(begun + start as u64, level, bytes, findings);
        }

        for (start, level) in tokens_in(bytes) {
            self.add(self.base + start as u64, level, bytes, findings);
        }

        let recent = if bytes.len() < UNFINISHED { seam.expose() } else { bytes };
        let recent = &recent[recent.len().saturating_sub(UNFINISHED)..];
        self.tail = SecretBytes::copy_of(recent);
        self.base += bytes.len() as u64;
        self.lines.next(bytes, self.base - recent.len() as u64);
    }

    fn add(&mut self, start: u64, level: Level, bytes: &[u8], findings: &mut Vec<Finding>) {
        let location = Location::Line(self.lines.at(start, bytes));
        findings.push(Finding { location, found: Found::Token(level) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(level: Level) -> Vec<u8> {
        Token::random(level).unwrap().text().expose().to_vec()
    }

    fn found(stream: &[u8], piece: usize) -> Vec<(Location, Level)> {
        let (mut search, mut findings) = (TokenSearch::new(), Vec::new());
        stream.chunks(piece).for_each(|bytes| search.push(bytes, &mut findings));
        let token = |finding: Finding| match finding.found {
            Found::Token(level) => (finding.location, level),
            Found::Value { .. } => panic!("a value"),
        };

        findings.into_iter().map(token).collect()
    }

    #[test]
    fn tokens_are_found_in_pieces_of_any_size() {
        let stream = [
            &b"a\nTOKEN="[..],
            &text(Level::Read),
            &text(Level::Use),
            b"\n\n\\n",
            &text(Level::Manage),
            b"_x\nsxr_sxu_",
        ]
        .concat();

        let expected = [
            (Location::Line(2), Level::Read),
            (Location::Line(2), Level::Use),
            (Location::Line(4), Level::Manage),
        ];

        for piece in 1..=stream.len() {
            assert_eq!(found(&stream, piece), expected, "{piece}");
        }
    }

    #[test]
    fn words_like_a_token_are_not_found() {
        let token = text(Level::Use);
        for at in 0..token.len() {
            let mut wrong = token.clone();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(found(&wrong, 64), [], "{at}");
        }

        assert_eq!(found(&token[..52], 64), []);
    }
}
