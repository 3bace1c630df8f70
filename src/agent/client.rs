//! The agent's other end: asks it, starts it, and stands in for a root key.
//!
//! It waits for no answer longer than it is told to, and talks only to a process of its own user. That is no proof that
//! an agent listens: no frame that it sends holds a key, except a project's key ring that is to be sealed.

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

use super::protocol::{
    AgentFault, Answer, Handover, LARGEST_FRAME, Request, Unreadable, frame_length,
};
use super::runtime_dir::{RuntimeDir, identity};
use crate::crypto::CryptoError;
use crate::crypto::aead::Key;
use crate::crypto::ids::{ProjectId, VaultId};
use crate::crypto::keyring::{KEYRING, Keyring};
use crate::crypto::root_key::{ROOT_TABLES, RootKey, projects_and_grants, row_and_slots};
use crate::crypto::rows::ProjectRow;
use crate::model::SecretBytes;
use crate::process;
use crate::vault::{KeyServiceError, Locked, RootKeyHandle, RootTables, VaultError};

/// Between two tries where a connection was closed, or the agent just starts.
const PAUSE: Duration = Duration::from_millis(20);
/// Agents that `lock --all` asks at one time.
const ASKED_AT_ONCE: usize = 64;

/// What a new agent says when it listens and its key is kept out of swap; anything else where it is not.
pub(crate) const READY: u8 = b'.';

/// How a vault is.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// What is left until it is locked, whatever happens, and if nothing happens; `None` where it is locked
    pub left: Option<(Duration, Duration)>,
}

/// The way to an agent, for one vault.
pub struct Client {
    place: RuntimeDir,
    socket: PathBuf,
    vault: Vec<u8>,
    patience: Duration,
    /// Comes with the first key rings
    checkpoint_key: OnceCell<Key>,
}

/// One connection.
struct Connection {
    stream: UnixStream,
    /// For each answer, whole
    patience: Duration,
    closed: bool,
}

impl Client {
    /// `vault` is the canonical path of a vault, which is how the agent knows it.
    pub fn new(place: &RuntimeDir, vault: &Path, patience: Duration) -> Self {
        let vault = vault.as_os_str().as_bytes().to_vec();
        Self {
            place: place.clone(),
            socket: place.socket(&vault),
            vault,
            patience,
            checkpoint_key: OnceCell::new(),
        }
    }

    /// How the vault is; without an agent it is locked. With `vault_id`, another vault at the path is an error.
    pub fn status(&self, vault_id: Option<VaultId>) -> Result<Status, KeyServiceError> {
        let asked = self.talk(|line| {
            match line.ask(&Request::Status { path: &self.vault, vault_id })?.decoded()? {
                Answer::State { left } => {
                    let left = left.map(|(ttl, idle)| {
                        (Duration::from_millis(ttl), Duration::from_millis(idle))
                    });

                    Ok(Status { left })
                }
                other => Err(other.unexpected()),
            }
        });

        match asked {
            Err(KeyServiceError::Locked) => Ok(Status { left: None }),
            asked => asked,
        }
    }

    /// Starts an agent that holds the key of `locked`, and returns false where the system refused to keep it out of swap.
    ///
    /// Whoever listens in the agent's place so far is asked whether it has seen a newer state of the vault; then the new
    /// agent takes the place. More time is no reason to forget a rollback.
    pub fn unlock(
        &self,
        executable: &Path,
        locked: &Locked,
        root: &RootKey,
        times: (Duration, Duration),
    ) -> Result<bool, VaultError> {
        // A client of its own: what a stranger answers is not to be kept.
        let earlier = Self::new(&self.place, &self.path(), self.patience);
        if let Err(VaultError::Holder(
            error @ (KeyServiceError::RolledBack(_) | KeyServiceError::Impostor),
        )) = locked.compare(&earlier)
        {
            return Err(error.into());
        }

        let earlier = earlier.connect(Instant::now() + self.patience).ok();
        let in_memory = self.start(executable, locked.vault_id()?, root, times)?;

        // An earlier one would notice by itself that its name is gone, some seconds later.
        if let (Some(mut line), Some(frame)) =
            (earlier, Request::Lock { path: &self.vault }.encode())
        {
            let _ = line.tell(&frame);
        }

        self.place.end_shared_agent();

        // The agent sees the state that it will hold later ones against.
        locked.check(self)?;
        Ok(in_memory)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(std::ffi::OsStr::from_bytes(&self.vault))
    }

