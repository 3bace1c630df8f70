//! The automaton's children that are not the next number, where needles part. Their bytes are needles' bytes: wiped when
//! dropped, and never shown.

use zeroize::Zeroize;

/// No child: the root is nobody's.
const EMPTY: u32 = 0;

/// Children by parent and byte, each in its own slot or in the next free one.
pub(super) struct Transitions {
    /// Parent, child and the byte between them
    slots: Vec<(u32, u32, u8)>,
}

impl Transitions {
    /// Makes room for so many children; of the slots a third is free, or more.
    pub(super) fn with_capacity(count: usize) -> Self {
        let size = (count + count / 2).next_power_of_two().max(2);
        Self { slots: vec![(EMPTY, EMPTY, 0); size] }
    }

    /// Adds a child. It must not be there yet.
    pub(super) fn insert(&mut self, parent: u32, byte: u8, child: u32) {
        let slot = self.slot(parent, byte);
        self.slots[slot] = (parent, child, byte);
    }

    /// The child of a parent by a byte.
    pub(super) fn child(&self, parent: u32, byte: u8) -> Option<u32> {
        let (_, child, _) = self.slots[self.slot(parent, byte)];
        (child != EMPTY).then_some(child)
    }

    /// Where a child is, or the free slot where it would be.
    fn slot(&self, parent: u32, byte: u8) -> usize {
        let last = self.slots.len() - 1;
        let key = u64::from(parent) << 8 | u64::from(byte);
        let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & last;

        loop {
            let (other, child, between) = self.slots[slot];
            if child == EMPTY || other == parent && between == byte {
                return slot;
            }

            slot = (slot + 1) & last;
        }
    }
}

impl Drop for Transitions {
    fn drop(&mut self) {
        self.slots.zeroize();
    }
}
