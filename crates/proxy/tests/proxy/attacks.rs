//! Attacks on the protocols: each by its number in the table of attacks.

use std::io::{Read, Write};
use std::time::Duration;

use secrets_core::model::Destination;
use test_origin::Options;

use super::lab::{Lab, OTHER_PLACEHOLDER, PLACEHOLDER, Plan, VALUE, client, read_answer};

/// Sends a raw request, whose `HOST` is the origin's.
fn raw(lab: &Lab, text: &str) -> String {
    lab.raw(text.replace("HOST", &lab.host()).as_bytes())
}

/// Attacks 1 and 2: two ways to read where a request ends.
#[test]
fn ambiguous_requests_are_refused() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let smuggled = format!(
        "POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\r\n"
    );
    raw(&lab, &smuggled);
    std::thread::sleep(Duration::from_millis(100));
    assert!(lab.origin.log.take().iter().all(|one| one.target != "/smuggled"));

    for bad in [
        "POST /b HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        "POST /c HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST /d HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "POST /e HTTP/1.1\r\nHost: HOST\r\nContent-Length: +5\r\n\r\nhello",
        "GET /f HTTP/1.1\r\nHost : HOST\r\n\r\n",
        "GET /g HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n",
        "GET /n HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\n",
        "GET /i HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\n\r\n",
        "GET /i HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
        "GET /i HTTP/1.1\r\n\r\n",
    ] {
        let answer = raw(&lab, bad);
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad:?} {answer:?}");
    }

    let long = format!("GET /p HTTP/1.1\r\nHost: HOST\r\nX: {}\r\n\r\n", "a".repeat(600_000));
    let answer = raw(&lab, &long);
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer:?}");
    assert!(lab.origin.log.take().is_empty());
}

/// Attack 5: another host in any place where a request names one.
#[test]
fn a_request_is_for_the_host_of_its_tunnel() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    for bad in [
        "GET /j HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /j HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET https://evil.example/k HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "GET https://evil.example/k HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET http://HOST/k HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ] {
        let bad =
            bad.replace("\r\n\r\n", &format!("\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\r\n"));
        let answer = raw(&lab, &bad);
        assert!(answer.starts_with("HTTP/1.1 421"), "{bad:?} {answer:?}");
    }

    assert!(
        raw(&lab, "GET https://HOST/echo HTTP/1.1\r\nHost: HOST\r\n\r\n")
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(lab.origin.log.take().len(), 1);

    // The name in the TLS handshake is another one.
    let (head, stream) = lab.connect(&lab.host());
    assert!(head.starts_with("HTTP/1.1 200"));
    let mut tls = rustls::StreamOwned::new(client(&lab.ca, "evil.example", &[b"http/1.1"]), stream);
    assert!(
        tls.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| tls.read(&mut [0; 10])).is_err()
    );
    let told = lab.told.lock().unwrap();
    assert!(
        told.finished.last().unwrap().contains("names another host than CONNECT"),
        "{:?}",
        told.finished
    );
}

/// Attack 7: headers that concern one connection only.
#[test]
fn headers_of_one_connection_are_not_passed_on() {
    let lab = Lab::of(Plan {
        options: Options { protocols: vec!["http/1.1"], ..Options::default() },
        ..Plan::default()
    });
    raw(
        &lab,
        "GET /echo HTTP/1.1\r\nHost: HOST\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: x\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nX-Kept: 2\r\n\r\n",
    );
    let received = lab.origin.log.one();
    let names: Vec<&str> = received.headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["accept-encoding", "host", "x-kept"]);
    assert_eq!(received.header("accept-encoding"), "identity");
}

/// Attack 9.
#[test]
fn methods_that_echo_are_refused() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    for method in ["TRACE", "TRACK", "CONNECT"] {
        let target = if method == "CONNECT" { "HOST" } else { "/m" };
        let bad = format!(
            "{method} {target} HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\r\n"
        );
        let answer = raw(&lab, &bad);
        assert!(answer.starts_with("HTTP/1.1 405"), "{method} {answer:?}");
    }

    assert!(lab.origin.log.take().is_empty());
}

