//! Exports of other tools: each format's sample item by item, the rules, what is refused, and that
//! errors quote no value.
//!
//! `keepassxc.xml` and `keepassxc.csv` were written by `keepassxc-cli export` of 2.7.4. The others
//! follow the formats' documentation. Every value in them is made up.

use std::collections::HashSet;
use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use terminal_secrets::import::{
    Container, Format, ImportError, ImportOptions, Items, Skipped, Why, read,
};
use terminal_secrets::model::{Description, Name};

use crate::support::files::root;

const SAMPLES: [(Format, &str); 8] = [
    (Format::Dotenv, "values.env"),
    (Format::Json, "values.json"),
    (Format::OnePassword, "1password.csv"),
    (Format::Bitwarden, "bitwarden.json"),
    (Format::Bitwarden, "bitwarden.csv"),
    (Format::KeePass, "keepass.xml"),
    (Format::KeePass, "keepassxc.xml"),
    (Format::KeePass, "keepassxc.csv"),
];
const FORMATS: [Format; 5] =
    [Format::Dotenv, Format::Json, Format::OnePassword, Format::Bitwarden, Format::KeePass];

fn sample(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/fixtures/import").join(name)).unwrap()
}

fn taken(format: Format, text: &[u8]) -> Items {
    read(format, text, ImportOptions::default()).unwrap_or_else(|error| panic!("{error:?}"))
}

fn refused(format: Format, text: &[u8]) -> ImportError {
    read(format, text, ImportOptions::default())
        .err()
        .unwrap_or_else(|| panic!("{format:?} took {:?}", String::from_utf8_lossy(text)))
}

/// Returns the tag, value and source of each item.
fn rows(items: &Items) -> Vec<(&str, &str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    items
        .items
        .iter()
        .map(|item| (item.tag.as_str(), text(item.value.expose()), item.source.as_str()))
        .collect()
}

fn skipped(items: &Items) -> Vec<(&str, Option<u64>, &str)> {
    items
        .skipped
        .iter()
        .map(|Skipped { source, line, why, .. }| (source.as_str(), *line, *why))
        .collect()
}

/// Returns the name and description of an item.
fn labels<'a>(items: &'a Items, tag: &str) -> (Option<&'a str>, Option<&'a str>) {
    let item = items.items.iter().find(|item| item.tag.as_str() == tag).unwrap();
    (item.name.as_ref().map(Name::as_str), item.description.as_ref().map(Description::as_str))
}

#[test]
fn dotenv_is_read() {
    let items = taken(Format::Dotenv, &sample("values.env"));
    assert_eq!(
        rows(&items),
        [
            ("DATABASE_URL", "postgres://fake:fake@localhost/dev", "DATABASE_URL"),
            ("app_token", "fake $token # all of it", "app.token"),
            ("ONCE", "fake-first", "ONCE"),
            ("MULTI", "fake line 1\nfake line 2", "MULTI"),
            ("twice", "fake-second", "twice"),
            ("item", "/usr/bin/env", "_"),
        ]
    );

    assert_eq!(skipped(&items), [("EMPTY", Some(4), "it is empty")]);
    assert!(items.items.iter().all(|item| item.name.is_none() && item.description.is_none()));

    // The later assignment counts, even if it is empty.
    let items = taken(Format::Dotenv, b"A=1\nA-B=1\nA=");
    assert_eq!(rows(&items), [("A-B", "1", "A-B")]);
    let again = "a later entry has the same name";
    assert_eq!(skipped(&items), [("A", Some(1), again), ("A", Some(3), "it is empty")]);

    // A value may hold any bytes.
    assert_eq!(taken(Format::Dotenv, b"A=\xff\x00").items[0].value.expose(), b"\xff\x00");
    let error = refused(Format::Dotenv, b"A=1\nfake-secret");
    assert_eq!(
        (error.at, error.to_string().as_str()),
        (Some((2, 12)), "no `=` follows the name; values are not taken from the environment")
    );
}

