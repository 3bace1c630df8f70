//! `secrets create`: the sources of a value, what is refused, and what is printed.

use terminal_secrets::model::{SecretValue, Tag};

use crate::support::values::revealed;
use crate::support::{Sandbox, project};

const MIB: usize = SecretValue::MAX;

/// Returns true if a byte belongs to an alphabet.
type Belongs = fn(u8) -> bool;

const EMPTY: &str =
    "error: the value is empty; nothing was stored\nhint: use `--allow-empty` to store it anyway\n";

fn is_stored(sandbox: &Sandbox, tag: &str) -> bool {
    sandbox.vault().find(&project("default"), &Tag::parse(tag).unwrap()).unwrap().is_some()
}

#[test]
fn create_reports_the_tag_the_project_and_the_hint() {
    let sandbox = Sandbox::new();
    let run = sandbox
        .command(["create", "--tag", "api-key"])
        .stdin("abcdefghijklmnopqrstuvwxyz012345\n")
        .run();

    stderr!(run.succeeds().stdout(""), @"created `api-key` in project `default`, hint abcd…2345");
    let run = sandbox.command(["create", "-t", "pin", "-p", "web"]).stdin("1234").run();
    stderr!(run.succeeds().stdout(""), @"created `pin` in project `web`, hint ••••");
    sandbox
        .command(["create", "-t", "quiet", "-q"])
        .stdin("1234")
        .run()
        .succeeds()
        .stdout("")
        .stderr("");
}

#[test]
fn create_drops_one_newline_of_stdin() {
    let sandbox = Sandbox::new();
    for (number, (typed, stored)) in [
        ("a", "a"),
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        ("a\r\n\r\n", "a\r\n"),
        ("a\r", "a\r"),
        ("a\n\r", "a\n\r"),
        (" a ", " a "),
        ("a\nb\n", "a\nb"),
    ]
    .into_iter()
    .enumerate()
    {
        let tag = format!("t{number}");
        sandbox.command(["create", "--tag", &tag, "-q"]).stdin(typed).run().succeeds();
        assert_eq!(revealed(&sandbox, &tag), stored.as_bytes(), "{typed:?}");
    }
}

#[test]
fn create_keeps_every_byte_with_exact() {
    let sandbox = Sandbox::new();
    for (number, bytes) in ["a\n", "a\r\n", "\n"].into_iter().enumerate() {
        let tag = format!("t{number}");
        sandbox.command(["create", "--tag", &tag, "--exact", "-q"]).stdin(bytes).run().succeeds();
        assert_eq!(revealed(&sandbox, &tag), bytes.as_bytes());
    }
}

#[test]
fn create_takes_a_file_byte_for_byte() {
    let sandbox = Sandbox::new();
    let every_byte: Vec<u8> = (0..=255).chain(*b"\r\n\n").collect();
    for (number, bytes) in
        [&every_byte[..], b"\n", b"a\r\n", b"\xef\xbb\xbfbom"].into_iter().enumerate()
    {
        let tag = format!("t{number}");
        sandbox.write("value", bytes);
        sandbox.run(["create", "--tag", &tag, "--value-file", "value", "-q", "--exact"]).succeeds();
        assert_eq!(revealed(&sandbox, &tag), bytes);
    }
}

#[test]
fn create_with_value_file_dash_is_stdin() {
    let sandbox = Sandbox::new();
    let run =
        sandbox.command(["create", "--tag", "key", "--value-file", "-", "-q"]).stdin("a\n").run();
    run.succeeds();
    assert_eq!(revealed(&sandbox, "key"), b"a");
}

#[test]
fn create_reads_a_fifo() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let writer = std::thread::spawn(move || std::fs::write(fifo, "from a pipe\n").unwrap());

    sandbox.run(["create", "--tag", "key", "--value-file", "fifo", "-q", "--exact"]).succeeds();
    writer.join().unwrap();
    assert_eq!(revealed(&sandbox, "key"), b"from a pipe\n");
}

#[test]
fn create_with_an_empty_stdin_stores_nothing() {
    let sandbox = Sandbox::new();
    for nothing in ["", "\n", "\r\n"] {
        sandbox
            .command(["create", "--tag", "key"])
            .stdin(nothing)
            .run()
            .fails_with(2)
            .stdout("")
            .stderr(EMPTY);
    }

    sandbox.write("empty", "");
    let run = sandbox.run(["create", "--tag", "key", "--value-file", "empty"]);
    run.fails_with(2).stdout("").stderr(EMPTY);
    assert!(!is_stored(&sandbox, "key"));
    sandbox.run(["create", "--tag", "key", "--allow-empty", "-q"]).succeeds();
    assert_eq!(revealed(&sandbox, "key"), b"");
}

