//! An automaton that follows all needles at once (Aho and Corasick, 1975), at ten bytes a state.
//!
//! A state stands for a prefix of a needle. Needles are taken in sorted order and states numbered as they come, so that
//! most states are followed by the next number: only where needles part is a list needed. It keeps the needles' bytes,
//! wiped when dropped, and never shows them.

use zeroize::Zeroize;

use super::transitions::Transitions;
use crate::model::SecretBytes;

/// The empty prefix.
pub(super) const ROOT: u32 = 0;

/// A state's depth, up to [`DEEP`].
const DEPTH: u8 = 0b111;
/// From this depth on a state is worth staying in.
pub(super) const DEEP: u8 = 4;
/// The next number is a child, by the state's byte.
const CHAIN: u8 = 1 << 3;
/// It has children in the list.
const BRANCHES: u8 = 1 << 4;
/// A needle ends here.
const FOUND: u8 = 1 << 5;
/// It begins a needle that may be written in lines of any width.
const WRAPS: u8 = 1 << 6;

/// No needle, in `found`.
const NONE: u32 = u32::MAX;

/// The automaton of a set of needles.
pub(super) struct Automaton {
    /// Of each state: the byte that leads to the next number, and flags
    cells: SecretBytes,
    /// Of each state: the longest proper suffix of it that is a state with children
    fails: Vec<u32>,
    /// Of each state: the longest needle that ends there
    found: Vec<u32>,
    /// Children of the root
    root: Box<[u32; 256]>,
    /// Children of other states that are not the next number
    transitions: Transitions,
    /// States from which numbers run on with the depth, and the depth
    runs: Vec<(u32, u32)>,
}

/// Where the automaton stands after a byte.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// The state to go on from: the longest proper prefix of a needle that the input ends with
    pub(super) state: u32,
    /// The longest needle that ends here
    pub(super) found: Option<u32>,
}

impl Automaton {
    /// Takes needles that are sorted and differ, and for each whether it may be written in lines of any width.
    pub(super) fn new(needles: &[&[u8]], wraps: &[bool]) -> Self {
        let shared: Vec<usize> = (0..needles.len())
            .map(|n| n.checked_sub(1).map_or(0, |before| common(needles[before], needles[n])))
            .collect();
        let states = 1 + needles
            .iter()
            .zip(&shared)
            .map(|(needle, shared)| needle.len() - shared)
            .sum::<usize>();

        let mut automaton = Self {
            cells: SecretBytes::zeroed(2 * states),
            fails: vec![ROOT; states],
            found: vec![NONE; states],
            root: Box::new([ROOT; 256]),
            transitions: Transitions::new(Vec::new()),
            runs: vec![(ROOT, 0)],
        };

        automaton.build_trie(needles, &shared, wraps);
        automaton.build_failure_links();
        automaton
    }

    /// Numbers the prefixes of all needles.
    fn build_trie(&mut self, needles: &[&[u8]], shared: &[usize], wraps: &[bool]) {
        // The way to the last needle's end: where the numbers jump, and the depth there.
        let mut way = vec![(ROOT, 0)];

        // Wiped by whom they are handed to; as many as there are needles, so that it never moves.
        let (mut next, mut transitions) = (1, Vec::with_capacity(needles.len()));
        for (index, (needle, &shared)) in needles.iter().zip(shared).enumerate() {
            while way.last().is_some_and(|(_, depth)| *depth > shared) {
                way.pop();
            }

            if wraps[index] {
                self.mark_wrapping(&way, shared);
            }

            let (start, depth) = way.last().copied().unwrap_or_default();
            let parent = start + number(shared - depth);
            let byte = needle[shared];

            if parent == ROOT {
                self.root[usize::from(byte)] = next;
            } else if parent + 1 == next {
                self.extend(parent, byte);
            } else {
                *self.flags_mut(parent) |= BRANCHES;
                transitions.push((parent, byte, next));
            }

            way.push((next, shared + 1));
            let first = next;
            self.runs.push((next, number(shared + 1)));

            for (depth, byte) in needle.iter().enumerate().skip(shared + 1) {
                self.set_depth(next, depth);
                self.extend(next, *byte);
                next += 1;
            }

            self.set_depth(next, needle.len());
            self.found[next as usize] = number(index);
            next += 1;
            if wraps[index] {
                (first..next).for_each(|state| *self.flags_mut(state) |= WRAPS);
            }
        }

        self.transitions = Transitions::new(transitions);
    }

    /// Marks the states of the first `shared` bytes on the way to the last needle. If one is marked, so are those before.
    fn mark_wrapping(&mut self, way: &[(u32, usize)], shared: usize) {
        let mut depth = shared;
        for &(start, from) in way.iter().rev().filter(|(state, _)| *state != ROOT) {
            for state in (start..=start + number(depth - from)).rev() {
                if self.cell(state)[1] & WRAPS != 0 {
                    return;
                }

                *self.flags_mut(state) |= WRAPS;
            }

            depth = from - 1;
        }
    }

