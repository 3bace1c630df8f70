//! Heads, policies and entries of the audit log match their known answers (docs/format.md, section
//! 5).

use terminal_secrets::crypto::CryptoError;
use terminal_secrets::crypto::audit::{
    Action, Admitted, AuditChange, AuditEntry, AuditItem, PruneMark, SignedEntry,
};
use terminal_secrets::crypto::head::Head;
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::policy::{Policy, Writer};
use terminal_secrets::crypto::rows::{AuditRow, PolicyRow, ProjectRow};
use terminal_secrets::crypto::signing::Signer;

use super::{Case, Fields, record_size};

pub fn head(case: &Case) {
    let (input, expected, head) = (&case.input, &case.expected, case.input.head());
    let (vault_id, pid, epoch) =
        (input.array("vault_id"), input.array::<16>("pid"), input.u32("epoch"));
    let encoded = head.encode(&vault_id, &pid, epoch);
    assert_eq!(encoded.len(), Head::SIZE);
    case.same("encoded", &encoded);
    case.same("hash", &head.hash(&vault_id, &pid, epoch));
    let sig = Signer::from_seed(&input.key("seed")).sign(&encoded).to_vec();
    case.same("sig", &sig);

    let key = input.keyring().head_key(&pid);
    let context = [&pid[..], &epoch.to_be_bytes()].concat();
    let sealed = key.seal_with_salt(input.array("salt"), "head", &vault_id, &context, &encoded);
    case.same("sealed", &sealed.unwrap());

    let ours = head.seal(&key, &vault_id, &pid, epoch).unwrap();
    for sealed in [ours, expected.bytes("sealed")] {
        let row = ProjectRow { pid, epoch, head: sealed, sig: sig.clone() };
        assert_eq!(Head::open(&key, &vault_id, &row).as_ref(), Ok(&head), "{}", case.name);
    }
}

pub fn head_opened(case: &Case) {
    let input = &case.input;
    let (vault_id, pid, epoch) = (input.array("vault_id"), input.array("pid"), input.u32("epoch"));
    let row = ProjectRow { pid, epoch, head: input.bytes("sealed"), sig: input.bytes("sig") };
    let verified = |head: Head| {
        let message = head.encode(&vault_id, &pid, epoch);
        let is_signed = input.public("signer").verifies(&message, &row.sig);
        if is_signed { Ok(head) } else { Err(CryptoError::Damaged("the signature")) }
    };

    let opened = Head::open(&input.keyring().head_key(&pid), &vault_id, &row);
    if let Some(head) = case.opened(opened.and_then(verified)) {
        assert_eq!(head, case.expected.head(), "{}", case.name);
        assert_eq!(epoch, case.expected.u32("epoch"));
    }
}

fn policy_of(fields: &Fields) -> Policy {
    let writers = fields.rows("writers", |row| Writer {
        token_id: row.array("token_id"),
        key: row.public("key"),
        until: row.u64("until"),
    });

    Policy { version: fields.u64("version"), epoch: fields.u32("epoch"), writers }
}

pub fn policy(case: &Case) {
    let (input, policy) = (&case.input, policy_of(&case.input));
    let (vault_id, pid) = (input.array("vault_id"), input.array::<16>("pid"));
    let encoded = policy.encode(&vault_id, &pid);
    case.same("encoded", &encoded);
    case.same("hash", &policy.hash(&vault_id, &pid));

    let key = input.keyring().policy_key(&pid);
    let context = [&pid[..], &policy.version.to_be_bytes()].concat();
    let padded = pad(&encoded, record_size);
    let salt = input.array("salt");
    let body = key.seal_with_salt(salt, "policy", &vault_id, &context, padded.expose());
    case.same("body", &body.unwrap());

    let owner = Signer::from_seed(&input.key("seed"));
    let ours = policy.seal(&key, &owner, &vault_id, &pid).unwrap();
    case.same("sig", &ours.sig);
    let theirs = PolicyRow { body: case.expected.bytes("body"), ..ours.clone() };
    for row in [ours, theirs] {
        let opened = Policy::open(&key, &owner.public(), &vault_id, &pid, &row);
        assert_eq!(opened.as_ref(), Ok(&policy), "{}", case.name);
    }
}

