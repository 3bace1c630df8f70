//! A connection to an origin that speaks HTTP/1.1 or HTTP/2, and requests on it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrets_core::model::Origin;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio_rustls::client::TlsStream;

use crate::answer::BoxError;
use crate::local::LocalExecutor;
use crate::net::{ConnectError, Connector, Offer, Stream};

/// The window of a stream and of a connection over HTTP/2: what may be under way at once.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// How long a silent HTTP/2 connection is kept before it is asked whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The greatest buffer of an HTTP/1.1 connection.
pub const BUFFER: usize = 256 * 1024;

/// The body of a request or of an answer that is passed on.
pub type PassedBody = UnsyncBoxBody<Bytes, BoxError>;

/// Returns a body with these bytes.
pub fn full(bytes: impl Into<Bytes>) -> PassedBody {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A connection to an origin. It serves one client's connection, so nothing of one client reaches
/// another.
pub struct OriginConnection {
    origin: Origin,
    may_be_private: bool,
    sender: Sender,
}

enum Sender {
    /// One request at a time; a new connection after the origin has closed the last one
    Http1(Mutex<Option<http1::SendRequest<PassedBody>>>),
    Http2(Mutex<http2::SendRequest<PassedBody>>),
}

/// The reason why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no connection
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection failed, or the answer is not valid HTTP
    #[error("the response of `{host}` is not valid, or the connection was lost: {source}")]
    Http {
        /// The host
        host: String,
        /// The error
        source: hyper::Error,
    },
}

impl OriginConnection {
    /// Connects to an origin with the best protocol of those offered that it has.
    pub async fn open(
        connector: &Connector,
        origin: Origin,
        may_be_private: bool,
        offer: Offer,
    ) -> Result<Self, SendError> {
        let stream = connector.connect_tls(&origin, may_be_private, offer).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let sender = if is_http2 {
            Sender::Http2(Mutex::new(
                // Boxed: an HTTP/1.1 connection keeps room for the future that answers CONNECT.
                Box::pin(http2_over(stream)).await.map_err(|source| failed(&origin, source))?,
            ))
        } else {
            Sender::Http1(Mutex::new(Some(
                http1_over(stream).await.map_err(|source| failed(&origin, source))?,
            )))
        };

        Ok(Self { origin, may_be_private, sender })
    }

    /// Returns the origin.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns true if the origin speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Sends a request. Its target is in origin form, and the authority is the origin's.
    pub async fn send(
        &self,
        connector: &Connector,
        mut request: Request<PassedBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let authority = self.origin.authority();
        let target = request.uri().path_and_query().cloned();
        match &self.sender {
            Sender::Http2(sender) => {
                let mut uri = Uri::builder().scheme("https").authority(authority);
                if let Some(target) = target {
                    uri = uri.path_and_query(target);
                }

                *request.uri_mut() = uri.build().unwrap_or_default();
                *request.version_mut() = Version::HTTP_2;
                request.headers_mut().remove(HOST);
                let mut open = sender.lock().await.clone();
                if open.ready().await.is_ok() {
                    match open.try_send_request(request).await {
                        Ok(answer) => return Ok(answer),
                        // The origin has ended the connection before it got the request.
                        Err(mut error) => match error.take_message() {
                            Some(unsent) => request = unsent,
                            None => return Err(failed(&self.origin, error.into_error())),
                        },
                    }
                }

                let mut shared = sender.lock().await;
                if shared.is_closed() {
                    // Otherwise every request would keep room for a handshake.
                    *shared = Box::pin(async {
                        let (private, offer) = (self.may_be_private, Offer::Http2);
                        let stream = connector.connect_tls(&self.origin, private, offer).await?;
                        http2_over(stream).await.map_err(|source| failed(&self.origin, source))
                    })
                    .await?;
                }

                let mut open = shared.clone();
                drop(shared);
                open.ready().await.map_err(|source| failed(&self.origin, source))?;
                open.send_request(request).await.map_err(|source| failed(&self.origin, source))
            }
            Sender::Http1(sender) => {
                *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
                *request.version_mut() = Version::HTTP_11;
                if let Ok(host) = authority.parse() {
                    request.headers_mut().insert(HOST, host);
                }

                // A GET request with a body of unknown length would lose it.
                let has_length = request.headers().contains_key(CONTENT_LENGTH);
                if !has_length && !request.body().is_end_stream() {
                    let chunked = HeaderValue::from_static("chunked");
                    request.headers_mut().insert(TRANSFER_ENCODING, chunked);
                }

                let mut sender = sender.lock().await;
                if let Some(mut open) = sender.take()
                    && open.ready().await.is_ok()
                {
                    match open.try_send_request(request).await {
                        Ok(answer) => {
                            *sender = Some(open);
                            return Ok(answer);
                        }
                        // The origin has closed the connection before it got the request.
                        Err(mut error) => match error.take_message() {
                            Some(unsent) => request = unsent,
                            None => return Err(failed(&self.origin, error.into_error())),
                        },
                    }
                }

                // Boxed for the same reason
                let mut open = Box::pin(async {
                    let (private, offer) = (self.may_be_private, Offer::Http1);
                    let stream = connector.connect_tls(&self.origin, private, offer).await?;
                    http1_over(stream).await.map_err(|source| failed(&self.origin, source))
                })
                .await?;
                let answer = open
                    .send_request(request)
                    .await
                    .map_err(|source| failed(&self.origin, source))?;
                *sender = Some(open);
                Ok(answer)
            }
        }
    }
}

fn failed(origin: &Origin, source: hyper::Error) -> SendError {
    SendError::Http { host: origin.host.to_string(), source }
}

async fn http1_over(
    stream: TlsStream<Stream>,
) -> Result<http1::SendRequest<PassedBody>, hyper::Error> {
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await?;
    spawn_local(connection.with_upgrades());
    Ok(sender)
}

async fn http2_over(
    stream: TlsStream<Stream>,
) -> Result<http2::SendRequest<PassedBody>, hyper::Error> {
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await?;
    spawn_local(connection);
    Ok(sender)
}
