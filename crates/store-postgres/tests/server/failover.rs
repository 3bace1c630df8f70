//! A primary that is killed while machines write, and the standby that takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use secrets_core::store::StoreError;
use secrets_core::vault::{Vault, VaultError};
use test_postgres::{Cluster, Options};

use crate::world::{World, project, secret};

const WRITERS: usize = 8;
/// The pause of a writer after a failure.
const PAUSE: Duration = Duration::from_millis(20);

/// A primary with a standby, and a vault on it.
struct Pair {
    world: World,
    options: Options,
    primary: Cluster,
    standby: Cluster,
    /// The number of standbys so far
    standbys: usize,
    /// The first primary, whose directory has the certificate of the CA
    first: Option<Cluster>,
}

impl Pair {
    /// Starts a pair. Returns `None` if this machine has no PostgreSQL.
    fn start(options: Options) -> Option<Self> {
        if !Cluster::is_available() {
            return None;
        }

        let primary = Cluster::start(&options);
        let standby = primary.standby("standby_0", &options);
        let world = World::at(&primary);
        Some(Self { world, options, primary, standby, standbys: 1, first: None })
    }

    /// Starts a pair whose primary acknowledges nothing that the standby does not have.
    fn synchronous() -> Option<Self> {
        Self::start(Options::default().with_line("synchronous_standby_names = '*'"))
    }

    fn vault(&self, machine: &str) -> Vault {
        self.world.vault_of(machine, &[self.primary.port(), self.standby.port()])
    }

    /// Kills the primary and promotes the standby.
    fn fail_over(&self) {
        self.primary.kill();
        self.standby.promote();
    }

    /// Starts a standby of the promoted standby.
    fn next_standby(&self) -> Cluster {
        self.standby.standby(&format!("standby_{}", self.standbys), &self.options)
    }

    /// Makes the promoted standby the primary.
    fn replace(&mut self, next: Cluster) {
        let promoted = std::mem::replace(&mut self.standby, next);
        let killed = std::mem::replace(&mut self.primary, promoted);
        self.first.get_or_insert(killed);
        self.standbys += 1;
    }

    /// Ends the replication. The primary goes on alone.
    fn cut_replication(&self) {
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''");
        self.standby.sql("SELECT pg_reload_conf()");
        wait_for(|| self.standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0");
    }
}

#[track_caller]
fn wait_for(mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited too long");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the writers of a test when the killing is over, or when it has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns the tags of a project; none if the project does not exist.
fn tags(vault: &Vault, of: &str) -> Result<BTreeSet<String>, VaultError> {
    match vault.list(Some(&project(of)), |_| true) {
        Ok(listed) => {
            Ok(listed.into_iter().map(|secret| secret.metadata.tag.to_string()).collect())
        }
        Err(VaultError::NoProject { .. }) => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Creates a secret, and returns whether it was acknowledged.
fn create(vault: &Vault, of: &str, tag: &str) -> Result<(), StoreError> {
    match vault.create(&project(of), secret(tag, b"value")) {
        Ok(_) => Ok(()),
        Err(VaultError::Store(error)) => Err(error),
        Err(error) => panic!("{tag}: {error}"),
    }
}

/// The tags that writers have sent, by what they were told.
#[derive(Default)]
struct Told {
    stored: BTreeSet<String>,
    failed: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

impl Told {
    fn note(&mut self, tag: String, outcome: &Result<(), StoreError>) {
        let to = match outcome {
            Ok(()) => &mut self.stored,
            Err(StoreError::UnknownOutcome) => &mut self.unknown,
            Err(_) => &mut self.failed,
        };
        to.insert(tag);
    }
}

/// Kills the primary under eight writers, `count` times. Nothing that was acknowledged may be lost, and
/// nothing that has failed may be there.
fn kill_primaries(count: u64) {
    let Some(mut pair) = Pair::synchronous() else { return };
    let told = Mutex::new(Told::default());
    for round in 0..count {
        let (of, is_over) = (format!("web-{}", round % 10), AtomicBool::new(false));
        let next = thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (pair, told, of, is_over) = (&pair, &told, &of, &is_over);
                scope.spawn(move || {
                    let vault = pair.vault(&format!("machine-{writer}"));
                    for number in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }

                        let tag = format!("tag-{round}-{writer}-{number}");
                        let outcome = create(&vault, of, &tag);
                        told.lock().unwrap().note(tag, &outcome);
                        if outcome.is_err() {
                            thread::sleep(PAUSE);
                        }
                    }
                });
            }

            let _over = Over(&is_over);
            let stored = || told.lock().unwrap().stored.len();
            let before = stored();
            wait_for(|| stored() > before + WRITERS);
            thread::sleep(Duration::from_millis(round * 37 % 400));
            pair.fail_over();

            // The new primary acknowledges nothing before it has a standby.
            let next = pair.next_standby();
            thread::sleep(Duration::from_millis(100));
            next
        });
        pair.replace(next);
    }

