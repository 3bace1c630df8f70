//! Connections to origins: one resolution, all addresses checked, and the connection goes to one of
//! them. Through a company's proxy if there is one. TLS is always verified for the name of the rule.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, IpAddr as TlsIpAddr, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrets_core::model::{Host, Origin};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::is_public;

/// How long a connection to one address may take, and a handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why an origin was not reached. No value was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address
    #[error("cannot find `{0}`")]
    Unknown(String),
    /// The name leads to this machine or its network
    #[error("`{host}` has the address {address}, which is not on the public internet")]
    Private {
        /// The name
        host: String,
        /// The address
        address: IpAddr,
    },
    /// It leads to this proxy itself
    #[error("`{0}` leads back to this proxy")]
    Loop(String),
    /// No connection
    #[error("cannot connect to `{host}`: {source}")]
    Connect {
        /// The name
        host: String,
        /// The last error
        source: io::Error,
    },
    /// The company's proxy refused
    #[error("the proxy `{proxy}` refused to connect to `{host}`: {status}")]
    Proxy {
        /// The company's proxy
        proxy: String,
        /// The name
        host: String,
        /// Its answer
        status: String,
    },
    /// The certificate is not valid for the name, or the handshake failed
    #[error("cannot verify that this is `{host}`: {source}")]
    Tls {
        /// The name
        host: String,
        /// The error
        source: io::Error,
    },
    /// There are no roots to verify certificates with
    #[error("cannot read the system's certificates: {0}")]
    Roots(String),
}

/// A proxy between us and the internet.
#[derive(Clone)]
pub struct CompanyProxy {
    /// Its host and port
    pub host: String,
    /// Its port
    pub port: u16,
    /// The field `proxy-authorization` for it
    pub authorization: Option<HeaderValue>,
    /// The hosts that are reached without it
    pub bypass: Bypass,
}

/// The list of `NO_PROXY`.
#[derive(Debug, Clone, Default)]
pub struct Bypass(Vec<String>);

impl Bypass {
    /// Parses a list such as `localhost,.corp.example,10.0.0.1`. `*` stands for all hosts.
    pub fn parse(text: &str) -> Self {
        let entries = text.split([',', ' ']).map(|entry| entry.trim().to_ascii_lowercase());
        Self(entries.filter(|entry| !entry.is_empty()).collect())
    }

    /// Returns true if a host is reached without the proxy. An entry covers a host and all below it.
    pub fn covers(&self, origin: &Origin) -> bool {
        let host = origin.host.to_string();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.0.iter().any(|entry| {
            let (name, port) = match entry.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
                _ => (entry.as_str(), None),
            };

            let name = name.trim_start_matches("*.").trim_start_matches('.');
            let is_port = port.is_none_or(|port: u16| port == origin.port);
            let is_below = || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
            is_port && (entry == "*" || host == name || is_below())
        })
    }
}

/// The authorities that sign certificates of origins.
#[derive(Debug, Clone, Default)]
pub enum Roots {
    /// Those of the system, or of `SSL_CERT_FILE`. They are read when they are first needed
    #[default]
    System,
    /// Those in this PEM
    Pem(String),
}

impl Roots {
    fn load(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let (certificates, error) = match self {
            Self::System => {
                let loaded = rustls_native_certs::load_native_certs();
                (loaded.certs, loaded.errors.first().map(ToString::to_string))
            }
            Self::Pem(pem) => {
                let read = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
                (read.map_err(|error| error.to_string())?, None)
            }
        };

        match roots.add_parsable_certificates(certificates) {
            (0, _) => Err(error.unwrap_or_else(|| "there are none".into())),
            _ => Ok(roots),
        }
    }
}

/// Connects to origins.
pub struct Connector {
    roots: Roots,
    provider: Arc<CryptoProvider>,
    configs: OnceLock<Result<[Arc<ClientConfig>; 3], String>>,
    company: Option<CompanyProxy>,
    /// Our own address, which no name may lead to
    own: OnceLock<SocketAddr>,
}

/// Which protocols to offer to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/2 and HTTP/1.1
    Any,
    /// HTTP/1.1 only
    Http1,
    /// HTTP/2 only
    Http2,
}

impl Connector {
    /// Creates a connector.
    pub fn new(provider: Arc<CryptoProvider>, roots: Roots, company: Option<CompanyProxy>) -> Self {
        Self { roots, provider, configs: OnceLock::new(), company, own: OnceLock::new() }
    }

    /// Refuses connections to this address from now on, because it is our own.
    pub fn refuse(&self, address: SocketAddr) {
        let _ = self.own.set(address);
    }

    fn config(&self, offer: Offer) -> Result<Arc<ClientConfig>, ConnectError> {
        let configs = self.configs.get_or_init(|| {
            let roots = self.roots.load()?;
            let config = |protocols: &[&[u8]]| {
                let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
                    .with_safe_default_protocol_versions()
                    .map_err(|error| error.to_string())?
                    .with_root_certificates(roots.clone())
                    .with_no_client_auth();
                config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
                Ok::<_, String>(Arc::new(config))
            };

            Ok([config(&[b"h2", b"http/1.1"])?, config(&[b"http/1.1"])?, config(&[b"h2"])?])
        });

        match configs {
            Ok([any, http1, http2]) => Ok(Arc::clone(match offer {
                Offer::Any => any,
                Offer::Http1 => http1,
                Offer::Http2 => http2,
            })),
            Err(why) => Err(ConnectError::Roots(why.clone())),
        }
    }