#[test]
fn flat_json_is_read() {
    let items = taken(Format::Json, &sample("values.json"));
    assert_eq!(
        rows(&items),
        [
            ("DATABASE_URL", "postgres://fake:fake@localhost/dev", "DATABASE_URL"),
            ("price", "1.50", "price"),
            ("big", "123456789012345678901234567890", "big"),
            ("exponent", "1E+400", "exponent"),
            ("debug", "false", "debug"),
            ("escaped", "fäke \"quoted\" \\ / ü 🔑\n\ttab", "escaped"),
            ("my-key", "fake spaced", "my key!"),
            ("twice", "fake-second", "twice"),
            ("a_b", "fake-dot", "a.b"),
            ("C_D", "fake-underscore", "C_D"),
        ]
    );

    assert_eq!(
        skipped(&items),
        [
            ("nothing", Some(8), "it is empty"),
            ("empty", Some(9), "it is empty"),
            ("twice", Some(11), "a later entry has the same name"),
        ]
    );

    assert!(taken(Format::Json, b" {} ").items.is_empty());
}

#[test]
fn invalid_json_is_refused() {
    for (text, at, why) in [
        (
            &b"{\"a\": 1,\n \"b\": {\"c\": \"fake-secret\"}}"[..],
            Some((2, 7)),
            Why::Nested("b".into()),
        ),
        (b"{\"a\": [\"fake-secret\"]}", Some((1, 7)), Why::Nested("a".into())),
        (b"{\"a\": \"fake-secret\"", Some((1, 19)), Why::Json),
        (b"{\"a\": \"fake-secret\"} x", Some((1, 22)), Why::Json),
        (b"{\"a\": \"fake\\ud800secret\"}", Some((1, 7)), Why::Json),
        (b"{\"a\": fake-secret}", Some((1, 9)), Why::Json),
        (b"{\n\"a\": \"\xff\"}", Some((2, 7)), Why::Utf8),
        (b"[\"fake-secret\"]", None, Why::NotAnObject),
        (b"\"fake-secret\"", None, Why::NotAnObject),
        (b"", None, Why::NotAnObject),
    ] {
        assert_eq!(
            refused(Format::Json, text),
            ImportError { at, why },
            "{}",
            String::from_utf8_lossy(text)
        );
    }

    assert_eq!(
        refused(Format::Json, format!("{{\"a\": {}", "[".repeat(1_000_000)).as_bytes()).why,
        Why::Json
    );
}

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
            ImportError { at, why },
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

/// The same vault as `keepassxc-cli show` prints it.
const KEEPASSXC: [(&str, &str, &str); 10] = [
    ("github", "fake \"quoted\" $HOME 'x'", "GitHub, password"),
    ("github-notes", "fake notes line 1\nline 2", "GitHub, notes"),
    ("umlaute-tags", "fäke-€-&<>]]>&amp;-ß-🔑", "Umläute & <Tags>, password"),
    ("blanks", " \t fake leading and trailing  ", "Blanks, password"),
    ("lines", "fake\nline\r\ncrlf\rcr\n", "Lines, password"),
    ("extra", "fake,comma;semicolon", "Extra, password"),
    ("only-a-note", "  fake secret note\n", "Only a note, notes"),
    ("github-2", "fake-second", "GitHub, password"),
    ("item", "fake-untitled", "(untitled), password"),
    ("same-name", "fake-nested", "Same/Name, password"),
];

#[test]
fn both_keepassxc_formats_are_read() {
    let bin = "it is in the recycle bin";
    for (name, totp, more, skips) in [
        (
            "keepassxc.xml",
            "otpauth://totp/x?secret=FAKEFAKEFAKEFAKE&period=30&digits=6&issuer=x",
            &[
                ("extra-api-key", "fake-api-&-key", "Extra, API Key"),
                ("extra-plain", "fake plain attribute", "Extra, plain"),
            ][..],
            &[("GitHub, note.txt", "attached files cannot be imported")][..],
        ),
        (
            "keepassxc.csv",
            "otpauth://totp/Extra:x?secret=FAKEFAKEFAKEFAKE&period=30&digits=6&issuer=Extra",
            &[][..],
            &[][..],
        ),
    ] {
        let items = taken(Format::KeePass, &sample(name));
        let mut expected = KEEPASSXC.to_vec();
        // The two formats write these entries differently.
        expected.push(("extra-totp", totp, "Extra, totp"));
        expected.extend_from_slice(more);
        expected.sort_unstable();
        let mut found = rows(&items);
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        let mut expected =
            vec![("Nothing", "it holds no secret"), ("Deleted", bin), ("Deeper", bin)];
        expected.extend_from_slice(skips);
        expected.sort_unstable();
        let mut found: Vec<_> =
            items.skipped.iter().map(|skip| (skip.source.as_str(), skip.why)).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        assert!(items.skipped.iter().all(|skip| skip.line.is_some()));
        assert_eq!(
            labels(&items, "github"),
            (Some("GitHub"), Some("user: octo\nurl: https://github.com/"))
        );
        assert_eq!(
            labels(&items, "umlaute-tags"),
            (Some("Umläute & <Tags>"), Some("user: jürgen"))
        );
        assert_eq!(labels(&items, "item"), (None, None));
    }
}

