//! A project's head. Any content that is sealed and signed correctly has one meaning or is refused,
//! and nobody changes a head without the keys.
//!
//! Inputs patch the head of a real vault, so the target knows no field and no length.

use std::sync::OnceLock;

use super::input::Input;
use super::world::{Copy, VAULT, patch, project_context, projects, root_key};
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::ids::VaultId;
use terminal_secrets::crypto::rows::ProjectRow;
use terminal_secrets::crypto::signing::Signer;

struct Real {
    vault_id: VaultId,
    row: ProjectRow,
    key: Key,
    owner: Signer,
    /// The decrypted head
    plain: Vec<u8>,
}

fn real() -> &'static Real {
    static REAL: OnceLock<Real> = OnceLock::new();
    REAL.get_or_init(|| {
        let (vault_id, all) = projects(&Copy::of(VAULT).path());
        let (row, keyring) = all.into_iter().next().expect("the vault has projects");
        let key = keyring.head_key(&row.pid);
        let context = project_context(&row.pid, row.epoch);
        let plain = key.open("head", &vault_id, &context, &row.head, "it").expect("it opens");
        let plain = plain.expose().to_vec();
        let owner = root_key().signer();
        Real { vault_id, row, key, owner, plain }
    })
}

/// Runs the target. The first byte selects what is patched: the plaintext, the sealed head or the
/// signature. Patches follow, each an offset and new bytes. An empty patch cuts or extends to the
/// offset.
pub fn run(data: &[u8]) {
    let Real { vault_id, row, key, owner, plain } = real();
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
            hostile.sig = owner.sign(&bytes).to_vec();
            let sealed = key.seal_with_salt([0; 24], "head", vault_id, &context, &bytes);
            hostile.head = sealed.expect("anything can be sealed");
        }
        1 => hostile.head.clone_from(&bytes),
        _ => hostile.sig.clone_from(&bytes),
    }

    match Head::open(key, vault_id, &hostile) {
        Ok(head) => {
            let encoded = head.encode(vault_id, &row.pid, row.epoch);
            let is_signed = owner.public().verifies(&encoded, &hostile.sig);
            assert!(kind != 0 || encoded == bytes, "two encodings of one head");
            assert!(kind != 1 || bytes == *original, "a head was forged");
            assert!(is_signed == (kind != 2 || bytes == *original), "a signature was forged");
        }
        Err(_) => assert!(bytes != *original, "the real head was refused"),
    }
}
