//! Key slots and recovery codes match their known answers (section 3).

use std::sync::Arc;

use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::crypto::key_file::KeyFile;
use terminal_secrets::crypto::keychain::KeychainKey;
use terminal_secrets::crypto::recovery::RecoveryCode;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::crypto::slot::{Credential, KEYED_SLOT};
use terminal_secrets::model::SecretBytes;

use super::Case;

fn assert_same_root(case: &Case, found: &RootKey, expected: &[u8; 32]) {
    assert_eq!(found.expose(), expected, "{}", case.name);
}

fn passphrase(case: &Case) -> Passphrase {
    let key_file = case.input.has("key_file").then(|| {
        let text = SecretBytes::from_vec(case.input.bytes("key_file"));
        Arc::new(KeyFile::parse(&text).unwrap())
    });
    let bytes = SecretBytes::from_vec(case.input.bytes("passphrase"));
    Passphrase::new(&bytes).unwrap().with_key_file(key_file)
}

pub fn slot(case: &Case) {
    let (input, vault_id, root) =
        (&case.input, case.input.array("vault_id"), case.input.bytes("root_key"));
    let params = KdfParams::decode(&input.bytes("params")).unwrap();
    let keys = passphrase(case)
        .derive(
            input.u32("type") == KEYED_SLOT,
            params,
            &input.array("salt"),
            &vault_id,
            &input.array("slot_id"),
        )
        .unwrap();

    case.same("kek", keys.kek.expose());
    case.same("commitment", &keys.commitment);
    let kind = input.u32("type").to_be_bytes();
    let context =
        [&input.bytes("slot_id")[..], &kind, &input.bytes("params"), &input.bytes("salt")].concat();
    case.same(
        "wrap",
        &keys
            .kek
            .seal_with_salt(input.array("wrap_salt"), "slot", &vault_id, &context, &root)
            .unwrap(),
    );
}

pub fn slot_opened(case: &Case) {
    let result = case.input.slot().open(&passphrase(case), &case.input.array("vault_id"));
    if let Some(root) = case.opened(result) {
        assert_same_root(case, &root, &case.expected.array("root_key"));
    }
}

pub fn recovery(case: &Case) {
    let (input, vault_id) = (&case.input, case.input.array("vault_id"));
    let text = case.expected.text("text");
    let code = RecoveryCode::parse(&SecretBytes::copy_of(text.as_bytes())).unwrap();
    assert_eq!(code.text().expose(), text.as_bytes());

    let slot = Slot {
        slot_id: input.bytes("slot_id"),
        kind: input.u32("type"),
        params: Vec::new(),
        salt: input.bytes("salt"),
        commitment: Vec::new(),
        wrap: Vec::new(),
    };

    let keys = code.slot_keys(&slot, &vault_id).unwrap();
    case.same("kek", keys.kek.expose());
    case.same("commitment", &keys.commitment);
    let context =
        [&input.bytes("slot_id")[..], &input.u32("type").to_be_bytes(), &input.bytes("salt")]
            .concat();

    let root = input.bytes("root_key");
    case.same(
        "wrap",
        &keys
            .kek
            .seal_with_salt(input.array("wrap_salt"), "slot", &vault_id, &context, &root)
            .unwrap(),
    );
}

pub fn recovery_opened(case: &Case) {
    let code =
        RecoveryCode::parse(&SecretBytes::copy_of(case.input.text("text").as_bytes())).unwrap();
    let result = case.input.slot().open(&code, &case.input.array("vault_id"));
    if let Some(root) = case.opened(result) {
        assert_same_root(case, &root, &case.expected.array("root_key"));
    }
}

pub fn keychain_opened(case: &Case) {
    let bytes = SecretBytes::from_vec(case.input.bytes("passphrase"));
    let key = KeychainKey::from_bytes(&bytes).unwrap();
    let result = case.input.slot().open(&key, &case.input.array("vault_id"));
    if let Some(root) = case.opened(result) {
        assert_same_root(case, &root, &case.expected.array("root_key"));
    }
}
