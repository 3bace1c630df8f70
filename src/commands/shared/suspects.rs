//! Warnings about text in a template that may not do what its author expects.

use secrets_core::model::Tag;
use secrets_core::vault::Vault;
use secrets_project::template::{SuspectTexts, Template, TemplateFindings};

use crate::context::Context;
use crate::error::Error;

/// Warns about text in a template that may not do what its author expects: near misses of
/// placeholders whose secret exists, and backslashes that version 0.1.0 read differently.
pub(crate) fn warn_of_suspects(
    cx: &Context,
    template: &Template,
    suspects: &SuspectTexts,
) -> Result<(), Error> {
    // Most near misses belong to other tools, so the user is not asked for a passphrase and errors
    // are ignored.
    let vault =
        if suspects.has_near_misses() { cx.vault_without_asking().ok().flatten() } else { None };
    warn_of_suspects_in(vault, cx, template, suspects)
}

/// Warns like [`warn_of_suspects`], with a vault that the context does not keep. If a vault exists
/// but is not open, every near miss may be one.
pub(crate) fn warn_of_suspects_in(
    vault: Option<&Vault>,
    cx: &Context,
    template: &Template,
    suspects: &SuspectTexts,
) -> Result<(), Error> {
    let is_locked =
        vault.is_none() && suspects.has_near_misses() && !cx.vault_is_missing().unwrap_or(true);
    let is_stored = |tag: &Tag| -> Result<Option<bool>, Error> {
        match vault {
            Some(vault) => Ok(Some(vault.find(cx.target.project()?, tag)?.is_some())),
            None => Ok(if is_locked { None } else { Some(false) }),
        }
    };

    if let Some(findings) = suspects.findings(template, is_stored)? {
        warn(cx, template.name(), &findings, ToString::to_string);
    }

    Ok(())
}

/// Prints one warning for each finding in a template.
pub(crate) fn warn<T>(
    cx: &Context,
    file: &str,
    findings: &TemplateFindings<T>,
    text: impl Fn(&T) -> String,
) {
    for finding in &findings.listed {
        cx.ui.warn(&format!(
            "{file}:{}:{}: {}",
            finding.position.line,
            finding.position.column,
            text(&finding.what)
        ));
    }

    let more = findings.total - findings.listed.len() as u64;
    if more > 0 {
        cx.ui.warn(&format!("{file}: the same applies to {more} more places"));
    }
}
