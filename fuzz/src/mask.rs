//! Masking. The way a stream is split never changes the output, offsets add up, and the shown bytes
//! contain no value.

use std::convert::Infallible;

use super::input::Input;
use terminal_secrets::mask::{Form, MaskedSpan, Masker, Needles, Sink};
use terminal_secrets::model::Tag;

/// The most values, and the most bytes of one. They are small because every input builds an
/// automaton.
const VALUES: u8 = 3;
const MAX_LENGTH: usize = 40;

/// The output: shown pieces, joined, and masked regions.
#[derive(Default, PartialEq, Eq)]
struct Out {
    offset: u64,
    parts: Vec<Part>,
}

#[derive(PartialEq, Eq)]
enum Part {
    Shown(Vec<u8>),
    Masked(String, Form, u64, u64),
}

impl Sink for Out {
    type Error = Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(!bytes.is_empty());
        self.offset += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Shown(shown)) => shown.extend(bytes),
            _ => self.parts.push(Part::Shown(bytes.to_vec())),
        }

        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        assert!(found.start == self.offset && found.end > found.start, "a region is misplaced");
        self.offset = found.end;
        self.parts.push(Part::Masked(found.tag.to_string(), found.form, found.start, found.end));
        Ok(())
    }
}

/// Runs the target. The input has the values, how to split the stream, and a stream in which some
/// bytes stand for a value or a part of one.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let count = 1 + input.u8() % VALUES;
    let values: Vec<&[u8]> = (0..count)
        .map(|_| input.piece())
        .map(|value| &value[..value.len().min(MAX_LENGTH)])
        .collect();
    let (cut, silence) = (usize::from(input.u8()), input.u8());
    let stream = stream(input.rest(), &values);

    let tags: Vec<Tag> =
        (0..count).map(|n| Tag::parse(&format!("t{n}")).expect("it is a tag")).collect();
    let needles = Needles::new(tags.iter().zip(values.iter().copied()));
    let whole = masked(&needles, [&stream[..]].into_iter(), None);
    let pieces = stream.chunks(1 + cut % 16);

    assert!(whole == masked(&needles, pieces.clone(), None), "the output depends on the cut");
    for part in &whole.parts {
        let Part::Shown(shown) = part else { continue };
        for value in values.iter().filter(|value| value.len() >= Needles::SHORTEST) {
            assert!(
                !shown.windows(value.len()).any(|window| window == *value),
                "a value was shown"
            );
        }
    }

    // However often and wherever the stream pauses, at most seven bytes of a value are shown.
    for every in [usize::from(silence) % 4 + 1, 1] {
        let out = masked(&needles, pieces.clone(), Some(every));
        let shown = out.shown(stream.len());
        for value in values.iter().filter(|value| value.len() >= Needles::SHORTEST) {
            for start in (0..stream.len()).filter(|start| stream[*start..].starts_with(value)) {
                let seen = shown[start..start + value.len()].iter().filter(|shown| **shown).count();
                assert!(seen < Needles::SHORTEST, "a pause showed too much");
            }
        }
    }
}

impl Out {
    /// Returns for each byte of the stream whether it was shown.
    fn shown(&self, length: usize) -> Vec<bool> {
        let mut shown = Vec::with_capacity(length);
        for part in &self.parts {
            match part {
                Part::Shown(bytes) => shown.resize(shown.len() + bytes.len(), true),
                Part::Masked(.., end) => {
                    shown.resize(usize::try_from(*end).unwrap_or(length), false);
                }
            }
        }

        shown
    }
}

/// Masks the pieces. If `every` is given, pauses after each piece whose number is a multiple of it.
fn masked<'a>(
    needles: &Needles,
    pieces: impl Iterator<Item = &'a [u8]>,
    every: Option<usize>,
) -> Out {
    let (mut masker, mut out, mut taken) = (Masker::new(needles), Out::default(), 0);
    for (number, piece) in pieces.enumerate() {
        let Ok(()) = masker.push(piece, &mut out);
        taken += piece.len() as u64;
        assert!(masker.settled() == out.offset && out.offset <= taken);
        assert!(masker.is_holding() == (out.offset < taken));
        if every.is_some_and(|every| number % every == 0) {
            let Ok(()) = masker.pause(&mut out);
            assert!(masker.settled() == out.offset && out.offset <= taken);
        }
    }

    let Ok(()) = masker.finish(&mut out);
    assert!(!masker.is_holding() && out.offset == taken, "bytes were lost");
    out
}

/// Replaces some bytes that never occur in text by a value or half of one, because random input
/// would never contain one.
fn stream(bytes: &[u8], values: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in bytes {
        let value = values[usize::from(*byte) % values.len()];
        let half = value.len() / 2;
        match byte {
            0xf8..=0xfa => out.extend_from_slice(value),
            0xfb..=0xfc => out.extend_from_slice(&value[..half]),
            0xfd..=0xfe => out.extend_from_slice(&value[half..]),
            _ => out.push(*byte),
        }
    }

    out
}
