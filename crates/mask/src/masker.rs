//! Follows one stream in pieces of any size and passes on everything that is not part of a needle.
//! It never waits. It keeps at most the length of the longest needle, plus the bytes that other
//! readings skip inside it.

use std::ops::Deref;

use super::Needles;
use super::automaton::{DEEP, ROOT};
use super::decode::{Encoding, Unit};
use super::pending::{Chunk, MaskRegion, PendingBytes, Sink};
use super::prefilter::KNOWN;
use super::reader::Reader;

/// The maximum number of bytes of an incomplete value that are shown: one less than the shortest
/// needle.
const EXPOSED: usize = Needles::SHORTEST - 1;

/// Masks one stream.
///
/// After each [`push`](Self::push), it holds back only the end of the stream that may begin a
/// needle, and a region that may still grow. Do not use it again after an error of the sink.
pub struct Masker<N> {
    needles: N,
    /// The state of the automaton
    state: u32,
    /// The number of bytes consumed
    position: u64,
    pending: PendingBytes,
    /// Alternative readings that may be inside a value, by number
    readers: [Option<Reader>; Encoding::ALL.len()],
    /// The offset up to which each reading has read, or up to which it cannot find anything
    read_until: [u64; Encoding::ALL.len()],
    /// Regions that the readings found ahead of the automaton, ordered by end
    ahead: Vec<MaskRegion>,
    /// The offsets of bytes that pauses have shown and that may belong to a value that is still
    /// incomplete
    exposed: Vec<u64>,
}

impl<N: Deref<Target = Needles>> Masker<N> {
    /// Creates a masker for a new stream. Several streams may share needles, by reference or in an
    /// `Arc`.
    pub fn new(needles: N) -> Self {
        Self {
            needles,
            state: ROOT,
            position: 0,
            pending: PendingBytes::new(),
            readers: [const { None }; Encoding::ALL.len()],
            read_until: [0; Encoding::ALL.len()],
            ahead: Vec::new(),
            exposed: Vec::new(),
        }
    }

    /// Consumes the next bytes of the stream.
    pub fn push<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        let chunk = Chunk { bytes, base: self.position };
        self.resume_readers(chunk);

        let (mut at, mut units) = (0, Units::new(bytes));
        while at < bytes.len() {
            if self.state == ROOT {
                let next = self.needles.prefilter.next(bytes, at);
                while let Some(unit) = units.next(at, next) {
                    self.read_unit(chunk, unit);
                }

                at = next;
            }

            at = self.walk(chunk, at, sink)?;
        }

        self.position += bytes.len() as u64;
        self.take_ahead(self.position, chunk.base);
        self.pending.settle(&self.needles, self.safe(self.position), chunk, sink)?;
        self.pending.keep(chunk);

