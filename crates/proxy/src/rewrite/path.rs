//! Segments of a path. A value cannot add a segment, because `/` in it is escaped.

use secrets_core::model::SecretBytes;

use super::{Values, percent};
use crate::placeholders::Found;

/// Puts values in place of the placeholders in a canonical path. Returns `None` if a value would make
/// a segment `.` or `..`.
pub fn substituted(path: &str, found: &[Found], values: Values<'_>) -> Option<SecretBytes> {
    let mut out = SecretBytes::with_capacity(2 * path.len());
    let mut at = 0;
    for one in found {
        // The path itself is escaped already.
        out.extend(&path.as_bytes()[at..one.start]);
        percent(values(one.secret), &mut out);
        at = one.end;
    }

    out.extend(&path.as_bytes()[at..]);
    let is_dots = |segment: &[u8]| segment == b"." || segment == b"..";
    let is_safe = !out.expose().split(|byte| *byte == b'/').any(is_dots);
    is_safe.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placeholders::Placeholders;

    #[test]
    fn a_value_stays_in_its_segment() {
        let placeholders = Placeholders::new(["PLACEHOLDER"]).unwrap();
        let rewritten = |path: &str, value: &'static [u8]| {
            let found = placeholders.find(path.as_bytes());
            let out = substituted(path, &found, &|_| value);
            out.map(|out| String::from_utf8(out.expose().to_vec()).unwrap())
        };

        let path = "/bot%2FPLACEHOLDER/send";
        assert_eq!(
            rewritten(path, b"1:a/../b?c").as_deref(),
            Some("/bot%2F1%3Aa%2F..%2Fb%3Fc/send")
        );
        assert_eq!(rewritten("/PLACEHOLDER/x", b".."), None);
        assert_eq!(rewritten("/PLACEHOLDER", b"."), None);
        assert_eq!(rewritten("/.PLACEHOLDER/x", b"."), None);
    }
}
