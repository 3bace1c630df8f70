//! Values reach the named places of a request, and no others.

use base64ct::{Base64, Encoding as _};

use secrets_core::model::{Methods, PathPattern, Place};
use secrets_proxy::policy::{Exception, Policy, Rate};

use super::lab::{Lab, OTHER, OTHER_PLACEHOLDER, PLACEHOLDER, Plan, VALUE};

fn bearer() -> String {
    format!("Bearer {PLACEHOLDER}")
}

#[test]
fn a_header_gets_the_value_and_the_answer_the_placeholder() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let answer = lab.bearer("/echo?x=1");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(&format!("x-reflected: {}", bearer())), "{answer}");
    assert!(answer.contains(&format!("authorization: {}", bearer())), "{answer}");
    let received = lab.origin.log.one();
    assert_eq!(received.header("authorization"), format!("Bearer {VALUE}"));
    assert_eq!((received.target.as_str(), received.version.as_str()), ("/echo?x=1", "HTTP/2.0"));

    let told = lab.told.lock().unwrap();
    assert_eq!(told.uses, ["GET /echo key"]);
    assert_eq!(told.finished, ["200 GET /echo key "]);
}

#[test]
fn basic_credentials_are_swapped() {
    let lab = Lab::new(&["* ORIGIN basic:password", "* ORIGIN basic:user"]);
    for (credentials, expected) in [
        (format!("me:{PLACEHOLDER}"), format!("me:{VALUE}")),
        (format!("{PLACEHOLDER}:"), format!("{VALUE}:")),
    ] {
        let field = format!("Basic {}", Base64::encode_string(credentials.as_bytes()));
        let answer = lab.send("GET /echo", &[("Authorization", &field)], b"");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let sent = Base64::encode_string(expected.as_bytes());
        assert!(!answer.contains(&sent), "{answer}");
        assert_eq!(lab.origin.log.one().header("authorization"), format!("Basic {sent}"));
    }

    // A bearer token is another place.
    assert!(lab.bearer("/echo").starts_with("HTTP/1.1 403"));
}

