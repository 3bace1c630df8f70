//! Attacks on who may sign.

use std::time::Duration;

use terminal_secrets::crypto::history::Ancestors;
use terminal_secrets::crypto::rows::PolicyRow;
use terminal_secrets::model::{Level, Timestamp, TokenName};
use terminal_secrets::store::{Change, SqliteStore, Store};
use terminal_secrets::vault::{Locked, NewToken, TokenChanges};

use super::{Held, create, fails, forge, get, list, name, put_back_policy, tags, try_create};
use crate::support::specimen::{Specimen, VAULT_ID, code, root};
use crate::support::traces::hex;
use crate::support::{project, secret};

/// A1, B1, B7.
#[test]
fn a_revoked_manager_signs_nothing_on_top_of_the_revocation() {
    let specimen = Specimen::new();
    let boss = create(&specimen, "boss", Level::Manage, None);
    let reader = create(&specimen, "reader", Level::Read, None);
    list(&reader.remembering(&specimen)).unwrap();
    let (grant, before) = (boss.grant(&specimen), Specimen::of(&specimen.bytes()));

    specimen.vault().unwrap().revoke_tokens(&[name("boss")], true, &|_| {}).unwrap();
    list(&reader.remembering(&specimen)).unwrap();
    let policy = put_back_policy(&before, &specimen, &grant);
    forge(&specimen, &boss, &grant, |head| head.policy = policy);

    fails(list(&specimen.vault().unwrap()), 6);
    fails(list(&reader.remembering(&specimen)), 6);
    // This reader has no memory, but its grant was issued again with the revocation.
    fails(list(&reader.vault(&specimen)), 6);
}

/// B2: two policies of the same version, each of which revokes another token.
#[test]
fn a_policy_of_the_same_version_from_another_copy_is_a_fork() {
    let specimen = Specimen::new();
    let one = create(&specimen, "one", Level::Manage, None);
    create(&specimen, "two", Level::Manage, None);
    let reader = create(&specimen, "reader", Level::Read, None);
    let (grant, other) = (one.grant(&specimen), Specimen::of(&specimen.bytes()));
    specimen.vault().unwrap().revoke_tokens(&[name("one")], true, &|_| {}).unwrap();
    other.vault().unwrap().revoke_tokens(&[name("two")], true, &|_| {}).unwrap();

    let policy = put_back_policy(&other, &specimen, &grant);
    forge(&specimen, &one, &grant, |head| head.policy = policy);
    fails(list(&specimen.vault().unwrap()), 6);
    fails(list(&reader.vault(&specimen)), 6);
}

/// A2: a manager admits nobody, because only the owner signs policies.
#[test]
fn a_manager_signs_no_policy() {
    let specimen = Specimen::new();
    let boss = create(&specimen, "boss", Level::Manage, None);
    let reader = create(&specimen, "reader", Level::Read, None);
    let grant = boss.grant(&specimen);
    let pid = grant.project.pid;
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let row = store.read().unwrap().policy(&pid).unwrap().unwrap();
    let key = grant.project.keys.policy_key(&pid);
    let open = |row: &PolicyRow| {
        let owner = &grant.owner;
        terminal_secrets::crypto::policy::Policy::open(&key, owner, &VAULT_ID, &pid, row)
    };
    let mut policy = open(&row).unwrap();
    policy.version += 1;
    let signed = policy.seal(&key, &boss.keys().signer, &VAULT_ID, &pid).unwrap();
    let mut rows = store.write().unwrap();
    rows.apply(Change::Policy(&pid, &signed)).unwrap();
    rows.commit().unwrap();
    forge(&specimen, &boss, &grant, |head| head.policy = policy.hash(&VAULT_ID, &pid));
    fails(list(&specimen.vault().unwrap()), 6);
    fails(list(&reader.vault(&specimen)), 6);
}

