//! An automaton that follows all needles at once (Aho and Corasick, 1975) in little more than two
//! bytes per state.
//!
//! A state stands for a prefix of a needle. Needles are added in sorted order and states are
//! numbered in the order in which they are created. So the states that a needle does not share form
//! a *run* of consecutive numbers, and a table is needed only where needles branch. The automaton
//! contains the needles' bytes, wipes them on drop, and never shows them.
//!
//! A failure link points to the longest proper suffix that is a state. It is followed when no child
//! matches. Links are stored for the first [`NEAR`] states of a run, and for suffixes of more than
//! `NEAR` bytes, which are rare. All other links are recomputed from the last `NEAR` bytes when
//! they are needed. In a large set of secrets, nine of ten links need not be stored.

use std::collections::BTreeMap;

use secrets_core::model::SecretBytes;
use zeroize::Zeroize;

use super::links::{Links, Prefixes};
use super::texts::Sorted;
use super::transitions::Transitions;

/// The empty prefix.
pub(super) const ROOT: u32 = 0;

/// A state's depth, up to [`FAR`].
const DEPTH: u8 = 0b111;
/// From this depth on, the masker stays in a state instead of going back to the prefilter.
pub(super) const DEEP: u8 = 4;
/// The next number is a child, reached by the state's byte.
const CHAIN: u8 = 1 << 3;
/// The state has children in the table.
const BRANCHES: u8 = 1 << 4;
/// A needle ends here.
const FOUND: u8 = 1 << 5;
/// The state begins a needle that may be written in lines of any width.
const WRAPS: u8 = 1 << 6;
/// The state's link leads to a state of [`FAR`] bytes or more, and is stored.
const LINKED_FAR: u8 = 1 << 7;

/// The largest length of a suffix that is recomputed when it is needed.
const NEAR: usize = 6;
/// The smallest length of a suffix that is stored. Every needle is longer.
pub(super) const FAR: usize = NEAR + 1;

pub(super) struct Automaton {
    /// The byte that leads to the next number, and flags, for each state
    cells: SecretBytes,
    /// The links of the first states of each run
    near: Links,
    /// Links to suffixes of [`FAR`] bytes or more; one entry stands for consecutive states whose
    /// links are consecutive as well
    far: BTreeMap<u32, u32>,
    /// The longest needle that ends in a state, for states that are not needles themselves
    within: BTreeMap<u32, u32>,
    /// The children of the root
    root: Box<[u32; 256]>,
    /// The children of other states that are not the next number
    transitions: Transitions,
    /// The first state of each run and its depth: the root, then one run for each needle
    runs: Vec<(u32, u32)>,
}

/// The automaton's position after a byte.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// The next state: the longest proper prefix of a needle that the input ends with
    pub(super) state: u32,
    /// The longest needle that ends here
    pub(super) found: Option<u32>,
}

impl Automaton {
    /// Builds the automaton of needles, each of more than [`FAR`] bytes.
    pub(super) fn new(needles: &Sorted) -> Self {
        let mut runs = Vec::with_capacity(1 + needles.count());
        runs.push((ROOT, 0));
        let mut states = 1;

        for index in 0..needles.count() {
            let needle = needles.bytes(index);
            let shared =
                index.checked_sub(1).map_or(0, |before| common(needles.bytes(before), needle));
            runs.push((number(states), number(shared + 1)));
            states += needle.len() - shared;
        }

        let mut automaton = Self {
            cells: SecretBytes::zeroed(2 * states),
            near: Links::new(&runs, number(states), number(NEAR)),
            far: BTreeMap::new(),
            within: BTreeMap::new(),
            root: Box::new([ROOT; 256]),
            transitions: Transitions::with_capacity(needles.count()),
            runs,
        };

        let parents = automaton.build_trie(needles);
        automaton.build_failure_links(needles, &parents);
        automaton
    }

