//! The load of benches/proxy.sh: a web server, and a client that measures requests to it.
//!
//! `test-load origin CA_FILE KEY` writes its certificate authority to a file and serves. It prints two
//! ports: one with HTTP/2 and HTTP/1.1, and one with HTTP/1.1 only. It answers 401 to a request whose
//! bearer token is not KEY. So a status of 200 proves that a proxy has put the value in.
//!
//! `test-load run NAME=VALUE...` opens its connections and prints `ready`. A line on stdin starts the
//! requests. Then it prints the times as JSON, and keeps its connections until stdin ends. So the
//! caller can read the memory and the CPU time of a proxy exactly before and after the requests.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Failure = Box<dyn Error + Send + Sync>;
type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// The windows of HTTP/2 on both sides, so that a download never waits for them.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How many connections are opened at once. The backlog of a listener may hold no more.
const OPENED_AT_ONCE: usize = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match &arguments[..] {
        [mode, ca, key] if mode == "origin" => runtime.block_on(serve(ca, key)),
        [mode, options @ ..] if mode == "run" => runtime.block_on(run(Plan::new(options))),
        _ => panic!("usage: test-load origin CA_FILE KEY, or test-load run NAME=VALUE..."),
    }
}

/// A body that repeats a piece until it has its length.
struct Repeated {
    left: u64,
    piece: Bytes,
    has_length: bool,
}

impl Repeated {
    /// Repeats lines of a log in which nothing is secret.
    fn lines(left: u64, has_length: bool) -> Self {
        const LINE: &[u8] =
            b"2026-11-21T09:30:00Z INFO connected request id=7f3a path=/api/v1/users \
                              status=200 duration=12ms user=anna retry=0\n";
        let mut piece = BytesMut::new();
        while piece.len() < 64 << 10 {
            piece.extend_from_slice(LINE);
        }

        Self { left, piece: piece.freeze(), has_length }
    }
}

impl Body for Repeated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.min(self.piece.len() as u64);
        self.left -= length;
        let piece = self.piece.slice(..usize::try_from(length).unwrap());
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length { SizeHint::with_exact(self.left) } else { SizeHint::default() }
    }
}

/// Server-sent events. Each carries the time at which it was sent.
struct Events {
    left: u64,
    gap: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(pause) = self.pause.as_mut() {
            ready!(pause.as_mut().poll(cx));
        }

        if self.left == 0 {
            return Poll::Ready(None);
        }

        self.left -= 1;
        self.pause = Some(Box::pin(sleep(self.gap)));
        let event = format!("data: {{\"token\":\"hello\",\"sent\":{}}}\n\n", nanos());
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

/// Returns the time as both processes see it.
fn nanos() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

async fn answer(request: Request<Incoming>, key: &str) -> Response<AnyBody> {
    let given = request.headers().get(AUTHORIZATION).cloned();
    let is_known = given.as_ref().is_some_and(|given| given == key);
    let path = request.uri().path().to_owned();
    let mut parts = path.split('/').skip(1);
    let (name, mut numbers) = (parts.next(), parts.map(|part| part.parse().unwrap_or(0)));
    let mut number = || numbers.next().unwrap_or(0);
    let (status, kind, body) = match name {
        _ if !is_known => (401, "text/plain", whole("no value was put in\n")),
        Some("small") => (200, "application/json", whole(r#"{"ok":true,"items":[1,2,3]}"#)),
        Some("reflect") => (200, "text/plain", whole(given.unwrap().as_bytes().to_vec())),
        Some("bytes") => (200, "text/plain", Repeated::lines(number(), true).boxed_unsync()),
        Some("chunked") => (200, "text/plain", Repeated::lines(number(), false).boxed_unsync()),
        Some("events") => {
            let (left, gap) = (number(), Duration::from_millis(number()));
            (200, "text/event-stream", Events { left, gap, pause: None }.boxed_unsync())
        }
        Some("count") => (200, "text/plain", whole(format!("{}\n", count(request).await))),
        _ => (404, "text/plain", whole("unknown path\n")),
    };

    Response::builder().status(status).header(CONTENT_TYPE, kind).body(body).unwrap()
}

fn whole(text: impl Into<Bytes>) -> AnyBody {
    Full::new(text.into()).boxed_unsync()
}

/// Returns the length of a request's body.
async fn count(request: Request<Incoming>) -> usize {
    let (mut length, mut body) = (0, request.into_body());
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
    }

    length
}

async fn serve(ca: &str, key: &str) {
    let both = server_config(ca);
    let mut http1 = both.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let expected: Arc<str> = format!("Bearer {key}").into();
    let mut ports = Vec::new();
    for config in [both, http1] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        ports.push(listener.local_addr().unwrap().port().to_string());
        tokio::spawn(accept(listener, Arc::new(config).into(), Arc::clone(&expected)));
    }

    println!("{}", ports.join(" "));
    std::future::pending::<()>().await;
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, expected: Arc<str>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (acceptor, expected) = (acceptor.clone(), Arc::clone(&expected));
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(stream).await else { return };
            let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(tls);
            let service = service_fn(move |request| {
                let expected = Arc::clone(&expected);
                async move { Ok::<_, Infallible>(answer(request, &expected).await) }
            });

            if is_http2 {
                let _ = server::conn::http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .serve_connection(io, service)
                    .await;
            } else {
                let _ = server::conn::http1::Builder::new().serve_connection(io, service).await;
            }
        });
    }
}

