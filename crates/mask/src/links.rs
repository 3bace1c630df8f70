//! Small tables for the automaton: links between its states, and a filter for the beginnings of
//! needles. Both are on the hot path.

use secrets_core::model::SecretBytes;

use super::automaton::FAR;

/// A map from some states to numbers.
pub(super) struct Links {
    /// One bit for each state, set if it has a number, in words of 64
    has: Vec<u64>,
    /// The number of set bits before each word
    before: Vec<u32>,
    numbers: Vec<u32>,
}

impl Links {
    /// Reserves numbers for the first `count` states of each run. `runs` lists their first states
    /// in ascending order.
    pub(super) fn new(runs: &[(u32, u32)], states: u32, count: u32) -> Self {
        let mut has = vec![0_u64; states as usize / 64 + 1];
        let ends = runs.iter().skip(1).map(|(next, _)| *next).chain([states]);
        for ((first, _), end) in runs.iter().zip(ends) {
            for state in *first..end.min(first + count) {
                has[state as usize / 64] |= 1 << (state % 64);
            }
        }

        let (mut before, mut number) = (Vec::with_capacity(has.len()), 0);
        for word in &has {
            before.push(number);
            number += word.count_ones();
        }

        Self { has, before, numbers: vec![0; number as usize] }
    }

    /// Returns the number of a state, if it has one.
    pub(super) fn get(&self, state: u32) -> Option<u32> {
        self.index(state).map(|index| self.numbers[index])
    }

    /// Sets the number of a state that has one. For any other state, this does nothing.
    pub(super) fn set(&mut self, state: u32, number: u32) {
        if let Some(index) = self.index(state) {
            self.numbers[index] = number;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    fn index(&self, state: u32) -> Option<usize> {
        let (word, bit) = (state as usize / 64, 1 << (state % 64));
        let has = self.has[word];
        (has & bit != 0).then(|| (self.before[word] + (has & (bit - 1)).count_ones()) as usize)
    }
}

/// A filter for the first [`FAR`] bytes of needles, without false negatives. Its content is derived
/// from needles, so it is wiped on drop.
pub(super) struct Prefixes {
    bits: SecretBytes,
    /// The number of bits by which a hash is shifted
    shift: u32,
}

impl Prefixes {
    pub(super) fn with_capacity(count: usize) -> Self {
        let bits = (count * 16).next_power_of_two().max(8);
        Self { bits: SecretBytes::zeroed(bits / 8), shift: 64 - bits.trailing_zeros() }
    }

    pub(super) fn insert(&mut self, needle: &[u8]) {
        if let Some(at) = self.at(needle) {
            self.bits.expose_mut()[at / 8] |= 1 << (at % 8);
        }
    }

    /// Returns false if no needle begins with the first [`FAR`] of these bytes.
    pub(super) fn may_have(&self, bytes: &[u8]) -> bool {
        self.at(bytes).is_some_and(|at| self.bits.expose()[at / 8] >> (at % 8) & 1 == 1)
    }

    fn at(&self, bytes: &[u8]) -> Option<usize> {
        let mut word = [0; 8];
        word[..FAR].copy_from_slice(bytes.first_chunk::<FAR>()?);
        let hash = u64::from_le_bytes(word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(hash >> self.shift).ok()
    }
}
