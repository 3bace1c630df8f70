//! A frame of the protocol round-trips, has a limited size, and is served or refused whole.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use terminal_secrets::agent::{AgentFault, Answer, Handover, MAX_FRAME, Request, VERSION};
use terminal_secrets::model::SecretBytes;

use super::{Home, ask, assert_ends, decoded, frame, requests, rest, row_of_steady, send_request};

fn answers() -> Vec<SecretBytes> {
    let faults = [
        AgentFault::Locked,
        AgentFault::Replaced,
        AgentFault::RolledBack,
        AgentFault::ProjectRolledBack(0),
        AgentFault::ProjectRolledBack(77),
        AgentFault::UnverifiedSlots,
        AgentFault::RootTables,
        AgentFault::Keyring(u32::MAX),
        AgentFault::System,
        AgentFault::Version,
    ];

    let mut all = vec![
        Answer::Done(true),
        Answer::Done(false),
        Answer::State { left: None },
        Answer::State { left: Some((1, u64::MAX)) },
        Answer::Bytes(&[]),
        Answer::Bytes(&[9; 32]),
        Answer::Keyrings(vec![]),
        Answer::Keyrings(vec![b"one", b"", b"three"]),
    ];

    all.extend(faults.map(Answer::Failed));
    all.iter().map(|answer| answer.encode().unwrap()).collect()
}

/// Decodes a frame and encodes it again.
fn reencoded(frame: &[u8]) -> Option<SecretBytes> {
    match frame.get(1) {
        Some(kind) if *kind < 128 => Request::decode(frame).ok()?.encode(),
        _ => Answer::decode(frame).ok()?.encode(),
    }
}

#[test]
fn a_frame_round_trips() {
    for frame in requests().iter().chain(&answers()) {
        let (length, body) = frame.expose().split_first_chunk().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, body.len());
        assert_eq!(body[0], VERSION);
        assert_eq!(reencoded(body).unwrap().expose(), frame.expose());
    }
}

#[test]
fn an_incomplete_handover_is_refused() {
    let handover = Handover {
        path: b"/a/vault.db",
        vault_id: [3; 16],
        ttl: 60_000,
        idle: u64::MAX,
        key: &[5; 32],
    };

    let frame = handover.encode().unwrap();
    let read = Handover::decode(frame.expose()).unwrap();
    assert_eq!(
        (read.path, read.vault_id, read.ttl, read.idle),
        (&b"/a/vault.db"[..], [3; 16], 60_000, u64::MAX)
    );

    assert_eq!(read.key, &[5; 32]);
    for cut in 0..frame.len() {
        assert!(Handover::decode(&frame.expose()[..cut]).is_none(), "{cut}");
    }

    assert!(Handover::decode(&[frame.expose(), b"x"].concat()).is_none());

    // A handover is not a request: a key never reaches an agent through its socket.
    assert!(Request::decode(&frame.expose()[4..]).is_err());
}

#[test]
fn an_incomplete_frame_is_refused() {
    for frame in requests().iter().chain(&answers()) {
        let body = &frame.expose()[4..];

        // Lists end with their frame. The body of kind 0 is never read.
        let (list, lock_all) = ([8, 131].contains(&body[1]), body[1] == 0);
        for cut in 0..body.len() {
            if let Some(read) = reencoded(&body[..cut]) {
                assert!(list && read.expose()[4..] == body[..cut], "{cut} of {body:02x?}");
            }
        }

        for extra in [0, 1, 255] {
            assert_eq!(
                reencoded(&[body, &[extra]].concat()).is_some(),
                lock_all,
                "{body:02x?} and {extra}"
            );
        }

        for version in [0, VERSION + 1, 255] {
            let other = [&[version], &body[1..]].concat();
            assert_eq!(reencoded(&other).is_some(), lock_all);
        }
    }
}

/// Regression test, found by fuzzing: decoding ignored the remaining time of a locked vault.
#[test]
fn a_locked_vault_has_no_remaining_time() {
    let locked = Answer::State { left: None }.encode().unwrap();
    let mut body = locked.expose()[4..].to_vec();
    assert!(Answer::decode(&body).is_ok());

    for at in 3..body.len() {
        body[at] = 1;
        assert!(Answer::decode(&body).is_err(), "{body:02x?}");
        body[at] = 0;
    }
}