    /// Has the agent forget the vault's key; false where it had none. Whoever does not do so is out of reach afterwards.
    pub fn lock(&self) -> Result<bool, KeyServiceError> {
        let found = identity(&self.socket);
        let outcome = match self.talk(|line| line.ask(&Request::Lock { path: &self.vault })?.done())
        {
            Err(KeyServiceError::Locked) => Ok(false),
            // An agent of ours answers nothing of this kind. Without its name nobody asks this one again.
            Err(
                KeyServiceError::RolledBack(_)
                | KeyServiceError::Replaced
                | KeyServiceError::OtherKey
                | KeyServiceError::OtherSlots,
            ) => Ok(true),
            done => done,
        };

        if !matches!(outcome, Err(KeyServiceError::Impostor)) {
            self.place.remove(&self.socket, found);
        }

        self.place.end_shared_agent();
        outcome
    }

    /// Has every agent at `place` forget its key and end, whatever its version; false where there is none.
    pub fn lock_all(place: &RuntimeDir, patience: Duration) -> Result<bool, KeyServiceError> {
        let mut outcome = Ok(false);
        for sockets in place.sockets().chunks(ASKED_AT_ONCE) {
            let give_up = Instant::now() + patience;

            // All are asked before one is waited for: one that does not answer keeps no other key.
            let asked: Vec<_> = sockets
                .iter()
                .map(|socket| (socket, identity(socket), ask_to_end(socket, give_up)))
                .collect();

            for (socket, found, line) in asked {
                match line.and_then(|mut line| line.has_reacted(give_up)) {
                    Err(KeyServiceError::Locked) => {}
                    Err(error) => outcome = Err(error),
                    Ok(()) => outcome = outcome.map(|_| true),
                }

                place.remove(socket, found);
            }
        }

        outcome
    }

    /// Starts an agent that holds this key, and waits until it listens. It gets the key through a pipe, and no environment, no
    /// directory and no other descriptor of ours. False where the system refused to keep the key out of swap.
    pub fn start(
        &self,
        executable: &Path,
        vault_id: VaultId,
        root: &RootKey,
        (ttl, idle): (Duration, Duration),
    ) -> Result<bool, KeyServiceError> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (ttl, idle, path) = (milliseconds(ttl), milliseconds(idle), self.vault.as_slice());
        let frame = Handover { path, vault_id, ttl, idle, key: root.expose() }
            .encode()
            .ok_or(KeyServiceError::Nonsense)?;

