//! The texts of needles while they are collected and sorted: all forms of all values. They are
//! stored in a few large blocks, which are wiped on drop. One block per text would take more memory
//! than the texts.

use secrets_core::model::SecretBytes;
use zeroize::Zeroizing;

use super::form::Form;
use super::forms;
use super::needles::{Needle, number};

/// The size of the first block in bytes.
const SMALL: usize = 4 * 1024;
/// This many blocks are twice as large as the one before.
const DOUBLED: usize = 6;

/// A new text of a value is compared with this many others before it is stored. Most values have
/// fewer.
const COMPARED: usize = 64;

/// The texts of all values.
#[derive(Default)]
pub(super) struct Texts {
    blocks: Vec<SecretBytes>,
    list: Vec<Text>,
}

struct Text {
    block: u32,
    start: u32,
    needle: Needle,
}

impl Texts {
    /// Adds the forms of a value.
    pub(super) fn add_all(&mut self, tag: u32, value: &[u8]) {
        let first = self.list.len();
        forms::each(value, |form, bytes| self.add(first, tag, form, bytes));
    }

    /// Adds a text, unless an equal text of the same value exists at or after index `first`. In
    /// that case the first form stays.
    fn add(&mut self, first: usize, tag: u32, form: Form, bytes: &[u8]) {
        let end = self.list.len().min(first + COMPARED);
        if let Some(same) = (first..end).find(|index| self.text(*index) == bytes) {
            self.list[same].needle.wraps |= form.wraps();
            return;
        }

        let (block, start) = self.store(bytes);
        let needle = Needle { length: number(bytes.len()), tag, form, wraps: form.wraps() };
        self.list.push(Text { block, start, needle });
    }

    /// Copies a text into a block with enough room. Returns the block and the position.
    fn store(&mut self, bytes: &[u8]) -> (u32, u32) {
        let has_room = |block: &SecretBytes| block.len() + bytes.len() <= block.capacity();
        if !self.blocks.last().is_some_and(has_room) {
            let size = SMALL << self.blocks.len().min(DOUBLED);
            self.blocks.push(SecretBytes::with_capacity(size.max(bytes.len())));
        }

        let last = self.blocks.len() - 1;
        let start = number(self.blocks[last].len());
        self.blocks[last].extend(bytes);
        (number(last), start)
    }

    fn text(&self, index: usize) -> &[u8] {
        let Text { block, start, needle } = &self.list[index];
        let start = *start as usize;
        &self.blocks[*block as usize].expose()[start..start + needle.length as usize]
    }

    /// Returns the texts' indexes in sorted order, each with the text's first bytes, which nearly
    /// always decide a comparison.
    fn order(&mut self) -> Zeroizing<Vec<(u64, u32)>> {
        let head = |text: &[u8]| text.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        let with_head = |index| (head(self.text(index)), number(index));
        let mut order: Zeroizing<Vec<_>> =
            Zeroizing::new((0..self.list.len()).map(with_head).collect());

        order.sort_unstable_by(|(head, index), (other_head, other)| {
            let texts = || self.text(*index as usize).cmp(self.text(*other as usize));
            head.cmp(other_head).then_with(texts).then(index.cmp(other))
        });

        order.dedup_by(|(later_head, later), (first_head, first)| {
            let (later, first) = (*later as usize, *first as usize);
            let is_same = later_head == first_head && self.text(later) == self.text(first);
            self.list[first].needle.wraps |= is_same && self.list[later].needle.wraps;
            is_same
        });

        order
    }

    /// Sorts the texts. Of equal texts, the first one stays: the first tag and its first form.
    pub(super) fn sorted(mut self) -> Sorted {
        let order = self.order();
        let length =
            order.iter().map(|(_, index)| self.list[*index as usize].needle.length as usize).sum();
        let mut sorted = Sorted {
            bytes: SecretBytes::with_capacity(length),
            starts: Vec::with_capacity(order.len()),
            needles: Vec::with_capacity(order.len()),
        };

        for (_, index) in order.iter() {
            sorted.starts.push(number(sorted.bytes.len()));
            sorted.needles.push(self.list[*index as usize].needle);
            sorted.bytes.extend(self.text(*index as usize));
        }

        sorted
    }
}

/// Sorted texts without duplicates.
pub(super) struct Sorted {
    /// All texts, one after the other
    bytes: SecretBytes,
    starts: Vec<u32>,
    needles: Vec<Needle>,
}

impl Sorted {
    /// Sorts the given texts.
    #[cfg(test)]
    pub(super) fn of(texts: &[(&[u8], Form)]) -> Self {
        let mut all = Texts::default();
        for (text, form) in texts {
            let first = all.list.len();
            all.add(first, 0, *form, text);
        }

        all.sorted()
    }

    /// Returns the needles without their bytes, in the same order.
    pub(super) fn into_needles(self) -> Vec<Needle> {
        self.needles
    }

    pub(super) fn count(&self) -> usize {
        self.needles.len()
    }

    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let start = self.starts[index] as usize;
        &self.bytes.expose()[start..start + self.needles[index].length as usize]
    }

    /// Returns whether a text may be written in lines of any width.
    pub(super) fn wraps(&self, index: usize) -> bool {
        self.needles[index].wraps
    }
}
