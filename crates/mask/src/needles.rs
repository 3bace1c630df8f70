//! The needles of a set of secrets: every form of every value, prepared for searching. They are
//! never shown.

use secrets_core::model::Tag;

use super::automaton::Automaton;
use super::form::Form;
use super::prefilter::Prefilter;
use super::texts::Texts;

/// The values to find: an automaton over all forms of all values. It is wiped on drop.
///
/// It takes two to three bytes of memory for each byte of each form, and about fifty bytes for each
/// form. The forms of a value are fifteen to fifty times as long as the value.
pub struct Needles {
    pub(super) automaton: Automaton,
    pub(super) prefilter: Prefilter,
    /// All needles, by their numbers in the automaton
    list: Vec<Needle>,
    tags: Vec<Tag>,
    short: Vec<Tag>,
}

/// One needle without its bytes.
#[derive(Clone, Copy)]
pub(super) struct Needle {
    pub(super) length: u32,
    /// The index of its tag
    pub(super) tag: u32,
    pub(super) form: Form,
    /// Whether it may be written in lines of any width, in this form or in another with the same
    /// bytes
    pub(super) wraps: bool,
}

impl Needles {
    /// The minimum length of a needle in bytes. Anything shorter occurs in streams by chance.
    pub const SHORTEST: usize = 8;

    /// Builds the needles of secrets. If two secrets have the same bytes in some form, the first
    /// one wins.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a Tag, &'a [u8])>) -> Self {
        let (mut tags, mut short, mut texts) = (Vec::new(), Vec::new(), Texts::default());
        for (tag, value) in secrets {
            if Self::is_short(value) {
                short.push(tag.clone());
            }

            if value.len() < Self::SHORTEST {
                continue;
            }

            texts.add_all(number(tags.len()), value);
            tags.push(tag.clone());
        }

        let sorted = texts.sorted();
        let (automaton, prefilter) = (Automaton::new(&sorted), Prefilter::new(&sorted));
        Self { automaton, prefilter, list: sorted.into_needles(), tags, short }
    }

    /// Returns an upper bound for the memory in bytes that the needles of some values take while
    /// they are built.
    pub fn memory<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        values.into_iter().map(|value| value.len() as u64 * 400).sum()
    }

    /// Returns true if a value without the white space around it is too short to be searched for.
    pub fn is_short(value: &[u8]) -> bool {
        value.trim_ascii().len() < Self::SHORTEST
    }

    /// Returns the tags of the values that are too short to be searched for, at least without the
    /// white space around them.
    pub fn short(&self) -> &[Tag] {
        &self.short
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the length of a needle by its number.
    pub(super) fn length(&self, needle: u32) -> u64 {
        self.list[needle as usize].length.into()
    }

    /// Returns true for a needle that programs write in lines of any width.
    pub(super) fn wraps(&self, needle: u32) -> bool {
        self.list[needle as usize].wraps
    }

    /// Returns the tag and the form of a needle.
    pub(super) fn origin(&self, needle: u32) -> (&Tag, Form) {
        let needle = &self.list[needle as usize];
        (&self.tags[needle.tag as usize], needle.form)
    }
}

/// Converts the number of a tag or of a byte. There are fewer than 2^32 of either, because memory
/// runs out first.
pub(super) fn number(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32")
}
