//! Strings in JSON, by JSON Pointers (RFC 6901). Everything else keeps its bytes: numbers, the order
//! of members, members of the same name.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use secrets_core::model::SecretBytes;
use secrets_mask::encode::{self, Json};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Values, copied, replaced};
use crate::placeholders::{Found, Placeholders};

/// A string with placeholders in it.
pub struct Text {
    /// The placeholders in the decoded text
    pub found: Vec<Found>,
    /// The decoded text
    decoded: String,
    /// The range of the string with its quotes
    range: Range<usize>,
}

/// Returns the strings with placeholders at a pointer. Members of the same name are all looked at,
/// because servers differ in which one they read. Returns `None` for bytes that are not JSON.
pub fn at_pointer(bytes: &[u8], pointer: &str, placeholders: &Placeholders) -> Option<Vec<Text>> {
    let body = std::str::from_utf8(bytes).ok()?;
    let raw: &RawValue = serde_json::from_str(body).ok()?;
    let unescaped = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let parts: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
    let mut texts = Vec::new();
    descend(raw, &parts, &mut |raw| {
        let Ok(text) = serde_json::from_str::<Cow<'_, str>>(raw.get()) else { return };
        let found = placeholders.find(text.as_bytes());
        if !found.is_empty() {
            let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
            let range = start..start + raw.get().len();
            texts.push(Text { found, decoded: text.into_owned(), range });
        }
    });

    texts.sort_by_key(|text| text.range.start);
    Some(texts)
}

/// Returns all strings with placeholders and their pointers, in their order. Returns `None` for bytes
/// that are not JSON, and for JSON that is nested more than 128 times.
pub fn all(bytes: &[u8], placeholders: &Placeholders) -> Option<Vec<(String, Text)>> {
    let body = std::str::from_utf8(bytes).ok()?;
    let raw: &RawValue = serde_json::from_str(body).ok()?;
    let mut texts = Vec::new();
    collect(body, raw, &mut String::new(), DEPTH, placeholders, &mut texts)?;
    Some(texts)
}

/// The depth to which placeholders are looked for.
const DEPTH: usize = 128;

fn collect(
    body: &str,
    raw: &RawValue,
    pointer: &mut String,
    depth: usize,
    placeholders: &Placeholders,
    texts: &mut Vec<(String, Text)>,
) -> Option<()> {
    if !placeholders.are_in(raw.get().as_bytes()) {
        return Some(());
    }

    if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(raw.get()) {
        let found = placeholders.find(text.as_bytes());
        let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
        let range = start..start + raw.get().len();
        texts.push((pointer.clone(), Text { found, decoded: text.into_owned(), range }));
        return Some(());
    }

    let depth = depth.checked_sub(1)?;
    let children: Children<'_> = serde_json::from_str(raw.get()).ok()?;
    for (name, child) in children.0 {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        collect(body, child, pointer, depth, placeholders, texts)?;
        pointer.truncate(length);
    }

    Some(())
}

/// Calls `visit` for every value at the end of a pointer.
fn descend<'a>(raw: &'a RawValue, parts: &[String], visit: &mut dyn FnMut(&'a RawValue)) {
    let Some((first, rest)) = parts.split_first() else { return visit(raw) };
    let Some(children) = serde_json::from_str::<Children<'a>>(raw.get()).ok() else { return };
    for (name, child) in children.0 {
        if name == *first {
            descend(child, rest, visit);
        }
    }
}

/// The members of an object by name, or the items of an array by position.
struct Children<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Children<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Children<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut children = Vec::new();
                while let Some(member) = map.next_entry::<Name<'de>, &RawValue>()? {
                    children.push((member.0.0, member.1));
                }

                Ok(Children(children))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut children = Vec::new();
                while let Some(item) = items.next_element()? {
                    children.push((Cow::Owned(children.len().to_string()), item));
                }

                Ok(Children(children))
            }
        }

        deserializer.deserialize_any(Collect)
    }
}

