//! The index of ids, which only the rows of records make up.

use terminal_secrets::crypto::ids::DIRECTORY;
use terminal_secrets::crypto::rows::Record;
use terminal_secrets::model::{Level, ProjectName, SecretId, SecretRef, TokenName};
use terminal_secrets::store::{SqliteStore, Store};
use terminal_secrets::vault::{NewToken, SecretChanges, Vault, VaultError};

use super::restricted::{forge, sealed};
use crate::support::specimen::{Specimen, code};
use crate::support::traces::hex;
use crate::support::{project, secret, value};

/// A manager of `alpha` stores a record there under the id of a secret of `beta`, whose row is
/// removed. Returns the vault before and after, and the id.
pub fn taken_id() -> ([Specimen; 2], SecretId) {
    let specimen = Specimen::new();
    let vault = specimen.vault().unwrap();
    let alpha = project("alpha");
    let new = NewToken::new(TokenName::parse("boss").unwrap(), Level::Manage, &alpha);
    vault.create_token(&new).unwrap();
    vault.create(&project("other"), secret("four", b"4")).unwrap();
    let id_of = |of, tag: &str| vault.get(&project(of), &tag.parse().unwrap()).unwrap().id;
    let (two, three) = (id_of("alpha", "two"), id_of("beta", "three"));
    for of in ["alpha", "beta", "other"] {
        let found = |id| vault.get(&project(of), &SecretRef::Id(id)).unwrap().project;
        assert_eq!((found(two), found(three)), (project("alpha"), project("beta")));
    }

    let before = Specimen::of(&specimen.bytes());
    let rid = hex(&three.0);
    specimen.sql(&format!(
        "DELETE FROM records WHERE rid = x'{rid}'; DELETE FROM vals WHERE rid = x'{rid}'"
    ));
    forge(&specimen, |found, rows| {
        let row = rows.get_mut("two").unwrap();
        row.record.rid = three.0;
        row.sealed = sealed(found, row, &value(b"theirs"));
    });

    ([before, specimen], three)
}

/// The ways to use an id, in a project.
pub const USES: [UseOfId; 4] = [
    ("get", |vault, of, id| vault.get(of, &SecretRef::Id(id)).map(drop)),
    ("get all", |vault, of, id| vault.get_all(of, &[SecretRef::Id(id)]).map(drop)),
    ("update", |vault, of, id| {
        let changes = SecretChanges { value: Some(value(b"next")), ..SecretChanges::default() };
        vault.update(of, &SecretRef::Id(id), None, changes).map(drop)
    }),
    ("delete", |vault, of, id| vault.delete(of, &[SecretRef::Id(id)]).map(drop)),
];

type UseOfId = (&'static str, fn(&Vault, &ProjectName, SecretId) -> Result<(), VaultError>);

/// A command for another project finds the record by the id, and would store the next value there.
#[test]
fn a_manager_takes_no_id_of_another_project() {
    let ([_, specimen], id) = taken_id();
    let vault = specimen.vault().unwrap();
    for of in ["beta", "other"].map(project) {
        for (name, act) in USES {
            assert_eq!(code(&act(&vault, &of, id).unwrap_err()), 6, "{name} in {of}");
        }
    }
}

/// Attack A15: the records of the list of projects have ids too, which are no ids of secrets.
#[test]
fn the_id_of_a_project_is_not_the_id_of_a_secret() {
    let specimen = Specimen::new();
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let snapshot = store.read().unwrap();
    let mut ids = Vec::new();
    let mut keep = |record: Record| {
        ids.push(SecretRef::Id(SecretId(record.rid)));
        true
    };
    snapshot.records(&DIRECTORY, &mut keep).unwrap();
    assert_eq!(ids.len(), 2);
    let (vault, alpha) = (specimen.vault().unwrap(), project("alpha"));
    for id in ids {
        let changes = SecretChanges { value: Some(value(b"next")), ..SecretChanges::default() };
        let one = std::slice::from_ref(&id);
        for done in [
            vault.get(&alpha, &id).map(drop),
            vault.update(&alpha, &id, None, changes).map(drop),
            vault.delete(&alpha, one).map(drop),
        ] {
            assert_eq!(code(&done.unwrap_err()), 3);
        }
    }
}
