//! Exports of KeePass and KeePassXC are read, and references are resolved in bounded time.

use terminal_secrets::import::{Format, ImportOptions, Why, read};

use super::{error_at, labels, refused, rows, sample, skipped, taken};

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
        assert_eq!(refused(Format::KeePass, text.as_bytes()), error_at(at, why), "{text}");
    }

    assert!(
        taken(Format::KeePass, value("<Value Protected=\"False\">fake</Value>").as_bytes())
            .items
            .len()
            == 1
    );

    let error = refused(Format::KeePass, b"<KeePassFile>\n\xff</KeePassFile>");
    assert_eq!(error, error_at(Some((2, 1)), Why::Utf8));
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
    assert_eq!(skipped(&items)[1], ("sops.mac", Some(1), "it is metadata of sops"));
    let items = taken(Format::Json, br#"{"a": "x", "sops": {"mac": "x"}}"#);
    assert_eq!(items.items.len(), 2);

    let items =
        taken(Format::OnePassword, b"Title,Username,Password,OTPAuth\nA,,op://a/b,\nB,,real,\n");
    assert_eq!(rows(&items), [("b", "real", "B, password")]);
}
