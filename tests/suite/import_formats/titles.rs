//! Titles become tags, a prefix goes before them, and labels and values are limited.

use terminal_secrets::import::{Format, ImportOptions, Why, read};
use terminal_secrets::model::Name;

use super::{SAMPLES, error_at, refused, sample, taken};

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
            error_at(None, Why::Prefix),
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
        assert_eq!(error, error_at(Some(at), Why::TooLarge(label.into())));
        assert_eq!(error.to_string(), format!("the value of `{label}` is larger than 1 MiB"));
    }
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
