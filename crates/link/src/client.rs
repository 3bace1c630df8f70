//! A store's server by way of the link.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use secrets_core::store::StoreError;
use secrets_core::store::remote::{
    Committed, Request, Rows, Server, ServerError, Update, UpdateError, decode,
};
use secrets_runtime::process;

use crate::frame::{Answer, Question, digest_of, framed, length_of};

/// The link answers a greeting at once.
const GREETING: Duration = Duration::from_secs(2);
/// Longer than the link waits for the server, twice.
const PATIENCE: Duration = Duration::from_secs(150);

/// The server of a vault, reached by way of the link.
pub struct LinkServer {
    stream: RefCell<UnixStream>,
}

impl LinkServer {
    /// Connects to the link at a socket, if one listens there for this encoded address.
    pub fn connect(socket: &Path, address: &[u8]) -> Option<Self> {
        let stream = UnixStream::connect(socket).ok()?;
        if !process::is_same_user(&stream) {
            return None;
        }

        stream.set_read_timeout(Some(GREETING)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let server = Self { stream: RefCell::new(stream) };
        let greeted = server.ask(&Question::Hello(digest_of(address)));
        if !matches!(greeted, Ok(Answer::Done)) {
            return None;
        }

        server.stream.borrow().set_read_timeout(Some(PATIENCE)).ok()?;
        Some(server)
    }

    fn send(&self, question: &Question) -> io::Result<()> {
        let frame = framed(question).ok_or(io::ErrorKind::InvalidInput)?;
        self.stream.borrow_mut().write_all(&frame)
    }

    fn ask(&self, question: &Question) -> io::Result<Answer> {
        self.send(question)?;
        let mut stream = self.stream.borrow_mut();
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix)?;
        let length = length_of(prefix).ok_or(io::ErrorKind::InvalidData)?;

        // Memory is taken as bytes arrive, whatever length the frame claims.
        let mut bytes = Vec::new();
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        Read::by_ref(&mut *stream).take(length).read_to_end(&mut bytes)?;
        decode(&bytes).ok_or(io::ErrorKind::InvalidData.into())
    }
}

fn broken() -> StoreError {
    ServerError::Unreachable("the process that keeps the connection has ended".into()).into()
}

impl Server for LinkServer {
    fn ask(&self, request: &Request) -> Result<Rows, StoreError> {
        match self.ask(&Question::Ask(request.clone())) {
            Ok(Answer::Rows(rows)) => Ok(rows),
            Ok(Answer::Failed(fault)) => Err(fault.error()),
            _ => Err(broken()),
        }
    }

    fn update(&self, update: &Update) -> Result<Committed, UpdateError> {
        match self.ask(&Question::Update(update.clone())) {
            Ok(Answer::Committed(committed)) => Ok(committed),
            Ok(Answer::Failed(fault)) => Err(UpdateError::Failed(fault.error())),
            Ok(Answer::Overtaken(rows)) => Err(UpdateError::Overtaken(Box::new(rows))),
            Ok(Answer::Unknown(fault)) => Err(UpdateError::Unknown(fault.error())),
            _ => Err(UpdateError::Unknown(broken())),
        }
    }

    fn end(&self) {
        // A link that has ended has ended the transaction too.
        let _ = self.send(&Question::EndTransaction);
    }
}

/// Ends the link at a socket, if one listens there.
pub fn end(socket: &Path) {
    if let Ok(mut stream) = UnixStream::connect(socket)
        && process::is_same_user(&stream)
        && let Some(frame) = framed(&Question::Stop)
    {
        let _ = stream.set_write_timeout(Some(GREETING));
        let _ = stream.write_all(&frame);
    }

    let _ = std::fs::remove_file(socket);
}
