//! The agent's other end: asks it, starts it, and stands in for a root key.
//!
//! It waits for no answer longer than it is told to, and talks only to a process of its own user.

use std::cell::{Cell, OnceCell};
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

use super::place::Place;
use super::protocol::{Answer, Fault, LARGEST_FRAME, Request, Unreadable, frame_length};
use crate::crypto::CryptoError;
use crate::crypto::aead::Key;
use crate::crypto::keys::{
    KEYRING, Keyring, ProjectId, ProjectRow, ROOT_TABLES, RootKey, VaultId, projects_and_grants, row_and_slots,
};
use crate::model::SecretBytes;
use crate::process;
use crate::vault::{HolderError, KeyHolder, Tables, VaultError};

/// Between two tries where a connection was closed, or the agent just starts.
const PAUSE: Duration = Duration::from_millis(20);

/// How a vault is.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// What is left until it is locked, whatever happens, and if nothing happens; `None` where it is locked
    pub left: Option<(Duration, Duration)>,
}

/// The way to an agent, for one vault.
pub struct Client {
    socket: PathBuf,
    vault: Vec<u8>,
    patience: Duration,
    /// Comes with the first key rings
    anchor_key: OnceCell<Key>,
}

/// One connection.
struct Line {
    stream: UnixStream,
    /// For each answer, whole
    patience: Duration,
    closed: bool,
}

impl Client {
    /// `vault` is the canonical path of a vault, which is how the agent knows it.
    pub fn new(place: &Place, vault: &Path, patience: Duration) -> Self {
        Self {
            socket: place.socket(),
            vault: vault.as_os_str().as_bytes().to_vec(),
            patience,
            anchor_key: OnceCell::new(),
        }
    }

    /// How the vault is; without an agent it is locked. With `vault_id`, another vault at the path is an error.
    pub fn status(&self, vault_id: Option<VaultId>) -> Result<Status, HolderError> {
        let asked = self.talk(|line| match line.ask(&Request::Status { path: &self.vault, vault_id })?.decoded()? {
            Answer::State { left } => {
                let left = left.map(|(ttl, idle)| (Duration::from_millis(ttl), Duration::from_millis(idle)));
                Ok(Status { left })
            }
            other => Err(other.unexpected()),
        });
        match asked {
            Err(HolderError::Locked) => Ok(Status { left: None }),
            asked => asked,
        }
    }

    /// Hands the root key over. False where the system refused to keep it out of swap.
    pub fn unlock(
        &self,
        vault_id: VaultId,
        root: &RootKey,
        ttl: Duration,
        idle: Duration,
    ) -> Result<bool, HolderError> {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (ttl, idle, path) = (milliseconds(ttl), milliseconds(idle), self.vault.as_slice());
        let request = Request::Unlock { path, vault_id, ttl, idle, key: root.expose() };
        self.talk(|line| line.ask(&request)?.done())
    }

    /// Has the agent forget this vault's key; false where it had none.
    pub fn lock(&self) -> Result<bool, HolderError> {
        match self.talk(|line| line.ask(&Request::Lock { path: &self.vault })?.done()) {
            Err(HolderError::Locked) => Ok(false),
            done => done,
        }
    }

    /// Has the agent forget every key and end, whatever its version; false where there is none.
    pub fn lock_all(&self) -> Result<bool, HolderError> {
        let met = Cell::new(false);
        let told = |line: &mut Line| {
            met.set(true);
            line.ask(&Request::LockAll).map(drop)
        };
        match self.talk(told) {
            // One that closed the connection instead of answering, and is gone now, has understood.
            Err(HolderError::Locked) => Ok(met.get()),
            // Another version answers in its own words, or with the end of the connection.
            Err(HolderError::OtherVersion | HolderError::Nonsense) | Ok(()) => Ok(true),
            Err(other) => Err(other),
        }
    }

    /// Starts an agent at `place`, and waits until one listens there. It gets no environment, no directory and no
    /// descriptor of ours.
    pub fn start(place: &Place, executable: &Path, patience: Duration) -> Result<(), HolderError> {
        let mut command = Command::new(executable);
        command.arg0("secrets").arg("agent").arg("--directory").arg(place.directory()).env_clear().current_dir("/");
        let mut agent = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut ready = agent.stdout.take().ok_or(HolderError::Silent)?;
        let timeout = rustix::event::Timespec::try_from(patience).map_err(std::io::Error::other)?;
        let waiting = &mut [rustix::event::PollFd::new(&ready, rustix::event::PollFlags::IN)];
        let said = matches!(rustix::event::poll(waiting, Some(&timeout)), Ok(1))
            && ready.read(&mut [0]).is_ok_and(|length| length == 1);
        if said { Ok(()) } else { Err(HolderError::Silent) }
    }

