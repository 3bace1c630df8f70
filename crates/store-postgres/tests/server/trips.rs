//! The numbers of trips and bytes, counted by a relay.

use std::thread;
use std::time::Duration;

use secrets_core::model::ProjectName;
use secrets_core::store::Server;
use secrets_core::store::remote::{Begin, Request};
use secrets_core::vault::{
    CopyRequest, Import, IncomingSecret, OnConflict, Reveal, SecretChanges, Vault,
};
use secrets_store_postgres::PostgresServer;
use test_postgres::{Cluster, Relay};

use crate::world::{World, by_tag, project, secret, tag, value};

/// The round trips of the relay. The relay counts one flight as two where the client stops for that long
/// between two parts of it, as it may on a busy machine. Therefore wrong counts are counted again with the
/// second one.
const ROUND_TRIPS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// The secrets of each project. Those of `large` take more than 64 KiB together.
const COUNT: usize = 40;

fn name(number: usize) -> String {
    format!("tag-{number:03}")
}

/// A vault behind a relay that counts.
struct Counter {
    world: World,
    relay: Relay,
    round_trip: Duration,
    /// The number of trips that connecting takes
    connecting: u64,
    /// The counts that were too high
    wrong: Vec<String>,
}

impl Counter {
    fn start(round_trip: Duration) -> Option<Self> {
        let world = World::new()?;
        let vault = world.vault("writer", None);
        for (name, size) in [("small", 20), ("large", 4000)] {
            let new = (0..COUNT).map(|number| secret(&self::name(number), &vec![b'x'; size]));
            vault.create_all(&project(name), new).unwrap();
        }

        let relay = Relay::start(Cluster::shared().unwrap().port(), round_trip);
        let mut counter = Self { world, relay, round_trip, connecting: 0, wrong: Vec::new() };
        let address = counter.world.address(Some(counter.relay.port()));
        let server = PostgresServer::new(&address.encode()).unwrap();
        let request = Request { begin: Some(Begin::Read), ..Request::default() };
        let trips = counter.trips(|| drop(server.ask(&request).unwrap()));
        counter.connecting = trips - 1;
        Some(counter)
    }

    fn vault(&self, machine: &str) -> Vault {
        self.world.vault(machine, Some(self.relay.port()))
    }

    /// Returns the number of trips that `act` waits for. It does not wait for the end of a transaction.
    fn trips(&self, act: impl FnOnce()) -> u64 {
        thread::sleep(self.round_trip * 3);
        self.relay.reset();
        act();
        self.relay.answered_trips()
    }

    fn at_most(&mut self, trips: u64, expected: u64, what: &str) {
        if trips > expected {
            self.wrong.push(format!("{what}: {trips} trips instead of {expected}"));
        }
    }
}

fn count(act: impl Fn(&mut Counter)) {
    let mut wrong = Vec::new();
    for round_trip in ROUND_TRIPS {
        let Some(mut counter) = Counter::start(round_trip) else { return };
        act(&mut counter);
        wrong = counter.wrong;
        if wrong.is_empty() {
            return;
        }

        eprintln!("{round_trip:?}: {wrong:#?}");
    }

    panic!("{wrong:#?}");
}

type Operation = fn(&Vault, &ProjectName);

/// Reads: the most trips on a machine that has not seen the project, on one that has seen its present state,
/// and on one that has seen it before a change elsewhere; each in a small and in a large project.
const READS: &[(&str, [[u64; 2]; 3], Operation)] = &[
    ("get", [[1, 2], [1, 1], [2, 3]], |vault, of| drop(vault.get(of, &by_tag("tag-000")).unwrap())),
    ("render of 20", [[1, 2], [1, 1], [2, 3]], |vault, of| {
        let tags: Vec<_> = (0..20).map(|number| tag(&name(number))).collect();
        drop(vault.scope(of).reveal(&tags).unwrap());
    }),
    ("run with all", [[1, 1], [1, 1], [2, 4]], |vault, of| {
        drop(vault.scope(of).reveal_all().unwrap());
    }),
    ("list", [[1, 1], [1, 1], [2, 3]], |vault, of| drop(vault.list(Some(of), |_| true).unwrap())),
    ("list of all", [[1, 1], [1, 1], [2, 2]], |vault, _| {
        drop(vault.list(None, |_| true).unwrap());
    }),
    ("project list", [[1, 1], [1, 1], [1, 1]], |vault, _| drop(vault.projects().unwrap())),
];