        let mut command = Command::new(executable);
        command.arg0("secrets").arg("agent").arg("--directory").arg(self.place.directory());
        command
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());

        let mut agent = command.spawn()?;
        let mut ready = agent.stdout.take().ok_or(KeyServiceError::NotStarted)?;

        // The pipe takes a frame at once; closed, it ends what the agent reads.
        agent.stdin.take().ok_or(KeyServiceError::NotStarted)?.write_all(frame.expose())?;
        drop(frame);

        let timeout =
            rustix::event::Timespec::try_from(self.patience).map_err(std::io::Error::other)?;
        let waiting = &mut [rustix::event::PollFd::new(&ready, rustix::event::PollFlags::IN)];
        if !matches!(rustix::event::poll(waiting, Some(&timeout)), Ok(1)) {
            return Err(KeyServiceError::Silent);
        }

        let mut answer = [0];
        match ready.read(&mut answer) {
            Ok(1) => Ok(answer == [READY]),
            _ => Err(KeyServiceError::NotStarted),
        }
    }

    /// Has one conversation, again where the agent closed the connection: it had too many, or was just ending.
    fn talk<T>(
        &self,
        conversation: impl Fn(&mut Connection) -> Result<T, KeyServiceError>,
    ) -> Result<T, KeyServiceError> {
        let give_up = Instant::now() + self.patience;
        loop {
            let mut line = self.connect(give_up)?;
            let outcome = conversation(&mut line);
            if outcome.is_ok() || !line.closed || Instant::now() + PAUSE > give_up {
                return outcome;
            }

            sleep(PAUSE);
        }
    }

    /// [`KeyServiceError::Locked`] where no agent listens.
    fn connect(&self, give_up: Instant) -> Result<Connection, KeyServiceError> {
        Connection::to(&self.socket, give_up)
    }

    /// Has the agent check the root MAC of `tables`; from then on the line may open key rings.
    fn verify(&self, line: &mut Connection, tables: &RootTables<'_>) -> Result<(), VaultError> {
        self.begin_mac(line, tables)?;
        match line.ask(&Request::Verify { mac: &tables.vault.root_mac })?.decoded()? {
            Answer::Done(_) => Ok(()),
            Answer::AgentFault(AgentFault::RootTables) => {
                Err(CryptoError::Damaged(ROOT_TABLES).into())
            }
            other => Err(other.unexpected().into()),
        }
    }

    fn begin_mac(&self, line: &mut Connection, tables: &RootTables<'_>) -> Result<(), VaultError> {
        let row_and_slots = row_and_slots(tables.vault, tables.slots);
        let begin = Request::BeginMac { path: &self.vault, row_and_slots: &row_and_slots };

        // Slots that do not fit into a frame are none that a vault has.
        line.tell(&begin.encode().ok_or(CryptoError::Damaged(ROOT_TABLES))?)?;
        let mut piece = Vec::with_capacity(LARGEST_FRAME / 2);
        let mut outcome = Ok(());
        projects_and_grants(tables.projects, tables.grants, |bytes| {
            for bytes in bytes.chunks(LARGEST_FRAME / 4) {
                if piece.len() + bytes.len() > LARGEST_FRAME / 2 && outcome.is_ok() {
                    outcome = line.more(&piece);
                    piece.clear();
                }

                piece.extend_from_slice(bytes);
            }
        });

        outcome?;
        Ok(line.more(&piece)?)
    }

    fn keyrings(line: &mut Connection, rows: &[ProjectRow]) -> Result<Vec<Keyring>, VaultError> {
        let mut keyrings = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch(rest)?);
            let answer = line.ask(&Request::Open { rows: batch.to_vec() })?;
            let opened = match answer.decoded()? {
                Answer::Keyrings(opened) if opened.len() == batch.len() => opened,
                Answer::AgentFault(AgentFault::Keyring(_)) => {
                    return Err(CryptoError::Damaged(KEYRING).into());
                }
                Answer::AgentFault(AgentFault::ProjectRolledBack(row)) => {
                    let row = usize::try_from(row).ok().and_then(|row| batch.get(row));
                    let row = row.ok_or(KeyServiceError::Nonsense)?.clone();
                    return Err(Self::rolled_back(line, row));
                }
                other => return Err(other.unexpected().into()),
            };

            for (row, bytes) in batch.iter().zip(opened) {
                keyrings.push(Keyring::decode(&row.pid, bytes).ok_or(KeyServiceError::Nonsense)?);
            }

            rest = later;
        }

        Ok(keyrings)
    }

    /// Names the project: its key ring opens without a head to compare.
    fn rolled_back(line: &mut Connection, row: ProjectRow) -> VaultError {
        let row = ProjectRow { head: Vec::new(), sig: Vec::new(), ..row };
        let pid = row.pid;
        let name =
            line.ask(&Request::Open { rows: vec![row] }).ok().and_then(|answer| {
                match answer.decoded() {
                    Ok(Answer::Keyrings(opened)) => {
                        Keyring::decode(&pid, opened.first()?).map(|keyring| keyring.name.clone())
                    }
                    _ => None,
                }
            });

        KeyServiceError::RolledBack(name).into()
    }
}

