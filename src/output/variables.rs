//! The variables that a program would get.

use std::collections::BTreeMap;

use secrets_core::model::Tag;
use secrets_runtime::run::environment::Variables;
use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;

/// The result of `env --json`: names and values.
#[derive(Serialize)]
pub(crate) struct ShellVariables<'a> {
    pub(crate) variables: BTreeMap<&'a str, &'a str>,
}

/// The result of `run --dry-run`: names and sources, without values.
#[derive(Serialize)]
pub(crate) struct PlannedVariables<'a> {
    variables: Vec<VariableInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin: Option<&'a str>,
}

#[derive(Serialize)]
struct VariableInfo<'a> {
    name: String,
    source: &'a str,
    secrets: Vec<&'a str>,
}

impl<'a> PlannedVariables<'a> {
    /// Lists the variables that would be set, sorted by name.
    pub(crate) fn of(variables: &'a Variables, stdin: Option<&'a Tag>) -> Self {
        let mut set = Vec::new();
        for variable in variables.all() {
            if let Some(source) = &variable.source {
                set.push(VariableInfo {
                    name: variable.name.to_string_lossy().into_owned(),
                    source,
                    secrets: variable.tags.iter().map(Tag::as_str).collect(),
                });
            }
        }

        set.sort_by(|a, b| a.name.cmp(&b.name));
        Self { variables: set, stdin: stdin.map(Tag::as_str) }
    }
}

impl Outcome for PlannedVariables<'_> {
    fn text(&self, out: &mut Text) {
        let mut rows: Vec<[String; 3]> = self
            .variables
            .iter()
            .map(|row| [visible(&row.name), visible(row.source), row.secrets.join(", ")])
            .collect();

        rows.extend(self.stdin.map(|tag| ["(stdin)".into(), "--stdin".into(), tag.into()]));
        out.rows(["VARIABLE", "FROM", "SECRETS"], &rows);
    }
}