#[test]
fn keepass_xml_is_read() {
    let items = taken(Format::KeePass, &sample("keepass.xml"));
    assert_eq!(
        rows(&items),
        [
            ("server", "fake <&> ä ä\r<&raw;>", "Server, password"),
            ("server-notes", "fake note", "Server, notes"),
            ("server-timeotp-secret-base32", "FAKEFAKE", "Server, TimeOtp-Secret-Base32"),
            ("behind-the-bin", "fake-last", "Behind the bin, password"),
        ]
    );

    assert_eq!(
        skipped(&items),
        [
            ("Server, id_fake", Some(15), "attached files cannot be imported"),
            ("Old server", Some(36), "it is in the recycle bin"),
        ]
    );
}

#[test]
fn invalid_xml_is_refused() {
    let value = |value: &str| {
        format!(
            "<KeePassFile><Root><Group><Entry>\n<String><Key>Password</Key>{value}</String></Entry></Group></Root></KeePassFile>"
        )
    };

    let bomb = "<!DOCTYPE x [<!ENTITY a \"fake\"><!ENTITY b \"&a;&a;\">]>";
    for (text, at, why) in [
        (value("<Value Protected=\"True\">ZmFrZQ==</Value>"), Some((2, 28)), Why::Protected),
        (value("<Value>&b;</Value>"), Some((2, 35)), Why::Entity),
        (format!("{bomb}{}", value("<Value>&b;</Value>")), Some((2, 35)), Why::Entity),
        (value("<Value>&#0;</Value>"), Some((2, 35)), Why::Entity),
        (value("<Value>fake</Walue>"), Some((2, 39)), Why::Xml),
        (value("<Value Protected=\"1\" Protected=\"2\">fake</Value>"), Some((2, 28)), Why::Xml),
        ("<KeePassFile>\n<Root>".into(), Some((2, 7)), Why::Xml),
        ("<pwlist>fake</pwlist>".into(), Some((1, 1)), Why::NotKeePass),
        ("<KeePassFile/><x/>".into(), Some((1, 15)), Why::NotKeePass),
        ("<!-- fake -->".into(), Some((1, 1)), Why::NotKeePass),
    ] {
        assert_eq!(refused(Format::KeePass, text.as_bytes()), ImportError { at, why }, "{text}");
    }

    assert!(
        taken(Format::KeePass, value("<Value Protected=\"False\">fake</Value>").as_bytes())
            .items
            .len()
            == 1
    );

    let error = refused(Format::KeePass, b"<KeePassFile>\n\xff</KeePassFile>");
    assert_eq!(error, ImportError { at: Some((2, 1)), why: Why::Utf8 });
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
            ImportError { at, why }
        );
    }

    let mut latin = header.as_bytes().to_vec();
    latin.extend(b"a,b,f\xe4ke,\n");
    assert_eq!(
        refused(Format::OnePassword, &latin),
        ImportError { at: Some((2, 6)), why: Why::Utf8 }
    );

    for format in [Format::OnePassword, Format::Bitwarden, Format::KeePass] {
        assert_eq!(refused(format, b"url,username,password\nx,y,fake\n").why, Why::Columns);
    }
}

