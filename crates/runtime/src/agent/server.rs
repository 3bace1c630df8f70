//! The agent's process. It has one key, one thread, one loop and a bounded number of connections,
//! and uses no files except its socket and its lock.
//!
//! It answers only valid requests from processes with its own user id. It closes all other
//! connections without an answer.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use secrets_core::crypto::ids::VaultId;
use secrets_core::crypto::keyring::Keyring;
use secrets_core::model::{STACK_DEPTH, SecretBytes, overwrite_stack};
use secrets_files::DeferSignals;
use secrets_files::FileId;

use super::now;
use super::protocol::{AgentFault, Answer, Handover, MAX_FRAME, Request, Unreadable, frame_length};
use super::runtime_dir::{RuntimeDir, remove, with_lock};
use super::session::{MacInProgress, Session};
use crate::process;

/// The maximum number of connections. A further one closes the connection that has been idle the
/// longest.
pub const MAX_CONNECTIONS: usize = 128;
/// The number of new connections that are accepted before existing ones are served again.
const ACCEPT_AT_ONCE: usize = 16;
/// The pause after a failed `accept`, until other processes may have released descriptors.
const PAUSE: Duration = Duration::from_millis(10);
/// The time limit in milliseconds for the rest of a started frame, and for a client to receive an
/// answer.
const FRAME_TIME: u64 = 2_000;
/// The time limit in milliseconds for an idle connection.
const IDLE_TIME: u64 = 10_000;
/// The longest wait in milliseconds. The clock of `poll` may stop while the machine is suspended,
/// but ours does not. The agent also checks at this interval whether its socket still exists.
const MAX_WAIT: u64 = 4_000;

/// Holds the key that `handover` returns, and serves requests until the key expires or is locked.
/// Calls `ready` when the socket listens, with whether the key is kept out of swap.
pub fn serve(
    runtime_dir: &RuntimeDir,
    handover: impl FnOnce() -> io::Result<SecretBytes>,
    ready: impl FnOnce(bool) -> io::Result<()>,
) -> io::Result<()> {
    process::detach(c"secrets-agent")?;
    let session = begin(&handover()?)?;
    let deferred = DeferSignals::on_all()?;
    let (listener, socket) = Socket::take_over(runtime_dir, &session.path)?;

    ready(session.key_is_locked())?;
    overwrite_stack::<STACK_DEPTH>();

    let mut agent =
        Agent { listener, socket, deferred, session: Some(session), connections: Vec::new() };
    let outcome = agent.run();

    // The key is wiped first, because removing the socket may have to wait for the lock.
    agent.session = None;
    agent.connections.clear();
    overwrite_stack::<STACK_DEPTH>();
    remove(&agent.socket.lock, &agent.socket.path, agent.socket.identity);
    agent.deferred.take();

    outcome
}

fn begin(frame: &SecretBytes) -> io::Result<Session> {
    let handover = Handover::decode(frame.expose()).ok_or(ErrorKind::InvalidData)?;
    Session::new(&handover, now()).map_err(io::Error::other)
}

struct Socket {
    path: PathBuf,
    identity: Option<FileId>,
    lock: File,
}

