//! The agent's process: one thread, one loop, bounded connections, no file but its socket and its lock.
//!
//! It answers who has its own user id and what is well formed; whatever else comes is closed without a word.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::now;
use super::place::Place;
use super::protocol::{Answer, Fault, LARGEST_FRAME, Request, Unreadable, frame_length};
use super::session::{MacUnderWay, Session};
use crate::crypto::keys::{Keyring, VaultId};
use crate::model::{DEEP, SecretBytes, overwrite_stack};
use crate::process;
use crate::signals::Hold;

/// Connections at one time. One more closes the one that has been idle for longest.
pub const MOST_CONNECTIONS: usize = 128;
/// Vaults at one time.
const MOST_SESSIONS: usize = 64;
/// New connections that are taken before those that are there get their turn.
const ACCEPT_AT_ONCE: usize = 16;
/// Between two looks at what others are about to change.
const PAUSE: Duration = Duration::from_millis(10);
/// Milliseconds for the rest of a frame that has begun, and for an answer to be taken.
const FRAME_TIME: u64 = 2_000;
/// Milliseconds that a connection may say nothing.
const IDLE_TIME: u64 = 10_000;
/// Milliseconds until an agent to which nobody gave a key ends.
const GRACE: u64 = 10_000;
/// The longest wait: the clock of `poll` may stand still while the machine is suspended, ours does not; and so often
/// the agent looks whether its socket is still there. Shorter than a client's patience, see [`alone`].
const LONGEST_WAIT: u64 = 4_000;

/// Serves until every vault is locked. `ready` is called when the socket listens, or at once where another agent serves.
pub fn serve(place: &Place, ready: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    process::detach(c"secrets-agent")?;
    let Some(_alone) = alone(place)? else { return ready() };
    let socket = place.socket();
    // Only the holder of the lock is here: what is in the way was left by one that was killed.
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let hold = Hold::on_all()?;
    let socket = Socket { identity: identity(&socket), path: socket };
    ready()?;
    let grace = now() + GRACE;
    let mut agent = Agent { listener, socket, hold, sessions: Vec::new(), connections: Vec::new(), grace };
    let outcome = agent.run();
    // First the name, so that nobody connects to a deaf one; then the keys, with `agent`.
    if agent.socket.is_there() {
        let _ = fs::remove_file(&agent.socket.path);
    }
    agent.hold.take();
    outcome
}

/// The lock, or `None` where another agent serves. One that has the lock and no socket is about to listen or to end.
fn alone(place: &Place) -> io::Result<Option<File>> {
    let give_up = now() + LONGEST_WAIT;
    loop {
        let file = lock(place)?;
        if file.is_some() || place.socket().exists() || now() > give_up {
            return Ok(file);
        }
        sleep(PAUSE);
    }
}

