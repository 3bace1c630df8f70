//! The plaintexts of a record, written by somebody who has the keys: metadata and its padding, a
//! value and its padding. Every plaintext that decodes has exactly one encoding.

use super::input::Input;
use super::world::{EPOCH, PID, RID, VAULT_ID, keyring};
use terminal_secrets::crypto::padding::{pad, value_size};
use terminal_secrets::crypto::record::RecordContext;

/// Runs the target. A byte selects what is opened, and the rest is the plaintext.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 4;
    let plain = input.rest();
    let keys = keyring();
    let place = RecordContext { vault_id: &VAULT_ID, pid: &PID, rid: &RID, epoch: EPOCH };
    let context = [&PID[..], &RID, &EPOCH.to_be_bytes(), &1_u64.to_be_bytes()].concat();

    // Correct padding lets the input reach the decoder. The other kinds fuzz the padding too.
    let padded = match kind {
        0 => pad(plain, |length| length.next_multiple_of(256)).expose().to_vec(),
        2 => pad(plain, value_size).expose().to_vec(),
        _ => plain.to_vec(),
    };

    let (key, label) = if kind < 2 { (&keys.metadata, "meta") } else { (&keys.value, "value") };
    let sealed = key
        .seal_with_salt([0; 24], label, &VAULT_ID, &context, &padded)
        .expect("anything can be sealed");
    let again = if kind < 2 {
        let Ok(metadata) = keys.open_metadata(place, 1, &sealed) else { return };
        assert!(metadata.tag.as_str().len() <= 128 && metadata.hint.as_str().chars().count() <= 9);
        keys.seal_metadata(place, 1, &metadata)
    } else {
        match keys.open_value(place, 1, &sealed) {
            Ok(value) => keys.seal_value(place, 1, &value),
            Err(_) => {
                assert!(kind == 3, "a value that was padded rightly was refused");
                return;
            }
        }
    };

    let again = again
        .and_then(|again| key.open(label, &VAULT_ID, &context, &again, "it"))
        .expect("it opens again");
    assert!(again.expose() == padded, "two plaintexts mean the same");
}
