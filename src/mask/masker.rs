//! Follows one stream, in pieces of any size, and lets out what is not part of a needle. It never waits, and keeps no
//! more of the stream than the longest needle's length.

use std::ops::Deref;

use super::Needles;
use super::automaton::{DEEP, ROOT};
use super::pending::{Chunk, Pending, Sink};
use super::skip::KNOWN;

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
}

impl<N: Deref<Target = Needles>> Masker<N> {
    /// Begins a stream. Several streams may share needles, by reference or by `Arc`.
    pub fn new(needles: N) -> Self {
        Self { needles, state: ROOT, position: 0, pending: Pending::new() }
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

    /// Lets out what is held back: at the end, and when the stream has been silent for so long that what was held may
    /// be a prompt. A secret that completes nevertheless is masked from there on.
    pub fn release<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let nothing = Chunk { bytes: &[], base: self.position };
        self.pending.settle(&self.needles, self.position, nothing, sink)?;
        self.pending.keep(nothing);
        Ok(())
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
                // A region that grows settles nothing; it may be asked to grow at every byte.
                if self.pending.found(&self.needles, needle, end, chunk.base) {
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
