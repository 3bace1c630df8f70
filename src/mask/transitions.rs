//! The automaton's children that are not the next number, where needles part. Their bytes are needles' bytes: wiped when
//! dropped, and never shown.

use zeroize::Zeroize;

/// No child, in `slots`.
const EMPTY: u32 = u32::MAX;

/// Children by parent and byte.
pub(super) struct Transitions {
    /// The parent's number and the byte, the child; sorted
    list: Vec<(u64, u32)>,
    /// Places in the list by a hash, each at its own or at the next free one
    slots: Vec<u32>,
}

impl Transitions {
    /// Takes each child once.
    pub(super) fn new(mut children: Vec<(u32, u8, u32)>) -> Self {
        let mut list: Vec<_> =
            children.iter().map(|(parent, byte, child)| (key(*parent, *byte), *child)).collect();
        for (_, byte, _) in &mut children {
            byte.zeroize();
        }

        list.sort_unstable();
        let mut transitions =
            Self { slots: vec![EMPTY; (2 * list.len()).next_power_of_two().max(2)], list };
        for at in 0..transitions.list.len() {
            let slot = transitions.slot(transitions.list[at].0);
            transitions.slots[slot] = u32::try_from(at).unwrap_or(EMPTY);
        }

        transitions
    }

    /// The child of a parent by a byte.
    pub(super) fn child(&self, parent: u32, byte: u8) -> Option<u32> {
        let at = self.slots[self.slot(key(parent, byte))];
        self.list.get(at as usize).map(|(_, child)| *child)
    }

    /// All children of a parent, with their bytes.
    pub(super) fn of(&self, parent: u32) -> impl Iterator<Item = (u8, u32)> {
        let first = self.list.partition_point(|(other, _)| *other < key(parent, 0));
        let of_parent = move |(other, _): &&(u64, u32)| other >> 8 == u64::from(parent);
        self.list[first..]
            .iter()
            .take_while(of_parent)
            .map(|(key, child)| (key.to_le_bytes()[0], *child))
    }

    /// Where a key is, or the free slot where it would be: half of them are free.
    fn slot(&self, key: u64) -> usize {
        let last = self.slots.len() - 1;
        let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & last;
        while self.list.get(self.slots[slot] as usize).is_some_and(|(other, _)| *other != key) {
            slot = (slot + 1) & last;
        }

        slot
    }
}

impl Drop for Transitions {
    fn drop(&mut self) {
        self.list.zeroize();
    }
}

fn key(parent: u32, byte: u8) -> u64 {
    u64::from(parent) << 8 | u64::from(byte)
}
