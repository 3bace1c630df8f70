//! The projects of a vault.

use secrets_core::model::ProjectName;
use serde::Serialize;

use super::{Outcome, Text};

/// Projects and their numbers of secrets.
#[derive(Serialize)]
pub(crate) struct Projects {
    projects: Vec<ProjectInfo>,
}

#[derive(Serialize)]
struct ProjectInfo {
    current: bool,
    name: String,
    secrets: u64,
}

impl Projects {
    pub(crate) fn new(projects: &[(ProjectName, u64)], current: &ProjectName) -> Self {
        let info = |(name, secrets): &(ProjectName, u64)| ProjectInfo {
            current: name == current,
            name: name.to_string(),
            secrets: *secrets,
        };

        Self { projects: projects.iter().map(info).collect() }
    }
}

impl Outcome for Projects {
    fn text(&self, out: &mut Text) {
        let row = |project: &ProjectInfo| {
            let mark = if project.current { "current" } else { "" };
            [project.name.clone(), project.secrets.to_string(), mark.to_owned()]
        };

        let rows: Vec<[String; 3]> = self.projects.iter().map(row).collect();
        if out.is_terminal() {
            return out.rows(["PROJECT", "SECRETS", ""], &rows);
        }

        for row in rows {
            out.line(row.join("\t").trim_end());
        }
    }
}

/// The project for commands that name none.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DefaultProject {
    pub(crate) project: String,
}
