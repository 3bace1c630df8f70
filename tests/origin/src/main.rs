//! Starts an origin for tests that are scripts and for benches: `test-origin CA_FILE LOG_FILE [PORT]`.
//! Writes its certificate authority to a file, prints its port, and writes what it gets as JSON lines.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::io::Write;
use std::time::Duration;

use test_origin::{Authority, Options, Origin};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ca, log, rest @ ..] = &arguments[..] else {
        panic!("usage: test-origin CA LOG [PORT [PROTOCOLS]]")
    };
    let mut options = Options::default();
    if let Some(port) = rest.first() {
        options.port = port.parse().unwrap();
    }

    if rest.get(1).is_some_and(|protocols| protocols == "http/1.1") {
        options.protocols = vec!["http/1.1"];
    }

    let authority = Authority::new();
    std::fs::write(ca, authority.pem()).unwrap();
    let origin = Origin::start(&authority, options);
    let mut file = std::fs::File::create(log).unwrap();
    println!("{}", origin.port());
    loop {
        for one in origin.log.take() {
            let line = serde_json::json!({
                "version": one.version,
                "method": one.method,
                "target": one.target,
                "headers": one.headers,
                "body": String::from_utf8_lossy(&one.body),
            });
            writeln!(file, "{line}").unwrap();
        }

        std::thread::sleep(Duration::from_millis(10));
    }
}
