//! `Address`: where a vault on a server is, and how to log in there.
//!
//! * [`Address::parse`]: reads a URL like libpq's, with the variables and files that libpq uses
//! * [`Address::password_from`]: finds the password in a variable or in the password file
//! * [`Address::encode`] and [`Address::decode`]: the form that the caller seals in a file
//!
//! Nothing here reads the environment. The caller passes it in, and files are read through
//! [`Files`].

mod certificates;
mod error;
mod files;
mod password_file;
mod settings;
mod stored;
mod url;

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::ServerName;
use secrets_core::model::SecretBytes;

pub(crate) use certificates::{parse_certificates, parse_key};
pub use error::AddressError;
pub use files::{FileContent, Files, Readers, SystemFiles};

/// The maximum number of hosts.
pub const MAX_HOSTS: usize = 16;
/// The maximum size of a file with certificates or with a key, in bytes.
pub const MAX_PEM: usize = 32 * 1024;
/// The maximum size of an encoded address, in bytes.
pub const MAX_ENCODED: usize = 64 * 1024;
/// The maximum length of a password, in bytes.
pub const MAX_PASSWORD: usize = 1024;
/// The maximum length of a URL, and of each of its decoded parts, in bytes.
pub const MAX_URL: usize = 8 * 1024;

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// The characters that a displayed URL escapes.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a vault on a server is, and how to log in there. It contains the certificates themselves,
/// not their paths.
pub struct Address {
    hosts: Vec<Host>,
    user: String,
    database: String,
    transport: Transport,
    password: Option<SecretBytes>,
    connect_timeout: Duration,
}

/// A server's name and port, or the directory and the number of its Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: u16,
}

/// How bytes reach a server that has a name or an IP address. A Unix socket never uses TLS.
pub enum Transport {
    /// TLS. The server's name and certificate are verified
    Tls {
        /// The authorities that sign the server's certificate
        roots: Roots,
        /// Our own certificate, if the server verifies one
        client: Option<ClientCertificate>,
    },
    /// No TLS, because the URL says `sslmode=disable` or all hosts are Unix sockets
    Plain,
}

/// The authorities that sign the server's certificate.
#[derive(Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of the system, or of `SSL_CERT_FILE`
    System,
    /// Those in this PEM
    Pem(Vec<u8>),
}

/// Our certificate with the chain to its authority, and its key. Both are PEM.
pub struct ClientCertificate {
    chain: Vec<u8>,
    key: SecretBytes,
}

