//! Exports of 1Password and Bitwarden are read.

use terminal_secrets::import::{Format, Why};

use super::{error_at, labels, refused, rows, sample, skipped, taken};

#[test]
fn one_password_is_read() {
    let items = taken(Format::OnePassword, &sample("1password.csv"));
    assert_eq!(
        rows(&items),
        [
            ("github", "fake \"quoted\" $HOME, 'x'", "GitHub, password"),
            ("github-totp", "otpauth://totp/x?secret=FAKEFAKE", "GitHub, totp"),
            ("github-notes", "fake note 1\nfake note 2", "GitHub, notes"),
            ("github-2", " fäke blanks ", "GitHub, password"),
            ("only-a-note", "fake note", "Only a note, notes"),
        ]
    );

    assert_eq!(skipped(&items), [("Nothing", Some(6), "it holds no secret")]);
    assert_eq!(
        labels(&items, "github-totp"),
        (Some("GitHub"), Some("user: octo\nurl: https://github.com"))
    );

    assert_eq!(labels(&items, "github-2"), (Some("GitHub"), Some("user: second")));

    // Columns may have any order and case. An unknown column is kept.
    let items = taken(
        Format::OnePassword,
        b"password,TITLE,otpAuth,Username,Recovery Code\r\nfake,A,,me,fake-code\r\n",
    );

    assert_eq!(
        rows(&items),
        [("a", "fake", "A, password"), ("a-recovery-code", "fake-code", "A, Recovery Code")]
    );
}

#[test]
fn bitwarden_json_is_read() {
    let items = taken(Format::Bitwarden, &sample("bitwarden.json"));
    assert_eq!(
        rows(&items),
        [
            ("github", "fäke \"quoted\" \\ $HOME ü", "GitHub, password"),
            ("github-totp", "otpauth://totp/x?secret=FAKEFAKE", "GitHub, totp"),
            ("github-notes", "fake notes\r\nline 2", "GitHub, notes"),
            ("github-api-key", "fake-api-key", "GitHub, API Key"),
            ("github-region", "fake-text", "GitHub, Region"),
            ("a-note", "fake secret note", "A note, notes"),
            ("visa-cardholder-name", "Fake Holder", "Visa, cardholder name"),
            ("visa-number", "4111111111111111", "Visa, number"),
            ("visa-exp-month", "4", "Visa, exp month"),
            ("visa-exp-year", "2030", "Visa, exp year"),
            ("me-first-name", "Fake", "Me, first name"),
            ("me-address1", "Fake Street 1", "Me, address1"),
            ("me-ssn", "000-00-0000", "Me, ssn"),
            ("me-username", "fakeuser", "Me, username"),
            (
                "deploy-key-private-key",
                "-----BEGIN FAKE KEY-----\nfake\n-----END FAKE KEY-----\n",
                "Deploy key, private key"
            ),
            ("deploy-key-public-key", "ssh-ed25519 fake", "Deploy key, public key"),
            ("deploy-key-key-fingerprint", "SHA256:fake", "Deploy key, key fingerprint"),
        ]
    );

    assert_eq!(
        skipped(&items),
        [
            ("GitHub, Remember", Some(5), "it is a checkbox"),
            ("GitHub, passkey", Some(5), "passkeys cannot be imported"),
            ("Nothing", Some(31), "it holds no secret"),
            ("Deleted", Some(32), "it is in the trash"),
        ]
    );

    let description = "user: octo\nurl: https://github.com/\nurl: https://gist.example";
    assert_eq!(labels(&items, "github"), (Some("GitHub"), Some(description)));
    assert_eq!(labels(&items, "a-note"), (Some("A note"), None));
}

#[test]
fn bitwarden_csv_is_read() {
    let items = taken(Format::Bitwarden, &sample("bitwarden.csv"));
    assert_eq!(
        rows(&items),
        [
            ("forum", "fake-password", "Forum, password"),
            ("my-bank", "fake,\"comma", "My Bank, password"),
            ("my-bank-totp", "FAKETOTPSEED", "My Bank, totp"),
            ("my-bank-notes", "fake bank note", "My Bank, notes"),
            ("my-bank-pin", "1234", "My Bank, PIN"),
            ("my-bank-hint", "fake: colon", "My Bank, Hint"),
            ("my-note", "fake note line 1\nfake line 2", "My Note, notes"),
            // One of its lines does not start with a name.
            ("my-note-fields", "key: fake first line\nfake second line", "My Note, fields"),
        ]
    );

    assert_eq!(
        labels(&items, "forum"),
        (Some("Forum"), Some("user: me@example.com\nurl: https://forum.example"))
    );
}

