//! Finds values in text that will be committed.

use secrets_core::model::Tag;
use secrets_mask::{MaskedSpan, Masker, Needles, Sink};

/// The minimum length in bytes of a value that is searched for. Shorter values occur in almost
/// every text.
pub(super) const SHORTEST: usize = 4;

/// Returns where a text contains a value that is too short for a needle. The value must not be part
/// of a longer word.
pub(super) fn find_whole_word(text: &[u8], value: &[u8]) -> Option<usize> {
    let is_word = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    memchr::memmem::find_iter(text, value)
        .find(|at| !is_word(text[..*at].last()) && !is_word(text.get(at + value.len())))
}

/// Returns the values that a text contains, and their offsets.
pub(super) fn leaks(needles: &Needles, text: &[u8]) -> Vec<(Tag, usize)> {
    let mut masker = Masker::new(needles);
    let mut leaks = Leaks(Vec::new());
    let Ok(()) = masker.push(text, &mut leaks);
    let Ok(()) = masker.finish(&mut leaks);

    leaks.0
}

pub(super) fn leaks_none(needles: &Needles, text: &[u8]) -> bool {
    leaks(needles, text).is_empty()
}

/// The values that were found, with their offsets.
pub(super) struct Leaks(Vec<(Tag, usize)>);

impl Sink for Leaks {
    type Error = std::convert::Infallible;

    fn literal(&mut self, _: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Self::Error> {
        if found.complete {
            self.0.push((found.tag.clone(), usize::try_from(found.start).unwrap_or(usize::MAX)));
        }

        Ok(())
    }
}
