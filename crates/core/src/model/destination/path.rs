//! The path of a request in its one canonical form, and patterns for it.
//!
//! Servers read some spellings of a path in different ways: `//`, `;x`, `%2F` and `%252F`. A request
//! is judged by every reading: all must be inside what is allowed, and none inside what is refused.
//! What is judged is sent, byte for byte (docs/design/destinations.md).

use std::fmt::{self, Write};

use super::Invalid;

/// The maximum length of a path in bytes.
const LONGEST: usize = 8 * 1024;

/// The reason why a path cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A `%` without two hexadecimal digits after it
    #[error("the path has a `%` that is not followed by two hexadecimal digits")]
    BadEscape,
    /// A backslash, which some servers read as `/`
    #[error("the path has a backslash")]
    Backslash,
    /// An encoded or plain NUL, CR or LF
    #[error("the path has an encoded control character")]
    Control,
    /// A character in more bytes than it needs, which some servers read as `.` or `/`
    #[error("the path has an overlong encoding of a character")]
    Overlong,
    /// More than 8 KiB
    #[error("the path is longer than 8192 bytes")]
    TooLong,
}

/// The path of a request: the canonical form (RFC 3986, section 6.2.2) and its readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath {
    /// The canonical form and, after it, every other reading
    readings: Vec<String>,
    /// True if a server that reads the path in its own way may find a dot segment in it. Servers resolve
    /// those before or after the other steps, so such a path may lead anywhere
    may_leave: bool,
}

impl RequestPath {
    /// Parses a path as it stands in a request, without a query. Escapes of unreserved characters
    /// are decoded, other escapes are in upper case, and dot segments are resolved.
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if raw.len() > LONGEST {
            return Err(PathError::TooLong);
        }

        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }

        let canonical = without_dots(&normalized(raw.as_bytes())?);
        let mut readings = vec![canonical];
        for leniency in Leniency::that_matter(&readings[0]) {
            let reading = leniency.read(&readings[0]);
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }

        if readings.iter().any(|reading| is_overlong(reading)) {
            return Err(PathError::Overlong);
        }

        let may_leave = has_hidden_dots(&readings[0]);
        Ok(Self { readings, may_leave })
    }

    /// Returns the canonical form, which is the one to send.
    pub fn as_str(&self) -> &str {
        &self.readings[0]
    }

    /// Returns true if every reading matches a pattern.
    pub fn is_within(&self, pattern: &PathPattern) -> bool {
        let is_certain = pattern.is_any() || !self.may_leave;
        is_certain && self.readings.iter().all(|reading| pattern.matches(reading))
    }

    /// Returns true if any reading matches a pattern, in upper or lower case, and also if it ends in a
    /// way that some servers ignore.
    pub fn may_be_within(&self, pattern: &PathPattern) -> bool {
        let mut all = self.readings.iter().flat_map(|reading| with_other_ends(reading));
        self.may_leave || all.any(|reading| pattern.matches_any_case(&reading))
    }
}

/// Returns true if a segment is `.` or `..` after all escapes are decoded, separators are taken for
/// slashes, and parameters are removed.
fn has_hidden_dots(canonical: &str) -> bool {
    let decoded =
        decoded_again(canonical).replace("%2F", "/").replace("%5C", "/").replace("%3B", ";");
    decoded.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        name == "." || name == ".."
    })
}

/// Returns a reading, and what is left of it without ends that some servers ignore: an escaped query or
/// fragment, slashes, dots and spaces, and a file extension.
fn with_other_ends(reading: &str) -> Vec<String> {
    const IGNORED: [&str; 5] = ["/", ".", "%20", "%09", "%2E"];

    let mut all = vec![reading.to_owned()];
    let cut = reading.find("%3F").into_iter().chain(reading.find("%23")).min();
    all.extend(cut.map(|at| reading[..at].to_owned()));
    for at in 0..all.len() {
        let mut short = all[at].as_str();
        while let Some(rest) = IGNORED.iter().find_map(|end| short.strip_suffix(end)) {
            short = rest;
        }

        let name = short.rfind('/').map_or(0, |at| at + 1);
        let stem = short[name..].rfind('.').filter(|at| *at > 0).map(|at| &short[..name + at]);
        let more = [Some(short), stem].map(|text| text.map(str::to_owned));
        all.extend(more.into_iter().flatten());
    }

    all
}

/// Returns true for a path with a character in more bytes than UTF-8 allows (RFC 3629, section 3).
fn is_overlong(path: &str) -> bool {
    ["%C0", "%C1", "%E0%8", "%E0%9", "%F0%8"].iter().any(|bytes| path.contains(bytes))
}

