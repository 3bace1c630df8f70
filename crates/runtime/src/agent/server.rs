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
use secrets_core::codec::Reader;
use secrets_core::crypto::head::Head;
use secrets_core::crypto::ids::{DIRECTORY, ProjectId, VaultId};
use secrets_core::model::{ProjectName, STACK_DEPTH, SecretBytes, overwrite_stack};
use secrets_core::store::{RowSet, encode_changes};
use secrets_core::vault::{DirectoryChange, OpenedProject};
use secrets_files::DeferSignals;
use secrets_files::FileId;

use super::now;
use super::protocol::{
    AgentFault, Answer, ChangeKind, Handover, MAX_FRAME, MAX_NAMES, ProjectFrame, Request,
    Unreadable, frame_length,
};
use super::runtime_dir::{RuntimeDir, remove, with_lock};
use super::session::{Session, parsed_names};
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
            let answer = catch_unwind(AssertUnwindSafe(|| self.handle(frame.expose(), moment)));

            // A panic in one request closes only this connection. The other clients keep their key.
            let answer = answer.map_err(|_| ConnectionEnd)??;
            connection.last_active = moment;
            connection.output.extend(answer.expose());
            connection.send(moment)?;
        }

        connection.discard_consumed();
        let is_pending = !connection.input.is_empty() || !connection.output.is_empty();
        connection.pending_since =
            if is_pending { connection.pending_since.or(Some(moment)) } else { None };

        if ended && connection.output.is_empty() { Err(ConnectionEnd) } else { Ok(()) }
    }

    /// Handles a frame and returns the answer's frame.
    fn handle(&mut self, frame: &[u8], moment: u64) -> Result<SecretBytes, ConnectionEnd> {
        let answered = match Request::decode(frame) {
            Ok(request) => self.answer(request, moment)?,
            Err(Unreadable::Version) => Err(AgentFault::Version),
            Err(Unreadable::Malformed) => return Err(ConnectionEnd),
        };

        let answer = match answered {
            Ok(answer) => answer,
            Err(fault) => Answer::Failed(fault).encode(),
        };

        answer.ok_or(ConnectionEnd)
    }

    /// Answers a request. The inner `None` stands for an answer that is too long.
    fn answer(
        &mut self,
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
            Request::CheckpointKey { path } => self
                .session(path, moment)
                .map(|session| Answer::Bytes(session.checkpoint_key().expose()).encode()),
            Request::Index { path, names } => match self.session(path, moment) {
                Err(fault) => Err(fault),
                Ok(session) => {
                    let indexes = session.indexes(&names).ok_or(ConnectionEnd)?;
                    Ok(Answer::Bytes(&indexes).encode())
                }
            },
            Request::Directory { path, vault_id, rows } => {
                let rows = decoded_rows(rows)?;
                self.session_of(path, vault_id, moment).and_then(|session| {
                    let state = session.directory(&rows)?;
                    let head = encoded(&state.head, &vault_id, &DIRECTORY, state.row.epoch);
                    let (epoch, owner) = (state.row.epoch, session.owner());
                    Ok(Answer::Directory { epoch, owner, head: &head }.encode())
                })
            }
            Request::Open { path, vault_id, rows, indexes } => {
                let rows = decoded_rows(rows)?;
                let (indexes, rest) = indexes.as_chunks();
                if !rest.is_empty() || indexes.len() > MAX_NAMES {
                    return Err(ConnectionEnd);
                }

                self.session_of(path, vault_id, moment).and_then(|session| {
                    let found = session.open(&rows, indexes)?;
                    with_frames(session, &found, |frames| Answer::Projects(frames).encode())
                })
            }
            Request::MessageKeys { path, ticket, wanted } => match self.session(path, moment) {
                Err(fault) => Err(fault),
                Ok(session) => session
                    .message_keys(ticket, &wanted)
                    .ok_or(ConnectionEnd)?
                    .map(|keys| Answer::MessageKeys(keys.expose()).encode()),
            },
            Request::Head { path, ticket, row } => match self.session(path, moment) {
                Err(fault) => Err(fault),
                Ok(session) => session
                    .show_head(ticket, &row)
                    .ok_or(ConnectionEnd)?
                    .map(|()| Answer::Done(true).encode()),
            },
            Request::Sign(frame) => match self.session(frame.path, moment) {
                Err(fault) => Err(fault),
                Ok(session) => {
                    let vault_id = session.vault_id;
                    session.sign(&frame).ok_or(ConnectionEnd)?.map(|made| {
                        let row = &frame.previous;
                        let head = encoded(&made.head, &vault_id, &row.pid, row.epoch);
                        let entry = made.entry.entry.encode();
                        let (sig, entry_sig) = (&made.sig[..], &made.entry.sig[..]);
                        Answer::Signed { head: &head, sig, entry: &entry, entry_sig }.encode()
                    })
                }
            },
            Request::Change { path, vault_id, rows, kind, names } => {
                let mut rows = decoded_rows(rows)?;
                let names = parsed_names(&names).ok_or(ConnectionEnd)?;
                let names: Vec<&ProjectName> = names.iter().collect();
                let change = match (kind, names.as_slice()) {
                    (ChangeKind::Add, names) => DirectoryChange::Add(names),
                    (ChangeKind::Delete, names) => DirectoryChange::Delete(names),
                    (ChangeKind::Rename, [from, to]) => DirectoryChange::Rename { from, to },
                    _ => return Err(ConnectionEnd),
                };

                self.session_of(path, vault_id, moment).and_then(|session| {
                    let (changed, epoch) = session.change(&mut rows, change)?;
                    let head = encoded(&changed.head, &vault_id, &DIRECTORY, epoch);
                    let rows = encode_changes(&rows.take_changes());
                    let added: Vec<_> = changed.added.into_iter().map(Some).collect();
                    with_frames(session, &added, |added| {
                        Answer::Changed { head: &head, added, changes: &rows }.encode()
                    })
                })
            }
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

    /// Returns the session and records its use, if it belongs to this path and this vault.
    fn session_of(
        &mut self,
        path: &[u8],
        vault_id: VaultId,
        moment: u64,
    ) -> Result<&mut Session, AgentFault> {
        let session = self.session(path, moment)?;
        if session.vault_id == vault_id { Ok(session) } else { Err(AgentFault::Replaced) }
    }

    fn forget_expired(&mut self, moment: u64) {
        self.session.take_if(|session| session.expires() <= moment);
    }
}

