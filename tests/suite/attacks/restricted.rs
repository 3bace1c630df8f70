//! Restricted secrets: who holds the other keys of their project neither opens nor redirects them.
//!
//! The attacker may read, use and manage the project. The keys for values of restricted secrets are
//! all that is missing. So every forged state here is signed, and every row of it verifies.

use std::collections::BTreeMap;

use terminal_secrets::crypto::aead::{Key, salt_of};
use terminal_secrets::crypto::audit::{Action, AuditChange};
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::ids::OWNER;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::record::{
    RecordContext, VALUE_LABEL, ValueBinding, open_value, seal_value,
};
use terminal_secrets::crypto::rows::{ProjectRow, Record};
use terminal_secrets::crypto::tree::{self, Leaf};
use terminal_secrets::model::{
    Class, Destination, Metadata, SecretRef, SecretValue, Tag, Timestamp,
};
use terminal_secrets::store::{Change, SqliteStore, Store};
use terminal_secrets::vault::{
    CopyRequest, Directory, Import, NewSecret, OnConflict, OpenedProject, SecretChanges,
    SignRequest, Vault, VaultError,
};

use crate::support::specimen::{self, SECRETS, Specimen, VAULT_ID, code};
use crate::support::values::reveal;
use crate::support::{project, secret, value};

const FIRST: &str = "m4rker-first-b18e-long-enough-for-a-hint";
const SECOND: &str = "m4rker-second-77ad-long-enough-for-a-hint";

/// A record with its opened metadata and its sealed value.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) record: Record,
    metadata: Metadata,
    pub(super) sealed: Vec<u8>,
}

/// The rows of a project by their tags.
pub(super) type Rows = BTreeMap<String, Row>;

fn restricted(tag: &str, text: &str) -> NewSecret {
    NewSecret { class: Class::Restricted, ..secret(tag, text.as_bytes()) }
}

/// Returns the fixture, whose project `alpha` also has the restricted secrets `first` and `second`.
fn with_restricted() -> Specimen {
    let specimen = Specimen::new();
    let vault = specimen.vault().unwrap();
    for (tag, text) in [("first", FIRST), ("second", SECOND)] {
        vault.create(&project("alpha"), restricted(tag, text)).unwrap();
    }

    specimen
}

/// Returns `alpha` as the directory has it, with the keys of a manager who may not use restricted
/// secrets.
fn managed(specimen: &Specimen) -> OpenedProject {
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let snapshot = store.read().unwrap();
    let directory = Directory::new(&specimen::root(), VAULT_ID);
    let state = directory.read(&*snapshot).unwrap();
    let index = directory.index(&project("alpha"));
    let found = directory.projects(&state, &*snapshot, &[index]).unwrap().remove(0).unwrap();
    let Keyring { metadata, values, index, .. } = found.ring().unwrap();
    let copy = |key: &Key| Key::copy_of(key.expose());
    let keys = Keyring::new(copy(metadata), values.as_ref().map(copy), None, copy(index));
    OpenedProject::new(found.entry, keys)
}

fn context<'c>(found: &'c OpenedProject, record: &'c Record) -> RecordContext<'c> {
    let (pid, epoch) = (&found.entry.pid, found.entry.epoch);
    RecordContext { vault_id: &VAULT_ID, pid, rid: &record.rid, epoch }
}

/// Reads the rows of `alpha`.
fn rows(specimen: &Specimen, found: &OpenedProject) -> Rows {
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let snapshot = store.read().unwrap();
    let mut records = Vec::new();
    let mut keep = |record| {
        records.push(record);
        true
    };
    snapshot.records(&found.entry.pid, &mut keep).unwrap();

    let row = |record: Record| {
        let opened =
            found.ring().unwrap().open_metadata(context(found, &record), record.ver, &record.meta);
        let (metadata, sealed) = (opened.unwrap(), snapshot.value(&record.rid).unwrap().unwrap());
        (metadata.tag.to_string(), Row { record, metadata, sealed })
    };

    records.into_iter().map(row).collect()
}

