//! Follows one stream, in pieces of any size, and lets out what is not part of a needle. It never waits, and keeps no
//! more of the stream than the longest needle's length, with what other readings skip inside it.

use std::ops::Deref;

use super::Needles;
use super::automaton::{DEEP, ROOT};
use super::decode::{Encoding, Unit};
use super::pending::{Chunk, MaskRegion, PendingBytes, Sink};
use super::prefilter::KNOWN;
use super::reader::Reader;

/// Most bytes of one occurrence of a value that are shown before it is complete: one less than the shortest needle.
const EXPOSED: usize = Needles::SHORTEST - 1;

/// Masks one stream.
///
/// At the end of each [`push`](Self::push) it holds back only what the stream ends with and a needle begins with, and a
/// region that may still grow. After a sink's error it is not to be used again.
pub struct Masker<N> {
    needles: N,
    /// Of the automaton
    state: u32,
    /// Bytes taken
    position: u64,
    pending: PendingBytes,
    /// Other readings that are inside what may become a value, by number
    readers: [Option<Reader>; Encoding::ALL.len()],
    /// The offset up to which each of them has read, or was found to have nothing to follow
    reached: [u64; Encoding::ALL.len()],
    /// What they found ahead of the automaton, in order of the ends
    ahead: Vec<MaskRegion>,
    /// Offsets of bytes that pauses have shown and that may belong to a value that is not complete yet
    exposed: Vec<u64>,
}