#[test]
fn queries_paths_cookies_and_other_headers_are_named() {
    let lab = Lab::new(&[
        "* ORIGIN query:api key",
        "GET ORIGIN/bot*/** path",
        "* ORIGIN cookie:SID",
        "* ORIGIN header:x-api-key",
    ]);
    let ok = |line: &str, fields: &[(&str, &str)]| {
        let answer = lab.send(line, fields, b"");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        lab.origin.log.one()
    };
    let escaped = "v4lue%2Fof%2Bthe%3Dkey-0123456789";
    let received = ok(&format!("GET /echo?a=1&api+key={PLACEHOLDER}&b"), &[]);
    assert_eq!(received.target, format!("/echo?a=1&api+key={escaped}&b"));
    let received = ok("GET /echo", &[("Cookie", &format!("a=b; SID={PLACEHOLDER}; c=d"))]);
    assert_eq!(received.header("cookie"), format!("a=b; SID={VALUE}; c=d"));
    let received = ok("GET /echo", &[("X-Api-Key", PLACEHOLDER)]);
    assert_eq!(received.header("x-api-key"), VALUE);

    let answer = lab.send(&format!("GET /bot{PLACEHOLDER}/send"), &[], b"");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains(&format!("no /bot{PLACEHOLDER}/send")), "{answer}");
    assert_eq!(lab.origin.log.one().target, format!("/bot{escaped}/send"));

    for (line, fields) in [
        (format!("GET /echo?key={PLACEHOLDER}"), vec![]),
        (format!("GET /echo?{PLACEHOLDER}=1"), vec![]),
        (format!("GET /echo/{PLACEHOLDER}"), vec![]),
        (format!("POST /bot{PLACEHOLDER}/send"), vec![]),
        ("GET /echo".into(), vec![("Cookie", format!("OTHER={PLACEHOLDER}"))]),
        ("GET /echo".into(), vec![("Cookie", PLACEHOLDER.into())]),
        ("GET /echo".into(), vec![("Authorization", bearer())]),
        ("GET /echo".into(), vec![("X-Other", PLACEHOLDER.into())]),
        ("GET /echo".into(), vec![("User-Agent", format!("x {PLACEHOLDER}"))]),
    ] {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = lab.send(&line, &fields, b"");
        assert!(answer.starts_with("HTTP/1.1 403"), "{line} {answer}");
        assert!(answer.contains("x-secrets-proxy: refused"), "{answer}");
        assert!(lab.origin.log.take().is_empty(), "{line}");
    }

    let answer = lab.bearer("/echo");
    let hint = format!("allow it with `secrets allow key --to https://{}`", lab.host());
    assert!(answer.contains(&hint), "{answer}");
    assert!(answer.contains(r#""secret":"key","place":"header:authorization""#), "{answer}");
}

#[test]
fn fields_of_bodies_are_named_and_the_rest_passes_untouched() {
    let lab = Lab::new(&["* ORIGIN json:/auth/token", "* ORIGIN form:client_secret"]);
    let json = format!(r#"{{"log":"{PLACEHOLDER}","auth":{{"token":"{PLACEHOLDER}"}},"n":1.0}}"#);
    let answer = lab.send(
        "POST /echo",
        &[("Content-Type", "application/json; charset=utf-8")],
        json.as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let expected = format!(r#"{{"log":"{PLACEHOLDER}","auth":{{"token":"{VALUE}"}},"n":1.0}}"#);
    let received = lab.origin.log.one();
    assert_eq!(String::from_utf8(received.body).unwrap(), expected);

    let form = format!("a=1&client_secret={PLACEHOLDER}&note={PLACEHOLDER}");
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    lab.send("POST /echo", &kind, form.as_bytes());
    let body = String::from_utf8(lab.origin.log.one().body).unwrap();
    assert_eq!(
        body,
        format!("a=1&client_secret=v4lue%2Fof%2Bthe%3Dkey-0123456789&note={PLACEHOLDER}")
    );

    // Some servers read these as a form, in which the value would be in another field.
    let trick = format!(r#"{{"x":"&note=","auth":{{"token":"{PLACEHOLDER}"}}}}"#);
    let form = "application/x-www-form-urlencoded";
    for kinds in [&["application/x-www-form-urlencoded, x+json"][..], &["application/json", form]] {
        let fields: Vec<(&str, &str)> = kinds.iter().map(|kind| ("Content-Type", *kind)).collect();
        lab.send("POST /echo", &fields, trick.as_bytes());
        assert_eq!(lab.origin.log.one().body, trick.as_bytes(), "{kinds:?}");
    }

    // Bytes of other kinds, and of other secrets, are not looked at.
    let random: Vec<u8> =
        (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let body = [PLACEHOLDER.as_bytes(), &random, OTHER_PLACEHOLDER.as_bytes()].concat();
    for kind in ["application/octet-stream", "text/plain", "application/json"] {
        lab.send("POST /body", &[("Content-Type", kind)], &body);
        assert_eq!(lab.origin.log.one().body, body, "{kind}");
    }

    let twice = format!(r#"{{"auth":{{"token":"{PLACEHOLDER}{PLACEHOLDER}"}}}}"#);
    let answer = lab.send("POST /echo", &[("Content-Type", "application/json")], twice.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("more than once"), "{answer}");
    let large = format!(r#"{{"auth":"{}"}}"#, "x".repeat(1 << 20));
    let answer = lab.send("POST /echo", &[("Content-Type", "application/json")], large.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(lab.origin.log.take().is_empty());
}

/// Attack 12: the conversation with a model has the placeholder of the model's own key in it.
#[test]
fn a_placeholder_in_a_conversation_stops_nothing() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let body = format!(
        r#"{{"messages":["my environment: KEY={PLACEHOLDER} OTHER={OTHER_PLACEHOLDER}"]}}"#
    );
    let field = bearer();
    let fields = [("Authorization", field.as_str()), ("Content-Type", "application/json")];
    let answer = lab.send("POST /body", &fields, body.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let received = lab.origin.log.one();
    assert_eq!(String::from_utf8(received.body.clone()).unwrap(), body);
    assert_eq!(received.header("authorization"), format!("Bearer {VALUE}"));
}

/// Attack 6: the count goes over the whole request.
#[test]
fn a_value_stands_in_a_request_as_often_as_its_rule_says() {
    let field = bearer();
    let fields = [("Authorization", field.as_str()), ("Authorization", field.as_str())];
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let answer = lab.send("GET /echo", &fields, b"");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("more than once"), "{answer}");
    assert!(lab.origin.log.take().is_empty());

    let plan = Plan { change: Box::new(|policy| policy.rules[0].times = 2), ..Plan::default() };
    let lab = Lab::of(plan);
    assert!(lab.send("GET /echo", &fields, b"").starts_with("HTTP/1.1 200"));
    assert_eq!(lab.origin.log.one().headers["authorization"].len(), 2);
}

/// Attack 27: a rule that the vault does not grant sends nothing.
#[test]
fn a_rule_cannot_be_wider_than_the_grant() {
    let widen = |policy: &mut Policy| {
        let mut rule = policy.rules[0].clone();
        rule.destination.path = PathPattern::any();
        rule.destination.methods = Methods::Any;
        rule.destination.place = Place::Query("key".into());
        let mut wide = policy.rules[0].clone();
        wide.destination.path = PathPattern::any();
        policy.rules = vec![rule, wide];
    };
    let grants = vec!["GET ORIGIN/echo/** header:authorization"];
    let lab = Lab::of(Plan { grants, change: Box::new(widen), ..Plan::default() });
    assert!(lab.bearer("/echo/ok").starts_with("HTTP/1.1 200"));
    assert!(lab.bearer("/body").starts_with("HTTP/1.1 403"));
    let field = bearer();
    let post = lab.send("POST /echo/ok", &[("Authorization", &field)], b"");
    assert!(post.starts_with("HTTP/1.1 403"));
    assert!(
        lab.send(&format!("GET /echo/ok?key={PLACEHOLDER}"), &[], b"").starts_with("HTTP/1.1 403")
    );
    assert_eq!(lab.origin.log.take().len(), 1);
}

#[test]
fn an_exception_wins_in_every_spelling() {
    let except = |policy: &mut Policy| {
        policy.rules[0].except = vec![Exception {
            methods: Methods::parse("POST").unwrap(),
            paths: vec![PathPattern::parse("/v1/refunds/**").unwrap()],
        }];
    };
    let lab = Lab::of(Plan { change: Box::new(except), ..Plan::default() });
    let field = bearer();
    let fields = [("Authorization", field.as_str())];
    for path in [
        "/v1/refunds",
        "/v1//refunds",
        "/v1/%72efunds",
        "/v1/./refunds",
        "/v1/a/../refunds",
        "/v1/Refunds",
        "/v1/refunds;x",
        "/v1%2frefunds",
        "/v1%252frefunds",
        "/v1/refunds/1",
    ] {
        let answer = lab.send(&format!("POST {path}"), &fields, b"");
        assert!(answer.starts_with("HTTP/1.1 403"), "{path} {answer}");
    }

    for path in ["/v1\\refunds", "/v1/refunds%00", "/v1/%zz", "/v1%0d%0arefunds"] {
        let answer = lab.send(&format!("POST {path}"), &fields, b"");
        assert!(answer.starts_with("HTTP/1.1 400"), "{path} {answer}");
    }

    assert!(lab.origin.log.take().is_empty());
    assert!(lab.bearer("/v1/refunds").starts_with("HTTP/1.1 404"), "GET is not excepted");
    lab.send("POST /v1/a/../%63harges/.", &fields, b"");
    let targets: Vec<String> = lab.origin.log.take().into_iter().map(|one| one.target).collect();
    assert_eq!(targets, ["/v1/refunds", "/v1/charges/"]);
}

#[test]
fn an_exception_is_for_the_secret_in_every_place() {
    let except = |policy: &mut Policy| {
        let paths = vec![PathPattern::parse("/v1/refunds/**").unwrap()];
        policy.rules[0].except = vec![Exception { methods: Methods::Any, paths }];
    };
    let grants = vec!["* ORIGIN header:authorization", "* ORIGIN header:x-key"];
    let lab = Lab::of(Plan { grants, change: Box::new(except), ..Plan::default() });
    let answer = lab.send("GET /v1/refunds", &[("X-Key", PLACEHOLDER)], b"");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("leaves out"), "{answer}");
    assert!(lab.origin.log.take().is_empty());
    assert!(lab.send("GET /echo", &[("X-Key", PLACEHOLDER)], b"").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_header_that_some_servers_take_for_the_method_or_path_is_refused() {
    let lab = Lab::new(&["GET ORIGIN header:authorization"]);
    let field = bearer();
    for name in ["X-HTTP-Method-Override", "X_HTTP_METHOD_OVERRIDE", "X-Forwarded-Uri"] {
        let answer = lab.send("GET /echo", &[("Authorization", &field), (name, "DELETE")], b"");
        assert!(answer.starts_with("HTTP/1.1 403"), "{name} {answer}");
        assert!(lab.send("GET /echo", &[(name, "DELETE")], b"").starts_with("HTTP/1.1 200"));
        lab.origin.log.take();
    }

    let cookie = Lab::new(&["* ORIGIN cookie:SID"]);
    let field = format!("a=\"; SID={PLACEHOLDER}; \"");
    let answer = cookie.send("GET /echo", &[("Cookie", &field)], b"");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("quotes"), "{answer}");
}

#[test]
fn a_value_that_cannot_stand_in_a_header_is_refused() {
    let lab =
        Lab::of(Plan { values: ["line one\r\nHost: evil.example", OTHER], ..Plan::default() });
    let answer = lab.bearer("/echo");
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("`key` cannot stand in a header"),
        "{answer}"
    );
    assert!(!answer.contains("evil"), "{answer}");
    assert!(lab.origin.log.take().is_empty());
}

#[test]
fn a_rate_ends_in_429() {
    let rate = Rate { requests: 2, seconds: 3600 };
    let lab = Lab::of(Plan {
        change: Box::new(move |policy| policy.rules[0].rate = Some(rate)),
        ..Plan::default()
    });
    assert!(lab.bearer("/echo").starts_with("HTTP/1.1 200"));
    assert!(lab.bearer("/echo").starts_with("HTTP/1.1 200"));
    let answer = lab.bearer("/echo");
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("too many requests with `key`"),
        "{answer}"
    );
    assert!(lab.send("GET /echo", &[], b"").starts_with("HTTP/1.1 200"), "without the value");
}

/// Attack 35: without a record, no value is sent.
#[test]
fn a_use_that_cannot_be_recorded_is_not_sent() {
    let lab = Lab::of(Plan { broken: Some("the disk is full"), ..Plan::default() });
    let answer = lab.bearer("/echo");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("the disk is full"), "{answer}");
    assert!(lab.origin.log.take().is_empty());
    assert!(lab.send("GET /echo", &[], b"").starts_with("HTTP/1.1 200"), "without the value");
}

#[test]
fn requests_to_aws_are_signed_again() {
    const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
    let grants = vec!["* ORIGIN sigv4"];
    let change = |policy: &mut Policy| {
        let grants = policy.secrets[0].grants.iter().map(ToString::to_string).collect::<Vec<_>>();
        let secrets = vec![
            super::lab::secret("key", VALUE, PLACEHOLDER, &grants),
            super::lab::secret("other", KEY_ID, OTHER_PLACEHOLDER, &grants),
        ];
        let (rules, private) = (Policy::rules_of(&secrets), policy.private.clone());
        *policy = Policy { private, ..Policy::new(secrets, rules, []).unwrap() };
        assert_eq!(policy.rules.len(), 1);
        assert_eq!(policy.rules[0].key_id, Some(1));
    };
    let lab = Lab::of(Plan { grants, change: Box::new(change), ..Plan::default() });
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let (day, date) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ"));
    let date = date.to_string();
    let claim = |day: &str, headers: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={OTHER_PLACEHOLDER}/{day}/us-east-1/s3/aws4_request, \
             SignedHeaders={headers}, Signature=00"
        )
    };
    let field = claim(&day, "host;x-amz-content-sha256;x-amz-date");
    let send = |content: &str, body: &[u8]| {
        let mut fields = vec![("Authorization", field.as_str()), ("X-Amz-Date", date.as_str())];
        if !content.is_empty() {
            fields.push(("X-Amz-Content-Sha256", content));
        }

        lab.send("PUT /echo/a%20b?x-id=PutObject", &fields, body)
    };

    for content in ["UNSIGNED-PAYLOAD", "", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        let answer = send(content, b"the body");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let received = lab.origin.log.one();
        let field = received.header("authorization");
        assert!(
            field.starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/{day}/")),
            "{field}"
        );
        assert!(!field.ends_with("Signature=00") && !field.contains(VALUE), "{field}");
        assert_eq!(received.body, b"the body");
        assert!(!answer.contains(KEY_ID), "{answer}");
    }

    let answer = send("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", b"the body");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("each chunk"), "{answer}");
    for (day, date, headers, why) in [
        ("20260101", "20260101T000000Z", "host;x-amz-date", "more than 15 minutes"),
        (day.as_str(), "now", "host;x-amz-date", "without a valid `x-amz-date`"),
        (day.as_str(), date.as_str(), "x-amz-date", "does not cover the header `host`"),
    ] {
        let field = claim(day, headers);
        let fields = [("Authorization", field.as_str()), ("X-Amz-Date", date)];
        let answer = lab.send("PUT /echo", &fields, b"");
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(why), "{answer}");
    }

    // S3 stores an object `a/../b`, and the path that was judged is `/echo/b`.
    for path in ["/echo/a/../b", "/echo/a/./b", "/echo/a/%2e%2E/b"] {
        let fields = [("Authorization", field.as_str()), ("X-Amz-Date", date.as_str())];
        let answer = lab.send(&format!("PUT {path}"), &fields, b"x");
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("another object"),
            "{answer}"
        );
    }

    let both = "GET /echo?X-Amz-Algorithm=AWS4-HMAC-SHA256&%58-amz-expires=604800";
    let answer = lab.send(both, &[("Authorization", &field), ("X-Amz-Date", &date)], b"");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("in its query"), "{answer}");
    let presigned =
        format!("GET /echo?X-Amz-Credential={OTHER_PLACEHOLDER}%2F20260101&X-Amz-Signature=00");
    let answer = lab.send(&presigned, &[], b"");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(lab.origin.log.take().is_empty());
}
