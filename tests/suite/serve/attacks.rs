//! Attacks on the API of `serve`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::{Response, SECRETS, Server, request};
use crate::support::programs::within;
use crate::support::traces::kib;

/// Attack 19: a page in a browser sends requests here, also under a name of its own.
#[test]
fn a_web_page_cannot_use_it() {
    let server = Server::start(&[]);
    let body = json!({"tag": "planted", "name": "", "secret": "x"}).to_string();
    let post = |headers: &str| {
        let request = format!(
            "POST {SECRETS} HTTP/1.1\r\n{headers}Authorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            server.manage,
            body.len()
        );
        server.raw(request.as_bytes()).unwrap()
    };

    let host = format!("Host: localhost:{}\r\n", server.port);
    let json = "Content-Type: application/json\r\n";
    for (headers, status) in [
        (format!("Host: evil.example:{}\r\n{json}", server.port), 421),
        (format!("Host: localhost.evil.example:{}\r\n{json}", server.port), 421),
        (format!("Host: localhost:{}\r\n{json}", server.port ^ 1), 421),
        (format!("{host}{host}{json}"), 400),
        (json.to_owned(), 400),
        (format!("{host}{json}Origin: https://evil.example\r\n"), 403),
        (format!("{host}{json}Origin: null\r\n"), 403),
        (format!("{host}{json}Origin: http://localhost:{}\r\n", server.port), 403),
        (format!("{host}{json}Sec-Fetch-Site: cross-site\r\n"), 403),
        (format!("{host}{json}Sec-Fetch-Site: same-site\r\n"), 403),
        (format!("{host}Content-Type: text/plain\r\n"), 400),
        (format!("{host}Content-Type: application/x-www-form-urlencoded\r\n"), 400),
        (host.clone(), 400),
        (format!("{host}{json}Content-Type: text/plain\r\n"), 400),
    ] {
        let response = post(&headers);
        assert_eq!(response.status, status, "{headers}: {response:?}");
        assert!(!response.head.contains("access-control"), "{response:?}");
    }

    let preflight = format!(
        "OPTIONS {SECRETS} HTTP/1.1\r\n{host}Origin: https://evil.example\r\n\
         Access-Control-Request-Method: POST\r\n\r\n"
    );
    let response = server.raw(preflight.as_bytes()).unwrap();
    response.fails(403, "FORBIDDEN");
    assert!(!response.head.contains("access-control"), "{response:?}");
    let socket = format!(
        "GET {SECRETS} HTTP/1.1\r\n{host}Origin: https://evil.example\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n"
    );
    server.raw(socket.as_bytes()).unwrap().fails(403, "FORBIDDEN");
    assert_eq!(server.get(&server.read, SECRETS).json()["total"], 2, "nothing was stored");
    assert_eq!(post(&format!("{host}{json}Sec-Fetch-Site: none\r\n")).status, 200);
}

#[test]
fn malformed_requests_get_an_error_or_nothing() {
    let server = Server::start(&[]);
    let host = format!("Host: localhost:{}", server.port);
    let token = format!("Authorization: Bearer {}", server.manage);
    for (bytes, statuses) in [
        (format!("GET {SECRETS} HTTP/1.1\r\n{host}\r\n{token}\r\n{token}\r\n\r\n"), &[400][..]),
        (format!("GET {SECRETS} HTTP/1.1\r\n{host}\r\nAuthorization: Basic eDp5\r\n\r\n"), &[401]),
        (format!("GET {SECRETS} HTTP/1.1\r\n{host}\r\nAuthorization: Bearer\r\n\r\n"), &[401]),
        (format!("GET {SECRETS} HTTP/2.0\r\n{host}\r\n\r\n"), &[400, 0]),
        (
            format!(
                "POST {SECRETS} HTTP/1.1\r\n{host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"
            ),
            &[400, 0],
        ),
        (format!("GET {SECRETS} HTTP/1.1\r\n{host}\r\nX: {}\r\n\r\n", "x".repeat(20_000)), &[431]),
        (format!("GET /{} HTTP/1.1\r\n{host}\r\n\r\n", "x".repeat(20_000)), &[431, 414]),
        ("\0\0\0\0".repeat(100), &[400, 0]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 0]),
        (format!("CONNECT localhost:1 HTTP/1.1\r\n{host}\r\n\r\n"), &[404, 421]),
        (format!("GET http://evil.example{SECRETS} HTTP/1.1\r\n{host}\r\n{token}\r\n\r\n"), &[421]),
    ] {
        let status = server.raw(bytes.as_bytes()).map_or(0, |response| response.status);
        assert!(statuses.contains(&status), "{status}: {}", &bytes[..bytes.len().min(200)]);
    }

    assert_eq!(server.get(&server.read, SECRETS).status, 200);
}

