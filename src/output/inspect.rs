//! The content and the damage of a vault.

use secrets_core::model::{ProjectName, Tag};
use secrets_core::vault::{Damage, Report, SalvageOutcome};
use serde::{Serialize, Serializer};

use super::{KdfInfo, Outcome, ServerInfo, Text};
use crate::ui::escape::visible;

/// The result of `verify`.
#[derive(Serialize)]
pub(crate) struct Verified<'a> {
    #[serde(serialize_with = "damage")]
    damage: &'a [Damage],
    departed: Option<String>,
    #[serde(rename = "keyFile")]
    key_file: bool,
    keychains: u32,
    passphrases: Vec<KdfInfo>,
    projects: Vec<ProjectContent>,
    recovery: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerInfo>,
    vault: String,
}

/// The number of secrets of a project, and of those that can be read.
#[derive(Serialize)]
struct ProjectContent {
    name: String,
    readable: u64,
    secrets: u64,
}

impl<'a> Verified<'a> {
    pub(crate) fn of(report: &'a Report, vault: String, server: Option<ServerInfo>) -> Self {
        let projects = report.projects.iter().map(|project| ProjectContent {
            name: project.name.to_string(),
            readable: project.readable,
            secrets: project.secrets,
        });

        Self {
            damage: &report.damage,
            departed: report.divergence.as_ref().map(ToString::to_string),
            passphrases: report.passphrases.iter().copied().map(KdfInfo::of).collect(),
            projects: projects.collect(),
            key_file: report.key_file,
            keychains: report.keychains,
            recovery: report.recovery,
            server,
            vault,
        }
    }

    fn credentials(&self) -> String {
        let word = if self.key_file { "passphrase with a key file" } else { "passphrase" };
        let mut credentials: Vec<String> =
            self.passphrases.iter().map(|kdf| format!("{word} ({kdf})")).collect();
        credentials.extend(self.recovery.then(|| "recovery code".to_owned()));
        credentials.extend(match self.keychains {
            0 => None,
            1 => Some("keychain of one machine".to_owned()),
            number => Some(format!("keychains of {number} machines")),
        });
        credentials.join(", ")
    }
}

impl Outcome for Verified<'_> {
    fn text(&self, out: &mut Text) {
        let secrets: u64 = self.projects.iter().map(|project| project.secrets).sum();
        let readable: u64 = self.projects.iter().map(|project| project.readable).sum();
        let secrets = if secrets == readable {
            secrets.to_string()
        } else {
            format!("{secrets}, {readable} readable")
        };

        let mut lines = vec![
            ("vault", visible(&self.vault)),
            ("opens with", self.credentials()),
            ("projects", self.projects.len().to_string()),
            ("secrets", secrets),
        ];

        lines.extend(self.server.iter().map(|server| ("stored", server.stored())));
        lines.extend(self.damage.iter().map(|damage| ("damaged", damage.to_string())));
        out.labelled(&lines);
    }
}

/// The result of `salvage`.
#[derive(Serialize)]
pub(crate) struct Salvaged<'a> {
    #[serde(serialize_with = "damage")]
    damage: &'a [Damage],
    saved: u64,
    unproven: Vec<UnprovenSecret<'a>>,
    vault: String,
}

/// A secret that may not be the latest version.
#[derive(Serialize)]
struct UnprovenSecret<'a> {
    project: &'a str,
    tag: &'a str,
}

impl<'a> Salvaged<'a> {
    pub(crate) fn of(outcome: &'a SalvageOutcome, vault: String) -> Self {
        let unproven = |(project, tag): &'a (ProjectName, Tag)| UnprovenSecret {
            project: project.as_str(),
            tag: tag.as_str(),
        };

        Self {
            damage: &outcome.report.damage,
            saved: outcome.saved,
            unproven: outcome.unproven.iter().map(unproven).collect(),
            vault,
        }
    }
}

/// One damage, with the identity of the record if it is known.
#[derive(Serialize)]
struct DamageInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    what: &'static str,
}

fn damage<S: Serializer>(found: &&[Damage], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(found.iter().map(|damage| DamageInfo {
        id: damage.id.map(|id| id.to_string()),
        project: damage.project.as_ref().map(ProjectName::as_str),
        tag: damage.tag.as_ref().map(Tag::as_str),
        what: damage.what,
    }))
}
