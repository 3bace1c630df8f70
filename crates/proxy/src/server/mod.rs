//! The proxy: it accepts connections, opens tunnels, and speaks HTTP inside of those that rules name.
//!
//! * `places`: how many connections there may be, and which one gives way
//! * `tunnel`: a CONNECT request: whether it is answered, the handshakes
//! * `forward`: the requests in a tunnel
//! * `rest`: bodies that nobody reads to their end
//! * `websocket`: frames after an upgrade

mod forward;
mod places;
mod rest;
mod tunnel;
mod websocket;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;

use self::places::{Place, Places};
use crate::caller;
use crate::exchange::answer_of;
use crate::origin::PassedBody;
use crate::refusal::Refusal;
use crate::session::Session;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The greatest head of a request.
const HEAD: usize = 64 * 1024;

/// Where the proxy listens.
pub enum Listener {
    /// On a port of the loopback interface
    Tcp(TcpListener),
    /// On a socket in a private directory
    Unix(UnixListener),
}

/// Decides whether the other end of a socket is one of our own user's processes.
pub type IsSameUser = fn(BorrowedFd<'_>) -> bool;

/// Serves connections until the future is dropped, in a `LocalSet`. `is_same_user` judges the other end of a Unix
/// socket.
pub async fn serve(session: Arc<Session>, listener: Listener, is_same_user: IsSameUser) {
    let places = Places::new();
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => accept_tcp(listener).await.map(Client::Tcp),
            Listener::Unix(listener) => accept_unix(listener, is_same_user).await.map(Client::Unix),
        };

        let client = match accepted {
            Ok(client) => client,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            // Too many open files, or a connection that was reset before it was accepted.
            Err(_) => {
                places.close_oldest();
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };

        // A connection beyond the limit is closed at once, and those with requests go on.
        let Some(place) = places.take().await else { continue };
        let (session, served) = (Arc::clone(&session), Arc::clone(&place));
        let task = spawn_local(async move {
            match client {
                Client::Tcp(stream) => converse(session, served, TokioIo::new(stream)).await,
                Client::Unix(stream) => converse(session, served, TokioIo::new(stream)).await,
            }
        });
        place.is_served_by(task.abort_handle());
    }
}

enum Client {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept_tcp(listener: &TcpListener) -> io::Result<tokio::net::TcpStream> {
    let (stream, peer): (_, SocketAddr) = listener.accept().await?;
    let ours = stream.local_addr()?;
    let _ = stream.set_nodelay(true);
    if caller::is_same_user(peer, ours) {
        Ok(stream)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

async fn accept_unix(
    listener: &UnixListener,
    is_same_user: IsSameUser,
) -> io::Result<tokio::net::UnixStream> {
    let (stream, _) = listener.accept().await?;
    if is_same_user(stream.as_fd()) {
        Ok(stream)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Serves the requests of one client before its first tunnel.
async fn converse<S>(session: Arc<Session>, place: Arc<Place>, stream: TokioIo<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service =
        service_fn(move |request| respond(Arc::clone(&session), Arc::clone(&place), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD)
        .serve_connection(stream, service)
        .with_upgrades();
    let _ = connection.await;
}

async fn respond(
    session: Arc<Session>,
    place: Arc<Place>,
    request: Request<Incoming>,
) -> Result<Response<PassedBody>, Infallible> {
    let answer = if request.method() == Method::CONNECT {
        tunnel::open(session, place, request).await
    } else if request.uri().scheme().is_some() {
        Err(Refusal::forbidden("this proxy does not pass on requests over plain http")
            .hint("use an https address"))
    } else {
        Err(Refusal::bad_request("this is a proxy of `secrets`, not a web server")
            .hint("set HTTPS_PROXY to its address"))
    };

    Ok(answer.unwrap_or_else(|refusal| answer_of(&refusal)))
}
