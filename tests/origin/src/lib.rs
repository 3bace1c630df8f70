//! A web server for tests and benches: TLS, HTTP/1.1 and HTTP/2. It reflects requests in all
//! forms that a server could use, and remembers them.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    clippy::too_many_lines
)]

mod answers;
mod files;
mod websocket;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub use files::Files;

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub version: String,
    pub method: String,
    /// The target with its query
    pub target: String,
    /// `:authority` of HTTP/2
    pub authority: String,
    /// The header fields, several of one name after another
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: Vec<u8>,
}

impl Received {
    /// Returns the first field of a header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|fields| fields.first()).map_or("", String::as_str)
    }
}

/// The options of an origin.
#[derive(Clone)]
pub struct Options {
    /// The port; 0 for any
    pub port: u16,
    /// The protocols that it offers
    pub protocols: Vec<&'static str>,
    /// The names in its certificate
    pub names: Vec<String>,
    /// True if its certificate is signed by an authority that nobody trusts
    pub is_untrusted: bool,
    /// True if it speaks plain HTTP
    pub is_plain: bool,
    /// The directory that it serves
    pub files: Option<Files>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            protocols: vec!["h2", "http/1.1"],
            names: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            is_untrusted: false,
            is_plain: false,
            files: None,
        }
    }
}

/// An authority that signs certificates of origins.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "test origins");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns the authority's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn config(&self, options: &Options) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(options.names.clone()).unwrap();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        config.alpn_protocols =
            options.protocols.iter().map(|one| one.as_bytes().to_vec()).collect();
        config
    }
}

/// The requests that origins have received.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Received>>>);

impl Log {
    /// Returns all requests so far, and forgets them.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Returns the only request so far, and forgets it.
    #[track_caller]
    pub fn one(&self) -> Received {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    pub(crate) fn push(&self, received: Received) {
        self.0.lock().unwrap().push(received);
    }
}

/// A running origin. It stops when the process ends.
pub struct Origin {
    pub address: SocketAddr,
    pub log: Log,
}

impl Origin {
    /// Starts an origin on a thread of its own.
    pub fn start(authority: &Authority, options: Options) -> Self {
        let other = Authority::new();
        let signer = if options.is_untrusted { &other } else { authority };
        let acceptor = TlsAcceptor::from(Arc::new(signer.config(&options)));
        let listener = std::net::TcpListener::bind(("127.0.0.1", options.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, log) = (listener.local_addr().unwrap(), Log::default());
        let for_thread = log.clone();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, acceptor, for_thread, options));
        });

        Self { address, log }
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns a URL at `localhost`.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port())
    }
}

async fn serve(listener: std::net::TcpListener, acceptor: TlsAcceptor, log: Log, options: Options) {
    let (is_plain, files) = (options.is_plain, options.files.map(Arc::new));
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (acceptor, log, files) = (acceptor.clone(), log.clone(), files.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (log, files) = (log.clone(), files.clone());
                async move {
                    Ok::<_, Infallible>(answers::answer(request, &log, files.as_deref()).await)
                }
            });

            if is_plain {
                let io = TokioIo::new(stream);
                let _ = http1::Builder::new().serve_connection(io, service).with_upgrades().await;
                return;
            }

            let Ok(tls) = acceptor.accept(stream).await else { return };
            let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(tls);
            if is_http2 {
                let _ = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(2 << 20)
                    .initial_connection_window_size(8 << 20)
                    .serve_connection(io, service)
                    .await;
            } else {
                let _ = http1::Builder::new()
                    .preserve_header_case(true)
                    .serve_connection(io, service)
                    .with_upgrades()
                    .await;
            }
        });
    }
}