fn decoded_rows(bytes: &[u8]) -> Result<RowSet, ConnectionEnd> {
    let mut reader = Reader::new(bytes);
    let rows = RowSet::decode(&mut reader).and_then(|rows| reader.finish(rows));
    rows.ok_or(ConnectionEnd)
}

fn encoded(head: &Head, vault_id: &VaultId, pid: &ProjectId, epoch: u32) -> Vec<u8> {
    head.encode(vault_id, pid, epoch)
}

/// Calls `answer` with the frames of projects. The keys that open values stay here, sealed in the
/// tickets.
fn with_frames(
    session: &Session,
    projects: &[Option<OpenedProject>],
    answer: impl FnOnce(Vec<Option<ProjectFrame<'_>>>) -> Option<SecretBytes>,
) -> Result<Option<SecretBytes>, AgentFault> {
    let mut parts = Vec::with_capacity(projects.len());
    for project in projects {
        parts.push(match project {
            Some(project) => {
                let ring = project.ring().map_err(|_| AgentFault::System)?;
                let keys = ring.without_values().encode();
                Some((project.entry.to_bytes(), keys, session.ticket(project)?))
            }
            None => None,
        });
    }

    let frames = parts.iter().map(|parts| {
        let (entry, keys, ticket) = parts.as_ref()?;
        Some(ProjectFrame { entry: entry.expose(), keys: keys.expose(), ticket })
    });

    Ok(answer(frames.collect()))
}

impl ServedConnection {
    fn new(stream: UnixStream, moment: u64) -> Self {
        let (input, output) = (SecretBytes::with_capacity(0), SecretBytes::with_capacity(0));
        Self { stream, input, consumed: 0, output, last_active: moment, pending_since: None }
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

        let length = frame_length(*prefix, MAX_FRAME).ok_or(ConnectionEnd)?;
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
