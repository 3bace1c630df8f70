//! The binary form of an address, which the caller seals in a file.
//!
//! ```text
//! version(1: 1) ‖ n(u32) ‖ n × ( name ‖ port(u16) ) ‖ user ‖ database
//!   ‖ connect_timeout(u32, seconds) ‖ transport(1: 0 plain, 1 TLS)
//!       TLS:  roots(1: 0 system, 1 PEM ‖ certificates) ‖ client(1: 0 none, 1 chain ‖ key)
//!   ‖ password(1: 0 none, 1 password)
//! ```
//!
//! Texts and bytes have their length in front (`secrets_core::codec`).

use std::time::Duration;

use secrets_core::codec::{Reader, length, prefixed};
use secrets_core::model::SecretBytes;

use super::{Address, ClientCertificate, Host, MAX_ENCODED, MAX_HOSTS, MAX_PEM, Roots, Transport};

const VERSION: u8 = 1;

impl Address {
    /// Returns the binary form, at most 64 KiB with the password and the client's key in it.
    pub fn encode(&self) -> SecretBytes {
        let mut bytes = SecretBytes::with_capacity(4096);
        bytes.push(VERSION);

        bytes.extend(&length(self.hosts.len()));
        for host in &self.hosts {
            add(&mut bytes, host.name.as_bytes());
            bytes.extend(&host.port.to_be_bytes());
        }

        add(&mut bytes, self.user.as_bytes());
        add(&mut bytes, self.database.as_bytes());
        // The timeout is at most 600 seconds.
        let seconds = u32::try_from(self.connect_timeout.as_secs()).unwrap_or(u32::MAX);
        bytes.extend(&seconds.to_be_bytes());

        match &self.transport {
            Transport::Plain => bytes.push(0),
            Transport::Tls { roots, client } => {
                bytes.push(1);
                let pem = match roots {
                    Roots::System => None,
                    Roots::Pem(pem) => Some(pem.as_slice()),
                };
                add_optional(&mut bytes, pem.into_iter());
                let client = client.as_ref().map(|client| [&client.chain, client.key.expose()]);
                add_optional(&mut bytes, client.into_iter().flatten());
            }
        }

        add_optional(&mut bytes, self.password.iter().map(SecretBytes::expose));
        bytes
    }

    /// Reads the binary form. Returns `None` if it is damaged, exceeds a bound or has a newer
    /// version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_ENCODED {
            return None;
        }

        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return None;
        }

        let count = usize::try_from(reader.u32()?).ok()?;
        if count > MAX_HOSTS {
            return None;
        }

        let mut hosts = Vec::with_capacity(count);
        for _ in 0..count {
            let name = text(&mut reader)?;
            let port = u16::from_be_bytes(reader.array()?);
            hosts.push(Host::new(name, port)?);
        }

        let user = text(&mut reader)?;
        let database = text(&mut reader)?;
        let connect_timeout = Duration::from_secs(reader.u32()?.into());
        let mut transport = Transport::Plain;
        if is_present(&mut reader)? {
            transport = read_tls(&mut reader)?;
        }

        let mut password = None;
        if is_present(&mut reader)? {
            password = Some(SecretBytes::copy_of(reader.prefixed()?));
        }

        let address = Self { hosts, user, database, transport, password, connect_timeout };
        address.is_within_bounds().then_some(())?;
        reader.finish(address)
    }
}

fn read_tls(reader: &mut Reader<'_>) -> Option<Transport> {
    let mut roots = Roots::System;
    if is_present(reader)? {
        roots = Roots::Pem(pem(reader)?.to_vec());
    }

    let mut client = None;
    if is_present(reader)? {
        let chain = pem(reader)?.to_vec();
        client = Some(ClientCertificate { chain, key: SecretBytes::copy_of(pem(reader)?) });
    }

    Some(Transport::Tls { roots, client })
}

fn add(bytes: &mut SecretBytes, part: &[u8]) {
    prefixed(&mut |piece| bytes.extend(piece), &[part]);
}

/// Adds a byte which says whether parts follow, and the parts.
fn add_optional<'a>(bytes: &mut SecretBytes, parts: impl Iterator<Item = &'a [u8]>) {
    let mut parts = parts.peekable();
    bytes.push(u8::from(parts.peek().is_some()));
    for part in parts {
        add(bytes, part);
    }
}

/// Reads a byte which says whether something follows.
fn is_present(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    std::str::from_utf8(reader.prefixed()?).ok().map(str::to_owned)
}

fn pem<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    reader.prefixed().filter(|pem| pem.len() <= MAX_PEM)
}
