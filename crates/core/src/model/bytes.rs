//! `SecretBytes`: bytes that are wiped on drop and that nothing can print.
//!
//! The type has no `Debug`, `Display`, `Clone`, `Serialize` or `PartialEq`. When it grows, it wipes
//! its old buffer.

use zeroize::{Zeroize, optimization_barrier};

/// The number of bytes of stack that are overwritten after each command and after each request to
/// the agent. Cryptographic code uses less than that.
pub const STACK_DEPTH: usize = 64 * 1024;

/// Overwrites `BYTES` of the stack below the caller, which still hold data of functions that have
/// returned: keys and values of libraries that derive or encode, and what the compiler moved or
/// spilled from registers. 4,096 bytes cost about 50 ns.
#[inline(never)]
pub fn overwrite_stack<const BYTES: usize>() {
    std::hint::black_box(&mut [0_u8; BYTES]);
}

/// A byte buffer that is wiped on drop.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Creates an empty buffer that can hold `capacity` bytes without reallocating.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Creates a buffer of `len` zero bytes, to be written in place.
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// Takes ownership of a vector. Its whole capacity is wiped on drop.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Copies a slice. The caller remains responsible for wiping the source.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::with_capacity(bytes.len());
        copy.extend(bytes);
        copy
    }

    /// Appends bytes. If the buffer has to grow, the old one is wiped.
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
    #[inline]
    pub fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    /// Shortens the buffer to `len` bytes and wipes the rest.
    pub fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            tail.zeroize();
        }

        self.0.truncate(len);
    }

    /// Empties the buffer for reuse. The old content is overwritten by new bytes or wiped on drop,
    /// not here.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of bytes that fit without reallocating.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Returns true if the buffer has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes.
    #[inline]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes for writing in place.
    #[inline]
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

/// Overwrites a vector's whole capacity and empties it. `Vec::zeroize` writes byte by byte, which
/// takes longer than everything else that is done with a large buffer.
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
