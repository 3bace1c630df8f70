//! Leaves, buckets, heads, the root MAC and checkpoints match their known answers (sections 5 and
//! 7).

use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::checkpoint::{
    Checkpoint, ProjectCheckpoint, open_history, seal_history,
};
use terminal_secrets::crypto::history::{Ancestors, Revision};
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::{Grant, ProjectRow, Record, VaultRow};
use terminal_secrets::crypto::tree::{self, BUCKETS, EMPTY_BUCKET, Leaf};
use terminal_secrets::model::ProjectName;

use super::{Case, Fields};

pub fn checkpoint(case: &Case) {
    let input = &case.input;
    let key = RootKey::from_bytes(&input.array("root_key")).unwrap().checkpoint_key();
    case.same("key", key.expose());
    let ancestors = |fields: &Fields| Ancestors::decode(&fields.bytes("ancestors")).unwrap();
    let projects = input.rows("projects", |row| ProjectCheckpoint {
        pid: row.array("pid"),
        name: ProjectName::parse(row.text("name")).unwrap(),
        head: Revision { seq: row.u64("seq"), hash: row.array("head"), ancestors: ancestors(row) },
        sealed: row.array("sealed"),
    });

    let root = Revision {
        seq: input.u64("root_seq"),
        hash: input.array("root_mac"),
        ancestors: ancestors(input),
    };

    let seen = Checkpoint { root, projects };
    let (vault_id, place, bytes) =
        (input.array("vault_id"), input.array("place"), case.expected.bytes("anchor"));
    assert_eq!(Checkpoint::open(&key, &vault_id, &place, &bytes).unwrap(), seen);
    let again = seen.seal(&key, &vault_id, &place).unwrap();

    assert_eq!(again.len(), bytes.len());
    assert!(Checkpoint::open(&key, &vault_id, &[0; 32], &bytes).is_err());
    let past = open_history(&key, &vault_id, &case.expected.bytes("past")).unwrap();
    let expected = input.rows("past_roots", |row| {
        RootKey::from_bytes(&row.array("root_key")).unwrap().checkpoint_key()
    });

    assert_eq!(
        past.iter().map(Key::expose).collect::<Vec<_>>(),
        expected.iter().map(Key::expose).collect::<Vec<_>>()
    );

    assert_eq!(
        seal_history(&key, &vault_id, &expected).unwrap().len(),
        case.expected.bytes("past").len()
    );
}

pub fn leaf(case: &Case) {
    let input = &case.input;
    let record = Record {
        tag_ix: input.array("tag_ix"),
        rid: input.array("rid"),
        epoch: input.u32("epoch"),
        ver: input.u64("ver"),
        vver: input.u64("vver"),
        meta: input.bytes("meta"),
        val_hash: input.array("val_hash"),
        leaf: [0; 32],
    };

    case.same("leaf", &tree::leaf(&input.array("vault_id"), &input.array("pid"), &record));
}

pub fn bucket(case: &Case) {
    let leaves = case.input.rows("records", |row| Leaf {
        tag_ix: row.array("tag_ix"),
        rid: row.array("rid"),
        leaf: row.array("leaf"),
    });

    let number = case.input.u64("b").try_into().unwrap();
    case.same("bucket", &tree::bucket(&case.input.array("pid"), number, &leaves));
}

pub fn root_hash(case: &Case) {
    let mut buckets = [EMPTY_BUCKET; BUCKETS];
    for (number, hash) in case.input.rows("buckets", |row| (row.u64("b"), row.array("h"))) {
        buckets[usize::try_from(number).unwrap()] = hash;
    }

    case.same("top", &tree::root_hash(&case.input.array("pid"), &buckets));
}

fn head_row(case: &Case, sealed: Vec<u8>, sig: Vec<u8>) -> ProjectRow {
    let (pid, epoch) = (case.input.array("pid"), case.input.u32("epoch"));
    ProjectRow { pid, epoch, keys: Vec::new(), head: sealed, sig }
}

pub fn head(case: &Case) {
    let (input, head, keyring) = (&case.input, case.input.head(), case.input.keyring());
    let (vault_id, pid, epoch) =
        (input.array("vault_id"), input.array::<16>("pid"), input.u32("epoch"));
    let encoded = head.encode(&vault_id, &pid, epoch);
    case.same("encoded", &encoded);

    let context = [&pid[..], &epoch.to_be_bytes()].concat();
    let sealed =
        keyring.metadata.seal_with_salt(input.array("salt"), "head", &vault_id, &context, &encoded);
    case.same("sealed", &sealed.unwrap());
    let (ours, signature) = keyring.sign_head(&vault_id, &pid, epoch, &head).unwrap();

    case.same("sig", &signature);
    for sealed in [ours, case.expected.bytes("sealed")] {
        let row = head_row(case, sealed, signature.clone());
        assert_eq!(keyring.open_head(&vault_id, &row).as_ref(), Ok(&head), "{}", case.name);
    }
}

pub fn head_opened(case: &Case) {
    let row = head_row(case, case.input.bytes("sealed"), case.input.bytes("sig"));
    let result = case.input.keyring().open_head(&case.input.array("vault_id"), &row);
    if let Some(head) = case.opened(result) {
        assert_eq!(head, case.expected.head(), "{}", case.name);
        assert_eq!(row.epoch, case.expected.u32("epoch"));
    }
}

pub fn root_mac(case: &Case) {
    let input = &case.input;
    let root_mac = case.expected.array("root_mac");
    let (vault_id, suite, root_seq) =
        (input.array("vault_id"), input.u32("suite"), input.u64("root_seq"));
    let named = !input.0["ancestors"].is_null();
    let checkpoint_history = if named { input.bytes("anchor_past") } else { Vec::new() };
    let ancestors = named.then(|| Ancestors::decode(&input.bytes("ancestors")).unwrap());
    let vault = VaultRow { vault_id, suite, root_seq, root_mac, ancestors, checkpoint_history };
    let slots = input.rows("slots", Fields::slot);
    let projects = input.rows("projects", |row| ProjectRow {
        pid: row.array("pid"),
        epoch: row.u32("epoch"),
        keys: row.bytes("keys"),
        head: Vec::new(),
        sig: Vec::new(),
    });

    let grants = input.rows("grants", |row| Grant {
        token_id: row.bytes("token_id"),
        generation: row.u64("gen"),
        bundle: row.bytes("bundle"),
        admin: row.bytes("admin"),
    });

    let root = RootKey::from_bytes(&input.array("root_key")).unwrap();
    case.same("root_mac", &root.mac(&vault, &slots, &projects, &grants));
    assert_eq!(root.verify_mac(&vault, &slots, &projects, &grants), Ok(()), "{}", case.name);
}
