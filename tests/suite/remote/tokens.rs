//! Attacks on tokens and by their holders, with rows that the operator of the server stores for them.
//!
//! The attacks of `crate::attacks::restricted` and the other ones of `crate::token_attacks` need the
//! keys of a manager, and every row of theirs verifies. They are about the vault, not about its store.

use terminal_secrets::model::Level;
use terminal_secrets::store::CachePlace;
use terminal_secrets::vault::{Locked, TokenAccess, TokenChanges, Vault, VaultError};

use super::rows::load;
use super::target::{Target, contents, is_refused};
use crate::attacks::ids::{USES, taken_id};
use crate::support::specimen::{Specimen, VAULT_ID, code};
use crate::support::traces::hex;
use crate::support::{project, secret};
use crate::token_attacks::{Held, create, fails, get, list, name, tags};

/// Returns the vault as the holder of a token sees it on a machine, or on one that has seen nothing.
fn held(target: &Target, token: &Held, machine: Option<&str>) -> Vault {
    let access = TokenAccess::new(token.token(), VAULT_ID);
    let Some(machine) = machine else {
        let store = target.server.open(CachePlace::Memory, target.connector());
        return Locked::with_store(Box::new(store)).unlocked(access);
    };

    let directory = target.server.machine(machine);
    let cache = directory.join("cache.db");
    let store = target.server.open(CachePlace::File(&cache), target.connector());
    Locked::with_store(Box::new(store))
        .with_checkpoints(&directory.join("anchors"))
        .unlocked(access)
}

/// See `crate::attacks::ids`. A machine that has seen the honest state finds the secret in its cache.
#[test]
fn a_manager_takes_no_id_of_another_project() {
    let ([before, after], id) = taken_id();
    let Some(target) = Target::new(&before) else { return };
    let rows = load(&after);
    target.sql(&rows);
    for of in ["beta", "other"].map(project) {
        for (name, act) in USES {
            let done = act(&target.cold(), &of, id);
            assert!(is_refused(&done), "{name} in {of}: {done:?}");

            let machine = target.copy();
            if let Err(error) = act(&target.vault(&machine), &of, id) {
                assert_eq!(code(&error), 6, "{name} in {of}");
            } else {
                let copy = Specimen::of(&before.bytes());
                act(&copy.vault().unwrap(), &of, id).unwrap();
                let expected = contents(&copy.vault().unwrap()).unwrap();
                let seen = contents(&target.offline(&machine)).unwrap();
                assert_eq!(seen, expected, "{name} in {of}");
            }

            target.sql(&rows);
        }
    }
}

/// Returns a statement that gives a token the grant that it has in another state.
fn put_grant(from: &Specimen, token: &Held) -> String {
    let id = token.keys().id;
    let (generation, body, escrow): (i64, Vec<u8>, Vec<u8>) = from
        .connection()
        .query_row("SELECT gen, body, escrow FROM grants WHERE token_id = ?1", [&id[..]], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let [id, body, escrow] = [&id[..], &body, &escrow].map(hex);
    format!(
        "UPDATE secrets.grants SET gen = {generation}, body = decode('{body}', 'hex'), \
         escrow = decode('{escrow}', 'hex') WHERE token_id = decode('{id}', 'hex');"
    )
}

/// A10: an old grant opens nothing that was taken from the token. No grant opens nothing at all.
#[test]
fn a_machine_does_not_use_a_grant_that_was_replaced_or_removed() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, None);
    let before = Specimen::of(&specimen.bytes());
    let Some(target) = Target::new(&specimen) else { return };
    let machines = [None, Some("ci")];
    assert!(machines.map(|machine| list(&held(&target, &ci, machine)).unwrap()) == [2, 2]);

    let remove = tags(&["two"]);
    let only = TokenChanges { remove: &remove, ..TokenChanges::default() };
    specimen.vault().unwrap().update_token(&name("ci"), &only, false, &|_| {}).unwrap();
    let narrowed = load(&specimen);
    for machine in machines {
        target.sql(&narrowed);
        let vault = held(&target, &ci, machine);
        fails(get(&vault, "two"), 3);
        get(&vault, "one").unwrap();

        target.sql(&put_grant(&before, &ci));
        for vault in [vault, held(&target, &ci, machine)] {
            let error = get(&vault, "two").unwrap_err();
            assert!([5, 6].contains(&code(&error)), "{machine:?}: {error:?}");
        }

        target.sql(&format!("{narrowed} DELETE FROM secrets.grants;"));
        let vault = held(&target, &ci, machine);
        assert!(matches!(get(&vault, "one"), Err(VaultError::NoGrant)), "{machine:?}");
        target.sql(&narrowed);
        get(&vault, "one").unwrap();
    }
}

