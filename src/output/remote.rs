//! A vault on a server.

use secrets_core::model::{SecretBytes, Timestamp};
use secrets_core::vault::RemoteStatus as Status;
use secrets_store_postgres::{Acknowledges, ServerFacts};
use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;
use crate::ui::{Ui, UiError, counted, raw, time};

/// A server's statements about itself, for `verify --remote`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerInfo {
    /// When a change is acknowledged: `beforeDisk`, `oneDisk`, `standby` or `unknown`
    acknowledges: &'static str,
    flushes: bool,
    triggers: u64,
    row_security: u64,
    other_tables: u64,
    excess_rights: bool,
}

impl ServerInfo {
    pub(crate) fn of(facts: &ServerFacts) -> Self {
        Self {
            acknowledges: match facts.acknowledges {
                Acknowledges::BeforeDisk => "beforeDisk",
                Acknowledges::OnOneDisk => "oneDisk",
                Acknowledges::OnStandby => "standby",
                Acknowledges::Unknown => "unknown",
            },
            flushes: facts.flushes,
            triggers: facts.triggers,
            row_security: facts.row_security,
            other_tables: facts.no_tables,
            excess_rights: facts.has_excess_rights,
        }
    }

    /// Returns when a change counts as stored, for people.
    pub(crate) fn stored(&self) -> String {
        match self.acknowledges {
            "beforeDisk" => "before a change is on a disk (synchronous_commit is off)",
            "oneDisk" => "once a change is on the server's disk; a failover can lose it",
            "standby" => "once a standby has a change as well",
            _ => "at a time that the server does not say",
        }
        .to_owned()
    }

    /// Returns what is unusual.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.flushes {
            found.push("fsync is off on the server: a crash can destroy the database".into());
        }

        if self.triggers > 0 {
            found.push(format!(
                "the vault's tables have {}; the vault works only if they change nothing",
                counted(self.triggers, "trigger or rule")
            ));
        }

        if self.row_security > 0 || self.other_tables > 0 {
            found.push("some of the vault's tables are views, or hide rows from some roles".into());
        }

        if self.excess_rights {
            found.push(
                "this role may empty or change the vault's tables; a role with the rights of \
                 `secrets_write` may not"
                    .into(),
            );
        }

        found
    }
}

/// A near file and the server that it names.
#[derive(Serialize)]
pub(crate) struct RemoteVault {
    pub(crate) vault: String,
    pub(crate) server: String,
}

/// The result of `remote repair`.
#[derive(Serialize)]
pub(crate) struct Repairs {
    pub(crate) repaired: Vec<RepairInfo>,
}

/// A project whose changes were put back.
#[derive(Serialize)]
pub(crate) struct RepairInfo {
    /// Its name; none for the list of projects
    pub(crate) project: Option<String>,
    pub(crate) changes: u64,
}

/// The result of `remote status`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RemoteStatus {
    vault: String,
    server: String,
    reachable: bool,
    /// Why the server cannot be reached
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The time at which this machine last compared the vault with the server's
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    #[serde(skip)]
    last_seen_here: Option<String>,
}

impl RemoteStatus {
    pub(crate) fn of(status: Status, vault: String, server: String) -> Self {
        Self {
            vault,
            server,
            reachable: status.unreachable.is_none(),
            reason: status.unreachable.map(|error| error.to_string()),
            last_seen: status.last_seen.map(Timestamp::rfc3339),
            last_seen_here: status.last_seen.map(time::local),
        }
    }
}

impl Outcome for RemoteStatus {
    fn text(&self, out: &mut Text) {
        let state = match &self.reason {
            None => "can be reached".to_owned(),
            Some(reason) => format!("cannot be reached: {}", visible(reason)),
        };

        let mut lines = vec![
            ("vault", visible(&self.vault)),
            ("server", visible(&self.server)),
            ("state", state),
        ];
        if let Some(seen) = &self.last_seen_here {
            lines.push(("last seen", seen.clone()));
        }

        out.labelled(&lines);
    }
}

impl Ui {
    /// Prints a ticket. No buffer keeps a part of it.
    pub(crate) fn print_ticket(&self, ticket: &SecretBytes) -> Result<(), UiError> {
        let mut line = SecretBytes::with_capacity(ticket.len() + 16);
        line.extend(if self.is_json() { b"{\"ticket\":\"" } else { b"" });
        line.extend(ticket.expose());
        line.extend(if self.is_json() { b"\"}" } else { b"" });
        line.push(b'\n');
        raw::print(line.expose())
    }
}
