//! A frame of the protocol round-trips, has a limited size, and is served or refused whole.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use terminal_secrets::agent::{
    AgentFault, Answer, ChangeKind, Handover, MAX_ANSWER, MAX_FRAME, MAX_NAMES, ProjectFrame,
    Request, VERSION,
};
use terminal_secrets::model::SecretBytes;

use super::{Home, ask, assert_ends, decoded, frame, requests, rest, send_request};

fn answers() -> Vec<SecretBytes> {
    let faults = [
        AgentFault::Locked,
        AgentFault::Replaced,
        AgentFault::RolledBack,
        AgentFault::ProjectRolledBack,
        AgentFault::Directory,
        AgentFault::WrongKey,
        AgentFault::NoProject,
        AgentFault::ProjectExists,
        AgentFault::TooManyProjects,
        AgentFault::Refused,
        AgentFault::Newer,
        AgentFault::System,
        AgentFault::Version,
    ];

    let project = || Some(ProjectFrame { entry: b"entry", keys: &[1; 70], ticket: &[2; 90] });
    let mut all = vec![
        Answer::Done(true),
        Answer::Done(false),
        Answer::State { left: None },
        Answer::State { left: Some((1, u64::MAX)) },
        Answer::Bytes(&[]),
        Answer::Bytes(&[9; 32]),
        Answer::Directory { epoch: 3, owner: [4; 32], head: &[5; 50] },
        Answer::Projects(vec![]),
        Answer::Projects(vec![project(), None, project()]),
        Answer::MessageKeys(&[]),
        Answer::MessageKeys(&[6; 136]),
        Answer::Signed { head: &[7; 50], sig: &[8; 64], entry: b"", entry_sig: &[9; 64] },
        Answer::Changed { head: &[7; 50], added: vec![], changes: b"" },
        Answer::Changed { head: &[7; 50], added: vec![project(), None], changes: &[1; 80] },
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

        // The body of kind 0 is never read.
        let lock_all = body[1] == 0;
        for cut in 0..body.len() {
            assert!(reencoded(&body[..cut]).is_none(), "{cut} of {body:02x?}");
        }

        for extra in [0, 1, 255] {
            assert_eq!(
                reencoded(&[body, &[extra]].concat()).is_some(),
                lock_all,
                "{body:02x?} and {extra}"
            );
        }

        for version in [0, VERSION - 1, VERSION + 1, 255] {
            let other = [&[version], &body[1..]].concat();
            assert_eq!(reencoded(&other).is_some(), lock_all);
        }
    }
}

/// A changed byte gives another frame, or none. So no two frames mean the same.
#[test]
fn a_changed_byte_is_refused_or_means_something_else() {
    for frame in requests().iter().chain(&answers()) {
        let body = &frame.expose()[4..];
        for at in 1..body.len() {
            for byte in [0, 1, 127, 128, 255, body[at] ^ 1, body[at].wrapping_add(1)] {
                let mut changed = body.to_vec();
                changed[at] = byte;
                let is_lock_all = changed[1] == 0;
                if let Some(read) = reencoded(&changed).filter(|_| !is_lock_all) {
                    assert_eq!(read.expose()[4..], changed, "byte {at}");
                }
            }
        }
    }
}

