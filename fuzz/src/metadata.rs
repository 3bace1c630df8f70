//! The plaintexts of a record, written by somebody who has the keys: metadata and its padding, a
//! value and its padding, a project's entry in the directory. Every plaintext that decodes has
//! exactly one encoding.

use super::input::Input;
use super::world::{EPOCH, PID, RID, VAULT_ID, keyring, value_context};
use terminal_secrets::crypto::padding::{pad, value_size};
use terminal_secrets::crypto::project_entry::ProjectEntry;
use terminal_secrets::crypto::record::{
    RecordContext, VALUE_LABEL, ValueBinding, open_value, seal_value,
};
use terminal_secrets::model::{Class, Tag};

const PLACE: RecordContext<'static> =
    RecordContext { vault_id: &VAULT_ID, pid: &PID, rid: &RID, epoch: EPOCH };

/// Runs the target. A byte selects what is opened, and the rest is the plaintext.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 5;
    let plain = input.rest();
    match kind {
        // Correct padding lets the input reach the decoder. The other kinds fuzz the padding too.
        0 => metadata(pad(plain, |length| length.next_multiple_of(256)).expose()),
        1 => metadata(plain),
        2 => assert!(value(pad(plain, value_size).expose()), "a value was refused"),
        3 => _ = value(plain),
        _ => entry(plain),
    }
}

fn metadata(padded: &[u8]) {
    let keys = keyring();
    let key = keys.metadata_key(&PID, &RID);
    let context = [&PID[..], &RID, &EPOCH.to_be_bytes(), &1_u64.to_be_bytes()].concat();
    let sealed = key.seal_with_salt([0; 24], "meta", &VAULT_ID, &context, padded);
    let sealed = sealed.expect("anything can be sealed");
    let Ok(metadata) = keys.open_metadata(PLACE, 1, &sealed) else { return };

    assert!(metadata.tag.as_str().len() <= 128 && metadata.hint.as_str().chars().count() <= 9);
    let again = keys.seal_metadata(PLACE, 1, &metadata);
    let again = again.and_then(|again| key.open("meta", &VAULT_ID, &context, &again, "it"));
    let again = again.expect("it opens again");
    assert!(again.expose() == padded, "two plaintexts mean the same");
}

/// Returns false if the value was refused.
fn value(padded: &[u8]) -> bool {
    let tag = Tag::parse("tag").expect("it is a tag");
    let key = keyring().value_key(&PID, &RID, Class::Team, 0).expect("it is there");
    let message_key = || key.message_key(VALUE_LABEL, &[0; 24]);
    let (context, binding) = (value_context(&PID, "tag"), ValueBinding::of_tag(&tag, Class::Team));
    let sealed = key.seal_with_salt([0; 24], VALUE_LABEL, &VAULT_ID, &context, padded);
    let sealed = sealed.expect("anything can be sealed");
    let Ok(value) = open_value(&message_key(), PLACE, 1, binding, &sealed) else { return false };

    // The same salt and the same plaintext give the same seal.
    let again = seal_value(message_key(), PLACE, 1, binding, &value).expect("it can be sealed");
    assert!(again == sealed, "two plaintexts mean the same");
    true
}

fn entry(plain: &[u8]) {
    if let Ok(found) = ProjectEntry::from_bytes(plain) {
        assert!(found.to_bytes().expose() == plain, "two encodings of one entry");
    }
}
