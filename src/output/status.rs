//! The vault and project that commands use, and whether the vault is unlocked.

use std::time::Duration;

use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;
use crate::ui::time::spans;

/// The result of `status`, `lock` and `unlock`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusInfo {
    pub(crate) vault: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// What names the project, as one word
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project_source: Option<&'static str>,
    /// The environment of the manifest that is selected
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<String>,
    /// What names the project, for people
    #[serde(skip)]
    pub(crate) described_source: Option<String>,
    pub(crate) unlocked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds_left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle_seconds_left: Option<u64>,
}

impl Outcome for StatusInfo {
    fn text(&self, out: &mut Text) {
        let mut lines = vec![("vault", visible(&self.vault))];
        if let (Some(name), Some(source)) = (&self.project, &self.described_source) {
            lines.push(("project", format!("{name} ({})", visible(source))));
        }

        if let (Some(ttl), Some(idle)) = (self.seconds_left, self.idle_seconds_left) {
            let left = spans(Duration::from_secs(ttl), Duration::from_secs(idle));
            lines.push(("unlocked", format!("for {left}")));
        }

        out.labelled(&lines);
    }
}
