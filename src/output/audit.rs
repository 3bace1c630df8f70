//! Entries of the audit logs, and what is known about the logs.

use secrets_core::crypto::audit::{Action, AuditItem};
use secrets_core::crypto::output_digest::hex;
use secrets_core::crypto::uses::{Actor, UseEntry, UsedRequest};
use secrets_core::model::{SecretId, Timestamp};
use secrets_core::vault::{ChangeLog, LoggedChange, PrunedLog, ReadUses, Writer};
use serde::{Deserialize, Serialize};

use super::{Outcome, Text};
use crate::ui::counted;
use crate::ui::escape::visible;
use crate::ui::time::local_minute;

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AuditKind {
    /// The vault was changed
    Change,
    /// Values were used
    Use,
    /// Something was refused
    Deny,
}

/// An entry of an audit log.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditInfo {
    time: String,
    kind: AuditKind,
    action: String,
    /// `owner`, or the name of a token, or its id if the name is unknown
    who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    /// `None` for the vault's own log
    project: Option<String>,
    /// The number of the entry in its log
    seq: u64,
    count: u64,
    items: Vec<AuditItemInfo>,
    /// The request that was sent or refused
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestInfo>,
    /// What `count` counts if there are no items
    #[serde(skip)]
    noun: &'static str,
    #[serde(skip)]
    moment: Timestamp,
}

#[derive(Serialize)]
struct AuditItemInfo {
    /// The tag of a secret, or the name of a project or token
    name: String,
    /// The secret's id
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

#[derive(Serialize)]
struct RequestInfo {
    method: String,
    origin: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl RequestInfo {
    fn of(request: &UsedRequest) -> Self {
        let UsedRequest { method, origin, path, reason, id } = request.clone();
        Self { method, origin, path, reason, id }
    }
}

impl AuditInfo {
    pub(crate) fn of_change(entry: &LoggedChange) -> Self {
        let LoggedChange { project, seq, writer, time, change, .. } = entry;
        let (who, token_id) = match writer {
            Writer::Owner => ("owner".to_owned(), None),
            Writer::Token { id, name } => (name.clone().unwrap_or_else(|| hex(id)), Some(hex(id))),
        };

        // Ids in the vault's own log are not those of secrets.
        let has_ids = project.is_some() && change.is_about_secrets();
        let item = |item: &AuditItem| AuditItemInfo {
            name: item.name.clone(),
            id: has_ids.then(|| SecretId(item.rid).to_string()),
        };

        Self {
            time: time.rfc3339(),
            kind: AuditKind::Change,
            action: change.action.word().to_owned(),
            who,
            token_id,
            project: project.as_ref().map(ToString::to_string),
            seq: *seq,
            count: change.count,
            noun: if change.action == Action::Prune { "change" } else { "secret" },
            items: change.items.iter().map(item).collect(),
            request: None,
            moment: *time,
        }
    }

    pub(crate) fn of_use(seq: u64, entry: &UseEntry) -> Self {
        let (who, token_id) = match &entry.actor {
            Actor::Owner => ("owner".to_owned(), None),
            Actor::Token { id, name } => (name.clone(), Some(hex(id))),
        };

        let item = |tag: &String| AuditItemInfo { name: tag.clone(), id: None };
        Self {
            time: Timestamp(entry.time).rfc3339(),
            kind: if entry.refused { AuditKind::Deny } else { AuditKind::Use },
            action: entry.action.clone(),
            who,
            token_id,
            project: entry.project.clone(),
            seq,
            count: entry.count,
            noun: "secret",
            items: entry.tags.iter().map(item).collect(),
            request: entry.request.as_ref().map(RequestInfo::of),
            moment: Timestamp(entry.time),
        }
    }

    /// Returns the action for people: that of a refusal is marked.
    fn shown_action(&self) -> String {
        match self.kind {
            AuditKind::Deny => format!("{} refused", visible(&self.action)),
            AuditKind::Change | AuditKind::Use => visible(&self.action),
        }
    }