    /// Writes the states of all needles. Returns the parent of each run.
    fn build_trie(&mut self, needles: &Sorted) -> Vec<u32> {
        let mut parents = Vec::with_capacity(needles.count());

        // The path to the end of the previous needle: the first state of each run on it, and the
        // depth of that state.
        let mut path = vec![(ROOT, 0)];
        for index in 0..needles.count() {
            let (needle, wraps) = (needles.bytes(index), needles.wraps(index));
            let (first, depth) = self.runs[index + 1];
            let shared = depth as usize - 1;
            while path.last().is_some_and(|(_, depth)| *depth > shared) {
                path.pop();
            }

            if wraps {
                self.mark_wrapping(&path, shared);
            }

            let (start, depth) = path.last().copied().unwrap_or_default();
            let parent = start + number(shared - depth);
            self.add_child(parent, needle[shared], first);
            self.add_run(first, shared + 1, needle, if wraps { WRAPS } else { 0 });
            parents.push(parent);
            path.push((first, shared + 1));
        }

        parents
    }

    fn add_child(&mut self, parent: u32, byte: u8, child: u32) {
        if parent == ROOT {
            self.root[usize::from(byte)] = child;
        } else if parent + 1 == child {
            let cell = self.cell_mut(parent);
            cell[0] = byte;
            cell[1] |= CHAIN;
        } else {
            self.cell_mut(parent)[1] |= BRANCHES;
            self.transitions.insert(parent, byte, child);
        }
    }

    /// Writes the states that a needle does not share, from `depth` on.
    fn add_run(&mut self, first: u32, depth: usize, needle: &[u8], flags: u8) {
        let at = 2 * first as usize;
        let cells = self.cells.expose_mut()[at..].chunks_exact_mut(2);
        let bytes = needle[depth..].iter().map(|byte| (*byte, CHAIN)).chain([(0, FOUND)]);
        for (offset, (cell, (byte, follows))) in cells.zip(bytes).enumerate() {
            cell[0] = byte;
            cell[1] = flags | follows | u8::try_from((depth + offset).min(FAR)).unwrap_or(DEPTH);
        }
    }

    /// Marks the states of the first `shared` bytes on the path to the previous needle. If a state
    /// is marked, all states before it are marked already.
    fn mark_wrapping(&mut self, path: &[(u32, usize)], shared: usize) {
        let mut depth = shared;
        for &(start, from) in path.iter().rev().filter(|(state, _)| *state != ROOT) {
            for state in (start..=start + number(depth - from)).rev() {
                if self.cell(state)[1] & WRAPS != 0 {
                    return;
                }

                self.cell_mut(state)[1] |= WRAPS;
            }

            depth = from - 1;
        }
    }

    /// Computes the stored links, and the needle that ends in each state. It works level by level,
    /// because the result for a state depends on a shorter state.
    fn build_failure_links(&mut self, needles: &Sorted, parents: &[u32]) {
        let mut starts: Vec<u32> = (0..number(needles.count())).collect();
        starts.sort_by_key(|index| self.runs[*index as usize + 1].1);
        let mut hits = self.far_suffixes(needles);
        hits.sort_unstable();

        let (mut starts, mut hits) = (starts.into_iter().peekable(), hits.into_iter().peekable());
        let mut tracks: Vec<Track> = Vec::new();
        let mut level = 0;

        loop {
            // Levels without any work are skipped.
            let start = starts.peek().map(|index| self.runs[*index as usize + 1].1);
            let hit = hits.peek().map(|hit| hit.level);
            let next = if tracks.is_empty() {
                start.into_iter().chain(hit).min()
            } else {
                Some(level + 1)
            };

            let Some(next) = next else { return };
            level = next;

            tracks.retain_mut(|track| self.follow(track, level));
            while let Some(index) =
                starts.next_if(|index| self.runs[*index as usize + 1].1 == level)
            {
                let byte = needles.bytes(index as usize)[level as usize - 1];
                tracks.push(self.track(index, parents[index as usize], byte));
            }

            while let Some(hit) = hits.next_if(|hit| hit.level == level) {
                // If the state is marked, a track or another hit has processed it.
                if self.cell(hit.state)[1] & LINKED_FAR == 0 {
                    let end = self.end_of(self.run(hit.state));
                    let mut track =
                        Track { state: hit.state, end, first: level, link: ROOT, is_far: false };
                    self.link(&mut track, hit.suffix);
                    tracks.push(track);
                }
            }
        }
    }

