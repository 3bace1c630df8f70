//! The plan and the result of an import.

use secrets_core::model::{ProjectName, Tag};
use secrets_core::vault::{Action, ImportOutcome, ImportResult};
use secrets_project::import::Skipped;
use serde::Serialize;

use super::clone::word;
use super::secret::SortedSecrets;
use super::{Outcome, Text};
use crate::ui::escape::visible;

/// The result of `import`.
#[derive(Serialize)]
pub(crate) struct Imported<'a> {
    secrets: SortedSecrets<'a>,
    skipped: Vec<SkippedEntry<'a>>,
    unchanged: Vec<&'a str>,
}

impl<'a> Imported<'a> {
    pub(crate) fn of(outcome: &'a ImportOutcome, skipped: &'a [Skipped]) -> Self {
        let same = outcome.steps.iter().filter(|(_, step)| *step == ImportResult::Same);
        Self {
            secrets: SortedSecrets(&outcome.secrets),
            skipped: skipped.iter().map(SkippedEntry::of).collect(),
            unchanged: same.map(|(tag, _)| tag.as_str()).collect(),
        }
    }
}

/// The plan of `import --dry-run`.
#[derive(Serialize)]
pub(crate) struct ImportPlan<'a> {
    plan: Vec<PlannedSecret<'a>>,
    skipped: Vec<SkippedEntry<'a>>,
}

#[derive(Serialize)]
struct PlannedSecret<'a> {
    action: &'static str,
    project: &'a str,
    source: &'a str,
    tag: &'a str,
}

impl<'a> ImportPlan<'a> {
    /// Describes the steps with their sources and projects. `taken` is the word for a tag that is skipped.
    pub(crate) fn of(
        steps: &'a [(Tag, ImportResult)],
        sources: &'a [String],
        projects: &'a [ProjectName],
        skipped: &'a [Skipped],
        taken: &'static str,
    ) -> Self {
        let mut plan = Vec::new();
        for (((tag, step), source), project) in steps.iter().zip(sources).zip(projects) {
            let action = match step {
                ImportResult::Action(Action::Skip) => taken,
                ImportResult::Action(action) => word(*action),
                ImportResult::Same => "same",
            };

            plan.push(PlannedSecret {
                action,
                project: project.as_str(),
                source,
                tag: tag.as_str(),
            });
        }

        Self { plan, skipped: skipped.iter().map(SkippedEntry::of).collect() }
    }
}

impl Outcome for ImportPlan<'_> {
    fn text(&self, out: &mut Text) {
        for PlannedSecret { action, project, source, tag } in &self.plan {
            out.line(&format!("{action:<9}  {} -> {project}/{tag}", visible(source)));
        }
    }
}

/// An entry of the file that is not stored.
#[derive(Serialize)]
struct SkippedEntry<'a> {
    line: Option<u64>,
    source: &'a str,
    why: &'static str,
}

impl<'a> SkippedEntry<'a> {
    fn of(skipped: &'a Skipped) -> Self {
        Self { line: skipped.line, source: &skipped.source, why: skipped.why }
    }
}
