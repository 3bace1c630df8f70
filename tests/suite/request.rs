//! `secrets request`: values reach their destinations in the named places, and come back as tags.

use serde_json::json;

use crate::support::Sandbox;
use crate::support::served::Served;
use crate::support::terminal::Terminal;
use crate::support::values::revealed;

const KEY: &str = "k3y-of-the-service-0123456789";
const WORD: &str = r#"pa"ss/word&x=1 +%"#;

fn served() -> Served {
    Served::with_secrets(&[("api-key", KEY), ("word", WORD)])
}

fn request<'a>(
    served: &Served,
    url: &'a str,
    options: impl IntoIterator<Item = &'a str>,
) -> crate::support::Prepared {
    let arguments: Vec<String> =
        ["request", url].into_iter().chain(options).map(str::to_owned).collect();
    served.command(arguments)
}

#[test]
fn a_bearer_token_is_sent_and_comes_back_as_its_tag() {
    let served = served();
    served.allow("api-key", &[]);
    let run = request(&served, &served.url("/echo?x=1"), ["--bearer", "API_KEY"]).run().succeeds();
    run.stdout_has("authorization: Bearer ‹api-key›").stderr("");
    let received = served.received();
    assert_eq!(received.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!((received.method.as_str(), received.target.as_str()), ("GET", "/echo?x=1"));

    for path in ["/gzip", "/br", "/zstd", "/split", "/redirect"] {
        let run = request(&served, &served.url(path), ["-i", "--bearer", "api-key"]).run();
        let text = String::from_utf8(run.succeeds().stderr_has("").bytes()).unwrap();
        assert!(text.contains("‹api-key›") && !text.contains("0123456789"), "{path} {text}");
    }
}

#[test]
fn each_place_has_its_escaping() {
    let served = served();
    let places = [
        "json:/a/b",
        "form:p",
        "query:q",
        "basic:password",
        "cookie:SID",
        "path",
        "body",
        "header:x-key",
    ];
    let options: Vec<&str> = places.iter().flat_map(|place| ["--in", place]).collect();
    served.allow("word", &options);
    let send = |url: &str, options: &[&str]| {
        request(&served, &served.url(url), options.iter().copied())
            .run()
            .succeeds()
            .stdout_has("‹word›");
        served.received()
    };

    let received = send("/echo", &["-d", r#"{"a":{"b":"x {{ secrets.word }}"},"n":1.0}"#]);
    let body: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(body, json!({ "a": { "b": format!("x {WORD}") }, "n": 1.0 }));
    assert_eq!(
        (received.method.as_str(), received.header("content-type")),
        ("POST", "application/json")
    );

    let escaped = "pa%22ss%2Fword%26x%3D1%20%2B%25";
    let received = send("/echo", &["--form", "p={{ secrets.word }}", "--form", "a b=c&d"]);
    assert_eq!(String::from_utf8(received.body).unwrap(), format!("p={escaped}&a%20b=c%26d"));
    assert_eq!(
        send("/echo?q={{ secrets.word }}&z=ä", &[]).target,
        format!("/echo?q={escaped}&z=%C3%A4")
    );
    let received = send("/echo", &["-u", "me:{{ secrets.word }}"]);
    assert_eq!(received.header("authorization"), "Basic bWU6cGEic3Mvd29yZCZ4PTEgKyU=");
    assert_eq!(
        send("/echo", &["-H", "Cookie: a=b; SID={{ secrets.word }}"]).header("cookie"),
        format!("a=b; SID={WORD}")
    );
    assert_eq!(send("/echo", &["-H", "X-Key: {{ secrets.word | url }}"]).header("x-key"), escaped);
    let received =
        send("/echo", &["-H", "Content-Type: text/plain", "-d", "raw {{ secrets.word }}"]);
    assert_eq!(String::from_utf8(received.body).unwrap(), format!("raw {WORD}"));
    let url = served.url("/echo/{{ secrets.word }}");
    request(&served, &url, []).run().succeeds().stdout_has("/echo/‹word›");
    assert_eq!(served.received().target, format!("/echo/{escaped}"));

    served.sandbox.write("body.tmpl", r#"{"a":{"b":"{{ secrets.word }}"}}"#);
    assert!(!send("/echo", &["-d", "@body.tmpl"]).body.is_empty());
    let url = served.url("/echo");
    let run =
        request(&served, &url, ["-d", "-"]).stdin(r#"{"a":{"b":"{{ secrets.word }}"}}"#).run();
    run.succeeds().stdout_has("‹word›");
    assert!(String::from_utf8(served.received().body).unwrap().contains(r#"pa\"ss"#));
    request(&served, &url, ["-X"]).run().fails_with(2).stdout("").stderr_has("unknown option");
}

#[test]
fn a_value_goes_nowhere_else() {
    let served = served();
    let url = served.url("/echo");
    let to = served.url("");
    let run = request(&served, &url, ["--bearer", "api-key"]).run().fails_with(7).stdout("");
    run.stderr(&format!(
        "error: `api-key` may not be sent to {to} in `header:authorization` with GET\n\
         hint: allow it with `secrets allow api-key --to {to}`\n"
    ));
    served.allow("api-key", &["--method", "POST", "--in", "json:/a"]);
    for options in [
        &["--bearer", "api-key"][..],
        &["-d", r#"{"b":"{{ secrets.api-key }}"}"#],
        &["-d", r#"{"{{ secrets.api-key }}":1}"#],
        &["-d", "{{ secrets.api-key }}"],
        &["--form", "a={{ secrets.api-key }}"],
        &["-H", "X: {{ secrets.api-key }}", "-d", "{}"],
    ] {
        let run = request(&served, &url, options.iter().copied()).run().fails_with(7).stdout("");
        run.stderr_has("error: ");
    }

    let body = ["-d", r#"{"a":"{{ secrets.api-key }}"}"#];
    let run = request(&served, "https://localhost:1/echo", body).run().fails_with(7);
    run.stderr_has("may not be sent to https://localhost:1 in `json:/a`");
    request(&served, "https://localhost:1/echo", [])
        .run()
        .fails_with(1)
        .stderr_has("cannot connect to `localhost`");
    assert!(served.origin.log.take().is_empty());
    let denied = served.sandbox.run(["audit", "--kind", "deny", "--json"]).succeeds();
    let text = String::from_utf8(denied.bytes()).unwrap();
    assert!(text.contains(r#""reason":"`api-key` may not be sent to"#), "{text}");
    assert!(!text.contains(KEY));
}

#[test]
fn what_is_no_request_is_refused_with_a_hint() {
    let served = served();
    for (arguments, expected) in [
        (&["http://localhost/x"][..], "a value is never sent without TLS"),
        (&["localhost/x"], "it does not begin with `https://`"),
        (&["https://{{ secrets.word }}/x"], "a placeholder in its host"),
        (&["https://user@localhost/"], "it contains a user name"),
        (&["https://localhost/", "-H", "no colon"], "has no `:` after its name"),
        (&["https://localhost/", "-H", "Host: x"], "the header `host` is set by `secrets` itself"),
        (&["https://localhost/", "-u", "me"], "`--user` needs `USER:TEMPLATE`"),
        (&["https://localhost/", "--form", "x"], "`--form` needs `NAME=TEMPLATE`"),
        (&["https://localhost/", "-d", "{{ secrets.! }}"], "--data:1:1"),
        (&["https://localhost/", "--save", "x=y"], "`--save` needs `TAG=/POINTER`"),
        (&["https://localhost/", "--save", "x=/y", "--save", "X=/z"], "names `X` twice"),
        (&["GET", "https://localhost/", "more"], "does not take this value"),
        (&["G T", "https://localhost/"], "the method is not valid"),
    ] {
        let run = served.command([&["request"], arguments].concat()).run().fails_with(2);
        run.stdout("").stderr_has(expected);
    }

    stderr!(request(&served, "https://localhost:1/", ["--bearer", "api-kez"]).run().fails_with(3).stdout(""), @"
    error: no secret `api-kez` in project `default`
    hint: did you mean `api-key`?
    ");
}

#[test]
fn redirects_are_shown_and_followed_only_at_home() {
    let served = served();
    served.allow("api-key", &[]);
    let run = request(&served, &served.url("/moved"), ["--bearer", "api-key"]).run().succeeds();
    stderr!(run.stdout("moved\n"), @"redirected with 302 to /echo; not followed: follow it with `--follow same-origin`");
    assert_eq!(served.received().target, "/moved");

    let follow = ["--bearer", "api-key", "--follow", "same-origin"];
    request(&served, &served.url("/moved"), follow).run().succeeds().stdout_has("GET /echo");
    let received = served.origin.log.take();
    assert_eq!(received[1].header("authorization"), format!("Bearer {KEY}"));
    let run = request(&served, &served.url("/away"), follow).run().succeeds().stdout("");
    run.stderr_has("to https://127.0.0.1:9/echo; not followed: it leads to another origin");
}

#[test]
fn a_string_of_the_answer_is_stored_without_being_shown() {
    const TOKEN: &str = "t0ken-of-the-answer-0123456789";
    let served = served();
    let url = served.url("/token");
    let run = request(&served, &url, ["--save", "session=/access_token"]).run().succeeds();
    let run = run.stdout(r#"{"access_token":"‹session›","nested":{"a":["x","y"]}}"#);
    stderr!(run, @"stored `session` in project `default`, hint t0k…789");
    assert_eq!(revealed(&served.sandbox, "session"), TOKEN.as_bytes());
    served.received();

    stderr!(request(&served, &url, ["--save", "SESSION=/nested/a/1"]).run().fails_with(4).stdout(""), @"
    error: `SESSION` already exists in project `default`
    hint: nothing was sent; replace its value with `--replace`, or choose another tag
    ");
    assert!(served.origin.log.take().is_empty());
    let run = request(&served, &url, ["--save", "session=/nested/a/1", "--replace", "--json"])
        .run()
        .succeeds();
    assert_eq!(run.json()["status"], 200);
    assert_eq!(revealed(&served.sandbox, "session"), b"y");

    for (pointer, why) in [("/nope", "the response has no `/nope`"), ("/nested", "is not a string")]
    {
        let save = format!("other={pointer}");
        request(&served, &url, ["--save", &save]).run().fails_with(1).stdout("").stderr_has(why);
    }

    request(&served, &served.url("/small/x"), ["--save", "other=/a"])
        .run()
        .fails_with(1)
        .stderr_has("is not JSON");
    served.sandbox.run(["get", "other"]).fails_with(3).stderr_has("no secret");

    // An answer that echoes a known secret is stored as it came, and masked where it is printed.
    served.allow("api-key", &["--in", "json:/token"]);
    let body = r#"{"token":"{{ secrets.api-key }}"}"#;
    let run = request(&served, &served.url("/body"), ["-d", body, "--save", "echoed=/token"]).run();
    run.succeeds().stdout(r#"{"token":"‹echoed›"}"#).stderr_has("stored `echoed`");
    assert_eq!(revealed(&served.sandbox, "echoed"), KEY.as_bytes());
}

#[test]
fn the_status_decides_the_exit_code_only_if_asked() {
    let served = served();
    request(&served, &served.url("/status/404"), []).run().succeeds().stdout("status\n");
    stderr!(request(&served, &served.url("/status/404"), ["--fail"]).run().fails_with(9).stdout(""), @"
    error: the response is 404 Not Found
    hint: to see its body, leave out `--fail`
    ");
    request(&served, &served.url("/small"), ["-f"]).run().succeeds().stdout_has("\"ok\":true");
    let run = request(&served, &served.url("/status/500"), ["-f", "--json"]).run().fails_with(9);
    run.stdout("").stderr_has(r#""type":"INTERNAL_ERROR""#);
    let run = request(&served, &served.url("/status/503"), ["--retry", "1"]).run().succeeds();
    run.stdout("status\n");
    assert_eq!(served.origin.log.take().len(), 5);
    let run = request(&served, &served.url("/sse/2000"), ["--max-time", "1"]).run().fails_with(1);
    run.stdout_has("data: ").stderr_has("no complete response within 1 s");
}

#[test]
fn answers_are_printed_saved_or_one_document() {
    let served = served();
    served.allow("api-key", &[]);
    let url = served.url("/echo");
    let found = request(&served, &url, ["--json", "--bearer", "api-key"]).run().succeeds().json();
    assert_eq!((&found["status"], &found["masked"]), (&json!(200), &json!(["api-key"])));
    assert_eq!(found["headers"]["x-reflected"], "Bearer ‹api-key›");
    assert!(found["body"].as_str().unwrap().contains("Bearer ‹api-key›"));

    let run = request(&served, &served.url("/bytes/300000"), ["-o", "out"]).run().succeeds();
    run.stdout("").stderr("");
    assert_eq!(served.sandbox.read("out").len(), 300_000);
    request(&served, &served.url("/bytes/3000000"), [])
        .run()
        .succeeds()
        .stdout_has("nothing to see");
    request(&served, &url, ["-o", "vault.db"]).run().fails_with(7).stderr_has("vault.db");
    served.origin.log.take();

    let run =
        request(&served, &url, ["-u", "me:{{ secrets.api-key }}", "--dry-run"]).run().succeeds();
    let text = String::from_utf8(run.bytes()).unwrap();
    assert!(
        text.starts_with(&format!("GET {url}\nauthorization: Basic "))
            && text.contains("‹api-key›"),
        "{text}"
    );
    let explain = request(&served, &url, ["--bearer", "api-key", "--explain"]).run().succeeds();
    explain
        .stdout(format!("`api-key` may be sent to {} in `header:authorization`\n", served.url("")));
    assert!(served.origin.log.take().is_empty());
    let uses = served.sandbox.run(["audit", "--kind", "use"]).succeeds();
    let text = String::from_utf8(uses.bytes()).unwrap();
    assert!(text.contains(&format!("request\tapi-key to GET {url}")), "{text}");
}

#[test]
fn an_answer_cannot_steer_the_terminal() {
    let served = served();
    served.sandbox.write("body", "\x1b]52;c;aGk=\x07red\u{202e}\n");
    let url = served.url("/body");
    let line = format!("\"$secrets\" request {url} -d @body");
    let mut terminal = Terminal::shell(
        &served.sandbox,
        &format!("SSL_CERT_FILE={} {line}", served.sandbox.path("origin.pem").display()),
    );
    terminal.waits_for("\\u{1b}]52;c;aGk=\\u{7}red\\u{202e}");
    terminal.ends_with(0);
}

#[test]
fn a_person_is_asked_once_for_a_new_destination() {
    let served = Served::of(Sandbox::with_secrets(&[("api-key", KEY)]).unlocked());
    let ca = served.sandbox.path("origin.pem");
    let line = |answer: &str| {
        let url = served.url("/echo");
        let script =
            format!("SSL_CERT_FILE={} \"$secrets\" request {url} --bearer api-key", ca.display());
        let mut terminal = Terminal::shell(&served.sandbox, &script);
        terminal.waits_for(&format!("Allow `api-key` to be sent to {}", served.url("")));
        terminal.types(answer);
        terminal
    };

    let mut terminal = line("n\r");
    terminal.waits_for("nothing was sent");
    terminal.ends_with(7);
    assert!(served.origin.log.take().is_empty());
    let mut terminal = line("y\r");
    terminal.waits_for("authorization: Bearer ‹api-key›");
    terminal.ends_with(0);
    let run = request(&served, &served.url("/echo"), ["--bearer", "api-key"]).run().succeeds();
    run.stdout_has("‹api-key›");
    assert_eq!(served.origin.log.take().len(), 2);
}

#[test]
fn a_use_token_sends_and_a_read_token_does_not() {
    let served = served();
    served.allow("api-key", &[]);
    for level in ["read", "use"] {
        served
            .sandbox
            .run(["token", "create", level, "--level", level, "-q", "--output", level])
            .succeeds();
    }

    let with = |token: &str| {
        let url = served.url("/echo");
        let command =
            served.command(["--token-file", token, "request", &url, "--bearer", "api-key"]);
        command.without_env("SECRETS_PASSPHRASE").run()
    };
    with("use").succeeds().stdout_has("‹api-key›");
    let url = served.url("/token");
    let save = ["--token-file", "use", "request", &url, "--save", "session=/access_token"];
    let run = served.command(save).without_env("SECRETS_PASSPHRASE").run().fails_with(7);
    run.stdout("").stderr_has("`request --save` needs a token with level `manage`");
    with("read").fails_with(7).stderr_has("`request` needs a token with level `use`");
    assert_eq!(served.origin.log.take().len(), 1);
}

/// A stranger's manifest cannot say that a name may lead to this machine.
#[test]
fn an_untrusted_manifest_lists_no_private_hosts() {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    let resolved = std::process::Command::new("getent").args(["ahosts", &name]).output().unwrap();
    if !String::from_utf8_lossy(&resolved.stdout).starts_with("127.") {
        return; // The machine does not know its own name.
    }

    let sandbox = Sandbox::with_secrets(&[("key", KEY)]).without_trust();
    let served = Served::of(sandbox);
    let to = format!("https://{name}:{}", served.origin.port());
    let allow = ["allow", "key", "--to", &to, "-q"];
    served.sandbox.run(allow).succeeds().stdout("");
    served.sandbox.write(".secrets.toml", format!("[proxy]\nprivate = [\"{name}\"]\n"));
    let request = ["request", &to, "--bearer", "key"];
    let run = served.command(request).run().fails_with(7).stdout("");
    run.stderr_has("is not on the public internet");
    served.sandbox.run(["trust", "-q"]).succeeds().stdout_has("may be in this network");
    let run = served.command(request).run().fails_with(1).stdout("");
    run.stderr_has("certificate"); // It has connected.

    std::fs::remove_file(served.sandbox.path(".secrets.toml")).unwrap();
    let run = served.command(request).run().fails_with(7).stdout("");
    run.stderr_has("is not on the public internet");
    assert!(served.origin.log.take().is_empty());
}
