//! The system's random generator, and the values that `--generate` draws from it.
//!
//! It fails closed: without random bytes, nothing is sealed and nothing is generated.

use super::CryptoError;
use crate::model::SecretBytes;

/// Returns an array of random bytes.
pub fn array<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills a slice with random bytes.
pub fn fill(bytes: &mut [u8]) -> Result<(), CryptoError> {
    getrandom::fill(bytes).map_err(|_| CryptoError::Random)
}

/// The characters of a generated value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// `0-9A-Za-z`, 62
    Alnum,
    /// `0-9a-f`, 16
    Hex,
    /// `A-Za-z0-9-_`, 64
    Base64Url,
    /// The 94 visible ASCII characters
    Ascii,
    /// `0-9`, 10
    Digits,
    /// `A-Z`, 26
    Upper,
    /// `a-z`, 26
    Lower,
}

impl Alphabet {
    fn characters(self) -> Vec<u8> {
        (b'!'..=b'~')
            .filter(|c| match self {
                Self::Alnum => c.is_ascii_alphanumeric(),
                Self::Hex => matches!(c, b'0'..=b'9' | b'a'..=b'f'),
                Self::Base64Url => c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'),
                Self::Ascii => true,
                Self::Digits => c.is_ascii_digit(),
                Self::Upper => c.is_ascii_uppercase(),
                Self::Lower => c.is_ascii_lowercase(),
            })
            .collect()
    }
}

/// Generates a value of `length` characters. Every character is equally likely.
pub fn generate(length: usize, alphabet: Alphabet) -> Result<SecretBytes, CryptoError> {
    let characters = alphabet.characters();

    // Bytes from the last, incomplete run of the alphabet would favour its first characters, so
    // they are dropped.
    let fair = 256 - 256 % characters.len();
    let mut value = SecretBytes::with_capacity(length);
    let mut pool = SecretBytes::zeroed(256);

    while value.len() < length {
        fill(pool.expose_mut())?;
        for byte in pool.expose().iter().map(|b| usize::from(*b)).filter(|b| *b < fair) {
            if value.len() < length {
                value.push(characters[byte % characters.len()]);
            }
        }
    }

    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Alphabet; 7] = [
        Alphabet::Alnum,
        Alphabet::Hex,
        Alphabet::Base64Url,
        Alphabet::Ascii,
        Alphabet::Digits,
        Alphabet::Upper,
        Alphabet::Lower,
    ];

    #[test]
    fn alphabets_have_their_sizes() {
        assert_eq!(ALL.map(|alphabet| alphabet.characters().len()), [62, 16, 64, 94, 10, 26, 26]);
    }

    #[test]
    fn every_character_is_as_likely_as_another() {
        for alphabet in ALL {
            let draws = 200_000;
            let value = generate(draws, alphabet).unwrap();
            let mut counts = [0_u32; 256];
            value.expose().iter().for_each(|b| counts[usize::from(*b)] += 1);

            let characters = alphabet.characters();
            let expected = draws as f64 / characters.len() as f64;
            let chi_square: f64 = characters
                .iter()
                .map(|c| (f64::from(counts[usize::from(*c)]) - expected).powi(2) / expected)
                .sum();

            // The limit is six standard deviations. A fair generator exceeds it once in a thousand
            // million runs, and `byte % 62` scores 1,600.
            let freedom = (characters.len() - 1) as f64;
            assert!(
                chi_square < freedom + 6.0 * (2.0 * freedom).sqrt() + 12.0,
                "{alphabet:?} {chi_square}"
            );

            assert_eq!(counts.iter().sum::<u32>() as usize, draws);
        }
    }
}
