//! The client of an agent. It starts an agent, sends requests to it, and uses it in place of a root
//! key.
//!
//! It never waits longer for an answer than its timeout, and talks only to processes of the same
//! user. Such a process is not necessarily an agent. Therefore no frame that the client sends
//! contains a key, except a project's key ring that the agent has to seal.

use std::cell::OnceCell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use secrets_core::crypto::CryptoError;
use secrets_core::crypto::aead::Key;
use secrets_core::crypto::ids::{ProjectId, VaultId};
use secrets_core::crypto::keyring::{KEYRING, Keyring};
use secrets_core::crypto::root_key::{ROOT_TABLES, RootKey, projects_and_grants, row_and_slots};
use secrets_core::crypto::rows::ProjectRow;
use secrets_core::model::SecretBytes;
use secrets_core::vault::{KeyServiceError, Locked, RootKeyHandle, RootTables, VaultError};
use secrets_files::FileId;

use super::protocol::{AgentFault, Answer, Handover, MAX_FRAME, Request, Unreadable, frame_length};
use super::runtime_dir::RuntimeDir;
use crate::process;

/// The pause before another attempt if a connection was closed or the agent is just starting.
const PAUSE: Duration = Duration::from_millis(20);
/// The maximum number of agents that `lock --all` contacts at once.
const ASKED_AT_ONCE: usize = 64;

/// The error for a frame of ours that would be too long. Whatever comes from the vault's file is cut
/// into frames or checked before.
const TOO_LONG: KeyServiceError = KeyServiceError::Internal("a request to the agent is too long");

/// The byte that a new agent writes when it listens and its key is kept out of swap. It writes any
/// other byte if the key is not kept out of swap.
pub const READY: u8 = b'.';

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
    vault: Vec<u8>,
    timeout: Duration,
    /// Set together with the first key rings
    checkpoint_key: OnceCell<Key>,
}

struct Connection {
    stream: UnixStream,
    /// The timeout for each complete answer
    timeout: Duration,
    closed: bool,
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
        // This uses a separate client, so that nothing from an impostor's answer is kept.
        let earlier = Self::new(&self.runtime_dir, &self.path(), self.timeout);
        if let Err(VaultError::KeyService(
            error @ (KeyServiceError::RolledBack(_) | KeyServiceError::ForeignProcess),
        )) = locked.check_root_mac(&earlier)
        {
            return Err(error.into());
        }

        let earlier = earlier.connect(Instant::now() + self.timeout).ok();
        let in_memory = self.start(executable, locked.vault_id()?, root, times)?;

        // The old agent would notice the loss of its socket by itself, but only some seconds later.
        if let (Some(mut connection), Some(frame)) =
            (earlier, Request::Lock { path: &self.vault }.encode())
        {
            let _ = connection.send(&frame);
        }

        self.runtime_dir.end_shared_agent();

        // This shows the current state to the agent, which compares later states with it.
        locked.check(self)?;
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
                | KeyServiceError::UnverifiedSlots,
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

