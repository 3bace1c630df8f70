//! A request of a program through the proxy: judged, and with values in place of placeholders.
//!
//! The value of a secret that may be sent nowhere is in no request. The value of the other one is only
//! in the places that its destinations name. A request without placeholders keeps its headers, its
//! query and its body.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::input::Input;
use terminal_secrets::model::{Destination, Destinations, Origin, SecretBytes, SecretValue, Tag};
use terminal_secrets::proxy::judge::{judge, kind_of, rewrite_body, rewrite_whole};
use terminal_secrets::proxy::policy::{Policy, SessionSecret};
use terminal_secrets::proxy::{HeaderName, HeaderValue, Method, Request};

/// Returns the two values. They depend on the input, so no input contains its own.
fn values(data: &[u8]) -> [String; 2] {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    let number = hasher.finish();
    [format!("value-of-a \"&=%+;\\ {number:016x}"), format!("value-of-b-{number:016x}")]
}

/// Their placeholders. An input has `\x01` and `\x02` for them.
const PLACEHOLDERS: [&str; 2] = ["placeholder-a-0123456789", "placeholder-b-0123456789"];
/// The destinations of the first secret. The second one has none.
const GRANTS: [&str; 6] = [
    "GET,POST https://a.example/v1/** header:x-key",
    "* https://a.example basic:password",
    "* https://a.example query:q",
    "* https://a.example path",
    "* https://a.example form:f",
    "* https://a.example json:/a/b",
];
/// Headers that an input can name.
const NAMES: [&str; 10] = [
    "x-key",
    "authorization",
    "cookie",
    "content-type",
    "x-other",
    "content-encoding",
    "te",
    "connection",
    "x-http-method-override",
    "range",
];
const METHODS: [&str; 5] = ["GET", "POST", "DELETE", "post", "TRACE"];

fn policy(values: &[String; 2]) -> Policy {
    let secret = |number: usize, tag: &str, grants: &[&str]| {
        let mut destinations = Destinations::default();
        for grant in grants {
            let grant = Destination::stored(grant).expect("a destination");
            destinations.add(grant).expect("a destination");
        }

        let value = SecretBytes::copy_of(values[number].as_bytes());
        SessionSecret {
            tag: Tag::parse(tag).expect("a tag"),
            value: SecretValue::new(value, false).expect("a value"),
            placeholder: PLACEHOLDERS[number].to_owned(),
            shown: None,
            grants: destinations,
        }
    };
    let secrets = vec![secret(0, "a", &GRANTS), secret(1, "b", &[])];
    let rules = Policy::rules_of(&secrets);
    Policy::new(secrets, rules, []).expect("two placeholders fit")
}

/// Returns a part of the input with placeholders in it.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in bytes {
        match byte {
            1 | 2 => text.extend(PLACEHOLDERS[usize::from(*byte) - 1].as_bytes()),
            byte => text.push(*byte),
        }
    }

    text
}

fn has(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Runs the target. The input has a byte that selects the method and who sends the request, the target,
/// a number of headers, and the body.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (method, is_own) = (input.u8(), input.u8() & 1 == 1);
    let target = text(input.piece());
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(METHODS[usize::from(method) % 5].as_bytes()).expect("a method");
    let Ok(uri) = String::from_utf8_lossy(&target).parse() else { return };
    *request.uri_mut() = uri;
    for _ in 0..input.u8() % 6 {
        let name = HeaderName::from_static(NAMES[usize::from(input.u8()) % NAMES.len()]);
        let Ok(value) = HeaderValue::from_bytes(&text(input.piece())) else { continue };
        request.headers_mut().append(name, value);
    }

    let body = text(input.rest());
    let values = values(data);
    let (policy, origin) =
        (policy(&values), Origin::parse("https://a.example").expect("an origin"));
    let (mut parts, ()) = request.into_parts();
    let (before, query) = (parts.headers.clone(), parts.uri.query().map(str::to_owned));
    let Ok(mut judged) = judge(&policy, &origin, &mut parts) else { return };
    let method = parts.method.as_str().to_owned();
    let rewritten = if is_own {
        let kind = kind_of(&parts.headers);
        rewrite_whole(&policy, &origin, &method, &mut judged, kind, &body)
    } else {
        rewrite_body(&policy, &origin, &method, &mut judged, &body)
    };
    let Ok(rewritten) = rewritten else { return };
    let sent = rewritten.as_ref().map_or(&body[..], SecretBytes::expose);

    assert!(!has(sent, &values[1]), "the body has a value that may be sent nowhere");
    assert!(!has(judged.path.as_bytes(), &values[0]), "the path for the log has a value");
    for (name, field) in &parts.headers {
        assert!(
            !has(field.as_bytes(), &values[1]),
            "a header has a value that may be sent nowhere"
        );
        let is_allowed = name == "x-key" || name == "authorization";
        assert!(is_allowed || !has(field.as_bytes(), &values[0]), "`{name}` has a value");
        assert!(!field.as_bytes().contains(&b'\n'), "a header has a line break");
    }

    // A value in `x-key` needs its method and its path.
    if parts.headers.get_all("x-key").iter().any(|field| has(field.as_bytes(), &values[0])) {
        assert!(method == "GET" || method == "POST", "{method} has a value");
        assert!(parts.uri.path() == "/v1" || parts.uri.path().starts_with("/v1/"));
    }

    if !data.contains(&1) && !data.contains(&2) {
        assert_eq!(parts.headers, before, "headers without placeholders were changed");
        assert_eq!(parts.uri.query(), query.as_deref(), "a query without placeholders was changed");
        assert!(sent == body, "a body without placeholders was changed");
    }
}