impl Address {
    /// Reads a URL in libpq's format: `postgres://user@host:5432,host2:5433/database?sslmode=…`.
    ///
    /// Variables fill what the URL leaves out: `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE`,
    /// `PGSSLROOTCERT`, `PGSSLCERT` and `PGSSLKEY`, then `USER` or `LOGNAME` for the user.
    /// Certificates default to the files in `~/.postgresql`. `PGSSLMODE` is not read: no variable
    /// turns TLS off.
    ///
    /// A URL with a password is refused. No error repeats a part of the URL, because it may be a
    /// password with unescaped characters.
    pub fn parse(
        url: &str,
        files: &dyn Files,
        variables: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, AddressError> {
        let mut settings = settings::Settings::default();
        for (name, value) in url::split(url)? {
            settings.set(&name, value)?;
        }

        settings.fill_from(variables)?;
        settings.build(files)
    }

    /// Returns the hosts in the order in which they are tried: 1 to 16.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns the role that logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns how bytes reach the server.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Returns the password, if it is known.
    pub fn password(&self) -> Option<&SecretBytes> {
        self.password.as_ref()
    }

    /// Returns how long one attempt to connect and log in may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Removes the password and our own certificate, which belong to one machine.
    #[must_use]
    pub fn without_login(self) -> Self {
        let transport = match self.transport {
            Transport::Tls { roots, .. } => Transport::Tls { roots, client: None },
            Transport::Plain => Transport::Plain,
        };
        Self { password: None, transport, ..self }
    }

    /// Removes the password.
    #[must_use]
    pub fn without_password(self) -> Self {
        Self { password: None, ..self }
    }

    /// Sets the password, which has 1 to 1,024 bytes and no zero byte.
    pub fn with_password(self, password: SecretBytes) -> Result<Self, AddressError> {
        check_password(&password)?;
        Ok(Self { password: Some(password), ..self })
    }

    /// Finds the password in `PGPASSWORD` or, by libpq's rules, in the file that `PGPASSFILE` names
    /// or in `~/.pgpass`. Returns `None` if neither has one.
    ///
    /// A password file that other users can read is an error. libpq prints a warning and ignores
    /// it.
    pub fn password_from(
        &self,
        files: &dyn Files,
        variables: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<SecretBytes>, AddressError> {
        let found = match variables("PGPASSWORD").filter(|password| !password.is_empty()) {
            Some(password) => Some(SecretBytes::from_vec(password.into_bytes())),
            None => password_file::find(self, files, variables)?,
        };

        if let Some(password) = &found {
            check_password(password)?;
        }

        Ok(found)
    }

    /// Returns the URL for messages, without the password and the certificates. Control characters
    /// cannot occur in it.
    pub fn display(&self) -> String {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let hosts: Vec<String> = self.hosts.iter().map(Host::in_url).collect();
        let mut url = format!(
            "postgres://{}@{}/{}",
            escaped(&self.user),
            hosts.join(","),
            escaped(&self.database)
        );

        let mut parameters = Vec::new();
        let is_named = self.hosts.iter().any(|host| !host.is_socket());
        if is_named && matches!(self.transport, Transport::Plain) {
            parameters.push("sslmode=disable".to_owned());
        }
        if self.connect_timeout != DEFAULT_TIMEOUT {
            parameters.push(format!("connect_timeout={}", self.connect_timeout.as_secs()));
        }
        if !parameters.is_empty() {
            url.push('?');
            url.push_str(&parameters.join("&"));
        }

        url
    }

    /// Returns true if user and database are names and the number of hosts and the timeout are
    /// within their bounds.
    fn is_within_bounds(&self) -> bool {
        let is_name = |text: &str| !text.is_empty() && text.len() <= MAX_URL && is_printable(text);

        is_name(&self.user)
            && is_name(&self.database)
            && (1..=MAX_HOSTS).contains(&self.hosts.len())
            && (Duration::from_secs(1)..=MAX_TIMEOUT).contains(&self.connect_timeout)
            && self.password.as_ref().is_none_or(|password| check_password(password).is_ok())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.display())
    }
}

impl Host {
    /// Checks a name, an IP address in its shortest form (RFC 5952) or the absolute path of a socket's
    /// directory, which has no comma, because commas separate hosts.
    fn new(name: String, port: u16) -> Option<Self> {
        let is_valid = if name.starts_with('/') {
            name.len() <= MAX_URL && is_printable(&name) && !name.contains(',')
        } else {
            let is_shortest = |address: Ipv6Addr| address.to_string() == name;
            ServerName::try_from(name.as_str()).is_ok()
                && name.parse::<Ipv6Addr>().ok().is_none_or(is_shortest)
        };
        (is_valid && port != 0).then_some(Self { name, port })
    }

    /// Returns the name, the IP address without brackets, or the path of the socket's directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the port. It is part of a Unix socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns true for a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    /// Returns the path of the Unix socket, if this is one.
    pub fn socket(&self) -> Option<PathBuf> {
        self.is_socket().then(|| Path::new(&self.name).join(format!(".s.PGSQL.{}", self.port)))
    }

    fn in_url(&self) -> String {
        let name = match self.name.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => utf8_percent_encode(&self.name, ESCAPED).to_string(),
        };

        match self.port {
            DEFAULT_PORT => name,
            port => format!("{name}:{port}"),
        }
    }
}

/// The form for messages: `db.example:5432`, `[::1]:5432` or `/run/postgresql/.s.PGSQL.5432`.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket() {
            Some(path) => write!(f, "{}", path.display()),
            None if self.name.contains(':') => write!(f, "[{}]:{}", self.name, self.port),
            None => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl ClientCertificate {
    /// Returns the PEM of the certificate and of the chain to its authority.
    pub fn chain(&self) -> &[u8] {
        &self.chain
    }

    /// Returns the PEM of the private key.
    pub fn key(&self) -> &SecretBytes {
        &self.key
    }
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn check_password(password: &SecretBytes) -> Result<(), AddressError> {
    let bytes = password.expose();
    if !(1..=MAX_PASSWORD).contains(&bytes.len()) || bytes.contains(&0) {
        return Err(AddressError::UnusablePassword);
    }

    Ok(())
}

#[cfg(test)]
mod tests;
