//! The client of an agent. It starts an agent, sends requests to it, and uses it in place of a root
//! key.
//!
//! It never waits longer for an answer than its timeout, and talks only to processes of the same
//! user. Such a process is not necessarily an agent. Therefore no frame that the client sends
//! contains a key, except what the agent has sealed for itself.

use std::cell::{OnceCell, RefCell};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use secrets_core::crypto::aead::Key;
use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::root_key::RootKey;
use secrets_core::vault::{KeyServiceError, Locked, VaultError};
use secrets_files::FileId;

use super::answers::KnownDirectory;
use super::connection::{Connection, PAUSE, TOO_LONG, ask_to_end};
use super::protocol::{Answer, Handover, Request};
use super::runtime_dir::RuntimeDir;
use crate::helper::{FirstByte, Helper, READY, hand_over};

/// The maximum number of agents that `lock --all` contacts at once.
const ASKED_AT_ONCE: usize = 64;

/// The state of a vault in its agent.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// The time until the vault is locked in any case, and the time until it is locked if it is not
    /// used; `None` if it is locked
    pub left: Option<(Duration, Duration)>,
}

/// A client of the agent for one vault.
pub struct Client {
    runtime_dir: RuntimeDir,
    socket: PathBuf,
    pub(super) vault: Vec<u8>,
    pub(super) timeout: Duration,
    pub(super) checkpoint_key: OnceCell<Key>,
    /// The connection of the last question
    pub(super) connection: RefCell<Option<Connection>>,
    /// The directory that was read last
    pub(super) known: RefCell<Option<KnownDirectory>>,
}

impl Client {
    /// Creates a client. `vault` is the canonical path of a vault, by which the agent identifies
    /// it.
    pub fn new(runtime_dir: &RuntimeDir, vault: &Path, timeout: Duration) -> Self {
        let vault = vault.as_os_str().as_bytes().to_vec();
        Self {
            runtime_dir: runtime_dir.clone(),
            socket: runtime_dir.socket(&vault),
            vault,
            timeout,
            checkpoint_key: OnceCell::new(),
            connection: RefCell::new(None),
            known: RefCell::new(None),
        }
    }

    /// Returns the vault's state. Without an agent, the vault is locked. With `vault_id`, a
    /// different vault at the path is an error.
    pub fn status(&self, vault_id: Option<VaultId>) -> Result<Status, KeyServiceError> {
        let outcome = self.with_retry(|connection| {
            match connection.ask(&Request::Status { path: &self.vault, vault_id })?.decoded()? {
                Answer::State { left } => {
                    let left = left.map(|(ttl, idle)| {
                        (Duration::from_millis(ttl), Duration::from_millis(idle))
                    });

                    Ok(Status { left })
                }
                other => Err(other.unexpected()),
            }
        });

        match outcome {
            Err(KeyServiceError::Locked) => Ok(Status { left: None }),
            outcome => outcome,
        }
    }

    /// Starts an agent that holds the key of `locked`. Returns false if the system refused to keep
    /// the key out of swap.
    ///
    /// The agent that currently listens is first asked whether it has seen a newer state of the
    /// vault. Then the new agent replaces it. Unlocking again must not disable rollback detection.
    pub fn unlock(
        &self,
        executable: &Path,
        locked: &Locked,
        root: &RootKey,
        times: (Duration, Duration),
    ) -> Result<bool, VaultError> {
        // These are separate clients, so that nothing from an impostor's answer is kept.
        let client = || Self::new(&self.runtime_dir, &self.path(), self.timeout);
        let earlier = client();
        if let Err(VaultError::KeyService(
            error @ (KeyServiceError::RolledBack(_) | KeyServiceError::ForeignProcess),
        )) = locked.check_with(earlier)
        {
            return Err(error.into());
        }

        let earlier = self.connect(Instant::now() + self.timeout).ok();
        let in_memory = self.start(executable, locked.vault_id()?, root, times)?;

        // The old agent would notice the loss of its socket by itself, but only some seconds later.
        if let (Some(mut connection), Some(frame)) =
            (earlier, Request::Lock { path: &self.vault }.encode())
        {
            let _ = connection.send(&frame);
        }

        self.runtime_dir.end_shared_agent();

        // This shows the current state to the agent, which compares later states with it.
        locked.check_with(client())?;
        Ok(in_memory)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(std::ffi::OsStr::from_bytes(&self.vault))
    }