/// A12, on a machine that has seen nothing.
#[test]
fn a_reader_refuses_a_state_before_its_grant() {
    let specimen = Specimen::new();
    let reader = create(&specimen, "reader", Level::Read, None);
    let before = Specimen::of(&specimen.bytes());
    let vault = specimen.vault().unwrap();
    vault.create(&project("alpha"), secret("fresh", b"fresh")).unwrap();
    let strict = TokenChanges { is_strict: Some(true), ..TokenChanges::default() };
    vault.update_token(&name("reader"), &strict, false, &|_| {}).unwrap();

    let Some(target) = Target::new(&specimen) else { return };
    assert_eq!(list(&held(&target, &reader, None)).unwrap(), 3);
    target.sql(&format!("{} {}", load(&before), put_grant(&specimen, &reader)));
    fails(list(&held(&target, &reader, None)), 6);
}

/// A token for some secrets reads only their buckets and records.
#[test]
fn a_row_that_was_removed_is_damage_for_a_token() {
    let specimen = Specimen::new();
    let ci = create(&specimen, "ci", Level::Use, Some(&["one", "two"]));
    let Some(target) = Target::new(&specimen) else { return };
    let id = specimen.vault().unwrap().get(&project("alpha"), &"one".parse().unwrap()).unwrap().id;
    assert_eq!(list(&held(&target, &ci, Some("ci"))).unwrap(), 2);
    for attack in [
        format!("DELETE FROM secrets.records WHERE rid = decode('{}', 'hex')", hex(&id.0)),
        "DELETE FROM secrets.buckets WHERE pid <> decode(repeat('00', 16), 'hex')".into(),
        "DELETE FROM secrets.projects WHERE pid = decode(repeat('00', 16), 'hex'); \
         UPDATE secrets.records SET ver = ver + 1"
            .into(),
    ] {
        target.sql(&format!("{} {attack}", load(&specimen)));
        let cold = held(&target, &ci, None);
        fails(list(&cold), 6);
        fails(get(&cold, "one"), 6);

        // This machine has the rows that were removed in its cache.
        assert_eq!(list(&held(&target, &ci, Some("ci"))).unwrap(), 2);
        get(&held(&target, &ci, Some("ci")), "one").unwrap();
    }
}

/// B11: damage does not keep the owner from revoking a manager.
#[test]
fn damage_stops_no_revocation() {
    let specimen = Specimen::new();
    create(&specimen, "boss", Level::Manage, None);
    let reader = create(&specimen, "reader", Level::Read, None);
    let Some(target) = Target::new(&specimen) else { return };
    for all in [false, true] {
        target.sql(&format!(
            "{} UPDATE secrets.records SET meta = decode(repeat('00', 300), 'hex') \
             WHERE pid <> decode(repeat('00', 16), 'hex')",
            load(&specimen)
        ));
        let vault = target.cold();
        let revoked = if all {
            vault.revoke_all_tokens(false, &|_| {}).unwrap()
        } else {
            vault.revoke_tokens(&[name("boss")], false, &|_| {}).unwrap()
        };
        assert!(revoked.is_damaged && revoked.renewed.is_none());
        assert!(vault.tokens().unwrap().iter().all(|token| token.name != name("boss")));
        for owner in [&vault, &target.cold()] {
            fails(list(owner), 6);
        }

        fails(list(&held(&target, &reader, None)), if all { 5 } else { 6 });
    }
}

/// B11: the list of tokens is damaged, so it cannot be trusted. All tokens can be revoked.
#[test]
fn a_damaged_list_of_tokens_stops_no_revocation_of_all() {
    let specimen = Specimen::new();
    let boss = create(&specimen, "boss", Level::Manage, None);
    let reader = create(&specimen, "reader", Level::Read, None);
    let Some(target) = Target::new(&specimen) else { return };
    let reader_id = hex(&reader.keys().id);
    let attack = format!(
        "{} UPDATE secrets.grants SET escrow = decode(repeat('00', length(escrow)), 'hex') \
         WHERE token_id = decode('{reader_id}', 'hex')",
        load(&specimen)
    );
    for vault in [target.cold(), target.warm()] {
        target.sql(&attack);
        fails(vault.revoke_tokens(&[name("boss")], false, &|_| {}).map(drop), 6);
        let revoked = vault.revoke_all_tokens(false, &|_| {}).unwrap();
        assert_eq!((revoked.tokens.len(), revoked.dropped.len()), (1, 1));
        for token in [&boss, &reader] {
            fails(list(&held(&target, token, None)), 5);
        }

        assert!(vault.tokens().unwrap().is_empty());
        assert!(target.cold().verify(&|_| {}).unwrap().damage.is_empty());
    }
}
