//! Where `proxy` and `serve` listen: a port of this machine, or a socket.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use secrets_runtime::process;

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// A port of the loopback interface; 0 for any
    Tcp(u16),
    /// A socket at this path
    Unix(PathBuf),
}

/// A socket that listens.
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a socket. It is removed on drop.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl ListenAddress {
    /// Parses an address, for the arguments of a command.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("the path is missing".into())
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }

        let port = ["127.0.0.1:", "localhost:"].iter().find_map(|host| text.strip_prefix(host));
        match port.map(str::parse) {
            Some(Ok(port)) => Ok(Self::Tcp(port)),
            _ => {
                Err("it is not `127.0.0.1:PORT` or `unix:PATH`; other machines cannot be served"
                    .into())
            }
        }
    }

    /// Listens. Never takes over an address at which another process listens.
    pub(crate) fn listen(&self) -> io::Result<(Socket, Option<SocketFile>)> {
        match self {
            Self::Tcp(port) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))?;
                listener.set_nonblocking(true)?;
                Ok((Socket::Tcp(listener), None))
            }
            Self::Unix(path) => {
                let bound = match UnixListener::bind(path) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left(path) => {
                        std::fs::remove_file(path)?;
                        UnixListener::bind(path)
                    }
                    bound => bound,
                };

                let listener = bound?;
                listener.set_nonblocking(true)?;
                Ok((Socket::Unix(listener), Some(SocketFile(path.clone()))))
            }
        }
    }
}

/// Returns true for the socket of a process that no longer runs.
fn is_left(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(is_refused)
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "127.0.0.1:{port}"),
            Self::Unix(path) => write!(f, "`{}`", path.display()),
        }
    }
}

impl Socket {
    /// Returns the socket that the service manager has opened for this process (sd_listen_fds(3)), if
    /// it has opened one.
    pub(crate) fn passed() -> Result<Option<Self>, String> {
        let mut passed = ListenFd::from_env();
        let text = |error: io::Error| error.to_string();
        match passed.len() {
            0 => return Ok(None),
            1 => {}
            several => return Err(format!("there are {several} sockets")),
        }

        // The library checks that it is a stream socket of the right kind that listens.
        if let Ok(Some(listener)) = passed.take_unix_listener(0) {
            listener.set_nonblocking(true).map_err(text)?;
            return Ok(Some(Self::Unix(listener)));
        }

        let listener = passed.take_tcp_listener(0).map_err(text)?.ok_or("there is no socket")?;
        if !listener.local_addr().map_err(text)?.ip().is_loopback() {
            return Err("other machines can reach it".into());
        }

        listener.set_nonblocking(true).map_err(text)?;
        Ok(Some(Self::Tcp(listener)))
    }

    /// Returns the address as programs write it.
    pub(crate) fn url(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or_else(|| Path::new(""));
                Ok(format!("unix:{}", path.display()))
            }
        }
    }
}

/// Returns true if the other end of a socket is a process of our own user.
pub(crate) fn is_same_user(socket: BorrowedFd<'_>) -> bool {
    process::is_same_user(&socket)
}
