//! Destinations: where a value may be sent, and in which part of a request.
//!
//! * `origin`: scheme, host and port, exact or for all hosts of a domain
//! * `path`: canonical paths, and patterns for them
//! * `place`: the part of a request
//!
//! A destination is a grant. It is stored with the secret, sealed and signed (docs/format.md,
//! section 4), so nobody who cannot open the value can add one.

mod origin;
mod path;
mod place;

use std::fmt;

pub use origin::{Host, HostPattern, Origin, OriginPattern};
pub use path::{PathError, PathPattern, RequestPath};
pub use place::{BasicPart, Place, is_framing_header};

use super::Invalid;

/// The methods that a destination is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// Every method that can carry a value
    Any,
    /// These methods, sorted
    Only(Vec<String>),
}

impl Methods {
    const LONGEST: usize = 32;

    /// Parses `*` or a list such as `GET,POST`. Methods are upper case (RFC 9110, section 9.1).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text == "*" {
            return Ok(Self::Any);
        }

        let mut methods: Vec<String> =
            text.split(',').map(Self::parse_one).collect::<Result<_, _>>()?;
        methods.sort();
        methods.dedup();
        Ok(Self::Only(methods))
    }

    fn parse_one(text: &str) -> Result<String, Invalid> {
        let method = text.trim().to_ascii_uppercase();
        let is_token = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        if method.is_empty() || method.len() > Self::LONGEST || !method.bytes().all(is_token) {
            return Err(Invalid::new("a method is a word such as GET or POST"));
        }

        match method.as_str() {
            "CONNECT" | "TRACE" | "TRACK" => {
                Err(Invalid::new(format!("{method} never carries a value")))
            }
            _ => Ok(method),
        }
    }

    /// Returns true if the method is one of these.
    pub fn contains(&self, method: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(methods) => methods.iter().any(|known| known == method),
        }
    }

    /// Returns true if all of these methods are among those of `other`.
    pub fn are_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, Self::Only(_)) => false,
            (Self::Only(methods), _) => methods.iter().all(|method| other.contains(method)),
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Only(methods) => f.write_str(&methods.join(",")),
        }
    }
}

/// A grant to send a value: methods, origin, path and the part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The methods
    pub methods: Methods,
    /// The scheme, host and port
    pub origin: OriginPattern,
    /// The paths
    pub path: PathPattern,
    /// The part of a request
    pub place: Place,
}

impl Destination {
    /// The maximum length of a destination's text in bytes.
    pub const LONGEST: usize = 1024;

    /// Splits an address such as `https://api.example.com/v1/**` into its origin and its path. All
    /// paths are meant if the address has none.
    pub fn parse_address(text: &str) -> Result<(OriginPattern, PathPattern), Invalid> {
        if text.contains(['?', '#']) {
            return Err(Invalid::new("it has a query or a fragment; give a host and a path only"));
        }

        let after = text.find("://").map_or(0, |at| at + 3);
        let (origin, path) = match text[after..].find('/') {
            Some(at) => text.split_at(after + at),
            None => (text, ""),
        };

        let path = if path.is_empty() || path == "/" { "/**" } else { path };
        Ok((OriginPattern::parse(origin)?, PathPattern::parse(path)?))
    }

    /// Parses the text that `Display` writes, and only that text.
    pub fn stored(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let methods = Methods::parse(parts.next()?).ok()?;
        let (origin, path) = Self::parse_address(parts.next()?).ok()?;
        let place = Place::parse(parts.next()?).ok()?;
        let destination = Self { methods, origin, path, place };
        (text.len() <= Self::LONGEST && destination.to_string() == text).then_some(destination)
    }

    /// Returns the address as it is shown: the origin, and the path unless it means all paths.
    pub fn address(&self) -> String {
        let path = if self.path.is_any() { "" } else { self.path.as_str() };
        format!("{}{path}", self.origin)
    }

    /// Returns true if a request with this method to this origin and path may carry the value.
    pub fn permits(&self, method: &str, origin: &Origin, path: &RequestPath) -> bool {
        self.methods.contains(method) && self.origin.contains(origin) && path.is_within(&self.path)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.methods, self.address(), self.place)
    }
}

/// The destinations of one secret, sorted by their text and without repetitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Destinations(Vec<Destination>);

impl Destinations {
    /// The maximum number of destinations of one secret.
    pub const MOST: usize = 32;

