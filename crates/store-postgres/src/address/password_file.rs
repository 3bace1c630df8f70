//! The password file, by the rules of `passwordFromFile` in libpq's `fe-connect.c`.

use std::path::PathBuf;

use secrets_core::model::SecretBytes;

use super::settings::variable;
use super::{Address, AddressError, Files, Host, Readers};

/// The maximum size of a password file, in bytes.
const MAX_FILE: usize = 1024 * 1024;

/// The directories that libpq is built with for its default socket: those of the distributions, and
/// PostgreSQL's own. A line for `localhost` matches a socket in one of them.
const SOCKET_DIRECTORIES: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// Finds the password of an address. For several hosts, all lines that match must have the same
/// one.
pub(super) fn find(
    address: &Address,
    files: &dyn Files,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<SecretBytes>, AddressError> {
    let path = match variable("PGPASSFILE", variables)? {
        Some(path) => PathBuf::from(path),
        None => match variable("HOME", variables)? {
            Some(home) => PathBuf::from(home).join(".pgpass"),
            None => return Ok(None),
        },
    };

    let Some(file) =
        files.read(&path, MAX_FILE).map_err(|error| AddressError::read(&path, &error))?
    else {
        return Ok(None);
    };
    if file.readers != Readers::Owner {
        return Err(AddressError::NotPrivate(path));
    }

    let mut found: Option<SecretBytes> = None;
    for host in &address.hosts {
        let Some(password) = find_for_host(file.bytes.expose(), host, address) else { continue };
        if found.as_ref().is_some_and(|found| found.expose() != password.expose()) {
            return Err(AddressError::DifferentPasswords(path));
        }

        found = Some(password);
    }

    Ok(found.filter(|password| !password.is_empty()))
}

/// Returns the password of the first line that matches. It may be empty.
fn find_for_host(file: &[u8], host: &Host, address: &Address) -> Option<SecretBytes> {
    let port = host.port.to_string();
    let is_default = SOCKET_DIRECTORIES.contains(&host.name.as_str());
    let names = [Some(host.name.as_str()), is_default.then_some("localhost")];

    for line in file.split(|byte| *byte == b'\n') {
        let line = strip_line_end(line);
        if line.starts_with(b"#") {
            continue;
        }

        let fields = [port.as_str(), &address.database, &address.user];
        let after_host = names.iter().flatten().find_map(|name| skip_field(line, name));
        let password = fields.iter().fold(after_host, |rest, field| skip_field(rest?, field));
        if let Some(password) = password {
            return Some(unescape(password));
        }
    }

    None
}

/// Skips a field that matches and the `:` after it. `*` matches everything.
fn skip_field<'a>(line: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }

    let mut rest = line;
    let mut wanted = wanted.bytes();
    loop {
        let (&byte, after) = rest.split_first()?;
        if byte == b':' && wanted.len() == 0 {
            return Some(after);
        }

        let (byte, after) = match byte {
            b'\\' => after.split_first().map(|(byte, after)| (*byte, after))?,
            byte => (byte, after),
        };
        if wanted.next()? != byte {
            return None;
        }
        rest = after;
    }
}

/// Returns the password, which ends at a `:` without a backslash. A backslash at the end is one.
fn unescape(field: &[u8]) -> SecretBytes {
    let mut password = SecretBytes::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after.split_first()) {
            (b':', _) => break,
            (b'\\', Some((&escaped, after))) => (escaped, after),
            (byte, _) => (byte, after),
        };
        password.push(byte);
        rest = after;
    }

    password
}

fn strip_line_end(mut line: &[u8]) -> &[u8] {
    while let Some(shorter) = line.strip_suffix(b"\r") {
        line = shorter;
    }

    line
}