    let told = told.into_inner().unwrap();
    for machine in ["fresh", "machine-0"] {
        let vault = pair.vault(machine);
        let projects = (0..count.min(10)).map(|number| format!("web-{number}"));
        let found: BTreeSet<String> = projects.flat_map(|of| tags(&vault, &of).unwrap()).collect();
        let lost: Vec<&String> = told.stored.difference(&found).collect();
        let wrong: Vec<&String> = told.failed.intersection(&found).collect();
        assert!(lost.is_empty() && wrong.is_empty(), "{lost:?} are lost, {wrong:?} were stored");
        assert!(vault.verify(&|_| {}).unwrap().damage.is_empty());
    }

    let [stored, failed, unknown] = [&told.stored, &told.failed, &told.unknown].map(BTreeSet::len);
    eprintln!("{count} failovers: {stored} stored, {failed} failed, {unknown} unknown");
}

#[test]
fn a_server_that_crashes_keeps_every_acknowledged_change() {
    if !Cluster::is_available() {
        return;
    }

    let cluster = Cluster::start(&Options::default());
    let world = World::at(&cluster);
    let (told, is_over) = (Mutex::new(Told::default()), AtomicBool::new(false));
    thread::scope(|scope| {
        for writer in 0..3 {
            let (world, told, is_over) = (&world, &told, &is_over);
            scope.spawn(move || {
                let vault = world.vault(&format!("machine-{writer}"), None);
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }

                    let tag = format!("tag-{writer}-{number}");
                    let outcome = create(&vault, "web", &tag);
                    told.lock().unwrap().note(tag, &outcome);
                    if outcome.is_err() {
                        thread::sleep(PAUSE);
                    }
                }
            });
        }

        let _over = Over(&is_over);
        for crash in 0..6 {
            let stored = || told.lock().unwrap().stored.len();
            let before = stored();
            wait_for(|| stored() > before + 5);
            thread::sleep(Duration::from_millis(crash * 7));
            if crash % 2 == 0 {
                cluster.kill();
            } else {
                cluster.stop_immediately();
            }
            cluster.restart();
        }
    });

    let told = told.into_inner().unwrap();
    let fresh = world.vault("fresh", None);
    let found = tags(&fresh, "web").unwrap();
    assert!(told.stored.is_subset(&found), "{:?} are lost", told.stored.difference(&found));
    assert!(told.failed.is_disjoint(&found), "{:?} failed", told.failed.intersection(&found));
    assert!(fresh.verify(&|_| {}).unwrap().damage.is_empty());
    assert!(told.stored.len() > 20, "{} stored", told.stored.len());
}

#[test]
fn a_synchronous_standby_has_every_acknowledged_change() {
    kill_primaries(3);
}

#[test]
#[ignore = "takes a quarter of an hour"]
fn kill_200_primaries_under_eight_writers() {
    kill_primaries(200);
}

/// Kills a primary whose standby was behind, `count` times. The next command of each machine must report
/// every loss that it can know of, and repairs on the machines must undo all losses.
fn lose_changes(count: usize) {
    let Some(mut pair) = Pair::start(Options::default()) else { return };
    let machines: Vec<String> = (0..WRITERS).map(|number| format!("machine-{number}")).collect();
    let mut stored: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut reports = 0;
    for round in 0..count {
        let told = Mutex::new(Vec::new());
        let write = |phase: usize| {
            thread::scope(|scope| {
                for (number, machine) in machines.iter().enumerate() {
                    let (pair, told) = (&pair, &told);
                    scope.spawn(move || {
                        let vault = pair.vault(machine);
                        let own =
                            [format!("own-{number}"), format!("new-{round}-{phase}-{number}")];
                        for of in ["shared", &own[0], "shared", &own[1]] {
                            let tag = format!("tag-{round}-{phase}-{number}");
                            let tag = format!("{tag}-{}", told.lock().unwrap().len());
                            create(&vault, of, &tag).unwrap();
                            told.lock().unwrap().push((machine, of.to_owned(), tag));
                        }
                    });
                }
            });
        };
        write(0);
        pair.cut_replication();
        write(1);
        pair.fail_over();

        let told = told.into_inner().unwrap();
        for (_, of, tag) in &told {
            stored.entry(of.clone()).or_default().insert(tag.clone());
        }

        // A machine without a memory sees what was lost.
        let fresh = pair.vault(&format!("fresh-{round}"));
        for (machine, of, tag) in &told {
            if !tags(&fresh, of).unwrap().contains(tag) {
                let next = tags(&pair.vault(machine), of);
                let is_told = matches!(next, Err(VaultError::Diverged(_)));
                assert!(is_told, "{machine} does not miss {tag} of {of}: {next:?}");
                reports += 1;
            }
        }

        for machine in &machines {
            let repair = pair.vault(machine).repair().unwrap();
            assert!(repair.incomplete.is_empty() && repair.waits.is_empty(), "{repair:?}");
        }

        let is_last = round + 1 == count;
        for machine in machines.iter().map(String::as_str).chain(["fresh"]) {
            let vault = pair.vault(machine);
            let is_checked = |of: &String| is_last || told.iter().any(|(_, told, _)| told == of);
            for (of, expected) in stored.iter().filter(|(of, _)| is_checked(of)) {
                assert_eq!(tags(&vault, of).unwrap(), *expected, "{machine}, {of}");
            }

            assert!(vault.verify(&|_| {}).unwrap().damage.is_empty(), "{machine}");
        }

        eprintln!("round {round} of {count}");

        let next = pair.next_standby();
        pair.replace(next);
    }

    eprintln!("{count} failovers: {reports} lost changes, all reported and repaired");
    assert!(reports >= count * WRITERS * 4, "{reports}");
}

