//! `Session`: a connection that is logged in, and the warnings that the server has sent.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, SimpleQueryMessage};

use super::Code;
use crate::address::Host;

/// How many warnings are kept until somebody takes them. A hostile server may send many.
const MAX_WARNINGS: usize = 64;

/// How long [`Session::close`] waits.
const CLOSING: Duration = Duration::from_secs(1);

/// A connection that is logged in. A task of the runtime moves its bytes.
///
/// Dropping it ends the connection at once. [`Session::close`] notifies the server first.
pub struct Session {
    client: Client,
    warnings: Arc<Mutex<Vec<Warning>>>,
    task: Task,
    host: Host,
    /// The server's statement about itself at login
    is_replica: Option<bool>,
}

/// A warning of the server. Its text is not kept, because a hostile server chooses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The code, if it is valid
    pub code: Option<Code>,
    /// How severe it is, if the server has said so
    pub severity: Option<Severity>,
}

/// Ends the task when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Starts the task of a connection.
    pub(super) fn start<S, T>(host: &Host, client: Client, connection: Connection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let is_replica = match connection.parameter("in_hot_standby") {
            Some("on") => Some(true),
            Some("off") => Some(false),
            _ => None,
        };

        let warnings = Arc::default();
        let task = Task(tokio::spawn(run(connection, Arc::clone(&warnings))));
        Self { client, warnings, task, host: host.clone(), is_replica }
    }

    /// Returns the driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the driver's client, for its transactions.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Returns the host that was chosen.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns true if the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the warnings since the last call, at most 64, in the order in which they came.
    ///
    /// A warning that the server sends before the answer to a statement is here when that answer
    /// is. After a `COMMIT`, a warning may mean that the server did not wait for its replicas.
    pub fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notifies the server and closes the connection. Waits at most one second.
    pub async fn close(self) {
        let Self { client, mut task, .. } = self;
        drop(client);
        // The connection is closed in either case.
        let _ = tokio::time::timeout(CLOSING, &mut task.0).await;
    }
}

/// Moves bytes and keeps warnings until the connection ends.
async fn run<S, T>(mut connection: Connection<S, T>, warnings: Arc<Mutex<Vec<Warning>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    // Requests that wait get an error from the driver when the connection ends.
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        let AsyncMessage::Notice(notice) = message else { continue };
        let Some(warning) = Warning::of(&notice) else { continue };

        let mut warnings = warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < MAX_WARNINGS {
            warnings.push(warning);
        }
    }
}

impl Warning {
    /// Returns `None` for a notice that is certainly less severe than a warning.
    fn of(notice: &DbError) -> Option<Self> {
        let severity = notice.parsed_severity();
        match severity {
            Some(Severity::Debug | Severity::Log | Severity::Info | Severity::Notice) => None,
            _ => Some(Self { code: Code::of_message(notice), severity }),
        }
    }
}

/// Finds out whether the server is the primary.
///
/// PostgreSQL 14 or newer sends `in_hot_standby` at login. `off` is enough. A pooler may repeat an
/// old `on`, so we ask the server again in that case. We also ask a server that did not send it, if
/// another host could be used instead.
pub(super) async fn is_primary(session: &Session, is_only_host: bool) -> Result<bool, Error> {
    match (session.is_replica, is_only_host) {
        (Some(false), _) | (None, true) => return Ok(true),
        (Some(true), _) | (None, false) => {}
    }

    let messages = session.client.simple_query("SELECT pg_is_in_recovery()").await?;
    let answer = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
        _ => None,
    });
    Ok(answer == Some("f"))
}