#[test]
fn titles_become_tags() {
    let long = "x".repeat(300);
    let cut = "x".repeat(128);
    let rows: &[(&str, &str)] = &[
        ("My  Bank (new)!", "my-bank-new"),
        ("Straße & Ümläut", "strasse-umlaut"),
        ("se0123456789abcdef", "se0123456789abcdef-1"),
        ("🔑", "item"),
        ("", "item"),
        ("a/b\u{1b}[0m", "a-b-0m"),
        (&long, &cut),
    ];

    for (title, tag) in rows {
        let text = format!("Title,Username,Password,OTPAuth\n\"{title}\",,fake,\n");
        let items = taken(Format::OnePassword, text.as_bytes());
        assert_eq!(items.items[0].tag.as_str(), *tag, "{title}");
        let name: String = title.chars().filter(|c| !c.is_control()).take(256).collect();

        assert_eq!(items.items[0].name.as_ref().map_or("", Name::as_str), name);
    }

    // Numbers follow the entry, so the items of an entry stay together.
    let text =
        "Title,Username,Password,OTPAuth\nA b,,1,\na-B,,2,2t\nA_B,,3,\nA b totp,,4,\nA b 2,,5,\n";
    let items = taken(Format::OnePassword, text.as_bytes());
    let tags: Vec<_> = items.items.iter().map(|item| item.tag.as_str()).collect();
    assert_eq!(tags, ["a-b", "a-b-2", "a-b-2-totp", "a-b-3", "a-b-totp", "a-b-2-2"]);
}

#[test]
fn descriptions_are_cut() {
    let url = "u".repeat(5000);
    let text = format!("Title,Url,Username,Password,OTPAuth\nA,{url},\"me\r\n\u{7}too\",fake,\n");
    let items = taken(Format::OnePassword, text.as_bytes());
    let description = items.items[0].description.as_ref().unwrap().as_str();

    assert_eq!(description.chars().count(), 4096);
    assert!(description.starts_with("user: metoo\nurl: uuu"));
}

#[test]
fn a_prefix_goes_before_every_tag() {
    for (format, name) in SAMPLES {
        let plain = read(format, &sample(name), ImportOptions::default()).ok().unwrap();
        let prefixed = read(
            format,
            &sample(name),
            ImportOptions { prefix: "old-", ..ImportOptions::default() },
        )
        .ok()
        .unwrap();

        for (plain, prefixed) in plain.items.iter().zip(&prefixed.items) {
            let spelled = if plain.source == "_" { "_" } else { plain.tag.as_str() }; // no valid tag
            assert_eq!(prefixed.tag.as_str(), format!("old-{spelled}"));
        }
    }

    for bad in ["-", "ä", "a b", ".", &"x".repeat(101)] {
        assert_eq!(
            read(Format::Json, b"{}", ImportOptions { prefix: bad, ..ImportOptions::default() })
                .err()
                .unwrap(),
            ImportError { at: None, why: Why::Prefix },
            "{bad}"
        );
    }
}

#[test]
fn values_over_a_mebibyte_are_refused_by_name() {
    let most = "f".repeat(1024 * 1024);
    let over = "f".repeat(1024 * 1024 + 1);
    for (format, before, after, at, label) in [
        (Format::Dotenv, "A=1\nBIG=", "", (2, 1), "BIG"),
        (Format::Json, "{\n\"big\": \"", "\"}", (2, 8), "big"),
        (
            Format::OnePassword,
            "Title,Username,Password,OTPAuth\nBig,,",
            ",",
            (2, 1),
            "Big, password",
        ),
        (
            Format::Bitwarden,
            "{\"items\": [\n{\"name\": \"Big\", \"notes\": \"",
            "\"}]}",
            (2, 1),
            "Big, notes",
        ),
        (
            Format::KeePass,
            "<KeePassFile><Root><Group>\n<Entry><String><Key>Title</Key><Value>Big</Value></String><String><Key>k</Key><Value>",
            "</Value></String></Entry></Group></Root></KeePassFile>",
            (2, 1),
            "Big, k",
        ),
    ] {
        assert_eq!(
            taken(format, format!("{before}{most}{after}").as_bytes())
                .items
                .last()
                .unwrap()
                .value
                .expose()
                .len(),
            most.len()
        );
        let error = refused(format, format!("{before}{over}{after}").as_bytes());
        assert_eq!(error, ImportError { at: Some(at), why: Why::TooLarge(label.into()) });
        assert_eq!(error.to_string(), format!("the value of `{label}` is larger than 1 MiB"));
    }
}

