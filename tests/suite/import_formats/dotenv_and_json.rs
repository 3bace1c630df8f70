//! A dotenv file and a flat JSON object are read, and duplicates and references are reported.

use terminal_secrets::import::{Format, Why};

use super::{error_at, refused, rows, sample, skipped, taken};

#[test]
fn dotenv_is_read() {
    let items = taken(Format::Dotenv, &sample("values.env"));
    assert_eq!(
        rows(&items),
        [
            ("DATABASE_URL", "postgres://fake:fake@localhost/dev", "DATABASE_URL"),
            ("app_token", "fake $token # all of it", "app.token"),
            ("ONCE", "fake-first", "ONCE"),
            ("MULTI", "fake line 1\nfake line 2", "MULTI"),
            ("twice", "fake-second", "twice"),
            ("item", "/usr/bin/env", "_"),
        ]
    );

    assert_eq!(skipped(&items), [("EMPTY", Some(4), "it is empty")]);
    assert!(items.items.iter().all(|item| item.name.is_none() && item.description.is_none()));

    // The later assignment counts, even if it is empty.
    let items = taken(Format::Dotenv, b"A=1\nA-B=1\nA=");
    assert_eq!(rows(&items), [("A-B", "1", "A-B")]);
    let again = "a later entry has the same name";
    assert_eq!(skipped(&items), [("A", Some(1), again), ("A", Some(3), "it is empty")]);

    // A value may hold any bytes.
    assert_eq!(taken(Format::Dotenv, b"A=\xff\x00").items[0].value.expose(), b"\xff\x00");
    let error = refused(Format::Dotenv, b"A=1\nfake-secret");
    assert_eq!(
        (error.at.map(|at| at.to_string()), error.to_string().as_str()),
        (Some("2:12".into()), "no `=` follows the name; values are not taken from the environment")
    );
}

#[test]
fn flat_json_is_read() {
    let items = taken(Format::Json, &sample("values.json"));
    assert_eq!(
        rows(&items),
        [
            ("DATABASE_URL", "postgres://fake:fake@localhost/dev", "DATABASE_URL"),
            ("price", "1.50", "price"),
            ("big", "123456789012345678901234567890", "big"),
            ("exponent", "1E+400", "exponent"),
            ("debug", "false", "debug"),
            ("escaped", "fäke \"quoted\" \\ / ü 🔑\n\ttab", "escaped"),
            ("my-key", "fake spaced", "my key!"),
            ("twice", "fake-second", "twice"),
            ("a_b", "fake-dot", "a.b"),
            ("C_D", "fake-underscore", "C_D"),
        ]
    );

    assert_eq!(
        skipped(&items),
        [
            ("nothing", Some(8), "it is empty"),
            ("empty", Some(9), "it is empty"),
            ("twice", Some(11), "a later entry has the same name"),
        ]
    );

    assert!(taken(Format::Json, b" {} ").items.is_empty());
}

#[test]
fn invalid_json_is_refused() {
    let deep = format!("{}1{}", "{\"a\": ".repeat(65), "}".repeat(65));
    let long = format!("{{\"{}\": {{\"b\": \"fake-secret\"}}}}", "a".repeat(1024));
    for (text, at, why) in [
        (&b"{\"a\": \"fake-secret\""[..], Some((1, 19)), Why::Json),
        (b"{\"a\": \"fake-secret\"} x", Some((1, 22)), Why::Json),
        (b"{\"a\": \"fake-secret\"} {}", None, Why::NotAnObject),
        (b"{\"a\": \"fake\\ud800secret\"}", Some((1, 7)), Why::Json),
        (b"{\"a\": fake-secret}", Some((1, 9)), Why::Json),
        (b"{\n\"a\": \"\xff\"}", Some((2, 7)), Why::Utf8),
        (b"[\"fake-secret\"]", None, Why::NotAnObject),
        (b"\"fake-secret\"", None, Why::NotAnObject),
        (b"", None, Why::NotAnObject),
        (deep.as_bytes(), Some((1, 385)), Why::TooDeep),
        (long.as_bytes(), Some((1, 1036)), Why::TooLongName),
    ] {
        assert_eq!(
            refused(Format::Json, text),
            error_at(at, why),
            "{}",
            String::from_utf8_lossy(text)
        );
    }

    assert_eq!(
        refused(Format::Json, format!("{{\"a\": {}", "[".repeat(1_000_000)).as_bytes()).why,
        Why::Json
    );
}

#[test]
fn names_of_nested_values_are_joined() {
    let json =
        br#"{"db": {"password": "hunter2", "hosts": ["a", "b"], "none": {}}, "a b": {"c": 1}}"#;
    let yaml = b"db:\n  password: hunter2\n  hosts: [a, b]\n  none: {}\na b: {c: 1}\n";
    for (format, text) in [(Format::Json, &json[..]), (Format::Yaml, yaml)] {
        assert_eq!(
            rows(&taken(format, text)),
            [
                ("db_password", "hunter2", "db.password"),
                ("db_hosts_0", "a", "db.hosts.0"),
                ("db_hosts_1", "b", "db.hosts.1"),
                ("a-b-c", "1", "a b.c"),
            ]
        );
    }

    let error = refused(Format::Json, br#"{"db_password": 1, "db": {"password": 2}}"#);
    assert_eq!(error.why, Why::DuplicateTag("db_password".into(), "db.password".into()));
    assert_eq!(refused(Format::Yaml, b"- fake-secret\n").why, Why::NoMap("YAML"));
}

#[test]
fn variables_with_the_same_tag_are_refused() {
    for (format, text, at) in [
        (Format::Dotenv, "http_proxy=fake\nHTTP_PROXY=fake\n", (2, 1)),
        (Format::Dotenv, "A.B=1\nA_B=2\n", (2, 1)),
        (Format::Dotenv, "A-B=1\n\nA_B=2\n", (3, 1)),
        (Format::Json, "{\"Token\": 1,\n\"TOKEN\": 2}", (2, 10)),
    ] {
        let error = refused(format, text.as_bytes());
        assert_eq!(error.at.map(|at| (at.line, at.column)), Some(at), "{text}");
        assert!(matches!(error.why, Why::DuplicateTag(..)), "{error:?}");
    }

    // One of them is empty or does not count.
    assert_eq!(taken(Format::Dotenv, b"http_proxy=\nHTTP_PROXY=1\n").items.len(), 1);
    assert_eq!(taken(Format::Dotenv, b"A=1\nA=2\n").items.len(), 1);

    // Names that are not valid tags are still numbered.
    assert_eq!(taken(Format::Json, br#"{"my key": "1", "my-key": "2"}"#).items.len(), 2);
}

#[test]
fn values_that_refer_to_variables_are_noted() {
    let text = "APP=x\nA=${APP}\nB=\"${OTHER:-1}\"\nC='${APP}'\nD=\"\\${APP}\"\nE=$APP\nF=pa$word\nG=a$$APP\nH=${\nI=${x y}\n\
                J=`${APP}`\nK=$\nL=x\\\n";
    let items = taken(Format::Dotenv, text.as_bytes());
    let names: Vec<_> = items.referring.iter().map(|(name, line)| (name.as_str(), *line)).collect();

    assert_eq!(names, [("A", 2), ("B", 3), ("E", 6)]);
    assert_eq!(items.items.len(), 13);
}
