//! Vaults of every released format can be opened, reading does not change them, and the next change
//! converts them to the present format. `tests/fixtures/vaults/format-N.db` was created by the last
//! version that wrote format N.

use std::fs;

use rusqlite::Connection;
use terminal_secrets::store::FORMAT;

use crate::support::files::{root, write_private};
use crate::support::values::revealed;
use crate::support::{PASSPHRASE, Sandbox};

/// Returns a sandbox with a vault of a format.
fn sandbox(format: i32) -> Sandbox {
    let sandbox = Sandbox::empty();
    let fixture = root().join(format!("tests/fixtures/vaults/format-{format}.db"));
    write_private(&sandbox.vault_path(), fs::read(fixture).unwrap());
    assert_eq!(claimed(&sandbox), format);

    sandbox
}

/// Returns the format that the file claims to have.
fn claimed(sandbox: &Sandbox) -> i32 {
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn holds_what_was_stored(sandbox: &Sandbox) {
    let run = sandbox.run(["list", "--all-projects", "--json"]).succeeds().json();
    let of = |member: &str| -> Vec<String> {
        run["secrets"].as_array().unwrap().iter().map(|secret| secret[member].to_string()).collect()
    };

    assert_eq!(of("tag"), ["\"any_bytes\"", "\"first\"", "\"FIRST\"", "\"large\""]);
    assert_eq!(of("project"), ["\"default\"", "\"default\"", "\"web.api\"", "\"web.api\""]);
    assert_eq!(of("description")[1], "\"Made by 0.1.0\"");
    let render = |project: &str, tag: &str| {
        let text = format!("{{{{ secrets.{tag} }}}}");
        sandbox.run(["-p", project, "render", "-e", &text]).succeeds().bytes()
    };

    assert_eq!(render("default", "first"), b"replaced");
    assert_eq!(render("default", "any_bytes"), b"\0\x01\xff any bytes");
    assert_eq!(render("web.api", "first"), b"value of web");
    assert_eq!(render("web.api", "large"), [b'v'; 6000]);
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("secrets      4\n");
}

#[test]
fn reading_changes_no_format() {
    for format in 1..=FORMAT {
        let sandbox = sandbox(format);
        let before = sandbox.read("vault.db");
        holds_what_was_stored(&sandbox);
        sandbox.run(["backup", "-q", "copy.db"]).succeeds();
        sandbox
            .run(["--vault", "copy.db", "verify", "-q"])
            .succeeds()
            .stdout_has("secrets      4\n");

        assert_eq!(sandbox.read("vault.db"), before, "{format}");

        // An agent can read it as well.
        sandbox.run(["unlock", "-q"]).succeeds();
        sandbox
            .command(["list", "-q"])
            .without_env("SECRETS_PASSPHRASE")
            .run()
            .succeeds()
            .stdout_has("first");

        sandbox.run(["lock", "--all", "-q"]).succeeds();
    }
}

#[test]
fn the_next_change_converts_every_format_to_the_present_one() {
    let changes: [&[&str]; 6] = [
        &["create", "--tag", "new", "--generate"],
        &["project", "rename", "web.api", "web"],
        &["-p", "web.api", "delete", "large", "-y"],
        &["recovery", "create"],
        &["rekey", "-y"],
        &["-p", "default", "rekey", "-y"],
    ];

    for format in 1..=FORMAT {
        for change in changes {
            let sandbox = sandbox(format);
            let run = sandbox.run([change, &["-q"]].concat());
            let run = run.succeeds();

            if change[0] == "recovery" {
                run.stdout_has("-")
            } else {
                run.stdout("")
            };

            assert_eq!(claimed(&sandbox), FORMAT, "{change:?}");
            sandbox.run(["verify", "-q"]).succeeds().stdout_has("projects     2\n");
            assert_eq!(revealed(&sandbox, "first"), b"replaced");

            // Further changes work too.
            sandbox.command(["update", "first", "-q"]).stdin("and again").run().succeeds();
            sandbox.run(["list", "-q"]).succeeds().stdout_has("first");
            assert_eq!(revealed(&sandbox, "first"), b"and again");
        }
    }
}

#[test]
fn a_rollback_to_an_earlier_format_is_noticed() {
    let sandbox = sandbox(1);
    let before = sandbox.read("vault.db");
    sandbox.command(["update", "first", "-q"]).stdin("newer").run().succeeds();
    sandbox.write("vault.db", &before);
    stderr!(sandbox.run(["list"]).fails_with(6).stdout(""), @"
    error: the vault was rolled back to a state before its last checkpoint here
      project `default`: 1 change behind
    hint: put the right file back, or restore a backup with `secrets restore PATH`; nothing was used
    hint: if you want this state, accept it with `secrets restore --accept`
    ");

    // A lower format number alone does not make it an older vault.
    let sandbox = self::sandbox(FORMAT);
    let lie = |format: i32| {
        let connection = Connection::open(sandbox.vault_path()).unwrap();
        connection.pragma_update(None, "user_version", format).unwrap();
    };

    lie(1);
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("secrets      4\n");
    for format in [0, -1, FORMAT + 1, i32::MAX] {
        lie(format);
        let text = format!(
            "error: the vault has format {format}; this version of `secrets` reads formats 1 to \
             {FORMAT}\n"
        );

        sandbox.run(["list"]).fails_with(6).stdout("").stderr_has(&text);
    }
}

#[test]
fn every_format_has_a_fixture_with_the_tests_passphrase() {
    let directory = root().join("tests/fixtures/vaults");
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();

    let expected: Vec<String> = (1..=FORMAT).map(|format| format!("format-{format}.db")).collect();
    assert_eq!(names, expected);
    assert_eq!(PASSPHRASE, "correct horse battery staple");
}
