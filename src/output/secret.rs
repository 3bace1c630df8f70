//! Secrets as `get` and `list` show them: everything but the value.

use std::time::Duration;

use secrets_core::model::{Class, Description, Name, Secret, SecretBytes, Source, Timestamp};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

use super::destinations::{DestinationInfo, described};
use super::{Outcome, Text};
use crate::ui::escape::{visible, visible_lines};
use crate::ui::time;

/// A line break, and blanks up to the column of the texts.
const NEXT_LINE: &str = "\n             ";

/// One secret's metadata and hint.
pub(crate) struct SecretInfo<'a>(pub(crate) &'a Secret);

/// The members of a secret's JSON form. Their names are those of Cortex's API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    id: String,
    tag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    project: &'a str,
    hint: &'a str,
    access: &'static str,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destinations: Vec<DestinationInfo<'a>>,
}

impl Serialize for SecretInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let m = &self.0.metadata;
        let members = Members {
            id: self.0.id.to_string(),
            tag: m.tag.as_str(),
            name: m.name.as_ref().map(Name::as_str),
            description: m.description.as_ref().map(Description::as_str),
            project: self.0.project.as_str(),
            hint: m.hint.as_str(),
            access: m.class.as_str(),
            created_at: m.created.rfc3339(),
            updated_at: m.updated.rfc3339(),
            expires_at: m.expires.map(Timestamp::rfc3339),
            source: m.source.as_ref().map(Source::as_str),
            destinations: m.destinations.iter().map(DestinationInfo::from).collect(),
        };

        members.serialize(serializer)
    }
}

/// A secret that was stored, and the public half of a key pair. For people, status lines have described the
/// secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredSecret<'a> {
    #[serde(flatten, serialize_with = "as_info")]
    pub(crate) secret: &'a Secret,
    #[serde(rename = "publicKey", skip_serializing_if = "Option::is_none")]
    pub(crate) public: Option<&'a str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference to the field
fn as_info<S: Serializer>(secret: &&Secret, serializer: S) -> Result<S::Ok, S::Error> {
    SecretInfo(secret).serialize(serializer)
}

impl Outcome for StoredSecret<'_> {
    fn text(&self, out: &mut Text) {
        if let Some(public) = self.public {
            out.line(public);
        }
    }
}

impl Outcome for SecretInfo<'_> {
    fn text(&self, out: &mut Text) {
        let m = &self.0.metadata;
        let description = m
            .description
            .as_ref()
            .map(|text| visible_lines(text.as_str()).replace('\n', NEXT_LINE));

        // A restricted secret has no hint.
        let (hint, access) = match m.class {
            Class::Team => (Some(visible(m.hint.as_str())), None),
            Class::Restricted => (None, Some(m.class.as_str().to_owned())),
        };
        let is_expired = |time: Timestamp| time <= Timestamp::now();
        let expires = m.expires.map(|time| {
            let mark = if is_expired(time) { " (expired)" } else { "" };
            time::local(time) + mark
        });

        let destinations: Vec<_> = m.destinations.iter().map(described).collect();
        let destinations = destinations.join(NEXT_LINE);
        let lines = [
            ("tag", Some(m.tag.to_string())),
            ("name", m.name.as_ref().map(|name| visible(name.as_str()))),
            ("description", description),
            ("project", Some(self.0.project.to_string())),
            ("hint", hint),
            ("access", access),
            ("id", Some(self.0.id.to_string())),
            ("created", Some(time::local(m.created))),
            ("updated", Some(time::local(m.updated))),
            ("expires", expires),
            ("source", m.source.as_ref().map(|source| visible(source.as_str()))),
            ("sent to", Some(destinations).filter(|text| !text.is_empty())),
        ];

        let lines: Vec<_> =
            lines.into_iter().filter_map(|(label, text)| Some((label, text?))).collect();
        out.labelled(&lines);
    }
}

/// Several secrets, such as those that were deleted or copied.
#[derive(Serialize)]
pub(crate) struct Secrets<'a> {
    #[serde(serialize_with = "all")]
    pub(crate) secrets: &'a [Secret],
}

