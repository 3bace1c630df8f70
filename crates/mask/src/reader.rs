//! Follows the needles through one alternative reading of a stream, beginning with a unit that only
//! that reading has. The bytes between units are the same in every reading and are left to the
//! masker.

use std::collections::VecDeque;

use secrets_core::model::SecretBytes;

use super::Needles;
use super::automaton::{DEEP, ROOT};
use super::decode::{Encoding, MAX_LENGTH, Text, Unit, resets};
use super::pending::{Chunk, MaskRegion};
use super::prefilter::SKIPPED;

/// The number of units that are kept before looking for those that are no longer needed.
const REMEMBERED: usize = 64;

/// An alternative reading of a stream that may be inside a value.
pub(super) struct Reader {
    reading: Encoding,
    /// The state of the automaton
    state: u32,
    /// The number of bytes in this reading; it starts at the stream offset where the reading begins
    read: u64,
    /// The number of these bytes since the last unit
    since: u64,
    /// The position in this reading and the offset in the stream after each unit
    units: VecDeque<(u64, u64)>,
    /// The number of units at which old ones are dropped
    forget_at: usize,
    /// The number of consecutive bytes that were skipped last
    skipped: usize,
    /// The last colour sequence: the offset after it, and whether it reset the colours
    color: Option<(u64, bool)>,
    /// A unit that did not end in the chunk
    rest: SecretBytes,
}

impl Reader {
    /// Begins at a unit at `offset`, with the automaton's state after the bytes before it.
    pub(super) fn new(reading: Encoding, state: u32, offset: u64) -> Self {
        Self {
            reading,
            state,
            read: offset,
            since: u64::MAX / 2,
            units: VecDeque::from([(offset, offset)]),
            forget_at: REMEMBERED,
            skipped: 0,
            color: None,
            rest: SecretBytes::with_capacity(0),
        }
    }

    /// Continues with the next chunk. Returns the position at which nothing was left to follow, or
    /// `None` at the end of the chunk.
    pub(super) fn resume(
        &mut self,
        needles: &Needles,
        chunk: Chunk<'_>,
        found: &mut Vec<MaskRegion>,
    ) -> Option<usize> {
        let rest = std::mem::replace(&mut self.rest, SecretBytes::with_capacity(0));
        if rest.is_empty() {
            return self.run(needles, chunk, 0, found);
        }

        let mut joined = SecretBytes::with_capacity(rest.len() + MAX_LENGTH);
        joined.extend(rest.expose());
        joined.extend(&chunk.bytes[..MAX_LENGTH.min(chunk.bytes.len())]);
        let both = Chunk { bytes: joined.expose(), base: chunk.base - rest.len() as u64 };
        let mut at = 0;

        while at < rest.len() {
            match self.step(needles, both, at, found) {
                Some(next) => at = next,
                None => {
                    self.rest.extend(&joined.expose()[at..]);
                    return None;
                }
            }
        }

        let at = at - rest.len();
        if self.is_done(needles) { Some(at) } else { self.run(needles, chunk, at, found) }
    }

    /// Continues from a position in a chunk. Returns the same as [`Self::resume`].
    pub(super) fn run(
        &mut self,
        needles: &Needles,
        chunk: Chunk<'_>,
        mut at: usize,
        found: &mut Vec<MaskRegion>,
    ) -> Option<usize> {
        while at < chunk.bytes.len() {
            let Some(next) = self.step(needles, chunk, at, found) else {
                self.rest.extend(&chunk.bytes[at..]);
                return None;
            };

            at = next;
            if self.is_done(needles) {
                return Some(at);
            }
        }

        None
    }

    /// Consumes one byte or one unit and returns the position after it. Returns `None` if the unit
    /// does not end in this chunk.
    fn step(
        &mut self,
        needles: &Needles,
        chunk: Chunk<'_>,
        at: usize,
        found: &mut Vec<MaskRegion>,
    ) -> Option<usize> {
        match self.reading.unit(&chunk.bytes[at..], self.skipped > 0) {
            Unit::Unfinished => None,
            Unit::Byte => {
                self.skipped = 0;
                self.since += 1;
                self.take(needles, chunk.bytes[at], chunk.base + at as u64 + 1, found);
                Some(at + 1)
            }
            Unit::Text(length, text) => {
                let end = chunk.base + (at + length) as u64;
                self.since = 0;
                if let Some(is_reset) = resets(&chunk.bytes[at..at + length]) {
                    self.color = Some((end, is_reset));
                }

                self.unit(needles, text, length, end, found);
                Some(at + length)
            }
        }
    }

