//! A request to the API, and the JSON document in it.
//!
//! No refusal repeats a value.

use super::input::Input;
use terminal_secrets::api::read;
use terminal_secrets::model::SecretBytes;

/// The value. An input has `\x01` for it.
const VALUE: &str = "value-of-the-key-7f3a9c";
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "get"];

/// Runs the target. A byte selects the method, then a length and a path with a query follow, then the
/// document.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let method = METHODS[usize::from(input.u8()) % METHODS.len()];
    let Ok(target) = std::str::from_utf8(input.piece()) else { return };
    let mut document = Vec::new();
    for byte in input.take(data.len()) {
        match byte {
            1 => document.extend(VALUE.as_bytes()),
            byte => document.push(*byte),
        }
    }

    let read = |target: &str| read(method, target, &SecretBytes::copy_of(&document));
    for target in [target, &format!("/api/v1/secrets{target}")] {
        if let Err(refusal) = read(target) {
            assert!(!refusal.contains(VALUE), "{refusal}");
        }
    }
}
