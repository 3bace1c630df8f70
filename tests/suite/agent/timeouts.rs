//! Stopped, replaced and slow agents and clients time out, and nobody waits for them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::process::{Signal, kill_process};
use terminal_secrets::agent::{AgentFault, Answer, Client, Request};
use terminal_secrets::vault::{KeyServiceError, Locked};

use crate::support::passphrase;
use crate::support::programs::{has_ended, within};
use crate::support::traces::kib;

use super::{
    AT_MOST, HOUR, Home, agents_in, ask, decoded, descriptors, impostor, impostor_at, program, rest,
};

/// These six cases mostly wait, so they run in parallel.
#[test]
fn stopped_replaced_and_slow_agents_and_clients_time_out() {
    let tests: [fn(); 6] = [
        an_impostor_in_the_agents_place_gets_no_key,
        concurrent_unlocks_leave_one_agent,
        a_stopped_agent_is_an_error_and_not_an_endless_wait,
        the_longest_and_the_shortest_time_are_served,
        unread_answers_time_out,
        an_unfinished_frame_times_out,
    ];

    thread::scope(|scope| {
        for test in tests {
            scope.spawn(test);
        }
    });
}

fn concurrent_unlocks_leave_one_agent() {
    let home = Home::new();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| home.run(["unlock", "-q"]).succeeds());
        }
    });

    assert!(home.is_unlocked());

    // Agents that were replaced end by themselves.
    within(AT_MOST, "only one agent is left", || agents_in(&home.directory()) == 1);
    assert!(home.is_unlocked());
}

/// An impostor in an agent's place, of this or an earlier version, gets no byte of the root key and
/// blocks nobody.
fn an_impostor_in_the_agents_place_gets_no_key() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let answers = [
        Answer::Done(true),
        Answer::State { left: Some((1, 1)) },
        Answer::Failed(AgentFault::WrongKey),
    ];

    let mut answers: Vec<Vec<u8>> =
        answers.iter().map(|answer| answer.encode().unwrap().expose().to_vec()).collect();
    answers.extend([vec![], b"no frame at all".to_vec()]);
    let meets = |answer: Vec<u8>| {
        let home = Home::new();
        let hear = |heard: &Arc<Mutex<Vec<u8>>>| {
            let (heard, answer) = (Arc::clone(heard), answer.clone());
            move |mut stream: UnixStream| {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut piece) {
                    heard.lock().unwrap().extend_from_slice(&piece[..length]);
                    if stream.write_all(&answer).is_err() || answer.is_empty() {
                        return;
                    }
                }
            }
        };

        impostor(&home, hear(&heard));
        impostor_at(&home.directory().join("agent.sock"), hear(&heard));
        home.run(["unlock", "-q"]).succeeds();
        home.free(["list", "-q"]).run().succeeds().stdout_has("key");
        assert!(
            home.pid().is_some_and(|pid| pid != rustix::process::getpid()),
            "the agent took the place over"
        );

        assert!(!home.directory().join("agent.sock").exists());
        *Locked::open(&home.vault_path()).unwrap().root_key(&passphrase()).unwrap().expose()
    };

    // Each case mostly waits.
    let roots: Vec<[u8; 32]> = thread::scope(|scope| {
        let all: Vec<_> =
            answers.into_iter().map(|answer| scope.spawn(move || meets(answer))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });

    for root in roots {
        let heard = heard.lock().unwrap();
        assert!(root.windows(4).all(|piece| memmem::find(&heard, piece).is_none()));
    }

    assert!(heard.lock().unwrap().len() > 1000, "the impostors received some traffic");
}

fn a_stopped_agent_is_an_error_and_not_an_endless_wait() {
    let home = Home::unlocked();
    let pid = home.pid().unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    thread::scope(|scope| {
        for command in ["list", "status"] {
            let home = &home;
            scope.spawn(move || {
                let begun = Instant::now();
                stderr!(home.free([command]).run().fails_with(1), @"
                error: the agent does not respond
                hint: stop it with `pkill -KILL -x -u $(id -u) secrets-agent`, then run `secrets unlock` again
                ");

                assert!(begun.elapsed() < AT_MOST, "{command}: {:?}", begun.elapsed());
            });
        }
    });

    home.run(["list", "-q"]).succeeds().stdout_has("key");

    // `unlock` replaces the stopped agent, which ends as soon as it continues.
    let impatient = Client::new(&home.place(), &home.vault, Duration::from_millis(500));
    let locked = Locked::open(&home.vault_path()).unwrap();
    let root = locked.root_key(&passphrase()).unwrap();
    impatient.unlock(program(), &locked, &root, (HOUR, HOUR)).unwrap();

    let next = home.pid().unwrap();
    assert_ne!(next, pid);
    kill_process(pid, Signal::CONT).unwrap();
    within(AT_MOST, "the stopped agent ends", || has_ended(pid));
    home.free(["list", "-q"]).run().succeeds().stdout_has("key");

    // An agent that `lock` could not reach ends in the same way.
    kill_process(next, Signal::STOP).unwrap();
    assert!(matches!(impatient.lock(), Err(KeyServiceError::Timeout)));
    stderr!(home.free(["status", "-q"]).run().fails_with(5), @"
    `[dir]/vault.db` is locked
    hint: unlock it with `secrets unlock`
    ");

    kill_process(next, Signal::CONT).unwrap();
    within(AT_MOST, "it ends", || has_ended(next));
}

fn the_longest_and_the_shortest_time_are_served() {
    let home = Home::empty("/steady");
    home.start_agent(Duration::MAX, Duration::MAX);
    let pid = home.pid().unwrap();
    let state = ask(&home.dial(), &Request::Status { path: b"/steady", vault_id: None });

    assert!(matches!(decoded(&state), Answer::State { left: Some(_), .. }));
    for (ttl, idle) in [(Duration::ZERO, Duration::MAX), (Duration::MAX, Duration::ZERO)] {
        home.start_agent(ttl, idle);
        within(AT_MOST, "the agent ends", || !home.socket().exists());
    }

    within(AT_MOST, "the first agent notices that it was replaced", || has_ended(pid));
}

fn an_unfinished_frame_times_out() {
    let home = Home::with_agent();
    let begun = Instant::now();
    let mut stream = home.dial();
    let request = Request::Status { path: b"/steady", vault_id: None }.encode().unwrap();

    for byte in request.expose() {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }

        sleep(Duration::from_millis(500));
    }

    assert_eq!(rest(&stream).as_deref(), Some(&[][..]));
    assert!(begun.elapsed() < AT_MOST, "{:?}", begun.elapsed());
}

/// The agent drops a client that does not read its answers. No other client waits for it.
fn unread_answers_time_out() {
    let home = Home::with_agent();
    let pid = home.pid().unwrap();
    let request = Request::Status { path: b"/steady", vault_id: None }.encode().unwrap();
    let many = request.expose().repeat(100);
    let greedy: Vec<UnixStream> = (0..20).map(|_| home.dial()).collect();
    let begun = Instant::now();

    for mut stream in &greedy {
        stream.set_nonblocking(true).unwrap();
        while stream.write(&many).is_ok() {
            assert!(begun.elapsed() < AT_MOST);
        }
    }

    home.assert_serves();
    within(AT_MOST, "the connections are closed", || descriptors(pid).len() < 16);
    assert!(kib(pid, "VmRSS") < 64 * 1024);
}
