//! A key slot's columns. Lengths and parameters outside of the format's bounds are refused before
//! anything is computed or memory is allocated. The target never derives a key. Parameters that
//! would be accepted are only compared with the bounds.

use super::input::Input;
use super::world::{PASSPHRASE, VAULT_ID};
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::model::SecretBytes;

/// Runs the target. The input has four lengths, a byte of flags, the parameters `m`, `t` and `p`,
/// and the columns.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let lengths = input.array::<4>();
    let shape = input.u8();
    let params: Vec<u8> =
        if shape & 1 == 0 { input.take(12).to_vec() } else { input.piece().to_vec() };

    // Half of the inputs have the correct length in a column. Otherwise hardly any would reach the
    // parameters.
    let mut column = |number: usize, right: usize| {
        let length = if shape & (2 << number) == 0 { right } else { usize::from(lengths[number]) };
        let mut column = input.take(length).to_vec();
        column.resize(length, 0);
        column
    };

    let (slot_id, salt, commitment) = (column(0, 16), column(1, 16), column(2, 32));
    let wrap = column(3, 72);
    let slot = Slot { slot_id, kind: u32::from(shape >> 6), params, salt, commitment, wrap };

    let decoded = KdfParams::decode(&slot.params);
    assert_eq!(decoded.is_ok(), within_bounds(&slot.params), "{:?}", slot.params);
    if let Ok(params) = &decoded {
        assert_eq!(params.encode()[..], slot.params, "two encodings of the same parameters");
    }

    let shaped = slot.slot_id.len() == 16 && slot.salt.len() == 16 && slot.commitment.len() == 32;
    if !shaped || decoded.is_err() {
        let passphrase =
            Passphrase::new(&SecretBytes::copy_of(PASSPHRASE.as_bytes())).expect("it is one");
        match slot.open(&passphrase, &VAULT_ID) {
            Err(CryptoError::Damaged(_)) => assert!(!shaped),
            Err(CryptoError::Unsupported(_)) => assert!(shaped),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("such a slot opens nothing"),
        }
    }

    // This is what `open` does after the derivation.
    let opened =
        Key::copy_of(&[5; 32]).open("slot", &VAULT_ID, &slot.slot_id, &slot.wrap, "the key slot");
    assert!(opened.is_err(), "a seal was forged");
}

/// The bounds of docs/format.md, section 3.
fn within_bounds(params: &[u8]) -> bool {
    let number = |at: usize| {
        params[at..at + 4].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };

    params.len() == 12 && {
        let (memory, passes, lanes) = (number(0), number(4), number(8));
        let memory_fits = (19 * 1024..=2 * 1024 * 1024).contains(&memory);
        memory_fits
            && (1..=64).contains(&passes)
            && (1..=16).contains(&lanes)
            && memory * passes <= 1 << 23
    }
}
