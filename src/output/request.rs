//! A request before it is sent, and an answer as one document.

use base64ct::{Base64, Encoding as _};
use secrets_proxy::HeaderMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Outcome, Text};
use crate::ui::escape::{visible, visible_lines};

/// A request as it would be sent, with tags in place of values.
#[derive(Serialize)]
pub(crate) struct PlannedRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    #[serde(serialize_with = "fields")]
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    #[serde(serialize_with = "text")]
    pub(crate) body: Vec<u8>,
    /// The destinations that allow it
    #[serde(rename = "allowedBy")]
    pub(crate) reasons: Vec<String>,
    /// True to print the reasons, for people
    #[serde(skip)]
    pub(crate) is_explained: bool,
}

fn text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

fn fields<S: Serializer>(fields: &[(String, Vec<u8>)], serializer: S) -> Result<S::Ok, S::Error> {
    let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
    let mut members = Map::new();
    for (name, value) in fields {
        join(&mut members, name, text(value));
    }

    members.serialize(serializer)
}

/// Adds a field. Several of one name become a list.
fn join(members: &mut Map<String, Value>, name: &str, value: Value) {
    match members.get_mut(name) {
        None => drop(members.insert(name.to_owned(), value)),
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

impl Outcome for PlannedRequest {
    fn text(&self, out: &mut Text) {
        if self.is_explained {
            if self.reasons.is_empty() {
                out.line("no secret is sent");
            }

            self.reasons.iter().for_each(|reason| out.line(reason));
            return;
        }

        out.line(&format!("{} {}", self.method, visible(&self.url)));
        for (name, value) in &self.headers {
            out.line(&format!("{name}: {}", visible(&String::from_utf8_lossy(value))));
        }

        if !self.body.is_empty() {
            out.line("");
            out.line(&visible_lines(&String::from_utf8_lossy(&self.body)));
        }
    }
}

/// An answer as one document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnswerInfo {
    status: u16,
    headers: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// The tags of the secrets whose values were masked
    masked: Vec<String>,
}

impl AnswerInfo {
    pub(crate) fn new(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut members = Map::new();
        for (name, value) in headers {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            join(&mut members, name.as_str(), Value::String(text));
        }

        let text = std::str::from_utf8(body).ok().map(str::to_owned);
        let mut masked = masked_in(&String::from_utf8_lossy(body));
        for value in headers.values() {
            masked.extend(masked_in(&String::from_utf8_lossy(value.as_bytes())));
        }

        masked.sort();
        masked.dedup();
        Self {
            status,
            headers: members,
            body_base64: text.is_none().then(|| Base64::encode_string(body)),
            body: text,
            masked,
        }
    }
}

/// Returns the tags that stand in place of values.
fn masked_in(text: &str) -> Vec<String> {
    let tag = |part: &str| part.split_once('\u{203a}').map(|(tag, _)| tag.to_owned());
    let is_tag = |tag: &String| secrets_core::model::Tag::parse(tag).is_ok();
    text.split('\u{2039}').skip(1).filter_map(tag).filter(is_tag).collect()
}

impl Outcome for AnswerInfo {
    fn text(&self, out: &mut Text) {
        out.line(self.body.as_deref().unwrap_or_default());
    }
}