    /// Makes the agent forget the vault's key. Returns false if it had none. Unless another user's
    /// process listens on the socket, the socket is removed. An agent that does not obey can then
    /// no longer be reached.
    pub fn lock(&self) -> Result<bool, KeyServiceError> {
        let found = FileId::of_name(&self.socket);
        let answer = self.with_retry(|connection| {
            connection.ask(&Request::Lock { path: &self.vault })?.done_flag()
        });

        let outcome = match answer {
            Err(KeyServiceError::Locked) => Ok(false),
            // A real agent never answers a lock request like this. Once its socket is removed, no
            // client talks to this process again.
            Err(
                KeyServiceError::RolledBack(_)
                | KeyServiceError::Replaced
                | KeyServiceError::WrongKey
                | KeyServiceError::Refused,
            ) => Ok(true),
            result => result,
        };

        if !matches!(outcome, Err(KeyServiceError::ForeignProcess)) {
            self.runtime_dir.remove(&self.socket, found);
        }

        self.runtime_dir.end_shared_agent();
        outcome
    }

    /// Makes every agent in `runtime_dir` forget its key and exit, whatever its version. Returns
    /// false if there is none.
    pub fn lock_all(runtime_dir: &RuntimeDir, timeout: Duration) -> Result<bool, KeyServiceError> {
        let mut outcome = Ok(false);
        for sockets in runtime_dir.sockets().chunks(ASKED_AT_ONCE) {
            let deadline = Instant::now() + timeout;

            // All agents are asked before waiting for any of them, so that one that does not answer
            // cannot delay locking the others.
            let contacted: Vec<_> = sockets
                .iter()
                .map(|socket| (socket, FileId::of_name(socket), ask_to_end(socket, deadline)))
                .collect();

            for (socket, found, connection) in contacted {
                match connection.and_then(|mut connection| connection.has_reacted(deadline)) {
                    Err(KeyServiceError::Locked) => {}
                    Err(error) => outcome = Err(error),
                    Ok(()) => outcome = outcome.map(|_| true),
                }

                runtime_dir.remove(socket, found);
            }
        }

        outcome
    }

    /// Starts an agent that holds this key, and waits until it listens. The agent receives the key
    /// through a pipe, and inherits no environment, no working directory and no other descriptor.
    /// Returns false if the system refused to keep the key out of swap.
    pub fn start(
        &self,
        executable: &Path,
        vault_id: VaultId,
        root: &RootKey,
        (ttl, idle): (Duration, Duration),
    ) -> Result<bool, KeyServiceError> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (ttl, idle, path) = (milliseconds(ttl), milliseconds(idle), self.vault.as_slice());
        let frame =
            Handover { path, vault_id, ttl, idle, key: root.expose() }.encode().ok_or(TOO_LONG)?;

        // The agent lives on when this handle is dropped.
        let helper = Helper::Agent { directory: self.runtime_dir.directory() };
        let (_, said) = hand_over(helper.command(executable), frame.expose(), self.timeout)?;
        match said {
            FirstByte::Said(byte) => Ok(byte == READY),
            FirstByte::Closed => Err(KeyServiceError::NotStarted),
            FirstByte::Late => Err(KeyServiceError::Timeout),
        }
    }

    /// Runs `conversation` on a new connection. Retries if the agent closed the connection, because
    /// it had too many or was about to exit.
    fn with_retry<T>(
        &self,
        conversation: impl Fn(&mut Connection) -> Result<T, KeyServiceError>,
    ) -> Result<T, KeyServiceError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let mut connection = self.connect(deadline)?;
            let outcome = conversation(&mut connection);
            if outcome.is_ok() || !connection.closed || Instant::now() + PAUSE > deadline {
                return outcome;
            }

            sleep(PAUSE);
        }
    }

    /// Connects to the agent. Returns [`KeyServiceError::Locked`] if no agent listens.
    pub(super) fn connect(&self, deadline: Instant) -> Result<Connection, KeyServiceError> {
        Connection::to(&self.socket, deadline)
    }
}