impl Socket {
    /// Listens on a new socket, which then replaces an earlier one under the same name. Some agent
    /// listens at every moment, and the earlier agent notices that it lost its socket.
    fn take_over(runtime_dir: &RuntimeDir, vault: &[u8]) -> io::Result<(UnixListener, Self)> {
        let (path, lock) = (runtime_dir.socket(vault), runtime_dir.lock()?);
        let new = path.with_extension("new");
        let (listener, identity) = with_lock(&lock, |_| {
            let _ = fs::remove_file(&new);
            let listener = UnixListener::bind(&new)?;
            fs::set_permissions(&new, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;

            let identity = FileId::of_name(&new);
            fs::rename(&new, &path)?;
            Ok::<_, io::Error>((listener, identity))
        })?;

        Ok((listener, Self { path, identity, lock }))
    }

    /// Returns false if the socket was removed or replaced. The agent must then exit, because no
    /// client could lock its key.
    fn owns_name(&self) -> bool {
        FileId::of_name(&self.path) == self.identity
    }
}

struct Agent {
    listener: UnixListener,
    socket: Socket,
    deferred: DeferSignals,
    /// `None` once it is locked
    session: Option<Session>,
    connections: Vec<ServedConnection>,
}

struct ServedConnection {
    stream: UnixStream,
    /// The received bytes: frames, each with its length in front
    input: SecretBytes,
    /// The number of bytes of `input` that were already handled
    consumed: usize,
    /// The bytes that were not sent yet
    output: SecretBytes,
    /// The time of the last complete frame, or of the last bytes sent
    last_active: u64,
    /// The time since which a frame is incomplete or an answer is waiting
    pending_since: Option<u64>,
    mac: Option<Result<MacInProgress, AgentFault>>,
    /// Whether the vault's tables were verified on this connection
    verified: bool,
}

/// Whether a connection stays open.
type ConnectionResult = Result<(), ConnectionEnd>;
struct ConnectionEnd;

impl Agent {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let moment = now();
            self.forget_expired(moment);
            self.connections.retain(|connection| connection.deadline() > moment);
            if self.session.is_none() || self.deferred.is_due() || !self.socket.owns_name() {
                return Ok(());
            }

            let (accept, ready) = self.wait(moment)?;
            let moment = now();

            // The wait may have taken a while. An expired key must not answer anything.
            self.forget_expired(moment);
            let mut number = 0;
            let mut connections = mem::take(&mut self.connections);
            connections.retain_mut(|connection| {
                let flags = ready.get(number).copied().unwrap_or(PollFlags::empty());
                number += 1;
                flags.is_empty() || self.serve(connection, flags, moment).is_ok()
            });

