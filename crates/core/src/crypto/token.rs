//! The token: 256 random bits in one word, which open one grant (docs/format.md, section 8).
//!
//! The word has a prefix by which scanners find it, and a checksum that tells a mistyped word from one
//! that was revoked. Its letter for the level is only a label: the grant decides.

use zeroize::{Zeroize, Zeroizing};

use super::CryptoError;
use super::aead::Key;
use super::ids::{TokenId, VaultId};
use super::signing::Signer;
use crate::model::{Invalid, Level, SecretBytes};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const PREFIX: usize = 4;
/// 62^43 is the first power of 62 above 2^256.
const KEY_DIGITS: usize = 43;
/// 62^6 is the first power of 62 above 2^32.
const CHECKSUM_DIGITS: usize = 6;

/// A token. It is wiped on drop. The command that creates it shows it once.
pub struct Token {
    level: Level,
    key: Key,
}

/// The keys that a token has in one vault.
pub struct TokenKeys {
    /// The id of its grant
    pub id: TokenId,
    /// The key that opens its grant
    pub kek: Key,
    /// The key with which a `manage` token signs
    pub signer: Signer,
    /// The key that seals its checkpoints
    pub checkpoint: Key,
    /// The key for digests of files that were rendered with some secrets of a project
    pub output: Key,
}

impl Token {
    /// The length of a token in bytes.
    pub const LENGTH: usize = PREFIX + KEY_DIGITS + CHECKSUM_DIGITS;

    /// Generates a token.
    pub fn random(level: Level) -> Result<Self, CryptoError> {
        Ok(Self { level, key: Key::random()? })
    }

    /// Returns the level that the word names.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns true if `bytes` are a token: its form, its checksum and the size of its number are
    /// right. [`Token::parse`] accepts exactly these.
    pub fn is_one(bytes: &[u8]) -> bool {
        has_form(bytes) && has_checksum(bytes) && key_of(&bytes[PREFIX..][..KEY_DIGITS]).is_some()
    }

    /// Parses a token.
    pub fn parse(text: &SecretBytes) -> Result<Self, Invalid> {
        let bytes = text.expose();
        let is_around = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'');
        let length = bytes.len();
        if bytes.is_empty() {
            return Err(Invalid("it is empty".into()));
        } else if bytes.first().is_some_and(is_around) || bytes.last().is_some_and(is_around) {
            return Err(Invalid("it begins or ends with a blank, a quote or a line break".into()));
        } else if length > Self::LENGTH {
            return Err(Invalid(format!("it has more than {} characters", Self::LENGTH)));
        } else if length < Self::LENGTH {
            return Err(Invalid(format!("it has {length} characters instead of {}", Self::LENGTH)));
        }

        if !has_form(bytes) {
            return Err(Invalid(
                "it does not begin with `sxr_`, `sxu_` or `sxm_`, or it has a \
                                character that tokens do not have"
                    .into(),
            ));
        }

        let wrong = || Invalid("a character is wrong: the checksum does not match".into());
        if !has_checksum(bytes) {
            return Err(wrong());
        }

        let level = level_of(bytes).ok_or_else(wrong)?;
        let key = key_of(&bytes[PREFIX..PREFIX + KEY_DIGITS]).ok_or_else(wrong)?;
        Ok(Self { level, key })
    }

    /// Returns the token as one word.
    pub fn text(&self) -> SecretBytes {
        let mut text = SecretBytes::zeroed(Self::LENGTH);
        let bytes = text.expose_mut();
        bytes[..PREFIX].copy_from_slice(prefix(self.level));

        let mut number = Zeroizing::new(*self.key.expose());
        for digit in bytes[PREFIX..PREFIX + KEY_DIGITS].iter_mut().rev() {
            *digit = DIGITS[divide(&mut number)];
        }

        let sum = checksum(&bytes[..PREFIX + KEY_DIGITS]);
        bytes[PREFIX + KEY_DIGITS..].copy_from_slice(&sum);
        text
    }

    /// Derives the token's keys in a vault.
    pub fn keys(&self, vault_id: &VaultId) -> TokenKeys {
        let prk = self.key.extract(vault_id);
        let mut id = [0; 16];
        id.copy_from_slice(&prk.expand("token-id", &[]).expose()[..16]);
        TokenKeys {
            id,
            kek: prk.expand("token-kek", &id),
            signer: Signer::from_seed(&prk.expand("token-sign", &[])),
            checkpoint: prk.expand("checkpoint", &[]),
            output: prk.expand("output", &[]),
        }
    }
}

