//! Attacks on the audit log by a manager, who has the key that seals its entries (A8, B8).

use terminal_secrets::crypto::audit::{AuditEntry, SignedEntry};
use terminal_secrets::crypto::ids::{OWNER, TokenId};
use terminal_secrets::vault::{ChangeLog, LogScope};

use super::*;
use crate::support::secret;
use crate::support::specimen::root;

/// The project with a manager, whose last entry is the owner's: the creation of `x`.
fn specimen() -> (Specimen, Held) {
    let specimen = Specimen::new();
    let boss = create(&specimen, "boss", Level::Manage, None);
    specimen.vault().unwrap().create(&project("alpha"), secret("x", b"x")).unwrap();
    (specimen, boss)
}

fn log(vault: &Vault) -> ChangeLog {
    vault.change_logs(LogScope::Project(&project("alpha")), &mut |_| true).unwrap().remove(0)
}

/// Replaces the last entry by one of the manager's own, which names `signer_id`, and signs a head that
/// goes on from it.
fn rewrite_last_entry(specimen: &Specimen, boss: &Held, signer_id: TokenId) -> u64 {
    let grant = boss.grant(specimen);
    let GrantedKeys::Project(ring) = &grant.project.keys else { panic!("a set") };
    let (pid, keys) = (grant.project.pid, boss.keys());
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let mut rows = store.write().unwrap();
    let row = rows.project(&pid).unwrap().unwrap();
    let head = Head::open(&ring.head_key(&pid), &VAULT_ID, &row).unwrap();
    let mut last = None;
    rows.audit(&pid, head.seq, &mut |entry| {
        last = Some(entry);
        false
    })
    .unwrap();
    let audit_key = ring.audit_key(&pid);
    let entry = SignedEntry::open(&audit_key, &VAULT_ID, &pid, &last.unwrap()).unwrap().entry;
    let forged = AuditEntry { signer_id, change: AuditChange::new(Action::Update), ..entry };
    let forged = forged.sign(&keys.signer, &VAULT_ID, &pid, head.seq);
    let sealed = forged.seal(&audit_key, &VAULT_ID, &pid, head.seq, row.epoch).unwrap();
    rows.apply(Change::Audit(&pid, &sealed)).unwrap();
    rows.commit().unwrap();
    forge(specimen, boss, &grant, |head| head.audit_head = forged.hash());
    head.seq
}

#[test]
fn nobody_signs_an_entry_in_the_owners_name() {
    let (specimen, boss) = specimen();
    let seq = rewrite_last_entry(&specimen, &boss, OWNER);
    assert_eq!(log(&specimen.vault().unwrap()).fault, Some(seq));
    fails(log(&specimen.vault().unwrap()).check(), 6);
}

#[test]
fn a_machine_notices_that_the_entry_that_it_saw_is_gone() {
    let (specimen, boss) = specimen();
    let state = specimen.directory().join("owner/anchors");
    let remembering =
        || Locked::open(&specimen.path()).unwrap().with_checkpoints(&state).unlocked(root());
    list(&remembering()).unwrap();
    let seq = rewrite_last_entry(&specimen, &boss, boss.keys().id);

    // An entry says only its writer's word, so only memory finds this.
    assert_eq!(log(&specimen.vault().unwrap()).fault, None);
    let seen = log(&remembering());
    assert_eq!((seen.fault, seen.lost), (None, Some(seq)));
    fails(seen.check(), 6);
}

#[test]
fn new_keys_keep_every_entry_and_its_hash() {
    let (specimen, _) = specimen();
    let vault = specimen.vault().unwrap();
    let hashes = || -> Vec<_> { log(&vault).entries.iter().map(|entry| entry.hash).collect() };
    let before = hashes();
    vault.rekey_project(&project("alpha"), &|_| {}).unwrap();
    let after = hashes();
    assert_eq!((after.len(), &after[..before.len()]), (before.len() + 1, &before[..]));
    log(&vault).check().unwrap();
}
