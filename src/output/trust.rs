//! The requests of a directory's manifest, and whether the user trusts it.

use std::path::Path;

use secrets_project::setup::trust::{Coverage, TrustRecord};
use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;
use crate::ui::local_time;

/// The result of `trust` and `trust --show`.
#[derive(Serialize)]
pub(crate) struct TrustReport<'a> {
    changes: Vec<String>,
    directory: String,
    outputs: Vec<OutputCoverage<'a>>,
    project: Option<&'a str>,
    /// The rules and other settings of the proxy
    requests: &'a [String],
    sha256: String,
    trust: &'static str,
    variables: Vec<VariableCoverage<'a>>,
    /// Whether and since when it is trusted, for people
    #[serde(skip)]
    state: String,
    /// Labels and texts of what it asks for, for people
    #[serde(skip)]
    described: Vec<(&'static str, String)>,
}

#[derive(Serialize)]
struct OutputCoverage<'a> {
    mode: String,
    output: &'a str,
    tags: &'a Option<Vec<String>>,
    template: &'a str,
}

#[derive(Serialize)]
struct VariableCoverage<'a> {
    name: &'a str,
    template: &'a str,
}

/// Whether a manifest is trusted: as one word, for people, and what has changed since.
pub(crate) struct TrustState {
    pub(crate) word: &'static str,
    pub(crate) described: String,
    pub(crate) changes: Vec<String>,
}

impl<'a> TrustReport<'a> {
    /// Describes a manifest. `described` has the labels and texts of what it asks for.
    pub(crate) fn new(
        coverage: &'a Coverage,
        trust: TrustState,
        described: Vec<(&'static str, String)>,
    ) -> Self {
        let outputs = coverage.outputs.iter().map(|output| OutputCoverage {
            mode: format!("{:o}", output.mode.unwrap_or(0o600)),
            output: &output.output,
            tags: &output.tags,
            template: &output.template,
        });

        let variables =
            coverage.variables.iter().map(|(name, template)| VariableCoverage { name, template });

        Self {
            changes: trust.changes,
            directory: shown(&coverage.directory()),
            outputs: outputs.collect(),
            project: coverage.project.as_deref(),
            requests: &coverage.requests,
            sha256: coverage.fingerprint(),
            trust: trust.word,
            variables: variables.collect(),
            state: trust.described,
            described,
        }
    }
}

impl Outcome for TrustReport<'_> {
    fn text(&self, out: &mut Text) {
        let mut lines = vec![("directory", &self.directory), ("trusted", &self.state)];
        lines.extend(self.changes.iter().map(|change| ("changed", change)));
        lines.extend(self.described.iter().map(|(label, text)| (*label, text)));
        lines.push(("sha256", &self.sha256));

        let lines: Vec<_> = lines.iter().map(|(label, text)| (*label, visible(text))).collect();
        out.labelled(&lines);
    }
}

/// The result of `trust --list`.
#[derive(Serialize)]
pub(crate) struct TrustRecords<'a> {
    records: Vec<RecordInfo<'a>>,
}

#[derive(Serialize)]
struct RecordInfo<'a> {
    directory: String,
    project: Option<&'a str>,
    since: &'a str,
    state: &'static str,
}

impl<'a> TrustRecords<'a> {
    /// Describes the records. `state` compares one with the manifest of its directory.
    pub(crate) fn of(
        records: &'a [TrustRecord],
        state: impl Fn(&Coverage) -> &'static str,
    ) -> Self {
        let record = |record: &'a TrustRecord| RecordInfo {
            directory: shown(&record.coverage.directory()),
            project: record.coverage.project.as_deref(),
            since: &record.since,
            state: state(&record.coverage),
        };

        Self { records: records.iter().map(record).collect() }
    }
}

impl Outcome for TrustRecords<'_> {
    fn text(&self, out: &mut Text) {
        let row = |record: &RecordInfo<'_>| {
            let project = record.project.map(visible).unwrap_or_default();
            let since = local_time(record.since);
            [visible(&record.directory), record.state.to_owned(), project, since]
        };

        let rows: Vec<[String; 4]> = self.records.iter().map(row).collect();
        out.rows(["DIRECTORY", "STATE", "PROJECT", "SINCE"], &rows);
    }
}

/// The result of `trust --revoke`.
#[derive(Serialize)]
pub(crate) struct Revoked {
    pub(crate) directory: String,
    pub(crate) revoked: bool,
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
