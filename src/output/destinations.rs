//! Where secrets may be sent.

use secrets_core::model::{Destination, Methods, Secret};
use serde::{Serialize, Serializer};

use super::secret::SecretInfo;
use super::{Outcome, Text};
use crate::ui::escape::visible;

/// The destinations of some secrets.
#[derive(Serialize)]
pub(crate) struct DestinationList<'a> {
    #[serde(serialize_with = "all")]
    secrets: &'a [Secret],
}

fn all<S: Serializer>(secrets: &&[Secret], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(SecretInfo))
}

impl<'a> DestinationList<'a> {
    pub(crate) fn new(secrets: &'a [Secret]) -> Self {
        Self { secrets }
    }
}

impl Outcome for DestinationList<'_> {
    fn text(&self, out: &mut Text) {
        let row = |tag: &str, destination: &Destination| {
            let methods = match &destination.methods {
                Methods::Any => "all".to_owned(),
                Methods::Only(methods) => methods.join(","),
            };

            let place = visible(&destination.place.to_string());
            [tag.to_owned(), destination.address(), place, methods]
        };

        let rows: Vec<_> = self
            .secrets
            .iter()
            .flat_map(|secret| {
                let tag = secret.metadata.tag.as_str();
                secret.metadata.destinations.iter().map(move |one| row(tag, one))
            })
            .collect();
        if !rows.is_empty() {
            out.ranked(["SECRET", "TO", "IN", "METHODS"], [1, 0, 0, 2], &rows);
        }
    }
}

/// Returns a destination as people read it.
pub(crate) fn described(destination: &Destination) -> String {
    let place = visible(&destination.place.to_string());
    let methods = match &destination.methods {
        Methods::Any => String::new(),
        Methods::Only(methods) => format!(", only {}", methods.join(", ")),
    };

    format!("{} in `{place}`{methods}", destination.address())
}

/// A destination in a secret's JSON form.
#[derive(Serialize)]
pub(super) struct DestinationInfo<'a> {
    to: String,
    #[serde(rename = "in")]
    place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    methods: Option<&'a [String]>,
}

impl<'a> From<&'a Destination> for DestinationInfo<'a> {
    fn from(destination: &'a Destination) -> Self {
        let methods = match &destination.methods {
            Methods::Any => None,
            Methods::Only(methods) => Some(&methods[..]),
        };

        Self { to: destination.address(), place: destination.place.to_string(), methods }
    }
}