#[test]
fn every_change_that_an_asynchronous_failover_loses_is_reported_and_repaired() {
    lose_changes(1);
}

#[test]
#[ignore = "takes minutes"]
fn kill_50_primaries_that_are_ahead() {
    lose_changes(50);
}

#[test]
fn two_primaries_at_once_are_noticed() {
    let Some(pair) = Pair::start(Options::default()) else { return };
    let (old, new) = ([pair.primary.port()], [pair.standby.port()]);
    let on = |machine: &str, ports: &[u16]| pair.world.vault_of(machine, ports);
    for machine in ["a", "b"] {
        create(&on(machine, &old), "web", &format!("before-{machine}")).unwrap();
    }

    let seen: BTreeSet<String> = ["before-a".to_owned(), "before-b".to_owned()].into();
    wait_for(|| tags(&on("other", &old), "web").unwrap() == seen);
    wait_for(|| {
        let end = pair.primary.sql("SELECT pg_current_wal_lsn()");
        pair.standby.sql(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn")) == "t"
    });
    pair.cut_replication();
    pair.standby.promote();

    create(&on("a", &old), "web", "on-the-old").unwrap();
    create(&on("b", &new), "web", "on-the-new").unwrap();
    for (machine, ports) in [("a", new), ("b", old)] {
        let vault = on(machine, &ports);
        assert!(matches!(tags(&vault, "web"), Err(VaultError::Diverged(found)) if found.is_fork()));
        let written = vault.create(&project("web"), secret("more", b"value"));
        assert!(matches!(written, Err(VaultError::Diverged(_))), "{machine}");
        assert!(matches!(vault.repair(), Err(VaultError::Diverged(_))), "{machine}");
    }

    // Each goes on where its own line is.
    assert!(tags(&on("a", &old), "web").unwrap().contains("on-the-old"));
    create(&on("b", &new), "web", "more").unwrap();
}

#[test]
fn a_cancelled_wait_for_the_standby_is_reported() {
    let Some(pair) = Pair::synchronous() else { return };
    let vault = pair.vault("first");
    create(&vault, "web", "one").unwrap();
    assert!(vault.is_replicated());

    pair.standby.stop_immediately();
    thread::scope(|scope| {
        scope.spawn(|| {
            let waiting = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                           WHERE wait_event = 'SyncRep'";
            wait_for(|| pair.primary.sql(waiting) != "0");
        });
        create(&vault, "web", "two").unwrap();
    });
    assert!(!vault.is_replicated());

    pair.standby.restart();
    create(&vault, "web", "three").unwrap();
    assert!(vault.is_replicated());
}

#[test]
#[ignore = "takes two minutes"]
fn a_wait_for_a_standby_that_is_gone_ends() {
    let Some(pair) = Pair::synchronous() else { return };
    let vault = pair.vault("first");
    create(&vault, "web", "one").unwrap();
    pair.standby.stop_immediately();

    let begun = Instant::now();
    let outcome = create(&vault, "web", "two");
    assert!(matches!(outcome, Err(StoreError::UnknownOutcome)), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());

    // Reading goes on. With the standby, everything does.
    assert_eq!(tags(&pair.vault("first"), "web").unwrap(), ["one".to_owned()].into());
    pair.standby.restart();
    create(&vault, "web", "three").unwrap();
    assert!(
        tags(&pair.vault("fresh"), "web")
            .unwrap()
            .is_superset(&["one".to_owned(), "three".to_owned()].into())
    );
}
