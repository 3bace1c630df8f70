//! Key derivation and padded sizes match their known answers (docs/format.md, sections 2 and 4).

use serde_json::Value;
use terminal_secrets::crypto::padding;

use super::Case;

pub fn expand(case: &Case) {
    let found = case.input.key("key").expand(case.input.text("label"), &case.input.bytes("ctx"));
    let output = case.expected.bytes("output");
    assert_eq!(output.len() as u64, case.input.u64("length"));

    // The library returns 32 bytes at a time. A longer output begins with a shorter one (RFC 5869,
    // section 2.3). The 12 bytes after them are a seal's nonce, which `value` compares.
    assert_eq!(&output[..32], found.expose(), "{}", case.name);
}

pub fn value_sizes(case: &Case) {
    let size = |length: &Value| {
        padding::value_size(4 + usize::try_from(length.as_u64().unwrap()).unwrap())
    };

    let found: Vec<Value> =
        case.input.list("lengths").iter().map(|length| size(length).into()).collect();
    assert_eq!(found, case.expected.list("padded"), "{}", case.name);
}
