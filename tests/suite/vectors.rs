//! Known answers of the vault format. `check.py` computed every file of `tests/vectors/` from
//! docs/format.md alone. These tests recompute them with the library.
//!
//! A file names its `kind`, and the function of that name checks it. The library draws a seal's
//! salt at random, so a seal is compared after opening it, and sealed once more with the vector's
//! salt through `Key::seal_with_salt`.

use std::fs;
use std::path::PathBuf;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use serde_json::Value;
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::checkpoint::{
    Checkpoint, ProjectCheckpoint, open_history, seal_history,
};
use terminal_secrets::crypto::head::{Head, HeadHistory};
use terminal_secrets::crypto::history::{Ancestors, Revision};
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::padding;
use terminal_secrets::crypto::record::RecordContext;
use terminal_secrets::crypto::recovery::RecoveryCode;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::{Grant, ProjectRow, Record, Slot, VaultRow};
use terminal_secrets::crypto::slot::Credential;
use terminal_secrets::crypto::tree::{self, BUCKETS, EMPTY_BUCKET, Leaf};
use terminal_secrets::model::{
    Description, Hint, Metadata, Name, ProjectName, SecretBytes, SecretValue, Tag, Timestamp,
};

use crate::support::files::root;

/// Defines one test for each kind of case, over all files of that kind.
macro_rules! kinds {
    ($($kind:ident)*) => {
        const KINDS: &[&str] = &[$(stringify!($kind)),*];

        mod known_answers {
            $(#[test]
            fn $kind() {
                let mut cases = super::cases();
                cases.retain(|case| case.kind == stringify!($kind));
                assert!(!cases.is_empty());
                cases.iter().for_each(super::$kind);
            })*
        }
    };
}

kinds! {
    expand slot slot_opened recovery recovery_opened checkpoint keyring metadata metadata_opened value value_opened value_sizes tag_index
    leaf bucket root_hash head head_opened root_mac
}

#[test]
fn every_file_is_read() {
    for case in cases() {
        assert!(
            KINDS.contains(&case.kind.as_str()),
            "{}: no test handles cases of kind {}",
            case.name,
            case.kind
        );
    }
}

struct Case {
    name: String,
    kind: String,
    input: Fields,
    expected: Fields,
}

impl Case {
    /// Returns the opened result, or `None` if it was refused as the case expects.
    fn opened<T>(&self, result: Result<T, CryptoError>) -> Option<T> {
        let code = result.as_ref().err().map(|error| match error {
            CryptoError::WrongPassphrase => "wrong-passphrase",
            CryptoError::WrongRecoveryCode => "wrong-recovery-code",
            CryptoError::Damaged(_) => "damaged",
            CryptoError::Unsupported(_) => "unsupported",
            CryptoError::Memory(_)
            | CryptoError::KeyMemory
            | CryptoError::Random
            | CryptoError::NoRecoveryCode => "the machine",
        });

        assert_eq!(code, self.expected.0["error"].as_str(), "{}", self.name);
        result.ok()
    }

    /// Asserts that the seal opens or not as the case expects, so that a refusal is about the
    /// content.
    fn sealed_as_expected(&self, label: &str, key: &Key, version: u64) {
        let sealed = self.input.bytes("sealed");
        let padded = self.input.in_place(version, |place, context| {
            key.open(label, place.vault_id, context, &sealed, "it")
        });

        let expected = self.expected.0["padded"].is_string().then(|| self.expected.bytes("padded"));
        assert_eq!(padded.ok().map(|padded| padded.expose().to_vec()), expected, "{}", self.name);
    }

    fn same(&self, member: &str, found: &[u8]) {
        assert_eq!(found, self.expected.bytes(member), "{}: {member}", self.name);
    }
}

fn cases() -> Vec<Case> {
    let folder = root().join("tests/vectors");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let read = |path: PathBuf| {
        let mut case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        Case {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            kind: case["kind"].as_str().unwrap().replace('-', "_"),
            input: Fields(case["input"].take()),
            expected: Fields(case["expected"].take()),
        }
    };

    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(read)
        .collect()
}

/// The members of a JSON object, with bytes in hex.
struct Fields(Value);

impl Fields {
    fn text(&self, member: &str) -> &str {
        self.0[member].as_str().unwrap_or_else(|| panic!("no text {member}"))
    }

