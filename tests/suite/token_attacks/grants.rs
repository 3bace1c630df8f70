//! Attacks on grants, checkpoints, escrows and bundles.

use std::path::Path;

use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::grant::{Grant, GrantedKeys};
use terminal_secrets::crypto::rows::GrantRow;
use terminal_secrets::crypto::signing::Signer;
use terminal_secrets::model::{Level, SecretId, SecretRef, Timestamp};
use terminal_secrets::store::{Change, SqliteStore, Store};
use terminal_secrets::vault::{Locked, TokenAccess, TokenChanges, VaultError};

use super::{Held, create, fails, get, list, name, tags};
use crate::support::specimen::{SECRETS, Specimen, VAULT_ID};
use crate::support::traces::hex;
use crate::support::values::reveal;
use crate::support::{passphrase, project, secret};

fn row(specimen: &Specimen, held: &Held) -> GrantRow {
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let row = store.read().unwrap().grant(&held.keys().id).unwrap();
    row.unwrap()
}

fn put(specimen: &Specimen, row: &GrantRow) {
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let mut rows = store.write().unwrap();
    rows.apply(Change::Grant(row)).unwrap();
    rows.commit().unwrap();
}

/// Seals a grant that its holder has rewritten.
fn rewrite(specimen: &Specimen, held: &Held, grant: &Grant) {
    let (row, keys) = (row(specimen, held), held.keys());
    let sealed = grant.seal(&keys.kek, &VAULT_ID, &keys.id, row.generation).unwrap();
    put(specimen, &GrantRow { grant: sealed, ..row });
}

/// A10.
#[test]
fn an_old_grant_does_not_open_what_was_narrowed() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, None);
    let (old, boss) = (row(&specimen, &ci), create(&specimen, "boss", Level::Manage, None));
    let vault = specimen.vault().unwrap();
    let remove = tags(&["two"]);
    let only = TokenChanges { remove: &remove, ..TokenChanges::default() };
    let (info, revoked) = vault.update_token(&name("ci"), &only, false, &|_| {}).unwrap();
    assert!(
        info.secrets == Some(tags(&["one"]))
            && revoked.is_some_and(|revoked| revoked.renewed.is_some())
    );
    fails(get(&ci.vault(&specimen), "two"), 3);
    get(&boss.vault(&specimen), "two").unwrap();

    put(&specimen, &old);
    fails(get(&ci.vault(&specimen), "two"), 5);
}

/// A10: a token for the whole project keeps what it is not deprived of.
#[test]
fn taking_a_secret_from_a_whole_project_takes_its_keys() {
    let specimen = Specimen::new();
    create(&specimen, "ci", Level::Use, None);
    let remove = tags(&["one"]);
    let only = TokenChanges { remove: &remove, ..TokenChanges::default() };
    let vault = specimen.vault().unwrap();
    let (info, revoked) = vault.update_token(&name("ci"), &only, false, &|_| {}).unwrap();
    assert!(info.secrets == Some(tags(&["two"])) && revoked.unwrap().renewed == Some(2));
}

/// A12.
#[test]
fn a_reader_without_memory_refuses_a_state_before_its_grant() {
    let specimen = Specimen::new();
    let vault = specimen.vault().unwrap();
    let reader = create(&specimen, "reader", Level::Read, None);
    let before = Specimen::of(&specimen.bytes());
    vault.create(&project("alpha"), secret("fresh", b"fresh")).unwrap();
    let longer = TokenChanges { is_strict: Some(true), ..TokenChanges::default() };
    vault.update_token(&name("reader"), &longer, false, &|_| {}).unwrap();

    put(&before, &row(&specimen, &reader));
    fails(list(&reader.vault(&before)), 6);
}

/// A7, A11, B14: another holder of the string brings another owner, in this project or another one.
#[test]
fn a_token_that_remembers_its_owner_accepts_no_other_one() {
    for moves in [false, true] {
        let specimen = Specimen::new();
        let reader = create(&specimen, "reader", Level::Read, None);
        list(&reader.remembering(&specimen)).unwrap();
        let mut grant = reader.grant(&specimen);
        grant.owner = Signer::from_seed(&Key::random().unwrap()).public();
        if moves {
            grant.project.pid = [5; 16];
        }

        rewrite(&specimen, &reader, &grant);
        fails(reader.remembering(&specimen).token(), 6);
    }
}

