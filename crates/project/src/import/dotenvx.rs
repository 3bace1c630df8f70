//! Decrypts the values of a `.env` file that dotenvx encrypted, without that program. It would also run
//! the commands (`$(…)`) in a file of somebody else.
//!
//! A value is `encrypted:` and Base64 of an uncompressed point of secp256k1 (65 bytes), a nonce (16), a
//! tag (16) and the ciphertext. The key for AES-256-GCM is HKDF-SHA256 (RFC 5869, no salt and no info) of that
//! point and the point shared with the private key, both uncompressed (ECIES as in eciesjs).

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U16;
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, KeyInit};
use hkdf::Hkdf;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{ProjectivePoint, PublicKey, SecretKey};
use secrets_core::model::SecretBytes;
use sha2::Sha256;

use super::tree::decode_base64;
use crate::dotenv;

/// The start of the names that private keys have, in `.env.keys` and in the environment.
pub const PRIVATE_KEY: &str = "DOTENV_PRIVATE_KEY";

const BEGINNING: &[u8] = b"encrypted:";
/// The maximum number of keys. Each value is tried with each key.
const MAX_KEYS: usize = 32;
const POINT: usize = 65;
const NONCE: usize = 16;
const TAG: usize = 16;

/// Private keys of dotenvx. It does not implement `Debug`, because they are secret.
#[derive(Default)]
pub struct DotenvxKeys(Vec<SecretKey>);

impl DotenvxKeys {
    /// Adds the keys of a variable's value: 64 hexadecimal digits, or several of them with commas.
    /// Anything else is left out.
    pub fn add(&mut self, value: &[u8]) {
        for text in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let mut key = SecretBytes::zeroed(32);
            let is_key = text.len() == 64
                && text.chunks_exact(2).zip(key.expose_mut()).all(|(digits, byte)| {
                    let digits = std::str::from_utf8(digits).ok();
                    digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).is_some_and(
                        |value| {
                            *byte = value;
                            true
                        },
                    )
                });
            let key = SecretKey::from_slice(key.expose()).ok().filter(|_| is_key);
            let is_new = |key: &SecretKey| self.0.len() < MAX_KEYS && !self.0.contains(key);
            self.0.extend(key.filter(is_new));
        }
    }

    /// Adds the keys of a file `.env.keys`. A file with an error adds none.
    pub fn add_file(&mut self, text: &[u8]) {
        let entries = dotenv::parse(text).unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.name.starts_with(PRIVATE_KEY)) {
            self.add(entry.value.expose());
        }
    }

    /// Decrypts a value. Returns `None` if it is not encrypted, or not for one of these keys.
    pub(super) fn decrypt(&self, value: &[u8]) -> Option<SecretBytes> {
        if self.0.is_empty() {
            return None;
        }

        let sealed = decode_base64(value.strip_prefix(BEGINNING)?)?;
        let (point, rest) = sealed.expose().split_at_checked(POINT)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE>()?;
        let (tag, ciphertext) = rest.split_first_chunk::<TAG>()?;
        let sender = PublicKey::from_sec1_bytes(point).ok()?;
        self.0.iter().find_map(|key| {
            let shared = (ProjectivePoint::from(*sender.as_affine()) * *key.to_nonzero_scalar())
                .to_affine()
                .to_encoded_point(false);
            let mut input = SecretBytes::copy_of(point);
            input.extend(shared.as_bytes());
            let mut derived = SecretBytes::zeroed(32);
            Hkdf::<Sha256>::new(None, input.expose()).expand(&[], derived.expose_mut()).ok()?;

            let mut opened = SecretBytes::copy_of(ciphertext);
            let cipher = AesGcm::<Aes256, U16>::new_from_slice(derived.expose()).ok()?;
            cipher
                .decrypt_inout_detached(nonce.into(), &[], opened.expose_mut().into(), tag.into())
                .ok()?;
            Some(opened)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_program_are_decrypted() {
        // The documentation of dotenvx, and a file that dotenvx 1.51 wrote.
        for (key, value) in [
            (
                "a4547dcd9d3429615a3649bb79e87edb62ee6a74b007075e9141ae44f5fb412c",
                "encrypted:BE9Y7LKANx77X1pv1HnEoil93fPa5c9rpL/1ps48uaRT9zM8VR6mHx9yM+HktKdsPGIZELuZ7rr2mn1gScsmWitppAgE/1lVprNYBCqiYeaTcKXjDUXU5LfsEsflnAsDhT/kWG1l",
            ),
            (
                "ceddc4ac4a5de1a83676874628f90a96c7bf320b375cb96a6269f0bacedeea2d",
                "encrypted:BNnZOaSJYwy5JR7yCBO5P7Gvom8FU80Fkj3VemXKGvu1Jh/PZnVtDhCKlVsRs7tI7qO9x7mBeXyQNe0nnAkjly4t8YwOpklUkT3K5Vv5S8srAhZ+gdAn6rSd5iqs8wp6y1XfAQo/",
            ),
        ] {
            let mut keys = DotenvxKeys::default();
            assert!(keys.decrypt(value.as_bytes()).is_none());
            keys.add(format!("{}, {key}", "1".repeat(64)).as_bytes());
            let opened = keys.decrypt(value.as_bytes()).unwrap();
            assert_eq!(opened.expose(), b"World");

            // A changed ciphertext, and one that is too short
            let end = &value[value.len() - 3..];
            let changed = value.replace(end, if end == "AAA" { "AAB" } else { "AAA" });
            assert!(keys.decrypt(changed.as_bytes()).is_none());
            assert!(keys.decrypt(&value.as_bytes()[..value.len() - 4]).is_none());
        }
    }

    #[test]
    fn only_keys_are_taken() {
        let mut keys = DotenvxKeys::default();
        let digits = "ab".repeat(32);
        for text in ["", "ab", &"0".repeat(64), &"f".repeat(64), &"zz".repeat(32), &"é".repeat(32)]
        {
            keys.add(text.as_bytes());
        }

        assert!(keys.0.is_empty());
        keys.add_file(format!("# x\nDOTENV_PRIVATE_KEY=\"{digits}\"\nDOTENV_PRIVATE_KEY_CI={digits}\nOTHER={digits}\n").as_bytes());
        assert_eq!(keys.0.len(), 1);
    }
}
