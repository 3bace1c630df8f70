//! Known answers of the vault format. `check.py` computed every file of `tests/vectors/` from
//! docs/format.md alone. These tests recompute them with the library.
//!
//! A file names its `kind`, and the function of that name checks it. The library draws a seal's
//! salt at random, so a seal is compared after opening it, and sealed once more with the vector's
//! salt through `Key::seal_with_salt`.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::head::{Head, HeadHistory};
use terminal_secrets::crypto::history::Ancestors;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::record::RecordContext;
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::model::{Description, Hint, Metadata, Name, ProjectName, Tag, Timestamp};

use crate::support::files::root;

use records::{keyring, metadata, metadata_opened, tag_index};
use roots::{bucket, checkpoint, head, head_opened, leaf, root_hash, root_mac};
use slots::{recovery, recovery_opened, slot, slot_opened};
use values::{expand, value, value_opened, value_sizes};

mod records;
mod roots;
mod slots;
mod values;

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
            | CryptoError::NoRecoveryCode
            | CryptoError::Internal(_) => "the machine",
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
