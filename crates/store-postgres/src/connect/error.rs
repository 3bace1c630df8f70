//! Why a connection could not be made.

use std::error::Error as _;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError};

use super::Code;
use super::guard::Refusal;
use crate::address::{Address, Host};

/// Why a connection could not be made. The server's own texts are in no message, because a hostile
/// server chooses them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No connection to the host, or it ended during the login.
    #[error("`{host}` cannot be reached: {why}")]
    Unreachable {
        /// The host
        host: String,
        /// The reason
        why: Unreached,
    },

    /// The attempt took too long.
    #[error("`{host}` did not answer within {seconds} s")]
    Timeout {
        /// The host
        host: String,
        /// The time limit
        seconds: u64,
    },

    /// The system has no authorities, or the stored ones cannot be used.
    #[error("no certificate authority to verify the server with; name one with `sslrootcert`")]
    Authorities,

    /// The stored certificate and its key cannot be used.
    #[error("the stored client certificate cannot be used; store the address again")]
    ClientCertificate,

    /// TLS is not offered, or the certificate does not verify.
    #[error("TLS with `{host}` failed: {why}")]
    Tls {
        /// The host
        host: String,
        /// The reason
        why: TlsFailure,
    },

    /// The server refuses the login: 28P01, 28000 or 42501.
    #[error("`{host}` refuses the login of `{user}`: {}", login(*.code))]
    Login {
        /// The host
        host: String,
        /// The role
        user: String,
        /// The server's code
        code: Code,
    },

    /// The server asks for a password, and none is known.
    #[error(
        "`{host}` asks for the password of `{user}`; set `PGPASSFILE` or `PGPASSWORD` or enter it \
         at the hidden prompt"
    )]
    NoPassword {
        /// The host
        host: String,
        /// The role
        user: String,
    },

    /// The login would reveal the password, or the server proves nothing with it.
    #[error("`{host}` {method}")]
    WeakAuthentication {
        /// The host
        host: String,
        /// The method that the server asks for
        method: LoginMethod,
    },

    /// The server's part of the proof is wrong.
    #[error(
        "`{host}` did not prove that it knows the password of `{user}`; it may not be your server"
    )]
    Impostor {
        /// The host
        host: String,
        /// The role
        user: String,
    },

    /// The server's certificate is not the one that we have seen, so TLS ends in between. Our proof
    /// of the password names the certificate.
    #[error(
        "`{host}` has another certificate than the one that we see, so something in between reads \
         the connection; connect to the server itself"
    )]
    Intercepted {
        /// The host
        host: String,
    },

    /// The database does not exist: 3D000.
    #[error("`{host}` has no database `{database}`")]
    NoDatabase {
        /// The host
        host: String,
        /// The database
        database: String,
    },

    /// The server has too many connections: 53300.
    #[error("`{host}` has too many connections")]
    TooManyConnections {
        /// The host
        host: String,
    },

    /// The server is starting up, shutting down or recovering: 57P01 to 57P03.
    #[error("`{host}` is starting up or shutting down")]
    NotReady {
        /// The host
        host: String,
    },

    /// The server is a replica.
    #[error("`{host}` is a replica, which may be behind; name the primary")]
    Replica {
        /// The host
        host: String,
    },

    /// The server reports another error.
    #[error("`{host}` reports the error {code}")]
    Server {
        /// The host
        host: String,
        /// The server's code
        code: Code,
    },

    /// The server sends something that PostgreSQL does not.
    #[error("`{host}` does not follow PostgreSQL's protocol")]
    Protocol {
        /// The host
        host: String,
    },

    /// None of several hosts can be used. The reasons are in their order.
    #[error("no host can be used: {}", list(.0))]
    NoHost(Vec<ConnectError>),
}

/// Why a host was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreached {
    /// Its name has no address.
    Name,
    /// It closed the connection before the login ended.
    Closed,
    /// The system's reason.
    System(io::ErrorKind),
}

/// Why TLS failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// The server does not offer TLS.
    NotOffered,
    /// No known authority has signed the certificate.
    UnknownAuthority,
    /// The certificate has other names.
    Name,
    /// The certificate has no names but a common name, which is not used.
    NoName,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is an authority's own.
    Authority,
    /// The certificate is damaged, or cannot be verified for another reason.
    Certificate,
    /// The server does not accept our certificate, or wants one.
    ClientCertificate,
    /// Something else.
    Handshake,
}

/// A way to log in that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginMethod {
    /// The password in cleartext.
    Cleartext,
    /// An MD5 hash of the password.
    Md5,
    /// A proof of the password (SCRAM) that is not bound to the TLS connection. Somebody in between
    /// could pass it on. PgBouncer offers no other, and a certificate that is signed with Ed25519
    /// or RSA-PSS allows no other (RFC 5929, section 4.1, needs the hash of the signature).
    Unbound,
    /// No password, although we know one. The server proves nothing.
    Nothing,
    /// Kerberos, GSSAPI, SSPI or something unknown.
    Other,
}

