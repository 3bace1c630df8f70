//! A server that shows an earlier state, or another one, and a machine that comes back after many changes.

use secrets_core::model::ProjectName;
use secrets_core::vault::{Divergence, LostChanges, SecretChanges, VaultError};

use crate::world::{World, by_tag, project, secret, tag, value};

const TABLES: [&str; 9] =
    ["vault", "slots", "projects", "policies", "grants", "buckets", "records", "vals", "audit"];

/// Copies all tables aside.
pub fn snapshot(world: &World) {
    let copy = |table| format!("CREATE TABLE before_{table} AS TABLE secrets.{table};");
    world.database.sql(&TABLES.map(copy).concat());
}

/// Puts the copies back.
pub fn put_back(world: &World) {
    let copy = |table| {
        format!(
            "DELETE FROM secrets.{table}; INSERT INTO secrets.{table} SELECT * FROM before_{table};"
        )
    };
    world.database.sql(&TABLES.map(copy).concat());
}

fn divergence(outcome: Result<impl Sized, VaultError>) -> Divergence {
    match outcome {
        Err(VaultError::Diverged(divergence)) => *divergence,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_server_that_lost_changes_is_noticed_by_machines_that_have_seen_them() {
    let Some(world) = World::new() else { return };
    let web = project("web");
    let first = world.vault("first", None);
    first.create(&web, secret("one", b"v")).unwrap();
    snapshot(&world);
    first.create(&web, secret("two", b"v")).unwrap();
    first.create(&web, secret("three", b"v")).unwrap();
    put_back(&world);

    let lost = divergence(world.vault("first", None).get(&web, &by_tag("one")));
    assert_eq!((lost.lost(), lost.is_remote), (Some(2), true));
    divergence(world.vault("first", None).create(&web, secret("four", b"v")));

    // A machine that has never seen them has no way to know.
    world.vault("third", None).get(&web, &by_tag("one")).unwrap();
}

#[test]
fn a_machine_that_comes_back_after_many_changes_gets_a_proof() {
    let Some(world) = World::new() else { return };
    let web = project("web");
    let first = world.vault("first", None);
    first.create(&web, secret("one", b"v")).unwrap();
    world.vault("second", None).get(&web, &by_tag("one")).unwrap();
    for number in 0..40 {
        first.create(&web, secret(&format!("tag-{number}"), b"v")).unwrap();
    }

    world.vault("second", None).get(&web, &by_tag("tag-39")).unwrap();

    // The same distance, but an entry of the log is missing.
    let first = world.vault("first", None);
    for number in 40..80 {
        first.create(&web, secret(&format!("tag-{number}"), b"v")).unwrap();
    }

    world
        .database
        .sql("DELETE FROM secrets.audit WHERE seq = 60 AND pid <> decode(repeat('00', 16), 'hex')");
    let unproven = divergence(world.vault("second", None).get(&web, &by_tag("tag-39")));
    assert!(unproven.is_unproven() && unproven.lost().is_none() && !unproven.is_fork());
}

#[test]
fn a_machine_that_has_seen_lost_changes_puts_them_back() {
    let Some(world) = World::new() else { return };
    let web = project("web");
    let first = world.vault("first", None);
    first.create(&web, secret("one", b"old")).unwrap();
    first.create(&web, secret("doomed", b"v")).unwrap();
    snapshot(&world);

    let changes = SecretChanges { value: Some(value(b"new")), ..SecretChanges::default() };
    first.update(&web, &by_tag("one"), None, changes).unwrap();
    first.create(&web, secret("two", b"v")).unwrap();
    first.delete(&web, &[by_tag("doomed")]).unwrap();
    first.create(&project("other"), secret("three", b"v")).unwrap();
    put_back(&world);

    let first = world.vault("first", None);
    divergence(first.get(&web, &by_tag("one")));
    let repair = first.repair().unwrap();
    let names: Vec<Option<&str>> =
        repair.repaired.iter().map(|one| one.project.as_ref().map(ProjectName::as_str)).collect();
    assert_eq!(names, [None, Some("other"), Some("web")]);

    for machine in ["first", "fresh"] {
        let vault = world.vault(machine, None);
        let tags: Vec<String> = vault
            .list(None, |_| true)
            .unwrap()
            .into_iter()
            .map(|secret| secret.metadata.tag.to_string())
            .collect();
        assert_eq!(tags, ["three", "one", "two"], "{machine}");
        let revealed = vault.scope(&web).reveal_existing(&[tag("one")]).unwrap();
        assert_eq!(revealed[0].as_ref().unwrap().1.expose(), b"new");
        assert!(vault.verify(&|_| {}).unwrap().damage.is_empty(), "{machine}");
    }

    assert!(world.vault("first", None).repair().unwrap().repaired.is_empty());
}

#[test]
fn what_a_machine_has_not_seen_is_left_to_the_others() {
    let Some(world) = World::new() else { return };
    let (web, large) = (project("web"), project("large"));
    let (first, second) = (world.vault("first", None), world.vault("second", None));
    let new = (0..40).map(|number| secret(&format!("tag-{number}"), &[b'x'; 4000]));
    first.create_all(&large, new).unwrap();
    first.create(&web, secret("one", b"v")).unwrap();
    first.create(&project("unrelated"), secret("one", b"v")).unwrap();
    second.create(&web, secret("two", b"v")).unwrap();
    snapshot(&world);

    // The second machine first sees the large project after changes that are lost later.
    second.create(&web, secret("three", b"v")).unwrap();
    first.create_all(&large, (0..8).map(|n| secret(&format!("by-first-{n}"), b"v"))).unwrap();
    second.create(&large, secret("by-second", b"v")).unwrap();
    put_back(&world);

    let names = |lost: &[LostChanges]| -> Vec<String> {
        lost.iter().map(|one| one.project.as_ref().unwrap().to_string()).collect()
    };
    let repair = world.vault("second", None).repair().unwrap();
    assert_eq!(
        (names(&repair.repaired), names(&repair.incomplete)),
        (vec!["web".into()], vec!["large".into()])
    );

    let repair = world.vault("first", None).repair().unwrap();
    assert_eq!((names(&repair.repaired), repair.incomplete.len()), (vec!["large".into()], 0));
    let repair = world.vault("second", None).repair().unwrap();
    assert_eq!((names(&repair.repaired), repair.incomplete.len()), (vec!["large".into()], 0));

    let fresh = world.vault("fresh", None);
    assert_eq!(fresh.list(Some(&large), |_| true).unwrap().len(), 49);
    assert!(fresh.verify(&|_| {}).unwrap().damage.is_empty());
}

#[test]
fn a_writer_puts_back_what_others_have_changed_before_in_a_large_project() {
    let Some(world) = World::new() else { return };
    let large = project("large");
    let (first, second) = (world.vault("first", None), world.vault("second", None));
    let new = (0..40).map(|number| secret(&format!("tag-{number}"), &[b'x'; 4000]));
    first.create_all(&large, new).unwrap();
    second.list(Some(&large), |_| true).unwrap();
    snapshot(&world);

    // The second machine learns of the first change when its own is refused, and of the others by reading.
    first.create(&large, secret("by-first", b"of the first")).unwrap();
    second.create(&large, secret("by-second", b"v")).unwrap();
    let changes = SecretChanges { value: Some(value(b"newer")), ..SecretChanges::default() };
    first.update(&large, &by_tag("tag-0"), None, changes).unwrap();
    first.delete(&large, &[by_tag("tag-1")]).unwrap();
    second.get(&large, &by_tag("tag-2")).unwrap();
    second.create(&large, secret("last", b"v")).unwrap();
    put_back(&world);

    let repair = world.vault("second", None).repair().unwrap();
    assert!(repair.incomplete.is_empty() && repair.repaired.len() == 1, "{repair:?}");
    let fresh = world.vault("fresh", None);
    assert_eq!(fresh.list(Some(&large), |_| true).unwrap().len(), 42);
    let revealed = fresh.scope(&large).reveal_existing(&[tag("by-first"), tag("tag-0")]).unwrap();
    let values: Vec<&[u8]> = revealed.iter().flatten().map(|(_, value)| value.expose()).collect();
    assert_eq!(values, [&b"of the first"[..], b"newer"]);
    assert!(fresh.verify(&|_| {}).unwrap().damage.is_empty());
}

#[test]
fn a_deleted_project_is_not_put_back() {
    let Some(world) = World::new() else { return };
    let second = world.vault("second", None);
    second.create(&project("doomed"), secret("one", b"v")).unwrap();
    second.create(&project("web"), secret("one", b"v")).unwrap();
    world.vault("first", None).delete_projects(&[project("doomed")]).unwrap();

    let repair = world.vault("second", None).repair().unwrap();
    assert!(repair.repaired.is_empty() && repair.incomplete.is_empty(), "{repair:?}");
}

#[test]
fn a_server_on_which_another_line_goes_on_is_not_repaired() {
    let Some(world) = World::new() else { return };
    let web = project("web");
    world.vault("first", None).create(&web, secret("one", b"v")).unwrap();
    snapshot(&world);
    world.vault("first", None).create(&web, secret("two", b"v")).unwrap();
    put_back(&world);
    world.vault("second", None).create(&web, secret("three", b"v")).unwrap();

    assert!(divergence(world.vault("first", None).get(&web, &by_tag("one"))).is_fork());
    assert!(divergence(world.vault("first", None).repair()).is_fork());
}