/// A name, borrowed if it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Puts values in place of the placeholders. Returns `None` for a value that is not UTF-8, because it
/// cannot stand in JSON.
pub fn substituted(bytes: &[u8], texts: &[Text], values: Values<'_>) -> Option<SecretBytes> {
    let mut out = SecretBytes::with_capacity(2 * bytes.len());
    let mut at = 0;
    for Text { found, decoded, range } in texts {
        let inside = replaced(decoded.as_bytes(), found, values, copied);
        let inside = std::str::from_utf8(inside.expose()).ok()?;
        out.extend(&bytes[at..range.start]);
        out.push(b'"');
        out.extend(encode::json(inside, Json::PLAIN).expose());
        out.push(b'"');
        at = range.end;
    }

    out.extend(&bytes[at..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(body: &str, pointer: &str, value: &'static [u8]) -> Option<String> {
        let placeholders = Placeholders::new(["PLACEHOLDER"]).unwrap();
        let texts = at_pointer(body.as_bytes(), pointer, &placeholders)?;
        let out = substituted(body.as_bytes(), &texts, &|_| value)?;
        Some(String::from_utf8(out.expose().to_vec()).unwrap())
    }

    #[test]
    fn only_the_named_string_changes() {
        let body = r#"{ "n": 1.50e3, "auth" : {"token":"x PLACEHOLDER","t":1}, "log":"PLACEHOLDER", "n":2 }"#;
        assert_eq!(
            rewritten(body, "/auth/token", br#"a"b\c"#).unwrap(),
            r#"{ "n": 1.50e3, "auth" : {"token":"x a\"b\\c","t":1}, "log":"PLACEHOLDER", "n":2 }"#
        );
        assert_eq!(rewritten(body, "/auth/t", b"v").as_deref(), Some(body));
        assert_eq!(rewritten(body, "/missing/x", b"v").as_deref(), Some(body));
        let escaped = r#"{"a/b":["",{"~":"PLACE\u0048OLDER"}],"k":"PLACEHOLDER"}"#;
        let expected = r#"{"a/b":["",{"~":"v"}],"k":"PLACEHOLDER"}"#;
        assert_eq!(rewritten(escaped, "/a~1b/1/~0", b"v").as_deref(), Some(expected));
        let twice = r#"{"k":"PLACEHOLDER","\u006b":"PLACEHOLDER"}"#;
        assert_eq!(rewritten(twice, "/k", b"v").as_deref(), Some(r#"{"k":"v","\u006b":"v"}"#));
    }

    #[test]
    fn all_strings_with_placeholders_are_named() {
        let placeholders = Placeholders::new(["PLACEHOLDER"]).unwrap();
        let body =
            br#"{"a/b":["x","PLACEHOLDER"],"c":{"~":"PLACEHOLDER PLACEHOLDER"},"PLACEHOLDER":1}"#;
        let texts = all(body, &placeholders).unwrap();
        let pointers: Vec<_> =
            texts.iter().map(|(at, text)| (at.as_str(), text.found.len())).collect();
        assert_eq!(pointers, [("/a~1b/1", 1), ("/c/~0", 2)]);
        assert!(all(b"PLACEHOLDER", &placeholders).is_none());
        let deep = [&b"[".repeat(129)[..], b"\"PLACEHOLDER\"", &b"]".repeat(129)].concat();
        assert!(all(&deep, &placeholders).is_none());
    }

    #[test]
    fn what_is_not_json_is_told_apart() {
        assert_eq!(rewritten("not json", "/a", b"v"), None);
        assert_eq!(rewritten(r#"{"a":"PLACEHOLDER"} x"#, "/a", b"v"), None);
        assert_eq!(rewritten(r#"{"a":"PLACEHOLDER"}"#, "/a", b"\xff"), None);
        assert!(rewritten(&"[".repeat(100_000), "/0", b"v").is_none());
    }
}
