//! The damage of a vault, as `verify` and `salvage` report it.

use serde_json::json;

use crate::vault::{Damage, Report};

/// Returns all damage as JSON, also for `salvage`.
pub(crate) fn damage(report: &Report) -> Vec<serde_json::Value> {
    report.damage.iter().map(finding).collect()
}

fn finding(damage: &Damage) -> serde_json::Value {
    let mut found = json!({ "what": damage.what });
    let texts = [
        ("project", damage.project.as_ref().map(ToString::to_string)),
        ("id", damage.id.map(|id| id.to_string())),
        ("tag", damage.tag.as_ref().map(ToString::to_string)),
    ];

    for (name, text) in texts {
        if let Some(text) = text {
            found[name] = text.into();
        }
    }

    found
}
