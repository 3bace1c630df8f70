//! A format is recognized by content and name, and bytes of any kind are read or refused.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use terminal_secrets::import::{Container, Format, ImportOptions, read};

use super::{SAMPLES, rows, sample, skipped, taken};

const FORMATS: [Format; 11] = [
    Format::Dotenv,
    Format::Json,
    Format::Yaml,
    Format::OnePassword,
    Format::Bitwarden,
    Format::KeePass,
    Format::LastPass,
    Format::Vault,
    Format::Aws,
    Format::Doppler,
    Format::Infisical,
];

#[test]
fn a_byte_order_mark_is_dropped() {
    for (format, name) in SAMPLES {
        let text = sample(name);
        let marked = [b"\xef\xbb\xbf", &text[..]].concat();
        assert_eq!(Format::of(Some(name), &marked), Some(format), "{name}");
        let (plain, marked) = (taken(format, &text), taken(format, &marked));

        assert_eq!(rows(&plain), rows(&marked), "{name}");
        assert_eq!(skipped(&plain), skipped(&marked), "{name}");
    }
}

#[test]
fn formats_have_names() {
    for (format, name) in FORMATS.into_iter().zip(Format::NAMES) {
        assert_eq!((format.name(), Format::named(name)), (name, Some(format)));
    }

    assert_eq!(Format::named("dashlane"), None);
}

#[test]
fn formats_are_recognized_by_content_and_name() {
    for (format, name) in SAMPLES {
        for given in [Some(name), Some("/tmp/export"), None] {
            assert_eq!(Format::of(given, &sample(name)), Some(format), "{name} as {given:?}");
        }
    }

    let rows: &[(Option<&str>, &str, Option<Format>)] = &[
        (None, "", Some(Format::Dotenv)),
        (None, "A=1,2", Some(Format::Dotenv)),
        (None, "# a, b\nA=1", Some(Format::Dotenv)),
        (None, "\n A=1", Some(Format::Dotenv)),
        (Some("dir/.env.local"), "{}", Some(Format::Dotenv)),
        (Some("prod.env"), "a,b", Some(Format::Dotenv)),
        (Some(".env.json"), "{\"A\": 1}", Some(Format::Json)),
        (None, "{\"items\": [], \"encrypted\": 1}", Some(Format::Bitwarden)),
        (None, "{\"encrypted\": true, \"passwordProtected\": true}", Some(Format::Bitwarden)),
        (None, "{\"items\": []}", Some(Format::Json)),
        (None, "{\"encrypted\": \"x\"}", Some(Format::Json)),
        (None, "{ not json", Some(Format::Json)),
        (None, "[1]", None),
        (None, "---\na: 1\n", Some(Format::Yaml)),
        (Some("values.yml"), "a: 1\n", Some(Format::Yaml)),
        (Some("a.json"), "", None),
        (None, "<?xml version=\"1.0\"?><!-- x --><KeePassFile/>", Some(Format::KeePass)),
        (None, "<pwlist><!-- <KeePassFile> --></pwlist>", None),
        (Some("a.xml"), "x", None),
        (None, "url,username,password\n", None),
        (Some("a.csv"), "x", None),
        (None, "NAME,login_password,login_username\n", Some(Format::Bitwarden)),
    ];

    for (name, text, expected) in rows {
        assert_eq!(Format::of(*name, text.as_bytes()), *expected, "{name:?} {text:?}");
    }

    assert_eq!(Format::of(None, b"A=\xff"), Some(Format::Dotenv));
    assert_eq!(Format::of(Some("a.csv"), b"\xff"), None);
}

/// Checks what holds for any bytes: nothing panics, tags are distinct, and an error quotes no
/// value.
fn check(format: Format, text: &[u8], prefix: &str) {
    match read(format, text, ImportOptions { prefix, ..ImportOptions::default() }) {
        Ok(items) => {
            let keys: HashSet<_> = items.items.iter().map(|item| item.tag.key()).collect();
            assert_eq!(keys.len(), items.items.len());
            assert!(items.items.iter().all(|item| item.tag.as_str().starts_with(prefix)));
            assert!(items.items.iter().all(|item| !item.value.expose().is_empty()));
        }
        Err(error) => {
            assert!(!error.to_string().contains("fake-"), "{error}");
            if let Some(terminal_secrets::Position { line, column }) = error.at {
                assert!(line > 0 && column > 0, "{error:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in vec(any::<u8>(), 0..300), prefix in "[a-z]{0,3}") {
        let _ = Format::of(None, &text);
        for format in FORMATS {
            check(format, &text, &prefix);
        }
    }

    #[test]
    fn any_pieces_are_read_or_refused(
        pieces in vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", "\"", ":", ",", "\n", "\r", "=", "null", "1", "items", "\"items\":[{", "\"login\":{",
                "\"name\":", "\"password\":\"x\"", "\"fields\":[", "Title,Username,Password,OTPAuth\n", "a,b,c,d\n",
                "<KeePassFile>", "<Root>", "<Group>", "<UUID>", "<Entry>", "<String>", "<Key>", "<Value>", "</", ">",
                "- ", "&a ", "*a", "<<: ", "!!binary ", "\"data\":", "\"request_id\":1", "\"SecretString\":", "\"ARN\":1",
                "<Value/>", "&lt;", "&#", ";", "<![CDATA[", "]]>", "<!--", "-->", "ä", "\u{301}", " ",
            ]),
            0..40,
        ),
    ) {
        let text = pieces.concat();
        let _ = Format::of(None, text.as_bytes());
        for format in FORMATS {
            check(format, text.as_bytes(), "");
        }
    }

    #[test]
    fn broken_samples_are_read_or_refused(
        which in 0..SAMPLES.len(),
        edits in vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 1..8),
    ) {
        let (format, name) = SAMPLES[which];
        let mut text = sample(name);

        for (at, kind, byte) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            match kind {
                0 if at < text.len() => text[at] = byte,
                1 => text.insert(at, byte),
                _ => { text.drain(at..text.len().min(at + usize::from(byte))); }
            }
        }

        let _ = Format::of(Some(name), &text);
        for format in [format, Format::Json, Format::Bitwarden] {
            check(format, &text, "");
        }
    }
}

#[test]
fn containers_are_recognized_by_their_first_bytes() {
    let utf16: Vec<u8> = "A=1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, expected) in [
        (&b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5\x01"[..], Some(Container::Kdbx)),
        (b"\x03\xd9\xa2\x9a\x65\xfb\x4b\xb5\x01", Some(Container::Kdb)),
        (b"PK\x03\x04....export.data", Some(Container::OnePux)),
        (b"PK\x03\x04", Some(Container::Zip)),
        (b"\x1f\x8b\x08", Some(Container::Gzip)),
        (b"SQLite format 3\0", Some(Container::Sqlite)),
        (b"\xff\xfeA\0", Some(Container::Utf16)),
        (b"\xfe\xff\0A", Some(Container::Utf16)),
        (&utf16, Some(Container::Utf16)),
        (b"A=\xff\0", None),
        (b"PKCS=1", None),
        (b"", None),
    ] {
        assert_eq!(Container::of(bytes), expected, "{bytes:?}");
    }
}
