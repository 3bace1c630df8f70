//! The recovery code: 256 random bits that open a slot of their own, in a form that a person can
//! copy (docs/format.md, section 3).
//!
//! It needs no expensive key derivation, because nobody can guess 256 bits.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::CryptoError;
use super::aead::Key;
use crate::model::{Invalid, SecretBytes};

/// Crockford's base32, without I, L, O and U, which are easily misread.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 32 bytes and 3 bytes of checksum are exactly 56 digits.
const BYTES: usize = 35;
const GROUP: usize = 4;

/// A recovery code. It is wiped on drop. The command that creates it shows it once.
pub struct RecoveryCode(Key);

impl RecoveryCode {
    /// The number of digits of a code, without separators.
    pub const DIGITS: usize = BYTES * 8 / 5;

    /// Generates a random code.
    pub fn random() -> Result<Self, CryptoError> {
        Key::random().map(Self)
    }

    /// Parses a code: 56 digits in upper or lower case, with spaces, tabs, line ends or hyphens
    /// anywhere. Accepts O for 0, and I and L for 1.
    pub fn parse(text: &SecretBytes) -> Result<Self, Invalid> {
        let mut digits = Zeroizing::new([0_u8; Self::DIGITS]);
        let mut count = 0;
        for character in text.expose().iter().filter(|character| !b" -\t\r\n".contains(character)) {
            // The error gives the position only, because the character itself may be part of a
            // secret.
            let digit = digit(*character).ok_or_else(|| {
                Invalid(format!("character {} is not used in recovery codes", count + 1))
            })?;

            if let Some(place) = digits.get_mut(count) {
                *place = digit;
            }

            count += 1;
        }

        if count != Self::DIGITS {
            return Err(Invalid(format!("it has {count} characters instead of {}", Self::DIGITS)));
        }

        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        for (digits, bytes) in digits.chunks_exact(8).zip(bytes.chunks_exact_mut(5)) {
            let bits =
                Zeroizing::new(digits.iter().fold(0, |bits, digit| bits << 5 | u64::from(*digit)));
            bytes.copy_from_slice(&Zeroizing::new(bits.to_be_bytes())[3..]);
        }

        let mut code = Zeroizing::new([0_u8; 32]);
        code.copy_from_slice(&bytes[..32]);
        if checksum(&code) != bytes[32..] {
            return Err(Invalid("a character is wrong: the checksum does not match".into()));
        }

        Ok(Self(Key::copy_of(&code)))
    }

    /// Returns the code as it is written down: 14 groups of 4 digits, separated by hyphens.
    pub fn text(&self) -> SecretBytes {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        bytes[..32].copy_from_slice(self.0.expose());
        bytes[32..].copy_from_slice(&checksum(self.0.expose()));
        let mut text = SecretBytes::with_capacity(Self::DIGITS + Self::DIGITS / GROUP);

        for bytes in bytes.chunks_exact(5) {
            let bits =
                Zeroizing::new(bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)));
            for at in (0..8).rev() {
                if at % GROUP == GROUP - 1 && !text.is_empty() {
                    text.push(b'-');
                }

                text.push(DIGITS[usize::try_from(*bits >> (5 * at) & 31).unwrap_or(0)]);
            }
        }

        text
    }

    /// Returns the 32 bytes of the code.
    pub(super) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

fn checksum(code: &[u8; 32]) -> [u8; 3] {
    let digest = Sha256::new().chain_update(b"secrets/v3/recovery\0").chain_update(code).finalize();
    [digest[0], digest[1], digest[2]]
}

fn digit(character: u8) -> Option<u8> {
    let character = match character.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };

    DIGITS.iter().position(|digit| *digit == character).and_then(|at| u8::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RecoveryCode, String> {
        RecoveryCode::parse(&SecretBytes::copy_of(text.as_bytes())).map_err(|why| why.to_string())
    }

    #[test]
    fn a_code_is_read_as_people_write_it() {
        for _ in 0..100 {
            let code = RecoveryCode::random().unwrap();
            let text = String::from_utf8(code.text().expose().to_vec()).unwrap();
            assert_eq!((text.len(), text.split('-').count()), (69, 14), "{text}");
            let typed = text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");

            for text in
                [&text, &typed, &text.replace('-', "\n"), &text.replace('1', "I").replace('-', "")]
            {
                assert_eq!(parsed(text).unwrap().0.expose(), code.0.expose());
            }
        }
    }

    #[test]
    fn every_wrong_character_is_detected() {
        let code = RecoveryCode(Key::copy_of(&[0x5a; 32]));
        let text = String::from_utf8(code.text().expose().to_vec()).unwrap();
        for at in (0..text.len()).filter(|at| text.as_bytes()[*at] != b'-') {
            for digit in DIGITS.iter().filter(|digit| **digit != text.as_bytes()[at]) {
                let mut wrong = text.clone().into_bytes();
                wrong[at] = *digit;
                let wrong = parsed(str::from_utf8(&wrong).unwrap()).err().unwrap();
                assert_eq!(wrong, "a character is wrong: the checksum does not match");
            }
        }

        assert_eq!(parsed("").err().unwrap(), "it has 0 characters instead of 56");
        assert_eq!(parsed(&text[1..]).err().unwrap(), "it has 55 characters instead of 56");
        assert_eq!(
            parsed(&format!("{text}0")).err().unwrap(),
            "it has 57 characters instead of 56"
        );

        assert_eq!(parsed("0U").err().unwrap(), "character 2 is not used in recovery codes");
        assert_eq!(parsed("\u{e9}").err().unwrap(), "character 1 is not used in recovery codes");
    }
}
