//! The agent's process: one key, one thread, one loop, bounded connections, no file but its socket and its lock.
//!
//! It answers who has its own user id and what is well formed; whatever else comes is closed without a word.

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

use super::now;
use super::protocol::{
    AgentFault, Answer, Handover, LARGEST_FRAME, Request, Unreadable, frame_length,
};
use super::runtime_dir::{RuntimeDir, identity, in_turn, remove};
use super::session::{MacInProgress, Session};
use crate::crypto::ids::VaultId;
use crate::crypto::keyring::Keyring;
use crate::model::{DEEP, SecretBytes, overwrite_stack};
use crate::process;
use crate::signals::DeferSignals;

/// Connections at one time. One more closes the one that has been idle for longest.
pub const MOST_CONNECTIONS: usize = 128;
/// New connections that are taken before those that are there get their turn.
const ACCEPT_AT_ONCE: usize = 16;
/// Between two looks at what others are about to change.
const PAUSE: Duration = Duration::from_millis(10);
/// Milliseconds for the rest of a frame that has begun, and for an answer to be taken.
const FRAME_TIME: u64 = 2_000;
/// Milliseconds that a connection may say nothing.
const IDLE_TIME: u64 = 10_000;
/// The longest wait: the clock of `poll` may stand still while the machine is suspended, ours does not; and so often
/// the agent looks whether its socket is still there.
const LONGEST_WAIT: u64 = 4_000;

/// Holds the key that `handover` returns, and serves until its time is over or somebody locks it. `ready` is called when
/// the socket listens; it is told whether the key is kept out of swap.
pub fn serve(
    place: &RuntimeDir,
    handover: impl FnOnce() -> io::Result<SecretBytes>,
    ready: impl FnOnce(bool) -> io::Result<()>,
) -> io::Result<()> {
    process::detach(c"secrets-agent")?;
    let session = begin(&handover()?)?;
    let hold = DeferSignals::on_all()?;
    let (listener, socket) = Socket::take_over(place, &session.path)?;

    ready(session.key_is_locked())?;
    overwrite_stack::<DEEP>();

    let mut agent =
        Agent { listener, socket, hold, session: Some(session), connections: Vec::new() };
    let outcome = agent.run();

    // The key first: the name may have to wait for its turn.
    agent.session = None;
    agent.connections.clear();
    overwrite_stack::<DEEP>();
    remove(&agent.socket.lock, &agent.socket.path, agent.socket.identity);
    agent.hold.take();

    outcome
}

fn begin(frame: &SecretBytes) -> io::Result<Session> {
    let handover = Handover::decode(frame.expose()).ok_or(ErrorKind::InvalidData)?;
    Session::new(&handover, now()).map_err(io::Error::other)
}

/// The name by which the agent is reached.
struct Socket {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    lock: File,
}

impl Socket {
    /// Listens on a new socket, which then takes the name of an earlier one: at no moment nobody listens there, and an
    /// earlier agent sees that its name is gone.
    fn take_over(place: &RuntimeDir, vault: &[u8]) -> io::Result<(UnixListener, Self)> {
        let (path, lock) = (place.socket(vault), place.lock()?);
        let new = path.with_extension("new");
        let (listener, identity) = in_turn(&lock, |_| {
            let _ = fs::remove_file(&new);
            let listener = UnixListener::bind(&new)?;
            fs::set_permissions(&new, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;

            let identity = identity(&new);
            fs::rename(&new, &path)?;
            Ok::<_, io::Error>((listener, identity))
        })?;

        Ok((listener, Self { path, identity, lock }))
    }

    /// False where somebody took the name away: nobody could lock what is held here.
    fn is_there(&self) -> bool {
        identity(&self.path) == self.identity
    }
}

struct Agent {
    listener: UnixListener,
    socket: Socket,
    hold: DeferSignals,
    /// Until it is locked
    session: Option<Session>,
    connections: Vec<ServedConnection>,
}

struct ServedConnection {
    stream: UnixStream,
    /// What has come, each frame with its length in front
    input: SecretBytes,
    /// How much of that has been dealt with
    taken: usize,
    /// What is still to be sent
    output: SecretBytes,
    /// When it last said or took something whole
    active: u64,
    /// When the frame that has begun, or the answer that waits, did so
    began: Option<u64>,
    mac: Option<Result<MacInProgress, AgentFault>>,
    /// True once the vault's tables were verified on this connection
    verified: bool,
}

/// What becomes of a connection.
type ConnectionResult = Result<(), ConnectionEnd>;
struct ConnectionEnd;

impl Agent {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let moment = now();
            self.forget_expired(moment);
            self.connections.retain(|connection| connection.deadline() > moment);
            if self.session.is_none() || self.hold.is_due() || !self.socket.is_there() {
                return Ok(());
            }

