//! Files that cannot be read are reported, and the rest is searched.

use std::process::Command;

use crate::support::programs::environment;
use crate::support::{PATH, TOKEN};

use super::{sandbox, scan};

#[test]
fn unreadable_files_are_reported_and_the_rest_is_searched() {
    let sandbox = sandbox();
    let output = scan(&sandbox, &["nowhere"]).run().fails_with(1);
    stderr!(output, @"error: cannot read `nowhere`: No such file or directory");
    sandbox.write("a", TOKEN);
    std::os::unix::fs::symlink("nowhere", sandbox.path("link")).unwrap();

    let run = scan(&sandbox, &["link", "a"]).run().fails_with(8).stdout("a:1: api-token (raw)\n");
    stderr!(run, @"
    error: 1 value in 2 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");

    // The default is the working directory.
    stderr!(scan(&sandbox, &[]).run().fails_with(8).stdout("a:1: api-token (raw)\n"), @"
    error: 1 value in 3 files
    hint: replace it with a placeholder `{{ secrets.TAG }}`, and change every value that was published
    ");
}

#[test]
fn files_without_permission_are_reported_and_the_rest_is_searched() {
    let sandbox = sandbox();
    std::fs::create_dir_all(sandbox.path("tree/closed")).unwrap();
    sandbox.write("tree/a", "clean");
    sandbox.write("tree/locked", TOKEN);
    sandbox.write("tree/closed/x", TOKEN);
    sandbox.write("tree/z", TOKEN);

    let nobody = Some(65_534);
    let program = sandbox.path("program");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_secrets")).arg(&program).status();
    assert!(copied.unwrap().success()); // a program written by this process may be busy

    for path in ["", "vault.db", "tree", "tree/a", "tree/locked", "tree/closed", "tree/z"] {
        if std::os::unix::fs::chown(sandbox.path(path), nobody, nobody).is_err() {
            return; // only root can switch to another user
        }
    }

    for path in ["tree/locked", "tree/closed"] {
        std::fs::set_permissions(
            sandbox.path(path),
            std::os::unix::fs::PermissionsExt::from_mode(0o0),
        )
        .unwrap();
    }

    let as_nobody = |arguments: &[&str]| {
        let prepared = sandbox.command(["x"]);
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .arg("scan")
            .args(arguments);

        command.env_clear().envs(environment(&prepared.command));
        let output = command.env("PATH", PATH).current_dir(sandbox.path("")).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();

        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    let (code, stdout, stderr) = as_nobody(&["tree"]);
    assert_eq!((code, &*stdout), (Some(8), "tree/z:1: api-token (raw)\n"), "{stderr}");
    assert!(
        stderr.contains("locked")
            && stderr.contains("closed")
            && stderr.contains("Permission denied"),
        "{stderr}"
    );

    // Without a finding this is a failure, not a success.
    let (code, stdout, stderr) = as_nobody(&["--json", "tree/a", "tree/locked"]);
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let unread = ["cannot read `tree/locked`: Permission denied (os error 13)"];
    assert_eq!(
        (code, found),
        (Some(1), serde_json::json!({ "findings": [], "files": 1, "unread": unread })),
        "{stderr}"
    );

    assert!(stderr.contains("1 file could not be searched"), "{stderr}");
    let (code, stdout, _) = as_nobody(&["--json", "tree/z", "tree/locked"]);
    assert!(code == Some(8) && stdout.contains("\"unread\":["), "{stdout}");
}