impl<N: Deref<Target = Needles>> Masker<N> {
    /// Begins a stream. Several streams may share needles, by reference or by `Arc`.
    pub fn new(needles: N) -> Self {
        Self {
            needles,
            state: ROOT,
            position: 0,
            pending: PendingBytes::new(),
            readers: [const { None }; Encoding::ALL.len()],
            reached: [0; Encoding::ALL.len()],
            ahead: Vec::new(),
            exposed: Vec::new(),
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        let chunk = Chunk { bytes, base: self.position };
        self.resume_readers(chunk);

        let (mut at, mut units) = (0, Units::new(bytes));
        while at < bytes.len() {
            if self.state == ROOT {
                let next = self.needles.skip.next(bytes, at);
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

    /// Shows held bytes because the stream has been silent for so long that they may be a prompt.
    ///
    /// At most seven bytes of one occurrence of a value are ever shown, over all pauses. The rest stays held until
    /// the stream goes on; if the value completes, the rest is masked.
    pub fn pause<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let limit = self.expose();
        self.settle(limit, sink)
    }

    /// Gives out everything because the stream has ended. Of a value that is not complete, at most seven bytes are
    /// shown: a program that is killed between two blocks of output leaves the beginning of one.
    pub fn finish<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        if self.expose() < self.position {
            for region in self.unfinished() {
                self.pending.found(&self.needles, region, self.position);
            }
        }

        self.readers = [const { None }; Encoding::ALL.len()];
        self.settle(self.position, sink)
    }

    /// What the stream has begun and not ended, if that is too much to be shown.
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

        self.begun().into_iter().filter_map(region).collect()
    }

    fn settle<S: Sink>(&mut self, until: u64, sink: &mut S) -> Result<(), S::Error> {
        let nothing = Chunk { bytes: &[], base: self.position };
        self.pending.settle(&self.needles, until, nothing, sink)?;
        self.pending.keep(nothing);
        Ok(())
    }

    /// Returns the offset up to which a pause may show bytes, and remembers those that belong to a possible value.
    fn expose(&mut self) -> u64 {
        let mut exposed = std::mem::take(&mut self.exposed);
        let begun = self.begun();
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

    /// What the stream's end may be the beginning of: in each reading the longest. A shorter one begins later, so fewer of
    /// its bytes were shown.
    fn begun(&self) -> Vec<Candidate<'_>> {
        let start = self.position - u64::from(self.needles.automaton.depth(self.state));
        let plain = Candidate { start, state: self.state, reader: None };
        let read = self.readers.iter().flatten().map(|reader| Candidate {
            start: reader.start(&self.needles),
            state: reader.state(),
            reader: Some(reader),
        });

        std::iter::once(plain).chain(read).filter(|begun| begun.start < self.position).collect()
    }

    /// Other readings that were inside something go on into the next chunk.
    fn resume_readers(&mut self, chunk: Chunk<'_>) {
        let end = chunk.base + chunk.bytes.len() as u64;
        for number in 0..self.readers.len() {
            let Some(reader) = &mut self.readers[number] else { continue };
            let stopped = reader.resume(&self.needles, chunk, &mut self.ahead);
            self.reached[number] = stopped.map_or(end, |at| chunk.base + at as u64);
            if stopped.is_some() {
                self.readers[number] = None;
            }
        }

        self.ahead.sort_by_key(|region| region.end);
    }

    /// Follows another reading from a unit on, if a value may have this unit in it.
    fn read_unit(&mut self, chunk: Chunk<'_>, at: usize) {
        let Some(reading) = Encoding::of(chunk.bytes[at]) else { return };

        // Of a line end of two bytes, the automaton may have passed over the first.
        let follows = chunk.bytes[at] == b'\n' && at > 0 && chunk.bytes[at - 1] == b'\r';
        let at = at - usize::from(follows);
        let offset = chunk.base + at as u64;
        if offset < self.reached[reading as usize] {
            return;
        }

        let length = match reading.unit(&chunk.bytes[at..], false) {
            Unit::Byte => return,
            Unit::Text(length, _) => length,
            Unit::Unfinished => chunk.bytes.len() - at,
        };

        let Some(state) = self.before(reading, chunk.bytes, at) else {
            self.reached[reading as usize] = offset + length as u64;
            return;
        };

        let (mut reader, known) = (Reader::new(reading, state, offset), self.ahead.len());
        let stopped = reader.run(&self.needles, chunk, at, &mut self.ahead);
        self.reached[reading as usize] = chunk.base + stopped.unwrap_or(chunk.bytes.len()) as u64;
        self.readers[reading as usize] = Some(reader).filter(|_| stopped.is_none());

        if self.ahead.len() > known {
            self.ahead.sort_by_key(|region| region.end);
        }
    }

    /// The state of the automaton before a unit; none if no value can have this unit in it.
    fn before(&self, reading: Encoding, bytes: &[u8], at: usize) -> Option<u32> {
        let automaton = &self.needles.automaton;
        let mut from = at.saturating_sub(KNOWN - 1);
        if self.state == ROOT {
            from += self.needles.skip.before_unit(reading, &bytes[from..], at - from)?;
        }

        // The automaton may have begun in the middle of these bytes.
        let near =
            bytes[from..at].iter().fold(ROOT, |state, byte| automaton.step(state, *byte).state);
        let deeper = automaton.depth(near) > automaton.depth(self.state);
        let state = if deeper { near } else { self.state };
        let state = if reading == Encoding::Wrapped { automaton.wrapping(state) } else { state };

        (state != ROOT || !reading.skips()).then_some(state)
    }

    /// Hands over what other readings found up to an offset.
    fn take_ahead(&mut self, end: u64, base: u64) {
        let number = self.ahead.partition_point(|region| region.end <= end);
        for region in self.ahead.drain(..number) {
            self.pending.found(&self.needles, region, base);
        }
    }

    /// True where something is held back.
    pub fn is_holding(&self) -> bool {
        self.settled() < self.position
    }

    /// The offset in the stream from which on another masker has to read to go on with this one: nothing before it is held,
    /// and no value that is not complete begins before it.
    pub fn needed_from(&self) -> u64 {
        self.begun().iter().map(|begun| begun.start).fold(self.settled(), u64::min)
    }

    /// The offset in the stream before which all is out.
    pub fn settled(&self) -> u64 {
        self.pending.settled()
    }

    /// Goes through the automaton from `at`, to where it is at no needle's beginning worth following or to the end.
    /// Returns the place from which on the automaton's state says nothing, and forgets that state.
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

                // A region that grows settles nothing; it may be asked to grow at every byte.
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

    /// The offset before which no needle begins that ends behind `position`, where the automaton stands.
    fn safe(&self, position: u64) -> u64 {
        let plain = position - u64::from(self.needles.automaton.depth(self.state));
        self.readers
            .iter()
            .flatten()
            .map(|reader| reader.start(&self.needles))
            .fold(plain, u64::min)
    }
}

/// What may become a value.
struct Candidate<'a> {
    start: u64,
    /// Of the automaton
    state: u32,
    /// Whose reading it is, if not the stream's own
    reader: Option<&'a Reader>,
}

impl Candidate<'_> {
    /// True for a byte of it that is not skipped.
    fn has(&self, offset: u64) -> bool {
        offset >= self.start && self.reader.is_none_or(|reader| !reader.is_skipped(offset))
    }
}

/// Places where other readings may have a unit.
struct Units<'a> {
    bytes: &'a [u8],
    /// All before are known
    from: usize,
    /// The next of one half of the bytes that begin units, and of the other
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

    /// The next one from a place on and before another.
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
