//! A project's policy. Any content that is sealed and signed correctly has one meaning or is
//! refused, and nobody changes a policy without the keys.
//!
//! Inputs patch a policy with two tokens.

use super::input::Input;
use super::world::{PID, VAULT_ID, keyring, patch};
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::policy::{MAX_WRITERS, Policy, Writer};
use terminal_secrets::crypto::rows::PolicyRow;
use terminal_secrets::crypto::signing::Signer;

const VERSION: u64 = 3;

fn sample(owner: &Signer) -> Policy {
    let writer = |id, until| Writer { token_id: [id; 16], key: owner.public(), until };
    Policy { version: VERSION, epoch: 2, writers: vec![writer(1, 5), writer(4, u64::MAX)] }
}

/// Runs the target. The first byte selects what is patched: the plaintext, the sealed policy or the
/// signature. Patches follow, each an offset and new bytes. An empty patch cuts or extends to the
/// offset.
pub fn run(data: &[u8]) {
    let (key, owner) = (keyring().policy_key(&PID), Signer::from_seed(&Key::copy_of(&[6; 32])));
    let policy = sample(&owner);
    let mut input = Input::new(data);
    let kind = input.u8() % 3;
    let row = seal(&key, &owner, &policy.encode(&VAULT_ID, &PID));
    let original = match kind {
        0 => policy.encode(&VAULT_ID, &PID),
        1 => row.body.clone(),
        _ => row.sig.clone(),
    };

    let mut bytes = original.clone();
    while !input.is_empty() {
        patch(&mut bytes, &mut input);
    }

    let hostile = match kind {
        0 => seal(&key, &owner, &bytes),
        1 => PolicyRow { body: bytes.clone(), ..row },
        _ => PolicyRow { sig: bytes.clone(), ..row },
    };

    match Policy::open(&key, &owner.public(), &VAULT_ID, &PID, &hostile) {
        Ok(found) if kind == 0 => {
            assert!(found.encode(&VAULT_ID, &PID) == bytes, "two encodings of one policy");
            assert!(found.version == VERSION && found.writers.len() <= MAX_WRITERS);
        }
        Ok(_) => assert!(bytes == original, "a policy was forged"),
        Err(_) => assert!(bytes != original, "the real policy was refused"),
    }
}

/// Seals and signs any bytes as a policy.
fn seal(key: &Key, owner: &Signer, bytes: &[u8]) -> PolicyRow {
    let context = [&PID[..], &VERSION.to_be_bytes()].concat();
    let padded = pad(bytes, |length| length.next_multiple_of(256));
    let body = key.seal_with_salt([0; 24], "policy", &VAULT_ID, &context, padded.expose());
    let body = body.expect("anything can be sealed");
    PolicyRow { version: VERSION, body, sig: owner.sign(bytes).to_vec() }
}
