//! The environments of a manifest and their secrets, as `check --all-environments` reports them.

use serde::Serialize;

use super::{Outcome, Text};

/// Which environment has which secret. No value is in it.
#[derive(Serialize)]
pub(crate) struct EnvironmentMatrix {
    pub(crate) version: u32,
    pub(crate) manifest: String,
    /// The manifest without an environment first, then its environments in its order
    pub(crate) environments: Vec<EnvironmentInfo>,
    pub(crate) secrets: Vec<SecretStates>,
    pub(crate) exit: u8,
}

#[derive(Serialize)]
pub(crate) struct EnvironmentInfo {
    /// Its name; `None` for the manifest without an environment
    pub(crate) environment: Option<String>,
    pub(crate) project: String,
}

/// A secret and its state in each environment.
#[derive(Serialize)]
pub(crate) struct SecretStates {
    pub(crate) tag: String,
    pub(crate) states: Vec<SecretState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecretState {
    Present,
    Missing,
    /// It is missing, and the environment works without it
    Optional,
    Expired,
    /// The environment does not refer to it
    Unneeded,
}

impl SecretState {
    fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Optional => "optional",
            Self::Expired => "expired",
            Self::Unneeded => "unneeded",
        }
    }
}

impl Outcome for EnvironmentMatrix {
    fn text(&self, out: &mut Text) {
        let names = self
            .environments
            .iter()
            .map(|column| column.environment.as_ref().unwrap_or(&column.project).clone());
        let titles = std::iter::once("TAG".to_owned()).chain(names).collect();
        let row = |secret: &SecretStates| {
            let states = secret.states.iter().map(|state| state.word().to_owned());
            std::iter::once(secret.tag.clone()).chain(states).collect()
        };
        let rows: Vec<Vec<String>> = self.secrets.iter().map(row).collect();
        if out.wide_table(titles, &rows) {
            return;
        }

        let lines = self.secrets.iter().flat_map(|secret| {
            self.environments.iter().zip(&secret.states).map(|(column, state)| {
                [secret.tag.clone(), column.project.clone(), state.word().to_owned()]
            })
        });
        out.rows(["TAG", "PROJECT", "STATE"], &lines.collect::<Vec<_>>());
    }
}

/// An environment that was added to a manifest.
#[derive(Serialize)]
pub(crate) struct AddedEnvironment<'a> {
    pub(crate) manifest: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) project: &'a str,
}