#[test]
fn a_byte_order_mark_is_dropped() {
    for (format, name) in SAMPLES {
        let text = sample(name);
        let marked = [b"\xef\xbb\xbf", &text[..]].concat();
        assert_eq!(Format::of(Some(name), &marked), Some(format), "{name}");
        let (plain, marked) = (taken(format, &text), taken(format, &marked));

        assert_eq!(rows(&plain), rows(&marked), "{name}");
        assert_eq!(skipped(&plain), skipped(&marked), "{name}");
    }
}

#[test]
fn formats_have_names() {
    for (format, name) in FORMATS.into_iter().zip(Format::NAMES) {
        assert_eq!((format.name(), Format::named(name)), (name, Some(format)));
    }

    assert_eq!(Format::named("lastpass"), None);
}

#[test]
fn formats_are_recognized_by_content_and_name() {
    for (format, name) in SAMPLES {
        for given in [Some(name), Some("/tmp/export"), None] {
            assert_eq!(Format::of(given, &sample(name)), Some(format), "{name} as {given:?}");
        }
    }

    let rows: &[(Option<&str>, &str, Option<Format>)] = &[
        (None, "", Some(Format::Dotenv)),
        (None, "A=1,2", Some(Format::Dotenv)),
        (None, "# a, b\nA=1", Some(Format::Dotenv)),
        (None, "\n A=1", Some(Format::Dotenv)),
        (Some("dir/.env.local"), "{}", Some(Format::Dotenv)),
        (Some("prod.env"), "a,b", Some(Format::Dotenv)),
        (Some(".env.json"), "{\"A\": 1}", Some(Format::Json)),
        (None, "{\"items\": [], \"encrypted\": 1}", Some(Format::Bitwarden)),
        (None, "{\"encrypted\": true, \"passwordProtected\": true}", Some(Format::Bitwarden)),
        (None, "{\"items\": []}", Some(Format::Json)),
        (None, "{\"encrypted\": \"x\"}", Some(Format::Json)),
        (None, "{ not json", Some(Format::Json)),
        (None, "[1]", None),
        (Some("a.json"), "", None),
        (None, "<?xml version=\"1.0\"?><!-- x --><KeePassFile/>", Some(Format::KeePass)),
        (None, "<pwlist><!-- <KeePassFile> --></pwlist>", None),
        (Some("a.xml"), "x", None),
        (None, "url,username,password\n", None),
        (Some("a.csv"), "x", None),
        (None, "NAME,login_password,login_username\n", Some(Format::Bitwarden)),
    ];

    for (name, text, expected) in rows {
        assert_eq!(Format::of(*name, text.as_bytes()), *expected, "{name:?} {text:?}");
    }

    assert_eq!(Format::of(None, b"A=\xff"), Some(Format::Dotenv));
    assert_eq!(Format::of(Some("a.csv"), b"\xff"), None);
}

