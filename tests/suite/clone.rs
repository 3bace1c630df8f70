//! `secrets clone`: all copies are created or none, and they are independent afterwards.

use terminal_secrets::model::{Description, Name, Tag};
use terminal_secrets::vault::NewSecret;

use crate::support::{Sandbox, project, value};

/// Returns a vault whose project `default` has `my-a` and `b`, each with a name, a description and
/// a value.
fn sources() -> Sandbox {
    let sandbox = Sandbox::new();
    let vault = sandbox.vault();
    for tag in ["my-a", "b"] {
        let (name, description) =
            (Name::parse(&format!("Name of {tag}")).unwrap(), Description::parse("d").unwrap());
        let value = value(format!("value of {tag}").as_bytes());
        vault
            .create(
                &project("default"),
                NewSecret { name, description, ..NewSecret::new(Tag::parse(tag).unwrap(), value) },
            )
            .unwrap();
    }

    sandbox
}

fn create(sandbox: &Sandbox, tag: &str, in_project: &str, text: &str) {
    sandbox.command(["create", "--tag", tag, "-p", in_project, "-q"]).stdin(text).run().succeeds();
}

#[track_caller]
fn assert_value(sandbox: &Sandbox, in_project: &str, tag: &str, expected: &str) {
    let template = format!("{{{{ secrets.{tag} }}}}");
    sandbox.run(["render", "-p", in_project, "-e", &template]).succeeds().stdout(expected);
}

#[track_caller]
fn assert_projects(sandbox: &Sandbox, expected: &str) {
    sandbox.run(["project", "list"]).succeeds().stdout(expected);
}

fn metadata(sandbox: &Sandbox, tag: &str, in_project: &str) -> serde_json::Value {
    sandbox.run(["get", tag, "-p", in_project, "--json"]).succeeds().json()
}

#[test]
fn clone_copies_tag_name_description_and_value_under_a_new_id() {
    let sandbox = sources();
    let run = sandbox.run(["clone", "MY_A", "b", "--to", "staging"]);
    stderr!(run.succeeds().stdout(""), @"copied 2 secrets to project `staging`");
    let (source, copy) =
        (metadata(&sandbox, "my-a", "default"), metadata(&sandbox, "my-a", "staging"));
    for same in ["tag", "name", "description", "hint"] {
        assert_eq!(source[same], copy[same]);
    }

    assert_ne!(source["id"], copy["id"]);
    assert_value(&sandbox, "staging", "my-a", "value of my-a");
    assert_value(&sandbox, "staging", "b", "value of b");
}

#[test]
fn clone_and_original_are_independent() {
    let sandbox = sources();
    stderr!(sandbox.run(["clone", "b", "--to", "staging"]).succeeds(), @"copied 1 secret to project `staging`");
    sandbox.command(["update", "b", "-q"]).stdin("changed").run().succeeds();
    assert_value(&sandbox, "staging", "b", "value of b");
    sandbox.run(["delete", "b", "-p", "staging", "-y", "-q"]).succeeds();
    assert_value(&sandbox, "default", "b", "changed");
}

