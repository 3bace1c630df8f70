//! Metadata and sealed values match their known answers (docs/format.md, sections 2 and 4).

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use terminal_secrets::crypto::aead::{Key, salt_of};
use terminal_secrets::crypto::padding;
use terminal_secrets::crypto::record::{
    VALUE_LABEL, ValueBinding, class_byte, open_value, seal_value,
};
use terminal_secrets::crypto::tree::value_hash;
use terminal_secrets::model::{Metadata, SecretBytes, SecretValue, Tag, Timestamp};

use super::{Case, Fields, record_size};

pub fn metadata(case: &Case) {
    let (input, keyring, version) = (&case.input, case.input.keyring(), case.input.u64("ver"));
    let metadata = Fields(input.0["fields"].clone()).metadata();
    input.in_place(version, |place, context| {
        let key = keyring.metadata_key(place.pid, place.rid);
        let ours = keyring.seal_metadata(place, version, &metadata).unwrap();
        let padded = key.open("meta", place.vault_id, context, &ours, "metadata").unwrap();
        let encoded = case.expected.bytes("encoded");
        let expected = padding::pad(&encoded, record_size);
        assert_eq!(padded.expose(), expected.expose(), "{}", case.name);

        let salt = input.array("salt");
        let sealed = key.seal_with_salt(salt, "meta", place.vault_id, context, padded.expose());
        case.same("sealed", &sealed.unwrap());
        let opened = keyring.open_metadata(place, version, &case.expected.bytes("sealed")).unwrap();
        assert_eq!(opened, metadata, "{}", case.name);
    });
}

pub fn metadata_opened(case: &Case) {
    let (input, keyring) = (&case.input, case.input.keyring());
    let (version, sealed) = (input.u64("ver"), input.bytes("sealed"));
    let result = input.in_place(version, |place, context| {
        case.sealed_as_expected("meta", &keyring.metadata_key(place.pid, place.rid), context);
        keyring.open_metadata(place, version, &sealed)
    });

    if let Some(metadata) = case.opened(result) {
        assert_eq!(metadata, Fields(case.expected.0["fields"].clone()).metadata(), "{}", case.name);
    }
}

/// Returns what the case's value is bound to.
fn binding(input: &Fields) -> ValueBinding {
    let value = SecretValue::new(SecretBytes::copy_of(b"x"), false).unwrap();
    let tag = Tag::parse(input.text("tag")).unwrap();
    let metadata = Metadata::new(tag, &value, Timestamp(0));
    let (class, generation) = (input.class(), input.generation());
    let destinations = input.destinations();
    ValueBinding::of(&Metadata { class, generation, destinations, ..metadata })
}

/// Returns the key of the case's record.
fn value_key(input: &Fields) -> Key {
    let (pid, rid) = (input.array("pid"), input.array("rid"));
    input.keyring().value_key(&pid, &rid, input.class(), input.generation()).unwrap()
}

/// Returns the context of the value's seal, after that of its record.
fn value_context(input: &Fields, context: &[u8]) -> Vec<u8> {
    let key = Tag::parse(input.text("tag")).unwrap().key();
    let length = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
    let mut bound = [&length(key.as_str())[..], key.as_str().as_bytes()].concat();
    for destination in &input.destinations() {
        let text = destination.to_string();
        bound.extend([&length(&text)[..], text.as_bytes()].concat());
    }

    let target = value_hash(&bound);
    let generation = input.generation().to_be_bytes();
    [context, &generation, &[class_byte(input.class())], &target].concat()
}

pub fn value(case: &Case) {
    let (input, expected) = (&case.input, &case.expected);
    let (plain, version) = (input.bytes("value"), input.u64("vver"));
    let sealed = expected.bytes("sealed");
    let padded = padding::pad(&plain, padding::value_size);
    case.same("padded", padded.expose());

    let value = SecretValue::new(SecretBytes::copy_of(&plain), true).unwrap();
    let (key, bound) = (value_key(input), binding(input));
    input.in_place(version, |place, context| {
        let message_key = key.message_key(VALUE_LABEL, &input.array("salt"));
        case.same("key", &message_key.expose()[..32]);
        case.same("nonce", &message_key.expose()[32..]);
        let opened = open_value(&message_key, place, version, bound, &sealed).unwrap();
        assert_eq!(opened.expose(), plain, "{}", case.name);
        case.same("sealed", &seal_value(message_key, place, version, bound, &value).unwrap());

        let context = value_context(input, context);
        let salt = input.array("salt");
        let found =
            key.seal_with_salt(salt, VALUE_LABEL, place.vault_id, &context, padded.expose());
        case.same("sealed", &found.unwrap());
    });

    // The library hides the associated data.
    let (nonce, aad) = (Nonce::from(expected.array::<12>("nonce")), expected.bytes("aad"));
    let cipher = Aes256Gcm::new(&expected.array::<32>("key").into());
    let found = cipher.encrypt(&nonce, Payload { msg: padded.expose(), aad: &aad }).unwrap();
    assert_eq!(found, sealed[24..], "{}", case.name);
}

pub fn value_opened(case: &Case) {
    let input = &case.input;
    let (version, sealed) = (input.u64("vver"), input.bytes("sealed"));
    let key = value_key(input);
    let result = input.in_place(version, |place, context| {
        case.sealed_as_expected(VALUE_LABEL, &key, &value_context(input, context));
        let message_key = key.message_key(VALUE_LABEL, &salt_of(&sealed).unwrap());
        open_value(&message_key, place, version, binding(input), &sealed)
    });

    if let Some(value) = case.opened(result) {
        case.same("value", value.expose());
    }
}
