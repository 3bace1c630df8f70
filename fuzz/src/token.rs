//! A word that somebody types as a token, or that `scan` finds in a file. Every token has exactly
//! one form.

use super::input::Input;
use super::world::VAULT_ID;
use terminal_secrets::crypto::token::Token;
use terminal_secrets::model::SecretBytes;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Runs the target. A byte selects the kind of input: a word, or a level and digits that get their
/// prefix and their checksum, which no fuzzer guesses.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let is_word = input.u8().is_multiple_of(2);
    let word = if is_word {
        input.rest().to_vec()
    } else {
        let mut word = [b"sxr_", b"sxu_", b"sxm_"][usize::from(input.u8() % 3)].to_vec();
        let digit = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { digit(byte.into()) };
        word.extend(input.array::<43>().map(digit));
        let sum = crc(&word);
        word.extend((0..6).rev().map(|at| digit_at(sum, at)));
        word
    };

    check(&word);
}

fn check(word: &[u8]) {
    let parsed = Token::parse(&SecretBytes::copy_of(word));
    assert!(
        Token::is_one(word) == parsed.is_ok(),
        "it is a token and cannot be parsed, or is none"
    );
    match parsed {
        Ok(token) => {
            assert!(token.text().expose() == word, "two words for one token");
            let (keys, prefix) =
                (token.keys(&VAULT_ID), format!("sx{}_", &token.level().as_str()[..1]));
            assert!(word.starts_with(prefix.as_bytes()), "another level");
            assert!(keys.id != [0; 16] && keys.kek.expose() != &[0; 32]);
        }
        Err(why) => {
            // The word may be a token with one wrong character, so a message depends on nothing but its
            // length, a blank or quote around it, and which check failed.
            let message = |word: &[u8]| Token::parse(&SecretBytes::copy_of(word)).err();
            let other_form = message(&vec![b'-'; word.len()]);
            let other_sum = message(&[b"sxr_", &[b'z'; 49][..]].concat());
            let around = message(b" ");
            let known = [other_form, other_sum, around];
            let is_known = known.into_iter().flatten().any(|known| known == why);
            assert!(is_known, "a message tells something of the word");
        }
    }
}

fn digit(number: usize) -> u8 {
    DIGITS[number % DIGITS.len()]
}

fn digit_at(number: u32, place: u32) -> u8 {
    digit((u64::from(number) / 62_u64.pow(place) % 62).try_into().unwrap_or(0))
}

/// Returns CRC-32 (ISO-HDLC), bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}
