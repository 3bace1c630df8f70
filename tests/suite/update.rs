//! `secrets update` changes what is named and nothing else.

use terminal_secrets::model::{Description, Name};
use terminal_secrets::vault::NewSecret;

use crate::support::values::revealed;
use crate::support::{Sandbox, project, secret};

/// Returns a vault with `key`, which has a name, a description and a value.
fn labelled() -> Sandbox {
    let sandbox = Sandbox::new();
    let new = NewSecret {
        name: Name::parse("Old name").unwrap(),
        description: Description::parse("Old text").unwrap(),
        ..secret("key", b"old value")
    };

    sandbox.vault().create(&project("default"), new).unwrap();
    sandbox
}

/// Returns the name, description and value of `key`. Missing ones are empty.
fn state(sandbox: &Sandbox) -> (String, String, Vec<u8>) {
    let secret = sandbox.vault().get(&project("default"), &"key".parse().unwrap()).unwrap();
    let name = secret.metadata.name.map_or_else(String::new, |name| name.as_str().to_owned());
    let description =
        secret.metadata.description.map_or_else(String::new, |text| text.as_str().to_owned());
    (name, description, revealed(sandbox, "key"))
}

#[test]
fn update_takes_a_new_value_from_stdin() {
    let sandbox = labelled();
    let run = sandbox.command(["update", "key"]).stdin("abcdefghijklmnopqrstuvwxyz012345\n").run();
    stderr!(run.succeeds().stdout(""), @"updated `key` in project `default`, hint abcd…2345");
    assert_eq!(
        state(&sandbox),
        (
            "Old name".to_owned(),
            "Old text".to_owned(),
            b"abcdefghijklmnopqrstuvwxyz012345".to_vec()
        )
    );
}

#[test]
fn update_of_only_a_label_never_reads_stdin() {
    for (option, expected) in [
        ("--name", ("New".to_owned(), "Old text".to_owned(), b"old value".to_vec())),
        ("--description", ("Old name".to_owned(), "New".to_owned(), b"old value".to_vec())),
    ] {
        let sandbox = labelled();
        let run = sandbox.command(["update", "key", option, "New"]).stdin("not a new value").run();
        stderr!(run.succeeds().stdout(""), @"updated `key` in project `default`");
        assert_eq!(state(&sandbox), expected);
    }
}

#[test]
fn update_of_a_label_does_not_wait_for_stdin() {
    let sandbox = labelled();
    let mut command = sandbox.command(["update", "key", "--name", "New"]).command;
    let stdin_that_never_ends = std::process::Stdio::piped();
    let mut child =
        command.stdin(stdin_that_never_ends).stderr(std::process::Stdio::piped()).spawn().unwrap();

    let held_open = child.stdin.take();
    assert!(child.wait().unwrap().success());
    drop(held_open);
}

#[test]
fn update_with_an_empty_label_clears_it() {
    let sandbox = labelled();
    let run = sandbox.run(["update", "key", "--name", "", "--description", ""]);
    stderr!(run.succeeds(), @"updated `key` in project `default`");
    assert_eq!(state(&sandbox), (String::new(), String::new(), b"old value".to_vec()));
}

#[test]
fn update_changes_label_and_value_together() {
    let sandbox = labelled();
    sandbox.write("value", "new\r\nvalue\n");
    let run = sandbox.run(["update", "key", "--name", "New", "--value-file", "value"]);
    stderr!(run.succeeds(), @"updated `key` in project `default`, hint ••••");
    assert_eq!(
        state(&sandbox),
        ("New".to_owned(), "Old text".to_owned(), b"new\r\nvalue\n".to_vec())
    );

    let run = sandbox
        .command(["update", "key", "--name", "Newer", "--value-file", "-"])
        .stdin("newer\n")
        .run();

    stderr!(run.succeeds(), @"updated `key` in project `default`, hint ••••");
    assert_eq!(state(&sandbox), ("Newer".to_owned(), "Old text".to_owned(), b"newer".to_vec()));
}

#[test]
fn update_can_generate_a_value() {
    let sandbox = labelled();
    let run = sandbox.run(["update", "key", "--generate", "--length", "1024", "--alphabet", "hex"]);
    run.succeeds().stderr_has("updated `key` in project `default`, hint ");
    let (name, _, value) = state(&sandbox);

    assert_eq!(name, "Old name".to_owned());
    assert!(value.len() == 1024 && value.iter().all(|b| b"0123456789abcdef".contains(b)));
}

#[test]
fn update_with_an_empty_stdin_stores_nothing() {
    for (stdin, arguments) in
        [("", &["update", "key"][..]), ("\n", &["update", "key", "--value-file", "-"])]
    {
        let sandbox = labelled();
        let output = sandbox.command(arguments).stdin(stdin).run().fails_with(2).stdout("");
        stderr!(output, @"
        error: the value is empty; nothing was stored
        hint: use `--allow-empty` to store it anyway
        ");

        assert_eq!(state(&sandbox).2, b"old value");
    }

    let sandbox = labelled();
    let run = sandbox.run(["update", "key", "--allow-empty"]);
    stderr!(run.succeeds(), @"updated `key` in project `default`, hint ••••");
    assert_eq!(state(&sandbox).2, b"");
}

#[test]
fn update_keeps_tag_and_id_and_sets_the_time() {
    let sandbox = labelled();
    let get = |sandbox: &Sandbox| {
        sandbox.vault().get(&project("default"), &"key".parse().unwrap()).unwrap()
    };

    let before = get(&sandbox);
    std::thread::sleep(std::time::Duration::from_millis(2));
    stderr!(sandbox.command(["update", "KEY"]).stdin("x").run().succeeds(), @"updated `key` in project `default`, hint ••••");
    let after = get(&sandbox);

    assert_eq!((after.id, &after.metadata.tag), (before.id, &before.metadata.tag));
    assert_eq!(after.metadata.created, before.metadata.created);
    assert!(after.metadata.updated > before.metadata.updated);
}

#[test]
fn update_by_id_reaches_another_project() {
    let sandbox = Sandbox::new();
    let stored = sandbox.vault().create(&project("web"), secret("key", b"old")).unwrap();
    let run = sandbox.command(["update", &stored.id.to_string()]).stdin("new").run();
    stderr!(run.succeeds(), @"updated `key` in project `web`, hint ••••");
}

#[test]
fn update_of_a_missing_secret_suggests_the_nearest_and_reads_no_value() {
    let sandbox = labelled();
    let output = sandbox.command(["update", "kez"]).stdin("x").run().fails_with(3).stdout("");
    stderr!(output, @"
    error: no secret `kez` in project `default`
    hint: did you mean `key`?
    ");
}

#[test]
fn update_limits_labels() {
    let sandbox = labelled();
    for (option, text, why) in [
        ("--name", "a\nb".to_owned(), "it contains a control character"),
        ("--name", "é".repeat(257), "it has 257 characters; the maximum is 256"),
        (
            "--description",
            "a\rb".to_owned(),
            "it contains a control character other than newline and tab",
        ),
        ("--description", "é".repeat(4097), "it has 4097 characters; the maximum is 4096"),
    ] {
        let expected = format!("error: invalid `{option}`: {why}\n");
        sandbox
            .run(["update", "key", option, &text])
            .fails_with(2)
            .stdout("")
            .stderr_has(&expected);
    }

    assert_eq!(state(&sandbox).0, "Old name".to_owned());
}
