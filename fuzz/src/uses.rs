//! The files of the log of uses. Whatever is in a segment or in the file with the position is read
//! without harm, and nobody adds an entry without the key.
//!
//! Inputs patch the plaintext of an entry, a segment with two entries, or the position.

use super::input::Input;
use super::world::{VAULT_ID, patch};
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::tree::value_hash;
use terminal_secrets::crypto::uses::{Actor, Position, SegmentHeader, UseEntry, UsedRequest};

/// The fields of an entry, as they are encoded: time, action, count, project.
const PLAIN: &[u8] =
    b"\x01\0\0\0\x08\0\0\0\0\0\0\0\x05\x02\0\0\0\x06render\x04\0\0\0\x08\0\0\0\0\0\0\0\x01\
                       \x05\0\0\0\x03web";

fn key() -> Key {
    Key::copy_of(&[7; 32])
}

fn start() -> Position {
    Position { segment: 0, seq: 1, offset: 0, previous: [0; 32], key: key() }
}

fn entry() -> UseEntry {
    UseEntry {
        time: 5,
        actor: Actor::Token { id: [1; 16], name: "ci".into() },
        action: "render".into(),
        refused: false,
        project: Some("web".into()),
        count: 2,
        tags: vec!["api-key".into(), "db".into()],
        request: Some(UsedRequest {
            method: "GET".into(),
            origin: "https://a.example".into(),
            path: "/v1".into(),
            reason: Some("why".into()),
            id: Some("0123456789abcdef".into()),
        }),
    }
}

/// Returns the bytes of an entry with any plaintext at a position.
fn sealed(at: &Position, plain: &[u8]) -> Vec<u8> {
    let place = [&at.seq.to_be_bytes()[..], &at.previous].concat();
    let padded = pad(plain, |length| length.next_multiple_of(256));
    let sealed = at.key.seal_with_salt([0; 24], "use", &VAULT_ID, &place, padded.expose());
    let sealed = sealed.expect("anything can be sealed");
    let hash = value_hash(
        &[b"secrets/v3/use\0", &at.previous[..], &at.seq.to_be_bytes(), &sealed].concat(),
    );
    let length = u32::try_from(sealed.len()).expect("it is short").to_be_bytes();
    [&length[..], &at.seq.to_be_bytes(), &sealed, &hash].concat()
}

/// Runs the target. The first byte selects what is patched: a plaintext, a segment or a position.
/// Patches follow, each an offset and new bytes. An empty patch cuts or extends to the offset.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 3;
    let mut position = start();
    let header = position.begin_segment(&VAULT_ID, None).expect("nothing is sealed");
    let original = match kind {
        0 => PLAIN.to_vec(),
        1 => {
            let mut at = position.copy();
            let mut segment = header.clone();
            segment.extend(sealed(&at, PLAIN));
            let opened = at.open(&VAULT_ID, &segment[header.len()..]);
            assert!(opened.is_some(), "the real entry is refused");
            segment.extend(sealed(&at, PLAIN));
            segment
        }
        _ => position.encode().expose().to_vec(),
    };

    let mut bytes = original.clone();
    while !input.is_empty() {
        patch(&mut bytes, &mut input);
    }

    match kind {
        0 => plaintext(&position, &bytes),
        1 => segment(&bytes, &original),
        _ => {
            if let Some(found) = Position::decode(&bytes) {
                assert!(found.encode().expose() == bytes, "two encodings of one position");
            }
        }
    }
}

/// Opens an entry with this plaintext. What it says can be written again.
fn plaintext(position: &Position, plain: &[u8]) {
    let bytes = sealed(position, plain);
    let Some(found) = position.copy().open(&VAULT_ID, &bytes) else { return };
    let again = position.copy().seal(&VAULT_ID, &found).expect("there are random bytes");
    assert!(position.copy().open(&VAULT_ID, &again) == Some(found), "it changes when written");
}

/// Reads a segment to its first fault. Every entry before the fault is one of the real ones.
fn segment(bytes: &[u8], original: &[u8]) {
    let Some(header) = SegmentHeader::read(&VAULT_ID, 1, bytes) else { return };
    assert!(header.first_key(&VAULT_ID, &[key()]).is_none(), "no key was sealed");
    let mut at = header.position(&key());
    loop {
        let rest = usize::try_from(at.offset).ok().and_then(|offset| bytes.get(offset..));
        let Some(found) = rest.and_then(|rest| at.open(&VAULT_ID, rest)) else { return };
        let end = usize::try_from(at.offset).expect("it is in memory");
        assert!(bytes[..end] == original[..end], "an entry was forged");
        assert!(found != entry(), "an entry that nobody wrote");
    }
}