/// The ways in which a lenient server reads a path.
#[derive(Clone, Copy)]
struct Leniency {
    /// Decodes escapes twice
    decodes_twice: bool,
    /// Takes `%2F` and `%5C` for separators
    decodes_separators: bool,
    /// Removes `;` and what follows it in a segment
    drops_parameters: bool,
    /// Takes several slashes for one
    merges_slashes: bool,
}

impl Leniency {
    /// Returns the ways to read a path that can give different results for it.
    fn that_matter(path: &str) -> impl Iterator<Item = Self> + use<> {
        let escaped = |escapes: &[&str]| escapes.iter().any(|escape| path.contains(escape));
        let can = [
            path.contains("%25"),
            escaped(&["%2F", "%5C", "%25"]),
            escaped(&[";", "%3B", "%25"]),
            escaped(&["//", "%2F", "%5C", "%25", ";", "%3B"]),
        ];

        (0..16_u8).map(|bits| [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1)).filter_map(
            move |does| {
                let is_useful = does.iter().zip(can).all(|(does, can)| can || !does);
                let [decodes_twice, decodes_separators, drops_parameters, merges_slashes] = does;
                is_useful.then_some(Self {
                    decodes_twice,
                    decodes_separators,
                    drops_parameters,
                    merges_slashes,
                })
            },
        )
    }

    fn read(self, canonical: &str) -> String {
        let mut path = canonical.to_owned();
        if self.decodes_twice {
            path = decoded_again(&path);
        }

        if self.decodes_separators {
            path = path.replace("%2F", "/").replace("%5C", "/");
        }

        if self.drops_parameters {
            let without = |segment: &str| {
                let end = segment.find(';').into_iter().chain(segment.find("%3B")).min();
                segment[..end.unwrap_or(segment.len())].to_owned()
            };

            path = path.split('/').map(without).collect::<Vec<_>>().join("/");
        }

        path = without_dots(&path);
        if self.merges_slashes {
            while path.contains("//") {
                path = path.replace("//", "/");
            }
        }

        path
    }
}

/// Decodes escaped percent signs, and what they then escape, until nothing changes.
fn decoded_again(path: &str) -> String {
    /// No server decodes more often.
    const ROUNDS: usize = 8;

    let mut path = path.to_owned();
    for _ in 0..ROUNDS {
        let mut next = String::with_capacity(path.len());
        let mut parts = path.split("%25");
        next.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
            match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
                Some(byte) => {
                    push(byte, true, &mut next);
                    next.push_str(&part[2..]);
                }
                // This percent sign escapes nothing.
                None => {
                    next.push_str("%25");
                    next.push_str(part);
                }
            }
        }

        if next == path {
            break;
        }

        path = next;
    }

    path
}

/// Writes a byte of a path. An unreserved character is written as it is (RFC 3986, section 2.3). So
/// is a delimiter that was not escaped.
fn push(byte: u8, was_escaped: bool, out: &mut String) {
    let is_plain = match byte {
        b'-' | b'.' | b'_' | b'~' => true,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':'
        | b'@' | b'/' => !was_escaped,
        byte => byte.is_ascii_alphanumeric(),
    };

    if is_plain {
        out.push(char::from(byte));
    } else {
        // Writing to a string does not fail.
        let _ = write!(out, "%{byte:02X}");
    }
}

fn normalized(raw: &[u8]) -> Result<String, PathError> {
    let mut path = String::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let escaped = (byte == b'%').then(|| escape(raw.get(at + 1..at + 3))).transpose()?;
        let meant = escaped.unwrap_or(byte);
        match meant {
            b'\\' if escaped.is_none() => return Err(PathError::Backslash),
            0 | b'\r' | b'\n' => return Err(PathError::Control),
            _ => push(meant, escaped.is_some(), &mut path),
        }

        at += if escaped.is_some() { 3 } else { 1 };
    }

    Ok(path)
}

fn escape(digits: Option<&[u8]>) -> Result<u8, PathError> {
    let digits = digits.filter(|two| two.iter().all(u8::is_ascii_hexdigit));
    let text = digits.and_then(|two| std::str::from_utf8(two).ok());
    text.and_then(|text| u8::from_str_radix(text, 16).ok()).ok_or(PathError::BadEscape)
}

/// Removes dot segments (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }

                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }

    format!("/{}", kept.join("/"))
}

/// A pattern for paths. `*` stands for any characters of one segment, and a segment `**` for any
/// number of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(String);

impl PathPattern {
    const ANY: &str = "/**";

