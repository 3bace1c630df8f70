//! `secrets export --encrypted`, and `import` of its files: no lock-in, and nothing is lost on the
//! way.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use age::secrecy::ExposeSecret;
use serde_json::{Value, json};
use terminal_secrets::crypto::age_file::{Recipient, To};
use terminal_secrets::export::ExportWriter;
use terminal_secrets::model::{Description, Name, ProjectName, SecretBytes, Tag};
use terminal_secrets::template::ExpandError;
use terminal_secrets::template::output::Output;
use terminal_secrets::vault::NewSecret;

use crate::support::files::{passphrase_file, root, write_private};
use crate::support::programs::environment;
use crate::support::terminal::Terminal;
use crate::support::values::reveal;
use crate::support::{PASSPHRASE, Sandbox, project, secret, value};

const MARKER: &str = "mRk7vQz2TgXe8NbHc4YdUf6PjAo1KiSx5WlVr3ZtBnGqEhCy0MaDuFpJ9wLs";

/// Creates an age key. Returns the recipient and writes an identity file.
fn key(sandbox: &Sandbox, name: &str) -> String {
    let identity = age::x25519::Identity::generate();
    let text = format!("# a key\n{}\n", identity.to_string().expose_secret());
    write_private(&sandbox.path(name), text);
    identity.to_public().to_string()
}

/// Creates an age file without the program.
fn sealed(to: &str, content: &[u8]) -> Vec<u8> {
    let to: age::x25519::Recipient = to.parse().unwrap();
    age::encrypt(&to, content).unwrap()
}

/// Returns the content of an age file.
fn opened(sandbox: &Sandbox, file: &str, identity: &str) -> Vec<u8> {
    let text = String::from_utf8(sandbox.read(identity)).unwrap();
    let identity: age::x25519::Identity = text.lines().nth(1).unwrap().parse().unwrap();
    let file = sandbox.read(file);
    let decryptor = age::Decryptor::new(age::armor::ArmoredReader::new(&file[..])).unwrap();
    let mut all = Vec::new();

    decryptor.decrypt(std::iter::once(&identity as _)).unwrap().read_to_end(&mut all).unwrap();
    all
}

/// Returns values of every kind.
fn values() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("plain", b"hunter2".to_vec()),
        ("empty", Vec::new()),
        ("lines", b"-----BEGIN KEY-----\nabc\r\n\tdef\n-----END KEY-----\n".to_vec()),
        ("odd-text", "q\"b\\s/\u{0}\u{1}\u{7f}\u{2028}é🔑\u{202e}\u{feff}".as_bytes().to_vec()),
        ("all-bytes", (0..=255).collect()),
        ("not-utf8", vec![0xff; 4097]),
        (
            "largest",
            (0..1024 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect(),
        ),
        ("LARGEST_TEXT", "\"é\\".repeat(262_144).into_bytes()),
        ("json", br#"{"format":"secrets-export"}"#.to_vec()),
    ]
}

fn with_values() -> Sandbox {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for (number, (tag, bytes)) in values().into_iter().enumerate() {
        let new = NewSecret {
            tag: Tag::parse(tag).unwrap(),
            name: Name::parse(&format!("Näme \"{number}\" \u{202e}")).unwrap(),
            description: Description::parse(if number % 2 == 0 { "" } else { "a\n\tb \\ é" })
                .unwrap(),
            value: value(&bytes),
        };

        vault.create(&project(["web", "web.api", "1"][number % 3]), new).unwrap();
    }

    sandbox
}

/// Returns the metadata of all secrets, without their ids.
fn listed(sandbox: &Sandbox) -> Value {
    let mut list = sandbox.run(["list", "--all-projects", "--all", "--json"]).succeeds().json();
    for secret in list["secrets"].as_array_mut().unwrap() {
        secret.as_object_mut().unwrap().remove("id");
    }

    list["secrets"].take()
}

fn assert_values(sandbox: &Sandbox) {
    for (number, (tag, bytes)) in values().into_iter().enumerate() {
        let found =
            reveal(&sandbox.vault(), ["web", "web.api", "1"][number % 3], tag).unwrap().unwrap();
        assert!(found == bytes, "{tag}");
    }
}

/// Copies a file from one sandbox to another.
fn carry(from: &Sandbox, to: &Sandbox, names: &[&str]) {
    for name in names {
        write_private(&to.path(name), from.read(name));
    }
}