    /// Begins a track at the first state of a needle's run.
    fn track(&mut self, index: u32, parent: u32, byte: u8) -> Track {
        let (state, depth) = self.runs[index as usize + 1];
        let suffix = if parent == ROOT { ROOT } else { self.next(self.fail(parent), byte) };
        let end = self.end_of(index as usize + 1);
        let mut track = Track { state, end, first: depth, link: ROOT, is_far: false };

        self.link(&mut track, suffix);
        track
    }

    /// Advances a track to the next state of its run. Returns false if no more links of the run are
    /// stored for now.
    fn follow(&mut self, track: &mut Track, level: u32) -> bool {
        let is_near = level - track.first < number(NEAR);
        if track.state == track.end || !is_near && !track.is_far {
            return false;
        }

        let [byte, _] = self.cell(track.state);
        track.state += 1;
        let suffix = self.next(track.link, byte);
        self.link(track, suffix);

        true
    }

    /// Stores the link of a track's state, and the needle that ends there.
    fn link(&mut self, track: &mut Track, suffix: u32) {
        let state = track.state;
        let [_, flags] = self.cell(suffix);
        if flags & FOUND != 0 && state != track.end {
            let needle = self.found(suffix);
            self.within.insert(state, needle);
            self.cell_mut(state)[1] |= FOUND;
        }

        let before = track.link;
        track.link = self.with_children(suffix);
        self.near.set(state, track.link);
        let was_far = track.is_far;

        track.is_far = flags & DEPTH == DEPTH;
        if track.is_far {
            self.cell_mut(state)[1] |= LINKED_FAR;
            if !was_far || track.link != before + 1 {
                self.far.insert(state, track.link);
            }
        }
    }

    /// Finds the states, at least [`NEAR`] states after the start of their run, that end with the
    /// first [`FAR`] bytes of a needle.
    fn far_suffixes(&self, needles: &Sorted) -> Vec<Hit> {
        let mut prefixes = Prefixes::with_capacity(needles.count());
        (0..needles.count()).for_each(|index| prefixes.insert(needles.bytes(index)));

        let mut hits = Vec::new();
        for index in 0..needles.count() {
            let (first, depth) = self.runs[index + 1];
            let (needle, own) = (needles.bytes(index), depth as usize);

            // From here on, the state is at least `NEAR` states after the first one. A prefix is
            // not a proper suffix, so position 0 is left out.
            let from = own.saturating_sub(1).max(1);
            for at in from..(needle.len() + 1).saturating_sub(FAR) {
                let is_likely = prefixes.may_have(&needle[at..]);
                if let Some(suffix) =
                    is_likely.then(|| self.prefix(&needle[at..at + FAR])).flatten()
                {
                    let level = at + FAR;
                    hits.push(Hit {
                        level: number(level),
                        state: first + number(level - own),
                        suffix,
                    });
                }
            }
        }

        hits
    }

    /// Returns the state of these bytes, if a needle begins with them.
    fn prefix(&self, bytes: &[u8]) -> Option<u32> {
        bytes.iter().try_fold(ROOT, |state, byte| self.child(state, *byte))
    }

    #[inline]
    pub(super) fn step(&self, state: u32, byte: u8) -> Step {
        let state = self.next(state, byte);
        let found = (self.cell(state)[1] & FOUND != 0).then(|| self.found(state));
        Step { state: self.with_children(state), found }
    }

    /// Returns the longest suffix of a state and a byte that is a state.
    fn next(&self, mut state: u32, byte: u8) -> u32 {
        while state != ROOT {
            if let Some(child) = self.child(state, byte) {
                return child;
            }

            state = self.fail(state);
        }

        self.root[usize::from(byte)]
    }

