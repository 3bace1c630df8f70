//! Tokens, grants and escrows match their known answers (docs/format.md, section 8).

use terminal_secrets::crypto::grant::{
    Escrow, Floor, Grant, GrantedKeys, GrantedProject, SetKeys, SetRecord,
};
use terminal_secrets::crypto::padding::pad;
use terminal_secrets::crypto::project_entry::PolicyId;
use terminal_secrets::crypto::root_key::RootKey;
use terminal_secrets::crypto::rows::GrantRow;
use terminal_secrets::crypto::token::Token;
use terminal_secrets::model::{Level, ProjectName, SecretBytes, Tag, Timestamp, TokenName};

use super::{Case, Fields, record_size};

fn parsed(text: &str) -> Option<Token> {
    let is_one = Token::is_one(text.as_bytes());
    let parsed = Token::parse(&SecretBytes::copy_of(text.as_bytes())).ok();
    assert_eq!(is_one, parsed.is_some(), "{text:?}");
    parsed
}

fn level(fields: &Fields) -> Level {
    Level::ALL[fields.u64("level") as usize - 1]
}

pub fn token(case: &Case) {
    let text = case.expected.text("text");
    let token = parsed(text).unwrap();
    assert_eq!(token.level(), level(&case.input), "{}", case.name);
    assert_eq!(token.text().expose(), text.as_bytes(), "{}", case.name);

    let keys = token.keys(&case.input.array("vault_id"));
    case.same("token_id", &keys.id);
    case.same("kek", keys.kek.expose());
    case.same("writer", keys.signer.public().bytes());
    case.same("checkpoint", keys.checkpoint.expose());
    case.same("output", keys.output.expose());
}

pub fn token_opened(case: &Case) {
    match parsed(case.input.text("text")) {
        Some(token) => {
            assert_eq!(token.level(), level(&case.expected), "{}", case.name);
            case.same("token_id", &token.keys(&case.input.array("vault_id")).id);
        }
        None => assert_eq!(case.expected.text("error"), "invalid", "{}", case.name),
    }
}

fn member(fields: &Fields, member: &str) -> Fields {
    Fields(fields.0[member].clone())
}

fn time(fields: &Fields, member: &str) -> Option<Timestamp> {
    fields.0[member].as_u64().map(Timestamp)
}

fn flag(fields: &Fields, member: &str) -> bool {
    fields.0[member].as_u64() == Some(1)
}

fn name(fields: &Fields) -> TokenName {
    TokenName::parse(fields.text("name")).unwrap()
}

fn later(fields: &Fields) -> SecretBytes {
    SecretBytes::copy_of(&fields.optional_bytes("later"))
}

fn grant_of(fields: &Fields) -> Grant {
    let project = member(fields, "project");
    let floor: [u8; 80] = project.array("floor");
    let keys = if project.0["set"].is_null() {
        GrantedKeys::Project(member(&project, "keys").keyring())
    } else {
        GrantedKeys::Set(set_of(&member(&project, "set")))
    };

    Grant {
        name: name(fields),
        level: level(fields),
        expires: time(fields, "expires"),
        is_strict: flag(fields, "strict"),
        owner: fields.public("owner"),
        project: GrantedProject {
            pid: project.array("pid"),
            name: ProjectName::parse(project.text("name")).unwrap(),
            epoch: project.u32("epoch"),
            floor: Floor {
                seq: u64::from_be_bytes(floor[..8].try_into().unwrap()),
                head: floor[8..40].try_into().unwrap(),
                policy: PolicyId::decode(&floor[40..].try_into().unwrap()),
            },
            keys,
        },
        is_replaced: flag(fields, "replaced"),
        later: later(fields),
    }
}

fn set_of(fields: &Fields) -> SetKeys {
    let records = fields.rows("records", |row| SetRecord {
        rid: row.array("rid"),
        tag: Tag::parse(row.text("tag")).unwrap(),
        class: row.class(),
        generation: row.generation(),
        metadata: row.key("metadata_key"),
        value: (!row.0["value_key"].is_null()).then(|| row.key("value_key")),
    });

    SetKeys { head: fields.key("head_key"), policy: fields.key("policy_key"), records }
}