#[test]
fn an_export_round_trips() {
    let from = with_values();
    let to = key(&from, "key");
    for armor in [&[][..], &["--armor"]] {
        let line = [
            "export",
            "--encrypted",
            "all.age",
            "--all-projects",
            "-r",
            &to,
            "--json",
            "--replace",
        ];

        let done = from.run([&line[..], armor].concat()).succeeds().stderr("").json();
        assert_eq!(done, json!({ "file": "all.age", "projects": 3, "secrets": 9 }));
        let mode = std::fs::metadata(from.path("all.age")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(from.read("all.age").starts_with(b"-----BEGIN AGE"), !armor.is_empty());

        let other = Sandbox::new();
        carry(&from, &other, &["all.age", "key"]);
        stderr!(other.run(["import", "all.age", "-i", "key"]).succeeds(), @"imported into 3 projects: 9 created");
        assert_eq!(listed(&other), listed(&from));
        assert_values(&other);
        other.run(["verify"]).succeeds().stdout_has("").stderr_has("");

        // The second import changes nothing.
        stderr!(other.run(["import", "all.age", "-i", "key"]).succeeds(), @"imported into 3 projects: 9 unchanged");
    }
}

#[test]
fn the_document_matches_its_page() {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    let name = Name::parse("A \"name\"").unwrap();
    let new = NewSecret {
        tag: Tag::parse("Api-Key").unwrap(),
        name,
        description: None,
        value: value(b"a\nb"),
    };

    vault.create(&project("web"), new).unwrap();
    vault.create(&project("web"), secret("raw", &[0xff, 0])).unwrap();
    let to = key(&sandbox, "key");
    sandbox.run(["export", "--encrypted", "f", "-p", "web", "-r", &to, "-q"]).succeeds();

    let text = opened(&sandbox, "f", "key");
    let document: Value = serde_json::from_slice(&text).unwrap();
    let times = |at: usize, name: &str| document["projects"][0]["secrets"][at][name].clone();
    let expected = json!({ "format": "secrets-export", "version": 1, "projects": [{ "name": "web", "secrets": [
        { "tag": "Api-Key", "name": "A \"name\"", "value": "a\nb",
          "createdAt": times(0, "createdAt"), "updatedAt": times(0, "updatedAt") },
        { "tag": "raw", "valueBase64": "/wA=",
          "createdAt": times(1, "createdAt"), "updatedAt": times(1, "updatedAt") },
    ] }] });

    assert_eq!(document, expected);
    assert_eq!(listed(&sandbox)[0]["createdAt"], times(0, "createdAt"));

    // Each secret is on its own line.
    assert_eq!(text.split(|byte| *byte == b'\n').count(), 7);

    // The example on the page can be imported.
    let page = std::fs::read_to_string(root().join("docs/export.md")).unwrap();
    let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    sandbox.write("example", sealed(&to, example.as_bytes()));
    stderr!(sandbox.run(["import", "example", "-i", "key"]).succeeds(), @"imported into project `web`: 2 created");
}

#[test]
fn only_its_passphrase_opens_the_file() {
    let sandbox = Sandbox::with_secrets(&[("key", "old")]);
    write_private(&sandbox.path("pass"), "the export's own passphrase\n");
    write_private(&sandbox.path("wrong"), "another one\n");
    let line = ["export", "--encrypted", "f.age", "--export-passphrase-file", "pass"];
    let output = sandbox.run(line).succeeds();

    stderr!(output, @"
    exported 1 secret of 1 project to `f.age`
    the file was read back and decrypted, and is complete
    ");

    let run = sandbox.run(["import", "f.age", "--import-passphrase-file", "wrong"]);
    stderr!(run.fails_with(5).stdout(""), @"
    error: cannot open `f.age`: wrong passphrase
    hint: enter the passphrase of the file, not that of the vault
    ");

    let run = sandbox.run(["import", "f.age", "--import-passphrase-file", "pass"]);
    stderr!(run.succeeds(), @"imported into project `default`: 1 unchanged");
    key(&sandbox, "identity");
    let run = sandbox.run(["import", "f.age", "-i", "identity"]);

    stderr!(run.fails_with(5), @"
    error: cannot open `f.age`: it is encrypted with a passphrase, not to a key
    hint: remove `--identity` and enter the passphrase; nothing was stored
    ");
}

#[test]
fn without_a_terminal_a_passphrase_must_be_given() {
    let sandbox = Sandbox::with_secrets(&[("key", "old")]);
    stderr!(sandbox.run(["export", "--encrypted", "f.age"]).fails_with(5).stdout(""), @"
    error: no passphrase for the export was given and there is no terminal to ask on
    hint: use `--export-passphrase-file PATH`, or encrypt to a key with `--recipient age1…`
    ");

    assert!(!sandbox.path("f.age").exists());
    let header = format!(
        "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\n{}\n--- {}\n",
        "A".repeat(43),
        "A".repeat(43)
    );

    sandbox.write("f.age", header + &"x".repeat(99));
    stderr!(sandbox.run(["import", "f.age"]).fails_with(5), @"
    error: no passphrase for `f.age` was given and there is no terminal to ask on
    hint: use `--import-passphrase-file PATH`
    ");
}

#[test]
fn the_passphrase_is_asked_for_twice_and_hidden() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER)]);
    passphrase_file(&sandbox, "vault-pass", PASSPHRASE);
    let script = "\"$secrets\" --passphrase-file vault-pass export --encrypted f.age && \
                  \"$secrets\" --passphrase-file vault-pass import f.age";
    let mut terminal = Terminal::shell(&sandbox, script);

    terminal.waits_for("Passphrase for the export: ").types("one of some length\n");
    terminal
        .waits_for("Repeat passphrase: ")
        .types("another of some length\n")
        .waits_for("the passphrases differ, try again");

    terminal.waits_for("Passphrase for the export: ").types("one of some length\n");
    terminal
        .waits_for("Repeat passphrase: ")
        .types("one of some length\n")
        .waits_for("and is complete");

    terminal
        .waits_for("Passphrase for f.age: ")
        .types("not that one\n")
        .waits_for("wrong passphrase, try again");

    terminal
        .waits_for("Passphrase for f.age: ")
        .types("one of some length\n")
        .waits_for("1 unchanged");

    let screen = terminal.ends_with(0);
    assert!(!screen.contains("some length") && !screen.contains(&MARKER[..8]), "{screen}");
}

#[test]
fn an_import_stores_all_projects_or_none() {
    let from = Sandbox::new();
    for (name, tag) in [("a", "x"), ("a", "y"), ("b", "x"), ("c", "x")] {
        from.vault()
            .create(&project(name), secret(tag, format!("{name}/{tag}").as_bytes()))
            .unwrap();
    }

    let to = key(&from, "key");
    from.run(["export", "--encrypted", "f", "--all-projects", "-r", &to, "-q"]).succeeds();
    let other = Sandbox::new();
    carry(&from, &other, &["f", "key"]);
    for (name, tag, bytes) in [("b", "x", "mine"), ("c", "X", "mine"), ("a", "y", "a/y")] {
        other.vault().create(&project(name), secret(tag, bytes.as_bytes())).unwrap();
    }

    let before = listed(&other);
    let import = ["import", "f", "-i", "key"];
    stderr!(other.run(import).fails_with(4), @"
    error: 2 secrets with these tags already exist in their projects
      b/x
      c/X
    hint: the values differ; choose `--on-conflict skip` or `--on-conflict overwrite`; nothing was stored
    ");

    assert_eq!(listed(&other), before);
    other
        .run([&import[..], &["--dry-run", "--on-conflict", "overwrite"]].concat())
        .succeeds()
        .stdout("create     a/x -> a/x\nsame       a/y -> a/y\noverwrite  b/x -> b/x\noverwrite  c/x -> c/X\n");

    assert_eq!(listed(&other), before);
    let skipped = other.run([&import[..], &["--on-conflict", "skip"]].concat());
    stderr!(skipped.succeeds(), @"imported into 3 projects: 1 created, 2 skipped, 1 unchanged");
    assert_eq!(reveal(&other.vault(), "b", "x").unwrap().unwrap(), b"mine");

    // Skipped secrets prevent the removal of the source file.
    let run = other.run([&import[..], &["--on-conflict", "skip", "--delete-source"]].concat());
    stderr!(run.fails_with(4), @"
    imported into 3 projects: 2 skipped, 2 unchanged
    error: `f` was not removed: 2 values are not in the vault
    ");

    let run = other.run([&import[..], &["--on-conflict", "overwrite", "--delete-source"]].concat());
    stderr!(run.succeeds(), @"
    imported into 3 projects: 2 overwritten, 2 unchanged
    removed `f`
    ");

    assert!(!other.path("f").exists());
    for (name, tag) in [("a", "x"), ("a", "y"), ("b", "x"), ("c", "x")] {
        assert_eq!(
            reveal(&other.vault(), name, tag).unwrap().unwrap(),
            format!("{name}/{tag}").as_bytes()
        );
    }

    other.run(["verify"]).succeeds().stdout_has("").stderr_has("");
}

#[test]
fn several_new_projects_are_created_in_one_transaction() {
    let from = Sandbox::new();
    for number in 0..20 {
        from.vault().create(&project(&format!("p{number}")), secret("x", b"v")).unwrap();
    }

    let to = key(&from, "key");
    from.run(["export", "--encrypted", "f", "--all-projects", "-r", &to, "-q"]).succeeds();
    let other = Sandbox::new();
    carry(&from, &other, &["f", "key"]);

    let row = |sandbox: &Sandbox| -> i64 {
        let file = rusqlite::Connection::open(sandbox.vault_path()).unwrap();
        file.query_row("SELECT root_seq FROM vault", [], |row| row.get(0)).unwrap()
    };

    let before = row(&other);
    other.run(["import", "f", "-i", "key", "-q"]).succeeds();
    assert_eq!(row(&other), before + 1);
    assert_eq!(other.vault().projects().unwrap().len(), 20);
    other.run(["verify"]).succeeds().stdout_has("").stderr_has("");
}

#[test]
fn a_named_project_is_exported_alone() {
    let sandbox = Sandbox::new();
    sandbox.vault().create(&project("web"), secret("x", b"1")).unwrap();
    sandbox.vault().create(&project("api"), secret("x", b"2")).unwrap();
    let to = key(&sandbox, "key");

    sandbox.run(["export", "--encrypted", "one", "-p", "web", "-r", &to, "-q"]).succeeds();
    sandbox.run(["export", "--encrypted", "two", "--all-projects", "-r", &to, "-q"]).succeeds();
    let run =
        sandbox.run(["import", "one", "-i", "key", "-p", "copy", "--prefix", "old-", "--json"]);
    let done = run.succeeds().json();

    assert_eq!(
        (&done["secrets"][0]["tag"], &done["secrets"][0]["project"]),
        (&json!("old-x"), &json!("copy"))
    );

    assert_eq!(reveal(&sandbox.vault(), "copy", "old-x").unwrap().unwrap(), b"1");
    stderr!(sandbox.run(["import", "two", "-i", "key", "-p", "copy"]).fails_with(2), @"
    error: `two` contains 2 projects, which cannot be imported into one project
    hint: remove `--project` to import each project under its own name
    ");

    // The project from the environment does not apply to this file.
    let run = sandbox.command(["import", "one", "-i", "key"]).env("SECRETS_PROJECT", "env").run();
    stderr!(run.succeeds(), @"imported into project `web`: 1 unchanged");
    let output =
        sandbox.run(["export", "--encrypted", "none", "-p", "nope", "-r", &to]).fails_with(3);
    stderr!(output, @"
    error: no project `nope`
    hint: `secrets project list` shows every project
    ");

    sandbox.run(["delete", "x", "-p", "web", "-y", "-q"]).succeeds();
    let output =
        sandbox.run(["export", "--encrypted", "none", "-p", "web", "-r", &to]).fails_with(3);
    stderr!(output, @"
    error: there are no secrets in project `web`
    hint: nothing was written
    ");

    assert!(!sandbox.path("none").exists());
}

#[test]
fn an_existing_file_is_not_replaced() {
    let sandbox = Sandbox::with_secrets(&[("key", "1")]);
    let to = key(&sandbox, "key");
    sandbox.write("notes", "mine");
    let export = |file: &str, more: &[&str]| {
        sandbox.run([&["export", "--encrypted", file, "-r", &to][..], more].concat())
    };

    stderr!(export("notes", &[]).fails_with(4), @"
    error: `notes` already exists
    hint: use `--replace` to replace an earlier export; nothing was written
    ");

    stderr!(export("notes", &["--replace"]).fails_with(7), @"
    error: `notes` is not an age file and is not replaced
    hint: choose another file; nothing was written
    ");

    assert_eq!(sandbox.read("notes"), b"mine");
    stderr!(export("vault.db", &["--replace"]).fails_with(7), @"
    error: `vault.db` is the vault
    hint: choose a new file, or a regular file that you own, with `-o`
    ");

    std::os::unix::fs::symlink("notes", sandbox.path("link")).unwrap();
    stderr!(export("link", &["--replace"]).fails_with(7), @"
    error: `link` is a symbolic link
    hint: choose a new file, or a regular file that you own, with `-o`
    ");

    stderr!(export("-", &[]).fails_with(2), @"
    error: an export cannot be written to stdout
    hint: set a file with `--encrypted FILE`
    ");

    export("f", &["-q"]).succeeds();
    let first = sandbox.read("f");
    stderr!(export("f", &[]).fails_with(4), @"
    error: `f` already exists
    hint: use `--replace` to replace an earlier export; nothing was written
    ");

    assert_eq!(sandbox.read("f"), first);
    export("f", &["--replace", "-q"]).succeeds();
    assert_ne!(sandbox.read("f"), first);
    stderr!(sandbox.run(["export"]).fails_with(2).stdout(""), @"
    error: an export is always encrypted and needs a file
    hint: set it with `--encrypted FILE`
    hint: to use values in the clear, see `secrets render` and `secrets run`
    ");

    let left: Vec<_> = std::fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();

    assert!(left.iter().all(|name| !name.to_string_lossy().contains("secrets-new")), "{left:?}");
}

#[test]
fn recipients_are_checked_and_an_identity_is_not_repeated() {
    let sandbox = Sandbox::with_secrets(&[("key", "1")]);
    let (one, two) = (key(&sandbox, "one"), key(&sandbox, "two"));
    sandbox.write("list", format!("# ours\n\n{two}\n"));
    stderr!(sandbox.run(["export", "--encrypted", "f", "-r", &one, "-R", "list"]).succeeds(), @"
    exported 1 secret of 1 project to `f`
    the file was read back byte for byte; only a recipient's key can show that it decrypts
    ");

    for identity in ["one", "two"] {
        sandbox.run(["import", "f", "-i", identity, "-q"]).succeeds();
    }

    key(&sandbox, "three");
    stderr!(sandbox.run(["import", "f", "-i", "three"]).fails_with(5), @"
    error: cannot open `f`: none of the identities can decrypt it
    hint: pass the matching identity with `--identity FILE`
    ");

    sandbox.run(["import", "f", "-i", "three", "-i", "two", "-q"]).succeeds();
    stderr!(sandbox.run(["import", "f"]).fails_with(5), @"
    error: cannot open `f`: it is encrypted to a key, not with a passphrase
    hint: pass the key's file with `--identity FILE`
    ");

    stderr!(sandbox.run(["import", "f", "-i", "list"]).fails_with(5), @"
    warning: other users can read the identity file `list`
    error: list:3 is not an identity of the form `AGE-SECRET-KEY-1…`
    hint: if the identity itself is encrypted, decrypt it first with `age`
    ");

    let identity = String::from_utf8(sandbox.read("one")).unwrap();
    let identity = identity.lines().nth(1).unwrap();
    let run = sandbox.run(["export", "--encrypted", "g", "-r", identity]);
    stderr!(run.fails_with(2).without(&identity[20..40]), @"
    error: `--recipient` number 1 is not a recipient of the form `age1…`
    hint: it is an identity, which decrypts files; print its recipient with `age-keygen -y FILE`
    ");

    for bad in ["ssh-ed25519 AAAA", "age1xyz", ""] {
        stderr!(sandbox.run(["export", "--encrypted", "g", "-r", bad]).fails_with(2), @"
        error: `--recipient` number 1 is not a recipient of the form `age1…`
        hint: create a key with `age-keygen`; SSH keys and plugins are not supported
        ");
    }

    sandbox.write("empty", "# none\n");
    stderr!(sandbox.run(["export", "--encrypted", "g", "-R", "empty"]).fails_with(2), @"
    error: `empty` contains no recipients
    hint: nothing was written
    ");

    assert!(!sandbox.path("g").exists());
}

#[test]
fn a_damaged_file_stores_nothing() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER)]);
    let to = key(&sandbox, "key");
    sandbox.run(["export", "--encrypted", "f", "-r", &to, "-q"]).succeeds();
    sandbox.run(["delete", "key", "-y", "-q"]).succeeds();

    let whole = sandbox.read("f");
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for at in [22, 30, 90, 150, 190, 220, whole.len() - 1] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        cases.push((format!("byte {at}"), bad));
    }

    for length in [21, 40, 100, 200, whole.len() - 1] {
        cases.push((format!("{length} bytes"), whole[..length].to_vec()));
    }

    cases.push(("a later version".into(), b"age-encryption.org/v7\n-> x\n\n--- y\n".repeat(3)));
    cases.push(("armor of nothing".into(), b"-----BEGIN AGE ENCRYPTED FILE-----\n*\n".to_vec()));
    let mut hostile = b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 34\n".to_vec();
    hostile
        .extend(format!("{}\n--- {}\n{}", "A".repeat(43), "A".repeat(43), "x".repeat(99)).bytes());
    write_private(&sandbox.path("pass"), "x\n");

    for (what, bad) in cases {
        sandbox.write("bad", bad);
        let (code, _, stderr) = sandbox.run(["import", "bad", "-i", "key"]).everything();

        // If the bytes for this key were changed, the file looks encrypted to another key.
        assert!(
            code == Some(6) || (code == Some(5) && stderr.contains("none of the identities")),
            "{what}: {stderr}"
        );

        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    }

    sandbox.write("bad", hostile);
    let run = sandbox.run(["import", "bad", "--import-passphrase-file", "pass"]);
    stderr!(run.fails_with(6), @"
    error: cannot open `bad`: its passphrase needs more than 2^20 rounds of scrypt (1 GiB of memory)
    hint: if you trust the file, decrypt it with `age` and encrypt it again
    ");

    assert_eq!(listed(&sandbox), json!([]));
}

#[test]
fn an_invalid_export_stores_nothing_and_shows_nothing() {
    let sandbox = Sandbox::new();
    let to = key(&sandbox, "key");
    let one = |secret: &str| {
        format!(
            r#"{{"format":"secrets-export","version":1,"projects":[{{"name":"web","secrets":[{secret}]}}]}}"#
        )
    };

    let times = r#""createdAt":"2026-11-21T09:30:00Z","updatedAt":"2026-11-21T09:30:00Z""#;
    let secret = |rest: &str| one(&format!(r#"{{"tag":"a",{rest},{times}}}"#));
    for (document, code, word) in [
        (format!("KEY={MARKER}\n"), 2, "does not contain a `secrets` export"),
        (format!(r#"{{"a":"{MARKER}"}}"#), 2, "does not contain a `secrets` export"),
        ("\u{fffd}".to_owned(), 2, "does not contain a `secrets` export"),
        (String::new(), 2, "does not contain a `secrets` export"),
        (
            format!(r#"{{"format":"secrets-export","version":2,"x":"{MARKER}"}}"#),
            6,
            "a version that is not supported",
        ),
        (
            format!(r#"{{"format":"secrets-export","version":1,"projects":"{MARKER}"}}"#),
            2,
            "`projects`",
        ),
        (
            r#"{"format":"secrets-export","version":1,"projects":[]}"#.to_owned(),
            2,
            "contains no values",
        ),
        (one(&format!(r#""{MARKER}""#)), 2, "a secret of project `web`"),
        (secret(&format!(r#""value":"{MARKER}","valueBase64":"AA==""#)), 2, "the value of `web/a`"),
        (secret(&format!(r#""valueBase64":"{MARKER}!""#)), 2, "the value of `web/a`"),
        (secret(&format!(r#""value":{{"x":"{MARKER}"}}"#)), 2, "a `value`"),
        (secret(&format!(r#""value":"{MARKER}","extra":1"#)), 2, "an unknown member of `web/a`"),
        (secret(&format!(r#""value":"{MARKER}","value":"x""#)), 2, "a repeated member of"),
        (secret(&format!(r#""value":"{MARKER}","name":"\u0007""#)), 2, "the name of `web/a`"),
        (secret(&format!(r#""value":"{}""#, MARKER.repeat(20_000))), 2, "larger than 1 MiB"),
        (
            one(&format!(r#"{{"tag":"a","value":"{MARKER}","createdAt":"x","updatedAt":"x"}}"#)),
            2,
            "the times of `web/a`",
        ),
        (one(&format!(r#"{{"tag":"a b","value":"{MARKER}",{times}}}"#)), 2, "the tag of a secret"),
        (
            one(&format!(r#"{{"tag":"a","value":"1",{times}}},{{"tag":"A","value":"2",{times}}}"#)),
            2,
            "a second `A`",
        ),
        (one("").replace("web", "a b"), 2, "the name of a project"),
    ] {
        sandbox.write("f", sealed(&to, document.as_bytes()));
        let run = sandbox.run(["import", "f", "-i", "key"]).without(&MARKER[..8]);
        run.fails_with(code).stdout("").stderr_has(word);
    }

    assert_eq!(listed(&sandbox), json!([]));

    // The option is for age files, and this is not one.
    sandbox.write("x.env", "A=1\n");
    stderr!(sandbox.run(["import", "x.env", "-i", "key"]).fails_with(2), @"
    error: `x.env` is not an age file
    hint: remove the option; the file was read as dotenv
    ");
}

#[test]
fn times_are_kept_for_new_secrets() {
    let sandbox = Sandbox::new();
    let to = key(&sandbox, "key");
    let document = r#"{"format":"secrets-export","version":1,"projects":[{"name":"web","secrets":[
        {"tag":"a","value":"1","createdAt":"2001-02-03T04:05:06.789Z","updatedAt":"2002-02-03T05:05:06+01:00"}]}]}"#;

    sandbox.write("f", sealed(&to, document.as_bytes()));
    sandbox.run(["import", "f", "-i", "key", "-q"]).succeeds();
    let found = sandbox.run(["get", "a", "-p", "web", "--json"]).succeeds().json();
    assert_eq!(found["createdAt"], "2001-02-03T04:05:06.789Z");
    assert_eq!(found["updatedAt"], "2002-02-03T04:05:06.000Z");
}

#[test]
fn no_plaintext_is_written_on_the_way() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER)]);
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    let to = key(&sandbox, "key");
    let trace = Command::new("strace").arg("-V").output().is_ok();

    for line in
        [&["export", "--encrypted", "f", "-r", &to][..], &["import", "f", "-i", "key", "--json"]]
    {
        let mut prepared = sandbox.command(line).env("TMPDIR", sandbox.path("tmp"));
        if trace {
            let program = prepared.command.get_program().to_owned();
            let mut traced = Command::new("strace");
            traced
                .args([
                    "-f",
                    "-s",
                    "4096",
                    "-e",
                    "trace=write,pwrite64,writev,execve",
                    "-o",
                    "trace",
                ])
                .arg(program);

            traced.args(line).env_clear().current_dir(sandbox.path(""));
            traced.envs(environment(&prepared.command));
            prepared.command = traced;
        }

        let (code, stdout, stderr) = prepared.run().everything();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            !String::from_utf8_lossy(&stdout).contains(&MARKER[..8])
                && !stderr.contains(&MARKER[..8])
        );
    }

    for entry in std::fs::read_dir(sandbox.path("")).unwrap().map(Result::unwrap) {
        let content = std::fs::read(entry.path()).unwrap_or_default();
        assert!(
            memchr::memmem::find(&content, &MARKER.as_bytes()[..8]).is_none(),
            "{:?}",
            entry.path()
        );
    }

    assert_eq!(std::fs::read_dir(sandbox.path("tmp")).unwrap().count(), 0);
}

/// Returns the real program if it is installed: `age`, or else `rage`.
fn real_age() -> Option<&'static str> {
    ["age", "rage"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())
}

fn piped(program: &str, arguments: &[&str], directory: &Path, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();

    feeder.join().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

#[test]
fn the_real_program_reads_our_files_and_we_read_its_files() {
    let Some(age) = real_age() else { return };
    let from = with_values();
    let to = key(&from, "key");

    for armor in [&[][..], &["--armor"]] {
        let line =
            ["export", "--encrypted", "all.age", "--all-projects", "-r", &to, "-q", "--replace"];
        from.run([&line[..], armor].concat()).succeeds();
        let document = piped(age, &["-d", "-i", "key", "all.age"], &from.path(""), b"");
        assert!(document == opened(&from, "all.age", "key"));

        // The other direction: the real program writes the file.
        let file = piped(
            age,
            &[&["-r", &to][..], if armor.is_empty() { &[] } else { &["-a"] }].concat(),
            &from.path(""),
            &document,
        );

        let other = Sandbox::new();
        other.write("theirs", file);
        carry(&from, &other, &["key"]);
        other.run(["import", "theirs", "-i", "key", "-q"]).succeeds();
        assert_eq!(listed(&other), listed(&from));
        assert_values(&other);
    }

    // Run the jq command from the page.
    if Command::new("jq").arg("--version").output().is_ok() {
        let line = "\"$AGE\" -d -i key all.age | jq -j '.projects[] | select(.name == \"web\").secrets[] | \
                    select(.tag == \"plain\") | .value // (.valueBase64 | @base64d)'";
        let output = Command::new("sh")
            .args(["-c", line])
            .env("AGE", age)
            .current_dir(from.path(""))
            .output()
            .unwrap();

        assert_eq!(output.stdout, b"hunter2");
        let raw = "\"$AGE\" -d -i key all.age | jq -r '.projects[].secrets[] | select(.tag == \"not-utf8\").valueBase64' | base64 -d";
        let output = Command::new("sh")
            .args(["-c", raw])
            .env("AGE", age)
            .current_dir(from.path(""))
            .output()
            .unwrap();

        assert!(output.stdout == vec![0xff; 4097]);
    }
}

#[test]
fn the_real_program_accepts_our_passphrase_files() {
    if real_age() != Some("age") || Command::new("script").arg("--version").output().is_err() {
        return;
    }

    let sandbox = Sandbox::with_secrets(&[("key", "hunter2")]);
    write_private(&sandbox.path("pass"), "the export's own passphrase\n");
    sandbox
        .run(["export", "--encrypted", "f.age", "--export-passphrase-file", "pass", "-q"])
        .succeeds();

    let mut terminal = Terminal::shell(&sandbox, "age -d f.age > plain; age -p plain > theirs.age");
    terminal.waits_for("passphrase").types("the export's own passphrase\n");
    terminal.waits_for("passphrase").types("another passphrase\n");
    terminal.waits_for("onfirm passphrase").types("another passphrase\n");
    terminal.ends_with(0);

    let document: Value = serde_json::from_slice(&sandbox.read("plain")).unwrap();
    assert_eq!(document["projects"][0]["secrets"][0]["value"], "hunter2");
    write_private(&sandbox.path("other"), "another passphrase\n");
    let run =
        sandbox.run(["import", "theirs.age", "-p", "copy", "--import-passphrase-file", "other"]);
    stderr!(run.succeeds(), @"");
    assert_eq!(reveal(&sandbox.vault(), "copy", "key").unwrap().unwrap(), b"hunter2");
}

#[test]
fn names_never_need_escapes() {
    // The export writes names of projects and tags without escapes, because no valid name needs
    // one.
    for odd in ["a\"b", "a\\b", "a\nb"] {
        assert!(ProjectName::parse(odd).is_err() && Tag::parse(odd).is_err());
    }
}

#[test]
fn a_written_file_is_checked() {
    let sandbox = Sandbox::with_secrets(&[("key", MARKER), ("other", "x")]);
    let vault = sandbox.vault();
    let passphrase = SecretBytes::copy_of(b"a passphrase");
    let recipients = [Recipient::parse(&key(&sandbox, "key")).unwrap()];

    for to in [To::Recipients(&recipients), To::Passphrase(&passphrase)] {
        let mut sealing = ExportWriter::new(&vault, None, &to, false);
        let mut file = Vec::new();
        sealing.write(&mut file, &|_| {}).unwrap();
        let check =
            |bytes: &[u8]| sealing.check(std::fs::File::open(sandbox.write("f", bytes)).unwrap());
        assert_eq!(check(&file).unwrap(), file.len() as u64);

        let last = file.len() - 1;
        assert!(check(&file[..last]).is_err());
        file[last] ^= 1;
        assert!(check(&file).is_err());

        // A complete file of the same kind, but with other content.
        let mut other = ExportWriter::new(&vault, None, &to, false);
        let mut file = Vec::new();
        other.write(&mut file, &|_| {}).unwrap();
        assert!(check(&file).is_err());
    }
}

#[test]
fn a_file_created_in_the_meantime_is_not_replaced() {
    let sandbox = Sandbox::empty();
    let path = sandbox.path("f");
    let output = Output::new(&path, None, &[]).unwrap();
    let pending = output
        .prepare_anew(&mut |out| out.write_all(b"ours").map_err(ExpandError::Output))
        .unwrap();

    sandbox.write("f", "theirs");
    assert!(!pending.publish_new().unwrap());
    assert_eq!(sandbox.read("f"), b"theirs");
    assert_eq!(std::fs::read_dir(sandbox.path("")).unwrap().count(), 1);
}
