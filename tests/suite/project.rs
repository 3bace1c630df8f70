//! `secrets project` lists, renames and deletes projects.

use crate::support::{Sandbox, project, secret};

/// Returns a vault whose `web` has two secrets and `api` one.
fn two() -> Sandbox {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for (name, tag) in [("web", "a"), ("web", "b"), ("api", "a")] {
        vault.create(&project(name), secret(tag, b"x")).unwrap();
    }

    sandbox
}

#[test]
fn project_list_counts_secrets() {
    let sandbox = two();
    sandbox.run(["project", "list"]).succeeds().stdout("api\t1\nweb\t2\n");
    Sandbox::new().run(["project", "list"]).succeeds().stdout("");
}

#[test]
fn project_list_marks_the_current_one() {
    let sandbox = two();
    sandbox.run(["project", "list", "-p", "web"]).succeeds().stdout("api\t1\nweb\t2\tcurrent\n");
    let run = sandbox.command(["project", "list"]).env("SECRETS_PROJECT", "api").run();
    run.succeeds().stdout("api\t1\tcurrent\nweb\t2\n");

    let json = sandbox.run(["project", "list", "--json", "-p", "api"]).succeeds().json();
    let expected = serde_json::json!([{ "name": "api", "secrets": 1, "current": true },
                                      { "name": "web", "secrets": 2, "current": false }]);
    assert_eq!(json["projects"], expected);
}

#[test]
fn a_project_stays_without_its_last_secret() {
    let sandbox = two();
    sandbox.run(["delete", "a", "-p", "api", "-y", "-q"]).succeeds();
    sandbox.run(["project", "list"]).succeeds().stdout("api\t0\nweb\t2\n");
}

#[test]
fn reading_a_project_does_not_create_it() {
    let sandbox = two();
    stderr!(sandbox.run(["list", "-p", "new"]).fails_with(3), @"
    error: no project `new`
    hint: `secrets project list` shows every project
    ");

    stderr!(sandbox.run(["get", "a", "-p", "new"]).fails_with(3), @"
    error: no secret `a` in project `new`
    hint: use `--project api`, because projects `api`, `web` have `a`
    ");

    sandbox.run(["project", "list"]).succeeds().stdout("api\t1\nweb\t2\n");
}

#[test]
fn project_rename_keeps_the_secrets() {
    let sandbox = two();
    let run = sandbox.run(["project", "rename", "web", "web.site"]);
    stderr!(run.succeeds().stdout(""), @"renamed project `web` to `web.site`");
    sandbox.run(["project", "list"]).succeeds().stdout("api\t1\nweb.site\t2\n");
    sandbox.run(["render", "-p", "web.site", "-e", "{{ secrets.b }}"]).succeeds().stdout("x");
    stderr!(sandbox.run(["get", "b", "-p", "web"]).fails_with(3), @"
    error: no secret `b` in project `web`
    hint: use `--project web.site`, because project `web.site` has `b`
    ");
}

#[test]
fn project_rename_refuses_an_existing_name() {
    let sandbox = two();
    let run = sandbox.run(["project", "rename", "web", "api"]);
    stderr!(run.fails_with(4).stdout(""), @"error: project `api` already exists");
    sandbox.run(["project", "list"]).succeeds().stdout("api\t1\nweb\t2\n");
}

#[test]
fn project_rename_compares_names_exactly() {
    let sandbox = two();
    let run = sandbox.run(["project", "rename", "web", "Web"]);
    stderr!(run.succeeds(), @"renamed project `web` to `Web`");
    let run = sandbox.run(["project", "rename", "web", "x"]);

    stderr!(run.fails_with(3), @"
    error: no project `web`
    hint: did you mean `Web`?
    ");
}

#[test]
fn project_names_follow_the_rule_for_tags_and_allow_dots() {
    let sandbox = two();
    let long = "a".repeat(129);
    for bad in ["", "a b", "a/b", "é", "..", "_", &long] {
        let run = sandbox.run(["project", "rename", "web", bad]);
        run.fails_with(2).stdout("").stderr_has("error: invalid `<TO>`: ");
    }

    sandbox.command(["create", "--tag", "a", "-p", ".x.1-y_", "-q"]).stdin("x").run().succeeds();
    sandbox.run(["list", "-p", ".x.1-y_"]).succeeds().stdout_has("a\t••••\t");
}

#[test]
fn project_delete_needs_yes_without_a_terminal() {
    let sandbox = two();
    stderr!(sandbox.command(["project", "delete", "web"]).stdin("y\n").run().fails_with(7).stdout(""), @"
    error: deleting a project requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    sandbox.run(["project", "list"]).succeeds().stdout("api\t1\nweb\t2\n");
}

#[test]
fn project_delete_deletes_the_secrets() {
    let sandbox = two();
    let run = sandbox.run(["project", "delete", "web", "--yes"]);
    stderr!(run.succeeds().stdout(""), @"deleted project `web` with its 2 secrets");
    sandbox.run(["project", "list"]).succeeds().stdout("api\t1\n");
    stderr!(sandbox.run(["list", "-p", "web", "-q"]).fails_with(3).stdout(""), @"
    error: no project `web`
    hint: `secrets project list` shows every project
    ");
}

#[test]
fn project_delete_deletes_all_or_none() {
    let sandbox = two();
    let run = sandbox.run(["project", "delete", "web", "apo", "-y"]);
    stderr!(run.fails_with(3).stdout(""), @"
    error: no project `apo`
    hint: did you mean `api`?
    ");

    sandbox.run(["project", "list"]).succeeds().stdout("api\t1\nweb\t2\n");
    sandbox.run(["project", "delete", "web", "api", "web", "-y", "-q"]).succeeds();
    sandbox.run(["project", "list"]).succeeds().stdout("");
}

#[test]
fn project_needs_a_command() {
    let (code, stdout, stderr) = two().run(["project"]).everything();
    assert_eq!((code, stdout), (Some(2), Vec::new()));
    assert!(
        stderr.contains("Usage: secrets project") && stderr.ends_with("error: no command given\n"),
        "{stderr}"
    );
}
