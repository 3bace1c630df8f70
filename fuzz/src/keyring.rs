//! A project's key ring, written by somebody who has the directory's keys. Every key ring that
//! decodes has exactly one encoding.

use super::input::Input;
use super::world::{EPOCH, PID, RID, VAULT_ID, keyring, value_context};
use terminal_secrets::crypto::aead::salt_of;
use terminal_secrets::crypto::ids::DIRECTORY;
use terminal_secrets::crypto::keyring::Keyring;
use terminal_secrets::crypto::padding::{pad, value_size};
use terminal_secrets::crypto::project_entry::{PolicyId, ProjectEntry};
use terminal_secrets::crypto::record::{RecordContext, VALUE_LABEL};
use terminal_secrets::model::{Class, ProjectName, Timestamp};

const NAME: &str = "web";

/// Runs the target. A byte selects the kind of input, and the rest is a plaintext or sealed bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 3;
    let plain = input.rest();
    let directory = keyring();
    let key = directory.value_key(&DIRECTORY, &RID, Class::Team, 0).expect("it is there");
    let padded = match kind {
        0 => pad(plain, value_size).expose().to_vec(),
        _ => plain.to_vec(),
    };

    let context = value_context(&DIRECTORY, NAME);
    let seal = |bytes: &[u8]| key.seal_with_salt([0; 24], VALUE_LABEL, &VAULT_ID, &context, bytes);
    let sealed =
        if kind == 2 { padded.clone() } else { seal(&padded).expect("anything can be sealed") };

    let place = RecordContext { vault_id: &VAULT_ID, pid: &DIRECTORY, rid: &RID, epoch: EPOCH };
    let message_key = salt_of(&sealed).map(|salt| key.message_key(VALUE_LABEL, &salt));
    let found = message_key.map(|key| entry().open_keyring(&key, place, 1, &sealed));
    if let Some(Ok(found)) = found {
        assert!(kind != 2, "a seal was forged");
        let again = pad(found.encode().expose(), value_size);
        assert!(again.expose() == padded, "two plaintexts mean the same");
    }

    // An agent keeps key rings in this form, without padding.
    if let Ok(found) = Keyring::decode(plain) {
        assert!(found.encode().expose() == plain, "two encodings of one key ring");
    }
}

fn entry() -> ProjectEntry {
    ProjectEntry {
        pid: PID,
        name: ProjectName::parse(NAME).expect("it is a name"),
        created: Timestamp(1),
        updated: Timestamp(1),
        epoch: EPOCH,
        policy: PolicyId::default(),
        due: None,
        later: Vec::new(),
    }
}