            self.connections = connections;
            overwrite_stack::<STACK_DEPTH>();
            if accept {
                self.accept(moment);
            }
        }
    }

    /// Waits for the next event. Returns whether a client wants to connect, and the events of each
    /// connection.
    fn wait(&self, moment: u64) -> io::Result<(bool, Vec<PollFlags>)> {
        let deadlines = self.session.iter().map(Session::expires);
        let deadlines = deadlines.chain(self.connections.iter().map(ServedConnection::deadline));
        let wait = deadlines.min().unwrap_or(u64::MAX).saturating_sub(moment).min(MAX_WAIT);
        let timeout = Timespec::try_from(Duration::from_millis(wait)).map_err(io::Error::other)?;
        let mut all = vec![
            PollFd::new(self.deferred.wakeup(), PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
        ];

        all.extend(
            self.connections
                .iter()
                .map(|connection| PollFd::new(&connection.stream, connection.interest())),
        );

        match poll(&mut all, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }

        Ok((!all[1].revents().is_empty(), all[2..].iter().map(PollFd::revents).collect()))
    }

    fn accept(&mut self, moment: u64) {
        for _ in 0..ACCEPT_AT_ONCE {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // No file descriptor is left. Closing an idle connection frees one. Without
                // connections, wait until another process frees one.
                Err(_) => {
                    return if self.connections.is_empty() {
                        sleep(PAUSE);
                    } else {
                        self.close_oldest();
                    };
                }
            };

            if !process::is_same_user(&stream) || stream.set_nonblocking(true).is_err() {
                continue;
            }

            if self.connections.len() >= MAX_CONNECTIONS {
                self.close_oldest();
            }

            self.connections.push(ServedConnection::new(stream, moment));
        }
    }

    fn close_oldest(&mut self) {
        let connections = self.connections.iter().enumerate();
        let oldest = connections.min_by_key(|(_, connection)| connection.last_active);
        if let Some(at) = oldest.map(|(at, _)| at) {
            self.connections.swap_remove(at);
        }
    }

    fn serve(
        &mut self,
        connection: &mut ServedConnection,
        flags: PollFlags,
        moment: u64,
    ) -> ConnectionResult {
        if flags.contains(PollFlags::OUT) {
            connection.send(moment)?;
        }

        let is_readable = flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && connection.output.is_empty();
        let ended = is_readable && connection.receive()?;

        // A client that has not received its answer gets no further one.
        while connection.output.is_empty() {
            let Some(frame) = connection.next_frame()? else { break };
            let answer =
                catch_unwind(AssertUnwindSafe(|| self.handle(connection, frame.expose(), moment)));

            // A panic in one request closes only this connection. The other clients keep their key.
            if let Some(answer) = answer.map_err(|_| ConnectionEnd)?? {
                connection.last_active = moment;
                connection.output.extend(answer.expose());
                connection.send(moment)?;
            }
        }

        connection.discard_consumed();
        let is_pending = !connection.input.is_empty() || !connection.output.is_empty();
        connection.pending_since =
            if is_pending { connection.pending_since.or(Some(moment)) } else { None };

        if ended && connection.output.is_empty() { Err(ConnectionEnd) } else { Ok(()) }
    }

    /// Handles a frame. Returns `None` if the request has no answer.
    fn handle(
        &mut self,
        connection: &mut ServedConnection,
        frame: &[u8],
        moment: u64,
    ) -> Result<Option<SecretBytes>, ConnectionEnd> {
        let request = match Request::decode(frame) {
            Ok(request) => request,
            Err(Unreadable::Version) => {
                return Answer::Failed(AgentFault::Version).encode().map(Some).ok_or(ConnectionEnd);
            }
            Err(Unreadable::Malformed) => return Err(ConnectionEnd),
        };

        match &request {
            Request::BeginMac { path, row_and_slots } => {
                let mac = match self.session(path, moment) {
                    Ok(session) => session.begin_mac(row_and_slots).ok_or(ConnectionEnd)?,
                    Err(fault) => Err(fault),
                };

                connection.mac = Some(mac);
                connection.last_active = moment;
                return Ok(None);
            }
            Request::MoreMac { bytes } => {
                if let Ok(mac) = connection.mac.as_mut().ok_or(ConnectionEnd)? {
                    mac.update(bytes);
                }

                return Ok(None);
            }
            _ => {}
        }

        let answered = self.answer(connection, request, moment)?;
        answered
            .unwrap_or_else(|fault| Answer::Failed(fault).encode())
            .map(Some)
            .ok_or(ConnectionEnd)
    }

    fn answer(
        &mut self,
        connection: &mut ServedConnection,
        request: Request<'_>,
        moment: u64,
    ) -> Result<Result<Option<SecretBytes>, AgentFault>, ConnectionEnd> {
        Ok(match request {
            Request::LockAll => {
                self.session = None;
                Ok(Answer::Done(true).encode())
            }
            Request::Lock { path } => {
                let held = self.session.take_if(|session| session.path == path).is_some();
                Ok(Answer::Done(held).encode())
            }
            Request::Status { path, vault_id } => self.status(path, vault_id, moment),
            Request::Verify { mac } => {
                let computed = connection.mac.take().ok_or(ConnectionEnd)?;
                self.current(moment).and_then(|session| {
                    session.verify(computed?, mac)?;
                    connection.verified = true;
                    Ok(Answer::Done(true).encode())
                })
            }
            Request::Sign => {
                let computed = connection.mac.take().ok_or(ConnectionEnd)?;
                self.current(moment)
                    .and_then(|session| Ok(Answer::Bytes(&session.sign(computed?)?).encode()))
            }
            // Requests for keys are rejected until the connection has proved to know the vault's
            // tables.
            Request::Open { .. } | Request::CheckpointKey if !connection.verified => {
                return Err(ConnectionEnd);
            }
            Request::Open { rows } => self.current(moment).and_then(|session| {
                let opened = rows.iter().zip(0..).map(|(row, number)| session.open(row, number));
                let opened = opened.collect::<Result<Vec<_>, _>>()?;
                Ok(Answer::Keyrings(opened.iter().map(SecretBytes::expose).collect()).encode())
            }),
            Request::CheckpointKey => self
                .current(moment)
                .map(|session| Answer::Bytes(session.checkpoint_key().expose()).encode()),
            Request::Seal { path, pid, epoch, keyring } => {
                let keyring = Keyring::decode(&pid, keyring).ok_or(ConnectionEnd)?;
                let session = self.session(path, moment);
                session.and_then(|session| {
                    Ok(Answer::Bytes(&session.seal(&pid, epoch, &keyring)?).encode())
                })
            }
            Request::BeginMac { .. } | Request::MoreMac { .. } => return Err(ConnectionEnd),
        })
    }

    fn status(
        &mut self,
        path: &[u8],
        vault_id: Option<VaultId>,
        moment: u64,
    ) -> Result<Option<SecretBytes>, AgentFault> {
        let left = match self.session(path, moment) {
            Ok(session) if vault_id.is_some_and(|id| id != session.vault_id) => {
                return Err(AgentFault::Replaced);
            }
            session => session.ok().map(|session| session.left(moment)),
        };

        Ok(Answer::State { left }.encode())
    }

    /// Returns the session and records its use.
    fn current(&mut self, moment: u64) -> Result<&mut Session, AgentFault> {
        let session = self.session.as_mut().ok_or(AgentFault::Locked)?;
        session.touch(moment);
        Ok(session)
    }

    /// Returns the session and records its use, if it belongs to this path.
    fn session(&mut self, path: &[u8], moment: u64) -> Result<&mut Session, AgentFault> {
        let is_this = self.session.as_ref().is_some_and(|session| session.path == path);
        if is_this { self.current(moment) } else { Err(AgentFault::Locked) }
    }

    fn forget_expired(&mut self, moment: u64) {
        self.session.take_if(|session| session.expires() <= moment);
    }
}

