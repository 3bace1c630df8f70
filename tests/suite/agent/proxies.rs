//! A process between client and agent alters answers. The client writes nothing that the owner did
//! not sign, or that it did not ask for.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use terminal_secrets::agent::{AgentFault, Answer, Client, MAX_ANSWER, ProjectFrame, RuntimeDir};
use terminal_secrets::crypto::ids::{DIRECTORY, record_of};
use terminal_secrets::crypto::rows::AuditRow;
use terminal_secrets::model::SecretBytes;
use terminal_secrets::store::{OwnedChange, Store, encode_changes};
use terminal_secrets::vault::{Locked, SecretChanges, Vault, VaultError};

use crate::support::specimen::Specimen;
use crate::support::values::reveal;
use crate::support::{project, secret, value};

use super::watched::{Watched, index};
use super::{PATIENCE, decoded, frame, impostor_at};

const INDEX: u8 = 12;
const DIRECTORY_KIND: u8 = 13;
const OPEN: u8 = 14;
const MESSAGE_KEYS: u8 = 15;
const SIGN: u8 = 16;
const CHANGE: u8 = 17;

/// Gets the kind of a request and the agent's answer to it, both without their lengths. Returns
/// the bytes to send instead.
type Alter = Box<dyn FnMut(u8, &[u8]) -> Vec<u8> + Send>;

/// Returns the bytes to send instead of an answer.
type Altered = fn(&[u8]) -> Vec<u8>;

/// A process that clients take for the agent.
struct Proxy {
    watched: Watched,
    place: RuntimeDir,
    alter: Arc<Mutex<Alter>>,
}

