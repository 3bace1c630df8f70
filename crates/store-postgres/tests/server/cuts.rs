//! A connection that breaks at each flight of each operation: the vault is as before or as after, and the
//! answer says which.

use std::time::Duration;

use secrets_core::store::{ServerError, StoreError};
use secrets_core::vault::{SecretChanges, Vault, VaultError};
use test_postgres::{Cluster, Cut, Relay};

use crate::world::{World, by_tag, project, secret, value};

type Write = fn(&Vault) -> Result<(), VaultError>;

const WRITES: &[(&str, Write)] = &[
    ("create", |vault| vault.create(&project("web"), secret("new", b"v")).map(drop)),
    ("create in a new project", |vault| {
        vault.create(&project("new"), secret("new", b"v")).map(drop)
    }),
    ("update", |vault| {
        let changes = SecretChanges { value: Some(value(b"newer")), ..SecretChanges::default() };
        vault.update(&project("web"), &by_tag("one"), None, changes).map(drop)
    }),
    ("delete", |vault| vault.delete(&project("web"), &[by_tag("one")]).map(drop)),
    ("rename a project", |vault| vault.rename_project(&project("web"), &project("other"))),
    ("delete a project", |vault| vault.delete_projects(&[project("web")]).map(drop)),
];

/// Returns everything in a vault, with versions.
fn everything(vault: &Vault) -> Vec<String> {
    let listed = vault.list(None, |_| true).unwrap();
    let mut all: Vec<String> = listed
        .into_iter()
        .map(|secret| format!("{}/{} {}", secret.project, secret.metadata.tag, secret.version))
        .collect();
    all.sort_unstable();
    all
}

/// The state of the project that a machine has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Before,
    Present,
}

/// Cuts the connection at every flight of a write, in one way.
fn cut_everywhere(write: (&str, Write), how: Cut, seen: Seen) -> Option<u64> {
    let mut cuts = 0;
    for flight in 1.. {
        let world = World::new()?;
        let vault = world.vault("first", None);
        for tag in ["one", "two"] {
            vault.create(&project("web"), secret(tag, b"old")).unwrap();
        }

        let relay = Relay::start(Cluster::shared().unwrap().port(), Duration::from_millis(1));
        let writer = vault;
        let vault = world.vault("second", Some(relay.port()));
        if seen == Seen::Nothing {
            vault.id().unwrap();
        } else {
            everything(&vault);
        }

        if seen == Seen::Before {
            writer.create(&project("web"), secret("three", b"old")).unwrap();
        }

        let before = everything(&writer);

        // The end of the reading before is a flight of its own.
        std::thread::sleep(Duration::from_millis(60));
        relay.cut(flight, how);
        let outcome = write.1(&vault);
        let was_cut = relay.cuts() > 0;
        relay.cancel_cut();
        let after = everything(&world.vault("first", None));
        let has_changed = after != before;
        let what = format!("{}, {how:?} at flight {flight}, seen: {seen:?}", write.0);
        match &outcome {
            Ok(()) => assert!(has_changed, "{what}: reported as done"),
            Err(VaultError::Store(StoreError::UnknownOutcome)) => {}
            Err(error) => assert!(!has_changed, "{what}: reported as failed: {error}"),
        }

        assert!(world.vault("third", None).verify(&|_| {}).unwrap().damage.is_empty(), "{what}");
        if !was_cut {
            assert!(outcome.is_ok(), "{what}: {outcome:?}");
            break;
        }

        cuts += 1;
    }

    Some(cuts)
}

#[test]
fn a_lost_request_changes_nothing_or_is_sent_again() {
    for write in WRITES {
        for seen in [Seen::Nothing, Seen::Before, Seen::Present] {
            if let Some(cuts) = cut_everywhere(*write, Cut::RequestLost, seen) {
                assert!(cuts >= 1, "{}", write.0);
            }
        }
    }
}

#[test]
fn a_lost_answer_is_settled() {
    for write in WRITES {
        for how in [Cut::AnswerLost, Cut::HalfAnswer, Cut::HalfRequest] {
            if let Some(cuts) = cut_everywhere(*write, how, Seen::Present) {
                assert!(cuts >= 1, "{}", write.0);
            }
        }

        if let Some(cuts) = cut_everywhere(*write, Cut::AnswerLost, Seen::Before) {
            assert!(cuts >= 2, "{}", write.0);
        }
    }
}

#[test]
fn a_copy_without_a_settled_change_is_no_loss_of_the_server() {
    let Some(world) = World::new() else { return };
    let relay = Relay::start(Cluster::shared().unwrap().port(), Duration::from_millis(1));
    let vault = || world.vault("second", Some(relay.port()));
    let connected = vault();
    connected.create(&project("web"), secret("one", b"v")).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    relay.cut(1, Cut::AnswerLost);
    connected.create(&project("web"), secret("two", b"v")).unwrap();
    assert_eq!(relay.cuts(), 1);

    // The checkpoint has the change, and the copy on this machine does not.
    relay.block();
    match vault().list(Some(&project("web")), |_| true) {
        Err(VaultError::Store(StoreError::Server(ServerError::NotCached(Some(_))))) => {}
        Err(error) => panic!("{error}"),
        Ok(listed) => panic!("the copy has {} secrets", listed.len()),
    }

    relay.unblock();
    assert_eq!(vault().list(Some(&project("web")), |_| true).unwrap().len(), 2);
}
