//! A ticket holds a project's keys for the agent that sealed it. It opens nothing for anybody else,
//! and nothing after `lock`.

use std::io::Write;
use std::os::unix::net::UnixStream;

use memchr::memmem;
use terminal_secrets::agent::{Answer, ChangeKind, Request};
use terminal_secrets::model::Class;
use terminal_secrets::vault::WantedKey;

use crate::support::programs::{has_ended, within};
use crate::support::specimen::{self, Specimen, VAULT_ID};

use super::signing::{request, signed};
use super::watched::{Watched, index, kept_keys};
use super::{AT_MOST, Home, ask, decoded, rest, send_request};

/// A new seal of a value.
const WANTED: WantedKey = WantedKey { rid: [4; 8], generation: 0, class: Class::Team, salt: None };

fn keys_of<'a>(watched: &'a Watched, ticket: &'a [u8]) -> Request<'a> {
    Request::MessageKeys { path: watched.path(), ticket, wanted: vec![WANTED] }
}

/// Sends a request and returns true if the agent closes the connection without an answer. It may
/// have closed it before.
fn is_closed_by(mut stream: &UnixStream, request: &Request<'_>) -> bool {
    let sent = stream.write_all(request.encode().unwrap().expose());
    sent.is_err() || rest(stream).is_some_and(|answer| answer.is_empty())
}

#[test]
fn a_changed_ticket_is_refused() {
    let watched = Watched::new(Specimen::new());
    let ticket = watched.find("alpha").ticket;
    let answer = ask(&watched.home.dial(), &keys_of(&watched, &ticket));
    assert!(matches!(decoded(&answer), Answer::MessageKeys(keys) if keys.len() == 24 + 44));

    for at in 0..ticket.len() {
        let mut changed = ticket.to_vec();
        changed[at] ^= 1 << (at % 8);
        let stream = watched.home.dial();
        assert!(is_closed_by(&stream, &keys_of(&watched, &changed)), "byte {at}");
    }

    for cut in [0, 1, 24, 40, ticket.len() - 1] {
        let stream = watched.home.dial();
        assert!(is_closed_by(&stream, &keys_of(&watched, &ticket[..cut])), "cut at {cut}");
    }

    let longer = [&ticket[..], &[0]].concat();
    assert!(is_closed_by(&watched.home.dial(), &keys_of(&watched, &longer)));
}

#[test]
fn a_changed_ticket_signs_nothing() {
    let watched = Watched::new(Specimen::new());
    let found = watched.find("alpha");
    for at in (0..found.ticket.len()).step_by(11) {
        let mut frame = request(&watched, &found);
        let mut changed = found.ticket.to_vec();
        changed[at] ^= 0x80;
        frame.ticket = changed;
        assert!(is_closed_by(&watched.home.dial(), &frame.request(&watched)), "byte {at}");
    }

    signed(&watched, &watched.home.dial(), &request(&watched, &found));
}

/// Keeps a connection and a ticket, as a program could that was run while the vault was unlocked.
#[test]
fn a_kept_connection_and_a_kept_ticket_end_with_lock() {
    let watched = Watched::new(Specimen::new());
    let (found, pid) = (watched.find("alpha"), watched.home.pid().unwrap());
    let kept: Vec<UnixStream> = (0..7).map(|_| watched.home.dial()).collect();
    for stream in &kept {
        let answer = ask(stream, &keys_of(&watched, &found.ticket));
        assert!(matches!(decoded(&answer), Answer::MessageKeys(_)));
    }

    let (rows, frame) = (watched.rows(&["alpha"]), request(&watched, &found));
    assert!(watched.client().lock().unwrap());
    let (path, vault_id) = (watched.path(), VAULT_ID);
    let requests = [
        keys_of(&watched, &found.ticket),
        frame.request(&watched),
        Request::Head { path, ticket: &found.ticket, row: watched.row(&found.entry.pid) },
        Request::CheckpointKey { path },
        Request::Directory { path, vault_id, rows: &rows },
        Request::Open { path, vault_id, rows: &rows, indexes: &index("alpha") },
        Request::Change {
            path,
            vault_id,
            rows: &rows,
            kind: ChangeKind::Delete,
            names: vec![b"alpha"],
        },
    ];

    for (number, (stream, request)) in kept.iter().zip(&requests).enumerate() {
        assert!(is_closed_by(stream, request), "request {number}");
    }

    within(AT_MOST, "the agent ends", || has_ended(pid));

    // A new agent of the same vault has another key for its tickets.
    watched.start();
    watched.look().unwrap();
    for request in &requests[..3] {
        assert!(is_closed_by(&watched.home.dial(), request));
    }

    let fresh = watched.find("alpha");
    assert_ne!(fresh.ticket, found.ticket);
    let answer = ask(&watched.home.dial(), &keys_of(&watched, &fresh.ticket));
    assert!(matches!(decoded(&answer), Answer::MessageKeys(_)));
}