fn with_length(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

fn encoded(answer: &Answer<'_>) -> Vec<u8> {
    answer.encode().as_ref().map(SecretBytes::expose).unwrap().to_vec()
}

impl Proxy {
    fn new() -> Self {
        let watched = Watched::new(Specimen::new());
        std::fs::create_dir(watched.home.path("between")).unwrap();
        let place = RuntimeDir::open_or_create(&watched.home.path("between/secrets")).unwrap();
        let honest: Alter = Box::new(|_: u8, answer: &[u8]| with_length(answer));
        let (alter, agent) = (Arc::new(Mutex::new(honest)), watched.home.socket());
        let altering = Arc::clone(&alter);
        impostor_at(&place.socket(watched.path()), move |mut client| {
            let mut agent = UnixStream::connect(&agent).unwrap();
            while let Ok(request) = frame(&client) {
                if agent.write_all(&with_length(&request)).is_err() {
                    return;
                }

                let Ok(answer) = frame(&agent) else { return };
                let altered = {
                    let mut alter = altering.lock().unwrap();
                    (*alter)(request[1], &answer)
                };

                if client.write_all(&altered).is_err() {
                    return;
                }
            }
        });

        Self { watched, place, alter }
    }

    fn vault(&self) -> Vault {
        let client = Client::new(&self.place, &self.watched.home.vault, PATIENCE);
        Locked::open(&self.watched.specimen.path()).unwrap().unlocked(client)
    }

    /// Alters the answers to one kind of request.
    fn alter(&self, of: u8, mut alter: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) {
        *self.alter.lock().unwrap() =
            Box::new(
                move |kind: u8, answer: &[u8]| {
                    if kind == of { alter(answer) } else { with_length(answer) }
                },
            );
    }

    /// Asserts that an operation fails because of the answer, and writes nothing.
    #[track_caller]
    fn assert_fails(&self, what: &str, operation: Operation) {
        let before = self.watched.specimen.bytes();
        assert!(operation(&self.vault()).is_err(), "{what}");
        assert!(self.watched.specimen.bytes() == before, "{what}: the vault was changed");
    }
}

type Operation = fn(&Vault) -> Result<(), VaultError>;

fn list(vault: &Vault) -> Result<(), VaultError> {
    vault.list(None, |_| true).map(drop)
}

fn use_value(vault: &Vault) -> Result<(), VaultError> {
    reveal(vault, "alpha", "one").map(drop)
}

fn update(vault: &Vault) -> Result<(), VaultError> {
    let changes = SecretChanges { value: Some(value(b"newer")), ..SecretChanges::default() };
    vault.update(&project("alpha"), &"one".parse().unwrap(), None, changes).map(drop)
}

fn add(vault: &Vault) -> Result<(), VaultError> {
    vault.create(&project("gamma"), secret("x", b"x")).map(drop)
}

fn rename(vault: &Vault) -> Result<(), VaultError> {
    vault.rename_project(&project("alpha"), &project("renamed")).map(drop)
}

fn delete(vault: &Vault) -> Result<(), VaultError> {
    vault.delete_projects(&[project("alpha")]).map(drop)
}

/// The operations, and the kinds of requests that each of them makes.
const OPERATIONS: [(&str, Operation, &[u8]); 6] = [
    ("list", list, &[DIRECTORY_KIND, OPEN]),
    ("use", use_value, &[INDEX, DIRECTORY_KIND, OPEN, MESSAGE_KEYS]),
    ("update", update, &[INDEX, DIRECTORY_KIND, OPEN, MESSAGE_KEYS, SIGN]),
    ("add", add, &[INDEX, DIRECTORY_KIND, OPEN, MESSAGE_KEYS, SIGN, CHANGE]),
    ("rename", rename, &[INDEX, DIRECTORY_KIND, OPEN, CHANGE]),
    ("delete", delete, &[INDEX, DIRECTORY_KIND, OPEN, CHANGE]),
];

/// Without an alteration, the proxy is not noticed. Nothing else in this file means anything then.
#[test]
fn an_honest_proxy_is_not_noticed() {
    let proxy = Proxy::new();
    for (what, operation, _) in OPERATIONS {
        if what != "delete" {
            operation(&proxy.vault()).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }

    proxy.vault().delete_projects(&[project("beta")]).unwrap();
    assert!(proxy.watched.specimen.vault().unwrap().list(None, |_| true).is_ok());
}

/// Replaces every answer by those to other requests, and by bytes that are not frames.
#[test]
fn an_answer_of_another_kind_is_an_error() {
    let proxy = Proxy::new();
    let none = || Some(ProjectFrame { entry: &[], keys: &[], ticket: &[] });
    let answers = [
        Answer::Done(true),
        Answer::State { left: Some((1, 1)) },
        Answer::Bytes(&[]),
        Answer::Bytes(&[7; 15]),
        Answer::Directory { epoch: 1, owner: [7; 32], head: &[7; 741] },
        Answer::Projects(vec![]),
        Answer::Projects(vec![none()]),
        Answer::Projects(vec![None, None, None]),
        Answer::MessageKeys(&[]),
        Answer::Signed { head: &[7; 741], sig: &[7; 64], entry: &[7; 90], entry_sig: &[7; 64] },
        Answer::Signed { head: &[], sig: &[], entry: &[], entry_sig: &[] },
        Answer::Changed { head: &[7; 741], added: vec![], changes: &[0; 4] },
        Answer::Changed { head: &[], added: vec![none()], changes: &[] },
        Answer::Failed(AgentFault::Locked),
        Answer::Failed(AgentFault::NoProject),
        Answer::Failed(AgentFault::Refused),
        Answer::Failed(AgentFault::ProjectRolledBack),
        Answer::Failed(AgentFault::System),
    ];

    let lengths = [0, 1, MAX_ANSWER as u32 + 1, u32::MAX].map(|n| n.to_be_bytes().to_vec());
    let all: Vec<Vec<u8>> = answers.iter().map(encoded).chain(lengths).collect();
    for (what, operation, kinds) in OPERATIONS {
        for kind in kinds {
            for (number, answer) in all.iter().enumerate() {
                let answer = answer.clone();
                proxy.alter(*kind, move |_| answer.clone());
                proxy.assert_fails(&format!("{what}, request {kind}, answer {number}"), operation);
            }
        }
    }
}

/// Cuts and extends the answers, and changes their kind and version.
#[test]
fn an_answer_that_does_not_follow_the_protocol_is_an_error() {
    let proxy = Proxy::new();
    let alterations: [Altered; 5] = [
        |answer| with_length(&answer[..answer.len() - 1]),
        |answer| with_length(&answer[..2]),
        |answer| with_length(&[answer, &[0]].concat()),
        |answer| with_length(&[&[answer[0], answer[1] ^ 1], &answer[2..]].concat()),
        |answer| with_length(&[&[answer[0] + 1], &answer[1..]].concat()),
    ];

    for (what, operation, kinds) in OPERATIONS {
        for kind in kinds {
            for (number, alter) in alterations.into_iter().enumerate() {
                proxy.alter(*kind, alter);
                proxy.assert_fails(&format!("{what}, request {kind}, no. {number}"), operation);
            }
        }
    }
}

/// The owner's signatures cover what these two answers hold.
#[test]
fn a_changed_byte_of_a_signed_answer_is_an_error() {
    let proxy = Proxy::new();
    let lengths = [(DIRECTORY_KIND, 2 + 4 + 32 + 4 + 741), (SIGN, 2 + 4 + 741 + 4 + 64)];
    for (kind, length) in lengths {
        for at in (2..length).step_by(37) {
            proxy.alter(kind, move |answer| {
                let mut changed = answer.to_vec();
                changed[at] ^= 1;
                with_length(&changed)
            });

            proxy.assert_fails(&format!("byte {at} of the answer to {kind}"), update);
        }
    }
}

/// A head with its signatures that the owner signed for another request.
#[test]
fn a_signed_head_that_was_not_asked_for_is_an_error() {
    let proxy = Proxy::new();
    let mut first: Option<Vec<u8>> = None;
    proxy.alter(SIGN, move |answer| {
        with_length(first.get_or_insert_with(|| answer.to_vec()).as_slice())
    });

    update(&proxy.vault()).unwrap();
    for what in ["the second update", "the third update"] {
        proxy.assert_fails(what, update);
    }
}

/// The directory's head and the owner's key of another vault or of another time.
#[test]
fn a_directory_that_the_row_is_not_signed_over_is_an_error() {
    let proxy = Proxy::new();
    let mut first: Option<Vec<u8>> = None;
    proxy.alter(DIRECTORY_KIND, move |answer| {
        with_length(first.get_or_insert_with(|| answer.to_vec()).as_slice())
    });

    list(&proxy.vault()).unwrap();
    proxy.watched.vault().create(&project("delta"), secret("x", b"x")).unwrap();
    for (what, operation, _) in OPERATIONS {
        proxy.assert_fails(what, operation);
    }
}

#[test]
fn message_keys_that_were_not_asked_for_are_an_error() {
    let proxy = Proxy::new();
    let alterations: [Altered; 4] = [
        |keys| keys[68..].to_vec(),
        |keys| [keys, &[0; 68]].concat(),
        |keys| [keys, keys].concat(),
        |keys| [&[keys[0] ^ 1], &keys[1..]].concat(),
    ];

    for (number, alter) in alterations.into_iter().enumerate() {
        proxy.alter(MESSAGE_KEYS, move |answer| match decoded(answer) {
            Answer::MessageKeys(keys) => encoded(&Answer::MessageKeys(&alter(keys))),
            _ => with_length(answer),
        });

        proxy.assert_fails(&format!("alteration {number}"), use_value);
        if number < 3 {
            proxy.assert_fails(&format!("alteration {number}"), update);
        }
    }
}

/// An answer that names another project than the one at the index, or hides one.
#[test]
fn another_project_at_an_index_is_an_error() {
    let proxy = Proxy::new();
    let mut first: Option<Vec<u8>> = None;
    proxy.alter(OPEN, move |answer| {
        with_length(first.get_or_insert_with(|| answer.to_vec()).as_slice())
    });

    reveal(&proxy.vault(), "beta", "three").unwrap();
    for operation in [use_value, update, add, rename, delete] {
        proxy.assert_fails("the answer for beta", operation);
    }

    proxy.alter(OPEN, |_| encoded(&Answer::Projects(vec![None])));
    for operation in [use_value, update, rename, delete] {
        proxy.assert_fails("no project", operation);
    }
}

/// Adds rows to the changes that the agent made, or leaves them out.
#[test]
fn changes_that_were_not_asked_for_are_not_written() {
    let proxy = Proxy::new();
    let beta = proxy.watched.find("beta").entry.pid;
    let store = proxy.watched.store();
    let snapshot = store.read().unwrap();
    let row = snapshot.project(&beta).unwrap().unwrap();
    let record = snapshot.record(&DIRECTORY, &index("beta")).unwrap().unwrap();
    let directory = snapshot.project(&DIRECTORY).unwrap().unwrap();
    drop(snapshot);

    let (seq, epoch, ct) = (1, 1, vec![7; 300]);
    let foreign = [
        OwnedChange::DropProject(beta),
        OwnedChange::DropProject(DIRECTORY),
        OwnedChange::Project(row),
        OwnedChange::Project(directory),
        OwnedChange::Record(record.clone()),
        OwnedChange::DropRecord(record),
        OwnedChange::Value(record_of(&beta), vec![7; 100]),
        OwnedChange::Value([7; 8], vec![7; 100]),
        OwnedChange::Bucket(index("beta")[0], None),
        OwnedChange::Audit(beta, AuditRow { seq, epoch, ct: ct.clone() }),
        OwnedChange::Audit(DIRECTORY, AuditRow { seq, epoch, ct }),
    ];

    for change in &foreign {
        let extra = encode_changes(std::slice::from_ref(change))[4..].to_vec();
        alter_changes(&proxy, move |changes| {
            let count = u32::from_be_bytes(*changes.first_chunk().unwrap());
            [&(count + 1).to_be_bytes()[..], &changes[4..], &extra[..]].concat()
        });

        for operation in [add, rename, delete] {
            proxy.assert_fails(&format!("{change:?}"), operation);
        }
    }

    let others: [Altered; 4] =
        [|_| vec![0; 4], |_| vec![], |_| vec![255; 4], |changes| changes[..9].to_vec()];
    for (number, other) in others.into_iter().enumerate() {
        alter_changes(&proxy, other);
        for operation in [add, rename, delete] {
            proxy.assert_fails(&format!("other changes {number}"), operation);
        }
    }

    alter_changes(&proxy, <[u8]>::to_vec);
    add(&proxy.vault()).unwrap();
}

fn alter_changes(proxy: &Proxy, alter: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
    proxy.alter(CHANGE, move |answer| match decoded(answer) {
        Answer::Changed { head, added, changes } => {
            encoded(&Answer::Changed { head, added, changes: &alter(changes) })
        }
        _ => with_length(answer),
    });
}

/// The answer to an earlier request for the same change, which was not committed.
#[test]
fn a_change_of_an_earlier_state_is_not_written() {
    let proxy = Proxy::new();
    let mut first: Option<Vec<u8>> = None;
    proxy.alter(CHANGE, move |answer| {
        with_length(first.get_or_insert_with(|| answer.to_vec()).as_slice())
    });

    add(&proxy.vault()).unwrap();
    proxy.vault().delete_projects(&[project("gamma")]).unwrap_err();
    proxy.watched.vault().delete_projects(&[project("gamma")]).unwrap();
    for operation in [add, rename, delete] {
        proxy.assert_fails("an earlier change", operation);
    }
}