    fn bytes(&self, member: &str) -> Vec<u8> {
        let digits = self.text(member).as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn array<const N: usize>(&self, member: &str) -> [u8; N] {
        self.bytes(member).try_into().unwrap_or_else(|_| panic!("{member} has the wrong length"))
    }

    fn key(&self, member: &str) -> Key {
        Key::copy_of(&self.array(member))
    }

    fn u64(&self, member: &str) -> u64 {
        self.0[member].as_u64().unwrap_or_else(|| panic!("no number {member}"))
    }

    fn u32(&self, member: &str) -> u32 {
        self.u64(member).try_into().unwrap()
    }

    fn list(&self, member: &str) -> Vec<Value> {
        self.0[member].as_array().unwrap().clone()
    }

    fn rows<T>(&self, member: &str, read: impl Fn(&Self) -> T) -> Vec<T> {
        self.list(member).into_iter().map(|row| read(&Self(row))).collect()
    }

    /// Returns a key ring with the keys of the case. The other keys are zeros and unused.
    fn keyring(&self) -> Keyring {
        let key = |member| {
            if self.0[member].is_null() { Key::copy_of(&[0; 32]) } else { self.key(member) }
        };

        let name = ProjectName::parse(self.0["name"].as_str().unwrap_or("unused")).unwrap();
        Keyring::new(&self.array("pid"), key("pmk"), key("pvk"), key("psk"), name)
    }

    /// Passes the record context of the case's vault, project and record to `then`, and the context
    /// bytes for a version.
    fn in_place<T>(&self, version: u64, then: impl FnOnce(RecordContext<'_>, &[u8]) -> T) -> T {
        let (vault_id, pid, rid, epoch) =
            (self.array("vault_id"), self.array("pid"), self.array("rid"), self.u32("epoch"));
        let context = [&pid[..], &rid, &epoch.to_be_bytes(), &version.to_be_bytes()].concat();
        then(RecordContext { vault_id: &vault_id, pid: &pid, rid: &rid, epoch }, &context)
    }

    fn metadata(&self) -> Metadata {
        let optional = |member: &str| self.0[member].as_str();
        Metadata {
            tag: Tag::parse(self.text("tag")).unwrap(),
            name: optional("name").and_then(Name::stored),
            description: optional("description").and_then(Description::stored),
            hint: Hint::stored(self.text("hint")).unwrap(),
            created: Timestamp(self.u64("created")),
            updated: Timestamp(self.u64("updated")),
        }
    }

    fn slot(&self) -> Slot {
        Slot {
            slot_id: self.bytes("slot_id"),
            kind: self.u32("type"),
            params: self.bytes("params"),
            salt: self.bytes("salt"),
            commitment: self.bytes("commitment"),
            wrap: self.bytes("wrap"),
        }
    }

    fn head(&self) -> Head {
        Head {
            seq: self.u64("seq"),
            count: self.u64("count"),
            root_hash: self.array("top"),
            audit_head: self.array("audit_head"),
            time: self.u64("time"),
            signer_id: self.array("signer_id"),
            past: if self.0["previous"].is_null() {
                HeadHistory::Ancestors(Ancestors::decode(&self.bytes("ancestors")).unwrap())
            } else {
                HeadHistory::Previous(self.array("previous"))
            },
        }
    }
}

// Section 2

fn expand(case: &Case) {
    let found = case.input.key("key").expand(case.input.text("label"), &case.input.bytes("ctx"));
    let output = case.expected.bytes("output");
    assert_eq!(output.len() as u64, case.input.u64("length"));

    // The library returns 32 bytes at a time. A longer output begins with a shorter one (RFC 5869,
    // section 2.3). The 12 bytes after them are a seal's nonce, which `value` compares.
    assert_eq!(&output[..32], found.expose(), "{}", case.name);
}

fn value(case: &Case) {
    let (input, expected) = (&case.input, &case.expected);
    let (plain, sealed) = (input.bytes("value"), expected.bytes("sealed"));
    let padded = padding::pad(&plain, padding::value_size);
    case.same("padded", padded.expose());
    input.in_place(input.u64("vver"), |place, context| {
        let pvk = input.key("pvk");
        let found = pvk.seal_with_salt(
            input.array("salt"),
            "value",
            place.vault_id,
            context,
            padded.expose(),
        );

        case.same("sealed", &found.unwrap());
        let ours = SecretValue::new(SecretBytes::copy_of(&plain), true).unwrap();
        let ours = input.keyring().seal_value(place, input.u64("vver"), &ours).unwrap();
        let opened = pvk.open("value", place.vault_id, context, &ours, "a value").unwrap();

        case.same("padded", opened.expose());
        let opened = input.keyring().open_value(place, input.u64("vver"), &sealed).unwrap();
        assert_eq!(opened.expose(), plain, "{}", case.name);
    });

    // The library hides these parts: the seal uses this key, this nonce and this associated data.
    let (nonce, aad) = (Nonce::from(expected.array::<12>("nonce")), expected.bytes("aad"));
    let cipher = Aes256Gcm::new(&expected.array::<32>("key").into());
    let found = cipher.encrypt(&nonce, Payload { msg: padded.expose(), aad: &aad }).unwrap();
    assert_eq!(found, sealed[24..], "{}", case.name);
}

fn value_opened(case: &Case) {
    let (version, sealed) = (case.input.u64("vver"), case.input.bytes("sealed"));
    let result = case
        .input
        .in_place(version, |place, _| case.input.keyring().open_value(place, version, &sealed));

    case.sealed_as_expected("value", &case.input.key("pvk"), version);
    if let Some(value) = case.opened(result) {
        case.same("value", value.expose());
    }
}

// Section 3

/// Compares root keys. The library gives none away, but two that make the same MAC are the same.
fn assert_same_root(case: &Case, found: &RootKey, expected: &[u8; 32]) {
    let vault = VaultRow::first([0; 16]);
    let mac = |root: &RootKey| root.mac(&vault, &[], &[], &[]);
    assert_eq!(mac(found), mac(&RootKey::from_bytes(expected).unwrap()), "{}", case.name);
}

fn passphrase(case: &Case) -> Passphrase {
    Passphrase::new(&SecretBytes::from_vec(case.input.bytes("passphrase"))).unwrap()
}

fn slot(case: &Case) {
    let (input, vault_id, root) =
        (&case.input, case.input.array("vault_id"), case.input.bytes("root_key"));
    let params = KdfParams::decode(&input.bytes("params")).unwrap();
    let keys = passphrase(case)
        .derive(params, &input.array("salt"), &vault_id, &input.array("slot_id"))
        .unwrap();

    case.same("kek", keys.kek.expose());
    case.same("commitment", &keys.commitment);
    let kind = input.u32("type").to_be_bytes();
    let context =
        [&input.bytes("slot_id")[..], &kind, &input.bytes("params"), &input.bytes("salt")].concat();
    case.same(
        "wrap",
        &keys
            .kek
            .seal_with_salt(input.array("wrap_salt"), "slot", &vault_id, &context, &root)
            .unwrap(),
    );
}

fn slot_opened(case: &Case) {
    let result = case.input.slot().open(&passphrase(case), &case.input.array("vault_id"));
    if let Some(root) = case.opened(result) {
        assert_same_root(case, &root, &case.expected.array("root_key"));
    }
}

fn recovery(case: &Case) {
    let (input, vault_id) = (&case.input, case.input.array("vault_id"));
    let text = case.expected.text("text");
    let code = RecoveryCode::parse(&SecretBytes::copy_of(text.as_bytes())).unwrap();
    assert_eq!(code.text().expose(), text.as_bytes());

    let slot = Slot {
        slot_id: input.bytes("slot_id"),
        kind: input.u32("type"),
        params: Vec::new(),
        salt: input.bytes("salt"),
        commitment: Vec::new(),
        wrap: Vec::new(),
    };

    let keys = code.slot_keys(&slot, &vault_id).unwrap();
    case.same("kek", keys.kek.expose());
    case.same("commitment", &keys.commitment);
    let context =
        [&input.bytes("slot_id")[..], &input.u32("type").to_be_bytes(), &input.bytes("salt")]
            .concat();

    let root = input.bytes("root_key");
    case.same(
        "wrap",
        &keys
            .kek
            .seal_with_salt(input.array("wrap_salt"), "slot", &vault_id, &context, &root)
            .unwrap(),
    );
}

fn recovery_opened(case: &Case) {
    let code =
        RecoveryCode::parse(&SecretBytes::copy_of(case.input.text("text").as_bytes())).unwrap();
    let result = case.input.slot().open(&code, &case.input.array("vault_id"));
    if let Some(root) = case.opened(result) {
        assert_same_root(case, &root, &case.expected.array("root_key"));
    }
}

// Section 7

fn checkpoint(case: &Case) {
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

// Section 4

fn keyring(case: &Case) {
    let (input, vault_id, pid) =
        (&case.input, case.input.array("vault_id"), case.input.array::<16>("pid"));
    let (root, epoch) =
        (RootKey::from_bytes(&input.array("root_key")).unwrap(), input.u32("epoch"));
    let row = ProjectRow {
        pid,
        epoch,
        keys: case.expected.bytes("sealed"),
        head: Vec::new(),
        sig: Vec::new(),
    };

    let opened = root.open_keyring(&vault_id, &row).unwrap();
    for (member, key) in
        [("pmk", &opened.metadata), ("pvk", &opened.value), ("psk", &opened.signing)]
    {
        assert_eq!(key.expose(), &input.array(member), "{}: {member}", case.name);
    }

    assert_eq!(opened.name.as_str(), input.text("name"));
    let public = ed25519_dalek::SigningKey::from_bytes(opened.signing.expose()).verifying_key();
    case.same("ppk", public.as_bytes());
    let projects = input.key("root_key").expand("projects", &[]);

    case.same("key", projects.expose());

    let ours = root.seal_keyring(&vault_id, &pid, epoch, &input.keyring()).unwrap();
    let context = [&pid[..], &epoch.to_be_bytes()].concat();
    let padded = projects.open("project", &vault_id, &context, &ours, "a key ring").unwrap();
    let sealed = projects.seal_with_salt(
        input.array("salt"),
        "project",
        &vault_id,
        &context,
        padded.expose(),
    );

    case.same("sealed", &sealed.unwrap());
}

fn metadata(case: &Case) {
    let (input, keyring, version) = (&case.input, case.input.keyring(), case.input.u64("ver"));
    let metadata = Fields(input.0["fields"].clone()).metadata();
    input.in_place(version, |place, context| {
        let ours = keyring.seal_metadata(place, version, &metadata).unwrap();
        let padded =
            keyring.metadata.open("meta", place.vault_id, context, &ours, "metadata").unwrap();
        let encoded = case.expected.bytes("encoded");
        assert_eq!(padded.expose()[4..4 + encoded.len()], encoded, "{}", case.name);

        let sealed = keyring.metadata.seal_with_salt(
            input.array("salt"),
            "meta",
            place.vault_id,
            context,
            padded.expose(),
        );

        case.same("sealed", &sealed.unwrap());
        let opened = keyring.open_metadata(place, version, &case.expected.bytes("sealed")).unwrap();
        assert_eq!(opened, metadata, "{}", case.name);
    });
}

fn metadata_opened(case: &Case) {
    let (version, sealed) = (case.input.u64("ver"), case.input.bytes("sealed"));
    let result = case
        .input
        .in_place(version, |place, _| case.input.keyring().open_metadata(place, version, &sealed));

    case.sealed_as_expected("meta", &case.input.key("pmk"), version);
    if let Some(metadata) = case.opened(result) {
        assert_eq!(metadata, Fields(case.expected.0["fields"].clone()).metadata(), "{}", case.name);
    }
}

fn value_sizes(case: &Case) {
    let size = |length: &Value| {
        padding::value_size(4 + usize::try_from(length.as_u64().unwrap()).unwrap())
    };

    let found: Vec<Value> =
        case.input.list("lengths").iter().map(|length| size(length).into()).collect();
    assert_eq!(found, case.expected.list("padded"), "{}", case.name);
}

fn tag_index(case: &Case) {
    let keyring = case.input.keyring();
    let expected = case.expected.list("tag_ix");
    let spellings = case.input.list("spellings");
    assert_eq!(spellings.len(), expected.len());

    for (spelling, index) in spellings.iter().zip(expected) {
        let found = keyring.tag_ix(&Tag::parse(spelling.as_str().unwrap()).unwrap().key());
        let expected = Fields(serde_json::json!({ "tag_ix": index })).array("tag_ix");
        assert_eq!(found, expected, "{}: {spelling}", case.name);
    }
}

// Section 5

fn leaf(case: &Case) {
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

fn bucket(case: &Case) {
    let leaves = case.input.rows("records", |row| Leaf {
        tag_ix: row.array("tag_ix"),
        rid: row.array("rid"),
        leaf: row.array("leaf"),
    });

    let number = case.input.u64("b").try_into().unwrap();
    case.same("bucket", &tree::bucket(&case.input.array("pid"), number, &leaves));
}

fn root_hash(case: &Case) {
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

fn head(case: &Case) {
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

fn head_opened(case: &Case) {
    let row = head_row(case, case.input.bytes("sealed"), case.input.bytes("sig"));
    let result = case.input.keyring().open_head(&case.input.array("vault_id"), &row);
    if let Some(head) = case.opened(result) {
        assert_eq!(head, case.expected.head(), "{}", case.name);
        assert_eq!(row.epoch, case.expected.u32("epoch"));
    }
}

fn root_mac(case: &Case) {
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