/// Writes changed rows of `alpha` in place of the present ones, and signs them.
pub(super) fn forge(specimen: &Specimen, change: impl FnOnce(&OpenedProject, &mut Rows)) {
    let found = managed(specimen);
    let before = rows(specimen, &found);
    let mut rows = before.clone();
    change(&found, &mut rows);

    let (pid, keys, epoch) = (&found.entry.pid, found.ring().unwrap(), found.entry.epoch);
    let store = SqliteStore::open(&specimen.path()).unwrap();
    let mut transaction = store.write().unwrap();
    for row in before.values() {
        transaction.apply(Change::DropRecord(pid, &row.record)).unwrap();
    }

    let mut buckets: BTreeMap<u8, Vec<Leaf>> = BTreeMap::new();
    for Row { mut record, metadata, sealed } in rows.into_values() {
        record.tag_ix = keys.tag_ix(metadata.tag.key().as_str());
        record.ver += 1;
        let meta = keys.seal_metadata(context(&found, &record), record.ver, &metadata);
        record.meta = meta.unwrap();
        record.val_hash = tree::value_hash(&sealed);
        record.leaf = tree::leaf(&VAULT_ID, pid, &record);
        let leaf = Leaf { tag_ix: record.tag_ix, rid: record.rid, leaf: record.leaf };
        buckets.entry(record.tag_ix[0]).or_default().push(leaf);
        transaction.apply(Change::Value(&record.rid, &sealed)).unwrap();
        transaction.apply(Change::Record(pid, &record)).unwrap();
    }

    let mut hashes = [tree::EMPTY_BUCKET; tree::BUCKETS];
    for number in 0..=u8::MAX {
        let hash = buckets.remove(&number).map(|mut leaves| {
            leaves.sort_unstable();
            tree::bucket(pid, number, &leaves)
        });

        hashes[usize::from(number)] = hash.unwrap_or(tree::EMPTY_BUCKET);
        transaction.apply(Change::Bucket(pid, number, hash.as_ref())).unwrap();
    }

    let previous = transaction.project(pid).unwrap().unwrap();
    let last = Head::open(&keys.head_key(pid), &VAULT_ID, &previous).unwrap();
    let head = Head {
        seq: last.seq + 1,
        root_hash: tree::root_hash(pid, &hashes),
        time: Timestamp::now().0,
        signer_id: OWNER,
        ancestors: last.ancestors.then(&last.hash(&VAULT_ID, pid, epoch)),
        ..last
    };

    let directory = Directory::new(&specimen::root(), VAULT_ID);
    let change = AuditChange::new(Action::Update);
    let request = SignRequest { project: &found, previous: &previous, policy: None, head, change };
    let signed = directory.sign(request);
    let head = signed.head.seal(&keys.head_key(pid), &VAULT_ID, pid, epoch).unwrap();
    let row = ProjectRow { pid: *pid, epoch, head, sig: signed.sig.to_vec() };
    let entry = signed.entry.seal(&keys.audit_key(pid), &VAULT_ID, pid, signed.head.seq, epoch);
    transaction.apply(Change::Project(&row)).unwrap();
    transaction.apply(Change::Audit(pid, &entry.unwrap())).unwrap();
    transaction.commit().unwrap();
}

/// Seals a value with the keys of the manager.
pub(super) fn sealed(found: &OpenedProject, row: &Row, value: &SecretValue) -> Vec<u8> {
    let Row { record, metadata, .. } = row;
    let key = found.keys.value_key(&found.entry.pid, &record.rid, metadata.class, 0).unwrap();
    let key = key.message_key(VALUE_LABEL, &[5; 24]);
    let binding = ValueBinding::of(metadata);
    seal_value(key, context(found, record), record.vver, binding, value).unwrap()
}