pub fn policy_opened(case: &Case) {
    let input = &case.input;
    let (vault_id, pid) = (input.array("vault_id"), input.array("pid"));
    let (version, body, sig) = (input.u64("v"), input.bytes("body"), input.bytes("sig"));
    let row = PolicyRow { version, body, sig };
    let key = input.keyring().policy_key(&pid);
    let result = Policy::open(&key, &input.public("owner"), &vault_id, &pid, &row);
    if let Some(policy) = case.opened(result) {
        assert_eq!(policy, policy_of(&case.expected), "{}", case.name);
    }
}

/// Returns the elements of a list that may be absent.
fn list<T>(fields: &Fields, member: &str, read: impl Fn(&Fields) -> T) -> Vec<T> {
    if fields.0[member].is_null() { Vec::new() } else { fields.rows(member, read) }
}

fn admitted(row: &Fields) -> Admitted {
    let (token_id, key) = (row.array("token_id"), row.public("key"));
    Admitted { token_id, key, name: row.text("name").to_owned() }
}

fn mark_of(fields: &Fields) -> PruneMark {
    let signers = list(fields, "signers", admitted);
    PruneMark::new(fields.u64("seq"), fields.array("hash"), signers)
}

fn entry_of(fields: &Fields) -> AuditEntry {
    let number = fields.u64("action");
    let actions = [Action::Create, Action::Rekey, Action::Begin, Action::Prune, Action::Rename];
    let action = actions.into_iter().find(|action| u64::from(action.number()) == number);
    let is_renewed = !fields.0["owner_before"].is_null();
    let is_pruned = !fields.0["pruned"].is_null();
    let change = AuditChange {
        action: action.unwrap(),
        count: fields.u64("count"),
        items: list(fields, "items", |row| AuditItem {
            rid: row.array("rid"),
            name: row.text("name").to_owned(),
        }),
        admitted: list(fields, "admitted", admitted),
        removed: list(fields, "removed", |row| row.array("token_id")),
        owner_before: is_renewed.then(|| fields.public("owner_before")),
        pruned: is_pruned.then(|| mark_of(&Fields(fields.0["pruned"].clone()))),
        later: Vec::new(),
    };

    AuditEntry {
        previous: fields.array("previous"),
        signer_id: fields.array("signer_id"),
        time: fields.u64("time"),
        root_hash: fields.array("root_hash"),
        change,
    }
}

pub fn audit(case: &Case) {
    let (input, entry) = (&case.input, entry_of(&case.input));
    let (vault_id, pid) = (input.array("vault_id"), input.array::<16>("pid"));
    let (seq, epoch) = (input.u64("seq"), input.u32("epoch"));
    let encoded = entry.encode();
    case.same("encoded", &encoded);
    assert_eq!(AuditEntry::decode(&encoded).as_ref(), Ok(&entry), "{}", case.name);

    let owner = Signer::from_seed(&input.key("seed"));
    let signed = entry.sign(&owner, &vault_id, &pid, seq);
    case.same("sig", &signed.sig);
    case.same("hash", &signed.hash());

    let key = input.keyring().audit_key(&pid);
    let context = [&pid[..], &seq.to_be_bytes(), &epoch.to_be_bytes()].concat();
    let padded = pad(&[&encoded[..], &signed.sig].concat(), record_size);
    let salt = input.array("salt");
    let ct = key.seal_with_salt(salt, "audit", &vault_id, &context, padded.expose());
    case.same("ct", &ct.unwrap());

    let ours = signed.seal(&key, &vault_id, &pid, seq, epoch).unwrap();
    let theirs = AuditRow { ct: case.expected.bytes("ct"), ..ours.clone() };
    for row in [ours, theirs] {
        let opened = SignedEntry::open(&key, &vault_id, &pid, &row);
        assert_eq!(opened.as_ref(), Ok(&signed), "{}", case.name);
    }
}

pub fn audit_opened(case: &Case) {
    let input = &case.input;
    let (vault_id, pid) = (input.array("vault_id"), input.array("pid"));
    let (seq, epoch, ct) = (input.u64("seq"), input.u32("epoch"), input.bytes("ct"));
    let key = input.keyring().audit_key(&pid);
    let result = SignedEntry::open(&key, &vault_id, &pid, &AuditRow { seq, epoch, ct });
    if let Some(entry) = case.opened(result) {
        case.same("hash", &entry.hash());
        let is_signed = entry.is_signed_by(&input.public("signer"), &vault_id, &pid, seq);
        assert_eq!(Some(is_signed), case.expected.0["is_signed"].as_bool(), "{}", case.name);
    }
}