#[test]
fn reads_take_one_trip_if_nothing_has_changed() {
    count(|counter| {
        let writer = counter.world.vault("writer", None);
        for (at, of) in ["small", "large"].map(project).iter().enumerate() {
            for (operation, expected, act) in READS {
                let machine = format!("{operation} {of}");
                let vault = counter.vault(&machine);
                let trips = counter.trips(|| act(&vault, of)) - counter.connecting;
                counter.at_most(trips, expected[0][at], &format!("{machine}, not seen"));
                let trips = counter.trips(|| act(&vault, of));
                counter.at_most(trips, expected[1][at], &format!("{machine}, seen"));

                let fresh = counter.vault(&machine);
                let trips = counter.trips(|| act(&fresh, of)) - counter.connecting;
                let what = format!("{machine}, seen by another process");
                counter.at_most(trips, expected[1][at], &what);

                let new = Some(value(b"new"));
                let changes = SecretChanges { value: new, ..SecretChanges::default() };
                writer.update(of, &by_tag("tag-000"), None, changes).unwrap();
                let trips = counter.trips(|| act(&vault, of));
                counter.at_most(trips, expected[2][at], &format!("{machine}, changed"));
            }
        }
    });
}

/// Writes: the most trips on a machine that has not seen the project, and on one that has listed its secrets;
/// each in a small and in a large project. Without the list, a secret whose bucket of a large project the
/// machine has not seen takes one trip more.
const WRITES: &[(&str, [[u64; 2]; 2], Operation)] = &[
    ("create", [[2, 3], [1, 1]], |vault, of| {
        drop(vault.create(of, secret(&fresh(), b"value")).unwrap());
    }),
    ("create in a new project", [[2, 2], [2, 2]], |vault, _| {
        drop(vault.create(&project(&fresh()), secret("first", b"value")).unwrap());
    }),
    ("update", [[2, 3], [1, 1]], |vault, of| {
        let changes = SecretChanges { value: Some(value(b"new")), ..SecretChanges::default() };
        drop(vault.update(of, &by_tag("tag-001"), None, changes).unwrap());
    }),
    ("import of 30", [[2, 3], [1, 1]], |vault, of| {
        let new = |number| secret(&name(number), fresh().as_bytes());
        let secrets =
            (5..35).map(|number| IncomingSecret { to: of, new: new(number), times: None });
        let import = Import { secrets: secrets.collect(), on_conflict: OnConflict::Overwrite };
        drop(vault.import(&import, &|_| {}).unwrap());
    }),
    ("clone to a new project", [[2, 3], [2, 2]], |vault, of| {
        let (to, wanted) = (project(&fresh()), [by_tag("tag-002"), by_tag("tag-003")]);
        let on_conflict = OnConflict::Fail;
        let (secrets, tag) = (Some(&wanted[..]), None);
        let request = CopyRequest { secrets, from: of, to: &to, tag, on_conflict };
        drop(vault.copy(&request).unwrap());
    }),
];

fn fresh() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("fresh-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn a_write_after_a_change_elsewhere_takes_two_trips() {
    count(|counter| {
        let writer = counter.world.vault("writer", None);
        for of in ["small", "large"].map(project) {
            let vault = counter.vault("second");
            vault.list(Some(&of), |_| true).unwrap();
            writer.create(&of, secret(&fresh(), b"value")).unwrap();
            let trips = counter.trips(|| {
                drop(vault.create(&of, secret(&fresh(), b"value")).unwrap());
            });
            counter.at_most(trips, 2, &format!("create in {of} after a change elsewhere"));
        }
    });
}

#[test]
fn writes_take_one_trip_where_the_project_is_known() {
    count(|counter| {
        for (at, of) in ["small", "large"].map(project).iter().enumerate() {
            for (operation, expected, act) in WRITES {
                let machine = format!("{operation} {of}");
                let vault = counter.vault(&machine);
                let trips = counter.trips(|| act(&vault, of)) - counter.connecting;
                counter.at_most(trips, expected[0][at], &format!("{machine}, not seen"));
                vault.list(Some(of), |_| true).unwrap();
                let trips = counter.trips(|| act(&vault, of));
                counter.at_most(trips, expected[1][at], &format!("{machine}, seen"));
            }
        }
    });
}
