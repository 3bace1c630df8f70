//! HTTP/1.1 and HTTP/2 on both sides, long bodies, a company's proxy, changed values.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use secrets_proxy::net::{Bypass, CompanyProxy};
use secrets_proxy::policy::{Policy, SessionSecret};
use secrets_proxy::session::Source;
use test_origin::Options;
use tokio_rustls::TlsConnector;

use super::lab::{Lab, PLACEHOLDER, Plan, VALUE, client, read_answer};

/// A client sends its whole request before it reads. So what it sends after a refusal is read as well, and
/// the connection can be used again.
#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let mut stream = lab.tls("localhost");
    let (host, body) = (lab.host(), vec![b'x'; 5 * 1024 * 1024]);
    for _ in 0..10 {
        let length = body.len();
        write!(
            stream,
            "POST /body HTTP/1.1\r\nHost: {host}\r\nX-Other: {PLACEHOLDER}\r\nContent-Length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&body).unwrap();
        let answer = String::from_utf8(read_answer(&mut stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        write!(stream, "GET /echo HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let answer = String::from_utf8(read_answer(&mut stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    // A client that asks before it sends a body is told at once, and sends none.
    write!(
        stream,
        "POST /body HTTP/1.1\r\nHost: {host}\r\nX-Other: {PLACEHOLDER}\r\nExpect: 100-continue\r\n\
         Content-Length: 5\r\n\r\n"
    )
    .unwrap();
    let answer = String::from_utf8(read_answer(&mut stream)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn one_connection_serves_many_requests() {
    let lab = Lab::of(Plan {
        options: Options { protocols: vec!["http/1.1"], ..Options::default() },
        ..Plan::default()
    });
    let mut stream = lab.tls("localhost");
    for number in 0..300 {
        let body = format!("body {number}");
        write!(
            stream,
            "POST /body?n={number} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            lab.host(),
            body.len()
        )
        .unwrap();
        let answer = String::from_utf8(read_answer(&mut stream)).unwrap();
        assert!(answer.ends_with(&body), "{answer}");
    }

    // Two requests at once are answered in their order.
    let request = |n| format!("GET /echo?n={n} HTTP/1.1\r\nHost: {}\r\n\r\n", lab.host());
    stream.write_all((request(1) + &request(2)).as_bytes()).unwrap();
    let mut answers = String::from_utf8(read_answer(&mut stream)).unwrap();
    if answers.matches("GET /echo").count() < 2 {
        answers += &String::from_utf8(read_answer(&mut stream)).unwrap();
    }

    assert!(answers.find("n=1").unwrap() < answers.find("n=2").unwrap(), "{answers}");
    let received = lab.origin.log.take();
    assert_eq!(received.len(), 302);
    assert!(
        received[..300].iter().all(|one| one.header("authorization") == format!("Bearer {VALUE}"))
    );
    assert!(received.iter().all(|one| one.version == "HTTP/1.1"));
}

/// Sends requests over HTTP/2, all at once.
fn over_http2(lab: &Lab, paths: &[&str]) -> Vec<(u16, String)> {
    let (head, stream) = lab.connect(&lab.host());
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream.set_nonblocking(true).unwrap();
    stream.set_read_timeout(None).unwrap();
    let config = client_config(&lab.ca);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(config).connect(name, stream).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection);
        let mut tasks = Vec::new();
        for path in paths {
            let uri = format!("https://{}{path}", lab.host());
            let mut sender = sender.clone();
            tasks.push(tokio::spawn(async move {
                let request = Request::post(uri)
                    .header("authorization", format!("Bearer {PLACEHOLDER}"))
                    .body(Full::new(Bytes::from_static(b"the body")))
                    .unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let status = answer.status().as_u16();
                let mut text = String::new();
                for (name, value) in answer.headers() {
                    text += &format!("{name}: {}\n", value.to_str().unwrap());
                }

                let body = answer.into_body().collect().await.unwrap();
                for (name, value) in body.trailers().into_iter().flatten() {
                    text += &format!("trailer {name}: {}\n", value.to_str().unwrap());
                }

                (status, text + core::str::from_utf8(&body.to_bytes()).unwrap())
            }));
        }

        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }

        answers
    })
}

fn client_config(ca: &str) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

#[test]
fn http2_is_passed_on_with_its_trailers() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let answers = over_http2(&lab, &["/echo", "/trailers", "/gzip", "/bytes/300000"]);
    for (status, text) in &answers {
        assert_eq!(*status, 200);
        assert!(!text.contains(VALUE), "{text}");
    }

    assert!(
        answers[0].1.contains(&format!("authorization: Bearer {PLACEHOLDER}")),
        "{}",
        answers[0].1
    );
    assert!(
        answers[1].1.contains(&format!("trailer x-leak: Bearer {PLACEHOLDER}")),
        "{}",
        answers[1].1
    );
    assert!(answers[1].1.contains("trailer x-checksum: abc"));
    assert!(answers[3].1.len() > 300_000);
    for received in lab.origin.log.take() {
        assert_eq!(received.header("authorization"), format!("Bearer {VALUE}"));
        assert_eq!((received.version.as_str(), &received.body[..]), ("HTTP/2.0", &b"the body"[..]));
    }

    let paths: Vec<String> = (0..200).map(|n| format!("/echo?n={n}")).collect();
    let answers = over_http2(&lab, &paths.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(answers.iter().all(|(status, _)| *status == 200));
    assert_eq!(lab.origin.log.take().len(), 200);
}

#[test]
fn a_client_is_offered_what_the_origin_has() {
    let lab = Lab::of(Plan {
        options: Options { protocols: vec!["http/1.1"], ..Options::default() },
        ..Plan::default()
    });
    let (_, stream) = lab.connect(&lab.host());
    let connection = client(&lab.ca, "localhost", &[b"h2", b"http/1.1"]);
    let mut tls = rustls::StreamOwned::new(connection, stream);
    write!(tls, "GET /echo HTTP/1.1\r\nHost: {}\r\n\r\n", lab.host()).unwrap();
    assert!(read_answer(&mut tls).starts_with(b"HTTP/1.1 200"));
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn long_bodies_stream_in_both_directions() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    for path in ["/bytes/3000000", "/chunked/3000000"] {
        let mut stream = lab.tls("localhost");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", lab.host())
            .unwrap();
        let answer = read_answer(&mut stream);
        assert!(
            answer.len() > 3_000_000 && answer.ends_with(b"0\r\n\r\n"),
            "{path} {}",
            answer.len()
        );
    }

    let mut stream = lab.tls("localhost");
    write!(
        stream,
        "POST /count HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        lab.host()
    )
    .unwrap();
    let piece = vec![b'x'; 65536];
    for _ in 0..50 {
        write!(stream, "{:x}\r\n", piece.len()).unwrap();
        stream.write_all(&piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }

    stream.write_all(b"0\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_answer(&mut stream)).unwrap();
    assert!(answer.contains("\r\n\r\n3276800 "), "{answer}");
}

#[test]
fn answers_without_a_body_keep_their_length() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let mut stream = lab.tls("localhost");
    let host = lab.host();
    write!(stream, "HEAD /bytes/1000 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("content-length: 1000"), "{answer}");
    for status in ["204", "304"] {
        let answer = lab.send(&format!("GET /status/{status}"), &[], b"");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }

    let answer = lab.bearer("/status/404");
    assert!(answer.contains("content-length: 7") && answer.ends_with("status\n"), "{answer}");
}

#[test]
fn a_client_that_asks_whether_to_go_on_is_told_so() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let mut stream = lab.tls("localhost");
    let host = lab.host();
    write!(
        stream,
        "POST /body HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    )
    .unwrap();
    let mut head = [0; 25];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").unwrap();
    assert!(String::from_utf8(read_answer(&mut stream)).unwrap().ends_with("body"));
}

/// A proxy of a company before the origin. It counts connections.
fn company() -> (std::net::SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, log) = (stream.unwrap(), Arc::clone(&log));
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }

                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                let is_allowed = head.contains("Basic dTpw");
                log.lock().unwrap().push(head);
                if !is_allowed {
                    stream
                        .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                        .unwrap();
                    return;
                }

                let mut origin = std::net::TcpStream::connect(target).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut from, mut to) = (stream.try_clone().unwrap(), origin.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let _ = std::io::copy(&mut origin, &mut stream);
            });
        }
    });
    (address, heads)
}

