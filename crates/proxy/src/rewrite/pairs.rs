//! Queries and forms: `name=value` pairs between `&` (WHATWG URL, section 5). A pair without a
//! placeholder keeps its bytes.

use std::borrow::Cow;

use secrets_core::model::SecretBytes;
use secrets_mask::encode;

use super::{Values, percent, replaced};
use crate::placeholders::{Found, Placeholders};

/// A pair with placeholders in it.
pub struct Pair<'a> {
    /// Its decoded name
    pub name: String,
    /// The placeholders in its decoded value
    pub found: Vec<Found>,
    /// True if its name has a placeholder, which no rule allows
    pub in_name: Option<usize>,
    /// Its decoded value
    value: Cow<'a, [u8]>,
    /// The range of its encoded value in the text
    range: std::ops::Range<usize>,
}

/// Returns the pairs with placeholders.
pub fn with_placeholders<'a>(text: &'a [u8], placeholders: &Placeholders) -> Vec<Pair<'a>> {
    let mut pairs = Vec::new();
    let mut at = 0;
    for pair in text.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, start) =
            equals.map_or((pair, pair.len()), |equals| (&pair[..equals], equals + 1));
        let (name, value) = (decoded(name), decoded(&pair[start..]));
        let found = placeholders.find(&value);
        let in_name = placeholders.find(&name).first().map(|one| one.secret);
        if !found.is_empty() || in_name.is_some() {
            let name = String::from_utf8_lossy(&name).into_owned();
            let range = at + start..at + pair.len();
            pairs.push(Pair { name, found, in_name, value, range });
        }

        at += pair.len() + 1;
    }

    pairs
}

/// Puts values in place of the placeholders in pairs of `text`.
pub fn substituted(text: &[u8], pairs: &[Pair<'_>], values: Values<'_>) -> SecretBytes {
    let mut out = SecretBytes::with_capacity(2 * text.len());
    let mut at = 0;
    for pair in pairs {
        out.extend(&text[at..pair.range.start]);
        out.extend(replaced(&pair.value, &pair.found, values, percent).expose());
        at = pair.range.end;
    }

    out.extend(&text[at..]);
    out
}

/// Decodes `+` and percent escapes. An escape that is not valid stays as it is.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }

    let spaced = encode::replaced(text, b'+', b" ");
    Cow::Owned(encode::unpercent(spaced.expose()).expose().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str, value: &'static str) -> String {
        let placeholders = Placeholders::new(["PLACEHOLDER"]).unwrap();
        let pairs = with_placeholders(text.as_bytes(), &placeholders);
        let out = substituted(text.as_bytes(), &pairs, &|_| value.as_bytes());
        String::from_utf8(out.expose().to_vec()).unwrap()
    }

    #[test]
    fn values_are_escaped_and_other_pairs_stay() {
        assert_eq!(
            rewritten("a=%7e+x&key=PLACEHOLDER&b=1&", "v&=x#\u{e9}"),
            "a=%7e+x&key=v%26%3Dx%23%C3%A9&b=1&"
        );
        assert_eq!(rewritten("key=a+PLACEHOLDER%21", "v"), "key=a%20v%21");
        assert_eq!(rewritten("key=PLACE%48OLDER", "v"), "key=v");
        assert_eq!(rewritten("a&b=&=c&%zz=1", "v"), "a&b=&=c&%zz=1");
        assert_eq!(rewritten("a=PLACEHOLDER&a=PLACEHOLDER", "v"), "a=v&a=v");
    }

    #[test]
    fn names_are_decoded() {
        let placeholders = Placeholders::new(["PLACEHOLDER"]).unwrap();
        let pairs =
            with_placeholders(b"api%20key=PLACEHOLDER&PLACEHOLDER=1&PLACEHOLDER", &placeholders);
        let names: Vec<_> = pairs.iter().map(|pair| (pair.name.as_str(), pair.in_name)).collect();
        assert_eq!(names, [("api key", None), ("PLACEHOLDER", Some(0)), ("PLACEHOLDER", Some(0))]);
    }
}
