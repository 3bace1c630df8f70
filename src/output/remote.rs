//! A vault on a server.

use secrets_core::model::{SecretBytes, Timestamp};
use secrets_core::vault::RemoteStatus as Status;
use serde::Serialize;

use super::{Outcome, Text};
use crate::ui::escape::visible;
use crate::ui::{Ui, UiError, raw, time};

/// A near file and the server that it names.
#[derive(Serialize)]
pub(crate) struct RemoteVault {
    pub(crate) vault: String,
    pub(crate) server: String,
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
