//! What is known of a stream but not yet out of the masker: bytes that may become part of a secret, and regions that may
//! grow. It keeps no byte that is known to be masked.

use std::collections::VecDeque;

use super::Needles;
use super::decode::Encoding;
use super::needles::Form;
use crate::model::{SecretBytes, Tag};

/// A region of the stream where values stood: matches that overlap, named by the longest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskedSpan<'a> {
    /// Whose value it is
    pub tag: &'a Tag,
    /// How it was written
    pub form: Form,
    /// Offset in the stream of its first byte
    pub start: u64,
    /// Offset in the stream of the byte behind it
    pub end: u64,
    /// False if the stream ended inside the value
    pub complete: bool,
    /// A terminal's colours were reset inside, and not set again
    pub resets: bool,
}

/// Receives a masked stream.
pub trait Sink {
    /// Why it takes nothing more
    type Error;

    /// Takes bytes that may be seen; there is at least one.
    fn literal(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Takes the place of a region that may not be seen. The part of a region that comes after a pause is a region again.
    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Self::Error>;
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
        let at =
            |offset: u64| usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.bytes.get(at(start)..at(end)).unwrap_or_default()
    }
}

/// A place that must not be shown, before [`MaskedSpan`] names it.
#[derive(Clone, Copy)]
pub(super) struct MaskRegion {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) needle: u32,
    pub(super) complete: bool,
    /// The reading in which it was found, if that is not the stream as it is
    pub(super) reading: Option<Encoding>,
    /// Whether the last sequence in it that changed colours reset them
    pub(super) resets: Option<bool>,
}

/// The end of a stream that is not yet out.
pub(super) struct PendingBytes {
    /// All before is out
    settled: u64,
    /// From `settled` to the chunk in hand, without what regions cover; the first `gone` bytes are out already
    held: SecretBytes,
    gone: usize,
    /// Not out yet; in order, none overlaps another
    regions: VecDeque<MaskRegion>,
}

impl PendingBytes {
    pub(super) fn new() -> Self {
        Self { settled: 0, held: SecretBytes::with_capacity(0), gone: 0, regions: VecDeque::new() }
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Takes a region. Returns false if it made another one larger.
    pub(super) fn found(&mut self, needles: &Needles, found: MaskRegion, base: u64) -> bool {
        // Bytes that a pause has shown stay shown.
        let start = found.start.max(self.settled);
        let mut region = MaskRegion { start, ..found };

        // Nearly always none: another reading may end a value before the place where the stream's own has ended one.
        let mut later = Vec::new();
        while let Some(last) = self.regions.back().copied().filter(|last| last.start >= found.end) {
            self.regions.pop_back();
            later.push(last);
        }

        // Bytes that were literal and lie in the region are held, up to `base`.
        let (mut right, mut covered, mut new) = (base.min(found.end), 0, true);
        while let Some(last) = self.regions.back().copied().filter(|last| last.end > start) {
            self.regions.pop_back();
            covered += right.saturating_sub(last.end);
            right = right.min(last.start);
            region.start = region.start.min(last.start);
            region.end = region.end.max(last.end);
            region.complete |= last.complete;
            region.resets = region.resets.or(last.resets);
            if needles.length(last.needle) >= needles.length(region.needle) {
                (region.needle, region.reading) = (last.needle, last.reading);
            }

            new = false;
        }

        covered += right.saturating_sub(start);
        let behind = later.iter().map(|later| (later.start, later.end));
        let masked_behind: u64 =
            behind.map(|(start, end)| end.min(base).saturating_sub(start)).sum();
        self.cover(covered, base.saturating_sub(region.end).saturating_sub(masked_behind));
        self.regions.push_back(region);
        self.regions.extend(later.into_iter().rev());

        new
    }

    /// Takes `covered` bytes out of those that are held, before the last `behind`.
    fn cover(&mut self, covered: u64, behind: u64) {
        let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let end = self.held.len().saturating_sub(bytes(behind)).max(self.gone);
        let start = end.saturating_sub(bytes(covered)).max(self.gone);
        let left = self.held.len() - (end - start);

        self.held.expose_mut().copy_within(end.., start);
        self.held.truncate(left);
    }

    /// The end of the region that covers an offset.
    pub(super) fn region_over(&self, offset: u64) -> Option<u64> {
        let at = self.regions.partition_point(|region| region.end <= offset);
        self.regions.get(at).filter(|region| region.start <= offset).map(|region| region.end)
    }

    /// Gives out all that nothing can change if no needle begins before `safe` and ends later.
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
            let form = region.reading.map_or(form, |reading| form.read_as(reading));

            self.settled = region.end;
            let MaskRegion { start, end, complete, .. } = region;
            sink.masked(&MaskedSpan {
                tag,
                form,
                start,
                end,
                complete,
                resets: region.resets == Some(true),
            })?;
        }

        let end = self.regions.front().map_or(safe, |region| region.start.min(safe));
        self.literal(end, chunk, sink)
    }

    fn literal<S: Sink>(
        &mut self,
        end: u64,
        chunk: Chunk<'_>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
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
        let first = self.regions.len()
            - self.regions.iter().rev().take_while(|region| region.end > from).count();
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