        let mut command = Command::new(executable);
        command.arg0("secrets").arg("agent").arg("--directory").arg(self.runtime_dir.directory());
        command
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());

        let mut agent = command.spawn()?;
        let mut ready = agent.stdout.take().ok_or(KeyServiceError::NotStarted)?;

        // The pipe takes a whole frame at once. Closing it marks the end of the agent's input.
        agent.stdin.take().ok_or(KeyServiceError::NotStarted)?.write_all(frame.expose())?;
        drop(frame);

        let timeout =
            rustix::event::Timespec::try_from(self.timeout).map_err(std::io::Error::other)?;
        let waiting = &mut [rustix::event::PollFd::new(&ready, rustix::event::PollFlags::IN)];
        if !matches!(rustix::event::poll(waiting, Some(&timeout)), Ok(1)) {
            return Err(KeyServiceError::Timeout);
        }

        let mut answer = [0];
        match ready.read(&mut answer) {
            Ok(1) => Ok(answer == [READY]),
            _ => Err(KeyServiceError::NotStarted),
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
    fn connect(&self, deadline: Instant) -> Result<Connection, KeyServiceError> {
        Connection::to(&self.socket, deadline)
    }

    /// Makes the agent verify the root MAC of `tables`. Afterwards the connection may open key
    /// rings.
    fn verify(
        &self,
        connection: &mut Connection,
        tables: &RootTables<'_>,
    ) -> Result<(), VaultError> {
        self.begin_mac(connection, tables)?;
        match connection.ask(&Request::Verify { mac: &tables.vault.root_mac })?.decoded()? {
            Answer::Done(_) => Ok(()),
            Answer::Failed(AgentFault::RootTables) => Err(CryptoError::Damaged(ROOT_TABLES).into()),
            other => Err(other.unexpected().into()),
        }
    }

    fn begin_mac(
        &self,
        connection: &mut Connection,
        tables: &RootTables<'_>,
    ) -> Result<(), VaultError> {
        let row_and_slots = row_and_slots(tables.vault, tables.slots);
        let begin = Request::BeginMac { path: &self.vault, row_and_slots: &row_and_slots };

        // A real vault's key slots always fit into a frame.
        connection.send(&begin.encode().ok_or(CryptoError::Damaged(ROOT_TABLES))?)?;
        let mut piece = Vec::with_capacity(MAX_FRAME / 2);
        let mut outcome = Ok(());
        projects_and_grants(tables.projects, tables.grants, |bytes| {
            for bytes in bytes.chunks(MAX_FRAME / 4) {
                if piece.len() + bytes.len() > MAX_FRAME / 2 && outcome.is_ok() {
                    outcome = connection.send_more(&piece);
                    piece.clear();
                }

                piece.extend_from_slice(bytes);
            }
        });

        outcome?;
        Ok(connection.send_more(&piece)?)
    }

    fn keyrings(
        connection: &mut Connection,
        rows: &[ProjectRow],
    ) -> Result<Vec<Keyring>, VaultError> {
        let mut keyrings = Vec::with_capacity(rows.len());
        let mut rest = rows;

        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch(rest)?);
            let answer = connection.ask(&Request::Open { rows: batch.to_vec() })?;
            let opened = match answer.decoded()? {
                Answer::Keyrings(opened) if opened.len() == batch.len() => opened,
                Answer::Failed(AgentFault::Keyring(_)) => {
                    return Err(CryptoError::Damaged(KEYRING).into());
                }
                Answer::Failed(AgentFault::ProjectRolledBack(row)) => {
                    let row = usize::try_from(row).ok().and_then(|row| batch.get(row));
                    let row = row.ok_or(KeyServiceError::InvalidResponse)?.clone();
                    return Err(Self::rolled_back(connection, row));
                }
                other => return Err(other.unexpected().into()),
            };

            for (row, bytes) in batch.iter().zip(opened) {
                keyrings.push(
                    Keyring::decode(&row.pid, bytes).ok_or(KeyServiceError::InvalidResponse)?,
                );
            }

            rest = later;
        }

        Ok(keyrings)
    }

    /// Returns the error with the project's name. The key ring opens, because this request contains
    /// no head that could be compared.
    fn rolled_back(connection: &mut Connection, row: ProjectRow) -> VaultError {
        let row = ProjectRow { head: Vec::new(), sig: Vec::new(), ..row };
        let pid = row.pid;
        let name =
            connection.ask(&Request::Open { rows: vec![row] }).ok().and_then(|answer| match answer
                .decoded()
            {
                Ok(Answer::Keyrings(opened)) => {
                    Keyring::decode(&pid, opened.first()?).map(|keyring| keyring.name.clone())
                }

                _ => None,
            });

        KeyServiceError::RolledBack(name).into()
    }
}

