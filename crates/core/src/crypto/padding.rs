//! Padding that hides lengths (docs/format.md, section 4).

use super::CryptoError;
use crate::codec::{self, Reader};
use crate::model::SecretBytes;

/// Returns `u32 length ‖ plaintext ‖ zeros`. `size` maps the length of the first two to the padded
/// length.
pub fn pad(plaintext: &[u8], size: fn(usize) -> usize) -> SecretBytes {
    let end = 4 + plaintext.len();
    let mut padded = SecretBytes::zeroed(size(end));
    let bytes = padded.expose_mut();
    bytes[..4].copy_from_slice(&codec::length(plaintext.len()));
    bytes[4..end].copy_from_slice(plaintext);

    padded
}

/// Removes the padding of [`pad`] and checks every byte of it.
pub fn unpad<'a>(
    padded: &'a [u8],
    size: fn(usize) -> usize,
    what: &'static str,
) -> Result<&'a [u8], CryptoError> {
    let found = || {
        let mut reader = Reader::new(padded);
        let plaintext = reader.prefixed()?;
        let is_whole = size(4 + plaintext.len()) == padded.len();
        (is_whole && reader.rest().iter().all(|byte| *byte == 0)).then_some(plaintext)
    };

    found().ok_or(CryptoError::Damaged(what))
}

/// Returns the padded length of a value: at least 256 bytes, then the next power of two up to 4,096
/// bytes, then Padmé, which reveals at most log2(log2(length)) bits of the length and adds at most
/// 12 % (Nikitin et al., PETS 2019, section 4).
pub fn value_size(length: usize) -> usize {
    if length <= 4096 {
        return length.next_power_of_two().max(256);
    }

    let exponent = length.ilog2();
    let kept = exponent.ilog2() + 1;
    let step = 1_usize << (exponent - kept);
    length.next_multiple_of(step)
}