#[test]
fn create_takes_a_mebibyte_and_no_byte_more() {
    let sandbox = Sandbox::new();
    let (fits, too_much) = (vec![b'x'; MIB], vec![b'x'; MIB + 1]);
    let too_large = "error: the value is larger than 1 MiB; nothing was stored\nhint: use a value \
                     of at most 1,048,576 bytes\n";

    sandbox.command(["create", "--tag", "a", "-q"]).stdin(&fits).run().succeeds();
    sandbox
        .command(["create", "--tag", "b", "-q"])
        .stdin([&fits[..], b"\r\n"].concat())
        .run()
        .succeeds();

    assert_eq!(revealed(&sandbox, "b").len(), MIB);
    sandbox.write("fits", &fits);
    sandbox.run(["create", "--tag", "c", "--value-file", "fits", "-q"]).succeeds();
    sandbox.write("too-much", &too_much);

    let run = sandbox.run(["create", "--tag", "d", "--value-file", "too-much"]);
    run.fails_with(2).stdout("").stderr(too_large);
    for (arguments, bytes) in [
        (&["create", "--tag", "d"][..], too_much.clone()),
        (&["create", "--tag", "d", "--exact"], [&fits[..], b"\n"].concat()),
        // Input that is far too large is not read to its end.
        (&["create", "--tag", "d"], vec![b'x'; 4 * MIB]),
    ] {
        sandbox.command(arguments).stdin(bytes).run().fails_with(2).stdout("").stderr(too_large);
    }

    assert!(!is_stored(&sandbox, "d"));
}

#[test]
fn create_generates_32_letters_and_digits() {
    let sandbox = Sandbox::new();
    sandbox.run(["create", "--tag", "key", "--generate", "-q"]).succeeds();
    let value = revealed(&sandbox, "key");
    assert!(value.len() == 32 && value.iter().all(u8::is_ascii_alphanumeric), "{value:?}");
}