fn all<S: Serializer>(secrets: &&[Secret], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(SecretInfo))
}

/// A secret whose value was copied.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CopiedSecret<'a> {
    id: String,
    tag: &'a str,
    project: &'a str,
    /// The time after which the clipboard is cleared; `None` if nothing clears it
    clear_after_seconds: Option<u64>,
}

impl<'a> CopiedSecret<'a> {
    pub(crate) fn new(secret: &'a Secret, cleared: Option<Duration>) -> Self {
        Self {
            id: secret.id.to_string(),
            tag: secret.metadata.tag.as_str(),
            project: secret.project.as_str(),
            clear_after_seconds: cleared.map(|time| time.as_secs()),
        }
    }
}

/// A one-time password.
pub(crate) struct OneTimeCode<'a> {
    secret: &'a Secret,
    /// `None` if it was copied
    code: Option<&'a SecretBytes>,
    seconds_left: u64,
}

impl<'a> OneTimeCode<'a> {
    pub(crate) fn new(
        secret: &'a Secret,
        code: Option<&'a SecretBytes>,
        seconds_left: u64,
    ) -> Self {
        Self { secret, code, seconds_left }
    }

    fn code(&self) -> &str {
        self.code.and_then(|code| std::str::from_utf8(code.expose()).ok()).unwrap_or_default()
    }
}

impl Serialize for OneTimeCode<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Members<'a> {
            id: String,
            tag: &'a str,
            project: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            code: &'a str,
            seconds_left: u64,
        }

        let members = Members {
            id: self.secret.id.to_string(),
            tag: self.secret.metadata.tag.as_str(),
            project: self.secret.project.as_str(),
            code: self.code(),
            seconds_left: self.seconds_left,
        };
        members.serialize(serializer)
    }
}

impl Outcome for OneTimeCode<'_> {
    fn text(&self, out: &mut Text) {
        out.line(self.code());
    }
}

/// Secrets that were chosen from a list.
#[derive(Serialize)]
pub(crate) struct PickedSecrets<'a> {
    secrets: Vec<PickedSecret<'a>>,
}

#[derive(Serialize)]
struct PickedSecret<'a> {
    id: String,
    tag: &'a str,
    project: &'a str,
    /// What is printed without JSON
    text: &'a str,
}

impl<'a> PickedSecrets<'a> {
    /// `texts` are printed in place of the secrets.
    pub(crate) fn new(secrets: &[&'a Secret], texts: &'a [String]) -> Self {
        let picked = |(secret, text): (&&'a Secret, &'a String)| PickedSecret {
            id: secret.id.to_string(),
            tag: secret.metadata.tag.as_str(),
            project: secret.project.as_str(),
            text,
        };
        Self { secrets: secrets.iter().zip(texts).map(picked).collect() }
    }
}

impl Outcome for PickedSecrets<'_> {
    fn text(&self, out: &mut Text) {
        for secret in &self.secrets {
            out.line(secret.text);
        }
    }
}

/// One page of a list of secrets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretPage<'a> {
    pub(crate) page: usize,
    #[serde(serialize_with = "all")]
    pub(crate) secrets: &'a [Secret],
    pub(crate) total: usize,
    pub(crate) total_pages: usize,
    /// True if the text has a column for the project
    #[serde(skip)]
    pub(crate) with_project: bool,
    /// True if the text has a column for the expiry date
    #[serde(skip)]
    pub(crate) with_expiry: bool,
}

impl Outcome for SecretPage<'_> {
    fn text(&self, out: &mut Text) {
        out.secrets(self.secrets, self.with_project, self.with_expiry);
    }
}

/// Secrets in a document that has always had their members in the order of the alphabet.
pub(super) struct SortedSecrets<'a>(pub(super) &'a [Secret]);

impl Serialize for SortedSecrets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sorted: Result<Vec<_>, _> =
            self.0.iter().map(|secret| serde_json::to_value(SecretInfo(secret))).collect();
        sorted.map_err(S::Error::custom)?.serialize(serializer)
    }
}
