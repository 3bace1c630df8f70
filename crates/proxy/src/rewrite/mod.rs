//! Puts values in place of placeholders, each with the escaping of its part of a request.
//!
//! * `pairs`: queries and forms
//! * `json`: strings in JSON bodies and WebSocket frames
//! * `header`: header fields, Basic credentials and cookies
//! * `path`: segments of a path

pub mod header;
pub mod json;
pub mod pairs;
pub mod path;

use secrets_core::model::SecretBytes;
use secrets_mask::encode;

use crate::placeholders::Found;

/// Returns the value of a secret by its number.
pub type Values<'v> = &'v dyn Fn(usize) -> &'v [u8];

/// Replaces the placeholders that were found in `text`. `escape` writes text and values as their
/// place needs it.
fn replaced(
    text: &[u8],
    found: &[Found],
    values: Values<'_>,
    escape: impl Fn(&[u8], &mut SecretBytes),
) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(2 * text.len());
    let mut at = 0;
    for one in found {
        escape(&text[at..one.start], &mut out);
        escape(values(one.secret), &mut out);
        at = one.end;
    }

    escape(&text[at..], &mut out);
    out
}

/// Puts values in place of the placeholders in bytes of any kind.
pub fn raw(bytes: &[u8], found: &[Found], values: Values<'_>) -> SecretBytes {
    replaced(bytes, found, values, copied)
}

fn copied(text: &[u8], out: &mut SecretBytes) {
    out.extend(text);
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
fn percent(bytes: &[u8], out: &mut SecretBytes) {
    out.extend(encode::percent(bytes, encode::UNRESERVED).expose());
}