    fn extend(&mut self, state: u32, byte: u8) {
        self.cells.expose_mut()[2 * state as usize] = byte;
        *self.flags_mut(state) |= CHAIN;
    }

    fn set_depth(&mut self, state: u32, depth: usize) {
        *self.flags_mut(state) |= u8::try_from(depth).unwrap_or(DEEP).min(DEEP);
    }

    /// Finds for each state where to go on when no child fits, and what ends there: level by level, as a state's answer
    /// is that of a shorter one.
    fn build_failure_links(&mut self) {
        let mut level: Vec<u32> =
            self.root.iter().copied().filter(|child| *child != ROOT).collect();
        let mut below = Vec::new();
        while !level.is_empty() {
            for &parent in &level {
                let [byte, flags] = self.cell(parent);
                if flags & CHAIN != 0 {
                    self.connect_child(parent, byte, parent + 1);
                    below.push(parent + 1);
                }

                if flags & BRANCHES != 0 {
                    let children: Vec<_> = self.transitions.of(parent).collect();
                    for (byte, child) in children {
                        self.connect_child(parent, byte, child);
                        below.push(child);
                    }
                }
            }

            level.clear();
            std::mem::swap(&mut level, &mut below);
        }
    }

    fn connect_child(&mut self, parent: u32, byte: u8, child: u32) {
        let suffix = self.next(self.fails[parent as usize], byte);
        if self.found[child as usize] == NONE {
            self.found[child as usize] = self.found[suffix as usize];
        }

        if self.found[child as usize] != NONE {
            *self.flags_mut(child) |= FOUND;
        }

        self.fails[child as usize] = self.with_children(suffix);
    }

    /// Takes one byte.
    pub(super) fn step(&self, state: u32, byte: u8) -> Step {
        let state = self.next(state, byte);
        let found = (self.cell(state)[1] & FOUND != 0).then(|| self.found[state as usize]);
        Step { state: self.with_children(state), found }
    }

    /// The longest suffix of a state and a byte that is a state.
    fn next(&self, mut state: u32, byte: u8) -> u32 {
        while state != ROOT {
            if let Some(child) = self.child(state, byte) {
                return child;
            }

            state = self.fails[state as usize];
        }

        self.root[usize::from(byte)]
    }

    /// The longest suffix of a state that begins a needle which may be written in lines.
    pub(super) fn wrapping(&self, mut state: u32) -> u32 {
        while state != ROOT && self.cell(state)[1] & WRAPS == 0 {
            state = self.fails[state as usize];
        }

        state
    }

    /// The state behind a byte, if a needle goes on with it.
    pub(super) fn child(&self, state: u32, byte: u8) -> Option<u32> {
        if state == ROOT {
            return Some(self.root[usize::from(byte)]).filter(|child| *child != ROOT);
        }

        let [chained, flags] = self.cell(state);
        if flags & CHAIN != 0 && chained == byte {
            return Some(state + 1);
        }

        if flags & BRANCHES == 0 { None } else { self.transitions.child(state, byte) }
    }

    fn with_children(&self, state: u32) -> u32 {
        let leaf = state != ROOT && self.cell(state)[1] & (CHAIN | BRANCHES) == 0;
        if leaf { self.fails[state as usize] } else { state }
    }

    /// Number of bytes that a state stands for.
    pub(super) fn depth(&self, state: u32) -> u32 {
        let (first, depth) = self.runs[self.run(state)];
        depth + (state - first)
    }

    /// Returns a needle that begins as a state does; none for the root.
    pub(super) fn needle_of(&self, state: u32) -> Option<u32> {
        // The root's run comes first, then one for each needle.
        self.run(state).checked_sub(1).map(number)
    }

    fn run(&self, state: u32) -> usize {
        self.runs.partition_point(|(first, _)| *first <= state) - 1
    }

    /// That number, up to [`DEEP`].
    pub(super) fn depth_to_deep(&self, state: u32) -> u8 {
        self.cell(state)[1] & DEPTH
    }

    fn cell(&self, state: u32) -> [u8; 2] {
        let at = 2 * state as usize;
        let cells = &self.cells.expose()[at..at + 2];
        [cells[0], cells[1]]
    }

    fn flags_mut(&mut self, state: u32) -> &mut u8 {
        &mut self.cells.expose_mut()[2 * state as usize + 1]
    }
}

impl Drop for Automaton {
    fn drop(&mut self) {
        self.root.zeroize();
    }
}

/// Length of what two needles begin with.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A number of a state, a needle or a depth. Four milliards of states would take 40 GB: memory ends before.
fn number(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 states")
}