#[test]
fn the_size_of_a_frame_is_limited() {
    let most = vec![0; MAX_FRAME - 6];
    assert_eq!(Request::MoreMac { bytes: &most }.encode().unwrap().len(), MAX_FRAME + 4);
    assert_eq!(Answer::Bytes(&most).encode().unwrap().len(), MAX_FRAME + 4);
    let more = vec![0; MAX_FRAME - 5];

    assert!(Request::MoreMac { bytes: &more }.encode().is_none());
    assert!(Answer::Bytes(&more).encode().is_none());
}

/// The agent closes the connection after each of these, without an answer.
#[test]
fn malformed_frames_get_no_answer() {
    let home = Home::with_agent();
    let with_length = |body: &[u8]| [&(body.len() as u32).to_be_bytes(), body].concat();
    let mut bad: Vec<Vec<u8>> =
        [0, 1, MAX_FRAME as u32 + 1, 1 << 30, u32::MAX].map(|n| n.to_be_bytes().to_vec()).into();

    for kind in [2, 10, 64, 77, 128, 132, 255] {
        bad.push(with_length(&[VERSION, kind]));
    }

    for frame in requests().iter().filter(|frame| frame.expose()[5] != 0) {
        bad.push(with_length(&[&frame.expose()[4..], b"x"].concat()));
        bad.push(with_length(&frame.expose()[4..frame.len() - 1]));
    }

    // A MAC without a beginning, key rings without a verified MAC, and a path that is longer than
    // its frame.
    bad.push(Request::MoreMac { bytes: b"x" }.encode().unwrap().expose().to_vec());
    bad.push(Request::Verify { mac: &[0; 32] }.encode().unwrap().expose().to_vec());
    bad.push(Request::Sign.encode().unwrap().expose().to_vec());
    bad.push(Request::Open { rows: vec![] }.encode().unwrap().expose().to_vec());
    bad.push(with_length(&[VERSION, 3, 0xff, 0xff, 0xff, 0xff]));
    bad.push(b"GET / HTTP/1.1\r\n\r\n".to_vec());

    // The message that gave a version 2 agent its key, with the present version number.
    let unlock = [&[VERSION, 2, 0, 0, 0, 2, b'/', b'x'], &[3; 16][..], &[9; 16], &[5; 32]].concat();
    bad.push(with_length(&unlock));
    bad.retain(|bytes| reencoded(bytes.get(4..).unwrap_or_default()).is_none_or(|_| bytes[5] >= 5));

    for bytes in &bad {
        let mut stream = home.dial();
        stream.write_all(bytes).unwrap();
        assert_eq!(rest(&stream).as_deref(), Some(&[][..]), "{bytes:02x?}");
    }

    home.assert_serves();
}

#[test]
fn the_largest_frame_is_served() {
    let home = Home::with_agent();
    let stream = home.dial();
    let bytes = vec![0; MAX_FRAME - 6];
    let row_and_slots = row_of_steady();

    send_request(&stream, &Request::BeginMac { path: b"/steady", row_and_slots: &row_and_slots });
    for _ in 0..20 {
        send_request(&stream, &Request::MoreMac { bytes: &bytes });
    }

    let answer = ask(&stream, &Request::Verify { mac: &[0; 32] });
    assert!(decoded(&answer) == Answer::Failed(AgentFault::WrongKey));
}

#[test]
fn frames_may_arrive_in_any_pieces() {
    let home = Home::with_agent();
    let request = Request::Status { path: b"/steady", vault_id: None }.encode().unwrap();
    let mut stream = home.dial();
    for byte in request.expose() {
        stream.write_all(&[*byte]).unwrap();
        sleep(Duration::from_millis(2));
    }

    assert!(matches!(decoded(&frame(&stream).unwrap()), Answer::State { left: Some(_), .. }));
    stream.write_all(&request.expose().repeat(100)).unwrap();
    for _ in 0..100 {
        assert!(matches!(decoded(&frame(&stream).unwrap()), Answer::State { left: Some(_), .. }));
    }
}

#[test]
fn a_newer_client_gets_an_error_and_can_end_the_agent() {
    let home = Home::with_agent();
    let pid = home.pid().unwrap();
    let mut stream = home.dial();
    stream.write_all(&[0, 0, 0, 3, VERSION + 1, 200, 7]).unwrap();
    assert!(decoded(&frame(&stream).unwrap()) == Answer::Failed(AgentFault::Version));
    stream.write_all(&[0, 0, 0, 5, 255, 0, 1, 2, 3]).unwrap();
    assert!(decoded(&frame(&stream).unwrap()) == Answer::Done(true));
    assert_ends(&home, pid);
}