/// Attack 23: the origin reflects the value in every way.
#[test]
fn no_answer_shows_a_value() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    for path in [
        "/echo",
        "/gzip",
        "/br",
        "/zstd",
        "/deflate",
        "/stacked",
        "/split",
        "/drip",
        "/redirect",
        "/trailers",
    ] {
        let answer = lab.bearer(path);
        assert!(answer.starts_with("HTTP/1.1 200") || path == "/redirect", "{path} {answer}");
        assert!(!answer.contains("v4lue") && !answer.contains("key-0123456789"), "{path} {answer}");
        if !matches!(path, "/split" | "/drip" | "/trailers") {
            assert!(answer.contains(PLACEHOLDER), "{path} {answer}");
        }

        assert_eq!(lab.origin.log.one().header("authorization"), format!("Bearer {VALUE}"));
    }

    let answer = lab.bearer("/sse/5");
    assert_eq!(answer.matches(PLACEHOLDER).count(), 20, "{answer}");
    assert!(answer.contains("text/event-stream"));
}

/// Attack 22.
#[test]
fn bodies_that_cannot_be_decoded_end_in_an_error() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let answer = lab.bearer("/unknown");
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("cannot be searched for values"),
        "{answer}"
    );
    let answer = lab.bearer("/cut");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    let answer = lab.bearer("/bomb");
    assert!(answer.len() < 1 << 20, "{}", answer.len());
}

/// Attack 23: a piece of an answer could begin inside the value.
#[test]
fn pieces_of_an_answer_are_not_asked_for_with_a_value() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let field = format!("Bearer {PLACEHOLDER}");
    let fields = [("Range", "bytes=10-10"), ("If-Range", "x"), ("Authorization", field.as_str())];
    lab.send("GET /echo", &fields, b"");
    let received = lab.origin.log.one();
    assert_eq!((received.header("range"), received.header("if-range")), ("", ""));

    let answer = lab.send("GET /range", &[("Range", "bytes=0-99")], b"");
    assert_eq!(lab.origin.log.one().header("range"), "bytes=0-99");
    assert!(
        answer.starts_with("HTTP/1.1 206") && answer.contains("content-range: bytes 0-99/1000"),
        "{answer}"
    );
}

/// Attacks 15 and 16: where a name leads.
#[test]
fn a_name_must_not_lead_into_this_network() {
    let lab =
        Lab::of(Plan { change: Box::new(|policy| policy.private.clear()), ..Plan::default() });
    let (answer, _) = lab.connect(&lab.host());
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("is not on the public internet"), "{answer}");
    assert!(answer.contains(r#"private = [\"localhost\"]"#), "{answer}");
    assert!(lab.origin.log.take().is_empty());

    let lab = Lab::of(Plan {
        change: Box::new(|policy| policy.others = secrets_proxy::policy::Others::Tunnel),
        ..Plan::default()
    });
    let (answer, _) = lab.connect(&lab.proxy.to_string());
    assert!(
        answer.starts_with("HTTP/1.1 508") && answer.contains("leads back to this proxy"),
        "{answer}"
    );
}

/// Attack 17: an origin that is not who it claims to be.
#[test]
fn an_origin_is_verified_before_anything_is_sent() {
    for options in [
        Options { is_untrusted: true, ..Options::default() },
        Options { names: vec!["other.example".into()], ..Options::default() },
        Options { is_plain: true, ..Options::default() },
    ] {
        let lab = Lab::of(Plan { options, ..Plan::default() });
        let (answer, _) = lab.connect(&lab.host());
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("cannot verify"), "{answer}");
        assert!(lab.origin.log.take().is_empty());
    }
}

#[test]
fn other_hosts_are_refused_or_pass_blindly() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let other = test_origin::Origin::start(&test_origin::Authority::new(), Options::default());
    let target = format!("localhost:{}", other.port());
    let (answer, _) = lab.connect(&target);
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("no secret may be sent to"),
        "{answer}"
    );
    for bad in
        ["", "localhost", "user@localhost:1", "127.1:443", "localhost:99999", "[::1%25lo]:443"]
    {
        let (answer, _) = lab.connect(bad);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{bad} {answer}");
    }

    // Through a blind tunnel the client speaks with the origin itself, and never with a value.
    let authority = test_origin::Authority::new();
    let other = test_origin::Origin::start(&authority, Options::default());
    let lab = Lab::of(Plan {
        change: Box::new(|policy| policy.others = secrets_proxy::policy::Others::Tunnel),
        ..Plan::default()
    });
    let (answer, stream) = lab.connect(&format!("localhost:{}", other.port()));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut tls =
        rustls::StreamOwned::new(client(authority.pem(), "localhost", &[b"http/1.1"]), stream);
    write!(tls, "GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: {PLACEHOLDER}\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_answer(&mut tls)).unwrap();
    assert!(answer.contains(PLACEHOLDER), "{answer}");
    assert_eq!(other.log.one().header("authorization"), PLACEHOLDER);
}