/// How many of these rows fit into a frame, and their key rings into its answer.
fn batch(rows: &[ProjectRow]) -> Result<usize, VaultError> {
    let mut room = LARGEST_FRAME - 64;
    let fits = |row: &&ProjectRow| {
        let size = 64 + row.keys.len() + row.head.len() + row.sig.len();
        room.checked_sub(size).map(|left| room = left).is_some()
    };

    match rows.iter().take_while(fits).count() {
        // No key ring is as large as that.
        0 => Err(CryptoError::Damaged(KEYRING).into()),
        number => Ok(number),
    }
}

impl RootKeyHandle for Client {
    fn open(&self, tables: &RootTables<'_>) -> Result<Vec<Keyring>, VaultError> {
        self.with_connection(|line| {
            self.verify(line, tables)?;
            let keyrings = Self::keyrings(line, tables.projects)?;
            if self.checkpoint_key.get().is_none() {
                let key = match line.ask(&Request::AnchorKey)?.decoded()? {
                    Answer::Bytes(key) => {
                        Key::copy_of(key.try_into().map_err(|_| KeyServiceError::Nonsense)?)
                    }
                    other => return Err(other.unexpected().into()),
                };

                let _ = self.checkpoint_key.set(key);
            }

            Ok(keyrings)
        })
    }