        Ok(())
    }

    /// Shows held bytes, because the stream has been silent for so long that they may be a prompt.
    ///
    /// Over all pauses, at most seven bytes of one occurrence of a value are shown. The rest is
    /// held until the stream continues. If the value completes, the rest is masked.
    pub fn pause<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let limit = self.expose();
        self.settle(limit, sink)
    }

    /// Passes on everything, because the stream has ended. At most seven bytes of an incomplete
    /// value are shown: a program that is killed between two blocks of output leaves the beginning
    /// of a value.
    pub fn finish<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        if self.expose() < self.position {
            for region in self.unfinished() {
                self.pending.found(&self.needles, region, self.position);
            }
        }

        self.finish_with_incomplete(sink)
    }

    /// Passes on everything, because the stream has ended, also an incomplete value. For a reader who
    /// can choose the text: if the beginning of a value were masked, he could guess a value character by
    /// character.
    pub fn finish_with_incomplete<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        self.readers = [const { None }; Encoding::ALL.len()];
        self.settle(self.position, sink)
    }

    /// Returns the values that have begun but not ended, if they are too long to be shown.
    fn unfinished(&self) -> Vec<MaskRegion> {
        let end = self.position;
        let region = |begun: Candidate<'_>| {
            let length =
                begun.reader.map_or(end - begun.start, |reader| reader.length(&self.needles, end));
            let needle = self
                .needles
                .automaton
                .needle_of(begun.state)
                .filter(|_| length > EXPOSED as u64)?;

            let reading = begun.reader.map(Reader::reading);
            Some(MaskRegion {
                start: begun.start,
                end,
                needle,
                complete: false,
                reading,
                resets: None,
            })
        };

        self.candidates().into_iter().filter_map(region).collect()
    }

    fn settle<S: Sink>(&mut self, until: u64, sink: &mut S) -> Result<(), S::Error> {
        let nothing = Chunk { bytes: &[], base: self.position };
        self.pending.settle(&self.needles, until, nothing, sink)?;
        self.pending.keep(nothing);
        Ok(())
    }

    /// Returns the offset up to which a pause may show bytes, and records the bytes that belong to
    /// a possible value.
    fn expose(&mut self) -> u64 {
        let mut exposed = std::mem::take(&mut self.exposed);
        let begun = self.candidates();
        let first = begun.iter().map(|begun| begun.start).min().unwrap_or(self.position);
        exposed.retain(|offset| *offset >= first);

        let seen =
            |begun: &Candidate<'_>| exposed.iter().filter(|offset| begun.has(**offset)).count();
        let mut seen: Vec<usize> = begun.iter().map(seen).collect();

        let mut at = self.settled();
        while at < self.position {
            if let Some(end) = self.pending.region_over(at) {
                at = end;
                continue;
            }

            let of: Vec<usize> = (0..begun.len()).filter(|number| begun[*number].has(at)).collect();
            if of.iter().any(|number| seen[*number] == EXPOSED) {
                break;
            }

            for number in &of {
                seen[*number] += 1;
            }

            if !of.is_empty() {
                exposed.push(at);
            }

            at += 1;
        }

        self.exposed = exposed;
        at
    }

    /// Returns the possible values that the stream ends in, the longest of each reading. A shorter
    /// one begins later, so fewer of its bytes were shown.
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let start = self.position - u64::from(self.needles.automaton.depth(self.state));
        let plain = Candidate { start, state: self.state, reader: None };
        let read = self.readers.iter().flatten().map(|reader| Candidate {
            start: reader.start(&self.needles),
            state: reader.state(),
            reader: Some(reader),
        });

        std::iter::once(plain).chain(read).filter(|begun| begun.start < self.position).collect()
    }

    /// Continues the readings that were inside a possible value with the next chunk.
    fn resume_readers(&mut self, chunk: Chunk<'_>) {
        let end = chunk.base + chunk.bytes.len() as u64;
        for number in 0..self.readers.len() {
            let Some(reader) = &mut self.readers[number] else { continue };
            let stopped = reader.resume(&self.needles, chunk, &mut self.ahead);
            self.read_until[number] = stopped.map_or(end, |at| chunk.base + at as u64);
            if stopped.is_some() {
                self.readers[number] = None;
            }
        }

        self.ahead.sort_by_key(|region| region.end);
    }

    /// Follows another reading, beginning with a unit, if a value may contain this unit.
    fn read_unit(&mut self, chunk: Chunk<'_>, at: usize) {
        let Some(reading) = Encoding::of(chunk.bytes[at]) else { return };

        // The automaton may have passed the first byte of a two-byte line end.
        let follows = chunk.bytes[at] == b'\n' && at > 0 && chunk.bytes[at - 1] == b'\r';
        let at = at - usize::from(follows);
        let offset = chunk.base + at as u64;
        if offset < self.read_until[reading as usize] {
            return;
        }

        let length = match reading.unit(&chunk.bytes[at..], false) {
            Unit::Byte => return,
            Unit::Text(length, _) => length,
            Unit::Unfinished => chunk.bytes.len() - at,
        };

        let Some(state) = self.before(reading, chunk.bytes, at) else {
            self.read_until[reading as usize] = offset + length as u64;
            return;
        };

        let (mut reader, known) = (Reader::new(reading, state, offset), self.ahead.len());
        let stopped = reader.run(&self.needles, chunk, at, &mut self.ahead);
        let read = stopped.unwrap_or(chunk.bytes.len());
        self.read_until[reading as usize] = chunk.base + read as u64;
        self.readers[reading as usize] = Some(reader).filter(|_| stopped.is_none());

        if self.ahead.len() > known {
            self.ahead.sort_by_key(|region| region.end);
        }
    }

    /// Returns the state of the automaton before a unit. Returns `None` if no value can contain
    /// this unit.
    fn before(&self, reading: Encoding, bytes: &[u8], at: usize) -> Option<u32> {
        let automaton = &self.needles.automaton;
        let mut from = at.saturating_sub(KNOWN - 1);
        if self.state == ROOT {
            from += self.needles.prefilter.before_unit(reading, &bytes[from..], at - from)?;
        }

        // The automaton may have started in the middle of these bytes.
        let near =
            bytes[from..at].iter().fold(ROOT, |state, byte| automaton.step(state, *byte).state);
        let deeper = automaton.depth(near) > automaton.depth(self.state);
        let state = if deeper { near } else { self.state };
        let state = if reading == Encoding::Wrapped { automaton.wrapping(state) } else { state };

        (state != ROOT || !reading.skips()).then_some(state)
    }

    /// Takes over the regions that other readings found up to an offset.
    fn take_ahead(&mut self, end: u64, base: u64) {
        let number = self.ahead.partition_point(|region| region.end <= end);
        for region in self.ahead.drain(..number) {
            self.pending.found(&self.needles, region, base);
        }
    }

    /// Returns true if bytes are held back.
    pub fn is_holding(&self) -> bool {
        self.settled() < self.position
    }

    /// Returns the offset from which another masker must read to continue this one. Nothing before
    /// it is held, and no incomplete value begins before it.
    pub fn needed_from(&self) -> u64 {
        self.candidates().iter().map(|begun| begun.start).fold(self.settled(), u64::min)
    }

    /// Returns the offset up to which everything was passed on.
    pub fn settled(&self) -> u64 {
        self.pending.settled()
    }

    /// Runs the automaton from `at` until it is no longer inside a needle that may be the longest,
    /// or to the end. Returns the position from which the automaton's state is irrelevant, and
    /// resets it.
    fn walk<S: Sink>(
        &mut self,
        chunk: Chunk<'_>,
        mut at: usize,
        sink: &mut S,
    ) -> Result<usize, S::Error> {
        let entry = at;
        while let Some(&byte) = chunk.bytes.get(at) {
            if Encoding::of(byte).is_some() {
                self.read_unit(chunk, at);
            }

            let step = self.needles.automaton.step(self.state, byte);
            self.state = step.state;
            at += 1;

            if let Some(needle) = step.found {
                let end = chunk.base + at as u64;
                let start = end.saturating_sub(self.needles.length(needle));
                let region =
                    MaskRegion { start, end, needle, complete: true, reading: None, resets: None };
                self.take_ahead(end, chunk.base);

                // A region that grows is not passed on yet, because it may grow with every byte.
                if self.pending.found(&self.needles, region, chunk.base) && self.ahead.is_empty() {
                    self.pending.settle(&self.needles, self.safe(end), chunk, sink)?;
                }
            }

            let depth = self.needles.automaton.depth_to_deep(self.state);
            if depth < DEEP && at - entry >= usize::from(DEEP) {
                let start = at - usize::from(depth);
                if chunk.bytes.len() - start >= KNOWN {
                    self.state = ROOT;
                    return Ok(start);
                }
            }
        }

        Ok(at)
    }

    /// Returns the offset before which no needle begins that ends after `position`, the automaton's
    /// position.
    fn safe(&self, position: u64) -> u64 {
        let plain = position - u64::from(self.needles.automaton.depth(self.state));
        self.readers
            .iter()
            .flatten()
            .map(|reader| reader.start(&self.needles))
            .fold(plain, u64::min)
    }
}

