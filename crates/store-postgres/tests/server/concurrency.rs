//! Several writers, and connections and servers that end at any moment.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use secrets_core::vault::{SecretChanges, Vault, VaultError};
use test_postgres::{Cluster, Relay};

use crate::world::{World, by_tag, project, secret, value};

/// Returns the tags of a project.
fn tags(vault: &Vault) -> Vec<String> {
    let listed = vault.list(Some(&project("web")), |_| true).unwrap();
    let mut tags: Vec<String> =
        listed.into_iter().map(|secret| secret.metadata.tag.as_str().to_owned()).collect();
    tags.sort_unstable();
    tags
}

#[test]
fn writers_of_one_project_lose_nothing() {
    let Some(world) = World::new() else { return };
    world.vault("first", None).create(&project("web"), secret("zero", b"v")).unwrap();
    let (writers, each) = (10, 6);
    thread::scope(|scope| {
        for writer in 0..writers {
            let world = &world;
            scope.spawn(move || {
                let vault = world.vault(&format!("machine-{writer}"), None);
                for number in 0..each {
                    let tag = format!("tag-{writer}-{number}");
                    vault.create(&project("web"), secret(&tag, b"value")).unwrap();
                }
            });
        }
    });

    let found = tags(&world.vault("last", None));
    assert_eq!(found.len(), writers * each + 1);
    assert!(world.vault("last", None).verify(&|_| {}).unwrap().damage.is_empty());
}

#[test]
fn writers_who_create_the_same_project_agree() {
    let Some(world) = World::new() else { return };
    thread::scope(|scope| {
        for writer in 0..6 {
            let world = &world;
            scope.spawn(move || {
                let vault = world.vault(&format!("machine-{writer}"), None);
                vault.create(&project("web"), secret(&format!("tag-{writer}"), b"v")).unwrap();
                vault.create(&project(&format!("own-{writer}")), secret("one", b"v")).unwrap();
            });
        }
    });

    let vault = world.vault("last", None);
    assert_eq!(tags(&vault).len(), 6);
    assert_eq!(vault.projects().unwrap().len(), 7);
    assert!(vault.verify(&|_| {}).unwrap().damage.is_empty());
}

/// A change that loses a race is made again behind a lock. If it then ends without a commit, the lock ends
/// too, and nobody waits for the server to end it.
#[test]
fn a_change_that_another_one_has_made_impossible_leaves_no_lock() {
    let Some(world) = World::new() else { return };
    let (first, second) = (world.vault("first", None), world.vault("second", None));
    let created = first.create(&project("web"), secret("one", b"v")).unwrap();
    second.list(None, |_| true).unwrap();

    let update = |vault: &Vault, version| {
        let changes = SecretChanges { value: Some(value(b"new")), ..SecretChanges::default() };
        vault.update(&project("web"), &by_tag("one"), version, changes)
    };
    update(&first, None).unwrap();
    let late = update(&second, Some(created.version));
    assert!(matches!(late, Err(VaultError::Changed(_))), "{late:?}");

    let begun = Instant::now();
    update(&first, None).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    update(&second, None).unwrap();
}

/// Lets 100 machines create secrets in some projects while others read, and prints how long each change
/// took.
fn hundred_writers(projects: usize, each: usize, readers: usize, round_trip: Duration) {
    let Some(world) = World::new() else { return };
    for number in 0..projects {
        let of = project(&format!("web-{number}"));
        world.vault("first", None).create(&of, secret("zero", b"v")).unwrap();
    }

    let relay = Relay::start(Cluster::shared().unwrap().port(), round_trip);
    let (times, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let begun = Instant::now();
    thread::scope(|scope| {
        for reader in 0..readers {
            let (world, relay, is_over) = (&world, &relay, &is_over);
            scope.spawn(move || {
                let vault = world.vault(&format!("reader-{reader}"), Some(relay.port()));
                while !is_over.load(Ordering::Relaxed) {
                    let of = project(&format!("web-{}", reader % projects));
                    vault.list(Some(&of), |_| true).unwrap();
                    thread::sleep(Duration::from_millis(200));
                }
            });
        }

        let writers: Vec<_> = (0..100)
            .map(|writer| {
                let (world, relay, times) = (&world, &relay, &times);
                scope.spawn(move || {
                    let vault = world.vault(&format!("machine-{writer}"), Some(relay.port()));
                    let of = project(&format!("web-{}", writer % projects));
                    for number in 0..each {
                        let begun = Instant::now();
                        let new = secret(&format!("tag-{writer}-{number}"), b"value");
                        vault.create(&of, new).unwrap();
                        times.lock().unwrap().push(begun.elapsed());
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }

        is_over.store(true, Ordering::Relaxed);
    });

    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    eprintln!(
        "{projects} projects, {readers} readers, {round_trip:?}: {} changes, {rate:.0} a second, median {:?}, 99 % {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );

    let vault = world.vault("last", None);
    let found = vault.list(None, |_| true).unwrap().len();
    assert_eq!(found, 100 * each + projects);
    assert!(vault.verify(&|_| {}).unwrap().damage.is_empty());
}

#[test]
#[ignore = "takes minutes"]
fn a_hundred_writers_lose_nothing() {
    for readers in [0, 20] {
        hundred_writers(1, 4, readers, Duration::from_millis(30));
    }

    for round_trip in [0, 1, 30] {
        hundred_writers(3, 20, 20, Duration::from_millis(round_trip));
    }
}

#[test]
fn a_backend_that_is_killed_at_any_moment_loses_no_acknowledged_write() {
    let Some(world) = World::new() else { return };
    let (stored, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (mut acknowledged, mut failed) = (Vec::new(), 0);
    thread::scope(|scope| {
        // Each kill waits for a write, so that writers get on also on a slow machine.
        scope.spawn(|| {
            let mut session = world.database.session();
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE datname = current_database() AND usename = 'app'";
            let mut before = 0;
            for pause in (0..20).cycle() {
                while stored.load(Ordering::Relaxed) == before && !ended.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }

                if ended.load(Ordering::Relaxed) {
                    break;
                }

                before = stored.load(Ordering::Relaxed);
                thread::sleep(Duration::from_millis(pause));
                session.sql(kill);
            }
        });

        let vault = world.vault("writer", None);
        for number in 0..100 {
            let tag = format!("tag-{number:03}");
            match vault.create(&project("web"), secret(&tag, b"value")) {
                Ok(_) => {
                    acknowledged.push(tag);
                    stored.fetch_add(1, Ordering::Relaxed);
                }
                Err(VaultError::Exists(_)) => panic!("{tag} was stored twice"),
                Err(VaultError::Store(_)) => failed += 1,
                Err(error) => panic!("{error}"),
            }
        }

        ended.store(true, Ordering::Relaxed);
    });

    let found = tags(&world.vault("last", None));
    let lost: Vec<&String> = acknowledged.iter().filter(|tag| !found.contains(tag)).collect();
    assert!(lost.is_empty(), "{lost:?} are lost; {failed} failed");
    assert!(acknowledged.len() > 10, "{failed} failed");
}