    /// Returns the longest proper suffix of a state that is a state with children.
    fn fail(&self, state: u32) -> u32 {
        if let Some(link) = self.near.get(state) {
            return link;
        }

        if self.cell(state)[1] & LINKED_FAR != 0
            && let Some((first, link)) = self.far.range(..=state).next_back()
        {
            return link + (state - first);
        }

        let end = 2 * state as usize;
        let last = &self.cells.expose()[end - 2 * NEAR..end];
        last.chunks_exact(2).fold(ROOT, |state, cell| self.next(state, cell[0]))
    }

    /// Returns the longest needle that ends in a state. At least one must end there.
    fn found(&self, state: u32) -> u32 {
        self.within.get(&state).copied().unwrap_or_else(|| number(self.run(state) - 1))
    }

    /// Returns the longest suffix of a state that begins a needle which may be written in lines.
    pub(super) fn wrapping(&self, mut state: u32) -> u32 {
        while state != ROOT && self.cell(state)[1] & WRAPS == 0 {
            state = self.fail(state);
        }

        state
    }

    /// Returns the state after a byte, if a needle continues with it.
    #[inline]
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
        if leaf { self.fail(state) } else { state }
    }

    /// Returns the number of bytes that a state stands for.
    #[inline]
    pub(super) fn depth(&self, state: u32) -> u32 {
        let (first, depth) = self.runs[self.run(state)];
        depth + (state - first)
    }

    /// Returns a needle that begins with the bytes of a state, or `None` for the root.
    #[inline]
    pub(super) fn needle_of(&self, state: u32) -> Option<u32> {
        // The root's run is the first, followed by one run for each needle.
        self.run(state).checked_sub(1).map(number)
    }

    fn run(&self, state: u32) -> usize {
        self.runs.partition_point(|(first, _)| *first <= state) - 1
    }

    /// Returns the last state of a run.
    fn end_of(&self, run: usize) -> u32 {
        self.runs.get(run + 1).map_or(number(self.cells.len() / 2), |(next, _)| *next) - 1
    }

    /// Returns the depth of a state, exactly if it is less than [`DEEP`], and otherwise as a lower
    /// bound.
    #[inline]
    pub(super) fn depth_to_deep(&self, state: u32) -> u8 {
        self.cell(state)[1] & DEPTH
    }

    fn cell(&self, state: u32) -> [u8; 2] {
        let at = 2 * state as usize;
        let cells = &self.cells.expose()[at..at + 2];
        [cells[0], cells[1]]
    }

    fn cell_mut(&mut self, state: u32) -> &mut [u8] {
        let at = 2 * state as usize;
        &mut self.cells.expose_mut()[at..at + 2]
    }
}

impl Drop for Automaton {
    fn drop(&mut self) {
        self.root.zeroize();
    }
}

/// A walk along the states of one run while their links are computed.
struct Track {
    state: u32,
    /// The run's last state
    end: u32,
    /// The level of the first state of the walk
    first: u32,
    /// The link of `state`
    link: u32,
    /// Whether that link leads to a far suffix
    is_far: bool,
}

/// A state that ends with the first bytes of a needle.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    level: u32,
    state: u32,
    /// The state of those first bytes
    suffix: u32,
}

/// Returns the length of the common prefix of two needles.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Converts the number of a state, a needle or a depth. 2^32 states would take 10 GB, so memory
/// runs out first.
fn number(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 states")
}

#[cfg(test)]
mod tests {
    use super::super::form::Form;
    use super::*;

