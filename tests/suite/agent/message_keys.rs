//! The key of one seal opens the value that was named, and nothing else.

use terminal_secrets::crypto::aead::{MessageKey, SALT, salt_of};
use terminal_secrets::crypto::record::{RecordContext, ValueBinding, open_value, seal_value};
use terminal_secrets::crypto::rows::Record;
use terminal_secrets::model::{Class, Tag};
use terminal_secrets::store::Store;
use terminal_secrets::vault::{OpenedProject, SecretChanges, VaultAccess, WantedKey};

use crate::support::specimen::{SECRETS, Specimen, VAULT_ID};
use crate::support::value;

use super::watched::Watched;

/// A value of the fixture as it is stored.
struct Stored {
    project: OpenedProject,
    record: Record,
    sealed: Vec<u8>,
    binding: ValueBinding,
}

impl Stored {
    fn of(watched: &Watched, name: &str, tag: &str) -> Self {
        let (project, tag) = (watched.find(name), Tag::parse(tag).unwrap());
        let store = watched.store();
        let snapshot = store.read().unwrap();
        let index = project.ring().unwrap().tag_ix(tag.key().as_str());
        let record = snapshot.record(&project.entry.pid, &index).unwrap().unwrap();
        let sealed = snapshot.value(&record.rid).unwrap().unwrap();
        Self { project, record, sealed, binding: ValueBinding::of_tag(&tag, Class::Team) }
    }

    fn wanted(&self) -> WantedKey {
        let salt = salt_of(&self.sealed);
        WantedKey { rid: self.record.rid, generation: 0, class: Class::Team, salt }
    }

    fn context(&self) -> RecordContext<'_> {
        let Self { project, record, .. } = self;
        let (pid, rid, epoch) = (&project.entry.pid, &record.rid, record.epoch);
        RecordContext { vault_id: &VAULT_ID, pid, rid, epoch }
    }

    /// Returns the value, if the bytes of this key open it. The salt that the key was asked for
    /// does not count.
    fn opened(&self, key: &MessageKey) -> Option<Vec<u8>> {
        let key = MessageKey::copy_of(salt_of(&self.sealed).unwrap(), key.expose());
        let opened = open_value(&key, self.context(), self.record.vver, self.binding, &self.sealed);
        opened.ok().map(|value| value.expose().to_vec())
    }
}

/// Asks the agent for one key.
fn key(watched: &Watched, project: &OpenedProject, wanted: WantedKey) -> MessageKey {
    let keys = watched.client().message_keys(&VAULT_ID, project, &[wanted]).unwrap();
    assert_eq!(keys.len(), 1);
    keys.into_iter().next().unwrap()
}

#[test]
fn a_message_key_opens_the_named_value() {
    let watched = Watched::new(Specimen::new());
    for (name, tag, text) in SECRETS {
        let stored = Stored::of(&watched, name, tag);
        let key = key(&watched, &stored.project, stored.wanted());
        assert_eq!(stored.opened(&key).unwrap(), text.as_bytes());
    }
}

#[test]
fn a_message_key_opens_no_other_value() {
    let watched = Watched::new(Specimen::new());
    let stored = Stored::of(&watched, "alpha", "one");
    let (two, three) =
        (Stored::of(&watched, "alpha", "two"), Stored::of(&watched, "beta", "three"));
    let right = stored.wanted();
    let mut salt = right.salt.unwrap();
    salt[SALT - 1] ^= 1;

    let others = [
        ("another salt", WantedKey { salt: Some(salt), ..right }),
        ("another record", WantedKey { rid: two.record.rid, ..right }),
        ("another class", WantedKey { class: Class::Restricted, ..right }),
        ("another generation", WantedKey { generation: 1, ..right }),
        ("a new seal", WantedKey { salt: None, ..right }),
        ("the value of another record", two.wanted()),
    ];

    for (what, wanted) in others {
        assert_eq!(stored.opened(&key(&watched, &stored.project, wanted)), None, "{what}");
    }

    // The ticket of another project gives keys of that project only.
    assert_eq!(stored.opened(&key(&watched, &three.project, right)), None);
    let right = key(&watched, &stored.project, right);
    assert_eq!(two.opened(&right), None);
    assert_eq!(three.opened(&right), None);
    assert!(stored.opened(&right).is_some());
}

/// A key that was asked for does not open what is stored later.
#[test]
fn a_message_key_does_not_open_the_next_value() {
    let watched = Watched::new(Specimen::new());
    let stored = Stored::of(&watched, "alpha", "one");
    let kept = key(&watched, &stored.project, stored.wanted());
    let changes = SecretChanges { value: Some(value(b"the next")), ..SecretChanges::default() };
    let (name, tag) = (crate::support::project("alpha"), "one".parse().unwrap());
    watched.vault().update(&name, &tag, None, changes).unwrap();

    let next = Stored::of(&watched, "alpha", "one");
    assert_eq!(next.record.rid, stored.record.rid);
    assert_eq!(next.opened(&kept), None);
    assert_eq!(next.opened(&key(&watched, &next.project, next.wanted())).unwrap(), b"the next");
}

/// The agent draws the salt of a new seal, so a client cannot have a nonce used twice.
#[test]
fn every_new_seal_has_a_salt_of_its_own() {
    let watched = Watched::new(Specimen::new());
    let stored = Stored::of(&watched, "alpha", "one");
    let wanted = [WantedKey { salt: None, ..stored.wanted() }; 100];
    let client = watched.client();
    let keys = client.message_keys(&VAULT_ID, &stored.project, &wanted).unwrap();
    let mut salts: Vec<[u8; SALT]> = keys.iter().map(|key| *key.salt()).collect();
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 100);

    // What is sealed with such a key opens with the key for its salt.
    let new = keys.into_iter().next().unwrap();
    let salt = Some(*new.salt());
    let (binding, vver) = (stored.binding, stored.record.vver);
    let sealed = seal_value(new, stored.context(), vver, binding, &value(b"new")).unwrap();
    let stored = Stored { sealed, ..Stored::of(&watched, "alpha", "one") };
    let key = key(&watched, &stored.project, WantedKey { salt, ..stored.wanted() });
    assert_eq!(stored.opened(&key).unwrap(), b"new");
}

/// More keys than a frame has room for are asked for in several requests.
#[test]
fn thousands_of_message_keys_are_given_in_their_order() {
    let watched = Watched::new(Specimen::new());
    let stored = Stored::of(&watched, "alpha", "one");
    let wanted: Vec<WantedKey> = (0..2500_u64)
        .map(|number| {
            let mut salt = [0; SALT];
            salt[..8].copy_from_slice(&number.to_be_bytes());
            WantedKey { salt: Some(salt), ..stored.wanted() }
        })
        .collect();

    let keys = watched.client().message_keys(&VAULT_ID, &stored.project, &wanted).unwrap();
    assert!(keys.iter().map(|key| Some(*key.salt())).eq(wanted.iter().map(|wanted| wanted.salt)));
}