#[test]
fn many_of_one_title_take_linear_time() {
    let text = format!("Title,Username,Password,OTPAuth\n{}", "A,,fake,\n".repeat(50_000));
    let start = std::time::Instant::now();
    assert_eq!(
        taken(Format::OnePassword, text.as_bytes()).items.last().unwrap().tag.as_str(),
        "a-50000"
    );

    let deep = "<Group>".repeat(100_000);
    let text = format!("<KeePassFile><Root>{deep}{}</Root></KeePassFile>", deep.replace('<', "</"));
    assert!(taken(Format::KeePass, text.as_bytes()).items.is_empty());
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// Checks what holds for any bytes: nothing panics, tags are distinct, and an error quotes no
/// value.
fn check(format: Format, text: &[u8], prefix: &str) {
    match read(format, text, ImportOptions { prefix, ..ImportOptions::default() }) {
        Ok(items) => {
            let keys: HashSet<_> = items.items.iter().map(|item| item.tag.key()).collect();
            assert_eq!(keys.len(), items.items.len());
            assert!(items.items.iter().all(|item| item.tag.as_str().starts_with(prefix)));
            assert!(items.items.iter().all(|item| !item.value.expose().is_empty()));
        }
        Err(error) => {
            assert!(!error.to_string().contains("fake-"), "{error}");
            if let Some((line, column)) = error.at {
                assert!(line > 0 && column > 0, "{error:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in vec(any::<u8>(), 0..300), prefix in "[a-z]{0,3}") {
        let _ = Format::of(None, &text);
        for format in FORMATS {
            check(format, &text, &prefix);
        }
    }

    #[test]
    fn any_pieces_are_read_or_refused(
        pieces in vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", "\"", ":", ",", "\n", "\r", "=", "null", "1", "items", "\"items\":[{", "\"login\":{",
                "\"name\":", "\"password\":\"x\"", "\"fields\":[", "Title,Username,Password,OTPAuth\n", "a,b,c,d\n",
                "<KeePassFile>", "<Root>", "<Group>", "<UUID>", "<Entry>", "<String>", "<Key>", "<Value>", "</", ">",
                "<Value/>", "&lt;", "&#", ";", "<![CDATA[", "]]>", "<!--", "-->", "ä", "\u{301}", " ",
            ]),
            0..40,
        ),
    ) {
        let text = pieces.concat();
        let _ = Format::of(None, text.as_bytes());
        for format in FORMATS {
            check(format, text.as_bytes(), "");
        }
    }

    #[test]
    fn broken_samples_are_read_or_refused(
        which in 0..SAMPLES.len(),
        edits in vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 1..8),
    ) {
        let (format, name) = SAMPLES[which];
        let mut text = sample(name);

        for (at, kind, byte) in edits {
            let at = at.index(text.len().max(1)).min(text.len());
            match kind {
                0 if at < text.len() => text[at] = byte,
                1 => text.insert(at, byte),
                _ => { text.drain(at..text.len().min(at + usize::from(byte))); }
            }
        }

        let _ = Format::of(Some(name), &text);
        for format in [format, Format::Json, Format::Bitwarden] {
            check(format, &text, "");
        }
    }
}

/// Returns a KeePass file with these entries, each given by its strings.
fn keepass(entries: &[&[(&str, &str)]]) -> String {
    let entry = |(number, strings): (usize, &&[(&str, &str)])| {
        let strings: String = strings
            .iter()
            .map(|(key, value)| format!("<String><Key>{key}</Key><Value>{value}</Value></String>"))
            .collect();

        // The id of entry 0 is base64 of zeroes, of entry 1 of ones, and so on.
        let id = base64ct_of(u8::try_from(number).unwrap());
        format!("<Entry><UUID>{id}</UUID>{strings}</Entry>")
    };

    let entries: String = entries.iter().enumerate().map(entry).collect();
    format!("<KeePassFile><Root><Group>{entries}</Group></Root></KeePassFile>")
}

fn base64ct_of(byte: u8) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(&[byte; 16])
}