impl ConnectError {
    /// Returns true if no host was reached. The servers may be fine.
    pub fn is_unreached(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::NoHost(reasons) => reasons.iter().all(Self::is_unreached),
            _ => false,
        }
    }

    /// Returns true if the same attempt may succeed later: after a failover, a restart or a pause.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::TooManyConnections { .. }
            | Self::NotReady { .. }
            | Self::Replica { .. } => true,
            Self::NoHost(reasons) => reasons.iter().any(Self::is_temporary),
            _ => false,
        }
    }

    /// Returns true if another host would refuse in the same way, or must not be asked.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Login { .. }
                | Self::NoPassword { .. }
                | Self::WeakAuthentication { .. }
                | Self::Impostor { .. }
                | Self::Intercepted { .. }
                | Self::NoDatabase { .. }
        )
    }

    pub(super) fn unreached(host: &Host, why: Unreached) -> Self {
        Self::Unreachable { host: host.to_string(), why }
    }

    pub(super) fn tls(host: &Host, why: TlsFailure) -> Self {
        Self::Tls { host: host.to_string(), why }
    }

    /// Translates an error of a socket or of TLS.
    pub(super) fn io(host: &Host, error: &io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::tls(host, TlsFailure::of(error));
        }

        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::unreached(host, Unreached::Closed),
            // The driver reports a message that it cannot read with these kinds.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if inner.is_some() => {
                Self::Protocol { host: host.to_string() }
            }
            kind => Self::unreached(host, Unreached::System(kind)),
        }
    }

    /// Translates an error of the driver.
    pub(super) fn driver(address: &Address, host: &Host, error: &tokio_postgres::Error) -> Self {
        if error.as_db_error().is_some() {
            return match Code::of(error) {
                Some(code) => Self::server(address, host, code),
                None => Self::Protocol { host: host.to_string() },
            };
        }
        if error.is_closed() {
            return Self::unreached(host, Unreached::Closed);
        }

        let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) else {
            return Self::Protocol { host: host.to_string() };
        };
        if let Some(refusal) = cause.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>()) {
            return Self::refusal(address, host, *refusal);
        }

        // The driver reports a failed SCRAM only with this text. A test depends on it.
        if error.to_string() == "authentication error" {
            return Self::Impostor { host: host.to_string(), user: address.user().to_owned() };
        }

        Self::io(host, cause)
    }

    fn refusal(address: &Address, host: &Host, refusal: Refusal) -> Self {
        let host = host.to_string();
        match refusal {
            Refusal::NoPassword => Self::NoPassword { host, user: address.user().to_owned() },
            Refusal::Login(method) => Self::WeakAuthentication { host, method },
            Refusal::Message => Self::Protocol { host },
        }
    }

    fn server(address: &Address, host: &Host, code: Code) -> Self {
        let host = host.to_string();
        match code.as_str() {
            "28P01" | "28000" | "42501" => {
                Self::Login { host, user: address.user().to_owned(), code }
            }
            "3D000" => Self::NoDatabase { host, database: address.database().to_owned() },
            "53300" => Self::TooManyConnections { host },
            "57P01" | "57P02" | "57P03" => Self::NotReady { host },
            _ => Self::Server { host, code },
        }
    }
}

impl TlsFailure {
    fn of(error: &rustls::Error) -> Self {
        let error = match error {
            rustls::Error::InvalidCertificate(error) => error,
            rustls::Error::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::CertificateRequired,
            ) => return Self::ClientCertificate,
            _ => return Self::Handshake,
        };

        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                Self::NoName
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Name
            }
            // rustls passes on an error of a crate that we do not import.
            CertificateError::Other(error)
                if format!("{error:?}").contains("CaUsedAsEndEntity") =>
            {
                Self::Authority
            }
            _ => Self::Certificate,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("its name cannot be resolved"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::System(io::ErrorKind::NotFound) => f.write_str("the socket does not exist"),
            Self::System(kind) => write!(f, "{kind}"),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOffered => "the server does not offer TLS; turn `ssl` on in `postgresql.conf`",
            Self::UnknownAuthority => {
                "its certificate is not signed by a known authority; name the authority's \
                 certificate with `sslrootcert`"
            }
            Self::Name => "its certificate is for another name",
            Self::NoName => {
                "its certificate has no `subjectAltName`; create one with the server's name in it"
            }
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not valid yet; check this machine's clock",
            Self::Authority => {
                "its certificate belongs to an authority; create a server certificate that the \
                 authority has signed"
            }
            Self::Certificate => "its certificate is invalid",
            Self::ClientCertificate => {
                "the server does not accept the client certificate, or requires one"
            }
            Self::Handshake => "the handshake failed",
        })
    }
}

impl fmt::Display for LoginMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cleartext => {
                "asks for the password in cleartext, which is refused; use `scram-sha-256` in \
                 `pg_hba.conf`"
            }
            Self::Md5 => {
                "asks for an MD5 hash of the password, which is refused; use `scram-sha-256` in \
                 `pg_hba.conf`, and set the password again"
            }
            Self::Unbound => {
                "does not bind the login to the TLS connection (`SCRAM-SHA-256-PLUS`), which \
                 poolers and Ed25519 certificates cannot do; connect to the server itself, or log \
                 in with a client certificate"
            }
            Self::Nothing => {
                "asks for no password, so it does not prove that it knows the one that is stored; \
                 use `scram-sha-256` in `pg_hba.conf`, or connect without a password"
            }
            Self::Other => "asks for a login method that is not supported",
        })
    }
}

fn login(code: Code) -> &'static str {
    match code.as_str() {
        "28P01" => "wrong user or password",
        "42501" => "the role may not connect to the database",
        _ => "the rules in `pg_hba.conf` do not allow it, or the role may not log in",
    }
}

fn list(reasons: &[ConnectError]) -> String {
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}
