//! The needs and the outputs of a project, as `check` reports them. docs/check.md describes the
//! members.

use secrets_core::model::{Source, Tag, Timestamp};
use secrets_project::git::GitStatus;
use secrets_project::setup::output_records::Origin;
use secrets_project::setup::{ModifiedOutput, Need, OutputState, RenderEntry};
use serde::{Serialize, Serializer};

use super::{Outcome, ReferenceInfo, Text};
use crate::ui::escape::{quoted, visible};
use crate::ui::time;

/// The result of `check`.
#[derive(Serialize)]
pub(crate) struct CheckReport<'a> {
    pub(crate) version: u32,
    pub(crate) project: String,
    pub(crate) manifest: String,
    pub(crate) missing: Vec<NeedInfo<'a>>,
    pub(crate) optional: Vec<NeedInfo<'a>>,
    pub(crate) undeclared: Vec<NeedInfo<'a>>,
    pub(crate) unused: Vec<UnusedSecret>,
    pub(crate) due: Vec<DueInfo>,
    pub(crate) outputs: Vec<OutputReport>,
    pub(crate) exit: u8,
}

/// The result of `check --witness`.
#[derive(Serialize)]
pub(crate) struct WitnessInfo {
    pub(crate) manifest: String,
    pub(crate) project: String,
    pub(crate) witness: String,
}

/// A secret that the project needs.
#[derive(Serialize)]
pub(crate) struct NeedInfo<'a> {
    pub(crate) tag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// True if `secrets setup` generates it
    generated: bool,
    /// The web page where a value can be had, as declared
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// The declared tag that an undeclared reference may have meant
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suggestion: Option<String>,
    references: Vec<ReferenceInfo<'a>>,
}

/// A secret that nothing refers to.
#[derive(Serialize)]
pub(crate) struct UnusedSecret {
    pub(crate) tag: String,
    pub(crate) declared: bool,
}

/// A secret whose value has expired or expires soon.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DueInfo {
    tag: String,
    /// "expired" or "expiring"
    state: &'static str,
    #[serde(serialize_with = "rfc3339")]
    expires_at: Timestamp,
    /// The web page where a new value can be had
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // for serde
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.rfc3339())
}

impl DueInfo {
    /// Describes a secret that expires at this time, or has expired.
    pub(crate) fn of(
        tag: &Tag,
        expires_at: Timestamp,
        is_expired: bool,
        source: Option<&Source>,
    ) -> Self {
        Self {
            tag: tag.to_string(),
            state: if is_expired { "expired" } else { "expiring" },
            expires_at,
            source: source.map(|source| source.as_str().to_owned()),
        }
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.state == "expired"
    }

    fn row(&self) -> [String; 3] {
        [self.state.into(), self.tag.clone(), time::local_date(self.expires_at)]
    }
}

/// An output and its state.
#[derive(Serialize)]
pub(crate) struct OutputReport {
    pub(crate) output: String,
    template: String,
    /// "current", "missing", "stale", "exposed", or "unknown" if a secret is missing
    pub(crate) state: &'static str,
    /// "ignored", "exposed", "tracked", or "none" outside a repository
    pub(crate) git: &'static str,
    /// The record of an existing output that is out of date: "written" by us and unchanged,
    /// "changed" since, or "unknown"
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<&'static str>,
    /// Variables that the template does not give and `secrets` did not write, so nothing replaces
    /// them
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<String>,
    /// The numbers of other lines that may be variables and that the template does not give
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<u64>,
}

impl<'a> NeedInfo<'a> {
    pub(crate) fn of(need: &'a Need<'_>) -> Self {
        let declaration = need.declaration;
        Self {
            tag: need.tag.to_string(),
            description: declaration
                .and_then(|d| d.description.as_ref())
                .map(|text| text.as_str().to_owned()),
            generated: declaration.is_some_and(|d| d.generate.is_some()),
            source: declaration
                .and_then(|d| d.source.as_ref())
                .map(|source| source.as_str().to_owned()),
            suggestion: None,
            references: need.references.iter().map(ReferenceInfo::of).collect(),
        }
    }

    /// Returns the first place that refers to the secret, and the number of others.
    fn places(&self) -> String {
        match &self.references[..] {
            [] => String::new(),
            [only] => visible(&only.place()),
            [first, rest @ ..] => format!("{} and {} more", visible(&first.place()), rest.len()),
        }
    }

