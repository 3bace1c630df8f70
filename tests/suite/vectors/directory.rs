//! Projects in the directory match their known answers (docs/format.md, section 4).

use terminal_secrets::crypto::ids::{DIRECTORY, record_of};
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::project_entry::{PolicyId, ProjectEntry};
use terminal_secrets::crypto::record::{RecordContext, VALUE_LABEL};
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::model::{Class, ProjectName, Timestamp};

use super::{Case, Fields, record_size};

fn entry(fields: &Fields) -> ProjectEntry {
    let policy = (!fields.0["policy"].is_null()).then(|| PolicyId::decode(&fields.array("policy")));
    ProjectEntry {
        pid: fields.array("pid"),
        name: ProjectName::parse(fields.text("name")).unwrap(),
        created: Timestamp(fields.u64("created")),
        updated: Timestamp(fields.u64("updated")),
        epoch: fields.u32("epoch"),
        policy: policy.unwrap_or_default(),
        due: fields.0["due"].as_u64().map(Timestamp),
        later: fields.optional_bytes("later"),
    }
}

pub fn project_entry(case: &Case) {
    let (input, expected) = (&case.input, &case.expected);
    let entry = entry(&Fields(input.0["fields"].clone()));
    let directory = RootKey::from_bytes(&input.array("root_key")).unwrap().directory_keys();
    case.same("encoded", entry.to_bytes().expose());
    case.same("tag_ix", &directory.tag_ix(entry.name.as_str()));

    let (vault_id, rid, epoch) =
        (input.array("vault_id"), record_of(&entry.pid), input.u32("epoch"));
    case.same("rid", &rid);
    let place = RecordContext { vault_id: &vault_id, pid: &DIRECTORY, rid: &rid, epoch };
    let (ver, value_version) = (input.u64("ver"), input.u64("vver"));

    let ours = entry.seal(&directory, place, ver).unwrap();
    for sealed in [ours, expected.bytes("meta")] {
        let opened = ProjectEntry::open(&directory, place, ver, &sealed);
        assert_eq!(opened.as_ref(), Ok(&entry), "{}", case.name);
    }

    let context = [&DIRECTORY[..], &rid, &epoch.to_be_bytes(), &ver.to_be_bytes()].concat();
    let padded = pad(entry.to_bytes().expose(), record_size);
    let key = directory.metadata_key(&DIRECTORY, &rid);
    let salt = input.array("salt");
    let sealed = key.seal_with_salt(salt, "meta", &vault_id, &context, padded.expose());
    case.same("meta", &sealed.unwrap());

    let keyring = Fields(input.0["keys"].clone()).keyring();
    let key = directory.value_key(&DIRECTORY, &rid, Class::Team, 0).unwrap();
    let message_key = || key.message_key(VALUE_LABEL, &salt);
    let sealed = entry.seal_keyring(message_key(), place, value_version, &keyring).unwrap();
    case.same("val", &sealed);
    let opened = entry.open_keyring(&message_key(), place, value_version, &sealed).unwrap();
    assert_eq!(opened.encode().expose(), keyring.encode().expose(), "{}", case.name);
}

pub fn project_entry_opened(case: &Case) {
    let encoded = case.input.bytes("encoded");
    if let Some(found) = case.opened(ProjectEntry::from_bytes(&encoded)) {
        assert_eq!(found.to_bytes().expose(), encoded, "{}", case.name);
        assert_eq!(found, entry(&Fields(case.expected.0["fields"].clone())), "{}", case.name);
    }
}
