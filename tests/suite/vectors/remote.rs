//! Witnesses, near files and tickets match their known answers (docs/format.md, sections 7 and 9).

use terminal_secrets::crypto::near_file::{open_address, seal_address, slots_mac};
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::ticket::Ticket;
use terminal_secrets::crypto::witness::Witness;
use terminal_secrets::model::SecretBytes;

use super::{Case, Fields, record_size};

pub fn witness(case: &Case) {
    let text = case.expected.text("text");
    let (seq, hash) = (case.input.u64("seq"), case.input.array("audit_head"));
    assert_eq!(Witness::of(seq, &hash).to_string(), text, "{}", case.name);
    let read: Witness = text.parse().unwrap();
    assert!(read.seq == seq && read.names(&hash), "{}", case.name);
}

pub fn near_file(case: &Case) {
    let (input, vault_id) = (&case.input, case.input.array("vault_id"));
    let key = RootKey::from_bytes(&input.array("root_key")).unwrap().checkpoint_key();
    let address = SecretBytes::from_vec(input.bytes("address"));
    let padded = pad(address.expose(), record_size);
    let sealed =
        key.seal_with_salt(input.array("salt"), "address", &vault_id, &[], padded.expose());
    case.same("sealed", &sealed.unwrap());
    let ours = seal_address(&key, &vault_id, &address).unwrap();
    for sealed in [ours, case.expected.bytes("sealed")] {
        let opened = open_address(&key, &vault_id, &sealed).unwrap();
        assert_eq!(opened.expose(), address.expose(), "{}", case.name);
    }

    case.same("slots_mac", &slots_mac(&key, &vault_id, &input.rows("rows", Fields::slot)));
}

/// The code of a ticket is drawn at random, so a ticket is compared after reading it.
pub fn ticket(case: &Case) {
    let text = SecretBytes::copy_of(case.expected.text("text").as_bytes());
    let ticket = Ticket::parse(&text).unwrap();
    assert_eq!(*ticket.vault_id(), case.input.array("vault_id"), "{}", case.name);
    assert_eq!(ticket.until().0, case.input.u64("until"), "{}", case.name);
    assert_eq!(ticket.address().expose(), case.input.bytes("address"), "{}", case.name);
    assert_eq!(ticket.text().expose(), text.expose(), "{}", case.name);
}

pub fn ticket_opened(case: &Case) {
    let text = SecretBytes::copy_of(case.input.text("text").as_bytes());
    let ticket = Ticket::parse(&text).unwrap();
    let result = case.input.slot().open(&ticket, ticket.vault_id());
    if let Some(root) = case.opened(result) {
        assert_eq!(*root.expose(), case.expected.array("root_key"), "{}", case.name);
        assert_eq!(ticket.address().expose(), case.expected.bytes("address"), "{}", case.name);
        assert_eq!(ticket.until().0, case.expected.u64("until"), "{}", case.name);
    }
}
