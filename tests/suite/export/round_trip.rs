//! An export is imported completely or not at all.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::values::reveal;
use crate::support::{Sandbox, project, secret};

use super::{assert_values, carry, key, listed, sealed, with_values};

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
        file.query_row("SELECT max(seq) FROM audit WHERE pid = zeroblob(16)", [], |row| row.get(0))
            .unwrap()
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