/// Returns how many of these rows fit into a request, such that their key rings also fit into the
/// answer.
fn batch(rows: &[ProjectRow]) -> Result<usize, VaultError> {
    let mut room = MAX_FRAME - 64;
    let fits = |row: &&ProjectRow| {
        let size = 64 + row.keys.len() + row.head.len() + row.sig.len();
        room.checked_sub(size).map(|left| room = left).is_some()
    };

    match rows.iter().take_while(fits).count() {
        // No real key ring is that large.
        0 => Err(CryptoError::Damaged(KEYRING).into()),
        number => Ok(number),
    }
}

impl RootKeyHandle for Client {
    fn open(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError> {
        self.with_connection(|connection| {
            self.verify(connection, tables)?;
            let keyrings = Self::keyrings(connection, tables.projects)?;
            if self.checkpoint_key.get().is_none() {
                let key = match connection.ask(&Request::CheckpointKey)?.decoded()? {
                    Answer::Bytes(key) => {
                        Key::copy_of(key.try_into().map_err(|_| KeyServiceError::InvalidResponse)?)
                    }
                    other => return Err(other.unexpected().into()),
                };

                let _ = self.checkpoint_key.set(key);
            }

            Ok(keyrings)
        })
    }

    fn mac(&self, tables: &RootTables<'_>) -> Result<[u8; 32], VaultError> {
        self.with_connection(|connection| {
            self.begin_mac(connection, tables)?;
            match connection.ask(&Request::Sign)?.decoded()? {
                Answer::Bytes(mac) => {
                    Ok(mac.try_into().map_err(|_| KeyServiceError::InvalidResponse)?)
                }
                other => Err(other.unexpected().into()),
            }
        })
    }

    fn seal_keyring(
        &self,
        _: &VaultId,
        pid: &ProjectId,
        epoch: u32,
        keyring: &Keyring,
    ) -> Result<Vec<u8>, VaultError> {
        let plain = keyring.encode();
        let request =
            Request::Seal { path: &self.vault, pid: *pid, epoch, keyring: plain.expose() };
        self.with_connection(|connection| match connection.ask(&request)?.decoded()? {
            Answer::Bytes(sealed) => Ok(sealed.to_vec()),
            other => Err(other.unexpected().into()),
        })
    }

    fn checkpoint_key(&self) -> Result<Key, VaultError> {
        let unread = KeyServiceError::Internal("the checkpoint key is used before the key rings");
        let key = self.checkpoint_key.get().ok_or(unread)?;
        Ok(Key::copy_of(key.expose()))
    }

    fn has_checkpoints(&self) -> bool {
        true
    }
}

impl Client {
    /// Like [`Client::with_retry`], but for conversations that can also fail with errors of the
    /// vault.
    fn with_connection<T>(
        &self,
        conversation: impl Fn(&mut Connection) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.with_retry(|connection| match conversation(connection) {
            Ok(value) => Ok(Ok(value)),
            Err(VaultError::KeyService(error)) => Err(error),
            Err(other) => Ok(Err(other)),
        })?
    }
}

/// Sends the agent on a socket a request to exit. Does not wait for the answer.
fn ask_to_end(socket: &Path, deadline: Instant) -> Result<Connection, KeyServiceError> {
    let mut connection = Connection::to(socket, deadline)?;
    let frame = Request::LockAll.encode().ok_or(TOO_LONG)?;
    match connection.send(&frame) {
        Err(error) if !connection.closed => Err(error),
        _ => Ok(connection),
    }
}

impl Connection {
    /// Connects to a socket. Returns [`KeyServiceError::Locked`] if no agent listens.
    fn to(socket: &Path, deadline: Instant) -> Result<Self, KeyServiceError> {
        let address = SocketAddrUnix::new(socket).map_err(std::io::Error::from)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .map_err(std::io::Error::from)?;
            match connect(&socket, &address) {
                Ok(()) => return Self::new(UnixStream::from(socket), deadline),
                Err(Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => {
                    return Err(KeyServiceError::Locked);
                }
                // The listen queue is full. A blocking `connect` would wait forever.
                Err(Errno::AGAIN | Errno::INTR) if Instant::now() < deadline => sleep(PAUSE),
                Err(Errno::AGAIN | Errno::INTR) => return Err(KeyServiceError::Timeout),
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
    }

    /// Waits for an answer of any version or for the end of the connection. An agent that exits
    /// causes one of them.
    fn has_reacted(&mut self, deadline: Instant) -> Result<(), KeyServiceError> {
        match self.fill(&mut [0; 4], deadline) {
            Err(_) if self.closed => Ok(()),
            other => other,
        }
    }

    fn new(stream: UnixStream, deadline: Instant) -> Result<Self, KeyServiceError> {
        if !process::is_same_user(&stream) {
            return Err(KeyServiceError::ForeignProcess);
        }

        stream.set_nonblocking(false)?;
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_write_timeout(Some(left))?;
        Ok(Self { stream, timeout: left, closed: false })
    }

    fn failed(&mut self, error: std::io::Error) -> KeyServiceError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => KeyServiceError::Timeout,
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                self.closed = true;
                KeyServiceError::Timeout
            }
            _ => error.into(),
        }
    }

