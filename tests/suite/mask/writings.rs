//! Values are masked however a program escapes, wraps or colours them.

use terminal_secrets::mask::{Form, Masker};

use super::{Out, masked, masked_in, needles};

/// Forms of a value that has a special character for every encoder. Each was printed by the named
/// program.
const WRITINGS: [(&str, Form, &str); 30] = [
    (
        ".NET's System.Text.Json",
        Form::Escaped,
        r"p@ss w0rd/\u002B=\u0026\u0022\u0027\u003C\u003E\\$#{}%~!\u00E9\uD83D\uDE00end\u0060;",
    ),
    ("Gson", Form::Escaped, r#"p@ss w0rd/+\u003d\u0026\"\u0027\u003c\u003e\\$#{}%~!é😀end`;"#),
    (
        "PHP with all JSON_HEX_…",
        Form::Escaped,
        r"p@ss w0rd\/+=\u0026\u0022\u0027\u003C\u003E\\$#{}%~!\u00e9\ud83d\ude00end`;",
    ),
    ("Python's json", Form::Escaped, r#"p@ss w0rd/+=&\"'<>\\$#{}%~!\u00e9\ud83d\ude00end`;"#),
    ("JSON in JSON", Form::Escaped, r#"p@ss w0rd/+=&\\\"'<>\\\\$#{}%~!é😀end`;"#),
    (
        "Python's JSON in JSON",
        Form::Escaped,
        r#"p@ss w0rd/+=&\\\"'<>\\\\$#{}%~!\\u00e9\\ud83d\\ude00end`;"#,
    ),
    ("declare -p", Form::Escaped, r#"p@ss w0rd/+=&\"'<>\\\$#{}%~!é😀end\`;"#),
    ("printf %q", Form::Escaped, r#"p@ss\ w0rd/+=\&\"\'\<\>\\\$#\{\}%~\!é😀end\`\;"#),
    (
        "printf %q in the locale C",
        Form::Escaped,
        r#"p@ss w0rd/+=&"\'<>\\$#{}%~!\303\251\360\237\230\200end`;"#,
    ),
    ("fish", Form::Escaped, r#"p@ss w0rd/+=&"\'<>\\$#{}%~!é😀end`;"#),
    (
        "Python's repr of bytes",
        Form::Escaped,
        r#"p@ss w0rd/+=&"\'<>\\$#{}%~!\xc3\xa9\xf0\x9f\x98\x80end`;"#,
    ),
    (
        "Java's Properties",
        Form::Escaped,
        r#"p@ss\ w0rd/+\=&"'<>\\$\#{}%~\!\u00E9\uD83D\uDE00end`;"#,
    ),
    ("JavaScript", Form::Escaped, r#"p@ss w0rd/+=&"'<>\\$#{}%~!\u{e9}\u{1F600}end`;"#),
    ("single quotes", Form::Shell, r#"p@ss w0rd/+=&"'\''<>\$#{}%~!é😀end`;"#),
    ("make", Form::Shell, r#"p@ss w0rd/+=&"'<>\$$#{}%~!é😀end`;"#),
    ("SQL and YAML", Form::Quoted, r#"p@ss w0rd/+=&"''<>\$#{}%~!é😀end`;"#),
    ("CSV", Form::Quoted, r#"p@ss w0rd/+=&""'<>\$#{}%~!é😀end`;"#),
    ("quotes escaped alone", Form::Quoted, r#"p@ss w0rd/+=&\"'<>\$#{}%~!é😀end`;"#),
    (
        "Go's url.UserPassword",
        Form::Url,
        "p%40ss%20w0rd%2F+=&%22%27%3C%3E%5C$%23%7B%7D%25~%21%C3%A9%F0%9F%98%80end%60;",
    ),
    (
        "WHATWG user info",
        Form::Url,
        "p%40ss%20w0rd%2F+%3D&%22'%3C%3E%5C$%23%7B%7D%25~!%C3%A9%F0%9F%98%80end%60%3B",
    ),
    ("encodeURI", Form::Url, "p@ss%20w0rd/+=&%22'%3C%3E%5C$#%7B%7D%25~!%C3%A9%F0%9F%98%80end%60;"),
    (
        ".NET's UrlEncode",
        Form::Url,
        "p%40ss+w0rd%2f%2b%3d%26%22%27%3c%3e%5c%24%23%7b%7d%25%7e!%c3%a9%f0%9f%98%80end%60%3b",
    ),
    (
        "percent twice",
        Form::Url,
        "p%2540ss%2520w0rd%252F%252B%253D%2526%2522%2527%253C%253E%255C%2524%2523%257B%257D%2525~%2521%25C3%25A9%25F0%259F%2598%2580end%2560%253B",
    ),
    ("Python's html.escape", Form::Xml, "p@ss w0rd/+=&amp;&quot;&#x27;&lt;&gt;\\$#{}%~!é😀end`;"),
    ("Go's html/template", Form::Xml, "p@ss w0rd/&#43;=&amp;&#34;&#39;&lt;&gt;\\$#{}%~!é😀end`;"),
    (
        ".NET's HtmlEncoder",
        Form::Xml,
        "p@ss w0rd/&#x2B;=&amp;&quot;&#x27;&lt;&gt;\\$#{}%~!&#xE9;&#x1F600;end&#x60;;",
    ),
    ("xmlcharrefreplace", Form::Xml, "p@ss w0rd/+=&amp;\"'&lt;&gt;\\$#{}%~!&#233;&#128512;end`;"),
    ("PHP", Form::Xml, "p@ss w0rd/+=&amp;&quot;&#039;&lt;&gt;\\$#{}%~!é😀end`;"),
    ("JSON in HTML", Form::Escaped, "p@ss w0rd/+=&amp;\\&quot;&#x27;&lt;&gt;\\\\$#{}%~!é😀end`;"),
    ("base32", Form::Base32, "OBAHG4ZAO4YHEZBPFM6SMIRHHQ7FYJBDPN6SK7RBYOU7BH4YQBSW4ZDAHM"),
];

#[test]
fn forms_that_programs_write_are_masked_at_every_split() {
    let needles = needles(&["p@ss w0rd/+=&\"'<>\\$#{}%~!é😀end`;".into()]);
    for (program, form, text) in WRITINGS {
        let stream = [b"before (", text.as_bytes(), b") after\n"].concat();
        for split in 0..=stream.len() {
            let out = masked_in(&needles, &[&stream[..split], &stream[split..]]);
            let shown = String::from_utf8_lossy(&out.text);
            assert_eq!(shown, "before (<t0>) after\n", "{program} at {split}");
            assert_eq!(out.regions[0].3, form, "{program}");
        }

        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(
            String::from_utf8_lossy(&masked_in(&needles, &bytes).text),
            "before (<t0>) after\n",
            "{program}"
        );
    }
}

#[test]
fn a_value_that_is_escaped_twice_is_masked() {
    let needles = needles(&["p@ss w0rd/+=&\"'<>\\$#{}%~!é😀end`;".into()]);
    let inner = [".NET's System.Text.Json", "Gson", "Python's json"];
    let mut texts: Vec<String> = WRITINGS
        .iter()
        .filter(|(program, ..)| inner.contains(program))
        .map(|(.., text)| (*text).to_owned())
        .collect();

    assert_eq!(texts.len(), inner.len());

    // Go; PHP without options, and with JSON_UNESCAPED_UNICODE.
    texts.push(r#"p@ss w0rd/+=\u0026\"'\u003c\u003e\\$#{}%~!é😀end`;"#.into());
    texts.push(r#"p@ss w0rd\/+=&\"'<>\\$#{}%~!\u00e9\ud83d\ude00end`;"#.into());
    texts.push(r#"p@ss w0rd\/+=&\"'<>\\$#{}%~!é😀end`;"#.into());

    // Python's quote and JavaScript's encodeURIComponent.
    texts.push(
        "p%40ss%20w0rd%2F%2B%3D%26%22%27%3C%3E%5C%24%23%7B%7D%25~%21%C3%A9%F0%9F%98%80end%60%3B"
            .into(),
    );

    texts.push(
        "p%40ss%20w0rd%2F%2B%3D%26%22'%3C%3E%5C%24%23%7B%7D%25~!%C3%A9%F0%9F%98%80end%60%3B".into(),
    );

    for text in texts {
        let json = text.replace('\\', r"\\").replace('"', r#"\""#);
        let percent: String = text
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect();

        for outer in [json, percent] {
            assert_eq!(masked(&needles, format!("({outer})").as_bytes()), "(<t0>)", "{outer}");
        }
    }

    assert_eq!(masked(&needles, "(p@ss w0rd/+=&\"'<>\\$#{}%%~!é😀end`;)".as_bytes()), "(<t0>)");
}

#[test]
fn text_after_a_value_is_kept_if_another_reading_ended_it() {
    let needles = needles(&[b"q<Zr7pLm&".to_vec(), b"amzing12".to_vec(), b"Zr7pLm%4".to_vec()]);
    for (text, expected) in [
        ("A q&lt;Zr7pLm&amzing B\n", "A <t0>amzing B\n"),
        ("A q&lt;Zr7pLm&#1234567zing B\n", "A <t0>#1234567zing B\n"),
        ("A q&lt;Zr7pLm&amzing12 B\n", "A <t0><t1> B\n"),
        ("A q&lt;Zr7pLm&amp; B\n", "A <t0> B\n"),
        ("A q%3CZr7pLm%4zing B\n", "A q%3C<t2>zing B\n"),
        ("A q%3CZr7pLm%26zing B\n", "A <t0>zing B\n"),
    ] {
        let text = text.as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                let shown = masked_in(&needles, &pieces).text;
                assert_eq!(String::from_utf8_lossy(&shown), expected, "{first} {second}");
            }
        }
    }
}

#[test]
fn colours_inside_a_value_do_not_prevent_masking() {
    let needles = needles(&[b"sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6".to_vec()]);
    let cases = [
        ("sk_live_\x1b[01;31m\x1b[K9fQ2\x1b[m\x1b[KmZx7Lk4Vt8Rb1Nw6.", "<t0>.", true),
        ("\x1b[31msk_\x1b[0;1mlive_9fQ2mZx7Lk4Vt8Rb1Nw6\x1b[0m.", "\x1b[31m<t0>\x1b[0m.", false),
        ("s\x1b(B\x1b[mk_live_9fQ2mZx7Lk4Vt8Rb1Nw6.", "<t0>.", true),
    ];

    for (text, expected, resets) in cases {
        for split in 0..text.len() {
            let out = masked_in(&needles, &[&text.as_bytes()[..split], &text.as_bytes()[split..]]);
            assert_eq!(String::from_utf8_lossy(&out.text), expected, "{split}");
            assert_eq!(out.resets, [resets]);
        }
    }

    let every: String =
        "sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6".chars().map(|c| format!("\x1b[38;5;17m{c}")).collect();
    assert_eq!(masked(&needles, every.as_bytes()), "\x1b[38;5;17m<t0>");

    // A coloured prompt is shown, and is not cut inside a sequence.
    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    let Ok(()) = masker.push(b"\x1b[1msk_liv\x1b[0m\x1b[", &mut out);
    let Ok(()) = masker.pause(&mut out);
    assert_eq!(out.text, b"\x1b[1msk_liv\x1b[0m\x1b[");
    for piece in [&b"Ke_"[..], b"9", b"fQ"] {
        let Ok(()) = masker.push(piece, &mut out);
        let Ok(()) = masker.pause(&mut out);
    }

    assert_eq!(String::from_utf8_lossy(&out.text), "\x1b[1msk_liv\x1b[0m\x1b[Ke");
    let Ok(()) = masker.push(b"2mZx7Lk4Vt8Rb1Nw6!", &mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "\x1b[1msk_liv\x1b[0m\x1b[Ke<t0>!");
}