    /// Parses a pattern. Its literal part is stored in the canonical form of a path.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let path = RequestPath::parse(text).map_err(|why| Invalid::new(why.to_string()))?;
        let pattern = path.readings.into_iter().next().unwrap_or_default();
        if text.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(Invalid::new("the path has a segment `.` or `..`"));
        }

        if pattern.split('/').any(|segment| segment.contains("**") && segment != "**") {
            return Err(Invalid::new("`**` must be a segment of its own, as in `/v1/**`"));
        }

        Ok(Self(pattern))
    }

    /// Returns the pattern that matches every path.
    pub fn any() -> Self {
        Self(Self::ANY.into())
    }

    /// Returns true if the pattern matches every path.
    pub fn is_any(&self) -> bool {
        self.0 == Self::ANY
    }

    /// Returns the pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, path: &str) -> bool {
        matches(&self.0, path)
    }

    fn matches_any_case(&self, path: &str) -> bool {
        matches(&self.0.to_ascii_lowercase(), &path.to_ascii_lowercase())
    }

    /// Returns true if every path of this pattern certainly matches `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        // A pattern's own text stands for all of its paths: its wildcards match only wildcards.
        self == other || other.is_any() || matches(&other.0, &self.0) && is_safe(&other.0, &self.0)
    }
}

/// Returns true if the text of a pattern matches `wide` only where all of its paths do. A segment
/// `**` may stand for no segment, or for several, so only `**` can take it.
fn is_safe(wide: &str, narrow: &str) -> bool {
    let rest = |pattern: &str| pattern.strip_suffix("/**").map(str::to_owned);
    match (rest(wide), narrow.contains("**")) {
        // `/a/**` takes everything below `/a`.
        (Some(stem), _) if !stem.contains('*') => {
            narrow == stem
                || narrow.strip_prefix(stem.as_str()).is_some_and(|rest| rest.starts_with('/'))
        }
        (_, has_any_depth) => !has_any_depth,
    }
}

/// Matches a path with a pattern, segment by segment. After a `**`, only the last one is tried
/// again, so the time is bounded by the product of both lengths.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    let is_deep = |segment: &&str| *segment == "**";
    let same = |pattern: &&str, path: &&str| segment_matches(pattern.as_bytes(), path.as_bytes());
    wildcard(&pattern, &path, is_deep, same)
}

fn segment_matches(pattern: &[u8], segment: &[u8]) -> bool {
    wildcard(pattern, segment, |byte| *byte == b'*', |pattern, byte| pattern == byte)
}

