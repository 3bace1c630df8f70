//! An entry of the audit log, written by somebody who has the project's keys. Every entry that
//! opens has exactly one encoding, because its hash is that of the encoding.

use super::input::Input;
use super::world::{EPOCH, PID, VAULT_ID, keyring};
use terminal_secrets::crypto::audit::{AuditChange, SignedEntry};
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::rows::AuditRow;

const SEQ: u64 = 9;

/// Runs the target. A byte selects what the rest is: the fields of an entry, an entry with its
/// signature, the same with its padding, or sealed bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 4;
    let rest = input.rest();
    let plain = match kind {
        0 => [&[7; 88][..], rest, &[9; 64]].concat(),
        _ => rest.to_vec(),
    };
    let padded = match kind {
        0 | 1 => pad(&plain, |length| length.next_multiple_of(256)).expose().to_vec(),
        _ => plain.clone(),
    };

    let key = keyring().audit_key(&PID);
    let context = [&PID[..], &SEQ.to_be_bytes(), &EPOCH.to_be_bytes()].concat();
    let sealed = key.seal_with_salt([0; 24], "audit", &VAULT_ID, &context, &padded);
    let ct = if kind == 3 { plain } else { sealed.expect("anything can be sealed") };
    let row = AuditRow { seq: SEQ, epoch: EPOCH, ct };

    if let Ok(found) = SignedEntry::open(&key, &VAULT_ID, &PID, &row) {
        assert!(kind != 3, "a seal was forged");
        let again = [&found.entry.encode()[..], &found.sig].concat();
        let again = pad(&again, |length| length.next_multiple_of(256));
        assert!(again.expose() == padded, "two encodings of one entry");

        let change = &found.entry.change;
        let decoded = AuditChange::decode(&change.encode());
        assert!(decoded.as_ref() == Ok(change), "an entry does not survive its encoding");
    }
}