/// Creates an authority and a certificate for `localhost`, and writes the authority to a file.
fn server_config(ca: &str) -> ServerConfig {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // OpenSSL takes a certificate whose issuer has the same name for one that signed itself.
    authority.distinguished_name.push(DnType::CommonName, "origins of benches");
    let key = KeyPair::generate().unwrap();
    std::fs::write(ca, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let chain = vec![params.signed_by(&key, &issuer).unwrap().der().clone()];
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// The requests that the client sends.
struct Plan {
    /// The proxy's address, or none to connect to the origin
    proxy: Option<String>,
    /// The origin, as CONNECT names it
    target: String,
    path: String,
    /// The bearer token: the value, or a placeholder
    token: String,
    connections: usize,
    /// How many requests each connection sends one after another, and before that, without a time
    requests: usize,
    warm: usize,
    is_http2: bool,
    /// True to open a connection for each request
    is_cold: bool,
    /// The length of the body of each request
    upload: u64,
    tls: TlsConnector,
}

impl Plan {
    fn new(options: &[String]) -> Self {
        let options: BTreeMap<&str, &str> =
            options.iter().map(|option| option.split_once('=').unwrap()).collect();
        let text = |name: &str| options.get(name).map(ToString::to_string);
        let number = |name: &str, default: u64| {
            options.get(name).map_or(default, |number| number.parse().unwrap())
        };
        let size = |name, default| usize::try_from(number(name, default)).unwrap();
        let is_http2 = number("http", 1) == 2;
        Self {
            proxy: text("proxy"),
            target: text("target").unwrap(),
            path: text("path").unwrap(),
            token: text("token").unwrap(),
            connections: size("connections", 1),
            requests: size("requests", 1),
            warm: size("warm", 0),
            is_http2,
            is_cold: number("cold", 0) == 1,
            upload: number("upload", 0),
            tls: Arc::new(client_config(options["ca"], is_http2)).into(),
        }
    }

    /// Opens a connection to the origin, through the proxy if there is one.
    async fn open(&self) -> Result<Sender, Failure> {
        let mut stream =
            TcpStream::connect(self.proxy.as_ref().unwrap_or(&self.target).as_str()).await?;
        stream.set_nodelay(true)?;
        if self.proxy.is_some() {
            let target = &self.target;
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            // The origin sends nothing before the handshake, so this reads no byte too many.
            while !answer.ends_with(b"\r\n\r\n") {
                if stream.read_buf(&mut answer).await? == 0 {
                    return Err("the proxy closed the connection".into());
                }
            }

            if answer.get(8..12) != Some(b" 200") {
                return Err(String::from_utf8_lossy(&answer).into());
            }
        }

        let host = self.target.split(':').next().unwrap().to_owned();
        let tls = self.tls.connect(ServerName::try_from(host)?, stream).await?;
        let has_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        if has_http2 != self.is_http2 {
            return Err("the proxy does not offer the protocol".into());
        }

        if has_http2 {
            let (sender, connection) = client::conn::http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake(TokioIo::new(tls))
                .await?;
            tokio::spawn(connection);
            Ok(Sender::Http2(sender))
        } else {
            let (sender, connection) = client::conn::http1::handshake(TokioIo::new(tls)).await?;
            tokio::spawn(connection);
            Ok(Sender::Http1(sender))
        }
    }

    /// Returns a request. The first ones on a connection are small, whatever is measured.
    fn request(&self, is_warm: bool) -> Request<AnyBody> {
        let (path, upload) =
            if is_warm { (self.path.as_str(), self.upload) } else { ("/small", 0) };
        let (method, body) = match upload {
            0 => (Method::GET, Empty::new().boxed_unsync()),
            length => (Method::POST, Repeated::lines(length, true).boxed_unsync()),
        };
        let origin = if self.is_http2 { format!("https://{}", self.target) } else { String::new() };
        let mut builder = Request::builder()
            .method(method)
            .uri(origin + path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token));
        if !self.is_http2 {
            builder = builder.header(HOST, &self.target);
        }

        builder.body(body).unwrap()
    }

    /// Sends one request and reads its answer. A cold one opens its connection first.
    async fn exchange(&self, sender: &mut Option<Sender>, is_warm: bool, found: &mut Found) {
        let begun = Instant::now();
        if sender.is_none() || self.is_cold {
            match self.open().await {
                Ok(opened) => *sender = Some(opened),
                Err(failure) => return found.failures.push(failure.to_string()),
            }
        }

        match sender.as_mut().unwrap().send(self.request(is_warm), found).await {
            Ok(()) => found.micros.push(begun.elapsed().as_secs_f64() * 1e6),
            Err(failure) => {
                found.failures.push(failure.to_string());
                *sender = None;
            }
        }
    }
}

fn client_config(ca: &str, is_http2: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    // A program that has just started has no session to resume.
    config.resumption = Resumption::disabled();
    config
}

enum Sender {
    Http1(client::conn::http1::SendRequest<AnyBody>),
    Http2(client::conn::http2::SendRequest<AnyBody>),
}

impl Sender {
    async fn send(&mut self, request: Request<AnyBody>, found: &mut Found) -> Result<(), Failure> {
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => sender.send_request(request).await?,
        };

        *found.statuses.entry(response.status().as_u16()).or_default() += 1;
        let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec());
        let mut events = (kind.as_deref() == Some(b"text/event-stream")).then(Vec::new);
        let (mut body, mut begun) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            found.bytes += data.len() as u64;
            if let Some(delays) = &mut events {
                begun.extend_from_slice(&data);
                add_delays(&mut begun, delays);
            }
        }

        found.delays.extend(events);
        Ok(())
    }
}

