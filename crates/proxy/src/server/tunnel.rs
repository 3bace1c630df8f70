//! A CONNECT request. The origin is asked first: its certificate is verified, and the client is
//! offered the protocols that the origin has. So each request of the client finds a connection that is
//! verified already, and the one that was verified is used.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::Acceptor;
use secrets_core::model::{Host, Origin};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::forward::forward;
use super::places::Place;
use super::{HEAD, HEAD_TIMEOUT};
use crate::ca::Protocols;
use crate::exchange::refusal_of;
use crate::local::LocalExecutor;
use crate::net::Offer;
use crate::origin::{OriginConnection, PassedBody, SendError};
use crate::policy::Others;
use crate::refusal::Refusal;
use crate::session::{Finished, Session};

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// The windows of a stream and of a connection over HTTP/2.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The most streams of one connection at once.
const STREAMS: u32 = 256;
/// The greatest list of headers in one HTTP/2 request.
const HEADERS: u32 = 64 * 1024;

/// Answers a CONNECT request.
pub(super) async fn open(
    session: Arc<Session>,
    place: Arc<Place>,
    request: Request<Incoming>,
) -> Result<Response<PassedBody>, Refusal> {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let origin = Origin::parse_authority(&authority).map_err(|why| {
        Refusal::bad_request(format!("the target of CONNECT is not valid: {why}"))
    })?;
    let policy = session.policy();
    if !policy.has_rule_for(&origin) {
        return match policy.others {
            Others::Tunnel => blind(session, place, origin, request).await,
            Others::Refuse => Err(told(&session, &origin, unnamed(&origin))),
        };
    }

    let may_be_private = policy.may_be_private(&origin.host);
    let opened =
        OriginConnection::open(&session.connector, origin.clone(), may_be_private, Offer::Any)
            .await;
    let connection = opened.map_err(|error| told(&session, &origin, refusal_of(&error)))?;
    let served = Arc::clone(&place);
    let task = spawn_local(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            serve(session, served, Arc::new(connection), client).await;
        }
    });
    place.is_served_by(task.abort_handle());

    Ok(established())
}

fn established() -> Response<PassedBody> {
    Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync())
}

/// Returns the refusal for a host that no rule names.
fn unnamed(origin: &Origin) -> Refusal {
    Refusal::forbidden(format!("no secret may be sent to {origin}")).hint(format!(
        "allow a secret to be sent there with `secrets allow TAG --to {origin}`, or let hosts without a \
         rule pass with `others = \"tunnel\"` in `[proxy]` of .secrets.toml"
    ))
}

/// Tells about a tunnel that was not opened, and records it if our rules refuse it.
fn told(session: &Session, origin: &Origin, refusal: Refusal) -> Refusal {
    if refusal.status == 403 {
        session.record_refusal(origin, "CONNECT", "", &refusal);
    }

    session.observer.finished(&Finished {
        origin,
        method: "CONNECT",
        path: "",
        status: refusal.status,
        tags: Vec::new(),
        problem: Some(refusal.message.clone()),
        millis: 0,
    });
    refusal
}

/// Passes bytes through in both directions. Nobody looks into them, so no value is ever in them.
async fn blind(
    session: Arc<Session>,
    place: Arc<Place>,
    origin: Origin,
    request: Request<Incoming>,
) -> Result<Response<PassedBody>, Refusal> {
    let may_be_private = session.policy().may_be_private(&origin.host);
    let connected = session.connector.connect(&origin, may_be_private).await;
    let mut stream = connected
        .map_err(|error| told(&session, &origin, refusal_of(&SendError::Connect(error))))?;
    place.keep();
    spawn_local(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            let mut client = TokioIo::new(client);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut stream).await;
        }

        drop(place);
    });

    Ok(established())
}

/// Speaks TLS with the client, and serves its requests.
async fn serve(
    session: Arc<Session>,
    place: Arc<Place>,
    connection: Arc<OriginConnection>,
    client: Upgraded,
) {
    // What a future needs only at first is boxed: an open connection would keep room for it.
    let shaken = Box::pin(handshake(&session, &connection, client)).await;
    let Some(tls) = shaken else { return };
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let (session, place) = (Arc::clone(&session), Arc::clone(&place));
        Box::pin(forward(session, place, Arc::clone(&connection), request))
    });

    let stream = TokioIo::new(tls);
    let served: Pin<Box<dyn Future<Output = hyper::Result<()>>>> = if is_http2 {
        let mut builder = http2::Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADERS);
        Box::pin(builder.serve_connection(stream, service))
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT * 10)
            .preserve_header_case(true)
            .max_buf_size(HEAD);
        Box::pin(builder.serve_connection(stream, service).with_upgrades())
    };

    let _ = served.await;
}

/// Speaks TLS with the client. The name that it asks for must be that of the tunnel.
async fn handshake(
    session: &Session,
    connection: &OriginConnection,
    client: Upgraded,
) -> Option<TlsStream<TokioIo<Upgraded>>> {
    let origin = connection.origin();
    let problem = |problem: String| {
        session.observer.finished(&Finished {
            origin,
            method: "CONNECT",
            path: "",
            status: 0,
            tags: Vec::new(),
            problem: Some(problem),
            millis: 0,
        });
    };

    let begun =
        timeout(HANDSHAKE, LazyConfigAcceptor::new(Acceptor::default(), TokioIo::new(client)));
    let Ok(Ok(hello)) = begun.await else {
        problem("the client did not begin a TLS handshake".into());
        return None;
    };

    let named = hello.client_hello().server_name().map(str::to_owned);
    let is_right = match (&named, &origin.host) {
        (Some(named), host) => Host::parse(named).is_ok_and(|named| named == *host),
        // A client names no address (RFC 6066, section 3).
        (None, Host::Address(_)) => true,
        (None, Host::Name(_)) => false,
    };

    if !is_right {
        problem(match named {
            Some(_) => "the TLS handshake names another host than CONNECT".into(),
            None => "the TLS handshake names no host".into(),
        });
        return None;
    }

    let protocols = if connection.is_http2() { Protocols::Http2 } else { Protocols::Http1 };
    let config = match session.ca.config(&origin.host, protocols) {
        Ok(config) => config,
        Err(error) => {
            problem(error.to_string());
            return None;
        }
    };

    match timeout(HANDSHAKE, hello.into_stream(config)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            problem(format!(
                "the TLS handshake failed; the client may not trust the session's certificate, which is in the file that SSL_CERT_FILE names: {error}"
            ));
            None
        }
        Err(_) => {
            problem("the TLS handshake took too long".into());
            None
        }
    }
}
