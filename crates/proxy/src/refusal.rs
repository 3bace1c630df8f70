//! Refusals: why a request is not sent, and the edit that would allow it. A refusal never has a
//! value, a query or a body in it.

use std::fmt;

use secrets_core::model::{Origin, Place, Tag};
use serde::Serialize;

/// The reason why a request is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status of the answer
    pub status: u16,
    /// The reason: one sentence, lower case, without a full stop
    pub message: String,
    /// The next step
    pub hint: Option<String>,
    /// The secret
    pub tag: Option<Tag>,
    /// The place of its placeholder
    pub place: Option<String>,
}

impl Refusal {
    /// Creates a refusal of a request that cannot be judged.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// Creates a refusal of a request that is not allowed.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, message)
    }

    /// Creates a refusal with any status.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None, tag: None, place: None }
    }

    /// Sets what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Names the secret, and the place of its placeholder.
    #[must_use]
    pub fn about(self, tag: &Tag, place: &Place) -> Self {
        Self { tag: Some(tag.clone()), place: Some(place.to_string()), ..self }
    }

    /// Creates the refusal of a secret that may not be sent to an origin at all, or not in this place.
    /// If another request to the origin may have it in this place, `path` is that of the present one.
    pub fn not_allowed(
        tag: &Tag,
        origin: &Origin,
        place: &Place,
        method: &str,
        path: Option<&str>,
    ) -> Self {
        let mut to = origin.to_string();
        let message = match path {
            Some(path) => {
                to = format!("{} --method {method}", quoted(&format!("{origin}{path}")));
                format!("`{tag}` may not be sent to {origin}{path} in `{place}` with {method}")
            }
            None => format!("`{tag}` may not be sent to {origin} in `{place}` with {method}"),
        };
        if *place != Place::authorization() {
            to.push_str(&format!(" --in {}", quoted(&place.to_string())));
        }

        let hint = format!("allow it with `secrets allow {tag} --to {to}`");
        Self::forbidden(message).hint(hint).about(tag, place)
    }

    /// Creates the refusal of a request that the vault allows and that no rule of the session does.
    pub fn without_rule(tag: &Tag, origin: &Origin, place: &Place, method: &str) -> Self {
        Self::forbidden(format!("no rule sends `{tag}` to {origin} in `{place}` with {method}"))
            .hint(
                "change its `[[proxy.rule]]` in .secrets.toml, or start the session again if the \
                 destination is new",
            )
            .about(tag, place)
    }

    /// Returns the body of the answer: JSON, as the command line has it.
    pub fn body(&self) -> Vec<u8> {
        let details = Details {
            hints: self.hint.as_deref().into_iter().collect(),
            secret: self.tag.as_ref().map(Tag::as_str),
            place: self.place.as_deref(),
        };
        let kind = match self.status {
            429 => "TOO_MANY_REQUESTS",
            400..=499 if self.status != 403 => "BAD_REQUEST",
            403 => "FORBIDDEN",
            _ => "INTERNAL_ERROR",
        };
        let body = Body { kind, message: &self.message, details };

        // Strings always serialize.
        let mut bytes = serde_json::to_vec(&body).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
    details: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    hints: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
}

/// Quotes a text for a shell if it needs quotes.
fn quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b":/_-.,%".contains(&b);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }

    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_command_that_allows_it() {
        let (tag, origin) =
            ("api-key".parse().unwrap(), Origin::parse("https://a.example").unwrap());
        let refusal =
            Refusal::not_allowed(&tag, &origin, &Place::Query("it's".into()), "GET", None);
        let body: serde_json::Value = serde_json::from_slice(&refusal.body()).unwrap();
        let expected = serde_json::json!({
            "type": "FORBIDDEN",
            "message": "`api-key` may not be sent to https://a.example in `query:it's` with GET",
            "details": {
                "hints": [r"allow it with `secrets allow api-key --to https://a.example --in 'query:it'\''s'`"],
                "secret": "api-key",
                "place": "query:it's",
            },
        });
        assert_eq!(body, expected);
    }
}
