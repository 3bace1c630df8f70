//! The automaton's children that are not the next number, where needles branch. Their bytes come
//! from needles, so they are wiped on drop and never shown.

use zeroize::Zeroize;

/// Marks an empty slot: the root is nobody's child.
const EMPTY: u32 = 0;

/// A hash table of children by parent and byte, with linear probing.
pub(super) struct Transitions {
    /// Parent, child and the byte between them
    slots: Vec<(u32, u32, u8)>,
}

impl Transitions {
    /// Creates a table for `count` children. At least a third of the slots stays free.
    pub(super) fn with_capacity(count: usize) -> Self {
        let size = (count + count / 2).next_power_of_two().max(2);
        Self { slots: vec![(EMPTY, EMPTY, 0); size] }
    }

    /// Adds a child, which must not exist yet.
    pub(super) fn insert(&mut self, parent: u32, byte: u8, child: u32) {
        let slot = self.slot(parent, byte);
        self.slots[slot] = (parent, child, byte);
    }

    pub(super) fn child(&self, parent: u32, byte: u8) -> Option<u32> {
        let (_, child, _) = self.slots[self.slot(parent, byte)];
        (child != EMPTY).then_some(child)
    }

    /// Returns the slot of a child, or the free slot for it.
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