/// Returns the opened values of these tags. `None` stands for damage, which is exit code 6.
fn values<const N: usize>(vault: &Vault, tags: [&str; N]) -> [Option<String>; N] {
    tags.map(|tag| match reveal(vault, "alpha", tag) {
        Ok(value) => Some(String::from_utf8(value.unwrap()).unwrap()),
        Err(error) => {
            assert_eq!(code(&error), 6, "{error:?}");
            None
        }
    })
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// Attack A9: every reader of the project has its metadata, so the hint is empty there.
#[test]
fn the_hint_of_a_restricted_secret_is_empty_in_its_metadata() {
    let specimen = with_restricted();
    let (vault, alpha) = (specimen.vault().unwrap(), project("alpha"));
    let one: SecretRef = "one".parse().unwrap();
    let set = |class| vault.set_class(&alpha, &one, None, class).unwrap().unwrap();
    set(Class::Restricted);

    let changes = SecretChanges { value: Some(value(SECOND.as_bytes())), ..Default::default() };
    vault.update(&alpha, &"first".parse().unwrap(), None, changes).unwrap();

    // A restricted value that is written over a team secret makes that one restricted.
    for name in ["copy", "two"] {
        let (secrets, tag) = (["second".parse().unwrap()], tag(name));
        let copy = CopyRequest {
            secrets: Some(&secrets),
            from: &alpha,
            to: &alpha,
            tag: Some(&tag),
            on_conflict: OnConflict::Overwrite,
        };
        vault.copy(&copy).unwrap();
    }

    let secrets = vec![restricted("imported", FIRST), secret("copy", FIRST.as_bytes())];
    let import = Import::into_one(&alpha, secrets, OnConflict::Overwrite);
    vault.import(&import, &|_| {}).unwrap();

    let found = managed(&specimen);
    let rows = rows(&specimen, &found);
    assert!(rows.keys().eq(["copy", "first", "imported", "one", "second", "two"]));
    for (tag, Row { record, metadata, sealed }) in rows {
        assert_eq!((metadata.class, metadata.hint.as_str()), (Class::Restricted, ""), "{tag}");

        // The manager has no key for it, and the key of a team secret does not open it.
        let (pid, rid) = (&found.entry.pid, &record.rid);
        assert!(found.keys.value_key(pid, rid, Class::Restricted, 0).is_none());
        let key = found.keys.value_key(pid, rid, Class::Team, 0).unwrap();
        let key = key.message_key(VALUE_LABEL, &salt_of(&sealed).unwrap());
        for class in [Class::Team, Class::Restricted] {
            let binding = ValueBinding::of(&Metadata { class, ..metadata.clone() });
            let context = context(&found, &record);
            assert!(open_value(&key, context, record.vver, binding, &sealed).is_err());
        }
    }

    assert_eq!(
        values(&vault, ["one", "two", "first", "second", "copy", "imported"]),
        [SECRETS[0].2, SECOND, SECOND, SECOND, FIRST, FIRST].map(|text| Some(text.to_owned()))
    );

    // A secret that becomes a team secret again gets the hint of its value.
    assert_eq!(set(Class::Team).metadata.hint, value(SECRETS[0].2.as_bytes()).hint());
    assert!(vault.verify(&|_| {}).unwrap().damage.is_empty());
}

/// Attack B5: the owner would write the value of one secret where another one belongs.
#[test]
fn a_value_cannot_be_moved_to_another_tag() {
    let specimen = with_restricted();

    // A forged state without such a change is valid, so the bindings of the values refuse the rest.
    forge(&specimen, |_, rows| {
        for row in rows.values_mut() {
            row.metadata.updated = Timestamp::now();
        }
    });
    let vault = specimen.vault().unwrap();
    let all = ["one", "two", "first", "second"];
    let texts = [SECRETS[0].2, SECRETS[1].2, FIRST, SECOND].map(|text| Some(text.to_owned()));
    assert_eq!(values(&vault, all), texts);

    forge(&specimen, |_, rows| {
        rows.get_mut("first").unwrap().metadata.tag = tag("second");
        rows.get_mut("second").unwrap().metadata.tag = tag("first");
    });
    let vault = specimen.vault().unwrap();
    assert_eq!(vault.list(Some(&project("alpha")), |_| true).unwrap().len(), 4);
    let [one, two, ..] = texts;
    assert_eq!(values(&vault, all), [one, two, None, None]);
    assert_eq!(vault.verify(&|_| {}).unwrap().damage.len(), 2);

    let specimen = with_restricted();
    forge(&specimen, |_, rows| rows.get_mut("first").unwrap().metadata.tag = tag("third"));
    assert_eq!(values(&specimen.vault().unwrap(), ["third"]), [None]);
}

#[test]
fn a_value_cannot_be_moved_to_another_class() {
    for (name, class) in [("first", Class::Team), ("one", Class::Restricted)] {
        let specimen = with_restricted();
        forge(&specimen, |_, rows| rows.get_mut(name).unwrap().metadata.class = class);
        let vault = specimen.vault().unwrap();
        let found = vault.get(&project("alpha"), &name.parse().unwrap()).unwrap();
        assert_eq!(found.metadata.class, class);
        assert_eq!(values(&vault, [name]), [None]);

        // Neither a new label nor another class makes the state good.
        let changed = vault.set_class(&project("alpha"), &name.parse().unwrap(), None, {
            if class == Class::Team { Class::Restricted } else { Class::Team }
        });
        assert_eq!(changed.map(drop).map_err(|error| code(&error)), Err(6));
    }
}

/// Attack A9 and B5 again: who may not open a value would have it sent to himself.
#[test]
fn a_value_cannot_be_sent_elsewhere() {
    let specimen = with_restricted();
    forge(&specimen, |_, rows| {
        let metadata = &mut rows.get_mut("first").unwrap().metadata;
        let evil = Destination::stored("* https://evil.example header:authorization").unwrap();
        assert_eq!(metadata.destinations.add(evil), Ok(true));
    });

    let vault = specimen.vault().unwrap();
    let found = vault.get(&project("alpha"), &"first".parse().unwrap()).unwrap();
    assert_eq!(found.metadata.destinations.iter().count(), 1);
    assert_eq!(values(&vault, ["first"]), [None]);

    // The owner cannot make the state good by another destination either.
    let changed =
        vault.change_destinations(&project("alpha"), &"first".parse().unwrap(), |to, _| {
            to.remove(|_| true);
            Ok::<_, VaultError>(())
        });
    assert_eq!(changed.map(drop).map_err(|error| code(&error)), Err(6));
}

#[test]
fn a_value_cannot_be_moved_to_another_record() {
    let swap = |rows: &mut Rows, left: &str, right: &str| {
        let (one, other) = (rows[left].sealed.clone(), rows[right].sealed.clone());
        rows.get_mut(left).unwrap().sealed = other;
        rows.get_mut(right).unwrap().sealed = one;
    };

    for (left, right) in [("first", "second"), ("first", "two")] {
        let specimen = with_restricted();
        forge(&specimen, |_, rows| {
            assert_eq!(rows[left].record.vver, rows[right].record.vver);
            swap(rows, left, right);
        });
        assert_eq!(values(&specimen.vault().unwrap(), [left, right]), [None, None]);
    }

    // The whole record under the id of another one.
    let specimen = with_restricted();
    forge(&specimen, |_, rows| {
        let (one, other) = (rows["first"].record.rid, rows["second"].record.rid);
        rows.get_mut("first").unwrap().record.rid = other;
        rows.get_mut("second").unwrap().record.rid = one;
    });
    assert_eq!(values(&specimen.vault().unwrap(), ["first", "second"]), [None, None]);
}

/// This remains possible: a manager writes a value of his own, which is a team secret then, or puts
/// back an earlier row as a whole.
#[test]
fn a_manager_can_replace_a_restricted_secret_or_put_back_an_earlier_row() {
    let specimen = with_restricted();
    let found = managed(&specimen);
    let earlier = rows(&specimen, &found)["second"].clone();
    let changes = SecretChanges { value: Some(value(b"a later value")), ..Default::default() };
    let vault = specimen.vault().unwrap();
    vault.update(&project("alpha"), &"second".parse().unwrap(), None, changes).unwrap();

    forge(&specimen, |found, rows| {
        let row = rows.get_mut("first").unwrap();
        row.metadata.class = Class::Team;
        row.sealed = sealed(found, row, &value(b"mine"));
        *rows.get_mut("second").unwrap() = earlier;
    });

    let vault = specimen.vault().unwrap();
    assert_eq!(
        values(&vault, ["first", "second"]),
        [Some("mine".to_owned()), Some(SECOND.to_owned())]
    );

    // The owner sees the first.
    let first = vault.get(&project("alpha"), &"first".parse().unwrap()).unwrap();
    assert_eq!(first.metadata.class, Class::Team);
}
