//! Shows that relays delay, count, and break connections.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{psql, text};
use crate::postmaster::wait_for;
use crate::{Cluster, Cut, Database, Relay};

/// A `psql` of the role `app` that is connected and executes what we send.
struct Session(Child);

impl Session {
    fn start(database: &Database, port: u16) -> Self {
        let url = database.url_at(port) + "&sslmode=verify-full";
        let mut command = Command::new("psql");
        command.env("PGPASSWORD", database.password()).args(["-qAtX", &url]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());

        let mut session = Self(command.spawn().unwrap());
        session.send("select 'ready'");
        let mut line = String::new();
        BufReader::new(session.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        session
    }

    fn send(&mut self, statement: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{statement};").unwrap();
    }

    /// Waits for the end of `psql`. Returns its last result, or its error messages.
    fn finish(self) -> String {
        text(&self.0.wait_with_output().unwrap())
    }

    /// Waits a second, and returns true if `psql` still runs.
    fn hangs(&mut self) -> bool {
        drop(self.0.stdin.take());
        thread::sleep(Duration::from_secs(1));
        self.0.try_wait().unwrap().is_none()
    }
}

#[test]
fn a_relay_counts_and_delays() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::from_millis(40));

    let start = Instant::now();
    assert_eq!(text(&psql(&database, relay.port(), "select 1").output().unwrap()), "1");
    let elapsed = start.elapsed();

    // The handshake of TCP takes one trip, TLS three or four, SCRAM two, and the query one. The
    // client does not wait after the last flights, which end the session.
    assert!(elapsed >= Duration::from_millis(40) * 7, "{elapsed:?}");
    assert!(matches!(relay.trips(), 6..=9), "{}", relay.trips());
    assert!(matches!(relay.answered_trips(), 6..=8), "{}", relay.answered_trips());
    assert!(relay.bytes_up() > 500 && relay.bytes_down() > 1000);
    assert_eq!(relay.connections(), 1);

    relay.reset();
    assert_eq!((relay.trips(), relay.bytes_up(), relay.connections()), (0, 0, 0));
}

#[test]
fn one_statement_is_one_trip() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::from_millis(10));

    let mut session = Session::start(&database, relay.port());
    relay.reset();
    session.send("select repeat('x', 100000)");
    wait_for("the answer", || relay.bytes_down() > 100_000);
    assert_eq!((relay.trips(), relay.connections()), (1, 0));
    assert_eq!(session.finish().len(), 100_000);
}

#[test]
fn a_delay_does_not_limit_the_bandwidth() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::from_millis(100));

    let start = Instant::now();
    let output = psql(&database, relay.port(), "select repeat('x', 20000000)").output().unwrap();
    assert_eq!(text(&output).len(), 20_000_000);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn a_cut_loses_the_request_or_the_answer() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::from_millis(2));
    database.sql("create table entries (id int); grant all on entries to app");

    for (how, is_executed) in [
        (Cut::RequestLost, "0"),
        (Cut::HalfRequest, "0"),
        (Cut::AnswerLost, "1"),
        (Cut::HalfAnswer, "1"),
    ] {
        let mut session = Session::start(&database, relay.port());
        relay.reset();
        relay.cut(1, how);
        session.send("insert into entries values (1)");
        let error = session.finish();
        assert!(error.contains("connection to server was lost"), "{how:?}: {error}");
        assert_eq!((relay.cuts(), relay.trips()), (1, 1), "{how:?}");

        let found = database.sql("select count(*) from entries");
        assert_eq!(found, is_executed, "{how:?}");
        database.sql("truncate entries");
    }
}

#[test]
fn every_flight_of_a_login_can_be_cut() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::ZERO);

    for how in [Cut::RequestLost, Cut::HalfRequest, Cut::AnswerLost, Cut::HalfAnswer] {
        for flight in 1..=5 {
            relay.reset();
            relay.cut(flight, how);
            let output = psql(&database, relay.port(), "select 1").output().unwrap();
            assert!(!output.status.success(), "{how:?} of flight {flight}");
            assert_eq!(relay.cuts(), 1);
        }
    }

    relay.cut(1, Cut::RequestLost);
    relay.cancel_cut();
    assert_eq!(text(&psql(&database, relay.port(), "select 1").output().unwrap()), "1");
}

#[test]
fn a_silent_connection_hangs_and_its_session_stays() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::ZERO);

    let mut session = Session::start(&database, relay.port());
    relay.cut(1, Cut::Silence);
    session.send("select 1");
    assert!(session.hangs());
    session.0.kill().unwrap();
    session.finish();
    assert_eq!(relay.cuts(), 1);

    // The server does not notice that the client has ended.
    let sessions = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and usename = 'app'",
        database.name()
    );
    thread::sleep(Duration::from_millis(100));
    assert_eq!(cluster.sql(&sessions), "1");

    drop(relay);
    wait_for("the end of the session", || cluster.sql(&sessions) == "0");
}

#[test]
fn a_blocked_relay_refuses_connections() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::ZERO);

    let mut session = Session::start(&database, relay.port());
    relay.block();
    session.send("select 1");
    assert!(session.finish().contains("connection to server was lost"));
    assert!(!psql(&database, relay.port(), "select 1").output().unwrap().status.success());
    assert_eq!(relay.connections(), 1);

    relay.unblock();
    assert_eq!(text(&psql(&database, relay.port(), "select 1").output().unwrap()), "1");
}

#[test]
fn a_frozen_relay_holds_back_everything() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::ZERO);

    let mut session = Session::start(&database, relay.port());
    relay.freeze();
    session.send("select 'thawed'");
    let port = relay.port();
    let late = thread::spawn({
        let mut command = psql(&database, port, "select 1");
        move || command.output().unwrap()
    });

    assert!(session.hangs());
    assert!(!late.is_finished());
    relay.thaw();
    assert_eq!(session.finish(), "thawed");
    assert_eq!(text(&late.join().unwrap()), "1");
}

#[test]
fn a_dropped_relay_closes_everything() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let relay = Relay::start(cluster.port(), Duration::ZERO);
    let port = relay.port();

    let mut session = Session::start(&database, port);
    drop(relay);
    session.send("select 1");
    assert!(session.finish().contains("connection to server was lost"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
