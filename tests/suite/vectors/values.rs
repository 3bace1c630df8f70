//! Key derivation, padding and sealed values match their known answers (docs/format.md, section 2).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use serde_json::Value;
use terminal_secrets::crypto::padding;
use terminal_secrets::model::{SecretBytes, SecretValue};

use super::Case;

pub fn expand(case: &Case) {
    let found = case.input.key("key").expand(case.input.text("label"), &case.input.bytes("ctx"));
    let output = case.expected.bytes("output");
    assert_eq!(output.len() as u64, case.input.u64("length"));

    // The library returns 32 bytes at a time. A longer output begins with a shorter one (RFC 5869,
    // section 2.3). The 12 bytes after them are a seal's nonce, which `value` compares.
    assert_eq!(&output[..32], found.expose(), "{}", case.name);
}

pub fn value(case: &Case) {
    let (input, expected) = (&case.input, &case.expected);
    let (plain, sealed) = (input.bytes("value"), expected.bytes("sealed"));
    let padded = padding::pad(&plain, padding::value_size);
    case.same("padded", padded.expose());
    input.in_place(input.u64("vver"), |place, context| {
        let pvk = input.key("pvk");
        let found = pvk.seal_with_salt(
            input.array("salt"),
            "value",
            place.vault_id,
            context,
            padded.expose(),
        );

        case.same("sealed", &found.unwrap());
        let ours = SecretValue::new(SecretBytes::copy_of(&plain), true).unwrap();
        let ours = input.keyring().seal_value(place, input.u64("vver"), &ours).unwrap();
        let opened = pvk.open("value", place.vault_id, context, &ours, "a value").unwrap();

        case.same("padded", opened.expose());
        let opened = input.keyring().open_value(place, input.u64("vver"), &sealed).unwrap();
        assert_eq!(opened.expose(), plain, "{}", case.name);
    });

    // The library hides these parts: the seal uses this key, this nonce and this associated data.
    let (nonce, aad) = (Nonce::from(expected.array::<12>("nonce")), expected.bytes("aad"));
    let cipher = Aes256Gcm::new(&expected.array::<32>("key").into());
    let found = cipher.encrypt(&nonce, Payload { msg: padded.expose(), aad: &aad }).unwrap();
    assert_eq!(found, sealed[24..], "{}", case.name);
}

pub fn value_opened(case: &Case) {
    let (version, sealed) = (case.input.u64("vver"), case.input.bytes("sealed"));
    let result = case
        .input
        .in_place(version, |place, _| case.input.keyring().open_value(place, version, &sealed));

    case.sealed_as_expected("value", &case.input.key("pvk"), version);
    if let Some(value) = case.opened(result) {
        case.same("value", value.expose());
    }
}

pub fn value_sizes(case: &Case) {
    let size = |length: &Value| {
        padding::value_size(4 + usize::try_from(length.as_u64().unwrap()).unwrap())
    };

    let found: Vec<Value> =
        case.input.list("lengths").iter().map(|length| size(length).into()).collect();
    assert_eq!(found, case.expected.list("padded"), "{}", case.name);
}
