//! The plan of a copy from project to project.

use secrets_core::model::ProjectName;
use secrets_core::vault::{Action, PlannedCopy};
use serde::Serialize;

use super::{Outcome, Text};

/// The plan of `clone --dry-run`.
#[derive(Serialize)]
pub(crate) struct ClonePlan<'a> {
    plan: Vec<ClonedSecret<'a>>,
}

#[derive(Serialize)]
struct ClonedSecret<'a> {
    action: &'static str,
    /// The original's project
    from: &'a str,
    /// The original's id
    id: String,
    /// The copy's project
    project: &'a str,
    /// The original's tag
    source: &'a str,
    /// The copy's tag
    tag: &'a str,
}

impl<'a> ClonePlan<'a> {
    pub(crate) fn of(plan: &'a [PlannedCopy], to: &'a ProjectName) -> Self {
        let step = |step: &'a PlannedCopy| ClonedSecret {
            action: word(step.action),
            from: step.source.project.as_str(),
            id: step.source.id.to_string(),
            project: to.as_str(),
            source: step.source.metadata.tag.as_str(),
            tag: step.tag.as_str(),
        };

        Self { plan: plan.iter().map(step).collect() }
    }
}

impl Outcome for ClonePlan<'_> {
    fn text(&self, out: &mut Text) {
        for ClonedSecret { action, from, project, source, tag, .. } in &self.plan {
            out.line(&format!("{action:<9}  {from}/{source} -> {project}/{tag}"));
        }
    }
}

/// Returns the word for an action, also for the plan of an import.
pub(super) fn word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Skip => "skip",
        Action::Overwrite => "overwrite",
    }
}
