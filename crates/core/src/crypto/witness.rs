//! The witness of a project: a place in its audit log that a repository remembers, so that a machine
//! without a memory of its own notices a rollback (docs/format.md, section 7).

use std::fmt;
use std::str::FromStr;

use super::ids::Hash;
use crate::model::Invalid;

/// The letters and digits of base32 (RFC 4648, section 6), in lower case.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The number of bytes of the hash.
const BYTES: usize = 20;
/// 20 bytes are exactly 32 digits.
const LENGTH: usize = BYTES * 8 / 5;

/// A place in an audit log: the number of an entry, and the first 20 bytes of its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witness {
    /// The `seq` of the entry, which is that of its head
    pub seq: u64,
    hash: [u8; BYTES],
}

impl Witness {
    /// Returns the witness of the entry with this number and hash.
    pub fn of(seq: u64, hash: &Hash) -> Self {
        let mut short = [0; BYTES];
        short.copy_from_slice(&hash[..BYTES]);
        Self { seq, hash: short }
    }

    /// Returns true if this is the hash of the entry.
    pub fn names(&self, hash: &Hash) -> bool {
        hash[..BYTES] == self.hash
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.seq)?;
        for bytes in self.hash.chunks_exact(5) {
            let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for at in (0..8).rev() {
                let digit = usize::try_from(bits >> (5 * at) & 31).unwrap_or(0);
                write!(f, "{}", char::from(DIGITS[digit]))?;
            }
        }

        Ok(())
    }
}

impl FromStr for Witness {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: &str = "expected a number, a hyphen and 32 letters and digits, as `secrets \
                                check --witness` writes them";
        let wrong = || Invalid(EXPECTED.into());
        let (seq, digits) = text.split_once('-').ok_or_else(wrong)?;
        let is_number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq = seq.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        if digits.len() != LENGTH {
            return Err(wrong());
        }

        let mut hash = [0; BYTES];
        for (digits, bytes) in digits.as_bytes().chunks_exact(8).zip(hash.chunks_exact_mut(5)) {
            let mut bits = 0_u64;
            for digit in digits {
                let value = DIGITS.iter().position(|known| known == digit).ok_or_else(wrong)?;
                bits = bits << 5 | value as u64;
            }

            bytes.copy_from_slice(&bits.to_be_bytes()[3..]);
        }

        Ok(Self { seq, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_read_as_it_is_written() {
        let hash = std::array::from_fn(|at| u8::try_from(at * 8).unwrap());
        let witness = Witness::of(42, &hash);
        let text = witness.to_string();
        assert_eq!(text.len(), 35, "{text}");
        assert_eq!(text.parse::<Witness>().unwrap(), witness);
        assert!(witness.names(&hash) && !witness.names(&[0; 32]));
    }

    #[test]
    fn anything_else_is_refused() {
        let good = Witness::of(1, &[7; 32]).to_string();
        for text in ["", "1", "-", "1-abc", "+1-", &good.to_uppercase(), &good.replace('-', "_")] {
            assert!(text.parse::<Witness>().is_err(), "{text}");
        }
    }
}