/// A3.
#[test]
fn no_manager_is_limited_to_some_secrets() {
    let specimen = Specimen::new();
    assert_eq!(
        try_create(&specimen, "x", Level::Manage, Some(&["one"])).err().map(|e| code(&e)),
        Some(2)
    );
    create(&specimen, "some", Level::Use, Some(&["one"]));
    create(&specimen, "boss", Level::Manage, None);
    let vault = specimen.vault().unwrap();
    let level = TokenChanges { level: Some(Level::Manage), ..TokenChanges::default() };
    fails(vault.update_token(&name("some"), &level, false, &|_| {}), 2);
    let add = tags(&["one"]);
    let only = TokenChanges { add: &add, ..TokenChanges::default() };
    fails(vault.update_token(&name("boss"), &only, false, &|_| {}), 2);
}

/// Section 2: a grant of level `use` holds no key that signs.
#[test]
fn a_token_of_level_use_signs_nothing() {
    let specimen = Specimen::new();
    create(&specimen, "boss", Level::Manage, None);
    let user = create(&specimen, "user", Level::Use, None);
    let grant = user.grant(&specimen);
    forge(&specimen, &user, &grant, |_| {});
    fails(list(&specimen.vault().unwrap()), 6);
    fails(list(&user.vault(&specimen)), 6);
}

/// A14.
#[test]
fn a_head_from_the_future_expires_no_token() {
    let specimen = Specimen::new();
    let boss = create(&specimen, "boss", Level::Manage, None);
    let reader = create(&specimen, "reader", Level::Read, None);
    let grant = boss.grant(&specimen);
    forge(&specimen, &boss, &grant, |head| head.time = u64::MAX / 4);
    assert_eq!(list(&reader.vault(&specimen)).unwrap(), 2);
    fails(boss.vault(&specimen).create(&project("alpha"), secret("x", b"x")), 7);

    // Only the owner sets the time right.
    specimen.vault().unwrap().create(&project("alpha"), secret("y", b"y")).unwrap();
    boss.vault(&specimen).create(&project("alpha"), secret("x", b"x")).unwrap();
}

/// B11: damage that the manager signed does not keep the owner from revoking it.
#[test]
fn nothing_that_a_manager_signs_stops_its_revocation() {
    for attack in 0..3 {
        let specimen = Specimen::new();
        let boss = create(&specimen, "boss", Level::Manage, None);
        let reader = create(&specimen, "reader", Level::Read, None);
        let grant = boss.grant(&specimen);
        match attack {
            0 => forge(&specimen, &boss, &grant, |head| head.count += 1),
            1 => forge(&specimen, &boss, &grant, |head| {
                head.seq = 1 << 53;
                head.ancestors = (0..32).fold(Ancestors::none(), |before, _| before.then(&[1; 32]));
            }),
            _ => specimen.sql("UPDATE records SET meta = zeroblob(300) WHERE pid <> zeroblob(16)"),
        }

        let vault = specimen.vault().unwrap();
        assert!(vault.tokens().unwrap().iter().any(|token| token.name == name("boss")));
        let revoked = vault.revoke_tokens(&[name("boss")], false, &|_| {}).unwrap();
        assert!(revoked.is_damaged && revoked.renewed.is_none(), "{attack}");
        assert!(vault.tokens().unwrap().iter().all(|token| token.name != name("boss")));
        fails(list(&vault), 6);
        fails(list(&reader.vault(&specimen)), 6);
    }
}

/// A damaged record makes no other one unreadable and stops no revocation.
#[test]
fn a_damaged_record_stops_no_revocation_and_spoils_no_other_record() {
    for all in [false, true] {
        let specimen = Specimen::new();
        create(&specimen, "boss", Level::Manage, None);
        let vault = specimen.vault().unwrap();
        let id = vault.get(&project("alpha"), &"two".parse().unwrap()).unwrap().id;
        specimen
            .sql(&format!("UPDATE records SET meta = zeroblob(300) WHERE rid = x'{}'", hex(&id.0)));
        let revoked = if all {
            vault.revoke_all_tokens(false, &|_| {}).unwrap()
        } else {
            vault.revoke_tokens(&[name("boss")], false, &|_| {}).unwrap()
        };
        assert!(revoked.is_damaged && revoked.renewed.is_none());
        assert!(vault.tokens().unwrap().is_empty());
        get(&vault, "one").unwrap();
        fails(get(&vault, "two"), 6);
    }
}

