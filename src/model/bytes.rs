//! `SecretBytes`: bytes that are wiped when dropped and that nothing can print.
//!
//! No `Debug`, `Display`, `Clone`, `Serialize` or `PartialEq`; never reallocated without wiping the old place.

use zeroize::{Zeroize, optimization_barrier};

/// Bytes of stack that are overwritten after a command, and after a request to the agent: more than their cryptography uses.
pub(crate) const DEEP: usize = 64 * 1024;

/// Overwrites `BYTES` of the stack below the caller: what functions that have returned left there. Libraries that derive or
/// encode leave keys and values, the compiler what it moved or had in registers. 4,096 bytes cost some 50 ns.
#[inline(never)]
pub(crate) fn overwrite_stack<const BYTES: usize>() {
    std::hint::black_box(&mut [0_u8; BYTES]);
}

/// Bytes that are wiped when dropped.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Makes an empty buffer that takes `capacity` bytes without moving.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Makes a buffer of `len` zero bytes, to be written in place.
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// Takes over a vector; its whole capacity is wiped in the end.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Copies a slice. The source stays the caller's to wipe.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::with_capacity(bytes.len());
        copy.extend(bytes);
        copy
    }

    /// Appends, moving to a larger place if need be; the old place is wiped.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(2 * self.0.capacity()));
            larger.extend_from_slice(&self.0);
            wipe(&mut self.0);
            self.0 = larger;
        }

        self.0.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    /// Shortens to `len` bytes, wiping what is cut off.
    pub fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            tail.zeroize();
        }

        self.0.truncate(len);
    }

    /// Empties the buffer for other bytes; what it held is wiped when it is dropped, or written over before.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Number of bytes that it takes without moving.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// True without a byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, for use.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl std::io::Write for SecretBytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Overwrites all that a vector has room for, and empties it. `Vec::zeroize` writes byte by byte, which takes longer than all
/// else that is done with a large buffer.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    optimization_barrier(bytes.as_slice());
    bytes.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_the_bytes() {
        let mut bytes = SecretBytes::with_capacity(1);
        for byte in 0..=255 {
            bytes.push(byte);
        }

        assert!(bytes.expose().iter().copied().eq(0..=255));
        bytes.truncate(3);
        assert_eq!(bytes.expose(), [0, 1, 2]);
        bytes.truncate(9);
        assert_eq!(bytes.len(), 3);
    }
}