#[test]
fn references_of_keepass_are_resolved() {
    let one = "{REF:P@I:01010101010101010101010101010101}";
    let text = keepass(&[
        &[
            ("Title", "Wiki"),
            ("UserName", "{ref:u@i:01010101010101010101010101010101}"),
            ("Password", one),
        ],
        &[("Title", "LDAP"), ("UserName", "jd"), ("Password", "real"), ("URL", "ldap://x")],
        &[
            ("Title", "Parts"),
            ("Url", "{REF:A@T:ldap}/{REF:U@T:LDAP}:{REF:P@T:Ldap}"),
            ("Password", "{REF:P@I:00000000000000000000000000000000}"),
        ],
        &[
            ("Title", "Nobody's"),
            ("Password", "{REF:P@I:FF}"),
            ("Own", "{REF:P@O:x} and {REF:P@T:nobody}"),
        ],
        &[("Title", "Round"), ("Password", "{REF:P@T:round}")],
        &[("Title", "No reference"), ("Password", "{REF:X@I:1}{REF:P@I:"), ("a", "{REF:}{REF")],
        &[("Title", "Label {REF:P@T:LDAP} {REF:T@T:LDAP}"), ("Password", "x{REF:I@T:LDAP}")],
    ]);

    let items = taken(Format::KeePass, text.as_bytes());
    let values: Vec<_> = rows(&items).into_iter().map(|(tag, value, _)| (tag, value)).collect();
    assert_eq!(
        values,
        [
            ("wiki", "real"),
            ("ldap", "real"),
            ("parts", "real"),
            ("parts-url", "ldap://x/jd:real"),
            ("no-reference", "{REF:X@I:1}{REF:P@I:"),
            ("no-reference-a", "{REF:}{REF"),
            // Secret fields never become part of a label.
            ("label-ref-p-t-ldap-ldap", "x01010101010101010101010101010101"),
        ]
    );

    assert_eq!(labels(&items, "wiki").1, Some("user: jd"));
    let not_here = "it refers to an entry that is not in this file, or to more than one";
    let skips: Vec<_> = items.skipped.iter().map(|skip| (skip.source.as_str(), skip.why)).collect();
    assert_eq!(
        skips,
        [
            ("Nobody's, password", not_here),
            ("Nobody's, Own", not_here),
            ("Nobody's", "it holds no secret"),
            ("Round, password", "it refers to itself, or through too many entries"),
            ("Round", "it holds no secret"),
        ]
    );

    let as_is = read(
        Format::KeePass,
        text.as_bytes(),
        ImportOptions { as_is: true, ..ImportOptions::default() },
    )
    .ok()
    .unwrap();

    assert!(rows(&as_is).contains(&("nobody-s", "{REF:P@I:FF}", "Nobody's, password")));
    assert!(rows(&as_is).contains(&("wiki", "real", "Wiki, password")));

    // The CSV has no ids, but it has titles.
    let text = "Group,Title,Username,Password\nR,Wiki,jd,{REF:P@I:46CCC1FFFFBD4ABCBB260C6190BAD20C}\n\
                R,Two,,{REF:P@T:Three}\nR,Three,,real\n";
    let items = taken(Format::KeePass, text.as_bytes());
    let values: Vec<_> = rows(&items).into_iter().map(|(tag, value, _)| (tag, value)).collect();

    assert_eq!(values, [("two", "real"), ("three", "real")]);
    assert_eq!(
        items.skipped[0].why,
        "it refers to another entry, which only the XML export identifies"
    );
}

