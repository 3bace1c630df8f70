//! Many, slow and hostile connections do not keep a new client from being served.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::Resource;
use terminal_secrets::agent::{Answer, MAX_CONNECTIONS, MAX_FRAME, Request, VERSION};
use terminal_secrets::model::SecretBytes;

use crate::support::programs::within;
use crate::support::random::Dice;
use crate::support::traces::kib;

use super::{AT_MOST, Home, ask, decoded, descriptors, requests, rest};

#[test]
fn a_new_client_is_served_despite_silent_connections() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    let mut silent: Vec<UnixStream> = (0..100).map(|_| home.dial()).collect();
    sleep(Duration::from_millis(100));
    silent.extend((0..200).map(|_| home.dial()));
    home.assert_serves();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    assert!(descriptors(pid).len() < MAX_CONNECTIONS + 16);

    // The agent closed the oldest connections first.
    let closed = |stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&*stream).read(&mut [0]), Ok(0))
    };

    let closed: Vec<bool> = silent.iter().map(closed).collect();
    assert!(closed[..100].iter().all(|closed| *closed));
    assert!(closed[290..].iter().all(|closed| !closed));
}

/// A flood of minimal frames does not starve other clients. Each flooding client reads its answers,
/// because the agent does not serve one that does not.
#[test]
fn a_new_client_is_served_despite_a_flood_of_small_frames() {
    let home = Home::with_agent();
    let least = Request::Index { path: b"/steady", names: vec![] };
    let flood = least.encode().unwrap().expose().repeat(10_000);
    let streams: Vec<UnixStream> = (0..10).map(|_| home.dial()).collect();

    thread::scope(|scope| {
        for stream in &streams {
            let (flood, mut writer, mut reader) = (&flood, stream, stream);
            scope.spawn(move || while writer.write_all(flood).is_ok() {});
            scope.spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        }

        sleep(Duration::from_millis(500));
        let begun = Instant::now();
        let served = thread::scope(|scope| scope.spawn(|| home.assert_serves()).join());
        let took = begun.elapsed();

        for stream in &streams {
            let _ = stream.shutdown(Shutdown::Both);
        }

        assert!(served.is_ok(), "served after {took:?}");
    });
}

/// Returns true if any frame in these bytes, at any offset, would end the agent. Kind 0 does.
fn locks_all(mut bytes: &[u8]) -> bool {
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if !(2..=MAX_FRAME).contains(&length) || rest.len() < length {
            return false;
        }

        if rest[1] == 0 {
            return true;
        }

        bytes = &rest[length..];
    }

    false
}

/// Sends random bytes, mutated frames and valid ones, several on each connection, and asserts that
/// only valid answers come back.
fn bombard(home: &Home, frames: usize) {
    let mut dice = Dice::new();
    let seed = dice.0;
    let mut whole: Vec<SecretBytes> = requests().into_iter().skip(1).collect();

    for _ in 0..3 {
        whole.push(Request::Index { path: b"/steady", names: vec![b"web"] }.encode().unwrap());
        whole.push(Request::Status { path: b"/steady", vault_id: Some([1; 16]) }.encode().unwrap());
    }

    let (mut sent, mut answered) = (0, 0);
    while sent < frames {
        let mut bytes = Vec::new();
        let kind = dice.below(3);
        for _ in 0..=dice.below(16) {
            let mut next = whole[dice.below(whole.len() as u64) as usize].expose().to_vec();
            match kind {
                0 => {
                    next = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect();

                    // Half of them have a possible length.
                    if dice.below(2) == 0 {
                        next.splice(
                            0..0,
                            [0, 0, 0, dice.below(250) as u8, VERSION, 1 + dice.below(18) as u8],
                        );
                    }
                }
                1 => {
                    for _ in 0..=dice.below(3) {
                        let at = dice.below(next.len() as u64) as usize;
                        match dice.below(4) {
                            0 => next[at] = dice.below(256) as u8,
                            1 => next[at] ^= 1 << dice.below(8),
                            2 => drop(next.remove(at)),
                            _ => next.insert(at, dice.below(256) as u8),
                        }
                    }
                }
                _ => {}
            }

            bytes.extend(next);
            sent += 1;
        }

        if locks_all(&bytes) {
            continue;
        }

        let stream = home.dial();
        let _ = (&stream).write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let data =
            rest(&stream).unwrap_or_else(|| panic!("seed {seed}: no end after {bytes:02x?}"));

        let mut data = data.as_slice();
        while let Some((length, rest)) = data.split_first_chunk() {
            let (answer, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
            assert!(Answer::decode(answer).is_ok(), "seed {seed}");
            answered += 1;
            data = rest;
        }

        assert!(data.is_empty(), "seed {seed}");
    }

    assert!(answered > frames / 100, "seed {seed}: only {answered} of {sent} answered");
}

fn survives(frames: usize) {
    let home = Home::with_agent();
    let pid = home.pid().unwrap();
    bombard(&home, frames.min(1000));
    let before = kib(pid, "VmRSS");

    bombard(&home, frames);
    home.assert_serves();
    assert_eq!(home.pid(), Some(pid));
    let after = kib(pid, "VmRSS");

    assert!(after < before + 8 * 1024, "{before} KiB, then {after}");
    within(AT_MOST, "all connections are closed", || descriptors(pid).len() < 16);
    let steady = ask(&home.dial(), &Request::Status { path: b"/steady", vault_id: None });
    assert!(matches!(decoded(&steady), Answer::State { left: Some(_), .. }));
}

#[test]
fn thousands_of_random_frames_do_no_harm() {
    survives(3000);
}

#[test]
#[ignore = "a minute"]
fn a_hundred_thousand_random_frames_do_no_harm() {
    survives(100_000);
}

#[test]
#[ignore = "half a minute"]
fn ten_thousand_connections_do_no_harm() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    let before = kib(pid, "VmRSS");

    // Open as many connections as the limit allows. Each is silent or in the middle of a frame.
    let most = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1024).min(12_000)
        as usize
        - 200;
    let mut open = std::collections::VecDeque::new();
    for n in 0..10_000 {
        let mut stream = home.dial();
        if n % 2 == 0 {
            let _ = stream.write_all(&[0, 0, 0xff, 0xff, VERSION, 12]);
        }

        open.push_back(stream);
        if open.len() > most {
            open.pop_front();
        }

        if n % 500 == 0 {
            home.assert_serves();
            assert!(descriptors(pid).len() < MAX_CONNECTIONS + 16);
        }
    }

    home.assert_serves();
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");
    let after = kib(pid, "VmRSS");
    assert!(after < before + 16 * 1024, "{before} KiB, then {after}");
}

#[test]
#[ignore = "half a minute"]
fn three_hundred_slow_connections_time_out() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    let request = Request::Index { path: b"/steady", names: vec![&[b'a'; 1000]] }.encode().unwrap();
    let mut slow: Vec<UnixStream> = (0..300).map(|_| home.dial()).collect();

    for byte in &request.expose()[..12] {
        for stream in &mut slow {
            let _ = stream.write_all(&[*byte]);
        }

        home.assert_serves();
        home.free(["list", "-q"]).run().succeeds().stdout_has("key");
        sleep(Duration::from_secs(1));
    }

    assert!(descriptors(pid).len() < 16);

    // The agent also closes connections that stay silent.
    let silent: Vec<UnixStream> = (0..20).map(|_| home.dial()).collect();
    within(Duration::from_secs(15), "the connections are closed", || descriptors(pid).len() < 16);
    drop(silent);
}
