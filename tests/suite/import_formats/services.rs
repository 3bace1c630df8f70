//! What the programs of services print, and files that other programs encrypted. The samples are made up;
//! those of dotenvx, Doppler and AWS were written by the real programs.

use terminal_secrets::import::{DotenvxKeys, Format, ImportOptions, Items, Why, read};

use super::{refused, sample, skipped, taken};

/// Returns a line for each item with its tag and value, and one for each entry that is skipped.
fn lines(items: &Items) -> String {
    let value = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    let items_of = items.items.iter().map(|item| {
        let about = item
            .description
            .as_ref()
            .map_or_else(String::new, |text| format!("  ({})", text.as_str().replace('\n', ", ")));
        format!("{} = {}{about}", item.tag, value(item.value.expose()))
    });
    let skips = skipped(items).into_iter().map(|(name, _, why)| format!("{name}: {why}"));
    items_of.chain(skips).collect::<Vec<_>>().join("\n")
}

macro_rules! sample_is {
    ($format:expr, $name:expr, @$expected:literal) => {
        insta::assert_snapshot!(lines(&taken($format, &sample($name))), @$expected);
    };
}

#[test]
fn vault() {
    sample_is!(Format::Vault, "vault.json", @r#"
    api_token = tok_made_up_123
    db_password = p\"a\'ss$w0rd
    nested_a_0 = 1
    nested_a_1 = 2
    pem = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    port = 5432
    tls = true
    unicode = pässwörd-日本-🔑
    with-space = x
    empty: it is empty
    nested.b: it is empty
    "#);
    sample_is!(Format::Vault, "vault-1.json", @"
    data = a v1 value named data
    metadata = another
    ");
    sample_is!(Format::Vault, "vault-deleted.json", @"");
}

#[test]
fn aws() {
    sample_is!(Format::Aws, "aws.json", @r#"
    username = app
    password = p\"a$$w0rd
    port = 5432
    tls = true
    ca = -----BEGIN CERT-----\nbm90IHJlYWw=\n-----END CERT-----\n
    nested_a_0 = 1
    nested_a_1 = 2
    nothing: it is empty
    empty: it is empty
    "#);
    sample_is!(Format::Aws, "aws-batch.json", @r#"
    prod-app-db-username = app
    prod-app-db-password = p\"a$$w0rd
    prod-app-db-port = 5432
    prod-app-db-tls = true
    prod-app-db-ca = -----BEGIN CERT-----\nbm90IHJlYWw=\n-----END CERT-----\n
    prod-app-db-nested-a-0 = 1
    prod-app-db-nested-a-1 = 2
    prod-app-api-token = tok_plain_text_$HOME_\"q\"
    binary-blob = \0\u{1}�� binary
    prod/app/db.nothing: it is empty
    prod/app/db.empty: it is empty
    nope: the service returned an error for it
    "#);
    sample_is!(Format::Aws, "aws-binary.json", @r"binary-blob = \0\u{1}�� binary");
    let wrong = br#"{"ARN": 1, "Name": "x", "SecretBinary": "fake-secret"}"#;
    assert_eq!(refused(Format::Aws, wrong).why, Why::Base64);
}

#[test]
fn doppler() {
    sample_is!(Format::Doppler, "doppler.json", @r#"
    API_TOKEN = tok_made_up_123
    DATABASE_URL = postgres://app:p\"a$$w0rd@db.example.test:5432/app?x=1&y=<2>
    NUMBER = 0123
    PEM = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    REFERENCE = https://tok_made_up_123@example.test
    SPACES =   x  
    UNICODE = pässwörd-日本-🔑
    RESTRICTED: it is restricted, so Doppler does not show it
    DOPPLER_CONFIG: it is metadata of Doppler
    DOPPLER_ENVIRONMENT: it is metadata of Doppler
    DOPPLER_PROJECT: it is metadata of Doppler
    EMPTY: it is empty
    "#);
    sample_is!(Format::Json, "doppler-download.json", @r#"
    API_TOKEN = tok_made_up_123
    DATABASE_URL = postgres://app:p\"a$$w0rd@db.example.test:5432/app?x=1&y=<2>
    PEM = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    REFERENCE = https://tok_made_up_123@example.test
    UNICODE = pässwörd-日本-🔑
    NUMBER = 0123
    SPACES =   x  
    DOPPLER_CONFIG: it is metadata of Doppler
    DOPPLER_ENVIRONMENT: it is metadata of Doppler
    DOPPLER_PROJECT: it is metadata of Doppler
    EMPTY: it is empty
    "#);
}

#[test]
fn infisical() {
    sample_is!(Format::Infisical, "infisical.json", @r#"
    API_TOKEN = tok_made_up_123
    DB_URL = postgres://app:p\"a$$w0rd@db.example.test/app?x=1&y=<2>
    PEM = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    QUOTE = it\'s
    UNICODE = pässwörd-日本-🔑
    EMPTY: it is empty
    "#);
    sample_is!(Format::Infisical, "infisical-secrets.json", @r#"
    API_TOKEN = tok_made_up_123
    DB_URL = postgres://app:p\"a$$w0rd@db.example.test/app?x=1&y=<2>
    PEM = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    QUOTE = it\'s
    UNICODE = pässwörd-日本-🔑
    EMPTY: it is empty
    "#);
}

#[test]
fn one_password() {
    sample_is!(Format::OnePassword, "op.json", @r#"
    example-login = p\"a\'ss$w0rd  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-totp = otpauth://totp/Example:alice?secret=JBSWY3DPEHPK3PXP&issuer=Example  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-notes = a note\nwith two lines  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-api-token = tok_made_up_123  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-region = eu-west-1  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-2 = same title, other item  (user: bob)
    api-credential-username = svc
    api-credential-credential = tok_api_credential
    api-credential-type = bearer
    secure-note-pem = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    example-login-3 = same title in another vault  (user: carol)
    Document, files: attached files cannot be imported
    Document: it holds no secret
    "#);
    sample_is!(Format::OnePassword, "1password.1pux", @r#"
    example-login = p\"a\'ss$w0rd  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-totp = otpauth://totp/Example:alice?secret=JBSWY3DPEHPK3PXP&issuer=Example  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-notes = a note\nwith two lines  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-form-extra = remember me  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-api-token = tok_made_up_123  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-region = eu-west-1  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-recovery-e-mail = rec@example.test  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-phone = 555-0100  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-site = https://example.test/x  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-made-on = 1767323045  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-expires = 203012  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-kind = one  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data-linked = samplemadeupid000000000004  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-extra-data = a field with an empty title  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-token = in a section without a title  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-token-2 = the same field title again  (user: alice@example.test, url: https://example.test/login, url: https://www.example.test)
    example-login-2 = same title, other item  (user: bob)
    wifi-cafe = pässwörd-日本-🔑
    secure-note-pem = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    api-credential-username = svc
    api-credential-credential = tok_api_credential
    api-credential-type = bearer
    api-credential-hostname = api.example.test
    api-credential-valid-from = 1767323045
    database-type = postgresql
    database-server = db.example.test
    database-port = 5432
    database-database = app
    database-username = app
    database-password = db-pass
    server-url = ssh://host.example.test
    server-username = root
    server-password = server-pass
    ssh-key-ssh-key-private-key = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    with-attachment = y  (user: x)
    archived-login = archived-pass  (user: old)
    slash-in-title-dot = slash-pass  (user: x)
    example-login-3 = same title in another vault  (user: carol)
    files: attached files cannot be imported
    Example login, Extra / data address: it is an object or a list
    Document, document: attached files cannot be imported
    Document: it holds no secret
    With attachment, Files attached.txt: attached files cannot be imported
    Empty password: it holds no secret
    "#);
    let field = br#"{"id": "a", "type": "CONCEALED", "label": "api key", "value": "x", "reference": "op://"}"#;
    assert_eq!(lines(&taken(Format::OnePassword, field)), "api-key = x");
}

#[test]
fn lastpass() {
    sample_is!(Format::LastPass, "lastpass.csv", @r#"
    example-login = p\"a\'ss$w0rd  (user: alice@example.test, url: https://example.test/login)
    example-login-totp = JBSWY3DPEHPK3PXP  (user: alice@example.test, url: https://example.test/login)
    example-login-2 = a&b<c>d  (user: bob, url: https://example.test/login)
    example-login-2-notes = two lines\nof notes, with a comma  (user: bob, url: https://example.test/login)
    literal-entity = really&amp;typed  (user: carol, url: https://lit.example.test)
    a-pem-note = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----
    a-server-note = NoteType:Server\nLanguage:en-US\nHostname:db.example.test\nUsername:app\nPassword:db-pass\nNotes:line one\nline two
    an-ssh-key-note = NoteType:SSH Key\nLanguage:en-US\nBit Strength:\nFormat:\nPassphrase:made-up\nPrivate Key:-----BEGIN PRIVATE KEY----- bm90IGEga2V5 -----END PRIVATE KEY-----\nPublic Key:\nHostname:\nDate:,\nNotes:
    cafe-slash-dot = pässwörd-日本-🔑  (user: ü, url: https://uni.example.test)
    item =   leading and trailing    (user: s, url: https://sp.example.test)
    Empty password: it holds no secret
    "#);

    // The same entries, as old versions of the program write them
    let [plain, escaped] = ["lastpass.csv", "lastpass-escaped.csv"]
        .map(|name| lines(&taken(Format::LastPass, &sample(name))));
    assert_eq!(plain, escaped);
}

#[test]
fn yaml() {
    sample_is!(Format::Yaml, "values.yaml", @r#"
    database_host = db.example.test
    database_password = p\"a\'ss$w0rd
    database_port = 5432
    database_ratio = 0.50
    database_big = 12345678901234567890
    database_octal = 0123
    database_hex = 0x1F
    database_exp = 1e3
    database_version = 1.10
    database_tls = true
    norway = NO
    answer = yes
    off_switch = off
    quoted_no = no
    date = 2026-01-02
    datetime = 2026-01-02T03:04:05Z
    sexagesimal = 12:30:45
    list_0 = one
    list_1 = 2
    list_2_deep = three
    list_3_0 = a
    list_3_1 = b
    literal = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n
    literal_strip = no final newline
    literal_keep = two newlines after\n\n
    folded = folded into one line\n
    unicode = pässwörd-日本-🔑
    key-with-colon = x
    key-with-dots-and-slashes = y
    123 = numeric key
    true = boolean key
    defaults_user = app
    defaults_timeout = 30
    staging_password = other
    staging_user = app
    staging_timeout = 30
    alias_user = app
    alias_timeout = 30
    tagged = 123
    binary = \0\u{1}��
    multi_doc = first
    database.nothing: it is empty
    database.tilde: it is empty
    database.blank: it is empty
    database.empty: it is empty
    custom: its tag (`!`) has a meaning that only another program knows
    "#);
}

#[test]
fn dotenvx() {
    let mut keys = DotenvxKeys::default();
    keys.add_file(&sample("dotenvx/keys"));
    let options = ImportOptions { dotenvx: Some(&keys), ..ImportOptions::default() };
    let text = sample("dotenvx/env");
    let Ok(items) = read(Format::Dotenv, &text, options) else { panic!("it is not read") };
    insta::assert_snapshot!(lines(&items), @r#"
    HELLO = World
    QUOTES = it\'s \"quoted\" and \\back\\slash
    DOLLAR = pa$$word-${HELLO}-$HOME-$(whoami)
    PEM = -----BEGIN PRIVATE KEY-----\nbm90IGEga2V5LCBtYWRlIHVw\n-----END PRIVATE KEY-----
    UNICODE = pässwörd-日本-🔑
    SPACES =   leading and trailing  
    HASH = a#b # c
    PLAIN_PORT = 5432
    DOTENV_PUBLIC_KEY: it is metadata of dotenvx
    EMPTY: it is empty
    "#);
    assert!(items.skipped.iter().all(|skip| !skip.has_value));

    // Without keys, or with `as_is`
    assert_eq!(taken(Format::Dotenv, &text).items.len(), 1);
    let Ok(items) = read(Format::Dotenv, &text, ImportOptions { as_is: true, ..options }) else {
        panic!("it is not read")
    };
    assert!(items.items[1].value.expose().starts_with(b"encrypted:"));
}

#[test]
fn a_tag_of_yaml_that_only_another_program_knows_is_no_value() {
    let text = b"a: !secret db\nb: !Sub '${x}'\nc: !!str 1\nd: ! 2\ne: !env {f: g}\n";
    insta::assert_snapshot!(lines(&taken(Format::Yaml, text)), @"
    c = 1
    d = 2
    a: its tag (`!`) has a meaning that only another program knows
    b: its tag (`!`) has a meaning that only another program knows
    e.f: its tag (`!`) has a meaning that only another program knows
    ");
    let options = ImportOptions { as_is: true, ..ImportOptions::default() };
    let Ok(items) = read(Format::Yaml, text, options) else { panic!("it is not read") };
    assert_eq!(items.items.len(), 5);
}

/// What is left out can be lost with the file, unless it is empty or public.
#[test]
fn nothing_is_left_out_in_silence() {
    let named = |format, text: &[u8]| {
        let items = taken(format, text);
        let has_value = items.skipped.iter().any(|skip| skip.has_value);
        (items.items.len(), has_value)
    };

    let csv = b"title,username,password,otpauth,\nA,me,1,,lost\n";
    assert_eq!(named(Format::OnePassword, csv), (2, false));
    let env = b"A=encrypted:BExampleCiphertextOfMyOwn000000000000\nDOTENV_PUBLIC_KEY_X=lost\n";
    assert_eq!(named(Format::Dotenv, env), (0, true));
    let lookalike =
        br#"{"id": 1, "type": 2, "label": "a", "reference": "r", "value": "v", "password": "p"}"#;
    assert_eq!(Format::of(None, lookalike), Some(Format::Json));
    let bitwarden = br#"{"encrypted": false, "items": [{"name": "a", "type": 1, "newer": "x", "login": {"password": "p", "pin": "1"}}]}"#;
    assert_eq!(named(Format::Bitwarden, bitwarden), (3, false));
    let doppler = br#"{"A": {"computed": null, "computedVisibility": "restricted", "raw": "x"}}"#;
    assert_eq!(named(Format::Doppler, doppler), (0, true));
    let vault = br#"{"request_id": 1, "data": {"a": 1}, "auth": {"client_token": "x"}}"#;
    assert_eq!(named(Format::Vault, vault), (1, true));
}

#[test]
fn hostile_sizes_are_bounded() {
    let start = std::time::Instant::now();
    let many = format!("{{\"a\": [{}1]}}", "1,".repeat(300_000));
    assert_eq!(refused(Format::Json, many.as_bytes()).why, Why::TooMany);
    let long = format!("{{\"{}\": [{}1]}}", "n".repeat(1000), "1,".repeat(100_000));
    assert_eq!(refused(Format::Json, long.as_bytes()).why, Why::TooMany);
    let names = format!("a: &a {{{:?}: 1}}\nb: [{}1]\n", "n".repeat(1 << 20), "*a,".repeat(100));
    assert_eq!(refused(Format::Yaml, names.as_bytes()).why, Why::TooMany);
    let mut deep = String::from("- &a0 []\n");
    for level in 1..100 {
        let (open, close) = ("[".repeat(60), "]".repeat(60));
        deep += &format!("- &a{level} {open}*a{}{close}\n", level - 1);
    }
    assert_eq!(refused(Format::Yaml, format!("a:\n{deep}").as_bytes()).why, Why::TooDeep);
    let many: Vec<String> = (0..11_000).map(|number| format!(r#"\"k{number}\":1"#)).collect();
    let secret = |name: &str| {
        format!(
            r#"{{"ARN":1,"Name":"{name}{}","SecretString":"{{{}}}"}}"#,
            "n".repeat(1000),
            many.join(",")
        )
    };
    let batch = format!(
        r#"{{"SecretValues":[{},{},{},{}]}}"#,
        secret("a"),
        secret("b"),
        secret("c"),
        secret("d")
    );
    assert_eq!(refused(Format::Aws, batch.as_bytes()).why, Why::TooMany);
    let entities =
        format!("url,username,password,extra,name,grouping\n,,{},,x,\n", "&amp;".repeat(150_000));
    assert_eq!(taken(Format::LastPass, entities.as_bytes()).items.len(), 1);

    // One key, many times, and many keys
    let mut keys = DotenvxKeys::default();
    keys.add(vec!["11".repeat(32); 10_000].join(",").as_bytes());
    (0..200_u32).for_each(|number| keys.add(format!("{number:064x}").as_bytes()));
    let text = "A=encrypted:BExampleCiphertextOfMyOwn000000000000\n".repeat(500);
    let options = ImportOptions { dotenvx: Some(&keys), ..ImportOptions::default() };
    assert!(read(Format::Dotenv, text.as_bytes(), options).is_ok());
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn values_that_are_no_text_are_not_taken_for_empty_ones() {
    let binary = br#"{"ARN": 1, "Name": "key", "SecretString": null, "SecretBinary": "aGk="}"#;
    assert_eq!(lines(&taken(Format::Aws, binary)), "key = hi");
    let field = br#"{"id": "a", "type": "CONCEALED", "label": "l", "value": {"b": 1}, "reference": "op://"}"#;
    let items = taken(Format::OnePassword, field);
    let why = "it is an object or a list";
    assert!(skipped(&items).iter().any(|(_, _, found)| *found == why), "{:?}", skipped(&items));
    assert!(items.skipped.iter().all(|skipped| skipped.has_value));
}