#[test]
fn references_are_resolved_in_bounded_time_and_memory() {
    // Each entry refers to the previous one twenty times. Without a limit that would be twenty to
    // the power of ten passwords.
    let mut strings = vec![("e0".to_owned(), "x".repeat(100))];
    for number in 1..12 {
        strings.push((format!("e{number}"), format!("{{REF:P@T:e{}}}", number - 1).repeat(20)));
    }

    let entries: Vec<Vec<(&str, &str)>> = strings
        .iter()
        .map(|(title, password)| vec![("Title", title.as_str()), ("Password", password)])
        .collect();

    let entries: Vec<&[(&str, &str)]> = entries.iter().map(Vec::as_slice).collect();
    let begun = std::time::Instant::now();
    let text = keepass(&entries);

    match read(Format::KeePass, text.as_bytes(), ImportOptions::default()) {
        Ok(items) => {
            let total: usize = items.items.iter().map(|item| item.value.expose().len()).sum();
            assert!(total < 64 * 1024 * 1024);
            assert_eq!(items.skipped.last().unwrap().source, "e11");
        }
        Err(error) => assert!(matches!(error.why, Why::TooLarge(_)), "{error:?}"),
    }

    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn references_and_ciphertexts_are_left_out() {
    let text = "KEY=encrypted:BExampleCiphertextOfMyOwn000000000000\nDOTENV_PUBLIC_KEY=02aa\n\
                S='ENC[AES256_GCM,data:p8g=,iv:aaaa,tag:bbbb,type:str]'\nsops_version=3.9.0\n\
                OP=op://app/db/password\nV=ref+vault://secret/x#/y\nT='{{ secrets.other }}'\nREAL=1\n";
    let items = taken(Format::Dotenv, text.as_bytes());

    assert_eq!(rows(&items), [("REAL", "1", "REAL")]);
    assert_eq!(items.skipped.len(), 7);
    assert!(items.skipped.iter().all(|skip| skip.as_is));
    assert_eq!(items.skipped[1].why, "it is metadata of dotenvx");

    let as_is = read(
        Format::Dotenv,
        text.as_bytes(),
        ImportOptions { as_is: true, ..ImportOptions::default() },
    )
    .ok()
    .unwrap();

    assert_eq!((as_is.items.len(), as_is.skipped.len()), (8, 0));

    // If nothing is encrypted, these names are ordinary variables.
    let items = taken(Format::Dotenv, b"DOTENV_PUBLIC_KEY=02aa\nsops_version=1\n");
    assert_eq!(items.items.len(), 2);

    let items =
        taken(Format::Json, br#"{"a": "ENC[AES256_GCM,data:x]", "b": 1, "sops": {"mac": "x"}}"#);
    assert_eq!(rows(&items), [("b", "1", "b")]);
    assert_eq!(
        refused(Format::Json, br#"{"a": "x", "sops": {"mac": "x"}}"#).why,
        Why::Nested("sops".into())
    );

    let items =
        taken(Format::OnePassword, b"Title,Username,Password,OTPAuth\nA,,op://a/b,\nB,,real,\n");
    assert_eq!(rows(&items), [("b", "real", "B, password")]);
}

#[test]
fn variables_with_the_same_tag_are_refused() {
    for (format, text, at) in [
        (Format::Dotenv, "http_proxy=fake\nHTTP_PROXY=fake\n", (2, 1)),
        (Format::Dotenv, "A.B=1\nA_B=2\n", (2, 1)),
        (Format::Dotenv, "A-B=1\n\nA_B=2\n", (3, 1)),
        (Format::Json, "{\"Token\": 1,\n\"TOKEN\": 2}", (2, 10)),
    ] {
        let error = refused(format, text.as_bytes());
        assert_eq!(error.at, Some(at), "{text}");
        assert!(matches!(error.why, Why::OneTag(..)), "{error:?}");
    }

    // One of them is empty or does not count.
    assert_eq!(taken(Format::Dotenv, b"http_proxy=\nHTTP_PROXY=1\n").items.len(), 1);
    assert_eq!(taken(Format::Dotenv, b"A=1\nA=2\n").items.len(), 1);

    // Names that are not valid tags are still numbered.
    assert_eq!(taken(Format::Json, br#"{"my key": "1", "my-key": "2"}"#).items.len(), 2);
}

#[test]
fn values_that_refer_to_variables_are_noted() {
    let text = "APP=x\nA=${APP}\nB=\"${OTHER:-1}\"\nC='${APP}'\nD=\"\\${APP}\"\nE=$APP\nF=pa$word\nG=a$$APP\nH=${\nI=${x y}\n\
                J=`${APP}`\nK=$\nL=x\\\n";
    let items = taken(Format::Dotenv, text.as_bytes());
    let names: Vec<_> = items.referring.iter().map(|(name, line)| (name.as_str(), *line)).collect();

    assert_eq!(names, [("A", 2), ("B", 3), ("E", 6)]);
    assert_eq!(items.items.len(), 13);
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
            ImportError { at, why },
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

#[test]
fn containers_are_recognized_by_their_first_bytes() {
    let utf16: Vec<u8> = "A=1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, expected) in [
        (None, &b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5\x01"[..], Some(Container::Kdbx)),
        (None, b"\x03\xd9\xa2\x9a\x65\xfb\x4b\xb5\x01", Some(Container::Kdb)),
        (Some("x.1PUX"), b"PK\x03\x04", Some(Container::OnePux)),
        (None, b"PK\x03\x04....export.attributes", Some(Container::OnePux)),
        (Some("x.zip"), b"PK\x03\x04", Some(Container::Zip)),
        (None, b"\x1f\x8b\x08", Some(Container::Gzip)),
        (None, b"SQLite format 3\0", Some(Container::Sqlite)),
        (Some(".env"), b"\xff\xfeA\0", Some(Container::Utf16)),
        (Some(".env"), b"\xfe\xff\0A", Some(Container::Utf16)),
        (None, &utf16, Some(Container::Utf16)),
        (None, b"A=\xff\0", None),
        (None, b"PKCS=1", None),
        (None, b"", None),
    ] {
        assert_eq!(Container::of(name, bytes), expected, "{bytes:?}");
    }
}
