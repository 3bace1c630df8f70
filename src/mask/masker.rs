//! Follows one stream, in pieces of any size, and lets out what is not part of a needle. It never waits, and keeps no
//! more of the stream than the longest needle's length.

use std::ops::Deref;

use super::Needles;
use super::automaton::{DEEP, ROOT};
use super::pending::{Chunk, Pending, Region, Sink};
use super::skip::KNOWN;

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
    pending: Pending,
    /// Offsets of bytes that pauses have shown and that may belong to a value that is not complete yet
    exposed: Vec<u64>,
}

impl<N: Deref<Target = Needles>> Masker<N> {
    /// Begins a stream. Several streams may share needles, by reference or by `Arc`.
    pub fn new(needles: N) -> Self {
        Self { needles, state: ROOT, position: 0, pending: Pending::new(), exposed: Vec::new() }
    }

    /// Takes the next bytes of the stream.
    pub fn push<S: Sink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Error> {
        let chunk = Chunk { bytes, base: self.position };
        let mut at = 0;
        while at < bytes.len() {
            if self.state == ROOT {
                at = self.needles.skip.next(bytes, at);
            }
            at = self.walk(chunk, at, sink)?;
        }
        self.position += bytes.len() as u64;
        self.pending.settle(&self.needles, self.safe(self.position), chunk, sink)?;
        self.pending.keep(chunk);
        Ok(())
    }

    /// Shows held bytes because the stream has been silent for so long that they may be a prompt.
    ///
    /// At most [`EXPOSED`] bytes of one occurrence of a value are ever shown, over all pauses. The rest stays held until
    /// the stream goes on; if the value completes, the rest is masked.
    pub fn pause<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let limit = self.expose();
        self.settle(limit, sink)
    }

    /// Gives out everything because the stream has ended. Of a value that is not complete, at most [`EXPOSED`] bytes are
    /// shown: a program that is killed between two blocks of output leaves the beginning of one.
    pub fn finish<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let start = self.safe(self.position);
        let is_long = self.is_holding() && self.position - start > EXPOSED as u64;
        let begun = self.needles.automaton.needle_of(self.state).filter(|_| is_long);
        if let Some(needle) = begun {
            let region = Region { start, end: self.position, needle, complete: false };
            self.pending.found(&self.needles, region, self.position);
        }
        self.settle(self.position, sink)
    }

    fn settle<S: Sink>(&mut self, until: u64, sink: &mut S) -> Result<(), S::Error> {
        let nothing = Chunk { bytes: &[], base: self.position };
        self.pending.settle(&self.needles, until, nothing, sink)?;
        self.pending.keep(nothing);
        Ok(())
    }

    /// Returns the offset up to which a pause may show bytes, and remembers those that belong to a possible value.
    fn expose(&mut self) -> u64 {
        // A shorter end of the stream may begin a value as well. It begins later, so fewer of its bytes were shown.
        let start = self.safe(self.position);
        self.exposed.retain(|offset| *offset >= start);

        let mut at = self.settled();
        while at < self.position {
            if let Some(end) = self.pending.region_over(at) {
                at = end;
                continue;
            }
            if at >= start {
                if self.exposed.len() == EXPOSED {
                    break;
                }
                self.exposed.push(at);
            }
            at += 1;
        }
        at
    }

    /// True where something is held back.
    pub fn is_holding(&self) -> bool {
        self.settled() < self.position
    }

    /// The offset in the stream before which all is out.
    pub fn settled(&self) -> u64 {
        self.pending.settled()
    }

    /// Goes through the automaton from `at`, to where it is at no needle's beginning worth following or to the end.
    /// Returns the place from which on the automaton's state says nothing, and forgets that state.
    fn walk<S: Sink>(&mut self, chunk: Chunk<'_>, mut at: usize, sink: &mut S) -> Result<usize, S::Error> {
        let entry = at;
        while let Some(&byte) = chunk.bytes.get(at) {
            let step = self.needles.automaton.step(self.state, byte);
            self.state = step.state;
            at += 1;
            if let Some(needle) = step.found {
                let end = chunk.base + at as u64;
                let start = end.saturating_sub(self.needles.length(needle));
                let region = Region { start, end, needle, complete: true };
                // A region that grows settles nothing; it may be asked to grow at every byte.
                if self.pending.found(&self.needles, region, chunk.base) {
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
        position - u64::from(self.needles.automaton.depth(self.state))
    }
}
