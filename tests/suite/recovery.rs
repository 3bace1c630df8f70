//! `secrets recovery` and `--recovery`: a code that is shown once and opens the vault like the
//! passphrase.

use std::process::Stdio;

use crate::support::files::passphrase_file;
use crate::support::programs::environment;
use crate::support::terminal::Terminal;
use crate::support::values::{NEW_PASSPHRASE, SHOWN, recovery_code};
use crate::support::{PASSPHRASE, Sandbox};

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("key", "a value")])
}

#[test]
fn a_code_is_printed_once_and_opens_the_vault() {
    let sandbox = sandbox();
    let code = recovery_code(&sandbox, &[]);
    assert_eq!((code.len(), code.split('-').count()), (69, 14), "{code}");
    let by_code = |code: &str| {
        let prepared = sandbox.command(["render", "-e", "{{ KEY }}", "--recovery"]);
        prepared.env("SECRETS_PASSPHRASE", code).run()
    };

    by_code(&code).succeeds().stdout("a value");
    by_code(&code.to_lowercase().replace('-', " ")).succeeds().stdout("a value");
    sandbox.run(["list", "--recovery", "--passphrase-file", "code"]).succeeds().stdout_has("key");

    // The passphrase is not a recovery code, and it still opens the vault.
    stderr!(by_code(PASSPHRASE).fails_with(5).stdout(""), @"
    error: invalid recovery code: it has 25 characters instead of 56
    hint: it was read from SECRETS_PASSPHRASE; remove `--passphrase-file` and SECRETS_PASSPHRASE* to be asked for it
    ");

    sandbox.run(["list"]).succeeds().stdout_has("key");
    stderr!(sandbox.command(["list"]).env("SECRETS_PASSPHRASE", &code).run().fails_with(5), @"
    error: wrong passphrase
    hint: enter the one last set with `secrets init` or `secrets passwd`, or use a recovery code with `--recovery`
    ");

    // One code is mistyped. The other is valid but belongs to another vault.
    let mistyped = code.replacen(
        code.chars().next().unwrap(),
        if code.starts_with('7') { "8" } else { "7" },
        1,
    );

    stderr!(by_code(&mistyped).fails_with(5), @"
    error: invalid recovery code: a character is wrong: the checksum does not match
    hint: it was read from SECRETS_PASSPHRASE; remove `--passphrase-file` and SECRETS_PASSPHRASE* to be asked for it
    ");

    let other = self::sandbox();
    stderr!(by_code(&recovery_code(&other, &[])).fails_with(5), @"
    error: wrong recovery code
    hint: enter the code that `secrets recovery create` or `secrets rekey` last printed for this vault
    ");
}

#[test]
fn json_has_the_code_as_a_member() {
    let sandbox = sandbox();
    let found = sandbox.run(["recovery", "create", "--json"]).succeeds().json();
    assert_eq!(found["recoveryCode"].as_str().unwrap().len(), 69);
    assert_eq!(found.as_object().unwrap().len(), 1);
}

#[test]
fn a_vault_has_one_code_at_a_time() {
    let sandbox = sandbox();
    let list =
        |code: &str| sandbox.command(["list", "--recovery"]).env("SECRETS_PASSPHRASE", code).run();
    let first = recovery_code(&sandbox, &[]);
    stderr!(sandbox.run(["recovery", "create"]).fails_with(4).stdout(""), @"
    error: the vault already has a recovery code
    hint: use `--replace` to create another one; the old one then no longer works
    ");

    let second = recovery_code(&sandbox, &["--replace"]);
    stderr!(list(&first).fails_with(5), @"
    error: wrong recovery code
    hint: enter the code that `secrets recovery create` or `secrets rekey` last printed for this vault
    ");

    list(&second).succeeds().stdout_has("key");
    stderr!(sandbox.run(["recovery", "delete"]).fails_with(7), @"
    error: deleting the recovery code requires `--yes` if there is no terminal to ask on
    hint: add `--yes` to confirm; nothing was changed
    ");

    stderr!(sandbox.run(["recovery", "delete", "-y"]).succeeds(), @"deleted the recovery code");
    for run in [list(&second), sandbox.run(["recovery", "delete", "-y"])] {
        stderr!(run.fails_with(5).stdout(""), @"
        error: the vault has no recovery code
        hint: enter the passphrase; `secrets recovery create` then creates a recovery code
        ");
    }
}

#[test]
fn a_code_survives_a_change_of_passphrase_and_can_authorise_one() {
    let sandbox = sandbox();
    passphrase_file(&sandbox, "new", NEW_PASSPHRASE);
    recovery_code(&sandbox, &[]);

    // The passphrase was forgotten.
    let run = sandbox
        .command([
            "passwd",
            "-q",
            "--recovery",
            "--passphrase-file",
            "code",
            "--new-passphrase-file",
            "new",
        ])
        .without_env("SECRETS_PASSPHRASE")
        .run();

    stderr!(run.succeeds(), @"warning: guessing it costs less than with the default, `--kdf-memory 256 --kdf-iterations 3`");
    stderr!(sandbox.run(["list"]).fails_with(5), @"
    error: wrong passphrase
    hint: enter the one last set with `secrets init` or `secrets passwd`, or use a recovery code with `--recovery`
    ");

    sandbox
        .command(["list"])
        .env("SECRETS_PASSPHRASE", NEW_PASSPHRASE)
        .run()
        .succeeds()
        .stdout_has("key");
    sandbox.run(["list", "--recovery", "--passphrase-file", "code"]).succeeds().stdout_has("key");
}

#[test]
fn a_code_that_could_not_be_shown_is_reported() {
    let sandbox = sandbox();
    let mut command = sandbox.command(["recovery", "create"]).command;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();

    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("error: the vault has a new recovery code, which could not be shown: "),
        "{text}"
    );

    assert!(
        text.ends_with("hint: create another one with `secrets recovery create --replace`\n"),
        "{text}"
    );

    // A reader that went away is not a success either.
    let line = "\"$0\" recovery create --replace 2>err | true; cat err";
    let mut shell = std::process::Command::new("bash");
    shell
        .arg("-c")
        .arg(format!("{line}; exit ${{PIPESTATUS[0]}}"))
        .arg(env!("CARGO_BIN_EXE_secrets"));

    let prepared = sandbox.command([""; 0]).command;
    shell.env_clear().env("PATH", "/usr/bin:/bin").current_dir(sandbox.path(""));
    shell.envs(environment(&prepared));
    let text = String::from_utf8(shell.output().unwrap().stdout).unwrap();

    // The pipe may have been read in time. Then the code counts as shown.
    assert!(text == SHOWN || text.contains("could not be shown"), "{text}");
}

#[test]
fn a_code_fits_a_terminal_and_its_input_is_hidden() {
    let sandbox = sandbox();
    let mut terminal = Terminal::shell(&sandbox, "stty cols 40; \"$secrets\" recovery create");
    terminal
        .waits_for("Passphrase for ")
        .types(&format!("{PASSPHRASE}\n"))
        .waits_for("write this recovery code down");

    let screen = terminal.ends_with(0).to_owned();
    let lines: Vec<&str> =
        screen.lines().map(str::trim).filter(|line| line.matches('-').count() >= 6).collect();
    assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [35, 34], "{screen}");
    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" list --recovery");

    terminal.waits_for("Recovery code for ").types("7777\n");
    terminal.waits_for("invalid recovery code: it has 4 characters instead of 56, try again");
    terminal
        .waits_for("Recovery code for ")
        .types(&format!("{}\n", lines.concat().to_lowercase()))
        .waits_for("key");

    assert!(!terminal.ends_with(0).contains(&lines[1].to_lowercase()));
}
