//! Methods and paths, and the operations behind them.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;
use secrets_core::model::{Level, SecretBytes, SecretRef};
use secrets_core::vault::{NewSecret, SecretChanges};

use crate::body;
use crate::reply::Failure;

/// The description of this API (OpenAPI 3.0.1), with `{server}` in place of its address.
pub const OPENAPI: &str = include_str!("../openapi.json");

const SECRETS: &str = "/api/v1/secrets";
const DESCRIPTION: &str = "/api/v1/openapi.json";

/// The number of secrets on a page by default, and the largest.
const PAGE_SIZE: usize = 250;
const MAX_PAGE_SIZE: usize = 1000;

/// A path of the API, and what a method does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The description of the API
    Describe,
    /// One page of secrets
    List,
    /// A new secret
    Create,
    /// One secret
    Get,
    /// A change of a secret
    Update,
    /// Removal of a secret
    Delete,
}

impl Route {
    /// Finds the route of a request.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, Failure> {
        match (path, method.as_str()) {
            (DESCRIPTION, "GET") => Ok(Self::Describe),
            (DESCRIPTION, _) => Err(Failure::wrong_method("GET")),
            (SECRETS, "GET") => Ok(Self::List),
            (SECRETS, "POST") => Ok(Self::Create),
            (SECRETS, _) => Err(Failure::wrong_method("GET, POST")),
            (path, method) if named(path).is_some() => match method {
                "GET" => Ok(Self::Get),
                "PUT" => Ok(Self::Update),
                "DELETE" => Ok(Self::Delete),
                _ => Err(Failure::wrong_method("GET, PUT, DELETE")),
            },
            _ => Err(Failure::no_such_path()),
        }
    }

    /// Returns true if the request has a body.
    pub(crate) fn has_body(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }
}

/// Returns the last segment of the path of one secret.
fn named(path: &str) -> Option<&str> {
    let name = path.strip_prefix(SECRETS)?.strip_prefix('/')?;
    Some(name).filter(|name| !name.is_empty() && !name.contains('/'))
}

/// An operation on the project of a token.
pub(crate) enum Operation {
    /// One page of secrets
    List {
        /// Its number, from 0
        page: usize,
        /// The number of secrets on a page
        size: usize,
    },
    /// A new secret
    Create(NewSecret),
    /// One secret; `None` for a name that no secret can have
    Get(Option<SecretRef>),
    /// A change of a secret
    Update(Option<SecretRef>, SecretChanges),
    /// Removal of a secret
    Delete(Option<SecretRef>),
}

impl Operation {
    /// Reads an operation. `body` is empty for a route without one.
    pub(crate) fn read(
        route: Route,
        path: &str,
        query: Option<&str>,
        body: &SecretBytes,
    ) -> Result<Self, Failure> {
        let wanted = || {
            let name = percent_decode_str(named(path)?).decode_utf8().ok()?;
            name.parse::<SecretRef>().ok()
        };

        Ok(match route {
            Route::Describe => return Err(Failure::no_such_path()),
            Route::List => {
                let (page, size) = page(query.unwrap_or_default())?;
                Self::List { page, size }
            }
            Route::Create => Self::Create(body::new_secret(body)?),
            Route::Get => Self::Get(wanted()),
            Route::Update => Self::Update(wanted(), body::changes(body)?),
            Route::Delete => Self::Delete(wanted()),
        })
    }

    /// Returns the level that a token needs.
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::List { .. } | Self::Get(_) => Level::Read,
            Self::Create(_) | Self::Update(..) | Self::Delete(_) => Level::Manage,
        }
    }
}