/// Matches `items` with a pattern in which some items stand for any number of items.
fn wildcard<T>(
    pattern: &[T],
    items: &[T],
    is_wild: impl Fn(&T) -> bool,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut retry = None;
    while i < items.len() {
        match pattern.get(p) {
            Some(wild) if is_wild(wild) => {
                retry = Some((p + 1, i));
                p += 1;
            }
            Some(literal) if same(literal, &items[i]) => (p, i) = (p + 1, i + 1),
            _ => match retry {
                // The wildcard takes one item more.
                Some((after, taken)) => {
                    retry = Some((after, taken + 1));
                    (p, i) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }

    pattern[p..].iter().all(is_wild)
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(raw: &str) -> String {
        RequestPath::parse(raw).unwrap().as_str().to_owned()
    }

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn equivalent_paths_have_one_form() {
        for (raw, form) in [
            ("/", "/"),
            ("/v1/charges", "/v1/charges"),
            ("/v1/%63harges", "/v1/charges"),
            ("/v1/./charges/", "/v1/charges/"),
            ("/a/../v1/x/..", "/v1/"),
            ("/../../v1", "/v1"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2fb%c3%a4", "/a%2Fb%C3%A4"),
            ("/a ä\"b", "/a%20%C3%A4%22b"),
            ("/a//b", "/a//b"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/a%3Bb", "/a%3Bb"),
            ("/100%25", "/100%25"),
        ] {
            assert_eq!(canonical(raw), form, "{raw}");
        }

        for (raw, why) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/a%", PathError::BadEscape),
            ("/a%2", PathError::BadEscape),
            ("/a%zz", PathError::BadEscape),
            ("/a%+1", PathError::BadEscape),
            ("/a\\b", PathError::Backslash),
            ("/a%00", PathError::Control),
            ("/a%0d%0aHost:", PathError::Control),
            ("/a/%c0%ae%c0%ae/b", PathError::Overlong),
            ("/a/%e0%80%ae/b", PathError::Overlong),
            ("/a/%25c0%25ae/b", PathError::Overlong),
        ] {
            assert_eq!(RequestPath::parse(raw), Err(why), "{raw}");
        }

        assert_eq!(RequestPath::parse(&"/a".repeat(4097)), Err(PathError::TooLong));
    }

    #[test]
    fn stars_stand_for_characters_and_segments() {
        for (text, path, expected) in [
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/v1/**", "/v1", true),
            ("/v1/**", "/v1/", true),
            ("/v1/**", "/v1/a/b", true),
            ("/v1/**", "/v10", false),
            ("/v1/*", "/v1/a", true),
            ("/v1/*", "/v1/a/b", false),
            ("/v1/*", "/v1", false),
            ("/*/x-*-y", "/a/x-b-c-y", true),
            ("/*/x-*-y", "/a/x-y", false),
            ("/**/b/**/d", "/a/b/c/b/d", true),
            ("/**/b/**/d", "/a/b/c/b/e", false),
            ("/v1", "/v1", true),
            ("/v1", "/v1/", false),
            ("/v1", "/V1", false),
        ] {
            let path = RequestPath::parse(path).unwrap();
            assert_eq!(path.is_within(&pattern(text)), expected, "{text} {path:?}");
        }

        for bad in ["", "v1", "/a**", "/**a", "/a/../b", "/./a", "/a%2"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }

    /// Each spelling reaches `/v1/refunds` on some server.
    #[test]
    fn no_spelling_escapes_a_refused_path() {
        let refused = pattern("/v1/refunds/**");
        for path in [
            "/v1/refunds",
            "/v1/refunds/1",
            "/v1//refunds",
            "//v1/refunds",
            "/v1/./refunds",
            "/v1/a/../refunds",
            "/v1/%72efunds",
            "/V1/Refunds",
            "/v1/refunds;x/1",
            "/v1;x/refunds",
            "/v1%2frefunds",
            "/v1/%2e/refunds",
            "/v1/%2e%2e/v1/refunds",
            "/v1%5Crefunds",
            "/v1/%252e%252e/v1/refunds",
            "/v1%252frefunds",
            "/v1/%25252572efunds",
            "/v1/x%2f..%2frefunds",
            "/v1/refunds%3Bx",
            "/v1/..;/v1/refunds",
            "/v1/refunds;x/..%2f..%2fy",
            "/v1/refunds/..%2fx",
            "/v1/%25%37%32efunds",
            "/v1/refunds.",
            "/v1/refunds%20",
            "/v1/refunds%3Fx=1",
            "/v1/refunds%23x",
            "/v1/refunds.json",
            "/v1/refunds.json/",
            "/v1/refunds%253Fx/y",
        ] {
            assert!(RequestPath::parse(path).unwrap().may_be_within(&refused), "{path}");
        }

        for other in ["/v1/charges", "/v1/refundsx", "/v2/refunds", "/v1/charges/refunds"] {
            assert!(!RequestPath::parse(other).unwrap().may_be_within(&refused), "{other}");
        }
    }

    #[test]
    fn every_reading_must_be_allowed() {
        let within = |path, text| RequestPath::parse(path).unwrap().is_within(&pattern(text));
        assert!(within("/@scope%2fname", "/@scope*/**"));
        assert!(within("/projects/a%2Fb/issues", "/projects/**"));
        assert!(!within("/public/..%2fadmin", "/public/**"));
        // Each of these reaches `/admin` on some server.
        for path in [
            "/v1/;/..;/admin",
            "/v1/%2F../admin",
            "/v1/x%5Cy%2F..%2F..%2Fadmin",
            "/v1/..;/admin/..%3B/v1/x",
            "/v1/x%25252Fy%252F..%252F..%252Fadmin",
        ] {
            assert!(!within(path, "/v1/**"), "{path}");
        }

        assert!(within("/v1/%2F../admin", "/**") && within("/v1/a..b/...", "/v1/**"));
        assert!(!within("/public/%252e%252e/admin", "/public/**"));
        assert!(!within("/public/..;/admin", "/public/**"));
        assert!(within("/public//x", "/public/**"));
        assert!(within("/public/100%25", "/public/**"));
    }

    #[test]
    fn the_number_of_readings_is_bounded() {
        let path = format!("/{}", "%252F;%25252f//%2f..".repeat(400));
        let path = RequestPath::parse(&path).unwrap();
        assert!(path.readings.len() <= 17, "{}", path.readings.len());
        assert!(pattern(&"/*a".repeat(300)).matches(&"/aa".repeat(300)));
    }

    #[test]
    fn patterns_are_narrowed() {
        let within = |narrow, wide| pattern(narrow).is_within(&pattern(wide));
        for (narrow, wide) in [
            ("/v1/**", "/**"),
            ("/v1/charges/**", "/v1/**"),
            ("/v1/charges", "/v1/**"),
            ("/v1", "/v1/**"),
            ("/v1/*/x", "/v1/**"),
            ("/v1/*", "/v1/*"),
            ("/v1/a", "/v1/*"),
            ("/v1/a*", "/v1/*"),
        ] {
            assert!(within(narrow, wide), "{narrow} {wide}");
        }

        for (narrow, wide) in [
            ("/**", "/v1/**"),
            ("/v10/**", "/v1/**"),
            ("/v1/**", "/v1/*"),
            ("/v1/*", "/v1/a"),
            ("/*/v1", "/v1/**"),
            ("/v1/**", "/*/**/x"),
            ("/**/x", "/*/x"),
        ] {
            assert!(!within(narrow, wide), "{narrow} {wide}");
        }
    }
}
