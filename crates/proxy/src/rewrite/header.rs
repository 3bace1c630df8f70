//! Header fields: the field as it is, Basic credentials (RFC 7617) and cookies (RFC 6265).

use base64ct::{Base64, Encoding as _};
use hyper::header::HeaderValue;
use secrets_core::model::{BasicPart, SecretBytes};

use super::{Values, copied, replaced};
use crate::placeholders::Found;

/// Returns the credentials if a field of `authorization` has Basic ones.
pub fn basic(field: &[u8]) -> Option<SecretBytes> {
    let scheme = field.get(..6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }

    let encoded = std::str::from_utf8(field[6..].trim_ascii()).ok()?;
    let decoded = Base64::decode_vec(encoded).ok()?;
    Some(SecretBytes::from_vec(decoded))
}

/// Returns the part of Basic credentials at an offset.
pub fn basic_part(credentials: &[u8], at: usize) -> BasicPart {
    match credentials.iter().position(|byte| *byte == b':') {
        Some(colon) if at > colon => BasicPart::Password,
        _ => BasicPart::User,
    }
}

/// Puts values in place of the placeholders in Basic credentials. Returns `None` if the result cannot
/// stand in a header.
pub fn with_basic(credentials: &[u8], found: &[Found], values: Values<'_>) -> Option<HeaderValue> {
    let plain = replaced(credentials, found, values, copied);
    let encoded = SecretBytes::from_vec(Base64::encode_string(plain.expose()).into_bytes());
    let mut field = SecretBytes::with_capacity(encoded.len() + 6);
    field.extend(b"Basic ");
    field.extend(encoded.expose());
    sensitive(field.expose())
}

/// Puts values in place of the placeholders in a field. Returns `None` if the result cannot stand in a
/// header.
pub fn substituted(field: &[u8], found: &[Found], values: Values<'_>) -> Option<HeaderValue> {
    let field = replaced(field, found, values, copied);
    sensitive(field.expose())
}

/// Returns a field that HTTP/2 never indexes (RFC 7541, section 7.1.3), and that is never printed.
fn sensitive(field: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(field).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the name of the cookie at an offset of a field `cookie`.
pub fn cookie_name(field: &[u8], at: usize) -> Option<&str> {
    let start =
        field[..at].iter().rposition(|byte| *byte == b';').map_or(0, |semicolon| semicolon + 1);
    let pair = &field[start..at];
    let name = pair[..pair.iter().position(|byte| *byte == b'=')?].trim_ascii();
    std::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placeholders::Placeholders;

    #[test]
    fn basic_credentials_are_decoded_and_encoded_again() {
        let placeholders = Placeholders::new(["PLACEHOLDER"]).unwrap();
        let field = format!("basic {}", Base64::encode_string(b"user:PLACEHOLDER"));
        let credentials = basic(field.as_bytes()).unwrap();
        let found = placeholders.find(credentials.expose());
        assert_eq!(basic_part(credentials.expose(), found[0].start), BasicPart::Password);
        let field = with_basic(credentials.expose(), &found, &|_| b"p:w\xff").unwrap();
        let expected = format!("Basic {}", Base64::encode_string(b"user:p:w\xff"));
        assert_eq!(field, expected.as_str());
        assert!(field.is_sensitive());

        assert_eq!(basic_part(b"PLACEHOLDER:x", 0), BasicPart::User);
        assert_eq!(basic_part(b"PLACEHOLDER", 0), BasicPart::User);
        for other in ["Bearer x", "Basic", "Basic !", "basic"] {
            assert!(basic(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_value_cannot_end_a_header() {
        let placeholders = Placeholders::new(["PLACEHOLDER"]).unwrap();
        let found = placeholders.find(b"Bearer PLACEHOLDER");
        let put = |value: &[u8]| substituted(b"Bearer PLACEHOLDER", &found, &|_| value);
        assert_eq!(put(b"abc").unwrap(), "Bearer abc");
        for bad in [&b"a\rb"[..], b"a\nb", b"a\0b", b"\x7f"] {
            assert!(put(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn cookies_have_names() {
        let field = b"a=1; SID=PLACEHOLDER;b = PLACEHOLDER; PLACEHOLDER";
        let name = |at| cookie_name(field, at);
        assert_eq!(name(9), Some("SID"));
        assert_eq!(name(25), Some("b"));
        assert_eq!(name(38), None);
    }
}
