//! Key rings, metadata and tag indexes match their known answers (section 4).

use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::ProjectRow;
use terminal_secrets::model::Tag;

use super::{Case, Fields};

pub fn keyring(case: &Case) {
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

pub fn metadata(case: &Case) {
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

pub fn metadata_opened(case: &Case) {
    let (version, sealed) = (case.input.u64("ver"), case.input.bytes("sealed"));
    let result = case
        .input
        .in_place(version, |place, _| case.input.keyring().open_metadata(place, version, &sealed));

    case.sealed_as_expected("meta", &case.input.key("pmk"), version);
    if let Some(metadata) = case.opened(result) {
        assert_eq!(metadata, Fields(case.expected.0["fields"].clone()).metadata(), "{}", case.name);
    }
}

pub fn tag_index(case: &Case) {
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
