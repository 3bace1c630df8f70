//! The texts of needles while they are collected and sorted: all forms of all values. They lie in a few large blocks of memory
//! that are wiped when dropped; a block for each text would take more memory than the texts.

use zeroize::Zeroizing;

use super::forms;
use super::needles::{Form, Needle, number};
use crate::model::SecretBytes;

/// Bytes of the first block.
const SMALL: usize = 4 * 1024;
/// So many blocks have twice the size of the one before.
const DOUBLED: usize = 6;

/// With so many texts of a value a new one is compared, before it is kept. Most values have fewer.
const COMPARED: usize = 64;

/// The texts of all values.
#[derive(Default)]
pub(super) struct Texts {
    blocks: Vec<SecretBytes>,
    list: Vec<Text>,
}

/// One text.
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

    /// Adds a text, unless it is there already among those of the same value, from `first` on. Then its first form stays.
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

    /// Copies a text into a block that has room for it; returns the block and the place.
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

    /// The order of the texts, each with its first bytes, which decide nearly always.
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

    /// Sorts the texts. Of equal ones the first stays: that of the first tag, in its first form.
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

/// Texts that are sorted and differ.
pub(super) struct Sorted {
    /// One behind the other
    bytes: SecretBytes,
    starts: Vec<u32>,
    needles: Vec<Needle>,
}

impl Sorted {
    /// Sorts texts as they are.
    #[cfg(test)]
    pub(super) fn of(texts: &[(&[u8], Form)]) -> Self {
        let mut all = Texts::default();
        for (text, form) in texts {
            let first = all.list.len();
            all.add(first, 0, *form, text);
        }

        all.sorted()
    }

    /// The needles without their bytes, in the same order.
    pub(super) fn into_needles(self) -> Vec<Needle> {
        self.needles
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.needles.len()
    }

    /// The bytes of one of them.
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let start = self.starts[index] as usize;
        &self.bytes.expose()[start..start + self.needles[index].length as usize]
    }

    /// Whether one of them may be written in lines of any width.
    pub(super) fn wraps(&self, index: usize) -> bool {
        self.needles[index].wraps
    }
}
