//! Values that were found in files.

use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;

/// A value in a file. `file` has no value in it.
#[derive(Serialize)]
pub(crate) struct FindingInfo {
    pub(crate) file: String,
    pub(crate) place: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u64>,
    pub(crate) tag: String,
    pub(crate) form: &'static str,
}

/// The result of `scan`.
#[derive(Default, Serialize)]
pub(crate) struct ScanReport {
    pub(crate) findings: Vec<FindingInfo>,
    pub(crate) files: u64,
    /// Why some files could not be searched
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread: Vec<String>,
}

impl Outcome for ScanReport {
    fn text(&self, out: &mut Text) {
        for FindingInfo { file, place, line, tag, form } in &self.findings {
            let place = line.map_or_else(|| (*place).to_owned(), |line| line.to_string());
            out.line(&format!("{}:{place}: {tag} ({form})", visible(file)));
        }
    }
}

/// The hook that scans before each commit.
#[derive(Serialize)]
pub(crate) struct HookInfo {
    pub(crate) hook: String,
    pub(crate) state: &'static str,
}