    /// A generator of pseudo-random numbers.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % limit
        }

        fn text(&mut self, letters: usize, length: usize) -> Vec<u8> {
            (0..length).map(|_| b"abcd"[self.below(letters)]).collect()
        }

        /// Returns needles over a few letters. Some contain parts of others.
        fn needles(&mut self, letters: usize) -> Vec<(Vec<u8>, Form)> {
            let mut needles: Vec<(Vec<u8>, Form)> = Vec::new();
            for _ in 0..=self.below(12) {
                let length = 8 + self.below(30);
                let mut needle = self.text(letters, length);
                if let (Some((other, _)), true) = (needles.last(), self.below(2) == 0) {
                    let from = self.below(other.len());
                    needle.splice(
                        self.below(4)..,
                        other[from..].iter().copied().chain(self.text(letters, 8)),
                    );
                }

                let form = if self.below(2) == 0 { Form::Raw } else { Form::Hex };
                needles.push((needle, form));
            }

            needles
        }
    }

    /// Returns the longest proper suffix of some bytes that begins a needle for which `is_meant`
    /// returns true.
    fn longest(needles: &[(Vec<u8>, Form)], bytes: &[u8], is_meant: impl Fn(&[u8]) -> bool) -> u32 {
        let is_state = |suffix: &[u8]| {
            needles
                .iter()
                .any(|(needle, _)| needle.len() > suffix.len() && needle.starts_with(suffix))
        };

        let suffixes = (0..=bytes.len()).map(|from| &bytes[from..]);
        number(
            suffixes
                .into_iter()
                .find(|suffix| is_state(suffix) && is_meant(suffix))
                .map_or(0, <[u8]>::len),
        )
    }

    #[test]
    fn each_step_leads_to_the_longest_beginning_and_finds_the_longest_needle() {
        let mut chance = Chance(7);
        for round in 0..400 {
            let letters = 1 + round % 4;
            let needles = chance.needles(letters);
            let texts: Vec<(&[u8], Form)> =
                needles.iter().map(|(text, form)| (&text[..], *form)).collect();
            let sorted = Sorted::of(&texts);
            let automaton = Automaton::new(&sorted);

            let mut input = Vec::new();
            for _ in 0..6 {
                let (needle, _) = &needles[chance.below(needles.len())];
                input.extend(&needle[chance.below(4)..]);
                let length = chance.below(10);
                input.extend(chance.text(letters, length));
            }

            let mut state = ROOT;
            for end in 1..=input.len() {
                let step = automaton.step(state, input[end - 1]);
                state = step.state;
                let read = &input[..end];

                let found = step.found.map(|needle| sorted.bytes(needle as usize));
                let ending = needles
                    .iter()
                    .map(|(needle, _)| &needle[..])
                    .filter(|needle| read.ends_with(needle));

                assert_eq!(
                    found,
                    ending.max_by_key(|needle| needle.len()),
                    "{needles:?} in {read:?}"
                );

                assert_eq!(
                    automaton.depth(state),
                    longest(&needles, read, |_| true),
                    "{needles:?} in {read:?}"
                );

                let begins_wrapping = |suffix: &[u8]| {
                    needles.iter().any(|(needle, form)| form.wraps() && needle.starts_with(suffix))
                        || suffix.is_empty()
                };

                let wrapping = automaton.depth(automaton.wrapping(state));
                assert_eq!(
                    wrapping,
                    longest(&needles, read, begins_wrapping),
                    "{needles:?} in {read:?}"
                );
            }
        }
    }

    #[test]
    fn a_set_of_many_needles_takes_little_memory() {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut chance = Chance(9);
        let needles: Vec<Vec<u8>> = (0..2000)
            .map(|_| (0..64).map(|_| LETTERS[chance.below(LETTERS.len())]).collect())
            .collect();
        let texts: Vec<(&[u8], Form)> =
            needles.iter().map(|needle| (&needle[..], Form::Raw)).collect();

        let automaton = Automaton::new(&Sorted::of(&texts));
        let states = automaton.cells.len() / 2;
        assert!(states > 2000 * 60, "{states}");

        // There is a link for at most one state in nine, and hardly any link to a far suffix.
        assert!(
            automaton.near.len() < states / 9 && automaton.far.len() < 50,
            "{}",
            automaton.near.len()
        );
    }
}
