//! The agent changes the list of projects itself, and gives out the rows to write.

use terminal_secrets::agent::{AgentFault, Answer, ChangeKind, Request};
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::ids::DIRECTORY;
use terminal_secrets::crypto::kdf::KdfParams;
use terminal_secrets::store::{RowSet, Store};
use terminal_secrets::vault::{DirectoryChange, KeyServiceError, VaultAccess, VaultError};

use crate::support::specimen::{Specimen, VAULT_ID};
use crate::support::{passphrase, project, secret};

use super::watched::{Watched, changes, index};
use super::{decoded, frame, send_request};

#[test]
fn projects_are_added_renamed_and_deleted_through_the_agent() {
    let watched = Watched::new(Specimen::new());
    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    watched.vault().rename_project(&project("gamma"), &project("delta")).unwrap();
    watched.vault().delete_projects(&[project("beta"), project("delta")]).unwrap();
    assert_eq!(watched.look().unwrap(), 2);

    // The root key itself finds the same.
    let names = watched.specimen.vault().unwrap().projects().unwrap();
    assert_eq!(names, [(project("alpha"), 2)]);
}

#[test]
fn a_new_project_has_a_head_that_the_owner_signed() {
    let watched = Watched::new(Specimen::new());
    let (store, client, name) = (watched.store(), watched.client(), project("gamma"));
    let mut transaction = store.write().unwrap();
    let directory = client.directory(&VAULT_ID, &*transaction).unwrap();
    let change = DirectoryChange::Add(&[&name]);
    let changed = client.change(&VAULT_ID, &mut *transaction, change).unwrap();
    assert_eq!(changed.head.seq, directory.head.seq + 1);
    assert_eq!(changed.head.count, directory.head.count + 1);

    let [added] = changed.added.as_slice() else { panic!("{}", changed.added.len()) };
    let pid = &added.entry.pid;
    assert_eq!((&added.entry.name, added.entry.epoch), (&name, 1));
    assert!(added.ring().unwrap().values.is_none() && added.ring().unwrap().restricted.is_none());

    let row = transaction.project(pid).unwrap().unwrap();
    let head = Head::open(&added.keys.head_key(pid), &VAULT_ID, &row).unwrap();
    assert_eq!((head.seq, head.count), (1, 0));
    assert!(directory.owner.verifies(&head.encode(&VAULT_ID, pid, 1), &row.sig));
    assert_ne!(*pid, DIRECTORY);
}

#[test]
fn a_change_that_does_not_fit_the_list_is_refused() {
    let watched = Watched::new(Specimen::new());
    let stream = watched.home.dial();
    let cases: [(ChangeKind, &[&str], AgentFault); 7] = [
        (ChangeKind::Add, &["alpha"], AgentFault::ProjectExists),
        (ChangeKind::Add, &["new", "new"], AgentFault::ProjectExists),
        (ChangeKind::Add, &["new", "beta"], AgentFault::ProjectExists),
        (ChangeKind::Rename, &["alpha", "beta"], AgentFault::ProjectExists),
        (ChangeKind::Rename, &["absent", "new"], AgentFault::NoProject),
        (ChangeKind::Delete, &["absent"], AgentFault::NoProject),
        (ChangeKind::Delete, &["alpha", "absent"], AgentFault::NoProject),
    ];

    for (kind, names, fault) in cases {
        let answer = watched.ask_change(&stream, kind, names);
        assert!(decoded(&answer) == Answer::Failed(fault), "{kind:?} {names:?}");
    }

    // The rows of the buckets are missing, so nothing proves that the name is free.
    let rows = watched.rows(&[]);
    let answer = watched.ask_change_of(&stream, ChangeKind::Add, &["new"], &rows);
    assert!(decoded(&answer) == Answer::Failed(AgentFault::Directory));
    assert_eq!(watched.look().unwrap(), 3);
}