/// Even two agents with the same root key do not open each other's tickets.
#[test]
fn a_ticket_of_another_agent_is_refused() {
    let (one, other) = (Watched::new(Specimen::new()), Watched::new(Specimen::new()));
    let ticket = one.find("alpha").ticket;
    assert!(is_closed_by(&other.home.dial(), &keys_of(&other, &ticket)));

    let (home, path) = (Home::with_agent(), b"/steady".as_slice());
    let request = Request::MessageKeys { path, ticket: &ticket, wanted: vec![] };
    assert!(is_closed_by(&home.dial(), &request));
}

/// The directory has no ticket, so its own key rings cannot be opened with message keys.
#[test]
fn the_directory_has_no_ticket() {
    let watched = Watched::new(Specimen::new());
    let store = watched.store();
    let (rows, stream) = (watched.rows(&["alpha", "beta"]), watched.home.dial());
    let indexes = [index("alpha"), index("beta"), [0; 16]];
    let request = Request::Open {
        path: watched.path(),
        vault_id: VAULT_ID,
        rows: &rows,
        indexes: indexes.as_flattened(),
    };

    // There is no project at an index of zeros, and no bucket that proves it in these rows.
    let answer = ask(&stream, &request);
    assert!(matches!(decoded(&answer), Answer::Failed(_) | Answer::Projects(_)));
    for name in ["alpha", "beta"] {
        let found = watched.find(name);
        assert_ne!(found.entry.pid, [0; 16]);
        assert!(
            found.ring().unwrap().values.is_none() && found.ring().unwrap().restricted.is_none()
        );
    }

    // The keys of values are in the tickets, but sealed.
    let keys = kept_keys(store.path(), &specimen::root());
    for name in ["alpha", "beta"] {
        let ticket = watched.find(name).ticket;
        for (key, bytes) in &keys {
            assert!(bytes.windows(8).all(|part| memmem::find(&ticket, part).is_none()), "{key}");
        }
    }
}

/// Reads the answers to every request of a session.
#[test]
fn no_answer_contains_a_key_that_the_agent_keeps() {
    let watched = Watched::new(Specimen::new());
    let stream = watched.home.dial();
    let (path, vault_id) = (watched.path(), VAULT_ID);
    let (found, rows) = (watched.find("alpha"), watched.rows(&["alpha", "beta", "gamma"]));
    let wanted = |class| WantedKey { class, ..WANTED };
    let wanted = vec![wanted(Class::Team), wanted(Class::Restricted)];
    let change = |kind, names| Request::Change { path, vault_id, rows: &rows, kind, names };
    let frame = request(&watched, &found);
    let indexes = [index("alpha"), index("beta")];

    let requests = [
        Request::Status { path, vault_id: Some(vault_id) },
        Request::CheckpointKey { path },
        Request::Index { path, names: vec![b"alpha", b"absent"] },
        Request::Directory { path, vault_id, rows: &rows },
        Request::Open { path, vault_id, rows: &rows, indexes: indexes.as_flattened() },
        Request::MessageKeys { path, ticket: &found.ticket, wanted },
        Request::Head { path, ticket: &found.ticket, row: watched.row(&found.entry.pid) },
        frame.request(&watched),
        change(ChangeKind::Add, vec![b"gamma"]),
        change(ChangeKind::Rename, vec![b"alpha", b"gamma"]),
        change(ChangeKind::Delete, vec![b"beta"]),
    ];

    let mut data = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let answer = ask(&stream, request);
        assert!(!matches!(decoded(&answer), Answer::Failed(_)), "request {number}");
        data.push(answer);
    }

    send_request(&stream, &Request::Lock { path });
    data.push(rest(&stream).unwrap());
    let all = data.concat();
    assert!(
        memmem::find(&all, found.ring().unwrap().metadata.expose()).is_some(),
        "PMK is given out"
    );
    for (name, key) in kept_keys(watched.store().path(), &specimen::root()) {
        assert!(key.windows(8).all(|part| memmem::find(&all, part).is_none()), "{name}");
    }
}