fn prefix(level: Level) -> &'static [u8; PREFIX] {
    match level {
        Level::Read => b"sxr_",
        Level::Use => b"sxu_",
        Level::Manage => b"sxm_",
    }
}

fn level_of(bytes: &[u8]) -> Option<Level> {
    Level::ALL.into_iter().find(|level| bytes.starts_with(prefix(*level)))
}

fn has_form(bytes: &[u8]) -> bool {
    bytes.len() == Token::LENGTH
        && level_of(bytes).is_some()
        && bytes[PREFIX..].iter().all(u8::is_ascii_alphanumeric)
}

fn has_checksum(bytes: &[u8]) -> bool {
    let (word, sum) = bytes.split_at(PREFIX + KEY_DIGITS);
    checksum(word) == sum
}

/// Returns CRC-32 (ISO-HDLC) of the word before it, in base 62. It finds mistakes, not forgeries.
fn checksum(word: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    let mut rest = crc32fast::hash(word);
    let mut digits = [0; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest as usize % DIGITS.len()];
        rest /= 62;
    }

    digits
}

/// Divides a big-endian number by 62 and returns the remainder.
fn divide(number: &mut [u8; 32]) -> usize {
    let mut rest = 0_u32;
    for byte in number {
        let part = rest << 8 | u32::from(*byte);
        // Both are below 62 * 256, so the quotient is one byte.
        *byte = u8::try_from(part / 62).unwrap_or(u8::MAX);
        rest = part % 62;
    }

    rest as usize
}

/// Returns the number that base-62 digits stand for, or `None` if it has more than 256 bits.
fn key_of(digits: &[u8]) -> Option<Key> {
    let mut number = Zeroizing::new([0_u8; 32]);
    for digit in digits {
        let digit = DIGITS.iter().position(|known| known == digit)?;
        let mut carry = u32::try_from(digit).ok()?;
        for byte in number.iter_mut().rev() {
            carry += u32::from(*byte) * 62;
            *byte = carry.to_be_bytes()[3];
            carry >>= 8;
        }

        if carry > 0 {
            carry.zeroize();
            return None;
        }
    }

    Some(Key::copy_of(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &[u8]) -> SecretBytes {
        SecretBytes::copy_of(text)
    }

    #[test]
    fn tokens_round_trip_and_name_their_level() {
        for level in Level::ALL {
            let token = Token::random(level).unwrap();
            let text = token.text();
            assert!(text.len() == Token::LENGTH && Token::is_one(text.expose()));
            let parsed = Token::parse(&text).unwrap();
            assert_eq!((parsed.level(), parsed.key.expose()), (level, token.key.expose()));
        }
    }

    #[test]
    fn the_smallest_and_the_largest_key_round_trip() {
        for key in [[0; 32], [255; 32]] {
            let token = Token { level: Level::Use, key: Key::copy_of(&key) };
            assert_eq!(Token::parse(&token.text()).unwrap().key.expose(), &key);
        }

        let mut too_large = b"sxu_".to_vec();
        too_large.extend([b'z'; KEY_DIGITS]);
        let sum = checksum(&too_large);
        too_large.extend(sum);
        assert!(Token::parse(&secret(&too_large)).is_err() && !Token::is_one(&too_large));
    }

    #[test]
    fn every_wrong_character_is_noticed() {
        let text = Token::random(Level::Read).unwrap().text();
        for at in 0..Token::LENGTH {
            let mut wrong = text.expose().to_vec();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            assert!(Token::parse(&secret(&wrong)).is_err() && !Token::is_one(&wrong), "{at}");
        }

        for wrong in [&text.expose()[1..], b"", b"sxr_"] {
            assert!(Token::parse(&secret(wrong)).is_err() && !Token::is_one(wrong));
        }
    }

    #[test]
    fn keys_differ_between_vaults() {
        let token = Token::random(Level::Manage).unwrap();
        let (one, other) = (token.keys(&[1; 16]), token.keys(&[2; 16]));
        assert_eq!(one.id, token.keys(&[1; 16]).id);
        assert!(one.id != other.id && one.kek.expose() != other.kek.expose());
        assert!(one.signer.public() != other.signer.public());
    }
}