#[test]
fn a_companys_proxy_is_used() {
    let (address, heads) = company();
    let plan = |authorization: Option<&str>, bypass: &str| Plan {
        company: Some(CompanyProxy {
            host: address.ip().to_string(),
            port: address.port(),
            authorization: authorization.map(|text| text.parse().unwrap()),
            bypass: Bypass::parse(bypass),
        }),
        // Names are resolved by that proxy.
        change: Box::new(|policy| policy.private.clear()),
        ..Plan::default()
    };
    let lab = Lab::of(plan(Some("Basic dTpw"), ""));
    assert!(lab.bearer("/echo").starts_with("HTTP/1.1 200"));
    assert_eq!(lab.origin.log.one().header("authorization"), format!("Bearer {VALUE}"));
    let head = heads.lock().unwrap().remove(0);
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1", lab.host())), "{head}");
    assert!(!head.contains(VALUE) && !head.contains(PLACEHOLDER), "{head}");

    let lab = Lab::of(plan(None, ""));
    let (answer, _) = lab.connect(&lab.host());
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("407"), "{answer}");
    heads.lock().unwrap().clear();

    let lab = Lab::of(Plan { change: Box::new(|_| {}), ..plan(None, "localhost") });
    assert!(lab.bearer("/echo").starts_with("HTTP/1.1 200"));
    assert!(heads.lock().unwrap().is_empty());
}

/// A source that changes the value once.
struct Rotated(AtomicBool);

impl Source for Rotated {
    fn refreshed(&self, present: &Policy) -> Option<Policy> {
        if !self.0.swap(false, Ordering::Relaxed) {
            return None;
        }

        let former = &present.secrets[0];
        let grants: Vec<String> = former.grants.iter().map(ToString::to_string).collect();
        let secret: SessionSecret = super::lab::secret("key", NEW, PLACEHOLDER, &grants);
        let mut policy =
            Policy::new(vec![secret], present.rules.clone(), [(&former.tag, &former.value)])
                .unwrap();
        policy.private.clone_from(&present.private);
        Some(policy)
    }
}

const NEW: &str = "the-n3w-value-of-the-key";

/// Attack 29: after a rotation both the new and the old value are hidden.
#[test]
fn a_changed_value_is_used_and_the_former_one_still_hidden() {
    let plan = Plan { source: Box::new(Rotated(AtomicBool::new(true))), ..Plan::default() };
    let lab = Lab::of(plan);
    let answer = lab.bearer(&format!("/echo?old={VALUE}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains(NEW) && answer.contains(PLACEHOLDER), "{answer}");
    assert_eq!(lab.origin.log.one().header("authorization"), format!("Bearer {NEW}"));
}
