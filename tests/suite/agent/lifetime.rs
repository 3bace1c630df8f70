//! An agent ends at its time limits and on signals.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use terminal_secrets::agent::{Answer, Request};

use super::{AT_MOST, HOUR, Home, ask, assert_ends, decoded};

#[test]
fn signals_end_the_agent() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let home = Home::unlocked();
        let pid = home.pid().unwrap();
        kill_process(pid, signal).unwrap();
        assert_ends(&home, pid);
        stderr!(home.free(["list"]).run().fails_with(5), @"
        error: no passphrase was given and there is no terminal to ask on
        hint: use `--passphrase-file PATH`, SECRETS_PASSPHRASE_FILE or SECRETS_PASSPHRASE
        hint: or unlock the vault for a while with `secrets unlock` on a terminal
        ");
    }
}

#[test]
fn the_time_limit_holds_whatever_happens() {
    let home = Home::new();
    let begun = Instant::now();
    home.run(["unlock", "--ttl", "2s", "-q"]).succeeds();
    let pid = home.pid().unwrap();

    while home.free(["list", "-q"]).run().everything().0 == Some(0) {
        assert!(begun.elapsed() < AT_MOST);
    }

    assert!(begun.elapsed() > Duration::from_secs(2));
    assert_ends(&home, pid);
}

#[test]
fn the_idle_limit_is_extended_only_by_requests() {
    let home = Home::empty("/steady");
    home.start_agent(Duration::from_millis(1500), Duration::from_millis(500));
    let (pid, begun) = (home.pid().unwrap(), Instant::now());
    let state =
        || match decoded(&ask(&home.dial(), &Request::Status { path: b"/steady", vault_id: None }))
        {
            Answer::State { left, .. } => left,
            _ => panic!("no state"),
        };

    while begun.elapsed() < Duration::from_millis(1200) {
        let (ttl, idle) = state().unwrap();
        assert!(ttl <= 1500 && idle <= 500 && idle <= ttl);
        sleep(Duration::from_millis(150));
    }

    assert_ends(&home, pid);
    assert!((1300..4000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    home.start_agent(HOUR, Duration::from_millis(700));
    let (pid, begun) = (home.pid().unwrap(), Instant::now());

    // A question about another vault does not count as use of this one.
    while begun.elapsed() < Duration::from_millis(500) {
        home.assert_serves();
        sleep(Duration::from_millis(100));
    }

    assert_ends(&home, pid);
    assert!((500..2500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}