    fn unit(
        &mut self,
        needles: &Needles,
        text: Text,
        length: usize,
        end: u64,
        found: &mut Vec<MaskRegion>,
    ) {
        let breaks = self.breaks_a_line(needles, text);
        if breaks || text.bytes().is_empty() {
            self.skipped += length;
            if self.skipped > SKIPPED {
                self.state = ROOT;
            }
        } else {
            self.skipped = 0;
            for byte in text.bytes() {
                self.take(needles, *byte, end, found);
            }
        }

        self.units.push_back((self.read, end));
        self.forget(needles);
    }

    /// Returns true for an escaped line end inside base64 and similar encodings, which skip it.
    fn breaks_a_line(&mut self, needles: &Needles, text: Text) -> bool {
        let [byte @ (b'\n' | b'\r')] = *text.bytes() else { return false };
        let wrapped = needles.automaton.wrapping(self.state);
        let breaks = wrapped != ROOT && needles.automaton.child(self.state, byte).is_none();
        if breaks {
            self.state = wrapped;
        }

        breaks
    }

    fn take(&mut self, needles: &Needles, byte: u8, end: u64, found: &mut Vec<MaskRegion>) {
        let step = needles.automaton.step(self.state, byte);
        self.read += 1;
        self.state = step.state;
        if self.reading == Encoding::Wrapped {
            self.state = needles.automaton.wrapping(self.state);
        }

        let needle =
            step.found.filter(|needle| self.reading != Encoding::Wrapped || needles.wraps(*needle));

        // The masker finds needles after the last unit by itself.
        if let Some(needle) = needle.filter(|needle| needles.length(*needle) > self.since) {
            let start = self.offset(self.read - needles.length(needle));
            let resets =
                self.color.filter(|(offset, _)| *offset > start).map(|(_, is_reset)| is_reset);
            found.push(MaskRegion {
                start,
                end,
                needle,
                complete: true,
                reading: Some(self.reading),
                resets,
            });
        }
    }

    /// Returns true if no possible value contains a unit of this reading.
    fn is_done(&self, needles: &Needles) -> bool {
        let depth = needles.automaton.depth_to_deep(self.state);
        if depth < DEEP {
            return u64::from(depth) <= self.since;
        }

        // Computing exact depths is slower.
        self.since >= u64::from(DEEP)
            && (self.since.is_power_of_two() || self.since > u64::MAX / 4)
            && u64::from(needles.automaton.depth(self.state)) <= self.since
    }

    /// Drops the units before the possible value.
    fn forget(&mut self, needles: &Needles) {
        if self.units.len() < self.forget_at {
            return;
        }

        let start = self.read - u64::from(needles.automaton.depth(self.state));
        let before = self.units.partition_point(|(read, _)| *read <= start);
        self.units.drain(..before.saturating_sub(1));
        self.forget_at = 2 * self.units.len() + REMEMBERED;
    }

    /// Converts a position in this reading to an offset in the stream.
    fn offset(&self, position: u64) -> u64 {
        let behind = self.units.partition_point(|(read, _)| *read <= position);
        match (behind.checked_sub(1), self.units.front()) {
            (Some(last), _) => self.units[last].1 + (position - self.units[last].0),
            (None, Some((read, offset))) => offset - (read - position),
            (None, None) => position,
        }
    }

    pub(super) fn reading(&self) -> Encoding {
        self.reading
    }

    pub(super) fn state(&self) -> u32 {
        self.state
    }

    /// Returns the offset at which the possible value begins.
    pub(super) fn start(&self, needles: &Needles) -> u64 {
        self.offset(self.read - u64::from(needles.automaton.depth(self.state)))
    }

    /// Returns true if this reading skips the byte at `offset`, which must be after
    /// [`start`](Self::start).
    pub(super) fn is_skipped(&self, offset: u64) -> bool {
        if !self.reading.skips() {
            return false;
        }

        let next = self.units.partition_point(|(_, end)| *end <= offset);
        let Some(before) = next.checked_sub(1).map(|last| self.units[last]) else { return false };
        match self.units.get(next) {
            Some(unit) => offset >= before.1 + (unit.0 - before.0),
            // This is an incomplete sequence after everything that was read.
            None => offset >= before.1 + (self.read - before.0),
        }
    }

    /// Returns the number of bytes from [`start`](Self::start) to `end`, the end of what was read,
    /// without skipped bytes.
    pub(super) fn length(&self, needles: &Needles, end: u64) -> u64 {
        if self.reading.skips() {
            u64::from(needles.automaton.depth(self.state))
        } else {
            end - self.start(needles)
        }
    }
}
