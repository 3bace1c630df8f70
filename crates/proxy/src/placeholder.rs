//! Placeholders that programs get in place of values: random, and in the shape of the value, so that
//! a library that checks the format of a key accepts it.
//!
//! A placeholder is a permission as well: a program that knows it can use the value through the proxy. So
//! it has at least 96 random bits, and is drawn again for each session.

use std::io;

/// The beginnings of keys of well-known services. They are public, so a placeholder may have them.
const PREFIXES: [&str; 43] = [
    "sk-ant-api03-",
    "sk-ant-admin01-",
    "sk-proj-",
    "sk-svcacct-",
    "sk-or-v1-",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "pk_live_",
    "pk_test_",
    "whsec_",
    "github_pat_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "glpat-",
    "gldt-",
    "npm_",
    "pypi-",
    "hf_",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "shpat_",
    "dop_v1_",
    "dp.st.",
    "dckr_pat_",
    "lin_api_",
    "SG.",
    "key-",
    "EAA",
    "gsk_",
    "pplx-",
    "r8_",
];

/// The least number of random characters. Each of 16 characters gives 4 bits, of 36 more than 5.
const LEAST_HEX: usize = 24;
const LEAST: usize = 19;
/// The greatest length of a placeholder. A longer value, such as a PEM key, gets a shorter one.
const LONGEST: usize = 256;
/// The length of a placeholder for a value of an unknown service is about a multiple of this number, so
/// that it does not give away the length of a password.
const STEP: usize = 8;

/// Draws a placeholder for a value. With `shape`, it begins with that text instead of a known prefix.
///
/// # Errors
/// Fails if the system's random generator fails.
pub fn draw(value: &[u8], shape: Option<&str>) -> io::Result<String> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let known = PREFIXES.iter().find(|prefix| text.starts_with(*prefix)).copied();
    let prefix = shape.or(known).unwrap_or_default();
    let rest = text.get(known.map_or(0, str::len)..).unwrap_or_default();
    let alphabet = alphabet_of(rest);

    let least = if alphabet.len() == 16 { LEAST_HEX } else { LEAST };
    let length = match known {
        Some(_) => rest.len(),
        None => rest.len().next_multiple_of(STEP),
    };
    let length = length.clamp(least, LONGEST - 2);

    // Base64 of text that contains the value stays valid base64 with the placeholder.
    let distance = value.len() + 3 - (prefix.len() + length) % 3;
    let length = length + distance % 3;
    Ok(prefix.to_owned() + &random(alphabet, length)?)
}

/// Returns the alphabet that the rest of a value is written in. No character of it is changed by the
/// encodings of headers, URLs, JSON or shells.
fn alphabet_of(rest: &str) -> &'static [u8] {
    const HEX: &[u8] = b"0123456789abcdef";
    const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    let is = |class: fn(u8) -> bool| !rest.is_empty() && rest.bytes().all(class);
    if is(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
        HEX
    } else if is(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) {
        UPPER
    } else if is(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) {
        LOWER
    } else {
        MIXED
    }
}

/// Draws characters without a bias.
fn random(alphabet: &[u8], length: usize) -> io::Result<String> {
    let limit = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        let wanted = length - text.len();
        text.extend(fair.take(wanted).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }

    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_has_the_shape_of_the_value() {
        let key = "sk_test_51Hx0aBcDeFgHiJkLmNoPqRs";
        let drawn = draw(key.as_bytes(), None).unwrap();
        assert!(
            drawn.starts_with("sk_test_") && drawn.len() == key.len() && drawn != key,
            "{drawn}"
        );
        assert_ne!(drawn, draw(key.as_bytes(), None).unwrap());

        let key = "AKIAIOSFODNN7EXAMPLE";
        let drawn = draw(key.as_bytes(), None).unwrap();
        assert!(drawn.starts_with("AKIA") && drawn.len() == 23, "{drawn}");
        assert!(drawn.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));

        let drawn = draw(b"0123456789abcdef0123456789abcdef", None).unwrap();
        assert!(drawn.len() == 32 && drawn.bytes().all(|b| b.is_ascii_hexdigit()), "{drawn}");
        assert_eq!(draw(b"xyz", None).unwrap().len(), 21);
        assert_eq!(draw(b"0a", None).unwrap().len(), 26);
        assert_eq!(draw(b"a password of 22 bytes", None).unwrap().len(), 25);
        assert_eq!(draw(&[b'x'; 5000], None).unwrap().len(), 254);
        assert_eq!(draw(&[0xff; 30], None).unwrap().len(), 21);

        let drawn = draw(b"whatever it is", Some("acme_")).unwrap();
        assert!(drawn.starts_with("acme_") && drawn.len() == 26, "{drawn}");
    }

    #[test]
    fn base64_around_a_placeholder_stays_valid() {
        for length in 1..600 {
            for (first, shape) in [("", None), ("sk_test_", None), ("", Some("acme_"))] {
                let value = first.to_owned() + &"q".repeat(length);
                let drawn = draw(value.as_bytes(), shape).unwrap();
                assert_eq!(drawn.len() % 3, value.len() % 3, "{value}: {drawn}");
                assert!(drawn.len() <= LONGEST + 13, "{drawn}");
            }
        }
    }
}
