//! Where a needle may begin: a table of hashes that passes over most of a stream. It never misses one.

use super::decode::{Encoding, Unit};
use super::texts::Sorted;
use crate::model::SecretBytes;

/// Bits of a hash: at least 32 KiB of table, which stay in the processor's first cache, and at most a mebibyte.
const BITS: std::ops::RangeInclusive<u32> = 15..=20;
/// Slots of the table for each window of a needle, if it is not too large. With half as many, twice as many places of a stream
/// are looked at that begin no needle.
const SLOTS: usize = 32;

/// Bytes of a needle that the table knows: windows of four bytes at its first five places. Any five places in a row
/// have one that is looked at.
pub(super) const KNOWN: usize = 8;
const PLACES: usize = 5;

/// Most bytes in a row that another reading skips inside a value.
pub(super) const SKIPPED: usize = 64;

/// For each hash of four bytes, a bit for each place in a needle where such bytes may stand.
pub(super) struct Prefilter {
    table: SecretBytes,
    /// By how many bits a hash is shifted
    shift: u32,
}

impl Prefilter {
    /// Takes needles of eight bytes or more.
    pub(super) fn new(needles: &Sorted) -> Self {
        let wanted = (needles.count() * PLACES * SLOTS).next_power_of_two().trailing_zeros();
        let bits = wanted.clamp(*BITS.start(), *BITS.end());
        let mut skip = Self { table: SecretBytes::zeroed(1 << bits), shift: u32::BITS - bits };

        for index in 0..needles.count() {
            for (place, window) in needles.bytes(index).windows(4).take(PLACES).enumerate() {
                let [a, b, c, d] = *window else { continue };
                let slot = skip.slot(u32::from_le_bytes([a, b, c, d]));
                skip.table.expose_mut()[slot] |= 1 << place;
            }
        }

        skip
    }

    fn slot(&self, window: u32) -> usize {
        (window.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    /// The places in a needle where such bytes may stand.
    fn places(&self, window: u32) -> u8 {
        self.table.expose()[self.slot(window)]
    }

    /// The first place at or behind `from` where a needle may begin, seeing what is there of it. Where fewer than
    /// [`KNOWN`] bytes are left, that is the next.
    pub(super) fn next(&self, bytes: &[u8], mut from: usize) -> usize {
        while let Some((_, middle)) = windows(bytes, from) {
            let places = self.places(middle);
            if places != 0 {
                let mut starts = (0..PLACES)
                    .rev()
                    .filter(|place| places >> place & 1 == 1)
                    .map(|place| from + 4 - place);

                if let Some(start) = starts.find(|start| self.may_begin(bytes, *start)) {
                    return start;
                }
            }

            from += PLACES;
        }

        from
    }
}

impl Prefilter {
    /// The first place before a unit, or at it, from which on a needle may stand that has the unit in it; none if nowhere.
    /// There are fewer than [`KNOWN`] bytes before the unit.
    pub(super) fn before_unit(
        &self,
        reading: Encoding,
        bytes: &[u8],
        unit: usize,
    ) -> Option<usize> {
        if reading.skips() && unit == 0 {
            return None;
        }

        // What is written in lines has no other characters.
        let is_wrapped = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
        if reading == Encoding::Wrapped && !is_wrapped(bytes[unit - 1]) {
            return None;
        }

        let mut read = [0; 2 * KNOWN + 4];
        read[..unit].copy_from_slice(&bytes[..unit]);
        let (mut at, mut length, mut skipped) = (unit, unit, 0);

        while length < unit + KNOWN {
            let Some(&byte) = bytes.get(at) else { return Some(0) };
            if reading.is_plain(byte) {
                read[length] = byte;
                (at, length, skipped) = (at + 1, length + 1, 0);
                continue;
            }

            match reading.unit(&bytes[at..], skipped > 0) {
                Unit::Byte => {
                    read[length] = byte;
                    (at, length, skipped) = (at + 1, length + 1, 0);
                }
                Unit::Text(of_stream, text) if text.bytes().is_empty() => {
                    skipped += of_stream;
                    at += of_stream;
                    if skipped > SKIPPED {
                        return None;
                    }
                }
                // An escaped line end may be skipped.
                Unit::Text(of_stream, text) if text.bytes() != b"\n" && text.bytes() != b"\r" => {
                    let text = text.bytes();
                    read[length..length + text.len()].copy_from_slice(text);
                    (at, length, skipped) = (at + of_stream, length + text.len(), 0);
                }
                // Not enough is known.
                _ => return Some(0),
            }
        }

        let (mut start, last) = (0, if reading.skips() { unit - 1 } else { unit });
        loop {
            start = self.next(&read[..length], start);
            if start > last {
                return None;
            }

            if self.begins(&read[start..length]) {
                return Some(start);
            }

            start += 1;
        }
    }

    /// Looks at all places of a needle that the table knows, where [`next`](Self::next) looks at two.
    fn begins(&self, bytes: &[u8]) -> bool {
        let windows = bytes.windows(4).take(PLACES).enumerate();
        windows.into_iter().all(|(place, window)| match *window {
            [a, b, c, d] => self.places(u32::from_le_bytes([a, b, c, d])) >> place & 1 == 1,
            _ => true,
        })
    }

    fn may_begin(&self, bytes: &[u8], start: usize) -> bool {
        windows(bytes, start).is_none_or(|(first, middle)| {
            self.places(first) & 1 != 0 && self.places(middle) >> (PLACES - 1) & 1 != 0
        })
    }
}

/// The two windows of four bytes from a place on.
fn windows(bytes: &[u8], from: usize) -> Option<(u32, u32)> {
    let [first, middle] = bytes.get(from..)?.first_chunk::<KNOWN>()?.as_chunks().0 else {
        return None;
    };

    Some((u32::from_le_bytes(*first), u32::from_le_bytes(*middle)))
}