    fn mac(&self, tables: &RootTables<'_>) -> Result<[u8; 32], VaultError> {
        self.with_connection(|line| {
            self.begin_mac(line, tables)?;
            match line.ask(&Request::Sign)?.decoded()? {
                Answer::Bytes(mac) => Ok(mac.try_into().map_err(|_| KeyServiceError::Nonsense)?),
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
        self.with_connection(|line| match line.ask(&request)?.decoded()? {
            Answer::Bytes(sealed) => Ok(sealed.to_vec()),
            other => Err(other.unexpected().into()),
        })
    }

    fn checkpoint_key(&self) -> Result<Key, VaultError> {
        let key = self.checkpoint_key.get().ok_or(KeyServiceError::Locked)?;
        Ok(Key::copy_of(key.expose()))
    }

    fn has_checkpoints(&self) -> bool {
        true
    }
}

impl Client {
    /// [`Client::talk`], where the vault's own errors may come of it.
    fn with_connection<T>(
        &self,
        conversation: impl Fn(&mut Connection) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.talk(|line| match conversation(line) {
            Ok(done) => Ok(Ok(done)),
            Err(VaultError::Holder(error)) => Err(error),
            Err(other) => Ok(Err(other)),
        })?
    }
}

/// Tells the agent on a socket to end. The answer is another matter.
fn ask_to_end(socket: &Path, give_up: Instant) -> Result<Connection, KeyServiceError> {
    let mut line = Connection::to(socket, give_up)?;
    let frame = Request::LockAll.encode().ok_or(KeyServiceError::Nonsense)?;
    match line.tell(&frame) {
        Err(error) if !line.closed => Err(error),
        _ => Ok(line),
    }
}

impl Connection {
    /// [`KeyServiceError::Locked`] where no agent listens.
    fn to(socket: &Path, give_up: Instant) -> Result<Self, KeyServiceError> {
        let address = SocketAddrUnix::new(socket).map_err(std::io::Error::from)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .map_err(std::io::Error::from)?;
            match connect(&socket, &address) {
                Ok(()) => return Self::new(UnixStream::from(socket), give_up),
                Err(Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => {
                    return Err(KeyServiceError::Locked);
                }
                // Its queue is full, and a blocking `connect` would wait for ever.
                Err(Errno::AGAIN | Errno::INTR) if Instant::now() < give_up => sleep(PAUSE),
                Err(Errno::AGAIN | Errno::INTR) => return Err(KeyServiceError::Silent),
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
    }

    /// Waits for an answer of any version, or for the end of the connection: either comes of an agent that ends.
    fn has_reacted(&mut self, give_up: Instant) -> Result<(), KeyServiceError> {
        match self.fill(&mut [0; 4], give_up) {
            Err(_) if self.closed => Ok(()),
            other => other,
        }
    }

    fn new(stream: UnixStream, give_up: Instant) -> Result<Self, KeyServiceError> {
        if !process::peer_is_us(&stream) {
            return Err(KeyServiceError::Impostor);
        }

        stream.set_nonblocking(false)?;
        let left = give_up.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_write_timeout(Some(left))?;
        Ok(Self { stream, patience: left, closed: false })
    }

    fn failed(&mut self, error: std::io::Error) -> KeyServiceError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => KeyServiceError::Silent,
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                self.closed = true;
                KeyServiceError::Silent
            }
            _ => error.into(),
        }
    }

    fn tell(&mut self, frame: &SecretBytes) -> Result<(), KeyServiceError> {
        self.stream.write_all(frame.expose()).map_err(|error| self.failed(error))
    }

    fn more(&mut self, bytes: &[u8]) -> Result<(), KeyServiceError> {
        self.tell(&Request::MoreMac { bytes }.encode().ok_or(KeyServiceError::Nonsense)?)
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Frame, KeyServiceError> {
        self.tell(&request.encode().ok_or(KeyServiceError::Nonsense)?)?;
        let give_up = Instant::now() + self.patience;
        let mut prefix = [0; 4];
        self.fill(&mut prefix, give_up)?;

        let length = frame_length(prefix).ok_or(KeyServiceError::Nonsense)?;
        let mut frame = SecretBytes::zeroed(length);
        self.fill(frame.expose_mut(), give_up)?;
        Ok(Frame(frame))
    }

    /// Reads all of it, also where it comes byte by byte, and not for longer than that.
    fn fill(&mut self, mut wanted: &mut [u8], give_up: Instant) -> Result<(), KeyServiceError> {
        while !wanted.is_empty() {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(KeyServiceError::Silent);
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

/// An answer as it came, wiped when dropped.
struct Frame(SecretBytes);

impl Frame {
    fn decoded(&self) -> Result<Answer<'_>, KeyServiceError> {
        Answer::decode(self.0.expose()).map_err(|why| match why {
            Unreadable::Version => KeyServiceError::OtherVersion,
            Unreadable::Malformed => KeyServiceError::Nonsense,
        })
    }

    fn done(&self) -> Result<bool, KeyServiceError> {
        match self.decoded()? {
            Answer::Done(flag) => Ok(flag),
            other => Err(other.unexpected()),
        }
    }
}

impl Answer<'_> {
    /// The error in an answer that was not the one asked for.
    fn unexpected(&self) -> KeyServiceError {
        match self {
            Self::AgentFault(AgentFault::Locked) => KeyServiceError::Locked,
            Self::AgentFault(AgentFault::Replaced) => KeyServiceError::Replaced,
            Self::AgentFault(AgentFault::RolledBack) => KeyServiceError::RolledBack(None),
            Self::AgentFault(AgentFault::OtherSlots) => KeyServiceError::OtherSlots,
            Self::AgentFault(AgentFault::OtherKey) => KeyServiceError::OtherKey,
            Self::AgentFault(AgentFault::Version) => KeyServiceError::OtherVersion,
            Self::AgentFault(AgentFault::System) => KeyServiceError::Failed,
            _ => KeyServiceError::Nonsense,
        }
    }
}