    /// Has one conversation, again where the agent closed the connection: it had too many, or was just ending.
    fn talk<T>(&self, conversation: impl Fn(&mut Line) -> Result<T, HolderError>) -> Result<T, HolderError> {
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

    /// [`HolderError::Locked`] where no agent listens.
    fn connect(&self, give_up: Instant) -> Result<Line, HolderError> {
        let address = SocketAddrUnix::new(&self.socket).map_err(std::io::Error::from)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(std::io::Error::from)?;
            match connect(&socket, &address) {
                Ok(()) => return Line::new(UnixStream::from(socket), give_up),
                Err(Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => return Err(HolderError::Locked),
                // Its queue is full, and a blocking `connect` would wait for ever.
                Err(Errno::AGAIN | Errno::INTR) if Instant::now() < give_up => sleep(PAUSE),
                Err(Errno::AGAIN | Errno::INTR) => return Err(HolderError::Silent),
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
    }

    /// Has the agent check the root MAC of `tables`; from then on the line may open key rings.
    fn verify(&self, line: &mut Line, tables: &Tables<'_>) -> Result<(), VaultError> {
        self.begin_mac(line, tables)?;
        match line.ask(&Request::Verify { mac: &tables.vault.root_mac })?.decoded()? {
            Answer::Done(_) => Ok(()),
            Answer::Fault(Fault::RootTables) => Err(CryptoError::Damaged(ROOT_TABLES).into()),
            other => Err(other.unexpected().into()),
        }
    }

    fn begin_mac(&self, line: &mut Line, tables: &Tables<'_>) -> Result<(), VaultError> {
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

    fn keyrings(line: &mut Line, rows: &[ProjectRow]) -> Result<Vec<Keyring>, VaultError> {
        let mut keyrings = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch(rest)?);
            let answer = line.ask(&Request::Open { rows: batch.to_vec() })?;
            let opened = match answer.decoded()? {
                Answer::Keyrings(opened) if opened.len() == batch.len() => opened,
                Answer::Fault(Fault::Keyring(_)) => return Err(CryptoError::Damaged(KEYRING).into()),
                Answer::Fault(Fault::ProjectRolledBack(row)) => {
                    let row = usize::try_from(row).ok().and_then(|row| batch.get(row));
                    let row = row.ok_or(HolderError::Nonsense)?.clone();
                    return Err(Self::rolled_back(line, row));
                }
                other => return Err(other.unexpected().into()),
            };
            for (row, bytes) in batch.iter().zip(opened) {
                keyrings.push(Keyring::decode(&row.pid, bytes).ok_or(HolderError::Nonsense)?);
            }
            rest = later;
        }
        Ok(keyrings)
    }

    /// Names the project: its key ring opens without a head to compare.
    fn rolled_back(line: &mut Line, row: ProjectRow) -> VaultError {
        let row = ProjectRow { head: Vec::new(), sig: Vec::new(), ..row };
        let pid = row.pid;
        let name = line.ask(&Request::Open { rows: vec![row] }).ok().and_then(|answer| match answer.decoded() {
            Ok(Answer::Keyrings(opened)) => Keyring::decode(&pid, opened.first()?).map(|keyring| keyring.name.clone()),
            _ => None,
        });
        HolderError::RolledBack(name).into()
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

impl KeyHolder for Client {
    fn open(&self, tables: &Tables<'_>) -> Result<Vec<Keyring>, VaultError> {
        self.converse(|line| {
            self.verify(line, tables)?;
            let keyrings = Self::keyrings(line, tables.projects)?;
            if self.anchor_key.get().is_none() {
                let key = match line.ask(&Request::AnchorKey)?.decoded()? {
                    Answer::Bytes(key) => Key::copy_of(key.try_into().map_err(|_| HolderError::Nonsense)?),
                    other => return Err(other.unexpected().into()),
                };
                let _ = self.anchor_key.set(key);
            }
            Ok(keyrings)
        })
    }

    fn mac(&self, tables: &Tables<'_>) -> Result<[u8; 32], VaultError> {
        self.converse(|line| {
            self.begin_mac(line, tables)?;
            match line.ask(&Request::Sign)?.decoded()? {
                Answer::Bytes(mac) => Ok(mac.try_into().map_err(|_| HolderError::Nonsense)?),
                other => Err(other.unexpected().into()),
            }
        })
    }

    fn seal_keyring(&self, _: &VaultId, pid: &ProjectId, epoch: u32, keyring: &Keyring) -> Result<Vec<u8>, VaultError> {
        let plain = keyring.encode();
        let request = Request::Seal { path: &self.vault, pid: *pid, epoch, keyring: plain.expose() };
        self.converse(|line| match line.ask(&request)?.decoded()? {
            Answer::Bytes(sealed) => Ok(sealed.to_vec()),
            other => Err(other.unexpected().into()),
        })
    }

    fn anchor_key(&self) -> Result<Key, VaultError> {
        let key = self.anchor_key.get().ok_or(HolderError::Locked)?;
        Ok(Key::copy_of(key.expose()))
    }

    fn remembers(&self) -> bool {
        true
    }
}

impl Client {
    /// [`Client::talk`], where the vault's own errors may come of it.
    fn converse<T>(&self, conversation: impl Fn(&mut Line) -> Result<T, VaultError>) -> Result<T, VaultError> {
        self.talk(|line| match conversation(line) {
            Ok(done) => Ok(Ok(done)),
            Err(VaultError::Holder(error)) => Err(error),
            Err(other) => Ok(Err(other)),
        })?
    }
}

impl Line {
    fn new(stream: UnixStream, give_up: Instant) -> Result<Self, HolderError> {
        if !process::peer_is_us(&stream) {
            return Err(HolderError::Impostor);
        }
        stream.set_nonblocking(false)?;
        let left = give_up.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_write_timeout(Some(left))?;
        Ok(Self { stream, patience: left, closed: false })
    }

    fn failed(&mut self, error: std::io::Error) -> HolderError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => HolderError::Silent,
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                self.closed = true;
                HolderError::Silent
            }
            _ => error.into(),
        }
    }

    fn tell(&mut self, frame: &SecretBytes) -> Result<(), HolderError> {
        self.stream.write_all(frame.expose()).map_err(|error| self.failed(error))
    }

    fn more(&mut self, bytes: &[u8]) -> Result<(), HolderError> {
        self.tell(&Request::MoreMac { bytes }.encode().ok_or(HolderError::Nonsense)?)
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Frame, HolderError> {
        self.tell(&request.encode().ok_or(HolderError::Nonsense)?)?;
        let give_up = Instant::now() + self.patience;
        let mut prefix = [0; 4];
        self.fill(&mut prefix, give_up)?;
        let length = frame_length(prefix).ok_or(HolderError::Nonsense)?;
        let mut frame = SecretBytes::zeroed(length);
        self.fill(frame.expose_mut(), give_up)?;
        Ok(Frame(frame))
    }

    /// Reads all of it, also where it comes byte by byte, and not for longer than that.
    fn fill(&mut self, mut wanted: &mut [u8], give_up: Instant) -> Result<(), HolderError> {
        while !wanted.is_empty() {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HolderError::Silent);
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
    fn decoded(&self) -> Result<Answer<'_>, HolderError> {
        Answer::decode(self.0.expose()).map_err(|why| match why {
            Unreadable::Version => HolderError::OtherVersion,
            Unreadable::Malformed => HolderError::Nonsense,
        })
    }

    fn done(&self) -> Result<bool, HolderError> {
        match self.decoded()? {
            Answer::Done(flag) => Ok(flag),
            other => Err(other.unexpected()),
        }
    }
}

impl Answer<'_> {
    /// The error in an answer that was not the one asked for.
    fn unexpected(&self) -> HolderError {
        match self {
            Self::Fault(Fault::Locked) => HolderError::Locked,
            Self::Fault(Fault::Replaced) => HolderError::Replaced,
            Self::Fault(Fault::RolledBack) => HolderError::RolledBack(None),
            Self::Fault(Fault::OtherSlots) => HolderError::OtherSlots,
            Self::Fault(Fault::OtherKey) => HolderError::OtherKey,
            Self::Fault(Fault::Version) => HolderError::OtherVersion,
            Self::Fault(Fault::TooMany) => HolderError::TooMany,
            Self::Fault(Fault::System) => HolderError::Failed,
            _ => HolderError::Nonsense,
        }
    }
}
