//! TLS with rustls. The server's name and certificate are always verified.

use std::convert::Infallible;
use std::future;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::socket::Socket;
use super::{ConnectError, TlsFailure};
use crate::address::{ClientCertificate, Host, Roots, parse_certificates, parse_key};

/// `SSLRequest`, which asks whether the server offers TLS: the length and a number that is no
/// version of the protocol.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A TLS connection over a socket.
pub(super) type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// Starts TLS with the authorities and the certificate of an address.
pub(super) struct Connector {
    make: MakeRustlsConnect,
    has_certificate: bool,
}

impl Connector {
    /// Loads the authorities and our certificate.
    pub(super) fn new(
        roots: &Roots,
        client: Option<&ClientCertificate>,
    ) -> Result<Self, ConnectError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|_| ConnectError::Authorities)?
            .with_root_certificates(load_roots(roots).ok_or(ConnectError::Authorities)?);

        let config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => parse_certificates(client.chain())
                .zip(parse_key(client.key()))
                .and_then(|(chain, key)| builder.with_client_auth_cert(chain, key).ok())
                .ok_or(ConnectError::ClientCertificate)?,
        };

        Ok(Self { make: MakeRustlsConnect::new(config), has_certificate: client.is_some() })
    }

    /// Returns true if we have a certificate of our own.
    pub(super) fn has_certificate(&self) -> bool {
        self.has_certificate
    }

    /// Asks the server for TLS and starts it.
    pub(super) async fn start_tls(
        &self,
        mut socket: Socket,
        host: &Host,
    ) -> Result<Encrypted, ConnectError> {
        // We read exactly one byte. Bytes that somebody adds to it must not count as encrypted.
        let mut answer = [0];
        let asked = async {
            socket.write_all(&SSL_REQUEST).await?;
            socket.read_exact(&mut answer).await
        };
        asked.await.map_err(|error| ConnectError::io(host, &error))?;
        match &answer {
            b"S" => {}
            b"N" => return Err(ConnectError::tls(host, TlsFailure::NotOffered)),
            _ => return Err(ConnectError::Protocol { host: host.to_string() }),
        }

        let mut make = self.make.clone();
        let connect = MakeTlsConnect::<Socket>::make_tls_connect(&mut make, host.name());
        let connect = match connect {
            Ok(connect) => connect,
            Err(never) => match never {},
        };
        connect.connect(socket).await.map_err(|error| ConnectError::io(host, &error))
    }
}

fn load_roots(roots: &Roots) -> Option<RootCertStore> {
    let certificates = match roots {
        Roots::System => rustls_native_certs::load_native_certs().certs,
        Roots::Pem(pem) => parse_certificates(pem)?,
    };

    let mut store = RootCertStore::empty();
    match store.add_parsable_certificates(certificates) {
        (0, _) => None,
        _ => Some(store),
    }
}

/// Gives the driver a stream on which TLS has started already.
pub(super) struct Ready;

impl<S: TlsStream + Unpin> TlsConnect<S> for Ready {
    type Stream = S;
    type Error = Infallible;
    type Future = future::Ready<Result<S, Infallible>>;

    fn connect(self, stream: S) -> Self::Future {
        future::ready(Ok(stream))
    }
}
