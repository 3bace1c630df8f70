//! A server that shows an earlier state, or another one, and a machine that comes back after many changes.

use secrets_core::model::ProjectName;
use secrets_core::vault::{Divergence, SecretChanges, VaultError};

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
    let repaired = first.repair().unwrap();
    let names: Vec<Option<&str>> =
        repaired.iter().map(|one| one.project.as_ref().map(ProjectName::as_str)).collect();
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

    assert!(world.vault("first", None).repair().unwrap().is_empty());
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
