//! What `doctor` found.

use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    Ok,
    /// It could be better
    Warning,
    /// It has to be changed
    Problem,
    /// It was not checked
    Skipped,
}

impl Health {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of one check.
#[derive(Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) state: Health,
    pub(crate) message: String,
    /// All secrets that it is about
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<FoundSecret>,
    /// What to do about it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

/// A secret of a finding.
#[derive(Serialize)]
pub(crate) struct FoundSecret {
    pub(crate) project: String,
    pub(crate) tag: String,
}

/// The result of `doctor`.
#[derive(Serialize)]
pub(crate) struct Diagnosis {
    pub(crate) checks: Vec<Finding>,
}

impl Outcome for Diagnosis {
    fn text(&self, out: &mut Text) {
        for Finding { check, state, message, fix, .. } in &self.checks {
            out.noted(state.word(), &format!("{check}: {}", visible(message)));
            if let Some(fix) = fix {
                out.noted("", &visible(fix));
            }
        }
    }
}
