//! A grant or an escrow: a grant from somebody who has the token, an escrow from somebody who has
//! the root key. What decodes has exactly one encoding.

use super::input::Input;
use super::world::VAULT_ID;
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::grant::{Escrow, Grant};
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::rows::GrantRow;
use terminal_secrets::model::SecretBytes;

const TOKEN_ID: [u8; 16] = *b"a token of these";
const GENERATION: u64 = 3;

/// Runs the target. A byte selects the kind of input: the plaintext, the padded plaintext or the
/// sealed bytes of a grant or of an escrow.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 6;
    let bytes = input.rest();
    let is_grant = kind.is_multiple_of(2);
    match kind / 2 {
        0 => {
            let again = if is_grant {
                Grant::decode(bytes).map(|grant| grant.encode())
            } else {
                Escrow::decode(bytes).map(|escrow| escrow.encode())
            };

            if let Ok(again) = again {
                assert!(again.expose() == bytes, "two encodings of one grant or escrow");
            }
        }
        1 => {
            let context = [&TOKEN_ID[..], &GENERATION.to_be_bytes()].concat();
            let label = if is_grant { "grant" } else { "escrow" };
            let sealed = key().seal_with_salt([0; 24], label, &VAULT_ID, &context, bytes);
            let opened = open(is_grant, sealed.expect("anything can be sealed"));
            if let Ok(again) = opened {
                let again = pad(again.expose(), |length| length.next_multiple_of(256));
                assert!(again.expose() == bytes, "two plaintexts mean the same");
            }
        }
        _ => assert!(open(is_grant, bytes.to_vec()).is_err(), "a seal was forged"),
    }
}

fn key() -> Key {
    Key::copy_of(&[9; 32])
}

/// Opens a grant or an escrow, and encodes it again.
fn open(is_grant: bool, sealed: Vec<u8>) -> Result<SecretBytes, CryptoError> {
    let (grant, escrow) = if is_grant { (sealed, Vec::new()) } else { (Vec::new(), sealed) };
    let row = GrantRow { token_id: TOKEN_ID, generation: GENERATION, grant, escrow };
    if is_grant {
        Grant::open(&key(), &VAULT_ID, &row).map(|grant| grant.encode())
    } else {
        Escrow::open(&key(), &VAULT_ID, &row).map(|escrow| escrow.encode())
    }
}