    /// Opens a TCP connection, or one through the company's proxy. `may_be_private` permits addresses
    /// that are not on the public internet.
    pub async fn connect(
        &self,
        origin: &Origin,
        may_be_private: bool,
    ) -> Result<Stream, ConnectError> {
        let company = self.company.as_ref().filter(|company| !company.bypass.covers(origin));
        match company {
            Some(company) => Ok(Stream::Tunnel(Box::new(tunnel(company, origin).await?))),
            None => self.direct(origin, may_be_private).await.map(Stream::Direct),
        }
    }

    async fn direct(
        &self,
        origin: &Origin,
        may_be_private: bool,
    ) -> Result<TcpStream, ConnectError> {
        let host = origin.host.to_string();
        let addresses: Vec<SocketAddr> = match &origin.host {
            Host::Address(address) => vec![SocketAddr::new(*address, origin.port)],
            Host::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), origin.port));
                let found = timeout(CONNECT_TIMEOUT, found).await.ok().and_then(Result::ok);
                found.ok_or_else(|| ConnectError::Unknown(host.clone()))?.collect()
            }
        };

        // One address of this network among public ones is an attack too.
        if let Some(private) =
            addresses.iter().find(|address| !may_be_private && !is_public(address.ip()))
        {
            return Err(ConnectError::Private { host: host.clone(), address: private.ip() });
        }

        // The unspecified address leads to this machine as well.
        let is_own = |address: &SocketAddr, own: &SocketAddr| {
            let ip = address.ip().to_canonical();
            address.port() == own.port() && (ip == own.ip() || ip.is_unspecified())
        };
        if self.own.get().is_some_and(|own| addresses.iter().any(|address| is_own(address, own))) {
            return Err(ConnectError::Loop(host.clone()));
        }

        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }

        Err(ConnectError::Connect { host: host.clone(), source: last })
    }

    /// Connects to an origin, and verifies its certificate for its host.
    pub async fn connect_tls(
        &self,
        origin: &Origin,
        may_be_private: bool,
        offer: Offer,
    ) -> Result<TlsStream<Stream>, ConnectError> {
        let config = self.config(offer)?;
        let host = origin.host.to_string();
        let name = match &origin.host {
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| ConnectError::Unknown(host.clone()))?,
            Host::Address(address) => ServerName::IpAddress(TlsIpAddr::from(*address)),
        };

        let stream = self.connect(origin, may_be_private).await?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        match timeout(CONNECT_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(ConnectError::Tls { host: host.clone(), source }),
            Err(_) => Err(ConnectError::Tls {
                host: host.clone(),
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }
}

/// Asks a company's proxy for a connection (RFC 9110, section 9.3.6).
async fn tunnel(
    company: &CompanyProxy,
    origin: &Origin,
) -> Result<TokioIo<Upgraded>, ConnectError> {
    let proxy = format!("{}:{}", company.host, company.port);
    let host = origin.host.to_string();
    let connecting = TcpStream::connect((company.host.as_str(), company.port));
    let stream = timeout(CONNECT_TIMEOUT, connecting).await;
    let stream = stream
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| ConnectError::Connect { host: proxy.clone(), source })?;
    let _ = stream.set_nodelay(true);

    let target = format!("{}:{}", origin.host, origin.port);
    let mut request = Request::builder().method(Method::CONNECT).uri(&target).header(HOST, &target);
    if let Some(authorization) = &company.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }

    let asked = async {
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        spawn_local(connection.with_upgrades());
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        if !status.is_success() {
            return Ok(Err(status.to_string()));
        }

        hyper::upgrade::on(answer).await.map(Ok).map_err(io::Error::other)
    };

    match timeout(CONNECT_TIMEOUT, asked).await {
        Ok(Ok(Ok(upgraded))) => Ok(TokioIo::new(upgraded)),
        Ok(Ok(Err(status))) => Err(ConnectError::Proxy { proxy, host, status }),
        Ok(Err(source)) => Err(ConnectError::Connect { host: proxy, source }),
        Err(_) => {
            Err(ConnectError::Connect { host: proxy, source: io::ErrorKind::TimedOut.into() })
        }
    }
}

/// A connection to an origin.
pub enum Stream {
    /// A TCP connection to the origin itself
    Direct(TcpStream),
    /// A connection through a company's proxy
    Tunnel(Box<TokioIo<Upgraded>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_bypassed_hosts_is_read_as_curl_does() {
        let covers =
            |list: &str, origin: &str| Bypass::parse(list).covers(&Origin::parse(origin).unwrap());
        for (list, origin) in [
            ("*", "https://a.example"),
            ("localhost, .corp.example", "https://git.corp.example"),
            ("corp.example", "https://corp.example"),
            ("*.corp.example", "https://a.b.corp.example"),
            ("10.0.0.1", "https://10.0.0.1"),
            ("::1", "https://[::1]:8443"),
            ("a.example:8443", "https://a.example:8443"),
            ("A.Example", "https://a.example"),
        ] {
            assert!(covers(list, origin), "{list} {origin}");
        }

        for (list, origin) in [
            ("", "https://a.example"),
            ("corp.example", "https://notcorp.example"),
            ("a.example:8443", "https://a.example"),
            ("b.example", "https://a.example"),
        ] {
            assert!(!covers(list, origin), "{list} {origin}");
        }
    }
}
