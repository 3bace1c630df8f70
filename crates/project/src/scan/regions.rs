//! Values and tokens in paths, which are short and shown with their labels.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use secrets_core::crypto::token::Token;
use secrets_mask::{MaskedSpan, Masker, Needles, Sink};

use super::tokens::tokens_in;
use super::{Finding, Found, Location};

/// Finds values and tokens in the part of a path after `from` bytes. Returns each with the path up
/// to the name that contains it.
pub(super) fn names(needles: &Needles, path: &Path, from: usize) -> Vec<(PathBuf, Finding)> {
    let bytes = path.as_os_str().as_bytes();
    let from = from.min(bytes.len());
    let complete = regions(needles, &bytes[from..]).into_iter().filter(|region| region.complete);

    let named = complete.map(|Region { end, found, .. }| {
        // The path ends with the name in which the value ends.
        let last = from + end - 1;
        let length = bytes[last..]
            .iter()
            .position(|byte| *byte == b'/')
            .map_or(bytes.len(), |more| last + more);

        (
            PathBuf::from(OsStr::from_bytes(&bytes[..length])),
            Finding { location: Location::Name, found },
        )
    });

    named.collect()
}

/// Returns a path for display, with a label in place of each value and each token.
pub fn masked_path(needles: &Needles, path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let (mut text, mut behind) = (String::new(), 0);
    for Region { start, end, found, .. } in regions(needles, bytes) {
        // A value may have a token in it.
        if start >= behind {
            text += &String::from_utf8_lossy(&bytes[behind..start]);
            text += &format!("‹{found}›");
        }

        behind = behind.max(end);
    }

    text + &String::from_utf8_lossy(&bytes[behind..])
}

/// The position of a value or a token in some bytes; a value may have no end.
struct Region {
    start: usize,
    end: usize,
    found: Found,
    complete: bool,
}

fn regions(needles: &Needles, bytes: &[u8]) -> Vec<Region> {
    let mut regions = Regions(Vec::new());
    let mut masker = Masker::new(needles);
    let Ok(()) = masker.push(bytes, &mut regions);
    let Ok(()) = masker.finish(&mut regions);

    let tokens = tokens_in(bytes).map(|(start, level)| Region {
        start,
        end: start + Token::LENGTH,
        found: Found::Token(level),
        complete: true,
    });

    regions.0.extend(tokens);
    regions.0.sort_by_key(|region| region.start);
    regions.0
}

struct Regions(Vec<Region>);

impl Sink for Regions {
    type Error = Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn masked(&mut self, span: &MaskedSpan<'_>) -> Result<(), Infallible> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (start, end) = (at(span.start), at(span.end));
        let found = Found::Value { tag: span.tag.clone(), form: span.form };
        self.0.push(Region { start, end, found, complete: span.complete });
        Ok(())
    }
}
