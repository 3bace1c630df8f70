//! Finds positions where a needle may begin. A table of hashes skips most of a stream and has no
//! false negatives.

use secrets_core::model::SecretBytes;

use super::decode::{Encoding, Unit};
use super::texts::Sorted;

/// The number of bits of a hash: a table of at least 32 KiB, which fits into the processor's first
/// cache, and at most 1 MiB.
const BITS: std::ops::RangeInclusive<u32> = 15..=20;
/// The number of table slots for each window of a needle, if the table does not get too large. With
/// half as many, twice as many positions are examined where no needle begins.
const SLOTS: usize = 32;

/// The number of bytes of a needle that the table covers: windows of four bytes at its first five
/// positions. Of any five consecutive positions in a stream, one is examined.
pub(super) const KNOWN: usize = 8;
const POSITIONS: usize = 5;

/// The maximum number of consecutive bytes that another reading skips inside a value.
pub(super) const SKIPPED: usize = 64;

/// The positions in needles at which four bytes may occur, as one bit for each position, by the
/// hash of the four bytes.
pub(super) struct Prefilter {
    table: SecretBytes,
    /// The number of bits by which a hash is shifted
    shift: u32,
}

impl Prefilter {
    /// Builds the table for needles of eight bytes or more.
    pub(super) fn new(needles: &Sorted) -> Self {
        let wanted = (needles.count() * POSITIONS * SLOTS).next_power_of_two().trailing_zeros();
        let bits = wanted.clamp(*BITS.start(), *BITS.end());
        let mut prefilter = Self { table: SecretBytes::zeroed(1 << bits), shift: u32::BITS - bits };

        for index in 0..needles.count() {
            for (position, window) in needles.bytes(index).windows(4).take(POSITIONS).enumerate() {
                let [a, b, c, d] = *window else { continue };
                let slot = slot(u32::from_le_bytes([a, b, c, d]), prefilter.shift);
                prefilter.table.expose_mut()[slot] |= 1 << position;
            }
        }

        prefilter
    }

    /// Returns the positions in a needle at which these four bytes may occur.
    fn positions(&self, window: u32) -> u8 {
        self.table.expose()[slot(window, self.shift)]
    }

    /// Returns the first position at or after `from` where a needle may begin. If fewer than
    /// [`KNOWN`] bytes are left, returns the position that was reached.
    ///
    /// Most of a stream is read here. With a size that the compiler knows, the search of the table
    /// needs no bounds check and shifts by a constant.
    pub(super) fn next(&self, bytes: &[u8], from: usize) -> usize {
        let table = self.table.expose();
        match u32::BITS - self.shift {
            15 => next_in::<{ 1 << 15 }>(table, bytes, from),
            16 => next_in::<{ 1 << 16 }>(table, bytes, from),
            17 => next_in::<{ 1 << 17 }>(table, bytes, from),
            18 => next_in::<{ 1 << 18 }>(table, bytes, from),
            19 => next_in::<{ 1 << 19 }>(table, bytes, from),
            _ => next_in::<{ 1 << 20 }>(table, bytes, from),
        }
    }
}

impl Prefilter {
    /// Returns the first position before or at a unit where a needle may begin that contains the
    /// unit. Returns `None` if a needle cannot begin there. Fewer than [`KNOWN`] bytes come before
    /// the unit.
    pub(super) fn before_unit(
        &self,
        reading: Encoding,
        bytes: &[u8],
        unit: usize,
    ) -> Option<usize> {
        if reading.skips() && unit == 0 {
            return None;
        }

        // Encodings that are wrapped into lines have no other characters.
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
                // An escaped line end might be skipped, so it is not text here.
                Unit::Text(of_stream, text) if text.bytes() != b"\n" && text.bytes() != b"\r" => {
                    let text = text.bytes();
                    read[length..length + text.len()].copy_from_slice(text);
                    (at, length, skipped) = (at + of_stream, length + text.len(), 0);
                }
                // The bytes so far do not decide it.
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

    /// Checks all positions of a needle that the table covers, while [`next`](Self::next) checks
    /// two.
    fn begins(&self, bytes: &[u8]) -> bool {
        let windows = bytes.windows(4).take(POSITIONS).enumerate();
        windows.into_iter().all(|(position, window)| match *window {
            [a, b, c, d] => self.positions(u32::from_le_bytes([a, b, c, d])) >> position & 1 == 1,
            _ => true,
        })
    }
}

/// Does the work of [`Prefilter::next`] with a table of `SIZE` slots.
fn next_in<const SIZE: usize>(table: &[u8], bytes: &[u8], mut from: usize) -> usize {
    // `Prefilter::new` makes no table of another size.
    let Ok(table) = <&[u8; SIZE]>::try_from(table) else { return from };
    let positions = |window| table[slot(window, u32::BITS - SIZE.trailing_zeros())];
    let may_begin = |start| {
        windows(bytes, start).is_none_or(|(first, middle)| {
            positions(first) & 1 != 0 && positions(middle) >> (POSITIONS - 1) & 1 != 0
        })
    };

    while let Some((_, middle)) = windows(bytes, from) {
        let found = positions(middle);
        if found != 0 {
            let mut starts = (0..POSITIONS)
                .rev()
                .filter(|position| found >> position & 1 == 1)
                .map(|position| from + 4 - position);

            if let Some(start) = starts.find(|start| may_begin(*start)) {
                return start;
            }
        }

        from += POSITIONS;
    }

    from
}

/// Returns the place of four bytes in a table.
fn slot(window: u32, shift: u32) -> usize {
    (window.wrapping_mul(0x9e37_79b1) >> shift) as usize
}

/// Returns the two windows of four bytes at a position.
fn windows(bytes: &[u8], from: usize) -> Option<(u32, u32)> {
    let [first, middle] = bytes.get(from..)?.first_chunk::<KNOWN>()?.as_chunks().0 else {
        return None;
    };

    Some((u32::from_le_bytes(*first), u32::from_le_bytes(*middle)))
}
