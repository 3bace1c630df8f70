//! The settings of a connection: from a URL, then from variables, then the defaults.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::certificates::{Paths, load_client, load_roots};
use super::{
    Address, AddressError, DEFAULT_PORT, DEFAULT_TIMEOUT, Files, Host, MAX_ENCODED, MAX_HOSTS,
    MAX_PASSWORD, MAX_URL, Transport, is_printable,
};

/// Parameters that libpq knows and we do not support. An error may name them.
const UNSUPPORTED: [&str; 27] = [
    "application_name",
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "options",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "service",
    "ssl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcompression",
    "sslcrl",
    "sslnegotiation",
    "sslpassword",
    "tcp_user_timeout",
];

/// Why modes other than `verify-full` and `disable` are refused.
const REFUSED_MODES: [(&str, &str); 4] = [
    ("verify-ca", "does not check the server's name"),
    ("require", "does not verify the server's certificate"),
    ("prefer", "continues without TLS if the server does not offer it"),
    ("allow", "uses TLS only if the server insists on it"),
];

/// The settings of a URL and the variables. An empty value counts as none.
#[derive(Default)]
pub(super) struct Settings {
    hosts: Option<String>,
    ports: Option<String>,
    user: Option<String>,
    database: Option<String>,
    ssl_mode: Option<String>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    connect_timeout: Option<String>,
    session_attributes: Option<String>,
    channel_binding: Option<String>,
    home: Option<String>,
}

impl Settings {
    /// Sets a parameter of the URL.
    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), AddressError> {
        let setting = match name {
            "host" => &mut self.hosts,
            "port" => &mut self.ports,
            "user" => &mut self.user,
            "dbname" => &mut self.database,
            "sslmode" => &mut self.ssl_mode,
            "sslrootcert" => &mut self.roots,
            "sslcert" => &mut self.certificate,
            "sslkey" => &mut self.key,
            "connect_timeout" => &mut self.connect_timeout,
            "target_session_attrs" => &mut self.session_attributes,
            "channel_binding" => &mut self.channel_binding,
            "password" => return Err(AddressError::Password),
            _ => {
                let known = UNSUPPORTED.into_iter().find(|unsupported| *unsupported == name);
                return Err(AddressError::Parameter(known));
            }
        };

        if !value.is_empty() {
            *setting = Some(value);
        }

        Ok(())
    }

    /// Fills what the URL has left out.
    pub(super) fn fill_from(
        &mut self,
        variables: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), AddressError> {
        let names: [(&[&'static str], _); 8] = [
            (&["PGHOST"], &mut self.hosts),
            (&["PGPORT"], &mut self.ports),
            (&["PGUSER", "USER", "LOGNAME"], &mut self.user),
            (&["PGDATABASE"], &mut self.database),
            (&["PGSSLROOTCERT"], &mut self.roots),
            (&["PGSSLCERT"], &mut self.certificate),
            (&["PGSSLKEY"], &mut self.key),
            (&["HOME"], &mut self.home),
        ];

        for (names, setting) in names {
            for name in names {
                if setting.is_none() {
                    *setting = variable(name, variables)?;
                }
            }
        }

        Ok(())
    }

    /// Checks the settings, and reads the certificates.
    pub(super) fn build(self, files: &dyn Files) -> Result<Address, AddressError> {
        let hosts = hosts(self.hosts.as_deref(), self.ports.as_deref())?;
        let user = self.user.ok_or(AddressError::NoUser)?;
        let database = self.database.unwrap_or_else(|| user.clone());
        let connect_timeout = timeout(self.connect_timeout.as_deref())?;

        if self.session_attributes.is_some_and(|value| value != "read-write") {
            return Err(AddressError::SessionAttributes);
        }

        let is_tls = wants_tls(self.ssl_mode.as_deref())? && !hosts.iter().all(Host::is_socket);
        match self.channel_binding.as_deref() {
            Some("require") if !is_tls => return Err(AddressError::BindingWithoutTls),
            None | Some("require" | "prefer") => {}
            Some(_) => return Err(AddressError::ChannelBinding),
        }

        let mut transport = Transport::Plain;
        if is_tls {
            let paths = Paths {
                roots: self.roots,
                certificate: self.certificate.map(PathBuf::from),
                key: self.key.map(PathBuf::from),
                home: self.home.map(PathBuf::from),
            };
            let roots = load_roots(&paths, files)?;
            transport = Transport::Tls { roots, client: load_client(&paths, files)? };
        }

        let address = Address { hosts, user, database, transport, password: None, connect_timeout };
        // A password has its own length of 4 bytes in front.
        if address.encode().len() + 4 + MAX_PASSWORD > MAX_ENCODED {
            return Err(AddressError::Size);
        }

        Ok(address)
    }
}

/// Returns a variable that is not empty.
pub(super) fn variable(
    name: &'static str,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, AddressError> {
    let Some(value) = variables(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };

    match (is_printable(&value), value.len() <= MAX_URL) {
        (true, true) => Ok(Some(value)),
        (false, _) => Err(AddressError::Control(Some(name))),
        (_, false) => Err(AddressError::TooLong),
    }
}

/// Joins the lists of hosts and of ports. One port is for all hosts. An empty one is the default.
fn hosts(hosts: Option<&str>, ports: Option<&str>) -> Result<Vec<Host>, AddressError> {
    let hosts: Vec<&str> = hosts.ok_or(AddressError::NoHost)?.split(',').collect();
    let ports: Vec<&str> = ports.unwrap_or_default().split(',').collect();
    if hosts.len() > MAX_HOSTS {
        return Err(AddressError::TooManyHosts);
    }
    if hosts.iter().all(|host| host.is_empty()) {
        return Err(AddressError::NoHost);
    }
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(AddressError::Ports { ports: ports.len(), hosts: hosts.len() });
    }

    let mut checked = Vec::with_capacity(hosts.len());
    for (host, port) in hosts.into_iter().zip(ports.into_iter().cycle()) {
        if host.is_empty() {
            return Err(AddressError::EmptyHost);
        }

        let port = match port {
            "" => DEFAULT_PORT,
            port => number(port).filter(|port| *port != 0).ok_or(AddressError::Port)?,
        };
        let name = match host.parse::<Ipv6Addr>() {
            Ok(address) => address.to_string(),
            Err(_) => host.to_owned(),
        };
        checked.push(Host::new(name, port).ok_or(AddressError::Host)?);
    }

    Ok(checked)
}

fn timeout(seconds: Option<&str>) -> Result<Duration, AddressError> {
    let Some(seconds) = seconds else { return Ok(DEFAULT_TIMEOUT) };

    match number(seconds) {
        Some(seconds @ 1..=600) => Ok(Duration::from_secs(seconds.into())),
        _ => Err(AddressError::Value {
            name: "connect_timeout",
            expected: "a number of seconds from 1 to 600",
        }),
    }
}

/// Reads digits and nothing else. The standard library accepts a `+` in front.
fn number(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

fn wants_tls(mode: Option<&str>) -> Result<bool, AddressError> {
    let mode = match mode {
        None | Some("verify-full") => return Ok(true),
        Some("disable") => return Ok(false),
        Some(mode) => mode,
    };

    match REFUSED_MODES.into_iter().find(|(refused, _)| *refused == mode) {
        Some((mode, why)) => Err(AddressError::SslMode { mode, why }),
        None => {
            Err(AddressError::Value { name: "sslmode", expected: "`verify-full` or `disable`" })
        }
    }
}