    /// Returns all destinations.
    pub fn iter(&self) -> std::slice::Iter<'_, Destination> {
        self.0.iter()
    }

    /// Returns true if the value may not be sent anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a destination. Returns false if it was there already.
    ///
    /// # Errors
    /// Fails for more than [`Self::MOST`] destinations, and for one whose text is too long or that
    /// would not be read back.
    pub fn add(&mut self, destination: Destination) -> Result<bool, Invalid> {
        let text = destination.to_string();
        if text.len() > Destination::LONGEST {
            let most = Destination::LONGEST;
            return Err(Invalid::new(format!("it is longer than {most} characters")));
        }

        if Destination::stored(&text).as_ref() != Some(&destination) {
            return Err(Invalid::new("one of its parts is not valid"));
        }

        let Err(at) = self.0.binary_search_by_key(&text, ToString::to_string) else {
            return Ok(false);
        };

        if self.0.len() == Self::MOST {
            let most = Self::MOST;
            return Err(Invalid::new(format!("a secret has at most {most} destinations")));
        }

        self.0.insert(at, destination);
        Ok(true)
    }

    /// Removes the destinations for which `matches` returns true. Returns their number.
    pub fn remove(&mut self, matches: impl Fn(&Destination) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|destination| !matches(destination));
        before - self.0.len()
    }

    /// Accepts destinations from a vault: at least one, in ascending order of their text.
    pub(crate) fn stored<'t>(texts: impl IntoIterator<Item = &'t str>) -> Option<Self> {
        let mut destinations = Vec::new();
        let mut last = None;
        for text in texts {
            if last.is_some_and(|last| last >= text) || destinations.len() == Self::MOST {
                return None;
            }

            destinations.push(Destination::stored(text)?);
            last = Some(text);
        }

        (!destinations.is_empty()).then_some(Self(destinations))
    }
}

impl<'a> IntoIterator for &'a Destinations {
    type Item = &'a Destination;
    type IntoIter = std::slice::Iter<'a, Destination>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(text: &str) -> Destination {
        Destination::stored(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn the_stored_text_is_the_only_accepted_one() {
        for text in [
            "* https://api.stripe.com header:authorization",
            "GET,POST https://api.stripe.com/v1/** header:authorization",
            "GET https://*.example.com:8443/a/*/b json:/auth/api key",
            "* https://[::1]:8443 query:key",
            "POST https://127.0.0.1/x%2Fy basic:password",
        ] {
            assert_eq!(destination(text).to_string(), text);
        }

        for text in [
            "",
            "https://api.stripe.com",
            "* https://api.stripe.com",
            "POST,GET https://a.example header:authorization",
            "GET,GET https://a.example header:authorization",
            "get https://a.example header:authorization",
            "* https://A.example header:authorization",
            "* https://a.example:443 header:authorization",
            "* https://a.example/ header:authorization",
            "* https://a.example/** header:authorization",
            "* https://a.example header:Authorization",
            "* http://a.example header:authorization",
            "TRACE https://a.example header:authorization",
            " * https://a.example header:authorization",
            "* https://a.example/%61 header:authorization",
        ] {
            assert!(Destination::stored(text).is_none(), "{text}");
        }

        let long = format!("* https://a.example/{} path", "a".repeat(Destination::LONGEST));
        assert!(Destination::stored(&long).is_none());
    }

    #[test]
    fn destinations_are_sorted_unique_and_bounded() {
        let mut all = Destinations::default();
        let (b, a) =
            (destination("* https://b.example path"), destination("* https://a.example path"));
        assert_eq!(all.add(b.clone()), Ok(true));
        assert_eq!(all.add(a.clone()), Ok(true));
        assert_eq!(all.add(b.clone()), Ok(false));
        assert_eq!(all.iter().collect::<Vec<_>>(), [&a, &b]);
        assert_eq!(all.remove(|one| *one == a), 1);

        for number in 0..Destinations::MOST - 1 {
            all.add(destination(&format!("* https://c{number}.example path"))).unwrap();
        }

        assert!(all.add(a).is_err());
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(Destinations::stored(texts.iter().map(String::as_str)), Some(all));
        assert_eq!(Destinations::stored([]), None);
        assert_eq!(Destinations::stored([texts[1].as_str(), texts[0].as_str()]), None);
        assert_eq!(Destinations::stored([texts[0].as_str(), texts[0].as_str()]), None);
    }

    #[test]
    fn a_request_is_judged_by_all_parts() {
        let one = destination("GET,POST https://*.example.com/v1/** header:authorization");
        let permits = |method, origin, path| {
            let origin = Origin::parse(origin).unwrap();
            one.permits(method, &origin, &RequestPath::parse(path).unwrap())
        };

        assert!(permits("GET", "https://api.example.com", "/v1/charges"));
        assert!(!permits("DELETE", "https://api.example.com", "/v1/charges"));
        assert!(!permits("get", "https://api.example.com", "/v1/charges"));
        assert!(!permits("GET", "https://example.com", "/v1/charges"));
        assert!(!permits("GET", "https://a.b.example.com", "/v1/charges"));
        assert!(!permits("GET", "https://api.example.com:8443", "/v1/charges"));
        assert!(!permits("GET", "https://api.example.com", "/v2/charges"));
    }

    #[test]
    fn methods_are_narrowed() {
        let methods = |text| Methods::parse(text).unwrap();
        assert_eq!(methods("post, get").to_string(), "GET,POST");
        assert!(methods("GET").are_within(&methods("GET,POST")));
        assert!(methods("GET").are_within(&methods("*")) && methods("*").are_within(&methods("*")));
        assert!(!methods("*").are_within(&methods("GET")));
        assert!(!methods("GET,PUT").are_within(&methods("GET,POST")));
        for bad in ["", "GET,", "G T", "CONNECT", "trace", "GÉT"] {
            assert!(Methods::parse(bad).is_err(), "{bad}");
        }
    }
}