            let (accept, ready) = self.wait(moment)?;
            let moment = now();

            // Time may have passed while it waited: an expired key answers nothing.
            self.forget_expired(moment);
            let mut number = 0;
            let mut connections = mem::take(&mut self.connections);
            connections.retain_mut(|connection| {
                let flags = ready.get(number).copied().unwrap_or(PollFlags::empty());
                number += 1;
                flags.is_empty() || self.serve(connection, flags, moment).is_ok()
            });

            self.connections = connections;
            overwrite_stack::<DEEP>();
            if accept {
                self.accept(moment);
            }
        }
    }

    /// Waits for the next thing to do: is somebody at the door, and which connections are ready?
    fn wait(&self, moment: u64) -> io::Result<(bool, Vec<PollFlags>)> {
        let ends = self.session.iter().map(Session::expires);
        let ends = ends.chain(self.connections.iter().map(ServedConnection::deadline));
        let wait = ends.min().unwrap_or(u64::MAX).saturating_sub(moment).min(LONGEST_WAIT);
        let timeout = Timespec::try_from(Duration::from_millis(wait)).map_err(io::Error::other)?;
        let mut all = vec![
            PollFd::new(self.hold.came(), PollFlags::IN),
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
                // No descriptor is left: one that is idle gives up its own, or somebody else's comes free.
                Err(_) => {
                    return if self.connections.is_empty() {
                        sleep(PAUSE);
                    } else {
                        self.close_oldest();
                    };
                }
            };

            if !process::peer_is_us(&stream) || stream.set_nonblocking(true).is_err() {
                continue;
            }

            if self.connections.len() >= MOST_CONNECTIONS {
                self.close_oldest();
            }

            self.connections.push(ServedConnection::new(stream, moment));
        }
    }

    fn close_oldest(&mut self) {
        let oldest =
            self.connections.iter().enumerate().min_by_key(|(_, connection)| connection.active);
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

        let came = flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && connection.output.is_empty();
        let ended = came && connection.receive()?;

        // Who does not take the answer gets no other one.
        while connection.output.is_empty() {
            let Some(frame) = connection.next_frame()? else { break };
            let answer =
                catch_unwind(AssertUnwindSafe(|| self.handle(connection, frame.expose(), moment)));

            // What went wrong with one request is not to cost the others their keys.
            if let Some(answer) = answer.map_err(|_| ConnectionEnd)?? {
                connection.active = moment;
                connection.output.extend(answer.expose());
                connection.send(moment)?;
            }
        }

        connection.forget_taken();
        connection.began = match (connection.input.is_empty(), connection.output.is_empty()) {
            (true, true) => None,
            _ => connection.began.or(Some(moment)),
        };

        if ended && connection.output.is_empty() { Err(ConnectionEnd) } else { Ok(()) }
    }

    /// Does what a frame asks; `None` where no answer is due.
    fn handle(
        &mut self,
        connection: &mut ServedConnection,
        frame: &[u8],
        moment: u64,
    ) -> Result<Option<SecretBytes>, ConnectionEnd> {
        let request = match Request::decode(frame) {
            Ok(request) => request,
            Err(Unreadable::Version) => {
                return Answer::AgentFault(AgentFault::Version)
                    .encode()
                    .map(Some)
                    .ok_or(ConnectionEnd);
            }
            Err(Unreadable::Malformed) => return Err(ConnectionEnd),
        };

        match &request {
            Request::BeginMac { path, row_and_slots } => {
                let begun = match self.session(path, moment) {
                    Ok(session) => session.begin_mac(row_and_slots).ok_or(ConnectionEnd)?,
                    Err(fault) => Err(fault),
                };

                connection.mac = Some(begun);
                connection.active = moment;
                return Ok(None);
            }
            Request::MoreMac { bytes } => {
                if let Ok(under_way) = connection.mac.as_mut().ok_or(ConnectionEnd)? {
                    under_way.update(bytes);
                }

                return Ok(None);
            }
            _ => {}
        }

        let answered = self.answer(connection, request, moment)?;
        answered
            .unwrap_or_else(|fault| Answer::AgentFault(fault).encode())
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
                let under_way = connection.mac.take().ok_or(ConnectionEnd)?;
                self.current(moment).and_then(|session| {
                    session.verify(under_way?, mac)?;
                    connection.verified = true;
                    Ok(Answer::Done(true).encode())
                })
            }
            Request::Sign => {
                let under_way = connection.mac.take().ok_or(ConnectionEnd)?;
                self.current(moment)
                    .and_then(|session| Ok(Answer::Bytes(&session.sign(under_way?)?).encode()))
            }
            // What is asked for without a look at the vault is closed.
            Request::Open { .. } | Request::AnchorKey if !connection.verified => {
                return Err(ConnectionEnd);
            }
            Request::Open { rows } => self.current(moment).and_then(|session| {
                let opened = rows.iter().zip(0..).map(|(row, number)| session.open(row, number));
                let opened = opened.collect::<Result<Vec<_>, _>>()?;
                Ok(Answer::Keyrings(opened.iter().map(SecretBytes::expose).collect()).encode())
            }),
            Request::AnchorKey => self
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

    /// The session, used now.
    fn current(&mut self, moment: u64) -> Result<&mut Session, AgentFault> {
        let session = self.session.as_mut().ok_or(AgentFault::Locked)?;
        session.touch(moment);
        Ok(session)
    }

    /// The session, if it is that of this path, used now.
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
            taken: 0,
            output,
            active: moment,
            began: None,
            mac: None,
            verified: false,
        }
    }

    fn interest(&self) -> PollFlags {
        if self.output.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    fn deadline(&self) -> u64 {
        self.began.map_or(self.active + IDLE_TIME, |began| began + FRAME_TIME)
    }

    /// Takes what has come, at most a frame and the length of the next; true at its end.
    fn receive(&mut self) -> Result<bool, ConnectionEnd> {
        let mut piece = SecretBytes::zeroed(16 * 1024);
        while self.input.len() < LARGEST_FRAME + 4 {
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

    /// The next whole frame.
    fn next_frame(&mut self) -> Result<Option<SecretBytes>, ConnectionEnd> {
        let Some((prefix, rest)) = self.input.expose()[self.taken..].split_first_chunk() else {
            return Ok(None);
        };

        let length = frame_length(*prefix).ok_or(ConnectionEnd)?;
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let frame = SecretBytes::copy_of(frame);
        self.taken += 4 + length;
        self.began = None;

        Ok(Some(frame))
    }

    /// Moves up what is left, once for all frames of a turn: moved for each, thousands of small ones take seconds.
    fn forget_taken(&mut self) {
        if self.taken > 0 {
            self.input = SecretBytes::copy_of(&self.input.expose()[self.taken..]);
            self.taken = 0;
        }
    }

    fn send(&mut self, moment: u64) -> ConnectionResult {
        while !self.output.is_empty() {
            match self.stream.write(self.output.expose()) {
                Ok(0) => return Err(ConnectionEnd),
                Ok(length) => {
                    self.output = SecretBytes::copy_of(&self.output.expose()[length..]);
                    self.active = moment;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(ConnectionEnd),
            }
        }

        self.began = None;
        Ok(())
    }
}
