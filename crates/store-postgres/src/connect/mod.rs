//! Connections to the server of an [`Address`].
//!
//! We open the socket, start TLS and choose the host ourselves, and give the driver a stream that
//! is ready. So each attempt has a time limit up to the end of the login (the driver limits only
//! the TCP handshake), every failure has a reason that we know as a type, and a guard sees each
//! message before the driver does.

mod code;
mod error;
mod guard;
mod session;
mod socket;
mod tls;

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{NoTls, TlsConnect};

use crate::address::{Address, Host, Transport};
pub use code::Code;
pub use error::{ConnectError, LoginMethod, TlsFailure, Unreached};
pub use guard::MAX_MESSAGE;
use guard::{Guard, Rules};
use session::is_primary;
pub use session::{Session, Warning};
use socket::{Endpoint, Socket};
use tls::{Connector, Ready};

/// The name that the server's administrator sees in `pg_stat_activity`.
const APPLICATION: &str = "secrets";

/// Connects to the first host that can be used, and logs in.
///
/// Hosts are tried in order, and each address of a name. An attempt ends after
/// [`Address::connect_timeout`]. A host that cannot be reached, whose certificate does not verify,
/// that is starting up or has too many connections, or that is a replica makes us try the next one.
/// A host that refuses the login does not, because all of them serve the same database.
///
/// A server of PostgreSQL 14 or newer reports at login whether it is a replica. Others are asked,
/// which costs a further trip, but only if there are several hosts. So with one host, an older
/// server may be a replica: the caller must check `pg_is_in_recovery()` in its first statement.
///
/// The connection works while the caller's runtime does. It needs tokio's timer and network.
pub async fn connect(address: &Address) -> Result<Session, ConnectError> {
    let login = Login::new(address)?;

    let mut failures = Vec::new();
    for host in address.hosts() {
        match login.try_host(host).await {
            Ok(session) => return Ok(session),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => failures.push(error),
        }
    }

    Err(match failures.len() {
        1 => failures.remove(0),
        _ => ConnectError::NoHost(failures),
    })
}

/// The parts that all attempts have in common.
struct Login<'a> {
    address: &'a Address,
    connector: Option<Connector>,
    is_only_host: bool,
    timeout: Duration,
}

impl<'a> Login<'a> {
    fn new(address: &'a Address) -> Result<Self, ConnectError> {
        let connector = match address.transport() {
            Transport::Tls { roots, client } => Some(Connector::new(roots, client.as_ref())?),
            Transport::Plain => None,
        };

        Ok(Self {
            address,
            connector,
            is_only_host: address.hosts().len() == 1,
            timeout: address.connect_timeout(),
        })
    }

    /// Tries the addresses of a host. If all fail, the reason is that of the last one which
    /// answered.
    async fn try_host(&self, host: &Host) -> Result<Session, ConnectError> {
        let endpoints = self.within_timeout(host, socket::resolve(host)).await?;

        let mut reason: Option<ConnectError> = None;
        for endpoint in endpoints {
            // The futures of TLS and of the driver are large.
            let attempt = Box::pin(self.attempt(host, &endpoint));
            let error = match self.within_timeout(host, attempt).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };

            let is_final = error.is_final();
            if !error.is_unreached() || reason.as_ref().is_none_or(ConnectError::is_unreached) {
                reason = Some(error);
            }
            if is_final {
                break;
            }
        }

        let no_address = || ConnectError::unreached(host, Unreached::Name);
        Err(reason.unwrap_or_else(no_address))
    }

    async fn within_timeout<T>(
        &self,
        host: &Host,
        attempt: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        match tokio::time::timeout(self.timeout, attempt).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout {
                host: host.to_string(),
                seconds: self.timeout.as_secs(),
            }),
        }
    }

    async fn attempt(&self, host: &Host, endpoint: &Endpoint) -> Result<Session, ConnectError> {
        let socket =
            socket::open(endpoint).await.map_err(|error| ConnectError::io(host, &error))?;
        let session = match (&self.connector, endpoint) {
            (Some(connector), Endpoint::Tcp(_)) => {
                let has_certificate = connector.has_certificate();
                let stream = connector.start_tls(socket, host).await?;
                let stream = Guard::new(stream, self.rules(true, has_certificate));
                self.log_in(host, stream, Ready, SslMode::Require).await?
            }
            _ => {
                let stream = Guard::<Socket>::new(socket, self.rules(false, false));
                self.log_in(host, stream, NoTls, SslMode::Disable).await?
            }
        };

        match is_primary(&session, self.is_only_host).await {
            Ok(true) => Ok(session),
            Ok(false) => Err(ConnectError::Replica { host: host.to_string() }),
            Err(error) => Err(ConnectError::driver(self.address, host, &error)),
        }
    }

    fn rules(&self, is_tls: bool, has_certificate: bool) -> Rules {
        let has_password = self.address.password().is_some();
        Rules {
            has_password,
            must_bind: is_tls,
            must_prove: is_tls && has_password && !has_certificate,
        }
    }

    async fn log_in<S, T>(
        &self,
        host: &Host,
        stream: Guard<S>,
        tls: T,
        mode: SslMode,
    ) -> Result<Session, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsConnect<Guard<S>>,
        T::Stream: Unpin + Send + 'static,
    {
        let mut config = Config::new();
        config
            .user(self.address.user())
            .dbname(self.address.database())
            .application_name(APPLICATION)
            // TLS has started already, if it is used. This keeps the driver from asking for it.
            .ssl_mode(mode)
            .ssl_negotiation(SslNegotiation::Direct);
        if let Some(password) = self.address.password() {
            config.password(password.expose());
        }

        let is_proving = stream.is_proving();
        let error = match config.connect_raw(stream, tls).await {
            Ok((client, connection)) => return Ok(Session::start(host, client, connection)),
            Err(error) => error,
        };

        // PostgreSQL answers a proof that is bound to another certificate with this code, and a
        // wrong password with another one.
        let is_refused = Code::of(&error).is_some_and(|code| code.as_str() == "28000");
        if is_refused && is_proving.load(Ordering::Relaxed) {
            return Err(ConnectError::Intercepted { host: host.to_string() });
        }

        Err(ConnectError::driver(self.address, host, &error))
    }
}

#[cfg(test)]
mod tests;
