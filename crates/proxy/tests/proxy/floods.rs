//! Attack 21: clients that flood an HTTP/2 connection. The connection ends or is slowed down, and others
//! are served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::lab::{Lab, client};

type Tls = StreamOwned<ClientConnection, TcpStream>;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns the header block of `METHOD /PATH` (RFC 7541): `:scheme https`, and fields that are not indexed.
fn block(method: &str, path: &str, host: &str) -> Vec<u8> {
    let mut block = vec![0x87];
    for (index, value) in [(2, method), (4, path), (1, host)] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }

    block
}

/// Opens a connection over HTTP/2 through the proxy.
fn open(lab: &Lab) -> Tls {
    let (head, stream) = lab.connect(&lab.host());
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut stream = StreamOwned::new(client(&lab.ca, "localhost", &[b"h2"]), stream);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// Sends frames until the proxy ends the connection, or all are sent. Reads nothing, like an attacker.
/// Returns true if the connection was ended.
fn flood(stream: &mut Tls, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    for frame in frames {
        if stream.write_all(&frame).is_err() {
            return true;
        }
    }

    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn floods_do_not_stop_others() {
    type Flood = fn(&str) -> Box<dyn Iterator<Item = Vec<u8>>>;

    // Each with true if the connection has to end.
    let floods: [(&str, bool, Flood); 6] = [
        ("streams that are reset at once", true, |host| {
            let block = block("GET", "/echo", host);
            Box::new((0..20_000).flat_map(move |number| {
                let stream = 2 * number + 1;
                let flags = END_HEADERS | END_STREAM;
                let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                [frame(HEADERS, flags, stream, &block), reset]
            }))
        }),
        ("a head without end", true, |host| {
            let first = frame(HEADERS, 0, 1, &block("GET", "/echo", host));
            let field = [&b"\x00\x01a\x7f\x81\x7e"[..], &[b'x'; 16_000]].concat();
            let more = std::iter::repeat_with(move || frame(CONTINUATION, 0, 1, &field));
            Box::new(std::iter::once(first).chain(more.take(5_000)))
        }),
        ("empty pieces of a head", true, |host| {
            let first = frame(HEADERS, 0, 1, &block("GET", "/echo", host));
            let more = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &[]));
            Box::new(std::iter::once(first).chain(more.take(200_000)))
        }),
        ("a head that expands", true, |host| {
            // One long field enters the table, and each byte after that stands for it.
            let mut block = block("GET", "/echo", host);
            block.extend([0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
            block.extend([b'x'; 4_000]);
            block.extend(std::iter::repeat_n(0xbe, 8_000));
            Box::new(std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)))
        }),
        ("settings", false, |_| {
            let settings = std::iter::repeat_with(|| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
            Box::new(settings.take(20_000))
        }),
        ("pings and empty pieces of a body", false, |host| {
            let first = frame(HEADERS, END_HEADERS, 1, &block("POST", "/echo", host));
            let more = std::iter::repeat_with(|| {
                [frame(PING, 0, 0, &[0; 8]), frame(DATA, 0, 1, &[])].concat()
            });
            Box::new(std::iter::once(first).chain(more.take(20_000)))
        }),
    ];

    let lab = Lab::new(&["* ORIGIN header:authorization"]);
    for (name, must_end, frames) in floods {
        let mut stream = open(&lab);
        let has_ended = flood(&mut stream, frames(&lab.host()));
        assert!(has_ended || !must_end, "{name} do not end the connection");

        // The flood may still be served a little, next to others.
        let begun = Instant::now();
        assert!(lab.bearer("/echo").starts_with("HTTP/1.1 200"), "after {name}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{name} delay others");
    }
}
