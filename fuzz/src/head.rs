//! A project's head. Any content that is sealed and signed correctly has one meaning or is refused,
//! and nobody changes a head without the keys.
//!
//! Inputs patch the head of a real vault, so the target knows no field and no length.

use std::sync::OnceLock;

use ed25519_dalek::{Signer, SigningKey};

use super::input::Input;
use super::world::{Copy, VAULT, project_context, projects};
use terminal_secrets::crypto::ids::VaultId;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::rows::ProjectRow;

struct Real {
    vault_id: VaultId,
    row: ProjectRow,
    keyring: Keyring,
    /// The decrypted head
    plain: Vec<u8>,
}

fn real() -> &'static Real {
    static REAL: OnceLock<Real> = OnceLock::new();
    REAL.get_or_init(|| {
        let (vault_id, all) = projects(&Copy::of(VAULT).path());
        let (row, keyring) = all.into_iter().next().expect("the vault has projects");
        let context = project_context(&row.pid, row.epoch);
        let plain = keyring
            .metadata
            .open("head", &vault_id, &context, &row.head, "it")
            .expect("the head opens");

        let plain = plain.expose().to_vec();
        Real { vault_id, row, keyring, plain }
    })
}

/// Runs the target. The first byte selects what is patched: the plaintext, the sealed head or the
/// signature. Patches follow, each an offset and new bytes. An empty patch cuts or extends to the
/// offset.
pub fn run(data: &[u8]) {
    let Real { vault_id, row, keyring, plain } = real();
    let mut input = Input::new(data);
    let kind = input.u8() % 3;
    let original = match kind {
        0 => plain,
        1 => &row.head,
        _ => &row.sig,
    };

    let mut bytes = original.clone();
    while !input.is_empty() {
        patch(&mut bytes, &mut input);
    }

    let mut hostile = row.clone();
    match kind {
        0 => {
            let context = project_context(&row.pid, row.epoch);
            hostile.sig =
                SigningKey::from_bytes(keyring.signing.expose()).sign(&bytes).to_bytes().to_vec();
            let sealed =
                keyring.metadata.seal_with_salt([0; 24], "head", vault_id, &context, &bytes);
            hostile.head = sealed.expect("anything can be sealed");
        }
        1 => hostile.head.clone_from(&bytes),
        _ => hostile.sig.clone_from(&bytes),
    }

    match keyring.open_head(vault_id, &hostile) {
        Ok(head) if kind == 0 => {
            assert!(
                head.encode(vault_id, &row.pid, row.epoch) == bytes,
                "two encodings of one head"
            );
        }
        Ok(_) => assert!(bytes == *original, "a head was forged"),
        Err(_) => assert!(bytes != *original, "the real head was refused"),
    }
}

fn patch(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let (at, piece) = (input.u16() % 512, input.piece());
    if piece.is_empty() {
        bytes.resize(at, 0);
        return;
    }

    for (place, new) in bytes.iter_mut().skip(at).zip(piece) {
        *place = *new;
    }
}