#[test]
fn a_large_body_is_refused_before_it_is_read() {
    let server = Server::start(&[]);
    let large = "x".repeat(1024 * 1024);
    assert_eq!(server.post("large", &large).status, 200);
    let run = server.sandbox.run(["render", "-e", "{{ secrets.large }}"]).succeeds();
    assert_eq!(run.bytes(), large.as_bytes());

    server.post("larger", &format!("{large}x")).fails(400, "BAD_REQUEST");
    server.post("huge", &"x".repeat(2 * 1024 * 1024)).fails(413, "BAD_REQUEST");

    // Without a length, it is counted.
    let mut chunked = format!(
        "POST {SECRETS} HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        server.port, server.manage
    );
    for _ in 0..3 {
        chunked.push_str(&format!("100000\r\n{large}\r\n"));
    }

    server.raw(chunked.as_bytes()).unwrap().fails(413, "BAD_REQUEST");
    let refused = request(server.port, "x", "POST", SECRETS, &large);
    server.raw(refused.as_bytes()).unwrap().fails(401, "FORBIDDEN");
}

/// Attack 20: connections that send nothing, or little at a time, do not keep others out.
#[test]
fn silent_connections_give_way() {
    let server = Server::start(&["--rate", "1000/s"]);
    let before = kib(server.pid(), "VmRSS:");
    let mut silent: Vec<TcpStream> = Vec::new();
    for number in 0..600 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /api/v1/secrets HTTP/1.1\r\nHost: ").unwrap();
        }

        silent.push(stream);
        if number % 50 == 49 {
            assert_eq!(server.get(&server.read, SECRETS).status, 200, "after {number}");
        }
    }

    let more = kib(server.pid(), "VmRSS:").saturating_sub(before);
    assert!(more < 24 * 1024, "{more} KiB more");

    // The oldest ones are closed already.
    silent[0].set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(silent[0].read(&mut [0]), Ok(0) | Err(_)));
}

/// The same with heads whose body never comes: with a made-up token, and without one.
#[test]
fn requests_without_their_body_give_way() {
    let server = Server::start(&["--rate", "1000/s"]);
    let made_up =
        terminal_secrets::crypto::token::Token::random(terminal_secrets::model::Level::Read);
    let made_up = made_up.unwrap().text();
    let made_up = std::str::from_utf8(made_up.expose()).unwrap();
    let mut waiting: Vec<TcpStream> = Vec::new();
    for number in 0..600 {
        let token = if number % 2 == 0 { made_up } else { "" };
        let length = if number % 3 == 0 { "100" } else { "2000000" };
        let head = request(server.port, token, "POST", SECRETS, "x");
        let head = head.replace("Content-Length: 1", &format!("Content-Length: {length}"));
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let _ = stream.write_all(&head.as_bytes()[..head.len() - 1]);
        waiting.push(stream);
        if number % 50 == 49 {
            assert_eq!(server.get(&server.read, SECRETS).status, 200, "after {number}");
            assert_eq!(server.post(&format!("n{number}"), "value").status, 200, "after {number}");
        }
    }
}

/// Tokens that nobody has issued do not keep others out.
#[test]
fn made_up_tokens_do_not_use_up_the_requests_of_others() {
    let server = Server::start(&["--rate", "5/h"]);
    for _ in 0..10 {
        let token =
            terminal_secrets::crypto::token::Token::random(terminal_secrets::model::Level::Read);
        let token = token.unwrap().text();
        let status = server.get(std::str::from_utf8(token.expose()).unwrap(), SECRETS).status;
        assert!(matches!(status, 401 | 429), "{status}");
    }

    assert_eq!(server.get(&server.read, SECRETS).status, 200);
    assert_eq!(server.get(&server.manage, SECRETS).status, 200);
}

/// Nobody reads the log, for example after Ctrl-S in the terminal.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let mut server = Server::start(&["--rate", "100000/s"]);
    let path = format!("{SECRETS}/{}", "x".repeat(100));
    for _ in 0..3000 {
        server.get("", &path).fails(401, "FORBIDDEN");
    }

    assert_eq!(server.get(&server.read, SECRETS).status, 200);
    kill_process(server.pid(), Signal::TERM).unwrap();
    within(Duration::from_secs(5), "the server ends", || {
        server.child.try_wait().unwrap().is_some()
    });
    let mut log = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.lines().count() < 2000, "the pipe has room for fewer lines");
}

/// A client that sends its body slowly gets an answer when the time is over.
#[test]
#[ignore = "takes ten seconds"]
fn a_slow_body_ends_in_time() {
    let server = Server::start(&[]);
    let whole = request(server.port, &server.manage, "POST", SECRETS, &"x".repeat(1000));
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(&whole.as_bytes()[..whole.len() - 500]).unwrap();
    let start = Instant::now();
    let mut clone = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        while clone.write_all(b"x").is_ok() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    Response::read(stream).unwrap().fails(408, "REQUEST_TIMEOUT");
    assert!(start.elapsed() < Duration::from_secs(15));

    let mut silent = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    within(Duration::from_secs(15), "the silent connection is closed", || {
        silent.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut answer = [0; 1000];
        matches!(silent.read(&mut answer), Ok(0))
    });
}