/// The agent signs only on rows that were signed before.
#[test]
fn a_change_of_damaged_rows_is_refused() {
    let watched = Watched::new(Specimen::new());
    let rows = watched.rows(&["alpha", "gamma"]);
    let names = vec![b"alpha".as_slice(), b"gamma"];
    let (path, vault_id, kind) = (watched.path(), VAULT_ID, ChangeKind::Rename);
    // The hash of the slots comes first. It only decides which error is reported.
    for at in (32..rows.len()).step_by(7) {
        let (stream, mut damaged) = (watched.home.dial(), rows.clone());
        damaged[at] ^= 1;
        let names = names.clone();
        send_request(&stream, &Request::Change { path, vault_id, rows: &damaged, kind, names });

        // The agent closes the connection if a length does not fit.
        if let Ok(answer) = frame(&stream) {
            assert!(matches!(decoded(&answer), Answer::Failed(_)), "byte {at}");
        }
    }

    let answer = watched.ask_change_of(&watched.home.dial(), kind, &["alpha", "gamma"], &rows);
    assert!(matches!(decoded(&answer), Answer::Changed { .. }));
}

/// A transaction may fail after the agent has made its changes.
#[test]
fn changes_that_were_not_committed_are_no_rollback() {
    let watched = Watched::new(Specimen::new());
    let stream = watched.home.dial();
    for name in ["one", "two", "three"] {
        let answer = watched.ask_change(&stream, ChangeKind::Add, &[name]);
        assert!(!changes(&answer).is_empty());
        assert_eq!(watched.look().unwrap(), 3);
    }

    // A change in many requests is made of many states. None of them is remembered.
    let (store, client) = (watched.store(), watched.client());
    let mut transaction = store.write().unwrap();
    client.directory(&VAULT_ID, &*transaction).unwrap();
    for number in 0..40 {
        let name = project(&format!("p{number}"));
        let change = DirectoryChange::Add(&[&name]);
        client.change(&VAULT_ID, &mut *transaction, change).unwrap();
        let found = client.find(&VAULT_ID, &*transaction, &[&name]).unwrap();
        assert!(found[0].is_some());
    }

    drop(transaction);
    assert_eq!(watched.look().unwrap(), 3);
    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    assert_eq!(watched.look().unwrap(), 4);
}

/// A change that the agent made and nobody committed does not count once the vault has moved on.
#[test]
fn a_change_that_was_overtaken_is_refused() {
    let watched = Watched::new(Specimen::new());
    let (store, client, name) = (watched.store(), watched.client(), project("stock"));
    let overtaken = {
        let mut transaction = store.write().unwrap();
        client.directory(&VAULT_ID, &*transaction).unwrap();
        let change = DirectoryChange::Add(&[&name]);
        client.change(&VAULT_ID, &mut *transaction, change).unwrap();
        let mut rows = RowSet::read(&*transaction).unwrap();
        rows.add(&*transaction, &index("next")).unwrap();
        rows.encode()
    };

    watched.vault().create(&project("gamma"), secret("x", b"x")).unwrap();
    watched.look().unwrap();
    let stream = watched.home.dial();
    let answer = watched.ask_change_of(&stream, ChangeKind::Add, &["next"], &overtaken);
    assert!(decoded(&answer) == Answer::Failed(AgentFault::RolledBack));
}

#[test]
fn what_takes_the_root_key_itself_takes_the_passphrase() {
    let watched = Watched::new(Specimen::new());
    let (vault, before) = (watched.vault(), watched.specimen.bytes());
    assert!(watched.client().root_key().is_none());
    let refused = |outcome: Result<(), VaultError>| {
        matches!(outcome, Err(VaultError::KeyService(KeyServiceError::PassphraseNeeded)))
    };

    assert!(refused(vault.create_recovery().map(drop)));
    assert!(refused(vault.set_passphrase(&passphrase(), KdfParams::LEAST).map(drop)));
    assert!(refused(vault.rekey_project(&project("alpha"), &|_| {}).map(drop)));
    assert_eq!(watched.specimen.bytes(), before);
}
