//! JSON documents with values. A failure never quotes them.

use std::fmt;

use secrets_core::model::{Name, SecretBytes, SecretValue, Tag};
use secrets_core::vault::{NewSecret, SecretChanges};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::reply::Failure;

/// The members of both documents. Others are ignored, as the document allows.
#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "present")]
    name: Option<Member>,
    #[serde(default, deserialize_with = "present")]
    secret: Option<Member>,
    #[serde(default, deserialize_with = "present")]
    tag: Option<Member>,
}

/// A member: a string in wiped memory, or something else.
enum Member {
    Text(SecretBytes),
    Other,
}

/// Reads an existing member, so that `null` differs from an absent one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Member>, D::Error> {
    deserializer.deserialize_any(MemberVisitor).map(Some)
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Text(SecretBytes::copy_of(text.as_bytes())))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Member, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Member, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Member, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }
}

/// Reads a `CreateSecretRequest`.
pub(crate) fn new_secret(body: &SecretBytes) -> Result<NewSecret, Failure> {
    let Document { name, secret, tag } = document(body)?;
    let name = parsed("name", &required("name", name)?, Name::parse)?;
    let tag = parsed("tag", &required("tag", tag)?, Tag::parse)?;
    let value = value(required("secret", secret)?)?;
    Ok(NewSecret { name, ..NewSecret::new(tag, value) })
}

/// Reads an `UpdateSecretRequest`. An empty name removes the name.
pub(crate) fn changes(body: &SecretBytes) -> Result<SecretChanges, Failure> {
    let Document { name, secret, .. } = document(body)?;
    let name = name.map(|name| text("name", name)).transpose()?;
    let name = name.map(|name| parsed("name", &name, Name::parse)).transpose()?;
    let value = secret.map(|secret| value(text("secret", secret)?)).transpose()?;
    Ok(SecretChanges { name, value, ..SecretChanges::default() })
}

fn document(body: &SecretBytes) -> Result<Document, Failure> {
    // The reader would take an array as well.
    let first = body.expose().iter().find(|byte| !byte.is_ascii_whitespace());
    let wrong = |at: Option<(usize, usize)>| {
        let place = at
            .map_or_else(String::new, |(line, column)| format!(" (line {line}, column {column})"));
        Failure::bad_request(format!("the body is not a valid JSON object{place}"))
    };
    if first != Some(&b'{') {
        return Err(wrong(None));
    }

    serde_json::from_slice(body.expose())
        .map_err(|error| wrong(Some((error.line(), error.column())).filter(|at| at.0 > 0)))
}

fn required(member: &str, found: Option<Member>) -> Result<SecretBytes, Failure> {
    let missing = || Failure::bad_request(format!("`{member}` is missing"));
    text(member, found.ok_or_else(missing)?)
}

fn text(member: &str, found: Member) -> Result<SecretBytes, Failure> {
    match found {
        Member::Text(text) => Ok(text),
        Member::Other => Err(Failure::bad_request(format!("`{member}` must be a string"))),
    }
}

fn parsed<T>(
    member: &str,
    text: &SecretBytes,
    parse: impl FnOnce(&str) -> Result<T, secrets_core::model::Invalid>,
) -> Result<T, Failure> {
    let text = std::str::from_utf8(text.expose()).unwrap_or_default();
    parse(text).map_err(|why| Failure::bad_request(format!("`{member}` is invalid: {why}")))
}

fn value(bytes: SecretBytes) -> Result<SecretValue, Failure> {
    SecretValue::new(bytes, false)
        .map_err(|why| Failure::bad_request(format!("`secret` is invalid: {why}")))
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::reply::Reply;

    fn bytes(text: &str) -> SecretBytes {
        SecretBytes::copy_of(text.as_bytes())
    }

    fn message(failure: Failure) -> String {
        assert_eq!(failure.status, StatusCode::BAD_REQUEST);
        format!("{:?}", Reply::from(failure))
    }

    #[test]
    fn a_secret_has_a_tag_a_value_and_a_name() {
        let new = new_secret(&bytes(r#" {"tag":"a-b","secret":"v\u00e4\n","name":"N","x":[{}]} "#));
        let new = new.unwrap_or_else(|failure| panic!("{}", message(failure)));
        assert_eq!(new.tag.as_str(), "a-b");
        assert_eq!(new.value.expose(), "vä\n".as_bytes());
        assert_eq!(new.name.unwrap().as_str(), "N");

        let new = new_secret(&bytes(r#"{"tag":"a","secret":"v","name":""}"#));
        assert!(new.unwrap_or_else(|failure| panic!("{}", message(failure))).name.is_none());
    }

    #[test]
    fn a_failure_says_what_is_wrong_and_quotes_no_value() {
        for (body, expected) in [
            ("", "not a valid JSON object"),
            ("null", "not a valid JSON object"),
            (r#"["a", "sk_live", "b"]"#, "not a valid JSON object"),
            (r#"{"tag":"a","secret":"sk_live","name":"n""#, "(line 1, column"),
            (r#"{"tag":"a","secret":"sk_live","secret":"sk_live","name":"n"}"#, "(line 1, column"),
            (r#"{"tag":"a","secret":"sk_live","name":"n"} x"#, "(line 1, column"),
            (r#"{"tag":"a","secret":"sk_live\ud800","name":"n"}"#, "(line 1, column"),
            (r#"{"tag":"a","name":"n"}"#, "`secret` is missing"),
            (r#"{"tag":"a","secret":"sk_live"}"#, "`name` is missing"),
            (r#"{"secret":"sk_live","name":"n"}"#, "`tag` is missing"),
            (r#"{"tag":"a","secret":"sk_live","name":null}"#, "`name` must be a string"),
            (r#"{"tag":"a","secret":51515151,"name":"n"}"#, "`secret` must be a string"),
            (r#"{"tag":"a","secret":["sk_live"],"name":"n"}"#, "`secret` must be a string"),
            (r#"{"tag":"a","secret":{"x":"sk_live"},"name":"n"}"#, "`secret` must be a string"),
            (r#"{"tag":["sk_live"],"secret":"v","name":"n"}"#, "`tag` must be a string"),
            (r#"{"tag":"a","secret":"","name":"n"}"#, "`secret` is invalid"),
            (r#"{"tag":"a b","secret":"sk_live","name":"n"}"#, "`tag` is invalid"),
            (r#"{"tag":"a","secret":"sk_live","name":"\u0007"}"#, "`name` is invalid"),
        ] {
            let Err(failure) = new_secret(&bytes(body)) else { panic!("{body} was accepted") };
            let message = message(failure);
            assert!(message.contains(expected), "{body}: {message}");
            assert!(!message.contains("sk_live") && !message.contains("5151"), "{message}");
        }
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let changed = |body| match changes(&bytes(body)) {
            Ok(SecretChanges { name, value, .. }) => {
                let name = name.map(|name| name.map(|name| name.as_str().to_owned()));
                (name, value.map(|value| value.expose().to_vec()))
            }
            Err(failure) => panic!("{}", message(failure)),
        };

        assert_eq!(changed("{}"), (None, None));
        assert_eq!(changed(r#"{"name":""}"#), (Some(None), None));
        assert_eq!(changed(r#"{"name":"n"}"#), (Some(Some("n".into())), None));
        assert_eq!(changed(r#"{"secret":"v","tag":7}"#), (None, Some(b"v".to_vec())));
        assert!(changes(&bytes(r#"{"secret":null}"#)).is_err());
    }
}
