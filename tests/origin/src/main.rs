//! Starts an origin for tests that are scripts and for benches:
//! `test-origin CA_FILE LOG_FILE [PORT [PROTOCOLS [DIRECTORY NAME KEY...]]]`.
//! Writes its certificate authority to a file, prints its port, and writes what it gets as JSON lines.
//! With a directory, it is also called NAME, and serves files to clients that have one of the keys.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods)]

use std::io::Write;
use std::time::Duration;

use test_origin::{Authority, Files, Options, Origin};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ca, log, rest @ ..] = &arguments[..] else {
        panic!("usage: test-origin CA LOG [PORT [PROTOCOLS [DIRECTORY NAME KEY...]]]")
    };
    let mut options = Options::default();
    if let Some(port) = rest.first() {
        options.port = port.parse().unwrap();
    }

    if rest.get(1).is_some_and(|protocols| protocols == "http/1.1") {
        options.protocols = vec!["http/1.1"];
    }

    if let [_, _, directory, name, keys @ ..] = rest {
        options.names.push(name.clone());
        options.files = Some(Files { directory: directory.into(), keys: keys.to_vec() });
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
                "authority": one.authority,
                "headers": one.headers,
                "body": String::from_utf8_lossy(&one.body),
            });
            writeln!(file, "{line}").unwrap();
        }

        std::thread::sleep(Duration::from_millis(10));
    }
}
