//! The part of a request in which a value may stand.

use std::fmt;

use super::Invalid;

/// A part of Basic credentials (RFC 7617).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasicPart {
    /// Before the colon
    User,
    /// After it
    Password,
}

/// The part of a request in which a value may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header, by its lower-case name. In `authorization`, also inside Basic credentials
    Header(String),
    /// A part of the Basic credentials in `authorization`
    Basic(BasicPart),
    /// A cookie, by its name
    Cookie(String),
    /// A parameter of the query, by its decoded name
    Query(String),
    /// Segments of the path
    Path,
    /// A field of a form in the body, by its decoded name
    Form(String),
    /// A string in a JSON body, by its JSON Pointer (RFC 6901)
    Json(String),
    /// Anywhere in the body. The proxy does not look for placeholders there; `request` does
    Body,
    /// A string in the JSON text frames that a client sends over a WebSocket, by its JSON Pointer
    WebSocket(String),
    /// Not sent at all: signs the request (AWS Signature Version 4)
    Signature,
}

/// Headers that decide where a request goes or how it is framed, so no value stands in them.
const FRAMING: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Returns true for a header, by its lower-case name, that decides where a request goes or how it is
/// framed.
pub fn is_framing_header(name: &str) -> bool {
    FRAMING.contains(&name)
}

impl Place {
    const LONGEST: usize = 256;

    /// Parses a place such as `header:x-api-key`. `header:` takes the name in any case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (kind, name) =
            text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        let place = match (kind, name) {
            ("header", Some(name)) => Self::Header(header_name(name)?),
            ("basic", Some("user")) => Self::Basic(BasicPart::User),
            ("basic", Some("password")) => Self::Basic(BasicPart::Password),
            ("cookie", Some(name)) => Self::Cookie(cookie_name(name)?),
            ("query", Some(name)) => Self::Query(free_text(name)?),
            ("path", None) => Self::Path,
            ("form", Some(name)) => Self::Form(free_text(name)?),
            ("json", Some(pointer)) => Self::Json(pointer_text(pointer)?),
            ("body", None) => Self::Body,
            ("ws", Some(pointer)) => Self::WebSocket(pointer_text(pointer)?),
            ("sigv4", None) => Self::Signature,
            _ => {
                return Err(Invalid::new(
                    "a place is `header:NAME`, `basic:password`, `basic:user`, `cookie:NAME`, \
                     `query:NAME`, `path`, `form:NAME`, `json:/POINTER`, `body`, `ws:/POINTER` or \
                     `sigv4`",
                ));
            }
        };

        Ok(place)
    }

    /// Returns the place of a destination for which none was given.
    pub fn authorization() -> Self {
        Self::Header("authorization".into())
    }

    /// Returns true if a value that may stand in `other` may stand here.
    pub fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Basic(_), Self::Header(name)) => name == "authorization",
            (Self::Form(_) | Self::Json(_), Self::Body) => true,
            _ => self == other,
        }
    }

    /// Returns true if a value stands in the head of a request here, so that it must not have
    /// characters that end a header.
    pub fn is_in_header(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Cookie(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Basic(BasicPart::User) => f.write_str("basic:user"),
            Self::Basic(BasicPart::Password) => f.write_str("basic:password"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Path => f.write_str("path"),
            Self::Form(name) => write!(f, "form:{name}"),
            Self::Json(pointer) => write!(f, "json:{pointer}"),
            Self::Body => f.write_str("body"),
            Self::WebSocket(pointer) => write!(f, "ws:{pointer}"),
            Self::Signature => f.write_str("sigv4"),
        }
    }
}

/// Returns true for a character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn header_name(text: &str) -> Result<String, Invalid> {
    let name = text.to_ascii_lowercase();
    if name.is_empty() || name.len() > Place::LONGEST || !name.bytes().all(is_token) {
        return Err(Invalid::new("this is not the name of a header"));
    }

    let is_cookie = name == "cookie";
    if is_cookie || is_framing_header(&name) {
        let instead = if is_cookie { "; use `cookie:NAME`" } else { "" };
        return Err(Invalid::new(format!("a value cannot stand in the header `{name}`{instead}")));
    }

    Ok(name)
}

fn cookie_name(text: &str) -> Result<String, Invalid> {
    if text.is_empty() || text.len() > Place::LONGEST || !text.bytes().all(is_token) {
        return Err(Invalid::new("this is not the name of a cookie"));
    }

    Ok(text.to_owned())
}

fn free_text(text: &str) -> Result<String, Invalid> {
    if text.is_empty() || text.len() > Place::LONGEST || text.chars().any(super::super::is_hostile)
    {
        return Err(Invalid::new(
            "a name of 1 to 256 bytes without control characters is expected",
        ));
    }

    Ok(text.to_owned())
}

fn pointer_text(text: &str) -> Result<String, Invalid> {
    let text = free_text(text)?;
    let is_escaped = |part: &str| part.starts_with(['0', '1']);
    if !text.starts_with('/') || !text.split('~').skip(1).all(is_escaped) {
        return Err(Invalid::new("a JSON Pointer such as `/auth/token` is expected"));
    }

    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_round_trip() {
        for text in [
            "header:authorization",
            "header:x-api-key",
            "basic:user",
            "basic:password",
            "cookie:SID",
            "query:api key",
            "path",
            "form:client_secret",
            "json:/auth/~0a~1b",
            "body",
            "ws:/d/token",
            "sigv4",
        ] {
            assert_eq!(Place::parse(text).unwrap().to_string(), text);
        }

        assert_eq!(Place::parse("header:X-Api-Key").unwrap().to_string(), "header:x-api-key");
        for bad in [
            "",
            "header",
            "header:",
            "header:a b",
            "header:host",
            "header:Content-Length",
            "header:cookie",
            "basic",
            "basic:x",
            "cookie:a=b",
            "query:",
            "query:a\nb",
            "path:x",
            "json:a",
            "json:/~2",
            "json:",
            "form",
            "Header:x",
            "ws:",
            "ws",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn narrower_places_are_inside_wider_ones() {
        let within =
            |narrow, wide| Place::parse(narrow).unwrap().is_within(&Place::parse(wide).unwrap());
        assert!(within("basic:password", "header:authorization") && within("json:/a", "body"));
        assert!(within("path", "path") && within("form:a", "body"));
        assert!(!within("header:authorization", "basic:password") && !within("body", "json:/a"));
        assert!(!within("query:a", "query:b") && !within("basic:user", "header:x-api-key"));
    }
}
