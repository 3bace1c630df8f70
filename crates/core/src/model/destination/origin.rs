//! Origins (RFC 6454): scheme, host and port. Values travel over TLS only, so the scheme is always
//! `https`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Invalid;

const SCHEME: &str = "https://";
/// The port of `https`.
const PORT: u16 = 443;

/// A host in its one canonical spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name: lower-case ASCII, without a dot at the end
    Name(String),
    /// An address
    Address(IpAddr),
}

impl Host {
    const LONGEST: usize = 253;
    const LONGEST_LABEL: usize = 63;

    /// Parses a name or an address, an IPv6 address in brackets. Refuses spellings that programs
    /// read in different ways, such as `0177.1` and `127.1`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
            let address = address.ok_or_else(|| Invalid::new("it is not an IPv6 address"))?;
            return Ok(Self::Address(IpAddr::V6(address)));
        }

        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if !name.is_ascii() {
            return Err(Invalid::new(
                "the host has letters outside of ASCII; write its `xn--` form",
            ));
        }

        // A name whose last label is a number is an address in some programs (WHATWG URL, "ends in
        // a number").
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
        if is_number {
            let address = name.parse::<Ipv4Addr>();
            let address = address.map_err(|_| Invalid::new("the host is not a valid address"))?;
            return Ok(Self::Address(IpAddr::V4(address)));
        }

        let is_label = |label: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !label.is_empty()
                && label.len() <= Self::LONGEST_LABEL
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };

        if name.len() > Self::LONGEST || !name.split('.').all(is_label) {
            return Err(Invalid::new("the host is not a valid name"));
        }

        Ok(Self::Name(name))
    }

    /// Returns the name, or `None` for an address.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

/// Formats the host as in a URL.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// The origin of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The host
    pub host: Host,
    /// The port
    pub port: u16,
}

impl Origin {
    /// Parses `https://HOST` or `https://HOST:PORT`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (host, port) = split(text)?;
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// Parses `HOST` or `HOST:PORT`, as the header `Host` and a CONNECT request have it.
    pub fn parse_authority(text: &str) -> Result<Self, Invalid> {
        let (host, port) = split_port(text)?;
        Ok(Self { host: Host::parse(host)?, port: port.unwrap_or(PORT) })
    }

    /// Returns the host and the port, for the header `Host` (RFC 9110, section 7.2).
    pub fn authority(&self) -> String {
        match self.port {
            PORT => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.authority())
    }
}

/// The hosts of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// One host
    Exact(Host),
    /// Every host one label below this name, as in `*.example.com`
    Below(String),
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let Some(parent) = text.strip_prefix("*.") else {
            if text.contains('*') {
                return Err(Invalid::new("`*` can only stand for the first label of a host"));
            }

            return Host::parse(text).map(Self::Exact);
        };

        match Host::parse(parent)? {
            Host::Name(name) if name.contains('.') => Ok(Self::Below(name)),
            _ => Err(Invalid::new("`*` needs a domain of at least two labels after it")),
        }
    }

    /// Returns true if the pattern matches this host.
    pub fn contains(&self, host: &Host) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::Below(parent) => {
                let label = host.name().and_then(|name| name.strip_suffix(parent.as_str()));
                let label = label.and_then(|rest| rest.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        match self {
            Self::Exact(host) => other.contains(host),
            Self::Below(_) => self == other,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// The origins of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    /// The hosts
    pub host: HostPattern,
    /// The port
    pub port: u16,
}

impl OriginPattern {
    /// Parses an origin whose host may begin with `*.`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (host, port) = split(text)?;
        Ok(Self { host: HostPattern::parse(host)?, port })
    }

    /// Returns true if the pattern matches this origin.
    pub fn contains(&self, origin: &Origin) -> bool {
        self.port == origin.port && self.host.contains(&origin.host)
    }

    /// Returns true if every origin of this pattern is one of `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.port == other.port && self.host.is_within(&other.host)
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.host)?;
        if self.port == PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Splits an origin into host and port.
fn split(text: &str) -> Result<(&str, u16), Invalid> {
    let is_https = text.get(..SCHEME.len()).is_some_and(|s| s.eq_ignore_ascii_case(SCHEME));
    if !is_https {
        return Err(Invalid::new(
            "it does not begin with `https://`; a value is never sent without TLS",
        ));
    }

    let (host, port) = split_port(&text[SCHEME.len()..])?;
    Ok((host, port.unwrap_or(PORT)))
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), Invalid> {
    if text.contains('@') {
        return Err(Invalid::new("it contains a user name"));
    }

    let bracket = text.find(']').unwrap_or(0);
    let Some(colon) = text[bracket..].find(':').map(|at| bracket + at) else {
        return Ok((text, None));
    };

    let digits = &text[colon + 1..];
    let port = digits.parse().ok().filter(|port| *port > 0);
    match port.filter(|_| digits.bytes().all(|b| b.is_ascii_digit())) {
        Some(port) => Ok((&text[..colon], Some(port))),
        None => Err(Invalid::new("the port is not a number from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        let host = |text| Host::parse(text).unwrap().to_string();
        assert_eq!(host("API.Example.com."), "api.example.com");
        assert_eq!(host("localhost"), "localhost");
        assert_eq!(host("127.0.0.1"), "127.0.0.1");
        assert_eq!(host("[0:0::1]"), "[::1]");
        assert_eq!(host("_dmarc.example.com"), "_dmarc.example.com");

        for bad in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "a b",
            "a/b",
            "exämple.com",
            "0177.1",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "1.2.3.0x4",
            "1.2.3.4.5",
            "256.1.1.1",
            "[::1",
            "[::1%eth0]",
            "[127.0.0.1]",
            "::1",
            "*",
            "a.*.b",
        ] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }

        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&["abcdefghi"; 26].join(".")).is_err());
    }

    #[test]
    fn origins_have_a_port() {
        let origin = |text| Origin::parse(text).unwrap();
        assert_eq!(origin("HTTPS://a.example:443").to_string(), "https://a.example");
        assert_eq!(origin("https://a.example:8443").authority(), "a.example:8443");
        assert_eq!(origin("https://[::1]:8443").to_string(), "https://[::1]:8443");
        assert_eq!(Origin::parse_authority("A.example:443"), Ok(origin("https://a.example")));

        for bad in [
            "a.example",
            "http://a.example",
            "https://",
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "https://a:+1",
            "https://user@a",
            "https://a:1:2",
            "ftp://a",
            "https:/a",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_is_one_label() {
        let pattern = |text| OriginPattern::parse(text).unwrap();
        let contains =
            |origin| pattern("https://*.example.com").contains(&Origin::parse(origin).unwrap());
        assert!(contains("https://a.example.com"));
        for other in [
            "https://example.com",
            "https://a.b.example.com",
            "https://aexample.com",
            "https://a.example.com:8443",
            "https://a.example.org",
            "https://127.0.0.1",
        ] {
            assert!(!contains(other), "{other}");
        }

        for bad in [
            "https://*",
            "https://*.com",
            "https://a.*.com",
            "https://*a.example.com",
            "https://*.1.2.3.4",
        ] {
            assert!(OriginPattern::parse(bad).is_err(), "{bad}");
        }

        let wide = pattern("https://*.example.com");
        assert!(pattern("https://a.example.com").is_within(&wide) && wide.is_within(&wide));
        assert!(!wide.is_within(&pattern("https://a.example.com")));
        assert!(!pattern("https://*.a.example.com").is_within(&wide));
    }
}
