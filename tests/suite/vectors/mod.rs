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
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::history::Ancestors;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::record::RecordContext;
use terminal_secrets::crypto::rows::Slot;
use terminal_secrets::crypto::signing::PublicKey;
use terminal_secrets::model::{
    Class, Description, Destination, Destinations, Hint, Metadata, Name, Source, Tag, Timestamp,
};

use crate::support::files::root;

use checkpoints::{checkpoint, past_keys};
use directory::{project_entry, project_entry_opened};
use keys::{keyring, keyring_opened, root_keys, tag_index};
use records::{metadata, metadata_opened, value, value_opened};
use remote::{near_file, ticket, ticket_opened, witness};
use signed::{audit, audit_opened, head, head_opened, policy, policy_opened};
use slots::{keychain_opened, recovery, recovery_opened, slot, slot_opened};
use tokens::{escrow, escrow_opened, grant, grant_opened, token, token_opened};
use tree::{bucket, leaf, root_hash, slots_hash, tokens_hash};
use values::{expand, value_sizes};

mod checkpoints;
mod directory;
mod keys;
mod records;
mod remote;
mod signed;
mod slots;
mod tokens;
mod tree;
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
    expand slot slot_opened keychain_opened recovery recovery_opened root_keys keyring keyring_opened
    metadata metadata_opened project_entry project_entry_opened value value_opened value_sizes
    tag_index leaf bucket root_hash slots_hash tokens_hash head head_opened policy policy_opened
    audit audit_opened past_keys checkpoint witness near_file ticket ticket_opened token token_opened grant grant_opened escrow
    escrow_opened
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
            CryptoError::WrongKeychainKey => "wrong-keychain-key",
            CryptoError::WrongTicket => "wrong-ticket",
            CryptoError::WrongRecoveryCode => "wrong-recovery-code",
            CryptoError::WrongPassphraseOrKeyFile => "wrong-passphrase-or-key-file",
            CryptoError::KeyFileNeeded => "key-file-needed",
            CryptoError::Damaged(_) => "damaged",
            CryptoError::Newer(_) => "newer",
            CryptoError::Unsupported(_) => "unsupported",
            CryptoError::Memory(_)
            | CryptoError::KeyMemory
            | CryptoError::Random
            | CryptoError::NoRecoveryCode
            | CryptoError::TooManySlots
            | CryptoError::TooManySecrets
            | CryptoError::Internal(_) => "the machine",
        });

        assert_eq!(code, self.expected.0["error"].as_str(), "{}", self.name);
        result.ok()
    }

    /// Asserts that the seal opens or not as the case expects, so that a refusal is about the
    /// content.
    fn sealed_as_expected(&self, label: &str, key: &Key, context: &[u8]) {
        let (vault_id, sealed) = (self.input.array("vault_id"), self.input.bytes("sealed"));
        let padded = key.open(label, &vault_id, context, &sealed, "it");
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

    fn has(&self, member: &str) -> bool {
        self.0.get(member).is_some()
    }

    fn bytes(&self, member: &str) -> Vec<u8> {
        let digits = self.text(member).as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn array<const N: usize>(&self, member: &str) -> [u8; N] {
        self.bytes(member).try_into().unwrap_or_else(|_| panic!("{member} has the wrong length"))
    }

    /// Returns bytes that may be absent, which is the same as none.
    fn optional_bytes(&self, member: &str) -> Vec<u8> {
        if self.0[member].is_null() { Vec::new() } else { self.bytes(member) }
    }

    fn key(&self, member: &str) -> Key {
        Key::copy_of(&self.array(member))
    }

    fn public(&self, member: &str) -> PublicKey {
        PublicKey::new(self.array(member))
    }

    fn class(&self) -> Class {
        if self.0["class"].as_u64() == Some(1) { Class::Restricted } else { Class::Team }
    }

    fn generation(&self) -> u32 {
        self.0["generation"].as_u64().unwrap_or(0).try_into().unwrap()
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

    /// Returns a key ring with the keys of the case. PMK and TIK are zeros if the case does not use
    /// them.
    fn keyring(&self) -> Keyring {
        let optional = |member: &str| (!self.0[member].is_null()).then(|| self.key(member));
        let needed = |member: &str| optional(member).unwrap_or_else(|| Key::copy_of(&[0; 32]));
        Keyring::new(needed("pmk"), optional("pvk"), optional("prk"), needed("tik"))
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
            class: self.class(),
            generation: self.generation(),
            expires: self.0["expires"].as_u64().map(Timestamp),
            source: optional("source").and_then(Source::stored),
            destinations: self.destinations(),
            later: self.optional_bytes("later"),
        }
    }

    fn destinations(&self) -> Destinations {
        let mut destinations = Destinations::default();
        for text in self.0["destinations"].as_array().into_iter().flatten() {
            let destination = Destination::stored(text.as_str().unwrap()).unwrap();
            assert_eq!(destinations.add(destination), Ok(true));
        }

        destinations
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
            root_hash: self.array("root_hash"),
            audit_head: self.array("audit_head"),
            time: self.u64("time"),
            signer_id: self.array("signer_id"),
            policy: self.array("policy"),
            directory_seq: self.u64("dir_seq"),
            directory: self.array("dir"),
            ancestors: Ancestors::decode(&self.bytes("ancestors")).unwrap(),
        }
    }
}

/// Returns the padded length of everything but values.
fn record_size(length: usize) -> usize {
    length.next_multiple_of(256)
}
