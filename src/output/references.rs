//! Places that refer to secrets.

use std::borrow::Cow;

use secrets_core::model::Secret;
use secrets_project::Position;
use secrets_project::setup::{Reference, ReferenceKind, Tree};
use secrets_project::template::grammar::Placeholder;
use serde::Serialize;

use super::{Outcome, SecretInfo, Text};
use crate::ui::escape::visible;

/// A place that refers to a secret.
#[derive(Serialize)]
pub(crate) struct ReferenceInfo<'a> {
    tag: &'a str,
    file: Cow<'a, str>,
    line: u64,
    column: u64,
    filters: Vec<&'static str>,
    /// "placeholder", "declaration" for the manifest's `[secrets.TAG]`, or "rule" for its
    /// `[[proxy.rule]]`; `None` in one template, which has only placeholders
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

impl<'a> ReferenceInfo<'a> {
    pub(crate) fn of(reference: &'a Reference) -> Self {
        Self {
            tag: reference.tag.as_str(),
            file: reference.file.to_string_lossy(),
            line: reference.position.line,
            column: reference.position.column,
            filters: reference.filters.iter().map(|filter| filter.name()).collect(),
            kind: Some(match reference.kind {
                ReferenceKind::Placeholder | ReferenceKind::Bare => "placeholder",
                ReferenceKind::Declaration => "declaration",
                ReferenceKind::Rule => "rule",
            }),
        }
    }

    /// Describes a placeholder of one template.
    pub(crate) fn in_template(
        file: &'a str,
        placeholder: &'a Placeholder,
        Position { line, column }: Position,
    ) -> Self {
        Self {
            tag: placeholder.tag.as_str(),
            file: file.into(),
            line,
            column,
            filters: placeholder.filters.iter().map(|filter| filter.name()).collect(),
            kind: None,
        }
    }

    /// Returns `file:line:column`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }

    /// Formats the reference as `file:line:column: tag | filter`.
    pub(crate) fn line(&self) -> String {
        let words = [&[self.tag], &self.filters[..]].concat().join(" | ");
        let note = match self.kind {
            Some("declaration") => " (declared)",
            Some("rule") => " (rule of the proxy)",
            _ => "",
        };
        format!("{}:{}:{}: {words}{note}", visible(&self.file), self.line, self.column)
    }
}

impl Outcome for ReferenceInfo<'_> {
    fn text(&self, out: &mut Text) {
        out.line(&self.line());
    }
}

/// Secrets with a new tag, and the places that named the old one.
#[derive(Serialize)]
pub(crate) struct RenamedSecrets<'a> {
    secrets: Vec<SecretInfo<'a>>,
    references: Vec<RenamedReference<'a>>,
}

/// A place that named a secret before it was renamed.
#[derive(Serialize)]
struct RenamedReference<'a> {
    #[serde(flatten)]
    reference: ReferenceInfo<'a>,
    /// True if it names the new tag now
    rewritten: bool,
}

impl<'a> RenamedSecrets<'a> {
    pub(crate) fn new(
        secrets: &'a [Secret],
        rewritten: &'a [Reference],
        left: &'a [Reference],
    ) -> Self {
        let all = |places: &'a [Reference], rewritten| {
            let reference =
                move |place| RenamedReference { reference: ReferenceInfo::of(place), rewritten };
            places.iter().map(reference)
        };
        Self {
            secrets: secrets.iter().map(SecretInfo).collect(),
            references: all(rewritten, true).chain(all(left, false)).collect(),
        }
    }
}

impl Outcome for RenamedSecrets<'_> {
    fn text(&self, out: &mut Text) {
        for RenamedReference { reference, .. } in &self.references {
            reference.text(out);
        }
    }
}

/// The references in a tree of files.
#[derive(Serialize)]
pub(crate) struct FoundReferences<'a> {
    references: Vec<ReferenceInfo<'a>>,
    files: u64,
    /// Why some files could not be read
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unread: &'a [String],
}

impl<'a> FoundReferences<'a> {
    pub(crate) fn of(tree: &'a Tree) -> Self {
        let references = tree.references.iter().map(ReferenceInfo::of).collect();
        Self { references, files: tree.files, unread: &tree.unread }
    }
}

impl Outcome for FoundReferences<'_> {
    fn text(&self, out: &mut Text) {
        for reference in &self.references {
            reference.text(out);
        }
    }
}