fn escrow_of(fields: &Fields) -> Escrow {
    let optional = |member: &str| !fields.0[member].is_null();
    let only = || {
        let rid = |rid| Fields(serde_json::json!({ "rid": rid })).array("rid");
        fields.list("only").into_iter().map(rid).collect()
    };

    Escrow {
        kek: fields.key("kek"),
        writer: fields.public("writer"),
        name: name(fields),
        level: level(fields),
        expires: time(fields, "expires"),
        is_strict: flag(fields, "strict"),
        pid: fields.array("pid"),
        is_restricted_allowed: flag(fields, "restricted"),
        only: optional("only").then(only),
        created: Timestamp(fields.u64("created")),
        replaced_by: optional("replaced_by").then(|| fields.array("replaced_by")),
        later: later(fields),
    }
}

/// Returns the row of a case, with the grant and the escrow that it has.
fn row(input: &Fields, grant: Vec<u8>, escrow: Vec<u8>) -> GrantRow {
    GrantRow { token_id: input.array("token_id"), generation: input.u64("gen"), grant, escrow }
}

fn context(input: &Fields) -> Vec<u8> {
    [&input.bytes("token_id")[..], &input.u64("gen").to_be_bytes()].concat()
}

pub fn grant(case: &Case) {
    let (input, grant) = (&case.input, grant_of(&member(&case.input, "grant")));
    let (kek, vault_id, context) = (input.key("kek"), input.array("vault_id"), context(input));
    case.same("encoded", grant.encode().expose());
    let padded = pad(grant.encode().expose(), record_size);
    let salt = input.array("salt");
    let sealed = kek.seal_with_salt(salt, "grant", &vault_id, &context, padded.expose());
    case.same("sealed", &sealed.unwrap());

    let (token_id, generation) = (input.array("token_id"), input.u64("gen"));
    let ours = grant.seal(&kek, &vault_id, &token_id, generation).unwrap();
    for sealed in [ours, case.expected.bytes("sealed")] {
        let opened = Grant::open(&kek, &vault_id, &row(input, sealed, Vec::new())).unwrap();
        assert_eq!(opened.encode().expose(), grant.encode().expose(), "{}", case.name);
    }
}

pub fn grant_opened(case: &Case) {
    let input = &case.input;
    let kek = input.key("kek");
    case.sealed_as_expected("grant", &kek, &context(input));
    let row = row(input, input.bytes("sealed"), Vec::new());
    let result = Grant::open(&kek, &input.array("vault_id"), &row);
    if let Some(grant) = case.opened(result) {
        let expected = grant_of(&member(&case.expected, "grant"));
        assert_eq!(grant.encode().expose(), expected.encode().expose(), "{}", case.name);
    }
}

pub fn escrow(case: &Case) {
    let (input, escrow) = (&case.input, escrow_of(&member(&case.input, "escrow")));
    let key = RootKey::from_bytes(&input.array("root_key")).unwrap().escrow_key();
    let (vault_id, context) = (input.array("vault_id"), context(input));
    case.same("key", key.expose());
    case.same("encoded", escrow.encode().expose());
    let padded = pad(escrow.encode().expose(), record_size);
    let salt = input.array("salt");
    let sealed = key.seal_with_salt(salt, "escrow", &vault_id, &context, padded.expose());
    case.same("sealed", &sealed.unwrap());

    let (token_id, generation) = (input.array("token_id"), input.u64("gen"));
    let ours = escrow.seal(&key, &vault_id, &token_id, generation).unwrap();
    for sealed in [ours, case.expected.bytes("sealed")] {
        let opened = Escrow::open(&key, &vault_id, &row(input, Vec::new(), sealed)).unwrap();
        assert_eq!(opened.encode().expose(), escrow.encode().expose(), "{}", case.name);
    }
}

pub fn escrow_opened(case: &Case) {
    let input = &case.input;
    let key = RootKey::from_bytes(&input.array("root_key")).unwrap().escrow_key();
    case.sealed_as_expected("escrow", &key, &context(input));
    let row = row(input, Vec::new(), input.bytes("sealed"));
    if let Some(escrow) = case.opened(Escrow::open(&key, &input.array("vault_id"), &row)) {
        let expected = escrow_of(&member(&case.expected, "escrow"));
        assert_eq!(escrow.encode().expose(), expected.encode().expose(), "{}", case.name);
    }
}