/// Takes whole events from the beginning of a text, and adds the microseconds since they were sent.
fn add_delays(begun: &mut Vec<u8>, delays: &mut Vec<f64>) {
    let now = nanos();
    while let Some(end) = begun.windows(2).position(|two| two == b"\n\n") {
        let event: Vec<u8> = begun.drain(..end + 2).collect();
        let sent: String =
            event.iter().filter(|b| b.is_ascii_digit()).map(|b| *b as char).collect();
        let sent: u64 = sent.parse().unwrap();
        delays.push(Duration::from_nanos(now.saturating_sub(sent)).as_secs_f64() * 1e6);
    }
}

/// The results of requests.
#[derive(Default)]
struct Found {
    /// How long each request took
    micros: Vec<f64>,
    /// How long each event was on its way, a list for each response
    delays: Vec<Vec<f64>>,
    statuses: BTreeMap<u16, u64>,
    bytes: u64,
    failures: Vec<String>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.delays.extend(other.delays);
        self.bytes += other.bytes;
        self.failures.extend(other.failures);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }
}

/// Sends a number of requests on each connection, on all connections at once.
async fn on_all(
    plan: &Arc<Plan>,
    senders: Vec<Option<Sender>>,
    requests: usize,
    are_warm: bool,
) -> (Vec<Option<Sender>>, Found) {
    let send = |mut sender| {
        let plan = Arc::clone(plan);
        tokio::spawn(async move {
            let mut found = Found::default();
            for _ in 0..requests {
                plan.exchange(&mut sender, are_warm, &mut found).await;
            }

            (sender, found)
        })
    };

    let running: Vec<_> = senders.into_iter().map(send).collect();
    let (mut kept, mut all) = (Vec::with_capacity(running.len()), Found::default());
    for task in running {
        let (sender, found) = task.await.unwrap();
        kept.push(sender);
        all.add(found);
    }

    (kept, all)
}

async fn run(plan: Plan) {
    let plan = Arc::new(plan);
    let (mut senders, mut failures) = (Vec::new(), Vec::new());
    while senders.len() < plan.connections {
        let count = OPENED_AT_ONCE.min(plan.connections - senders.len());
        let few = std::iter::repeat_with(|| None).take(count).collect();
        // A connection is opened by its first request.
        let (opened, warmed) = on_all(&plan, few, plan.warm, false).await;
        senders.extend(opened);
        failures.extend(warmed.failures);
    }

    println!("ready");
    let mut lines = std::io::stdin().lines();
    let Some(Ok(_)) = lines.next() else { return };
    let begun = Instant::now();
    let (_kept, mut found) = on_all(&plan, senders, plan.requests, true).await;
    let seconds = begun.elapsed().as_secs_f64();
    failures.append(&mut found.failures);
    let (count, first) = (failures.len(), failures.first());
    println!(
        "{}",
        serde_json::json!({
            "seconds": seconds, "micros": found.micros, "delays": found.delays, "bytes": found.bytes,
            "statuses": found.statuses, "failures": count, "first_failure": first,
        })
    );
    while let Some(Ok(_)) = lines.next() {}
}
