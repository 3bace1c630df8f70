//! A project's key ring, written by somebody who has the root key. Every key ring that decodes has
//! exactly one encoding.

use super::input::Input;
use super::world::{EPOCH, PID, VAULT_ID, project_context};
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::ProjectRow;

const ROOT: [u8; 32] = [4; 32];

/// Runs the target. A byte selects the kind of input, and the rest is a plaintext or sealed bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 3;
    let plain = input.rest();
    let key = Key::copy_of(&ROOT).expand("projects", &[]);
    let context = project_context(&PID, EPOCH);
    let padded = match kind {
        0 => pad(plain, |length| length.next_multiple_of(256)).expose().to_vec(),
        _ => plain.to_vec(),
    };

    let seal = |bytes: &[u8]| key.seal_with_salt([0; 24], "project", &VAULT_ID, &context, bytes);
    let keys =
        if kind == 2 { padded.clone() } else { seal(&padded).expect("anything can be sealed") };
    let row = ProjectRow { pid: PID, epoch: EPOCH, keys, head: Vec::new(), sig: Vec::new() };
    let root = RootKey::from_bytes(&ROOT).expect("there is memory");

    if let Ok(found) = root.open_keyring(&VAULT_ID, &row) {
        assert!(kind != 2, "a seal was forged");
        let again = pad(found.encode().expose(), |length| length.next_multiple_of(256));
        assert!(again.expose() == padded, "two plaintexts mean the same");
    }

    // An agent sends key rings in this form, without padding.
    if let Some(found) = Keyring::decode(&PID, plain) {
        assert!(found.encode().expose() == plain, "two encodings of one key ring");
    }
}