impl ServedConnection {
    fn new(stream: UnixStream, moment: u64) -> Self {
        let (input, output) = (SecretBytes::with_capacity(0), SecretBytes::with_capacity(0));
        Self {
            stream,
            input,
            consumed: 0,
            output,
            last_active: moment,
            pending_since: None,
            mac: None,
            verified: false,
        }
    }

    fn interest(&self) -> PollFlags {
        if self.output.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    fn deadline(&self) -> u64 {
        let idle_deadline = self.last_active + IDLE_TIME;
        self.pending_since.map_or(idle_deadline, |since| since + FRAME_TIME)
    }

    /// Reads the available bytes, at most one frame and the next one's length. Returns true at the
    /// end of the stream.
    fn receive(&mut self) -> Result<bool, ConnectionEnd> {
        let mut piece = SecretBytes::zeroed(16 * 1024);
        while self.input.len() < MAX_FRAME + 4 {
            match self.stream.read(piece.expose_mut()) {
                Ok(0) => return Ok(true),
                Ok(length) => self.input.extend(&piece.expose()[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(ConnectionEnd),
            }
        }

        Ok(false)
    }

    /// Returns the next complete frame.
    fn next_frame(&mut self) -> Result<Option<SecretBytes>, ConnectionEnd> {
        let Some((prefix, rest)) = self.input.expose()[self.consumed..].split_first_chunk() else {
            return Ok(None);
        };

        let length = frame_length(*prefix).ok_or(ConnectionEnd)?;
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let frame = SecretBytes::copy_of(frame);
        self.consumed += 4 + length;
        self.pending_since = None;

        Ok(Some(frame))
    }

    /// Discards the handled bytes once per turn. Doing it for each frame would take seconds for
    /// thousands of small frames.
    fn discard_consumed(&mut self) {
        if self.consumed > 0 {
            self.input = SecretBytes::copy_of(&self.input.expose()[self.consumed..]);
            self.consumed = 0;
        }
    }

    fn send(&mut self, moment: u64) -> ConnectionResult {
        while !self.output.is_empty() {
            match self.stream.write(self.output.expose()) {
                Ok(0) => return Err(ConnectionEnd),
                Ok(length) => {
                    self.output = SecretBytes::copy_of(&self.output.expose()[length..]);
                    self.last_active = moment;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(ConnectionEnd),
            }
        }

        self.pending_since = None;
        Ok(())
    }
}
