//! The output of `run --dry-run`: the names of the variables and the source of each.

use serde::Serialize;

use crate::context::Context;
use crate::error::Error;
use crate::model::Tag;
use crate::run::environment::Variables;
use crate::ui::escape::visible;

#[derive(Serialize)]
struct VariableJson<'a> {
    name: String,
    source: &'a str,
    secrets: Vec<&'a str>,
}

#[derive(Serialize)]
struct DryRunJson<'a> {
    variables: Vec<VariableJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin: Option<String>,
}

/// Prints the variables that would be set, sorted by name, without values.
pub(crate) fn list(variables: &Variables, stdin: Option<&Tag>, cx: &Context) -> Result<(), Error> {
    let mut set: Vec<VariableJson<'_>> = Vec::new();
    for variable in variables.all() {
        if let Some(source) = &variable.source {
            set.push(VariableJson {
                name: variable.name.to_string_lossy().into_owned(),
                source,
                secrets: variable.tags.iter().map(Tag::as_str).collect(),
            });
        }
    }

    set.sort_by(|a, b| a.name.cmp(&b.name));
    let stdin = stdin.map(ToString::to_string);
    if cx.ui.is_json() {
        return Ok(cx.ui.json(&DryRunJson { variables: set, stdin })?);
    }

    let mut rows: Vec<[String; 3]> = set
        .iter()
        .map(|row| [visible(&row.name), visible(row.source), row.secrets.join(", ")])
        .collect();

    rows.extend(stdin.map(|tag| ["(stdin)".to_owned(), "--stdin".to_owned(), tag]));
    Ok(cx.ui.rows(["VARIABLE", "FROM", "SECRETS"], &rows)?)
}
