//! Values and tokens that were found in files.

use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;

/// A value or a token in a file. `file` has neither in it.
#[derive(Serialize)]
pub(crate) struct FindingInfo {
    pub(crate) file: String,
    pub(crate) place: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    #[serde(flatten)]
    pub(crate) found: FoundInfo,
}

/// What was found.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum FoundInfo {
    /// A value, by its tag
    Value { tag: String, form: &'static str },
    /// A token, by its level
    Token { token: &'static str },
}

/// The result of `scan`.
#[derive(Default, Serialize)]
pub(crate) struct ScanReport {
    pub(crate) findings: Vec<FindingInfo>,
    pub(crate) files: u64,
    /// Why some files could not be searched
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread: Vec<String>,
    /// `tokens` if no values were searched for
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<&'static str>,
}

impl Outcome for ScanReport {
    fn text(&self, out: &mut Text) {
        for FindingInfo { file, place, line, found } in &self.findings {
            let place = line.map_or_else(|| (*place).to_owned(), |line| line.to_string());
            let found = match found {
                FoundInfo::Value { tag, form } => format!("{tag} ({form})"),
                FoundInfo::Token { token } => format!("a `{token}` token"),
            };

            out.line(&format!("{}:{place}: {found}", visible(file)));
        }
    }
}

/// The hook that scans before each commit.
#[derive(Serialize)]
pub(crate) struct HookInfo {
    pub(crate) hook: String,
    pub(crate) state: &'static str,
}
