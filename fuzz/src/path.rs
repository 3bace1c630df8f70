//! Paths of requests, and patterns for them. Both come from strangers: a program behind the proxy, and
//! the author of a manifest.
//!
//! The canonical form of a path is its own canonical form, so what is judged is what is sent. A path
//! that is certainly within a pattern may be within it, too.

use super::input::Input;
use terminal_secrets::model::{PathPattern, RequestPath};

/// Runs the target. The input has a path, and the rest is a pattern.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let path = String::from_utf8_lossy(input.piece()).into_owned();
    let pattern = String::from_utf8_lossy(input.rest()).into_owned();
    let pattern = PathPattern::parse(&pattern);
    if let Ok(pattern) = &pattern {
        let again = PathPattern::parse(pattern.as_str()).expect("a pattern can be read again");
        assert_eq!(&again, pattern, "a pattern has one meaning");
    }

    let Ok(path) = RequestPath::parse(&path) else { return };
    let canonical = path.as_str();
    assert!(canonical.starts_with('/'), "{canonical}");
    assert!(canonical.bytes().all(|b| b.is_ascii_graphic()), "{canonical}");
    assert!(!canonical.split('/').any(|part| part == "." || part == ".."), "{canonical}");
    let again = RequestPath::parse(canonical).expect("a canonical path can be read again");
    assert_eq!(again.as_str(), canonical, "a path has one canonical form");

    assert!(path.is_within(&PathPattern::any()), "{canonical}");
    if let Ok(pattern) = pattern {
        assert_eq!(again.is_within(&pattern), path.is_within(&pattern), "{canonical}");
        assert!(!path.is_within(&pattern) || path.may_be_within(&pattern), "{canonical}");
    }
}