#[test]
fn clone_all_copies_the_project() {
    let sandbox = sources();
    let run = sandbox.run(["clone", "--all", "--to", "staging"]);
    stderr!(run.succeeds().stdout(""), @"copied 2 secrets to project `staging`");
    assert_projects(&sandbox, "default\t2\tcurrent\nstaging\t2\n");

    let run = sandbox.run(["clone", "--all", "-p", "stagin", "--to", "x"]);
    stderr!(run.fails_with(3), @"
    error: no project `stagin`
    hint: did you mean `staging`?
    ");
}

#[test]
fn clone_under_another_tag_stays_in_the_project() {
    let sandbox = sources();
    let run = sandbox.run(["clone", "b", "--tag", "B2"]);
    stderr!(run.succeeds(), @"copied 1 secret to project `default`");
    assert_value(&sandbox, "default", "B2", "value of b");
    sandbox.run(["clone", "b", "--tag", "c", "--to", "staging", "-q"]).succeeds();
    assert_value(&sandbox, "staging", "c", "value of b");

    let run = sandbox.run(["clone", "b", "my-a", "--tag", "c"]);
    stderr!(run.fails_with(2), @"error: `--tag` cannot be used with more than one secret");
    let run = sandbox.run(["clone", "--all", "--tag", "c", "--to", "x"]);
    stderr!(run.fails_with(2), @"
    error: `--all` cannot be used with `--tag <TAG>`
    hint: usage: secrets clone [OPTIONS] [TAG|ID]...
    ");
}

#[test]
fn clone_by_id_copies_from_any_project() {
    let sandbox = sources();
    let id = metadata(&sandbox, "b", "default")["id"].as_str().unwrap().to_owned();

    // A secret that is named twice is copied once.
    let run = sandbox.run(["clone", &id, &id, "-p", "other", "--to", "staging"]);
    stderr!(run.succeeds(), @"copied 1 secret to project `staging`");
    assert_value(&sandbox, "staging", "b", "value of b");
}

#[test]
fn clone_fails_and_copies_nothing_if_the_target_has_a_tag() {
    let sandbox = sources();
    create(&sandbox, "MY_A", "staging", "mine");
    let hint = "hint: choose `--on-conflict skip` or `--on-conflict overwrite`; nothing was \
                copied\n";

    for fail in [&[][..], &["--on-conflict", "fail"], &["--dry-run"]] {
        let line = ["clone", "--all", "--to", "staging"].iter().chain(fail);
        let expected = format!("error: secret `MY_A` already exists in project `staging`\n{hint}");
        sandbox.run(line).fails_with(4).stdout("").stderr(&expected);
    }

    create(&sandbox, "b", "staging", "mine");
    let run = sandbox.run(["clone", "--all", "--to", "staging"]);
    run.fails_with(4).stderr(&format!(
        "error: 2 secrets with these tags already exist in project `staging`\n  b\n  MY_A\n{hint}"
    ));
    assert_value(&sandbox, "staging", "my-a", "mine");
    assert_projects(&sandbox, "default\t2\tcurrent\nstaging\t2\n");
}

#[test]
fn clone_copies_all_or_none() {
    let sandbox = sources();
    let run = sandbox.run(["clone", "b", "nowhere", "--to", "staging"]);
    stderr!(run.fails_with(3).stdout(""), @"
    error: no secret `nowhere` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");

    assert_projects(&sandbox, "default\t2\tcurrent\n");
}

#[test]
fn clone_can_skip() {
    let sandbox = sources();
    create(&sandbox, "MY_A", "staging", "mine");
    let run = sandbox.run(["clone", "--all", "--to", "staging", "--on-conflict", "skip"]);
    stderr!(run.succeeds().stdout(""), @"copied 1 secret to project `staging`, 1 skipped");
    assert_value(&sandbox, "staging", "my-a", "mine");
    assert_value(&sandbox, "staging", "b", "value of b");
}

#[test]
fn clone_can_overwrite_and_keeps_the_target_s_id_and_tag() {
    let sandbox = sources();
    create(&sandbox, "MY_A", "staging", "mine");
    let before = metadata(&sandbox, "MY_A", "staging");
    let run = sandbox.run(["clone", "--all", "--to", "staging", "--on-conflict", "overwrite"]);

    stderr!(run.succeeds().stdout(""), @"copied 2 secrets to project `staging`");
    let after = metadata(&sandbox, "MY_A", "staging");
    assert_eq!((&after["id"], &after["tag"]), (&before["id"], &before["tag"]));
    assert_eq!(after["createdAt"], before["createdAt"]);
    assert_eq!(after["name"], "Name of my-a");
    assert_value(&sandbox, "staging", "my-a", "value of my-a");
}

#[test]
fn clone_dry_run_prints_the_plan_and_copies_nothing() {
    let sandbox = sources();
    create(&sandbox, "MY_A", "staging", "mine");
    for (how, word) in [("skip", "skip     "), ("overwrite", "overwrite")] {
        let run =
            sandbox.run(["clone", "--all", "--to", "staging", "--dry-run", "--on-conflict", how]);
        run.succeeds().stderr("").stdout(format!(
            "create     default/b -> staging/b\n{word}  default/my-a -> staging/my-a\n"
        ));
    }

    let run = sandbox.run(["clone", "b", "--to", "new", "--dry-run"]);
    run.succeeds().stdout("create     default/b -> new/b\n");
    assert_value(&sandbox, "staging", "my-a", "mine");
    assert_projects(&sandbox, "default\t2\tcurrent\nstaging\t1\n");
}

#[test]
fn clone_onto_itself_is_refused() {
    let sandbox = sources();
    for how in ["fail", "skip", "overwrite"] {
        let run = sandbox.run(["clone", "b", "--to", "default", "--on-conflict", how]);
        stderr!(run.fails_with(2).stdout(""), @"
        error: `b` would be copied onto itself
        hint: choose another project with `--to`, or another tag with `--tag`
        ");
    }
}

#[test]
fn clone_of_two_secrets_to_one_tag_is_refused() {
    let sandbox = sources();
    create(&sandbox, "B", "other", "another b");
    let id = metadata(&sandbox, "b", "other")["id"].as_str().unwrap().to_owned();
    let run = sandbox.run(["clone", "b", &id, "--to", "staging"]);

    stderr!(run.fails_with(4).stdout(""), @"
    error: `b` and `B` would be stored under the same tag
    hint: clone them one at a time with `--tag`
    ");

    assert_projects(&sandbox, "default\t2\tcurrent\nother\t1\n");
}

#[test]
fn clone_needs_a_source_and_a_target() {
    let sandbox = sources();
    let output = sandbox.run(["clone", "b"]).fails_with(2).stdout("");
    stderr!(output, @"
    error: the copy needs another project, another tag, or both
    hint: set them with `--to PROJECT` and `--tag TAG`
    ");

    stderr!(sandbox.run(["clone", "--to", "x"]).fails_with(2).stdout(""), @"
    error: `<TAG|ID>...` is missing
    hint: usage: secrets clone [OPTIONS] [TAG|ID]...
    ");

    let run = sandbox.run(["clone", "b", "--all", "--to", "x"]);
    stderr!(run.fails_with(2).stdout(""), @"
    error: `[TAG|ID]...` cannot be used with `--all`
    hint: usage: secrets clone [OPTIONS] [TAG|ID]...
    ");

    let run = sandbox.run(["clone", "b", "--to", "x", "--on-conflict", "ask"]);
    stderr!(run.fails_with(2).stdout(""), @"
    error: `--on-conflict <WHAT>` is not one of its possible values
    hint: possible values: fail, skip, overwrite
    ");
}