/// Attack 16. Attack 15 for hosts without a rule: they lead to private addresses only if they are listed.
#[test]
fn a_tunnel_leads_neither_to_the_proxy_nor_into_its_network() {
    let lab = Lab::of(Plan {
        change: Box::new(|policy| {
            policy.others = secrets_proxy::policy::Others::Tunnel;
            let list = ["https://0.0.0.0", "https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]"];
            policy
                .private
                .extend(list.map(|origin| Destination::parse_address(origin).unwrap().0.host));
        }),
        ..Plan::default()
    });
    let port = lab.proxy.port();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let (answer, _) = lab.connect(&format!("{host}:{port}"));
        assert!(answer.starts_with("HTTP/1.1 508"), "{host}: {answer}");
    }

    let other = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    for host in ["127.0.0.2", "[::ffff:127.0.0.2]", "169.254.169.254", "10.0.0.1", "[fd00::1]"] {
        let (answer, _) = lab.connect(&format!("{host}:{}", other.local_addr().unwrap().port()));
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("private"),
            "{host}: {answer}"
        );
    }
}

#[test]
fn a_placeholder_of_another_host_is_refused() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let field = format!("Bearer {OTHER_PLACEHOLDER}");
    let answer = lab.send("GET /echo", &[("Authorization", &field)], b"");
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("`other` may not be sent to"),
        "{answer}"
    );
    assert!(lab.origin.log.take().is_empty());
    assert_eq!(lab.told.lock().unwrap().refusals.len(), 1);
}

/// The certificate of the session signs for nothing but the hosts of rules.
#[test]
fn the_session_signs_for_its_hosts_only() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let directory = std::env::temp_dir().join(format!("secrets-ca-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("ca.pem");
    std::fs::write(&path, &lab.ca).unwrap();
    let text = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in"])
        .arg(&path)
        .output();
    std::fs::remove_dir_all(&directory).unwrap();
    let Ok(text) = text else { return };
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for expected in [
        "CA:TRUE, pathlen:0",
        "DNS:localhost",
        "Excluded",
        "IP:0.0.0.0/0.0.0.0",
        "Certificate Sign",
    ] {
        assert!(text.contains(expected), "{expected} {text}");
    }
}

/// Attack 20: slow and many clients.
#[test]
fn slow_clients_do_not_stop_others() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = std::net::TcpStream::connect(lab.proxy).unwrap();
        stream.write_all(b"CONNECT localhost").unwrap();
        slow.push(stream);
    }

    assert!(lab.bearer("/echo").starts_with("HTTP/1.1 200"));
}

#[test]
fn what_is_no_tunnel_is_told_how_to_use_the_proxy() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    for (line, status, expected) in [
        ("GET / HTTP/1.1", "400", "set HTTPS_PROXY"),
        ("GET http://localhost/ HTTP/1.1", "403", "plain http"),
    ] {
        let mut stream = std::net::TcpStream::connect(lab.proxy).unwrap();
        write!(stream, "{line}\r\nHost: localhost\r\nAuthorization: {PLACEHOLDER}\r\n\r\n")
            .unwrap();
        let answer = String::from_utf8(read_answer(&mut stream)).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(expected),
            "{answer}"
        );
    }
}

/// A program that lets the origin echo its guesses learns nothing from the beginning of a value.
#[test]
fn the_beginning_of_a_value_cannot_be_guessed_character_by_character() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let field = format!("Bearer {PLACEHOLDER}");
    for length in [8, 12, VALUE.len() - 1] {
        let right = &VALUE[..length];
        let wrong = format!("{}!", &VALUE[..length - 1]);
        for guess in [right, &wrong] {
            let answer = lab.send("POST /body", &[("Authorization", &field)], guess.as_bytes());
            assert!(answer.ends_with(&format!("\r\n\r\n{guess}")), "{guess}: {answer}");
        }
    }
}
