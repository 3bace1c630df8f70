//! Sockets to a server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::{ConnectError, Unreached};
use crate::address::Host;

/// How long a connection may be idle before the system probes it, and the time between probes.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How many probes may remain unanswered.
const PROBES: u32 = 3;
/// How long data that we have sent may remain unacknowledged, in milliseconds. Probes do not cover
/// that case.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: u32 = 30_000;

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

/// A socket of either kind.
pub(super) type Socket = Box<dyn Duplex>;

/// A stream in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Where a socket leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Returns the addresses of a host, at most 8.
pub(super) async fn resolve(host: &Host) -> Result<Vec<Endpoint>, ConnectError> {
    if let Some(path) = host.socket() {
        return Ok(vec![Endpoint::Unix(path)]);
    }
    if let Ok(address) = host.name().parse::<IpAddr>() {
        return Ok(vec![Endpoint::Tcp(SocketAddr::new(address, host.port()))]);
    }

    match lookup_host((host.name(), host.port())).await {
        Ok(addresses) => Ok(addresses.take(MAX_ADDRESSES).map(Endpoint::Tcp).collect()),
        Err(_) => Err(ConnectError::unreached(host, Unreached::Name)),
    }
}

/// Opens a socket. The system ends a TCP connection whose other side no longer answers.
pub(super) async fn open(endpoint: &Endpoint) -> io::Result<Socket> {
    let address = match endpoint {
        Endpoint::Tcp(address) => address,
        Endpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
    };

    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(&stream, PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED)?;

    Ok(Box::new(stream))
}
