//! The variables that make programs use the proxy.

use std::collections::BTreeMap;

use secrets_mask::encode::shell_word;
use serde::Serialize;

use super::{Outcome, Text};

/// How variables are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum EnvironmentFormat {
    /// For bash, zsh and other POSIX shells
    #[default]
    Bash,
    /// For fish
    Fish,
    /// As a JSON object
    Json,
}

/// The address of a proxy and the variables for programs.
#[derive(Serialize)]
pub(crate) struct ProxyEnvironment<'a> {
    url: &'a str,
    variables: BTreeMap<String, String>,
    #[serde(skip)]
    format: EnvironmentFormat,
}

impl<'a> ProxyEnvironment<'a> {
    pub(crate) fn new(
        url: &'a str,
        variables: Vec<(String, String)>,
        format: EnvironmentFormat,
    ) -> Self {
        Self { url, variables: variables.into_iter().collect(), format }
    }
}

impl Outcome for ProxyEnvironment<'_> {
    fn text(&self, out: &mut Text) {
        if self.format == EnvironmentFormat::Json {
            // Strings always serialize.
            out.line(&serde_json::to_string(self).unwrap_or_default());
            return;
        }

        for (name, value) in &self.variables {
            let word = shell_word(value.as_bytes());
            let word = String::from_utf8_lossy(word.expose()).into_owned();
            match self.format {
                // Inside of quotes, fish reads `\\'` as a quote.
                EnvironmentFormat::Fish => {
                    let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
                    out.line(&format!("set -gx {name} '{quoted}'"));
                }
                _ => out.line(&format!("export {name}={word}")),
            }
        }
    }
}