/// A7.
#[test]
fn a_planted_checkpoint_is_noticed_and_another_tokens_is_not_touched() {
    let specimen = Specimen::new();
    let one = create(&specimen, "one", Level::Read, None);
    let two = create(&specimen, "two", Level::Read, None);
    list(&one.remembering(&specimen)).unwrap();
    for entry in std::fs::read_dir(specimen.directory().join("state/anchors")).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("lock") {
            std::fs::write(path, b"planted").unwrap();
        }
    }

    list(&two.remembering(&specimen)).unwrap();
    fails(list(&one.remembering(&specimen)), 6);
}

/// B6.
#[test]
fn a_rewritten_grant_does_not_survive_the_next_one() {
    let specimen = Specimen::new();
    let reader = create(&specimen, "reader", Level::Read, Some(&["one"]));
    let whole = create(&specimen, "whole", Level::Manage, None).grant(&specimen);
    let mut grant = reader.grant(&specimen);
    (grant.level, grant.expires, grant.owner) = (Level::Manage, None, whole.owner);
    grant.project.keys = whole.project.keys;
    rewrite(&specimen, &reader, &grant);
    specimen.vault().unwrap().rekey_project(&project("alpha"), &|_| {}).unwrap();

    let issued = reader.grant(&specimen);
    assert_eq!(issued.level, Level::Read);
    let GrantedKeys::Set(set) = &issued.project.keys else { panic!("the whole project") };
    assert!(set.records.len() == 1 && set.records[0].value.is_none());
}

/// Section 2.
#[test]
fn grants_hold_the_keys_of_their_level_and_no_other_name() {
    let specimen = Specimen::new();
    let reader = create(&specimen, "reader", Level::Read, None);
    let GrantedKeys::Project(ring) = reader.grant(&specimen).project.keys else { panic!() };
    assert!(ring.values.is_none() && ring.restricted.is_none());
    fails(reveal(&reader.vault(&specimen), "alpha", "one"), 7);

    let user = create(&specimen, "user", Level::Use, None);
    let GrantedKeys::Project(ring) = user.grant(&specimen).project.keys else { panic!() };
    assert!(ring.values.is_some() && ring.restricted.is_none());

    let some = create(&specimen, "some", Level::Use, Some(&["one"]));
    let plain = some.grant(&specimen).encode();
    assert!(!plain.expose().windows(3).any(|word| word == b"two"));
    assert_eq!(list(&some.vault(&specimen)).unwrap(), 1);
    fails(get(&some.vault(&specimen), "two"), 3);
    let two = specimen.vault().unwrap().get(&project("alpha"), &"two".parse().unwrap()).unwrap();
    let by_id = SecretRef::Id(two.id);
    let error = some.vault(&specimen).get(&project("alpha"), &by_id).unwrap_err();
    assert!(!error.to_string().contains("two"), "{error}");
}

/// Section 2: strings stay, and the vault's new root key ends all of them, with a damaged table too.
#[test]
fn new_keys_keep_strings_and_a_new_root_key_does_not() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, Some(&["one"]));
    create(&specimen, "boss", Level::Manage, None);
    specimen.vault().unwrap().revoke_tokens(&[name("boss")], false, &|_| {}).unwrap();
    specimen.vault().unwrap().rekey_project(&project("alpha"), &|_| {}).unwrap();
    let value = reveal(&ci.vault(&specimen), "alpha", "one").unwrap().unwrap();
    assert_eq!(value, SECRETS[0].2.as_bytes());

    let broken = GrantRow { escrow: vec![1; 300], ..row(&specimen, &ci) };
    put(&specimen, &broken);
    let rekeyed = specimen.vault().unwrap().rekey(&passphrase(), None, &|_| {}).unwrap();
    assert!(rekeyed.tokens.is_empty());
    fails(list(&ci.vault(&specimen)), 5);
}

/// A13.
#[test]
fn a_deleted_project_ends_for_its_tokens() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, None);
    specimen.vault().unwrap().delete_projects(&[project("alpha")]).unwrap();
    fails(list(&ci.vault(&specimen)), 3);
}

