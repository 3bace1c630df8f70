//! Every form of a value is masked at every split.

use base64ct::{Base64, Encoding};
use terminal_secrets::mask::Form;

use super::{masked, masked_in, needles};

/// Returns a value with a special character for every encoder, and the forms that programs write.
fn every_form() -> (Vec<u8>, Vec<(Form, Vec<u8>)>) {
    let value = " it's <a>/\"b\\\"\u{1}\t& é😀~*!\nsecond line of it, which is long enough\n";
    let hex: String = value
        .bytes()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| format!("{digit:x}"))
        .collect::<Vec<_>>()
        .concat();

    let percent = |kept: &str, upper: bool| -> String {
        let escape = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
        let one = |byte: u8| match char::from(byte) {
            c if c.is_ascii_alphanumeric() || kept.contains(c) => c.to_string(),
            _ => escape(byte),
        };

        value.bytes().map(one).collect()
    };

    let json = |html: &[(&str, &str)]| {
        let text = serde_json::to_string(value).unwrap();
        html.iter()
            .fold(text[1..text.len() - 1].to_owned(), |text, (from, to)| text.replace(from, to))
    };

    let ascii = [("é", r"\u00e9"), ("😀", r"\ud83d\ude00")];
    let encoded = |at: usize| {
        let data = [&b"::"[..at], value.as_bytes(), b":"].concat();
        let text = Base64::encode_string(&data).into_bytes();
        let whole = 8 * (at + value.len()) / 6;
        text[(8 * at).div_ceil(6)..whole].to_vec()
    };

    let url = |text: Vec<u8>| {
        text.into_iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                _ => byte,
            })
            .collect()
    };

    let texts = vec![
        (Form::Raw, value.to_owned()),
        (Form::Raw, value.replace('\n', "\r\n")),
        (Form::Line, value.trim().to_owned()),
        (Form::Line, value.lines().next().unwrap().to_owned()),
        (Form::Line, value.lines().next().unwrap().trim().to_owned()),
        (Form::Line, value.lines().nth(1).unwrap().to_owned()),
        (Form::Escaped, json(&[])),
        (Form::Escaped, json(&ascii)),
        (Form::Escaped, json(&[("<", r"\u003c"), (">", r"\u003e"), ("&", r"\u0026")])),
        (Form::Escaped, json(&[("/", r"\/")])),
        (Form::Escaped, json(&[ascii[0], ascii[1], ("/", r"\/")])),
        (Form::Shell, value.replace('\'', r"'\''")),
        (Form::Shell, value.replace('\'', r#"'"'"'"#)),
        (
            Form::Escaped,
            "\\ it\\'s <a>/\"b\\\\\"\\001\\t& é😀~*!\\nsecond line of it, which is long enough\\n"
                [1..]
                .into(),
        ),
        (Form::Url, percent("-._~", true)),
        (Form::Url, percent("-._~", false)),
        (Form::Url, percent("-_.!~*'()", true)),
        (Form::Url, percent(" *-._", true).replace(' ', "+")),
        (Form::Hex, hex.clone()),
        (Form::Hex, hex.to_uppercase()),
    ];

    let mut all: Vec<_> = texts.into_iter().map(|(form, text)| (form, text.into_bytes())).collect();
    all.extend((0..3).map(encoded).map(|text| (Form::Base64, text)));
    all.extend((0..3).map(encoded).map(|text| (Form::Base64, url(text))));

    for columns in [76, 64] {
        let rows: Vec<Vec<u8>> = Base64::encode_string(value.as_bytes())
            .into_bytes()
            .chunks(columns)
            .map(<[u8]>::to_vec)
            .collect();

        all.push((Form::Base64, rows[0].clone()));
    }

    (value.into(), all)
}

#[test]
fn every_form_is_masked_at_every_split() {
    let (value, forms) = every_form();
    let needles = needles(&[value]);
    for (form, text) in forms {
        let stream = [b"before >", &text[..], b"] after"].concat();
        for split in 0..=stream.len() {
            let out = masked_in(&needles, &[&stream[..split], &stream[split..]]);
            let shown = out.text.escape_ascii();
            assert!(out.text == b"before ><t0>] after", "{} at {split}: {shown}", form.name());
            assert_eq!(out.regions[0].3, form, "{}", text.escape_ascii());
        }

        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert!(masked_in(&needles, &bytes).text == b"before ><t0>] after", "{}", form.name());
    }
}

#[test]
fn the_end_of_encoded_data_is_masked_to_its_last_character() {
    let needles = needles(&[
        b"hunter2-hunter2".to_vec(),
        b"correct horse battery staple and so on until it is long".to_vec(),
    ]);

    let header =
        format!("Authorization: Basic {}\r\n", Base64::encode_string(b"admin:hunter2-hunter2"));
    assert_eq!(masked(&needles, header.as_bytes()), "Authorization: Basic YWRtaW46<t0>\r\n");
    let header =
        format!("Authorization: Basic {}\r\n", Base64::encode_string(b"root:hunter2-hunter2"));
    assert_eq!(masked(&needles, header.as_bytes()), "Authorization: Basic cm9vdDp<t0>=\r\n");

    let data = Base64::encode_string(b"correct horse battery staple and so on until it is long");
    assert_eq!(masked(&needles, data.as_bytes()), "<t1>==");
    assert_eq!(
        masked(&needles, format!("{}\n{}\n", &data[..64], &data[64..]).as_bytes()),
        "<t1>==\n"
    );

    // A single line of it is masked as well.
    assert_eq!(
        masked(&needles, format!("| {}\n| {}\n", &data[..64], &data[64..]).as_bytes()),
        "| <t1>\n| <t1>==\n"
    );
}

#[test]
fn a_trailing_newline_matters_to_no_form() {
    let needles = needles(&[b"pa/s\"s w'ord\n".to_vec(), b"\t blanks around  ".to_vec()]);
    let cases = [
        ("KEY=pa/s\"s w'ord;", "KEY=<t0>;"),
        (r#"{"k":"pa/s\"s w'ord"}"#, r#"{"k":"<t0>"}"#),
        (r#"{"k":"pa/s\"s w'ord\n"}"#, r#"{"k":"<t0>"}"#),
        ("'pa/s\"s w'\\''ord'", "'<t0>'"),
        ("?k=pa%2Fs%22s%20w%27ord&", "?k=<t0>&"),
        ("?k=pa%2Fs%22s+w%27ord%0A&", "?k=<t0>&"),
        ("[blanks around]", "[<t1>]"),
    ];

    for (text, expected) in cases {
        assert_eq!(masked(&needles, text.as_bytes()), expected, "{text}");
    }

    let encoded = Base64::encode_string(b"pa/s\"s w'ord");
    assert_eq!(masked(&needles, format!("k: {encoded}\n").as_bytes()), "k: <t0>\n");
}

/// Inserts `between` into a text after every `columns` bytes.
fn wrapped(text: &str, columns: usize, between: &str) -> Vec<u8> {
    let rows: Vec<&str> =
        text.as_bytes().chunks(columns).map(|row| std::str::from_utf8(row).unwrap()).collect();
    rows.join(between).into_bytes()
}

#[test]
fn encoded_data_is_masked_in_lines_of_any_width() {
    let value = "s3cr%2Fet-Pa55 and what follows it to make it long enough";
    let needles = needles(&[value.into()]);
    let data = Base64::encode_string(
        format!("HOST=db.example.org\nPASSWORD={value}\nMORE=text\n").as_bytes(),
    );
    let whole = masked(&needles, data.as_bytes());

    assert!(whole.contains("<t0>") && whole.len() < 75, "{whole}");
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    for columns in (1..130).step_by(3) {
        for between in ["\n", "\r\n", "\n    ", "\r\n\t", "\\n", "%0A"] {
            for text in [&data, &hex] {
                let text = wrapped(text, columns, between);
                let all = masked_in(&needles, &[&text]);
                let bytes: Vec<&[u8]> = text.chunks(1).collect();
                assert!(masked_in(&needles, &bytes).text == all.text, "{columns} {between:?}");

                let shown = String::from_utf8_lossy(&all.text).replace(between, "");
                let expected = if text[0] == b'S' { whole.clone() } else { "<t0>".to_owned() };
                assert_eq!(shown, expected, "{columns} {between:?}");
            }
        }
    }

    // An unencoded value ends with its line.
    assert_eq!(masked(&needles, b"s3cr%2Fet-Pa55 and\n"), "s3cr%2Fet-Pa55 and\n");
}

#[test]
fn only_the_password_of_a_url_is_masked() {
    let needles = needles(&[
        b"postgres://app:s3cr%2Fet-Pa55@db.example.org:5432/prod\n".to_vec(),
        b"amqp://guest:p@ss:w0rd!@mq:5672/".to_vec(),
        b"https://user-without-password@example.org/".to_vec(),
        b"jdbc:mysql://root:Hs72kLmQ9z@db.example/app".to_vec(),
        b"https://example.org/?at=a:b@c".to_vec(),
    ]);

    assert_eq!(masked(&needles, b"{'password': 's3cr/et-Pa55'}"), "{'password': '<t0>'}");
    assert_eq!(masked(&needles, b"PGPASSWORD=s3cr%2Fet-Pa55 psql"), "PGPASSWORD=<t0> psql");
    assert_eq!(masked(&needles, b"db.example.org:5432 app prod"), "db.example.org:5432 app prod");
    assert_eq!(masked(&needles, b"password p@ss:w0rd!"), "password <t1>");
    assert_eq!(masked(&needles, b"password=Hs72kLmQ9z"), "password=<t3>");
    assert_eq!(masked(&needles, b"user-without-password, guest"), "user-without-password, guest");

    let out = masked_in(&needles, &[b"s3cr/et-Pa55"]);
    assert_eq!(out.regions[0].3, Form::Password);
}
