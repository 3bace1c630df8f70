//! Checkpoints and past keys match their known answers (docs/format.md, section 7).

use serde_json::Value;
use terminal_secrets::crypto::checkpoint::{
    Checkpoint, NewestState, PastKeys, open_past_keys, seal_past_keys,
};
use terminal_secrets::crypto::history::{Ancestors, Revision};
use terminal_secrets::crypto::ids::{Hash, ProjectId, VaultId};
use terminal_secrets::crypto::output_digest::hex;
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::project_entry::PolicyId;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::tree::value_hash;
use terminal_secrets::store::{CheckpointStore, Location};

use super::{Case, Fields, record_size};

fn state(fields: &Fields) -> Checkpoint {
    let ancestors = Ancestors::decode(&fields.bytes("ancestors")).unwrap();
    Checkpoint {
        epoch: fields.u32("epoch"),
        head: Revision { seq: fields.u64("seq"), hash: fields.array("head"), ancestors },
        audit_head: fields.array("audit_head"),
        policy: PolicyId { version: fields.u64("policy_version"), hash: fields.array("policy") },
        grant: None,
    }
}

pub fn checkpoint(case: &Case) {
    let (input, expected, state) = (&case.input, &case.expected, state(&case.input));
    let key = RootKey::from_bytes(&input.array("root_key")).unwrap().checkpoint_key();
    case.same("key", key.expose());
    let (vault_id, pid, salt) =
        (input.array("vault_id"), input.array::<16>("pid"), input.array("salt"));
    let path = input.text("text").as_bytes();
    let path_hash = value_hash(path);

    let context = [&path_hash[..], &pid].concat();
    let encoded = expected.bytes("state");
    let padded = pad(&encoded, record_size);
    let sealed = key.seal_with_salt(salt, "checkpoint", &vault_id, &context, padded.expose());
    case.same("checkpoint", &sealed.unwrap());
    let ours = state.seal(&key, &vault_id, &path_hash, &pid).unwrap();
    for sealed in [ours, expected.bytes("checkpoint")] {
        let opened = Checkpoint::open(&key, &vault_id, &path_hash, &pid, &sealed);
        assert_eq!(opened.as_ref(), Ok(&state), "{}", case.name);
        assert!(Checkpoint::open(&key, &vault_id, &[0; 32], &pid, &sealed).is_err());
    }

    let length = u32::try_from(path.len()).unwrap().to_be_bytes();
    let padded = pad(&[&length[..], path, &encoded].concat(), record_size);
    let sealed = key.seal_with_salt(salt, "newest", &vault_id, &pid, padded.expose());
    case.same("newest", &sealed.unwrap());
    let newest = NewestState { path: path.to_vec(), state };
    let ours = newest.seal(&key, &vault_id, &pid).unwrap();
    for sealed in [ours, expected.bytes("newest")] {
        let opened = NewestState::open(&key, &vault_id, &pid, &sealed);
        assert_eq!(opened.as_ref(), Ok(&newest), "{}", case.name);
    }

    check_names(case, (&vault_id, &path_hash, &pid));
}

/// Checks the names of the files.
fn check_names(case: &Case, (vault_id, path_hash, pid): (&VaultId, &Hash, &ProjectId)) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("anchors");
    let location = Location::of_file(&folder.path().join("vault.db")).unwrap();
    let store = CheckpointStore::new(&directory, &location);
    store.write(vault_id, path_hash, pid, b"x").unwrap();
    store.write_newest(vault_id, pid, b"x").unwrap();

    let names = case.expected.list("names");
    for (folder, name) in [directory, folder.path().join("newest")].iter().zip(names) {
        assert!(folder.join(name.as_str().unwrap()).exists(), "{}: {name}", case.name);
    }
}

pub fn past_keys(case: &Case) {
    let input = &case.input;
    let root = |fields: &Fields| RootKey::from_bytes(&fields.array("root_key")).unwrap();
    let (vault_id, key) = (input.array("vault_id"), root(input).checkpoint_key());
    let past = input.rows("past_roots", |row| PastKeys::of(&root(row)));
    let encoded = |past: &PastKeys| {
        [&past.checkpoint.expose()[..], past.head.expose(), past.owner.bytes()].concat()
    };

    let hexed: Vec<String> = past.iter().map(|past| hex(&encoded(past))).collect();
    let plain: Vec<u8> = past.iter().flat_map(encoded).collect();
    let expected = case.expected.list("keys");
    assert_eq!(serde_json::json!(hexed), Value::from(expected), "{}", case.name);

    let salt = input.array("salt");
    let sealed = key.seal_with_salt(salt, "checkpoint-past", &vault_id, &[], &plain);
    case.same("past", &sealed.unwrap());
    let ours = seal_past_keys(&key, &vault_id, &past).unwrap();
    for sealed in [ours, case.expected.bytes("past")] {
        let opened = open_past_keys(&key, &vault_id, &sealed).unwrap();
        assert_eq!(opened.iter().flat_map(encoded).collect::<Vec<u8>>(), plain, "{}", case.name);
    }
}
