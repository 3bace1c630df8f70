//! `export` and `import` of encrypted files: all values return, only the recipient reads them, and
//! no plaintext is left.

use std::io::Read;

use age::secrecy::ExposeSecret;
use serde_json::Value;
use terminal_secrets::model::{Description, Name, Source, Timestamp};
use terminal_secrets::vault::NewSecret;

use crate::support::files::write_private;
use crate::support::values::reveal;
use crate::support::{Sandbox, project, secret};

mod document;
mod real_age;
mod recipients;
mod refusals;
mod round_trip;

const MARKER: &str = "mRk7vQz2TgXe8NbHc4YdUf6PjAo1KiSx5WlVr3ZtBnGqEhCy0MaDuFpJ9wLs";

/// Creates an age key. Returns the recipient and writes an identity file.
fn key(sandbox: &Sandbox, name: &str) -> String {
    let identity = age::x25519::Identity::generate();
    let text = format!("# a key\n{}\n", identity.to_string().expose_secret());
    write_private(&sandbox.path(name), text);
    identity.to_public().to_string()
}

/// Creates an age file without the program.
fn sealed(to: &str, content: &[u8]) -> Vec<u8> {
    let to: age::x25519::Recipient = to.parse().unwrap();
    age::encrypt(&to, content).unwrap()
}

/// Returns the content of an age file.
fn opened(sandbox: &Sandbox, file: &str, identity: &str) -> Vec<u8> {
    let text = String::from_utf8(sandbox.read(identity)).unwrap();
    let identity: age::x25519::Identity = text.lines().nth(1).unwrap().parse().unwrap();
    let file = sandbox.read(file);
    let decryptor = age::Decryptor::new(age::armor::ArmoredReader::new(&file[..])).unwrap();
    let mut all = Vec::new();

    decryptor.decrypt(std::iter::once(&identity as _)).unwrap().read_to_end(&mut all).unwrap();
    all
}

/// Returns values of every kind.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("plain", b"hunter2".to_vec()),
        ("empty", Vec::new()),
        ("lines", b"-----BEGIN KEY-----\nabc\r\n\tdef\n-----END KEY-----\n".to_vec()),
        ("odd-text", "q\"b\\s/\u{0}\u{1}\u{7f}\u{2028}é🔑\u{202e}\u{feff}".as_bytes().to_vec()),
        ("all-bytes", (0..=255).collect()),
        ("not-utf8", vec![0xff; 4097]),
        (
            "largest",
            (0..1024 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        ),
        ("LARGEST_TEXT", "\"é\\".repeat(262_144).into_bytes()),
        ("json", br#"{"format":"secrets-export"}"#.to_vec()),
    ]
}

fn with_values() -> Sandbox {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for (number, (tag, bytes)) in values().into_iter().enumerate() {
        let new = NewSecret {
            name: Name::parse(&format!("Näme \"{number}\" \u{202e}")).unwrap(),
            description: Description::parse(if number % 2 == 0 { "" } else { "a\n\tb \\ é" })
                .unwrap(),
            expires: (number % 3 == 0).then_some(Timestamp(1_600_000_000_000 + number as u64)),
            source: Source::parse(if number % 2 == 0 { "https://example.com/?é" } else { "" })
                .unwrap(),
            ..secret(tag, &bytes)
        };

        vault.create(&project(["web", "web.api", "1"][number % 3]), new).unwrap();
    }

    sandbox
}

/// Returns the metadata of all secrets, without their ids.
fn listed(sandbox: &Sandbox) -> Value {
    let mut list = sandbox.run(["list", "--all-projects", "--all", "--json"]).succeeds().json();
    for secret in list["secrets"].as_array_mut().unwrap() {
        secret.as_object_mut().unwrap().remove("id");
    }

    list["secrets"].take()
}

fn assert_values(sandbox: &Sandbox) {
    for (number, (tag, bytes)) in values().into_iter().enumerate() {
        let found =
            reveal(&sandbox.vault(), ["web", "web.api", "1"][number % 3], tag).unwrap().unwrap();
        assert!(found == bytes, "{tag}");
    }
}

/// Copies a file from one sandbox to another.
fn carry(from: &Sandbox, to: &Sandbox, names: &[&str]) {
    for name in names {
        write_private(&to.path(name), from.read(name));
    }
}
