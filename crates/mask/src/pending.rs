//! The part of a stream that the masker has not passed on yet: bytes that may become part of a
//! secret, and regions that may grow. Bytes that will certainly be masked are not kept.

use std::collections::VecDeque;

use secrets_core::model::{SecretBytes, Tag};

use super::Needles;
use super::decode::Encoding;
use super::form::Form;

/// A region of the stream that is masked. Overlapping matches form one region, which is named after
/// the longest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskedSpan<'a> {
    pub tag: &'a Tag,
    pub form: Form,
    /// The offset of the first byte in the stream
    pub start: u64,
    /// The offset after the last byte
    pub end: u64,
    /// False if the stream ended inside the value
    pub complete: bool,
    /// Whether a terminal's colours were reset inside and not set again
    pub resets: bool,
}

/// A receiver of a masked stream.
pub trait Sink {
    /// The error that makes it stop
    type Error;

    /// Receives at least one byte that may be seen.
    fn literal(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Receives a masked region. If a pause has shown the beginning of a region, the rest is a
    /// region of its own.
    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Self::Error>;
}

/// The bytes of one push, and their offset in the stream.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) base: u64,
}

impl<'a> Chunk<'a> {
    /// Returns the bytes between two offsets of the stream, without those before the chunk.
    fn between(self, start: u64, end: u64) -> &'a [u8] {
        let at =
            |offset: u64| usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.bytes.get(at(start)..at(end)).unwrap_or_default()
    }
}

/// A masked region before [`MaskedSpan`] gives it a name.
#[derive(Clone, Copy)]
pub(super) struct MaskRegion {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) needle: u32,
    pub(super) complete: bool,
    /// The reading in which it was found, if it is not the stream as it is
    pub(super) reading: Option<Encoding>,
    /// Whether the last colour sequence in it was a reset, if there was one
    pub(super) resets: Option<bool>,
}

/// The end of a stream, which was not passed on yet.
pub(super) struct PendingBytes {
    /// Everything before this offset was passed on
    settled: u64,
    /// The bytes from `settled` to the current chunk, without those in regions; the first `gone`
    /// bytes were passed on already
    held: SecretBytes,
    gone: usize,
    /// Regions that were not passed on yet, in order and without overlaps
    regions: VecDeque<MaskRegion>,
}

impl PendingBytes {
    pub(super) fn new() -> Self {
        Self { settled: 0, held: SecretBytes::with_capacity(0), gone: 0, regions: VecDeque::new() }
    }

    #[inline]
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// Adds a region. Returns false if it only extended another one.
    pub(super) fn found(&mut self, needles: &Needles, found: MaskRegion, base: u64) -> bool {
        // Bytes that a pause has shown cannot be masked any more.
        let start = found.start.max(self.settled);
        let mut region = MaskRegion { start, ..found };

        // Regions after the found one are rare: another reading may end a value before the end of
        // one that the stream's own reading found.
        let mut later = Vec::new();
        while let Some(last) = self.regions.back().copied().filter(|last| last.start >= found.end) {
            self.regions.pop_back();
            later.push(last);
        }

        // Literal bytes inside the region are held up to `base`, and are removed.
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

    /// Removes `covered` held bytes, those before the last `behind`.
    fn cover(&mut self, covered: u64, behind: u64) {
        let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let end = self.held.len().saturating_sub(bytes(behind)).max(self.gone);
        let start = end.saturating_sub(bytes(covered)).max(self.gone);
        let left = self.held.len() - (end - start);

        self.held.expose_mut().copy_within(end.., start);
        self.held.truncate(left);
    }

    /// Returns the end of the region that covers an offset.
    pub(super) fn region_over(&self, offset: u64) -> Option<u64> {
        let at = self.regions.partition_point(|region| region.end <= offset);
        self.regions.get(at).filter(|region| region.start <= offset).map(|region| region.end)
    }

    /// Passes on everything that cannot change, given that no needle begins before `safe` and ends
    /// after it.
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

    /// Keeps the part of a chunk that was not passed on, at the chunk's end.
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

    /// Moves the held bytes to the front when half of them were passed on, so each byte is moved
    /// about once.
    fn drop_gone(&mut self) {
        if self.gone >= self.held.len() - self.gone {
            self.held.expose_mut().copy_within(self.gone.., 0);
            self.held.truncate(self.held.len() - self.gone);
            self.gone = 0;
        }
    }
}
