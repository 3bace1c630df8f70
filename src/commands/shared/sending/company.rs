//! A proxy of a company, which the environment names.

use base64ct::{Base64, Encoding as _};
use secrets_proxy::net::{Bypass, CompanyProxy};

use crate::config::Environment;
use crate::error::Error;

/// Returns the proxy that HTTPS_PROXY names, or `None`.
pub(crate) fn company_proxy() -> Result<Option<CompanyProxy>, Error> {
    let Some((address, bypass)) = Environment::company_proxy() else { return Ok(None) };
    let bad = |why: &str| {
        Err(Error::usage(format!(
            "HTTPS_PROXY or ALL_PROXY is not the address of an HTTP proxy: {why}"
        ))
        .hint("write it as `http://HOST:PORT`, with `USER:PASSWORD@` if it needs that"))
    };

    let rest = match address.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return bad("only http:// is supported"),
        None => &address,
    };

    let rest = rest.trim_end_matches('/');
    let (credentials, host) =
        rest.rsplit_once('@').map_or((None, rest), |(before, host)| (Some(before), host));
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.ends_with(':') => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => return bad("its port is not a number"),
        },
        _ => (host, 80),
    };

    if host.is_empty() || host.contains('/') {
        return bad("it has no host");
    }

    let authorization = credentials.map(|credentials| {
        let plain = percent_decoded(credentials);
        format!("Basic {}", Base64::encode_string(&plain))
    });
    let authorization = authorization.map(|field| {
        let mut field = secrets_proxy::HeaderValue::from_str(&field).ok()?;
        field.set_sensitive(true);
        Some(field)
    });
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let bypass = Bypass::parse(&bypass);
    Ok(Some(CompanyProxy { host, port, authorization: authorization.flatten(), bypass }))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let escape = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match escape.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(escaped) => {
                out.push(escaped);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }

    out
}
