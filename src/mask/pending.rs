//! What is known of a stream but not yet out of the masker: bytes that may become part of a secret, and regions that may
//! grow. It keeps no byte that is known to be masked.

use std::collections::VecDeque;

use super::Needles;
use super::needles::Form;
use crate::model::{SecretBytes, Tag};

/// A region of the stream where values stood: matches that overlap, named by the longest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'a> {
    /// Whose value it is
    pub tag: &'a Tag,
    /// How it was written
    pub form: Form,
    /// Offset in the stream of its first byte
    pub start: u64,
    /// Offset in the stream of the byte behind it
    pub end: u64,
}

/// Where a masked stream goes.
pub trait Sink {
    /// Why it takes nothing more
    type Error;

    /// Takes bytes that may be seen; there is at least one.
    fn literal(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Takes the place of a region that may not. The part of a region that comes after a release is a region again.
    fn masked(&mut self, found: &Match<'_>) -> Result<(), Self::Error>;
}

/// The bytes of one push, and where in the stream they begin.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) base: u64,
}

impl<'a> Chunk<'a> {
    /// The bytes from one offset of the stream to another; those before the chunk are left out.
    fn between(self, start: u64, end: u64) -> &'a [u8] {
        let at = |offset: u64| usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.bytes.get(at(start)..at(end)).unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
struct Region {
    start: u64,
    end: u64,
    needle: u32,
}

/// The end of a stream that is not yet out.
pub(super) struct Pending {
    /// All before is out
    settled: u64,
    /// From `settled` to the chunk in hand, without what regions cover; the first `gone` bytes are out already
    held: SecretBytes,
    gone: usize,
    /// Not out yet; in order, none overlaps another
    regions: VecDeque<Region>,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self { settled: 0, held: SecretBytes::with_capacity(0), gone: 0, regions: VecDeque::new() }
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Takes a needle that ends at `end`, which no other did before. Returns false where it made a region larger.
    pub(super) fn found(&mut self, needles: &Needles, needle: u32, end: u64, base: u64) -> bool {
        // What a release has let out stays out.
        let start = end.saturating_sub(needles.length(needle)).max(self.settled);
        let mut region = Region { start, end, needle };
        // Bytes that were literal and lie in the region are held, up to `base`, at the end of `held`.
        let (mut right, mut covered, mut new) = (base, 0, true);
        while let Some(last) = self.regions.back().copied().filter(|last| last.end > start) {
            self.regions.pop_back();
            covered += right.saturating_sub(last.end);
            right = right.min(last.start);
            region.start = region.start.min(last.start);
            if needles.length(last.needle) >= needles.length(region.needle) {
                region.needle = last.needle;
            }
            new = false;
        }
        covered += right.saturating_sub(start);
        let covered = usize::try_from(covered).unwrap_or(usize::MAX);
        self.held.truncate(self.held.len().saturating_sub(covered));
        self.regions.push_back(region);
        new
    }

    /// Gives out all that nothing can change when no needle begins before `safe` and ends later.
    pub(super) fn settle<S: Sink>(
        &mut self,
        needles: &Needles,
        safe: u64,
        chunk: Chunk<'_>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        while let Some(region) = self.regions.front().copied().filter(|region| region.end <= safe) {
            self.regions.pop_front();
            self.literal(region.start, chunk, sink)?;
            let (tag, form) = needles.origin(region.needle);
            self.settled = region.end;
            sink.masked(&Match { tag, form, start: region.start, end: region.end })?;
        }
        let end = self.regions.front().map_or(safe, |region| region.start.min(safe));
        self.literal(end, chunk, sink)
    }

    fn literal<S: Sink>(&mut self, end: u64, chunk: Chunk<'_>, sink: &mut S) -> Result<(), S::Error> {
        if end <= self.settled {
            return Ok(());
        }
        let start = std::mem::replace(&mut self.settled, end);
        let old = usize::try_from(end.min(chunk.base).saturating_sub(start)).unwrap_or(usize::MAX);
        if old > 0 {
            let held = self.held.expose();
            let until = (self.gone + old).min(held.len());
            let from = std::mem::replace(&mut self.gone, until);
            sink.literal(&held[from..until])?;
        }
        let new = chunk.between(start.max(chunk.base), end);
        if new.is_empty() { Ok(()) } else { sink.literal(new) }
    }

    /// Keeps what of a chunk is not out, at its end.
    pub(super) fn keep(&mut self, chunk: Chunk<'_>) {
        self.drop_gone();
        let end = chunk.base + chunk.bytes.len() as u64;
        let mut from = self.settled.max(chunk.base);
        let first = self.regions.len() - self.regions.iter().rev().take_while(|region| region.end > from).count();
        for region in self.regions.range(first..) {
            self.held.extend(chunk.between(from, region.start.max(from)));
            from = region.end;
        }
        self.held.extend(chunk.between(from, end));
    }

    /// Moves what is held to the front when half of it is out, so that each byte is moved about once.
    fn drop_gone(&mut self) {
        if self.gone >= self.held.len() - self.gone {
            self.held.expose_mut().copy_within(self.gone.., 0);
            self.held.truncate(self.held.len() - self.gone);
            self.gone = 0;
        }
    }
}
