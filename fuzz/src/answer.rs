//! An answer of an origin: decoded, and searched for values.
//!
//! The way in which an answer is split changes nothing. A decoder gives out bounded pieces, and no
//! value is in what is shown.

use std::io;
use std::sync::Arc;

use super::input::Input;
use terminal_secrets::model::{Destinations, SecretBytes, SecretValue, Tag};
use terminal_secrets::proxy::answer::{Decoders, Scrubber};
use terminal_secrets::proxy::policy::{Policy, SessionSecret};

/// The value. An input has `\x01` for it.
const VALUE: &str = "value-of-the-key-7f3a9c";
const PLACEHOLDER: &str = "placeholder-0123456789";
/// The most decoded bytes of one input, and of one piece.
const MOST: usize = 4 << 20;
const PIECE: usize = 8 << 20;
/// Fields `content-encoding` that an input can select.
const CODINGS: [&str; 7] = ["", "gzip", "deflate", "br", "zstd", "gzip, br", "deflate,zstd , gzip"];

fn scrubber() -> Scrubber {
    let value = SecretBytes::copy_of(VALUE.as_bytes());
    let secret = SessionSecret {
        tag: Tag::parse("key").expect("a tag"),
        value: SecretValue::new(value, false).expect("a value"),
        placeholder: PLACEHOLDER.to_owned(),
        shown: None,
        grants: Destinations::default(),
    };
    let policy = Policy::new(vec![secret], Vec::new(), []).expect("one placeholder fits");
    Scrubber::new(Arc::new(policy))
}

/// Decodes and scrubs pieces. Returns `None` if they cannot be decoded, or expand to too much.
fn shown<'p>(coding: &str, pieces: impl Iterator<Item = &'p [u8]>) -> Option<Vec<u8>> {
    let mut decoders = Decoders::new([coding.as_bytes()]).ok()?;
    let (mut scrubber, mut out) = (scrubber().stream(), Vec::new());
    let mut take = |plain: &[u8]| {
        assert!(plain.len() <= PIECE, "a piece is too large");
        out.extend_from_slice(&scrubber.push(plain));
        if out.len() > MOST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    };
    for piece in pieces {
        decoders.decode(piece, &mut take).ok()?;
    }

    decoders.finish(&mut take).ok()?;
    out.extend_from_slice(&scrubber.finish());
    Some(out)
}

/// Runs the target. The input has the coding, the length of pieces, and the body.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let coding = CODINGS[usize::from(input.u8()) % CODINGS.len()];
    let length = 1 + usize::from(input.u8()) % 64;
    let mut body = Vec::new();
    for byte in input.rest() {
        match byte {
            1 if coding.is_empty() => body.extend_from_slice(VALUE.as_bytes()),
            byte => body.push(*byte),
        }
    }

    let whole = shown(coding, [&body[..]].into_iter());
    let pieces = shown(coding, body.chunks(length));
    assert_eq!(whole, pieces, "the answer depends on its pieces");
    let Some(whole) = whole else { return };
    let is_shown = whole.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
    assert!(!is_shown, "a value is shown");
}
