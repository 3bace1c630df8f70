//! Splits a URL into settings, as libpq does (`conninfo_uri_parse_options` in `fe-connect.c`).

use super::{AddressError, MAX_URL, is_printable};

/// Returns names and decoded values in the order in which they apply. A later one replaces an
/// earlier one. `host` and `port` are lists with commas.
pub(super) fn split(url: &str) -> Result<Vec<(String, String)>, AddressError> {
    if url.len() > MAX_URL {
        return Err(AddressError::TooLong);
    }

    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or(AddressError::Scheme)?;

    let mut settings = Vec::new();
    let mut add = |name: &str, value: &str| {
        settings.push((decode(name)?, decode(value)?));
        Ok::<_, AddressError>(())
    };

    // The user ends at the first `@`, if no `/` precedes it. A `?` may.
    let rest = match rest.split_once(['@', '/']) {
        Some((user, after)) if rest.as_bytes()[user.len()] == b'@' => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            if !password.is_empty() {
                return Err(AddressError::Password);
            }

            add("user", user)?;
            after
        }
        _ => rest,
    };

    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (hosts, rest) = rest.split_at(end);
    let (hosts, ports) = split_hosts(hosts)?;
    add("host", &hosts)?;
    add("port", &ports)?;

    let (path, parameters) = match rest.split_once('?') {
        Some((path, parameters)) => (path, Some(parameters)),
        None => (rest, None),
    };
    let database = path.strip_prefix('/').unwrap_or(path);
    if database.contains('@') {
        return Err(AddressError::At);
    }
    add("dbname", database)?;

    for pair in parameters.unwrap_or_default().split_terminator('&') {
        let (name, value) = pair.split_once('=').ok_or(AddressError::Pair)?;
        if value.contains('=') {
            return Err(AddressError::Pair);
        }

        add(name, value)?;
    }

    Ok(settings)
}

/// Splits `host1:5432,[::1],host3:5433` into `host1,::1,host3` and `5432,,5433`.
fn split_hosts(list: &str) -> Result<(String, String), AddressError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for entry in list.split(',') {
        let (host, port) = match entry.strip_prefix('[') {
            Some(entry) => {
                let (host, port) = entry.split_once(']').ok_or(AddressError::Bracket)?;
                let is_valid = !host.is_empty() && (port.is_empty() || port.starts_with(':'));
                if !is_valid {
                    return Err(AddressError::Bracket);
                }

                (host, port.strip_prefix(':').unwrap_or_default())
            }
            None => entry.split_once(':').unwrap_or((entry, "")),
        };

        hosts.push(host);
        ports.push(port);
    }

    Ok((hosts.join(","), ports.join(",")))
}

/// Decodes `%` and two hexadecimal digits. A `+` remains one, as in libpq.
fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }

        let (digits, after) = rest.split_first_chunk::<2>().ok_or(AddressError::Percent)?;
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(AddressError::Percent);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        bytes.push(u8::try_from(value).map_err(|_| AddressError::Percent)?);
        rest = after;
    }

    let text = String::from_utf8(bytes).map_err(|_| AddressError::NotUtf8)?;
    if !is_printable(&text) {
        return Err(AddressError::Control(None));
    }

    Ok(text)
}
