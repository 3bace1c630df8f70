//! `edit` opens an editor on a private file, and stores what is saved.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Prepared, Sandbox, project, secret};

const VALUE: &str = "hunter2-old\nof two lines";

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("key", VALUE)]).unlocked()
}

/// Returns the command with an editor that is a shell script. Its last argument is the file.
fn with_editor(sandbox: &Sandbox, arguments: &[&str], script: &str) -> Prepared {
    let path = sandbox.write("editor", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    sandbox.command([&["edit"], arguments].concat()).env("EDITOR", path)
}

fn stored(sandbox: &Sandbox) -> String {
    let run = sandbox.run(["render", "-e", "{{ secrets.key }}"]);
    String::from_utf8(run.succeeds().bytes()).unwrap()
}

#[test]
fn what_is_saved_becomes_the_value() {
    let sandbox = sandbox();
    let script = "wc -c <\"$1\" >size; stat -c %a \"$1\" \"$(dirname \"$1\")\" >modes\n\
        stat -f -c %T \"$1\" >kind; dirname \"$1\" >directory; env >variables\n\
        printf 'new\\nvalue\\n' >\"$1\"";
    let command = with_editor(&sandbox, &["KEY"], script).env("SECRETS_PROJECT", "default");
    stderr!(command.run().succeeds().stdout(""), @"updated `key` in project `default`, hint ••••");
    assert_eq!(stored(&sandbox), "new\nvalue");

    let read = |name: &str| String::from_utf8(sandbox.read(name)).unwrap();
    assert_eq!(read("size").trim(), "0");
    assert_eq!(read("modes"), "600\n700\n");
    assert_eq!(read("kind"), "tmpfs\n");
    assert!(!std::path::Path::new(read("directory").trim()).exists());
    let variables = read("variables");
    assert!(!variables.contains("SECRETS_") && !variables.contains("hunter2"), "{variables}");
    assert!(variables.contains(&format!("TMPDIR={}", read("directory").trim())));

    with_editor(&sandbox, &["key", "--exact", "-q"], "echo x >\"$1\"").run().succeeds();
    assert_eq!(stored(&sandbox), "x\n");
}

#[test]
fn the_present_value_is_shown_only_on_request() {
    let sandbox = sandbox();
    let script = "sed -i s/old/new/ \"$1\"";
    let run = with_editor(&sandbox, &["key"], script).run().succeeds();
    run.stderr_has("nothing was saved, so `key` keeps its value");
    assert_eq!(stored(&sandbox), VALUE);

    with_editor(&sandbox, &["key", "--reveal", "-q"], script).run().succeeds();
    assert_eq!(stored(&sandbox), VALUE.replace("old", "new"));
    let log = sandbox.run(["audit", "--kind", "use", "--json"]).succeeds().json();
    let actions: Vec<_> =
        log["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions.iter().filter(|action| **action == "edit").count(), 1, "{actions:?}");
}

#[test]
fn nothing_changes_without_a_value() {
    let sandbox = sandbox();
    for (options, script) in [
        (&["key"][..], "true"),
        (&["key"], ": >\"$1\""),
        (&["key"], "echo >\"$1\""),
        (&["key", "--reveal"], "true"),
        (&["key", "--reveal"], ": >\"$1\""),
        (&["key", "--reveal"], "echo >>\"$1\""), // the newline that an editor adds
    ] {
        let run = with_editor(&sandbox, options, script).run().succeeds();
        run.stderr_has("keeps its value");
    }

    stderr!(with_editor(&sandbox, &["key"], "echo new >\"$1\"; exit 3").run().fails_with(1), @"
    error: the editor ended with exit status: 3
    hint: nothing was stored; set VISUAL or EDITOR to choose another editor
    ");
    with_editor(&sandbox, &["key"], "rm \"$1\"").run().fails_with(1).stderr_has("private file");
    let large = "head -c 1100000 /dev/zero >\"$1\"";
    with_editor(&sandbox, &["key"], large).run().fails_with(2).stderr_has("larger than 1 MiB");
    with_editor(&sandbox, &["kye"], "touch ran").run().fails_with(3).stderr_has("`key`");
    assert!(!sandbox.path("ran").exists());
    assert_eq!(stored(&sandbox), VALUE);
}

#[test]
fn another_change_in_the_meantime_is_kept() {
    let sandbox = sandbox();
    let script = "printf other | \"$secrets\" update key -q; echo new >\"$1\"";
    let command = with_editor(&sandbox, &["key"], script);
    let secrets = command.command.get_program().to_owned();
    let vault = sandbox.vault_path();
    let script = script.replace("update", &format!("--vault {} update", vault.display()));
    let command = with_editor(&sandbox, &["key"], &script).env("secrets", secrets);
    command.run().fails_with(4).stderr_has("changed");
    assert_eq!(stored(&sandbox), "other");
}

#[test]
fn a_value_that_is_not_text_is_not_shown() {
    let sandbox = Sandbox::new().unlocked();
    sandbox.vault().create(&project("default"), secret("key", b"\xff\xfe")).unwrap();
    let run = with_editor(&sandbox, &["key", "--reveal"], "touch ran").run();
    run.fails_with(7).stderr_has("the value is not text");
    assert!(!sandbox.path("ran").exists());
    with_editor(&sandbox, &["key", "-q"], "echo text >\"$1\"").run().succeeds();
    assert_eq!(stored(&sandbox), "text");
}

/// Vim keeps registers, undo history and a swap file unless it is told otherwise.
#[test]
fn vim_is_told_to_keep_no_copy() {
    let sandbox = sandbox();
    let script = "printf '%s\\n' \"$@\" | sed '$d' >arguments";
    let _ = with_editor(&sandbox, &["key"], script);
    std::fs::rename(sandbox.path("editor"), sandbox.path("nvim")).unwrap();
    let editor = format!("{} --clean", sandbox.path("nvim").display());
    let run = sandbox.command(["edit", "key"]).env("VISUAL", editor).env("EDITOR", "false").run();
    run.succeeds().stderr_has("nothing was saved");
    assert_eq!(
        String::from_utf8(sandbox.read("arguments")).unwrap(),
        "--clean\n-n\n-i\nNONE\n-c\nset noundofile nobackup nowritebackup\n"
    );
}

#[test]
fn a_killed_edit_leaves_no_file() {
    let sandbox = sandbox();
    let script = "dirname \"$1\" >directory.new; mv directory.new directory; exec sleep 1000";
    let mut command = with_editor(&sandbox, &["key", "--reveal"], script).command;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let waits = |done: &dyn Fn() -> bool| {
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    waits(&|| sandbox.path("directory").exists());
    let directory = String::from_utf8(sandbox.read("directory")).unwrap();
    assert!(std::path::Path::new(directory.trim()).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    waits(&|| !std::path::Path::new(directory.trim()).exists());
}