#[test]
fn create_generates_every_character_of_each_alphabet() {
    let sandbox = Sandbox::new();
    let sets: [(&str, usize, Belongs); 4] = [
        ("alnum", 62, |b| b.is_ascii_alphanumeric()),
        ("hex", 16, |b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        ("base64url", 64, |b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
        ("ascii", 94, |b| b.is_ascii_graphic()),
    ];

    for (alphabet, size, belongs) in sets {
        let tag = format!("t-{alphabet}");
        let line = [
            "create",
            "--tag",
            &tag,
            "--generate",
            "--length",
            "1024",
            "--alphabet",
            alphabet,
            "-q",
        ];

        sandbox.run(line).succeeds();
        let mut value = revealed(&sandbox, &tag);
        assert!(value.len() == 1024 && value.iter().all(|b| belongs(*b)), "{alphabet}");
        value.sort_unstable();
        value.dedup();

        // 1,024 draws from 94 characters miss any of them once in about 600 times. Two missing
        // characters mean a broken generator.
        assert!(value.len() + 2 >= size, "{alphabet}: {}", value.len());
    }
}

#[test]
fn create_generates_4_to_1024_characters() {
    let sandbox = Sandbox::new();
    sandbox.run(["create", "--tag", "key", "--generate", "--length", "4", "-q"]).succeeds();
    assert_eq!(revealed(&sandbox, "key").len(), 4);
    for bad in ["3", "0", "1025", "-1", "8.5", "many", ""] {
        let run = sandbox.run(["create", "--tag", "other", "--generate", "--length", bad]);
        run.fails_with(2).stdout("").stderr_has("error: ");
    }

    assert!(!is_stored(&sandbox, "other"));
}

#[test]
fn words_pins_uuids_and_patterns_are_generated() {
    let sandbox = Sandbox::new();
    let generated = |options: &[&str]| {
        let update = if is_stored(&sandbox, "key") { "update" } else { "create" };
        sandbox.run([&[update, "key", "-q"], options].concat()).succeeds();
        String::from_utf8(revealed(&sandbox, "key")).unwrap()
    };

    // Some of the words have a hyphen themselves.
    let words = generated(&["--words", "6"]);
    assert!(words.split('-').count() >= 6 && words.len() >= 23, "{words}");
    let is_pin =
        |text: &str, length| text.len() == length && text.bytes().all(|c| c.is_ascii_digit());
    assert!(is_pin(&generated(&["--pin"]), 6));
    assert!(is_pin(&generated(&["--pin", "--length", "4"]), 4));
    let uuid = generated(&["--uuid"]);
    assert!(uuid.len() == 36 && uuid.as_bytes()[14] == b'4', "{uuid}");
    let key = generated(&["--pattern", r"sk_test_\*AAAA-9999"]);
    assert!(key.starts_with("sk_test_*") && is_pin(&key[key.len() - 4..], 4), "{key}");

    for (options, why) in [
        (&["--words", "2"][..], "in the range 3 to 64"),
        (&["--pattern", "abc"], "at least 4 characters"),
        (&["--pin", "--words", "6"], "cannot be used with"),
        (&["--uuid", "--length", "9"], "cannot be used with"),
        (&["--pin", "--value-file", "x"], "cannot be used with"),
        (&["--length", "9"], "`--length` needs `--generate` or `--pin`"),
    ] {
        let run = sandbox.run([&["create", "other"], options].concat());
        run.fails_with(2).stdout("").stderr_has(why);
    }

    assert!(!is_stored(&sandbox, "other"));
}

#[test]
fn create_takes_only_one_source() {
    let sandbox = Sandbox::new();
    sandbox.write("value", "x");
    let run = sandbox.run(["create", "--tag", "key", "--generate", "--value-file", "value"]);
    stderr!(run.fails_with(2), @"
    error: `--generate` cannot be used with `--value-file <PATH>`
    hint: usage: secrets create [OPTIONS] [TAG]
    ");

    let run = sandbox.run(["create", "--tag", "key", "--alphabet", "hex"]);
    stderr!(run.fails_with(2), @"
    error: `--generate` is missing
    hint: usage: secrets create [OPTIONS] [TAG]
    ");

    assert!(!is_stored(&sandbox, "key"));
}

#[test]
fn create_with_another_spelling_is_a_conflict_that_names_the_first() {
    let sandbox = Sandbox::with_secrets(&[("my-secret", "first")]);
    for spelling in ["my-secret", "my_secret", "MY_SECRET", "My-secreT"] {
        stderr!(sandbox.command(["create", "--tag", spelling]).stdin("second").run().fails_with(4).stdout(""), @"
        error: secret `my-secret` already exists in project `default`
        hint: change its value with `secrets update my-secret`
        ");
    }

    assert_eq!(revealed(&sandbox, "my-secret"), b"first");

    // The same tag in another project is not a conflict.
    let run = sandbox.command(["create", "--tag", "MY_SECRET", "-p", "web"]).stdin("second").run();
    stderr!(run.succeeds(), @"created `MY_SECRET` in project `web`, hint ••••");
}

#[test]
fn create_refuses_an_invalid_tag() {
    let sandbox = Sandbox::new();
    let longest = "a".repeat(128);
    sandbox.command(["create", "--tag", &longest, "-q"]).stdin("x").run().succeeds();
    let too_long = "a".repeat(129);

    for (tag, why) in [
        ("a b", "only ASCII letters, digits, `_` and `-` are allowed"),
        ("é", "only ASCII letters, digits, `_` and `-` are allowed"),
        ("a.b", "only ASCII letters, digits, `_` and `-` are allowed"),
        ("__", "it has no letters or digits"),
        ("se0123456789abcdef", "it has the shape of an id (`se` and 16 hex digits)"),
        ("SE0123456789ABCDEF", "it has the shape of an id (`se` and 16 hex digits)"),
        (&too_long, "it has 129 characters; the maximum is 128"),
        ("", "it is empty"),
    ] {
        let run = sandbox.command(["create".to_owned(), format!("--tag={tag}")]).stdin("x").run();
        run.fails_with(2).stdout("").stderr_has(&format!("error: invalid `--tag <TAG>`: {why}\n"));
    }

    let run = sandbox.command(["create", "--tag=-a"]).stdin("x").run();
    stderr!(run.fails_with(2), @"
    error: invalid `--tag <TAG>`: it begins with `-`
    hint: see `secrets help` or `secrets COMMAND --help`
    ");
}

#[test]
fn create_needs_a_tag() {
    let run = Sandbox::new().command(["create"]).stdin("x").run();
    stderr!(run.fails_with(2).stdout(""), @"
    error: `TAG` is missing
    hint: usage: secrets create TAG
    ");
}

#[test]
fn create_limits_name_and_description() {
    let sandbox = Sandbox::new();
    let (name, description) = ("é".repeat(256), "a\n\té".repeat(1024));
    let line = ["create", "--tag", "key", "--name", &name, "--description", &description, "-q"];
    sandbox.command(line).stdin("x").run().succeeds();

    let secret = sandbox.run(["get", "key", "--json"]).succeeds().json();
    assert_eq!(
        (secret["name"].as_str(), secret["description"].as_str()),
        (Some(&*name), Some(&*description))
    );

    for (option, text, why) in [
        ("--name", "a\tb".to_owned(), "it contains a control character"),
        ("--name", "a\u{9b}b".to_owned(), "it contains a control character"),
        ("--name", "x".repeat(257), "it has 257 characters; the maximum is 256"),
        (
            "--description",
            "a\u{1b}b".to_owned(),
            "it contains a control character other than newline and tab",
        ),
        ("--description", "x".repeat(4097), "it has 4097 characters; the maximum is 4096"),
    ] {
        let run = sandbox.command(["create", "--tag", "other", option, &text]).stdin("x").run();
        run.fails_with(2).stdout("").stderr_has(&format!("error: invalid `{option}`: {why}\n"));
    }

    assert!(!is_stored(&sandbox, "other"));

    // An empty text counts as none.
    sandbox
        .command(["create", "--tag", "bare", "--name", "", "--description", "", "-q"])
        .stdin("x")
        .run()
        .succeeds();

    let bare = sandbox.run(["get", "bare", "--json"]).succeeds().json();
    assert!(bare.get("name").is_none() && bare.get("description").is_none());
}

#[test]
fn create_names_an_unreadable_file() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(["create", "--tag", "key", "--value-file", "nowhere"]);
    stderr!(run.fails_with(1).stdout(""), @"error: cannot read `nowhere`: No such file or directory");
    let run = sandbox.run(["create", "--tag", "key", "--value-file", "."]);

    stderr!(run.fails_with(1).stdout(""), @"error: cannot read `.`: is a directory");
    assert!(!is_stored(&sandbox, "key"));
}

#[test]
fn create_without_a_terminal_does_not_offer_to_create_a_vault() {
    let sandbox = Sandbox::empty();
    let run = sandbox.command(["create", "--tag", "key"]).stdin("x").run();
    let path = sandbox.vault_path();
    run.fails_with(3).stdout("").stderr(&format!(
        "error: no vault at `{}`\nhint: create one with `secrets init`, or \
                          restore a backup with `secrets restore PATH`\n",
        path.display()
    ));

    assert!(!path.exists());
}

#[test]
fn create_shows_the_hint_of_a_whole_key_file() {
    let sandbox = Sandbox::new();
    let pem = "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n";
    sandbox.write("key.pem", pem);
    let run = sandbox.run(["create", "--tag", "key", "--value-file", "key.pem"]);

    stderr!(run.succeeds(), @"created `key` in project `default`, hint ----…---·");
    for (tag, value, hint) in [("a", "123456789012345", "••••"), ("b", "1234567890123456", "12…56")]
    {
        let run = sandbox.command(["create", "--tag", tag]).stdin(value).run();
        run.succeeds().stderr(&format!("created `{tag}` in project `default`, hint {hint}\n"));
    }

    stderr!(sandbox.command(["create", "--tag", "c"]).stdin([0xff; 40]).run().succeeds(), @"created `c` in project `default`, hint ••••");
}

#[test]
fn a_newline_at_the_end_of_a_file_s_only_line_is_a_warning() {
    let sandbox = Sandbox::new();
    let create = |tag: &str, content: &str, more: &[&str]| {
        let path = sandbox.write("value", content);
        let line = ["create", tag, "-q", "--value-file", path.to_str().unwrap()];
        sandbox.run(line.iter().chain(more)).succeeds()
    };

    let warning = "warning: the value ends with the newline of the file; use `secrets create TAG < \
                   FILE` to drop it, or `--exact` to store it without this warning\n";
    create("one", "key\n", &[]).stderr(warning);
    create("exact", "key\n", &["--exact"]).stderr("");
    create("bare", "key", &[]).stderr("");
    create("pem", "-----BEGIN\nabc\n-----END\n", &[]).stderr("");
    sandbox.run(["render", "-e", "[{{ secrets.one }}]"]).succeeds().stdout("[key\n]");
}

#[test]
fn a_generated_value_leaves_stdin_alone() {
    let sandbox = Sandbox::new();
    let run = sandbox.command(["create", "key", "--generate", "-q"]).stdin("value\n").run();

    // The pipe may or may not have data by then. A file always has.
    let (code, _, stderr) = run.everything();
    let warning = "warning: stdin was not read: the value is generated\n";
    assert!(code == Some(0) && ["", warning].contains(&stderr.as_str()), "{stderr}");

    let input = std::fs::File::open(sandbox.write("input", "value\n")).unwrap();
    let mut command = sandbox.command(["update", "key", "--generate", "-q"]).command;
    let output = command.stdin(input).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), warning);
    sandbox.run(["create", "other", "--generate", "-q"]).succeeds().stderr("");
}
