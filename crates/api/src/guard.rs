//! Refuses requests that come from web pages or are meant for another server.
//!
//! A page that a browser shows can send requests to this machine, also under a name of its own that
//! resolves to it (DNS rebinding). Such a request names that host or has an `Origin`.

use hyper::Version;
use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;

use crate::reply::Failure;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names of this machine in a `Host` header.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Fails unless a request is meant for the server at `port`, and is not of a web page. At a Unix
/// socket, `port` is `None`, and every port is right.
pub(crate) fn check(parts: &Parts, port: Option<u16>) -> Result<(), Failure> {
    if parts.version > Version::HTTP_11 || parts.version < Version::HTTP_10 {
        return Err(Failure::bad_request("the API speaks HTTP/1.1"));
    }

    let host =
        only(&parts.headers, &HOST)?.ok_or_else(|| Failure::bad_request("`Host` is missing"))?;
    let authority = parts.uri.authority().map(hyper::http::uri::Authority::as_str);
    if [Some(host), authority].into_iter().flatten().any(|host| !is_this_machine(host, port)) {
        return Err(Failure::misdirected(
            "`Host` names another server; use `127.0.0.1` with the port",
        ));
    }

    let is_of_a_page = parts.headers.contains_key(ORIGIN)
        || only(&parts.headers, &SEC_FETCH_SITE)?.is_some_and(|site| site != "none");
    if is_of_a_page {
        return Err(Failure::forbidden("the API does not serve web pages"));
    }

    Ok(())
}

/// Returns the value of a header that may stand once.
pub(crate) fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().unwrap_or("\u{fffd}"));
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Failure::bad_request(format!("the request has more than one `{name}`"))),
    }
}

fn is_this_machine(host: &str, port: Option<u16>) -> bool {
    let host = host.to_ascii_lowercase();
    NAMES.iter().any(|name| {
        let Some(rest) = host.strip_prefix(name) else { return false };
        let named = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            None if rest.is_empty() => Some(80),
            _ => None,
        };
        named.is_some_and(|named: u16| port.is_none_or(|port| port == named))
    })
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn checked(port: Option<u16>, uri: &str, headers: &[(&str, &str)]) -> Result<(), u16> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }

        check(&request.body(()).unwrap().into_parts().0, port)
            .map_err(|failure| failure.status.as_u16())
    }

    #[test]
    fn the_host_is_this_machine_with_this_port() {
        for host in ["127.0.0.1:7718", "localhost:7718", "[::1]:7718", "LOCALHOST:7718"] {
            assert_eq!(checked(Some(7718), "/", &[("host", host)]), Ok(()), "{host}");
        }

        for host in [
            "",
            "localhost",
            "localhost:",
            "localhost:80",
            "localhost:07718x",
            "localhost:+7718",
            "example.com",
            "example.com:7718",
            "localhost.example.com:7718",
            "127.0.0.1.example.com:7718",
            "127.0.0.2:7718",
            "user@localhost:7718",
            "::1:7718",
            "localhost:7718, localhost:7718",
        ] {
            assert_eq!(checked(Some(7718), "/", &[("host", host)]), Err(421), "{host}");
        }

        assert_eq!(checked(Some(80), "/", &[("host", "localhost")]), Ok(()));
        assert_eq!(checked(Some(7718), "/", &[]), Err(400));
        let two = [("host", "localhost:7718"), ("host", "localhost:7718")];
        assert_eq!(checked(Some(7718), "/", &two), Err(400));
        let (inside, host) = ("http://example.com:7718/", [("host", "localhost:7718")]);
        assert_eq!(checked(Some(7718), inside, &host), Err(421));
    }

    #[test]
    fn at_a_socket_every_port_of_this_machine_is_right() {
        for host in ["localhost", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(checked(None, "/", &[("host", host)]), Ok(()), "{host}");
        }

        assert_eq!(checked(None, "/", &[("host", "example.com")]), Err(421));
        assert_eq!(checked(None, "/", &[("host", "localhost:65536")]), Err(421));
    }

    #[test]
    fn requests_of_web_pages_are_refused() {
        let host = ("host", "localhost:1");
        for (header, allowed) in [
            (("origin", "https://example.com"), false),
            (("origin", "null"), false),
            (("origin", "http://localhost:1"), false),
            (("sec-fetch-site", "cross-site"), false),
            (("sec-fetch-site", "same-origin"), false),
            (("sec-fetch-site", "none"), true),
        ] {
            let expected = if allowed { Ok(()) } else { Err(403) };
            assert_eq!(checked(Some(1), "/", &[host, header]), expected, "{header:?}");
        }
    }
}
