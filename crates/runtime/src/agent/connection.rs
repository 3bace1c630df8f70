//! One connection to an agent: frames out and in, before a deadline.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use secrets_core::model::SecretBytes;
use secrets_core::vault::KeyServiceError;

use super::protocol::{AgentFault, Answer, MAX_ANSWER, Request, Unreadable, frame_length};
use crate::process;

/// The pause before another attempt if a connection was closed or the agent is just starting.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// The error for a frame of ours that would be too long. Whatever comes from the vault's file is
/// cut into frames or checked before.
pub(super) const TOO_LONG: KeyServiceError =
    KeyServiceError::Internal("a request to the agent is too long");

/// A connection to an agent.
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    /// The timeout for each complete answer
    pub(super) timeout: Duration,
    pub(super) closed: bool,
}

/// Sends the agent on a socket a request to exit. Does not wait for the answer.
pub(super) fn ask_to_end(socket: &Path, deadline: Instant) -> Result<Connection, KeyServiceError> {
    let mut connection = Connection::to(socket, deadline)?;
    let frame = Request::LockAll.encode().ok_or(TOO_LONG)?;
    match connection.send(&frame) {
        Err(error) if !connection.closed => Err(error),
        _ => Ok(connection),
    }
}

impl Connection {
    /// Connects to a socket. Returns [`KeyServiceError::Locked`] if no agent listens.
    pub(super) fn to(socket: &Path, deadline: Instant) -> Result<Self, KeyServiceError> {
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
    pub(super) fn has_reacted(&mut self, deadline: Instant) -> Result<(), KeyServiceError> {
        match self.fill(&mut [0; 4], deadline) {
            Err(_) if self.closed => Ok(()),
            other => other,
        }
    }

    pub(super) fn new(stream: UnixStream, deadline: Instant) -> Result<Self, KeyServiceError> {
        if !process::is_same_user(&stream) {
            return Err(KeyServiceError::ForeignProcess);
        }

        stream.set_nonblocking(false)?;
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_write_timeout(Some(left))?;
        Ok(Self { stream, timeout: left, closed: false })
    }

    pub(super) fn failed(&mut self, error: std::io::Error) -> KeyServiceError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => KeyServiceError::Timeout,
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                self.closed = true;
                KeyServiceError::Timeout
            }
            _ => error.into(),
        }
    }

    pub(super) fn send(&mut self, frame: &SecretBytes) -> Result<(), KeyServiceError> {
        self.stream.write_all(frame.expose()).map_err(|error| self.failed(error))
    }

    pub(super) fn ask(&mut self, request: &Request<'_>) -> Result<Frame, KeyServiceError> {
        self.send(&request.encode().ok_or(TOO_LONG)?)?;
        let deadline = Instant::now() + self.timeout;
        let mut prefix = [0; 4];
        self.fill(&mut prefix, deadline)?;

        let length = frame_length(prefix, MAX_ANSWER).ok_or(KeyServiceError::InvalidResponse)?;
        let mut frame = SecretBytes::zeroed(length);
        self.fill(frame.expose_mut(), deadline)?;
        Ok(Frame(frame))
    }

    /// Fills the whole buffer, even if the bytes arrive one by one. The deadline applies to all of
    /// them together.
    pub(super) fn fill(
        &mut self,
        mut wanted: &mut [u8],
        deadline: Instant,
    ) -> Result<(), KeyServiceError> {
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
pub(super) struct Frame(pub(super) SecretBytes);

impl Frame {
    pub(super) fn decoded(&self) -> Result<Answer<'_>, KeyServiceError> {
        Answer::decode(self.0.expose()).map_err(|why| match why {
            Unreadable::Version => KeyServiceError::OtherVersion,
            Unreadable::Malformed => KeyServiceError::InvalidResponse,
        })
    }

    pub(super) fn done_flag(&self) -> Result<bool, KeyServiceError> {
        match self.decoded()? {
            Answer::Done(flag) => Ok(flag),
            other => Err(other.unexpected()),
        }
    }
}

impl Answer<'_> {
    /// Returns the error for an answer that does not match the request.
    pub(super) fn unexpected(&self) -> KeyServiceError {
        match self {
            Self::Failed(AgentFault::Locked) => KeyServiceError::Locked,
            Self::Failed(AgentFault::Replaced) => KeyServiceError::Replaced,
            Self::Failed(AgentFault::RolledBack) => KeyServiceError::RolledBack(None),
            Self::Failed(AgentFault::Refused) => KeyServiceError::Refused,
            Self::Failed(AgentFault::WrongKey) => KeyServiceError::WrongKey,
            Self::Failed(AgentFault::Version) => KeyServiceError::OtherVersion,
            Self::Failed(AgentFault::System) => KeyServiceError::Failed,
            _ => KeyServiceError::InvalidResponse,
        }
    }
}