/// The lock file, ours as long as it is open; `None` where another agent has it.
fn lock(place: &Place) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(place.lock())?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The name by which the agent is reached.
struct Socket {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Socket {
    /// False where somebody took the name away: nobody could lock what is held here.
    fn is_there(&self) -> bool {
        identity(&self.path) == self.identity
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

struct Agent {
    listener: UnixListener,
    socket: Socket,
    hold: Hold,
    sessions: Vec<Session>,
    connections: Vec<Connection>,
    /// When it ends if it still has no key
    grace: u64,
}

struct Connection {
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
    mac: Option<(Vec<u8>, Result<MacUnderWay, Fault>)>,
    /// The vault whose tables were verified on this connection
    verified: Option<Vec<u8>>,
}

/// What becomes of a connection.
type Fate = Result<(), Closed>;
struct Closed;

impl Agent {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let moment = now();
            self.sessions.retain(|session| session.expires() > moment);
            self.connections.retain(|connection| connection.deadline() > moment);
            let over = if self.sessions.is_empty() { moment >= self.grace } else { false };
            if over || self.hold.is_due() || !self.socket.is_there() {
                return Ok(());
            }
            let (accept, ready) = self.wait(moment)?;
            let moment = now();
            // Time may have passed while it waited: an expired key answers nothing.
            self.sessions.retain(|session| session.expires() > moment);
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
        let ends = self.sessions.iter().map(Session::expires);
        let ends = ends.chain(self.connections.iter().map(Connection::deadline));
        let ends = ends.chain(self.sessions.is_empty().then_some(self.grace));
        let wait = ends.min().unwrap_or(u64::MAX).saturating_sub(moment).min(LONGEST_WAIT);
        let timeout = Timespec::try_from(Duration::from_millis(wait)).map_err(io::Error::other)?;
        let mut all = vec![PollFd::new(self.hold.came(), PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        all.extend(self.connections.iter().map(|connection| PollFd::new(&connection.stream, connection.interest())));
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
                Err(_) => return if self.connections.is_empty() { sleep(PAUSE) } else { self.close_oldest() },
            };
            if !process::peer_is_us(&stream) || stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.len() >= MOST_CONNECTIONS {
                self.close_oldest();
            }
            self.connections.push(Connection::new(stream, moment));
        }
    }

    fn close_oldest(&mut self) {
        let oldest = self.connections.iter().enumerate().min_by_key(|(_, connection)| connection.active);
        if let Some(at) = oldest.map(|(at, _)| at) {
            self.connections.swap_remove(at);
        }
    }

    fn serve(&mut self, connection: &mut Connection, flags: PollFlags, moment: u64) -> Fate {
        if flags.contains(PollFlags::OUT) {
            connection.send(moment)?;
        }
        let came = flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && connection.output.is_empty();
        let ended = came && connection.receive()?;
        // Who does not take the answer gets no other one.
        while connection.output.is_empty() {
            let Some(frame) = connection.next_frame()? else { break };
            let answer = catch_unwind(AssertUnwindSafe(|| self.handle(connection, frame.expose(), moment)));
            // What went wrong with one request is not to cost the others their keys.
            if let Some(answer) = answer.map_err(|_| Closed)?? {
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
        if ended && connection.output.is_empty() { Err(Closed) } else { Ok(()) }
    }

    /// Does what a frame asks; `None` where no answer is due.
    fn handle(
        &mut self,
        connection: &mut Connection,
        frame: &[u8],
        moment: u64,
    ) -> Result<Option<SecretBytes>, Closed> {
        let request = match Request::decode(frame) {
            Ok(request) => request,
            Err(Unreadable::Version) => return Answer::Fault(Fault::Version).encode().map(Some).ok_or(Closed),
            Err(Unreadable::Malformed) => return Err(Closed),
        };
        match &request {
            Request::BeginMac { path, row_and_slots } => {
                let begun = match self.session(path, moment) {
                    Some(session) => session.begin_mac(row_and_slots).ok_or(Closed)?,
                    None => Err(Fault::Locked),
                };
                connection.mac = Some((path.to_vec(), begun));
                connection.active = moment;
                return Ok(None);
            }
            Request::MoreMac { bytes } => {
                let (_, under_way) = connection.mac.as_mut().ok_or(Closed)?;
                if let Ok(under_way) = under_way {
                    under_way.update(bytes);
                }
                return Ok(None);
            }
            _ => {}
        }
        let answered = self.answer(connection, request, moment)?;
        answered.unwrap_or_else(|fault| Answer::Fault(fault).encode()).map(Some).ok_or(Closed)
    }

    fn answer(
        &mut self,
        connection: &mut Connection,
        request: Request<'_>,
        moment: u64,
    ) -> Result<Result<Option<SecretBytes>, Fault>, Closed> {
        Ok(match request {
            Request::LockAll => {
                self.sessions.clear();
                self.grace = moment;
                Ok(Answer::Done(true).encode())
            }
            Request::Lock { path } => {
                let before = self.sessions.len();
                self.sessions.retain(|session| session.path != path);
                if self.sessions.is_empty() {
                    self.grace = moment;
                }
                Ok(Answer::Done(self.sessions.len() < before).encode())
            }
            Request::Status { path, vault_id } => self.status(path, vault_id, moment),
            Request::Unlock { path, vault_id, ttl, idle, key } => self.unlock(path, vault_id, (ttl, idle), key, moment),
            Request::Verify { mac } => {
                let (path, under_way) = connection.mac.take().ok_or(Closed)?;
                self.session(&path, moment).ok_or(Fault::Locked).and_then(|session| {
                    session.verify(under_way?, mac)?;
                    connection.verified = Some(path.clone());
                    Ok(Answer::Done(true).encode())
                })
            }
            Request::Sign => {
                let (path, under_way) = connection.mac.take().ok_or(Closed)?;
                let session = self.session(&path, moment).ok_or(Fault::Locked);
                session.and_then(|session| Ok(Answer::Bytes(&session.sign(under_way?)?).encode()))
            }
            Request::Open { rows } => {
                let path = connection.verified.as_ref().ok_or(Closed)?;
                let session = self.session(path, moment).ok_or(Fault::Locked);
                session.and_then(|session| {
                    let opened = rows.iter().zip(0..).map(|(row, number)| session.open(row, number));
                    let opened = opened.collect::<Result<Vec<_>, _>>()?;
                    Ok(Answer::Keyrings(opened.iter().map(SecretBytes::expose).collect()).encode())
                })
            }
            Request::Seal { path, pid, epoch, keyring } => {
                let keyring = Keyring::decode(&pid, keyring).ok_or(Closed)?;
                let session = self.session(path, moment).ok_or(Fault::Locked);
                session.and_then(|session| Ok(Answer::Bytes(&session.seal(&pid, epoch, &keyring)?).encode()))
            }
            Request::AnchorKey => {
                let path = connection.verified.as_ref().ok_or(Closed)?;
                let session = self.session(path, moment).ok_or(Fault::Locked);
                session.map(|session| Answer::Bytes(session.anchor_key().expose()).encode())
            }
            Request::BeginMac { .. } | Request::MoreMac { .. } => return Err(Closed),
        })
    }

    fn status(&mut self, path: &[u8], vault_id: Option<VaultId>, moment: u64) -> Result<Option<SecretBytes>, Fault> {
        let left = match self.session(path, moment) {
            Some(session) if vault_id.is_some_and(|id| id != session.vault_id) => return Err(Fault::Replaced),
            session => session.map(|session| session.left(moment)),
        };
        Ok(Answer::State { left }.encode())
    }

    fn unlock(
        &mut self,
        path: &[u8],
        vault_id: VaultId,
        times: (u64, u64),
        key: &[u8; 32],
        moment: u64,
    ) -> Result<Option<SecretBytes>, Fault> {
        let mut session = Session::new(path, vault_id, key, times, moment).map_err(|_| Fault::System)?;
        if let Some(at) = self.sessions.iter().position(|other| other.path == path) {
            session.remember(self.sessions.swap_remove(at));
        }
        if self.sessions.len() >= MOST_SESSIONS {
            return Err(Fault::TooMany);
        }
        let locked = session.key_is_locked();
        self.sessions.push(session);
        self.grace = moment;
        Ok(Answer::Done(locked).encode())
    }

    /// The session of a path, used now.
    fn session(&mut self, path: &[u8], moment: u64) -> Option<&mut Session> {
        let session = self.sessions.iter_mut().find(|session| session.path == path)?;
        session.touch(moment);
        Some(session)
    }
}

impl Connection {
    fn new(stream: UnixStream, moment: u64) -> Self {
        let (input, output) = (SecretBytes::with_capacity(0), SecretBytes::with_capacity(0));
        Self { stream, input, taken: 0, output, active: moment, began: None, mac: None, verified: None }
    }

    fn interest(&self) -> PollFlags {
        if self.output.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    fn deadline(&self) -> u64 {
        self.began.map_or(self.active + IDLE_TIME, |began| began + FRAME_TIME)
    }

    /// Takes what has come, at most a frame and the length of the next; true at its end.
    fn receive(&mut self) -> Result<bool, Closed> {
        let mut piece = SecretBytes::zeroed(16 * 1024);
        while self.input.len() < LARGEST_FRAME + 4 {
            match self.stream.read(piece.expose_mut()) {
                Ok(0) => return Ok(true),
                Ok(length) => self.input.extend(&piece.expose()[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Closed),
            }
        }
        Ok(false)
    }

    /// The next whole frame.
    fn next_frame(&mut self) -> Result<Option<SecretBytes>, Closed> {
        let Some((prefix, rest)) = self.input.expose()[self.taken..].split_first_chunk() else { return Ok(None) };
        let length = frame_length(*prefix).ok_or(Closed)?;
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

    fn send(&mut self, moment: u64) -> Fate {
        while !self.output.is_empty() {
            match self.stream.write(self.output.expose()) {
                Ok(0) => return Err(Closed),
                Ok(length) => {
                    self.output = SecretBytes::copy_of(&self.output.expose()[length..]);
                    self.active = moment;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Closed),
            }
        }
        self.began = None;
        Ok(())
    }
}
