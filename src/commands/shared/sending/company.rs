//! A proxy of a company, which the environment names.

use base64ct::{Base64, Encoding as _};
use secrets_mask::encode;
use secrets_project::setup::ProxySettings;
use secrets_proxy::net::{Bypass, CompanyProxy};

use crate::config::Environment;
use crate::error::Error;

/// Returns the proxy that HTTPS_PROXY names, unless the settings say not to use it.
pub(crate) fn company_proxy_for(
    settings: Option<&ProxySettings>,
) -> Result<Option<CompanyProxy>, Error> {
    if settings.is_some_and(|settings| settings.ignores_company) {
        return Ok(None);
    }

    company_proxy()
}

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
        let plain = encode::unpercent(credentials.as_bytes());
        format!("Basic {}", Base64::encode_string(plain.expose()))
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