/// A possible value that is not complete yet.
struct Candidate<'a> {
    start: u64,
    /// The state of the automaton
    state: u32,
    /// The reading, if it is not the stream as it is
    reader: Option<&'a Reader>,
}

impl Candidate<'_> {
    /// Returns true if the byte at this offset belongs to it and is not skipped.
    fn has(&self, offset: u64) -> bool {
        offset >= self.start && self.reader.is_none_or(|reader| !reader.is_skipped(offset))
    }
}

/// The positions of bytes that may begin a unit of another reading.
struct Units<'a> {
    bytes: &'a [u8],
    /// All positions before this one are known
    from: usize,
    /// The next position, for each of two groups of bytes that begin units
    next: [usize; 2],
}

impl<'a> Units<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut units = Self { bytes, from: 0, next: [0; 2] };
        units.look(0);
        units
    }

    fn look(&mut self, from: usize) {
        let behind = |at: Option<usize>| at.map_or(self.bytes.len(), |at| from + at);
        let rest = self.bytes.get(from..).unwrap_or_default();
        if self.next[0] <= from {
            self.next[0] = behind(memchr::memchr3(b'\n', 0x1b, b'\\', rest));
        }

        if self.next[1] <= from {
            self.next[1] = behind(memchr::memchr2(b'%', b'&', rest));
        }

        self.from = from;
    }

    /// Returns the next position at or after `from` and before `before`.
    #[inline]
    fn next(&mut self, from: usize, before: usize) -> Option<usize> {
        if from > self.from {
            self.look(from);
        }

        let next = self.next[0].min(self.next[1]);
        (next < before).then(|| {
            self.look(next + 1);
            next
        })
    }
}