#[test]
fn unknown_kinds_are_refused() {
    let known = [0, 1, 3, 11, 12, 13, 14, 15, 16, 17, 18];
    let bodies: Vec<Vec<u8>> = requests()
        .iter()
        .chain(&answers())
        .map(|frame| frame.expose()[6..].to_vec())
        .chain([vec![], vec![0; 4], vec![0; 100]])
        .collect();

    for kind in 0..=255 {
        for fields in &bodies {
            let frame = [&[VERSION, kind], &fields[..]].concat();
            if !known.contains(&kind) {
                assert!(Request::decode(&frame).is_err(), "kind {kind}");
            }

            // 131 carried key rings in version 3.
            if !(128..=137).contains(&kind) || kind == 131 {
                assert!(Answer::decode(&frame).is_err(), "kind {kind}");
            }
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
    let index = |name: &[u8]| Request::Index { path: b"", names: vec![name] }.encode();
    let most = vec![0; MAX_FRAME - 14];
    assert_eq!(index(&most).unwrap().len(), MAX_FRAME + 4);
    assert!(index(&[&most[..], &[0]].concat()).is_none());

    let projects = |count: usize| {
        let none = (0..count).map(|_| None).collect();
        let frame = Answer::Projects(none).encode().unwrap();
        Answer::decode(&frame.expose()[4..]).is_ok()
    };

    assert!(projects(MAX_NAMES) && !projects(MAX_NAMES + 1));
    let most = vec![0; MAX_ANSWER - 6];
    assert_eq!(Answer::Bytes(&most).encode().unwrap().len(), MAX_ANSWER + 4);
    assert!(Answer::Bytes(&[&most[..], &[0]].concat()).encode().is_none());
}

fn with_length(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// The agent closes the connection after each of these, without an answer.
#[test]
fn malformed_frames_get_no_answer() {
    let home = Home::with_agent();
    let mut bad: Vec<Vec<u8>> =
        [0, 1, MAX_FRAME as u32 + 1, 1 << 30, u32::MAX].map(|n| n.to_be_bytes().to_vec()).into();

    for kind in [2, 19, 64, 77, 128, 131, 132, 255].into_iter().chain(4..=10) {
        bad.push(with_length(&[VERSION, kind]));
    }

    for frame in requests().iter().filter(|frame| frame.expose()[5] != 0) {
        bad.push(with_length(&[&frame.expose()[4..], b"x"].concat()));
        bad.push(with_length(&frame.expose()[4..frame.len() - 1]));
    }

    // A path that is longer than its frame.
    bad.push(with_length(&[VERSION, 3, 0xff, 0xff, 0xff, 0xff]));
    bad.push(b"GET / HTTP/1.1\r\n\r\n".to_vec());

    // The message that gave a version 2 agent its key, with the present version number.
    let unlock = [&[VERSION, 2, 0, 0, 0, 2, b'/', b'x'], &[3; 16][..], &[9; 16], &[5; 32]].concat();
    bad.push(with_length(&unlock));

    for bytes in &bad {
        let mut stream = home.dial();
        stream.write_all(bytes).unwrap();
        assert_eq!(rest(&stream).as_deref(), Some(&[][..]), "{bytes:02x?}");
    }

    home.assert_serves();
}

/// The fields of these frames follow the protocol, but their content does not.
#[test]
fn meaningless_content_gets_no_answer() {
    let home = Home::with_agent();
    let (path, vault_id) = (b"/steady".as_slice(), [1; 16]);

    // The hash of the slots, a flag, and rows without a head, buckets, leaves, records and values.
    let none = [0; 53].as_slice();
    let change = |kind, names| Request::Change { path, vault_id, rows: none, kind, names };
    let (many, indexes) = (vec![b"x".as_slice(); MAX_NAMES + 1], [0; 16 * (MAX_NAMES + 1)]);
    let open = |rows, indexes| Request::Open { path, vault_id, rows, indexes };
    let bad = [
        Request::Index { path, names: vec![b"a name"] },
        Request::Index { path, names: vec![b"good", b"\xff"] },
        Request::Directory { path, vault_id, rows: b"" },
        Request::Directory { path, vault_id, rows: &[0; 54] },
        Request::Directory { path, vault_id, rows: &[255; 53] },
        open(none, &[0; 17]),
        open(none, &indexes),
        open(&[1; 51], &[0; 16]),
        Request::MessageKeys { path, ticket: b"", wanted: vec![] },
        Request::MessageKeys { path, ticket: &[7; 300], wanted: vec![] },
        Request::Sign(super::sign_frame(path, None)),
        Request::Head { path, ticket: &[7; 300], row: super::sign_frame(path, None).previous },
        change(ChangeKind::Add, vec![b"a name"]),
        change(ChangeKind::Add, many),
        change(ChangeKind::Rename, vec![b"one"]),
        change(ChangeKind::Rename, vec![b"one", b"two", b"three"]),
    ];

    for (number, request) in bad.iter().enumerate() {
        let stream = home.dial();
        send_request(&stream, request);
        assert_eq!(rest(&stream).as_deref(), Some(&[][..]), "request {number}");
    }

    home.assert_serves();
}

#[test]
fn the_largest_frame_is_served() {
    let home = Home::with_agent();

    // The length of kind, path and number of names is 17. A name has its length in front.
    let mut names: Vec<String> = (0..4094).map(|n| format!("n{n:011}")).collect();
    names.push("m0123456789".to_owned());
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let request = Request::Index { path: b"/steady", names };
    assert_eq!(request.encode().unwrap().len(), MAX_FRAME + 4);
    let answer = ask(&home.dial(), &request);
    assert!(matches!(decoded(&answer), Answer::Bytes(bytes) if bytes.len() == 16 * 4095));
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
