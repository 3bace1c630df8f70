//! `secrets delete` deletes all named secrets or none, and never by accident.

use crate::support::{Sandbox, project, secret};

fn three() -> Sandbox {
    Sandbox::with_secrets(&[("one", "x"), ("two", "x"), ("my-three", "x")])
}

/// Returns the remaining tags.
fn left(sandbox: &Sandbox) -> Vec<String> {
    let secrets = sandbox.vault().list(Some(&project("default")), |_| true).unwrap();
    secrets.iter().map(|secret| secret.metadata.tag.to_string()).collect()
}

#[test]
fn delete_without_a_terminal_needs_yes() {
    let sandbox = three();

    // `y` on stdin is not an answer, because nobody was asked.
    stderr!(sandbox.command(["delete", "one"]).stdin("y\n").run().fails_with(7).stdout(""), @"
    error: deleting requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    assert_eq!(left(&sandbox).len(), 3);
}

#[test]
fn delete_without_yes_is_refused_before_anything_is_unlocked() {
    stderr!(three().command(["delete", "one"]).without_env("SECRETS_PASSPHRASE").run().fails_with(7), @"
    error: deleting requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");
}

#[test]
fn delete_reports_what_it_deleted() {
    let sandbox = three();
    let run = sandbox.run(["delete", "one", "MY_THREE", "--yes"]);
    stderr!(run.succeeds().stdout(""), @"deleted `one` of project `default`, `my-three` of project `default`");
    assert_eq!(left(&sandbox), ["two"]);
    sandbox.run(["delete", "two", "-y", "-q"]).succeeds().stdout("").stderr("");
    assert!(left(&sandbox).is_empty());
}

#[test]
fn delete_deletes_all_or_none() {
    let sandbox = three();
    let output = sandbox.run(["delete", "one", "twoo", "my-three", "-y"]).fails_with(3).stdout("");
    stderr!(output, @"
    error: no secret `twoo` in project `default`
    hint: did you mean `two`?
    ");

    stderr!(sandbox.run(["delete", "one", "se0123456789abcdef", "-y"]).fails_with(3), @"
    error: no secret `se0123456789abcdef` in any project
    hint: `secrets list --all-projects` shows every secret
    ");

    assert_eq!(left(&sandbox).len(), 3);
}

#[test]
fn delete_of_one_secret_named_twice_deletes_it_once() {
    let sandbox = three();
    let id =
        sandbox.vault().get(&project("default"), &"one".parse().unwrap()).unwrap().id.to_string();
    let run = sandbox.run(["delete", "one", "ONE", &id, "-y"]);
    stderr!(run.succeeds(), @"deleted `one` of project `default`");
    assert_eq!(left(&sandbox).len(), 2);
}

#[test]
fn delete_by_id_reaches_several_projects_at_once() {
    let sandbox = three();
    let other =
        sandbox.vault().create(&project("web"), secret("one", b"x")).unwrap().id.to_string();
    let run = sandbox.run(["delete", "one", &other, "-y", "--json"]);
    let json = run.succeeds().json();
    let projects: Vec<_> =
        json["secrets"].as_array().unwrap().iter().map(|s| s["project"].clone()).collect();
    assert_eq!(projects, ["default", "web"]);
    assert!(sandbox.vault().list(Some(&project("web")), |_| true).unwrap().is_empty());
}

#[test]
fn delete_frees_the_tag() {
    let sandbox = three();
    sandbox.run(["delete", "my-three", "-y", "-q"]).succeeds();
    let run = sandbox.command(["create", "--tag", "MY_THREE"]).stdin("x").run();
    stderr!(run.succeeds(), @"created `MY_THREE` in project `default`, hint ••••");
}

#[test]
fn delete_needs_a_tag_or_an_id() {
    stderr!(three().run(["delete", "-y"]).fails_with(2).stdout(""), @"
    error: `<TAG|ID>...` is missing
    hint: usage: secrets delete [OPTIONS] <TAG|ID>...
    ");
}