/// Section 2.
#[test]
fn a_project_has_at_most_64_managers() {
    let specimen = Specimen::new();
    for number in 0..64 {
        create(&specimen, &format!("m{number}"), Level::Manage, None);
    }

    assert!(try_create(&specimen, "m64", Level::Manage, None).is_err_and(|e| code(&e) == 2));
    create(&specimen, "reader", Level::Read, None);
}

/// B10: a head is dated at most when its signer expires, and the owner's next command about tokens
/// drops an expired one.
#[test]
fn an_expired_manager_signs_until_the_owner_drops_it() {
    let specimen = Specimen::new();
    let reader = create(&specimen, "reader", Level::Read, None);
    let (end, alpha) = (Timestamp(Timestamp::now().0 + 100), project("alpha"));
    let new = NewToken { expires: Some(end), ..NewToken::new(name("boss"), Level::Manage, &alpha) };
    let boss = Held(specimen.vault().unwrap().create_token(&new).unwrap().0.text());
    let grant = boss.grant(&specimen);
    let before = specimen.bytes();
    forge(&specimen, &boss, &grant, |head| head.time = end.0 + 1);
    fails(list(&reader.vault(&specimen)), 6);

    specimen.overwrite(&before);
    std::thread::sleep(Duration::from_millis(110));
    fails(boss.vault(&specimen).create(&project("alpha"), secret("x", b"x")), 5);
    forge(&specimen, &boss, &grant, |head| head.time = end.0);
    assert_eq!(list(&reader.vault(&specimen)).unwrap(), 2);

    create(&specimen, "other", Level::Read, None);
    forge(&specimen, &boss, &grant, |head| head.time = end.0);
    fails(list(&reader.vault(&specimen)), 6);
    fails(list(&specimen.vault().unwrap()), 6);
}

/// B11: a changed byte of any escrow. The list cannot be trusted then, because a token that was revoked
/// may be in it. So all of them are revoked.
#[test]
fn a_damaged_list_of_tokens_stops_no_revocation_of_all() {
    let specimen = Specimen::new();
    let boss = create(&specimen, "boss", Level::Manage, None);
    let reader = create(&specimen, "reader", Level::Read, None);
    specimen.sql(&format!(
        "UPDATE grants SET escrow = zeroblob(length(escrow)) WHERE token_id = x'{}'",
        hex(&reader.keys().id)
    ));

    let vault = specimen.vault().unwrap();
    fails(vault.revoke_tokens(&[name("boss")], false, &|_| {}).map(drop), 6);
    let revoked = vault.revoke_all_tokens(false, &|_| {}).unwrap();
    let names: Vec<&TokenName> = revoked.tokens.iter().map(|token| &token.name).collect();
    assert_eq!((names, revoked.dropped.len()), (vec![&name("boss")], 1));
    assert_eq!((revoked.renewed, revoked.exposed.len()), (Some(3), 2));
    for token in [&boss, &reader] {
        fails(list(&token.vault(&specimen)), 5);
    }

    assert!(vault.tokens().unwrap().is_empty());
    assert!(vault.verify(&|_| {}).unwrap().damage.is_empty());
    assert!(vault.revoke_all_tokens(false, &|_| {}).unwrap().renewed.is_none());
    create(&specimen, "boss", Level::Manage, None);
}

/// Readers of the directory follow at most 32 changes, so all projects are one change.
#[test]
fn all_tokens_of_many_projects_are_revoked_in_one_change() {
    let specimen = Specimen::new();
    let vault = specimen.vault().unwrap();
    let elsewhere = || {
        let state = specimen.directory().join("state/anchors");
        Locked::open(&specimen.path()).unwrap().with_checkpoints(&state).unlocked(root())
    };
    for number in 0..40 {
        let of = project(&format!("p{number}"));
        vault.create(&of, secret("x", b"x")).unwrap();
        let new = NewToken::new(name(&format!("t{number}")), Level::Manage, &of);
        vault.create_token(&new).unwrap();
        list(&elsewhere()).unwrap();
    }

    let revoked = vault.revoke_all_tokens(false, &|_| {}).unwrap();
    assert_eq!((revoked.tokens.len(), revoked.renewed), (40, Some(40)));
    list(&elsewhere()).unwrap();
}