/// Section 4: a bundle has one grant and the rows of its secrets, and is only read.
#[test]
fn a_bundle_carries_nothing_else_and_is_not_written() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, Some(&["one"]));
    let vault = specimen.vault().unwrap();
    let path = specimen.directory().join("ci.vault");
    let scope = vault.bundle_scope_of(&name("ci")).unwrap();
    assert_eq!(vault.write_bundle(&scope, &path, false).unwrap(), 1);

    let file = rusqlite::Connection::open(&path).unwrap();
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM slots"), 0);
    assert_eq!(count("SELECT count(*) FROM audit"), 0);
    assert_eq!(count("SELECT count(*) FROM projects"), 1);
    assert_eq!(count("SELECT count(*) FROM projects WHERE pid = zeroblob(16)"), 0);
    assert_eq!(count("SELECT count(*) FROM vals"), 1);
    assert_eq!(count("SELECT count(*) FROM records WHERE length(meta) > 0"), 1);
    assert_eq!(count("SELECT sum(length(escrow)) FROM grants"), 0);

    let open = || Locked::open(&path).unwrap();
    let bundle = open().unlocked(TokenAccess::new(ci.token(), VAULT_ID));
    assert!(reveal(&bundle, "alpha", "one").unwrap().is_some());
    fails(bundle.create(&project("alpha"), secret("x", b"x")), 7);
    fails(open().root_key(&passphrase()), 7);
    fails(vault.backup(&path, true, &|_| {}), 7);
}

/// Section 3: a secret of a set without a row was deleted only if all buckets say so.
#[test]
fn a_row_that_was_removed_is_damage_in_a_vault_and_in_a_bundle() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, Some(&["one", "two"]));
    let vault = specimen.vault().unwrap();
    let path = specimen.directory().join("ci.vault");
    let write = || {
        let scope = vault.bundle_scope_of(&name("ci")).unwrap();
        vault.write_bundle(&scope, &path, true).unwrap();
    };
    let open =
        |path: &Path| Locked::open(path).unwrap().unlocked(TokenAccess::new(ci.token(), VAULT_ID));
    let id_of = |tag: &str| vault.get(&project("alpha"), &tag.parse().unwrap()).unwrap().id;
    let (one, two) = (id_of("one"), SecretRef::Id(id_of("two")));
    let unknown = SecretRef::Id(SecretId(*b"not here"));

    vault.delete(&project("alpha"), &["two".parse().unwrap()]).unwrap();
    write();
    for path in [&specimen.path(), &path] {
        assert_eq!(list(&open(path)).unwrap(), 1);
        fails(get(&open(path), "two"), 3);
        for id in [&two, &unknown] {
            fails(open(path).get(&project("alpha"), id).map(drop), 3);
        }
    }

    let remove = format!("DELETE FROM records WHERE rid = x'{}'", hex(&one.0));
    let directory = "DELETE FROM projects WHERE pid = zeroblob(16)";
    let vault = specimen.path();
    for (path, statement) in [(&path, &*remove), (&vault, &*remove), (&vault, directory)] {
        rusqlite::Connection::open(path).unwrap().execute_batch(statement).unwrap();
        fails(list(&open(path)), 6);
        fails(get(&open(path), "one"), 6);
        fails(open(path).get(&project("alpha"), &SecretRef::Id(one)).map(drop), 6);
    }
}

#[test]
fn a_replaced_string_says_so_after_its_end() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, None);
    let vault = specimen.vault().unwrap();
    let soon = Some(Timestamp(Timestamp::now().0 + 100));
    vault.rotate_token(&name("ci"), None, soon, false, &|_| {}).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(110));
    assert!(matches!(list(&ci.vault(&specimen)), Err(VaultError::TokenReplaced { .. })));

    // An end in the past is one at once.
    let other = create(&specimen, "other", Level::Use, None);
    let past = Some(Timestamp(Timestamp::now().0 - 1));
    vault.rotate_token(&name("other"), None, past, false, &|_| {}).unwrap();
    assert!(matches!(list(&other.vault(&specimen)), Err(VaultError::TokenReplaced { .. })));
}

/// Section 3: a token that has expired gets no new keys, whatever happens to its list.
#[test]
fn an_expired_token_gets_no_new_keys() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, None);
    let vault = specimen.vault().unwrap();
    let update = |changes: &TokenChanges<'_>| {
        vault.update_token(&name("ci"), changes, false, &|_| {}).unwrap();
    };
    let past = Some(Timestamp(Timestamp::now().0 - 1));
    update(&TokenChanges { expires: Some(past), ..TokenChanges::default() });
    assert!(matches!(list(&ci.vault(&specimen)), Err(VaultError::TokenExpired { .. })));
    vault.rekey_project(&project("alpha"), &|_| {}).unwrap();
    update(&TokenChanges { is_strict: Some(true), ..TokenChanges::default() });
    let GrantedKeys::Set(set) = ci.grant(&specimen).project.keys else { panic!("a key ring") };
    assert!(set.records.is_empty());
    fails(list(&ci.vault(&specimen)), 5);

    update(&TokenChanges { expires: Some(None), ..TokenChanges::default() });
    assert_eq!(list(&ci.vault(&specimen)).unwrap(), 2);
}
