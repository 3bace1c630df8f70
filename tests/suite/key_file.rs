//! A vault that needs a key file opens with it and the passphrase, and with the recovery code.

use std::os::unix::fs::PermissionsExt;

use crate::support::files::mode;
use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-a")]);
    let create = sandbox.run(["key-file", "create", "vault.key"]).succeeds();
    stderr!(create, @"
    wrote the key file `vault.key`
    the vault now needs it: use `--key-file PATH` or SECRETS_KEY_FILE, and keep a second copy
    warning: without a recovery code, losing the file loses everything: create one with `secrets recovery create`
    earlier copies of the vault open without it; create a new backup
    ");
    sandbox
}

/// Runs a command with the key file in the environment.
fn keyed(sandbox: &Sandbox, arguments: &[&str]) -> crate::support::Run {
    sandbox.command(arguments).env("SECRETS_KEY_FILE", sandbox.path("vault.key")).run()
}

#[test]
fn the_vault_needs_both() {
    let sandbox = sandbox();
    assert_eq!(mode(&sandbox.path("vault.key")), 0o600);
    stderr!(sandbox.run(["list"]).fails_with(5).stdout(""), @"
    error: the vault needs its key file as well as the passphrase
    hint: name it with `--key-file PATH` or SECRETS_KEY_FILE
    hint: if it is lost, use the recovery code: `secrets key-file remove --recovery`
    ");
    keyed(&sandbox, &["list"]).succeeds().stdout_has("a");
    let option = ["--key-file", "vault.key", "render", "-e", "{{ secrets.a }}"];
    sandbox.run(option).succeeds().stdout("hunter2-a");

    // Another key file, a damaged one, a missing one
    let text = String::from_utf8(sandbox.read("vault.key")).unwrap();
    let line = text.lines().find(|line| line.starts_with("SECRETS-KEY-FILE-1 ")).unwrap();
    let other = if line.ends_with('A') { "E" } else { "A" };
    sandbox.write("other.key", text.replace(line, &format!("{}{other}", &line[..line.len() - 1])));
    sandbox.write("empty.key", "");
    for file in ["other.key", "empty.key", "vault.db"] {
        std::fs::set_permissions(sandbox.path(file), PermissionsExt::from_mode(0o600)).unwrap();
    }

    stderr!(sandbox.run(["--key-file", "other.key", "list"]).fails_with(5), @"
    error: wrong passphrase or key file
    hint: name the file that `secrets key-file create` last wrote, and enter the passphrase, or use a recovery code with `--recovery`
    ");
    stderr!(sandbox.run(["--key-file", "empty.key", "list"]).fails_with(5), @"
    error: invalid key file `empty.key`: it has no key, or more than one
    hint: name the file that `secrets key-file create` wrote
    ");
    sandbox.run(["--key-file", "vault.db", "list"]).fails_with(5).stderr_has("key file").bytes();
    sandbox
        .run(["--key-file", "nowhere", "list"])
        .fails_with(5)
        .stderr_has("cannot read the key file")
        .bytes();
    let wrong =
        sandbox.command(["--key-file", "vault.key", "list"]).env("SECRETS_PASSPHRASE", "wrong");
    wrong.run().fails_with(5).stderr_has("wrong passphrase or key file");
    keyed(&sandbox, &["verify", "-q"]).succeeds().stdout_has("passphrase with a key file");
}

#[test]
fn it_stays_needed_until_it_is_removed() {
    let sandbox = sandbox();
    sandbox.write("new", "another passphrase of mine");
    std::fs::set_permissions(sandbox.path("new"), PermissionsExt::from_mode(0o600)).unwrap();
    let passwd = keyed(&sandbox, &["passwd", "--new-passphrase-file", "new", "-q"]);
    passwd.succeeds().stderr_has("costs less");
    let with_new = |arguments: &[&str]| {
        let command =
            sandbox.command(arguments).env("SECRETS_PASSPHRASE", "another passphrase of mine");
        command.env("SECRETS_KEY_FILE", sandbox.path("vault.key")).run()
    };
    let alone = sandbox.command(["list"]).env("SECRETS_PASSPHRASE", "another passphrase of mine");
    alone.run().fails_with(5).stderr_has("needs its key file").bytes();
    with_new(&["rekey", "-y", "-q"]).succeeds();
    with_new(&["passwd", "--upgrade-kdf", "-q"]).succeeds();
    sandbox.run(["list", "-q"]).fails_with(5).stderr_has("needs its key file").bytes();

    // Another key file replaces the first one.
    with_new(&["key-file", "create", "second.key", "-q"]).succeeds().stderr_has("recovery").bytes();
    with_new(&["list"]).fails_with(5).stderr_has("wrong passphrase or key file").bytes();
    let second = sandbox
        .command(["key-file", "remove"])
        .env("SECRETS_PASSPHRASE", "another passphrase of mine");
    stderr!(second.env("SECRETS_KEY_FILE", sandbox.path("second.key")).run().succeeds(), @"the passphrase opens the vault without a key file now");
    let alone = sandbox.command(["list"]).env("SECRETS_PASSPHRASE", "another passphrase of mine");
    alone.run().succeeds().stdout_has("a");
    with_new(&["key-file", "remove"]).fails_with(3).stderr_has("needs no key file").bytes();

    // A key file that is not needed does no harm.
    with_new(&["list"]).succeeds().stdout_has("a");
}

#[test]
fn the_agent_and_the_recovery_code_need_no_file() {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-a")]);
    let code =
        String::from_utf8(sandbox.run(["recovery", "create", "-q"]).succeeds().bytes()).unwrap();
    sandbox.run(["key-file", "create", "vault.key", "-q"]).succeeds();
    keyed(&sandbox, &["unlock", "-q"]).succeeds();
    let render = sandbox.command(["render", "-e", "{{ secrets.a }}"]);
    render.without_env("SECRETS_PASSPHRASE").run().succeeds().stdout("hunter2-a");
    sandbox.run(["lock", "-q"]).succeeds();

    let recovered = |arguments: &[&str]| {
        sandbox.command(arguments).env("SECRETS_PASSPHRASE", code.trim()).run()
    };
    recovered(&["--recovery", "list"]).succeeds().stdout_has("a");
    recovered(&["--recovery", "key-file", "create", "x.key"])
        .fails_with(2)
        .stderr_has("--recovery")
        .bytes();
    sandbox.write("new", "another passphrase of mine");
    std::fs::set_permissions(sandbox.path("new"), PermissionsExt::from_mode(0o600)).unwrap();
    let passwd = ["--recovery", "passwd", "--new-passphrase-file", "new"];
    recovered(&passwd).fails_with(5).stderr_has("key-file remove --recovery").bytes();
    let remove = ["--recovery", "key-file", "remove", "--new-passphrase-file", "new", "-q"];
    recovered(&remove).succeeds();
    let alone = sandbox.command(["list"]).env("SECRETS_PASSPHRASE", "another passphrase of mine");
    alone.run().succeeds().stdout_has("a");
}

#[test]
fn it_is_asked_for_before_the_passphrase() {
    let sandbox = sandbox();
    let mut terminal = Terminal::shell(&sandbox, "unset SECRETS_PASSPHRASE; \"$secrets\" unlock");
    let screen = terminal.ends_with(5);
    assert!(
        screen.contains("needs its key file") && !screen.contains("Passphrase for"),
        "{screen}"
    );
    let line =
        "unset SECRETS_PASSPHRASE; \"$secrets\" --key-file vault.key render -e '{{ secrets.a }}'";
    let mut terminal = Terminal::shell(&sandbox, line);
    terminal
        .waits_for("Passphrase for")
        .types(PASSPHRASE)
        .types("\n")
        .waits_for("‹a›")
        .ends_with(0);
}

#[test]
fn a_file_that_exists_is_not_replaced() {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-a")]);
    sandbox.write("there", "mine");
    sandbox.run(["key-file", "create", "there"]).fails_with(4).stderr_has("already exists").bytes();
    assert_eq!(sandbox.read("there"), b"mine");
    sandbox.run(["list", "-q"]).succeeds().stdout_has("a");
}