    /// Describes what the entry is about: the names, or how many there are.
    fn what(&self, with_project: bool) -> String {
        const SHOWN: usize = 3;
        let mut names: Vec<String> =
            self.items.iter().take(SHOWN).map(|item| visible(&item.name)).collect();
        let is_rename = self.kind == AuditKind::Change && self.action == Action::Rename.word();
        if let (true, [before, after]) = (is_rename, &names[..]) {
            names = vec![format!("{before} -> {after}")];
        }

        let more = self.count.saturating_sub(names.len() as u64);
        match (names.is_empty(), more) {
            (_, 0) => {}
            (true, more) => names.push(counted(more, self.noun)),
            (false, more) => names.push(format!("and {more} more")),
        }

        let mut names = names.join(", ");
        if let Some(RequestInfo { method, origin, path, id, .. }) = &self.request {
            // A request to our own API carries no value anywhere.
            let preposition = if id.is_some() { " by " } else { " to " };
            let separator = if names.is_empty() { "" } else { preposition };
            names = format!(
                "{names}{separator}{} {}{}",
                visible(method),
                visible(origin),
                visible(path)
            );
        }

        match &self.project {
            Some(project) if with_project && names.is_empty() => visible(project),
            Some(project) if with_project => format!("{}: {names}", visible(project)),
            _ => names,
        }
    }
}

/// The entries of the logs that `audit` shows, the newest last.
#[derive(Serialize)]
pub(crate) struct AuditEntries {
    entries: Vec<AuditInfo>,
    #[serde(skip)]
    with_project: bool,
}

impl AuditEntries {
    pub(crate) fn new(mut entries: Vec<AuditInfo>, with_project: bool) -> Self {
        entries.sort_by_key(|entry| entry.moment.0);
        Self { entries, with_project }
    }
}

impl Outcome for AuditEntries {
    fn text(&self, out: &mut Text) {
        let row = |entry: &AuditInfo| {
            let time =
                if out.is_terminal() { local_minute(entry.moment) } else { entry.time.clone() };

            [time, visible(&entry.who), entry.shown_action(), entry.what(self.with_project)]
        };

        // On a narrow terminal the time is left out first, because the entries are in order.
        let rows: Vec<[String; 4]> = self.entries.iter().map(row).collect();
        out.ranked(["TIME", "WHO", "ACTION", "WHAT"], [5, 4, 0, 3], &rows);
    }
}

/// The end of one log, as it is kept elsewhere.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditCheckpoint {
    pub(crate) vault: String,
    pub(crate) pid: String,
    /// `None` for the vault's own log
    pub(crate) project: Option<String>,
    pub(crate) seq: u64,
    pub(crate) hash: String,
    pub(crate) time: String,
    pub(crate) signature: String,
}

/// The result of `audit checkpoint`, which `audit verify --checkpoint` reads.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditCheckpoints {
    pub(crate) checkpoints: Vec<AuditCheckpoint>,
    /// The end of the log of uses on this machine; `None` without one
    pub(crate) uses: Option<UsesCheckpoint>,
}

/// The end of the log of uses.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsesCheckpoint {
    pub(crate) seq: u64,
    pub(crate) hash: String,
}

impl AuditCheckpoints {
    pub(crate) fn of(logs: &[ChangeLog], uses: &ReadUses) -> Self {
        let checkpoint = |log: &ChangeLog| {
            let last = log.last.as_ref()?;
            Some(AuditCheckpoint {
                vault: hex(&log.vault_id),
                pid: hex(&log.pid),
                project: log.project.as_ref().map(ToString::to_string),
                seq: last.seq,
                hash: hex(&last.hash),
                time: last.time.rfc3339(),
                signature: hex(&last.signature),
            })
        };

        let uses =
            (uses.last > 0).then(|| UsesCheckpoint { seq: uses.last, hash: hex(&uses.hash) });
        Self { checkpoints: logs.iter().filter_map(checkpoint).collect(), uses }
    }
}

impl Outcome for AuditCheckpoints {
    fn text(&self, out: &mut Text) {
        // A program reads it again, so there is no other form.
        out.line(&serde_json::to_string(self).unwrap_or_default());
    }
}

/// The result of `audit verify`.
#[derive(Serialize)]
pub(crate) struct AuditVerified {
    logs: Vec<LogInfo>,
    /// The number of uses and refusals on this machine
    uses: u64,
}

#[derive(Serialize)]
struct LogInfo {
    /// `None` for the vault's own log
    project: Option<String>,
    first: u64,
    last: u64,
}

impl AuditVerified {
    pub(crate) fn of(logs: &[ChangeLog], uses: &ReadUses) -> Self {
        let info = |log: &ChangeLog| LogInfo {
            project: log.project.as_ref().map(ToString::to_string),
            first: log.begins,
            last: log.last.as_ref().map_or(0, |last| last.seq),
        };

        Self { logs: logs.iter().map(info).collect(), uses: uses.last }
    }

    /// Returns the number of verified uses.
    pub(crate) fn uses(&self) -> u64 {
        self.uses
    }

    /// Returns the number of verified entries.
    pub(crate) fn entries(&self) -> u64 {
        self.logs.iter().map(|log| (log.last + 1).saturating_sub(log.first)).sum()
    }
}

/// The result of `audit prune`.
#[derive(Serialize)]
pub(crate) struct AuditPruned {
    pruned: Vec<PrunedInfo>,
}

#[derive(Serialize)]
struct PrunedInfo {
    /// `None` for the vault's own log
    project: Option<String>,
    removed: u64,
}

impl AuditPruned {
    pub(crate) fn of(pruned: &[PrunedLog]) -> Self {
        let info = |log: &PrunedLog| PrunedInfo {
            project: log.project.as_ref().map(ToString::to_string),
            removed: log.removed,
        };

        Self { pruned: pruned.iter().map(info).collect() }
    }
}
