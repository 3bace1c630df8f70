//! WebSockets through the proxy.

use std::io::{Read, Write};

use super::lab::{Lab, OTHER, OTHER_PLACEHOLDER, PLACEHOLDER, Plan, VALUE};

type Tls = rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>;

fn upgrade(lab: &Lab, path: &str) -> (String, Tls) {
    let mut stream = lab.tls("localhost");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\r\n",
        lab.host()
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }

    (String::from_utf8(head).unwrap(), stream)
}

fn send(stream: &mut Tls, opcode: u8, payload: &[u8]) {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }

    frame.extend([1, 2, 3, 4]);
    frame.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key));
    stream.write_all(&frame).unwrap();
}

fn receive(stream: &mut Tls) -> (u8, String) {
    let (mut opcode, mut text) = (0, Vec::new());
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        assert!(head[1] < 128, "masked");
        let mut length = usize::from(head[1]);
        if length == 126 {
            let mut bytes = [0; 2];
            stream.read_exact(&mut bytes).unwrap();
            length = u16::from_be_bytes(bytes).into();
        }

        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).unwrap();
        text.extend(payload);
        if head[0] & 15 != 0 {
            opcode = head[0] & 15;
        }

        if head[0] & 0x80 != 0 {
            return (opcode, String::from_utf8_lossy(&text).into_owned());
        }
    }
}

#[test]
fn frames_pass_and_values_in_them_do_not() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let (head, mut stream) = upgrade(&lab, "/ws");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the origin's own answer: {head}");
    let received = lab.origin.log.one();
    assert_eq!(received.header("authorization"), format!("Bearer {VALUE}"));
    assert_eq!(received.header("sec-websocket-extensions"), "");

    // The origin's first message has the value in it.
    assert_eq!(receive(&mut stream), (1, format!("auth: Bearer {PLACEHOLDER}")));
    let text = format!("hello {PLACEHOLDER} {}", "x".repeat(300));
    send(&mut stream, 1, text.as_bytes());
    assert_eq!(receive(&mut stream), (1, text));
    send(&mut stream, 1, format!("{VALUE} and {OTHER}").as_bytes());
    assert_eq!(receive(&mut stream), (1, format!("{PLACEHOLDER} and {OTHER_PLACEHOLDER}")));
    send(&mut stream, 2, VALUE.as_bytes());
    assert_eq!(receive(&mut stream), (2, PLACEHOLDER.into()));
    send(&mut stream, 9, b"ping");
    assert_eq!(receive(&mut stream), (10, "ping".into()));
    send(&mut stream, 9, VALUE.as_bytes());
    assert_eq!(receive(&mut stream), (10, PLACEHOLDER.into()));
    send(&mut stream, 8, b"\x03\xe8bye");
    assert_eq!(receive(&mut stream).0, 8);
}

#[test]
fn a_named_string_in_a_message_gets_the_value() {
    let lab = Lab::new(&["* ORIGIN header:authorization", "* ORIGIN ws:/d/token"]);
    let (head, mut stream) = upgrade(&lab, "/ws");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    receive(&mut stream);
    lab.origin.log.take();
    let message = format!(r#"{{"op":2,"d":{{"token":"{PLACEHOLDER}","x":"{PLACEHOLDER}"}}}}"#);
    send(&mut stream, 1, message.as_bytes());
    assert_eq!(receive(&mut stream).1, message, "the answer has the placeholder again");
    let body = String::from_utf8(lab.origin.log.one().body).unwrap();
    assert_eq!(body, format!(r#"{{"op":2,"d":{{"token":"{VALUE}","x":"{PLACEHOLDER}"}}}}"#));
    send(&mut stream, 2, PLACEHOLDER.as_bytes());
    receive(&mut stream);
    assert_eq!(lab.origin.log.one().body, PLACEHOLDER.as_bytes(), "binary messages pass");
}

#[test]
fn a_refusal_of_the_origin_reaches_the_client() {
    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    let (head, _) = upgrade(&lab, "/ws/refused");
    assert!(head.starts_with("HTTP/1.1 403") && head.contains("x-why: no"), "{head}");

    let lab = Lab::of(Plan { grants: vec!["* ORIGIN query:key"], ..Plan::default() });
    let (head, _) = upgrade(&lab, "/ws");
    assert!(
        head.starts_with("HTTP/1.1 403") && head.contains("x-secrets-proxy: refused"),
        "{head}"
    );
    assert!(lab.origin.log.take().is_empty());
}