#[test]
fn invalid_bitwarden_is_refused() {
    for (text, at, why) in [
        (
            &b"{\"encrypted\": true, \"items\": [{\"name\": \"2.fake|fake\"}]}"[..],
            Some((1, 15)),
            Why::Encrypted,
        ),
        (
            b"{\"encrypted\": true, \"passwordProtected\": true, \"data\": \"fake\"}",
            Some((1, 15)),
            Why::Encrypted,
        ),
        (b"{\"encrypted\": false}", None, Why::NoItems),
        (
            b"{\"encrypted\": false, \"items\": [\"fake-secret\"]}",
            Some((1, 32)),
            Why::Shape("items"),
        ),
        (b"{\"items\": [{\"login\": \"fake-secret\"}]}", Some((1, 22)), Why::Shape("login")),
        (b"{\"items\": [{\"name\": [\"fake-secret\"]}]}", Some((1, 21)), Why::Shape("name")),
        (b"{\"items\": [{\"notes\": \"\\udc00\"}]}", Some((1, 22)), Why::Json),
        (b"folder,name\nfake,secret", None, Why::Columns),
        (b"", None, Why::Columns),
    ] {
        assert_eq!(
            refused(Format::Bitwarden, text),
            error_at(at, why),
            "{}",
            String::from_utf8_lossy(text)
        );
    }

    let encrypted = refused(Format::Bitwarden, b"{\"encrypted\": true}").to_string();
    assert_eq!(
        encrypted,
        "the file is encrypted; export it as `.json`, not as `.json (Encrypted)`"
    );
}

#[test]
fn invalid_csv_is_refused() {
    let header = "Title,Username,Password,OTPAuth\n";
    for (rows, at, why) in [
        ("a,b,fake\n", Some((2, 1)), Why::Row),
        ("a,b,fake,,\n", Some((2, 1)), Why::Row),
        ("a,b,c,\nd,\"e\nf\",fake,\ng,fake\n", Some((5, 1)), Why::Row),
        ("a,b,fake,\"cut short\nx,y,fake,\n", Some((2, 10)), Why::Quote),
    ] {
        assert_eq!(
            refused(Format::OnePassword, format!("{header}{rows}").as_bytes()),
            error_at(at, why)
        );
    }

    let mut latin = header.as_bytes().to_vec();
    latin.extend(b"a,b,f\xe4ke,\n");
    assert_eq!(refused(Format::OnePassword, &latin), error_at(Some((2, 6)), Why::Utf8));

    for format in [Format::OnePassword, Format::Bitwarden, Format::KeePass] {
        assert_eq!(refused(format, b"url,username,password\nx,y,fake\n").why, Why::Columns);
    }
}

#[test]
fn quotes_and_lines_of_csv_follow_rfc_4180() {
    let header = "Title,Username,Password,OTPAuth\r\n";
    for (rows, at, why) in [
        ("A,u,p1,\r\nEmpty,u,,\r\nB,u,p2\r\n", Some((4, 1)), Why::Row),
        ("\r\n\r\nA,u\r\n", Some((4, 1)), Why::Row),
        ("A,u,\"x\r\ny\",\r\n\r\nB,u\r\n", Some((5, 1)), Why::Row),
        ("A,u,\"fa\"ke\",\r\n", Some((2, 8)), Why::BareQuote),
        ("A,u,fa\"ke,\r\n", Some((2, 7)), Why::BareQuote),
        ("A,u, \"fake\",\r\n", Some((2, 6)), Why::BareQuote),
        ("A,u,\"fake,\r\n", Some((2, 5)), Why::Quote),
    ] {
        assert_eq!(
            refused(Format::OnePassword, format!("{header}{rows}").as_bytes()),
            error_at(at, why),
            "{rows:?}"
        );
    }

    let good = format!("{header}A,u,\"fa\"\"ke\",\"\"\r\n\"B\",,\"\"\"\"\"\",x\r\nNo,u,,");
    let items = taken(Format::OnePassword, good.as_bytes());
    assert_eq!(
        rows(&items),
        [("a", "fa\"ke", "A, password"), ("b", "\"\"", "B, password"), ("b-totp", "x", "B, totp")]
    );

    assert_eq!(skipped(&items), [("No", Some(4), "it holds no secret")]);
}

#[test]
fn a_linked_field_of_bitwarden_is_not_a_secret() {
    let header = "folder,favorite,type,name,notes,fields,reprompt,login_uri,login_username,login_password,login_totp\n";
    let row = ",,login,Shop,,\"Linked: null\nPIN: 1234\nEmpty: \",0,,me,pw,\n";
    let items = taken(Format::Bitwarden, format!("{header}{row}").as_bytes());
    assert_eq!(rows(&items), [("shop", "pw", "Shop, password"), ("shop-pin", "1234", "Shop, PIN")]);

    let json = br#"{"items": [{"name": "Shop", "login": {"password": "pw"},
        "fields": [{"name": "Linked", "value": null, "type": 3, "linkedId": 100}]}]}"#;
    assert_eq!(rows(&taken(Format::Bitwarden, json)), [("shop", "pw", "Shop, password")]);
}