/// Reads the number of a page and its size from a query. Other parameters are ignored.
fn page(query: &str) -> Result<(usize, usize), Failure> {
    let (mut page, mut size) = (None, None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        let (name, value): (Cow<str>, Cow<str>) = (decoded(name), decoded(value));
        let (wanted, least, most) = match &*name {
            "page" => (&mut page, 0, i32::MAX as usize),
            "pageSize" => (&mut size, 1, MAX_PAGE_SIZE),
            _ => continue,
        };

        let number = Some(&*value).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|text| text.parse().ok());
        let number = number.filter(|number| (least..=most).contains(number));
        match number {
            Some(_) if wanted.is_none() => *wanted = number,
            _ => {
                let message = format!("`{name}` must be one number from {least} to {most}");
                return Err(Failure::bad_request(message));
            }
        }
    }

    Ok((page.unwrap_or(0), size.unwrap_or(PAGE_SIZE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_method_and_a_path() {
        let find = |method: &str, path| {
            Route::find(&Method::from_bytes(method.as_bytes()).unwrap(), path)
                .map_err(|failure| failure.status.as_u16())
        };

        for (method, path, expected) in [
            ("GET", "/api/v1/openapi.json", Ok(Route::Describe)),
            ("GET", "/api/v1/secrets", Ok(Route::List)),
            ("POST", "/api/v1/secrets", Ok(Route::Create)),
            ("GET", "/api/v1/secrets/a", Ok(Route::Get)),
            ("PUT", "/api/v1/secrets/a", Ok(Route::Update)),
            ("DELETE", "/api/v1/secrets/%2F", Ok(Route::Delete)),
            ("HEAD", "/api/v1/secrets", Err(405)),
            ("QUERY", "/api/v1/secrets", Err(405)),
            ("OPTIONS", "/api/v1/secrets/a", Err(405)),
            ("get", "/api/v1/secrets/a", Err(405)),
            ("POST", "/api/v1/openapi.json", Err(405)),
            ("GET", "/api/v1/secrets/", Err(404)),
            ("GET", "/api/v1/secrets/a/b", Err(404)),
            ("GET", "/api/v1/secrets/a/", Err(404)),
            ("GET", "/api/v1/secretsa", Err(404)),
            ("GET", "//api/v1/secrets", Err(404)),
            ("GET", "/api/v1/./secrets", Err(404)),
            ("GET", "/", Err(404)),
            ("GET", "*", Err(404)),
        ] {
            assert_eq!(find(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_page_has_a_number_and_a_size() {
        let read = |query| page(query).map_err(|failure| failure.status.as_u16());
        for (query, expected) in [
            ("", Ok((0, 250))),
            ("page=3", Ok((3, 250))),
            ("pageSize=1000&page=2147483647", Ok((2_147_483_647, 1000))),
            ("p%61ge=%31", Ok((1, 250))),
            ("other=x&pageSize=1", Ok((0, 1))),
            ("page=", Err(400)),
            ("page", Err(400)),
            ("page=-1", Err(400)),
            ("page=+1", Err(400)),
            ("page=1.0", Err(400)),
            ("page=1&page=1", Err(400)),
            ("page=2147483648", Err(400)),
            ("page=99999999999999999999999", Err(400)),
            ("pageSize=0", Err(400)),
            ("pageSize=1001", Err(400)),
        ] {
            assert_eq!(read(query), expected, "{query}");
        }
    }

    #[test]
    fn a_name_is_decoded_once() {
        let read = |path: &str| {
            let body = SecretBytes::zeroed(0);
            match Operation::read(Route::Get, path, None, &body) {
                Ok(Operation::Get(wanted)) => wanted.map(|wanted| wanted.to_string()),
                _ => panic!("{path}"),
            }
        };

        assert_eq!(read("/api/v1/secrets/my%2Dkey"), Some("my-key".into()));
        assert_eq!(read("/api/v1/secrets/se0123456789abcdef"), Some("se0123456789abcdef".into()));
        for name in ["%252Da", "a%00", "a%2Fb", "%FF", "a b", "ä", "..", "a%"] {
            assert_eq!(read(&format!("/api/v1/secrets/{name}")), None, "{name}");
        }
    }
}
