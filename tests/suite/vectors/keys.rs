//! Key rings, the keys that they derive, and tag indexes match their known answers (sections 3 and
//! 4).

use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::output_digest::hex;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::model::{Class, Tag};

use super::{Case, Fields};

pub fn root_keys(case: &Case) {
    let root = RootKey::from_bytes(&case.input.array("root_key")).unwrap();
    case.same("owner", root.signer().public().bytes());
    case.same("checkpoint", root.checkpoint_key().expose());

    let keys = root.directory_keys();
    case.same("pmk", keys.metadata.expose());
    case.same("pvk", keys.values.as_ref().unwrap().expose());
    case.same("tik", keys.index.expose());
    assert!(keys.restricted.is_none());
}

pub fn keyring(case: &Case) {
    let input = &case.input;
    let encoded = case.expected.bytes("encoded");
    let keyring = Keyring::decode(&encoded).unwrap();
    assert_eq!(keyring.encode().expose(), encoded, "{}", case.name);
    if input.0["later"].is_null() {
        case.same("encoded", input.keyring().encode().expose());
    }

    let (pid, rid, generation) = (input.array("pid"), input.array("rid"), input.generation());
    case.same("head_key", keyring.head_key(&pid).expose());
    case.same("policy_key", keyring.policy_key(&pid).expose());
    case.same("audit_key", keyring.audit_key(&pid).expose());
    case.same("metadata_key", keyring.metadata_key(&pid, &rid).expose());
    for (member, class) in [("value_key", Class::Team), ("restricted_key", Class::Restricted)] {
        let key = keyring.value_key(&pid, &rid, class, generation).unwrap();
        case.same(member, key.expose());
    }
}

pub fn keyring_opened(case: &Case) {
    let encoded = case.input.bytes("encoded");
    let Some(keyring) = case.opened(Keyring::decode(&encoded)) else { return };
    let keys = [
        ("pmk", Some(&keyring.metadata)),
        ("pvk", keyring.values.as_ref()),
        ("prk", keyring.restricted.as_ref()),
        ("tik", Some(&keyring.index)),
    ];

    for (member, key) in keys {
        let found = key.map(|key| hex(key.expose()));
        assert_eq!(found.as_deref(), case.expected.0[member].as_str(), "{}: {member}", case.name);
    }

    assert_eq!(keyring.encode().expose(), encoded, "{}", case.name);
}

pub fn tag_index(case: &Case) {
    let keyring = case.input.keyring();
    let expected = case.expected.list("tag_ix");
    let spellings = case.input.list("spellings");
    assert_eq!(spellings.len(), expected.len());

    for (spelling, index) in spellings.iter().zip(expected) {
        let found = keyring.tag_ix(Tag::parse(spelling.as_str().unwrap()).unwrap().key().as_str());
        let expected = Fields(serde_json::json!({ "tag_ix": index })).array("tag_ix");
        assert_eq!(found, expected, "{}: {spelling}", case.name);
    }
}