    fn send(&mut self, frame: &SecretBytes) -> Result<(), KeyServiceError> {
        self.stream.write_all(frame.expose()).map_err(|error| self.failed(error))
    }

    fn send_more(&mut self, bytes: &[u8]) -> Result<(), KeyServiceError> {
        self.send(&Request::MoreMac { bytes }.encode().ok_or(TOO_LONG)?)
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Frame, KeyServiceError> {
        self.send(&request.encode().ok_or(TOO_LONG)?)?;
        let deadline = Instant::now() + self.timeout;
        let mut prefix = [0; 4];
        self.fill(&mut prefix, deadline)?;

        let length = frame_length(prefix).ok_or(KeyServiceError::InvalidResponse)?;
        let mut frame = SecretBytes::zeroed(length);
        self.fill(frame.expose_mut(), deadline)?;
        Ok(Frame(frame))
    }

    /// Fills the whole buffer, even if the bytes arrive one by one. The deadline applies to all of
    /// them together.
    fn fill(&mut self, mut wanted: &mut [u8], deadline: Instant) -> Result<(), KeyServiceError> {
        while !wanted.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(KeyServiceError::Timeout);
            }

            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(wanted) {
                Ok(0) => return Err(self.failed(ErrorKind::UnexpectedEof.into())),
                Ok(length) => wanted = &mut wanted[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }

        Ok(())
    }
}

/// A received answer, wiped when dropped.
struct Frame(SecretBytes);

impl Frame {
    fn decoded(&self) -> Result<Answer<'_>, KeyServiceError> {
        Answer::decode(self.0.expose()).map_err(|why| match why {
            Unreadable::Version => KeyServiceError::OtherVersion,
            Unreadable::Malformed => KeyServiceError::InvalidResponse,
        })
    }

    fn done_flag(&self) -> Result<bool, KeyServiceError> {
        match self.decoded()? {
            Answer::Done(flag) => Ok(flag),
            other => Err(other.unexpected()),
        }
    }
}

impl Answer<'_> {
    /// Returns the error for an answer that does not match the request.
    fn unexpected(&self) -> KeyServiceError {
        match self {
            Self::Failed(AgentFault::Locked) => KeyServiceError::Locked,
            Self::Failed(AgentFault::Replaced) => KeyServiceError::Replaced,
            Self::Failed(AgentFault::RolledBack) => KeyServiceError::RolledBack(None),
            Self::Failed(AgentFault::UnverifiedSlots) => KeyServiceError::UnverifiedSlots,
            Self::Failed(AgentFault::WrongKey) => KeyServiceError::WrongKey,
            Self::Failed(AgentFault::Version) => KeyServiceError::OtherVersion,
            Self::Failed(AgentFault::System) => KeyServiceError::Failed,
            _ => KeyServiceError::InvalidResponse,
        }
    }
}