    fn row(&self, word: &str) -> [String; 3] {
        let about = match &self.description {
            Some(text) if word != UNDECLARED => quoted(text, 100),
            _ => self.places(),
        };

        let about = match &self.suggestion {
            Some(meant) => format!("{about}, did you mean `{meant}`?"),
            None => about,
        };

        [word.into(), self.tag.clone(), about]
    }
}

/// The word for references that are not declared.
const UNDECLARED: &str = "undeclared";

impl UnusedSecret {
    fn row(&self) -> [String; 3] {
        let how = if self.declared { "declared" } else { "stored" };
        ["unused".into(), self.tag.clone(), format!("{how}, but nothing refers to it")]
    }
}

impl OutputReport {
    /// Describes an output. It has no state if one of its secrets is missing, and `found` is what
    /// differs from what we wrote.
    pub(crate) fn of(
        rendering: &RenderEntry,
        git: GitStatus,
        state: Option<OutputState>,
        found: Option<&ModifiedOutput>,
    ) -> Self {
        Self {
            output: rendering.output.to_string_lossy().into_owned(),
            template: rendering.template.to_string_lossy().into_owned(),
            state: match state {
                Some(OutputState::Current) => "current",
                Some(OutputState::Missing) => "missing",
                Some(OutputState::Stale) => "stale",
                Some(OutputState::Exposed(_)) => "exposed",
                None => "unknown",
            },
            git: match git {
                GitStatus::NoRepository => "none",
                GitStatus::Ignored => "ignored",
                GitStatus::Exposed => "exposed",
                GitStatus::Tracked => "tracked",
            },
            origin: match (state, found.map(|found| found.origin)) {
                (_, Some(Origin::Changed)) => Some("changed"),
                (_, Some(_)) => Some("unknown"),
                (Some(OutputState::Stale), None) => Some("written"),
                _ => None,
            },
            added: found.map(|found| found.added.clone()).unwrap_or_default(),
            lines: found.map(|found| found.lines.clone()).unwrap_or_default(),
        }
    }

    /// Returns a row for each problem.
    fn rows(&self) -> Vec<[String; 3]> {
        let mut rows = Vec::new();
        let mut add = |word: &str, about: String| {
            rows.push([word.into(), visible(&self.output), about]);
        };

        match self.state {
            "missing" => add("stale", "does not exist".into()),
            "stale" => add("stale", format!("rendered from {}", visible(&self.template))),
            "exposed" => add("stale", "permissions too wide".into()),
            "unknown" => add("unknown", "one of its secrets is missing".into()),
            _ => {}
        }

        if !self.added.is_empty() || !self.lines.is_empty() {
            let parts = listed_additions(&self.added, &self.lines, false);
            add("added", format!("by hand: {parts}"));
        }

        match self.git {
            "tracked" => add("tracked", "the next commit would include it".into()),
            "exposed" => add("exposed", "git does not ignore it".into()),
            _ => {}
        }

        rows
    }
}

impl Outcome for CheckReport<'_> {
    fn text(&self, out: &mut Text) {
        // A missing secret already has a row.
        let is_missing = |need: &NeedInfo<'_>| self.missing.iter().any(|it| it.tag == need.tag);
        let undeclared = self.undeclared.iter().filter(|need| !is_missing(need));

        let mut rows: Vec<[String; 3]> = Vec::new();
        rows.extend(self.missing.iter().map(|need| need.row("missing")));
        rows.extend(self.optional.iter().map(|need| need.row("optional")));
        rows.extend(undeclared.map(|need| need.row(UNDECLARED)));
        rows.extend(self.unused.iter().map(UnusedSecret::row));
        rows.extend(self.due.iter().map(DueInfo::row));
        rows.extend(self.outputs.iter().flat_map(OutputReport::rows));
        out.rows(["FINDING", "WHAT", "ABOUT"], &rows);
    }
}

/// Lists what people added to an output: variables by name and other lines by number, because a
/// line may be part of a value.
pub(crate) fn listed_additions(names: &[String], lines: &[u64], is_quoted: bool) -> String {
    let total = names.len() + lines.len();
    let names = names.iter().map(|name| if is_quoted { format!("`{name}`") } else { name.clone() });
    let lines = lines.iter().map(|line| format!("line {line}"));

    let mut all: Vec<String> = names.chain(lines).take(LISTED + 1).collect();
    if all.len() > LISTED {
        all[LISTED] = format!("and {} more", total - LISTED);
    }

    all.join(", ")
}

/// The maximum number of variables and lines of one file in a message.
const LISTED: usize = 50;
