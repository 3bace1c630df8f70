//! `secrets recovery` and `--recovery`: a code that is shown once and opens the vault as the passphrase does.

use std::process::Stdio;

use crate::passwd::{NEW, file};
use crate::prompts::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

const SHOWN: &str = "write this recovery code down: it unlocks the vault like the passphrase does \
                     and is not shown again\n";

fn sandbox() -> Sandbox {
    Sandbox::with_secrets(&[("key", "a value")])
}

/// Makes a code, and puts it into the file `code`.
pub fn create(sandbox: &Sandbox, options: &[&str]) -> String {
    let run = sandbox.run([&["recovery", "create"][..], options].concat()).succeeds().stderr(SHOWN);
    let code = String::from_utf8(run.bytes()).unwrap();
    file(sandbox, "code", code.trim_end());
    code.trim_end().to_owned()
}

#[test]
fn a_code_is_printed_once_and_opens_the_vault() {
    let sandbox = sandbox();
    let code = create(&sandbox, &[]);
    assert_eq!((code.len(), code.split('-').count()), (69, 14), "{code}");
    let by_code = |code: &str| {
        let prepared = sandbox.command(["render", "-e", "{{ KEY }}", "--recovery"]);
        prepared.env("SECRETS_PASSPHRASE", code).run()
    };

    by_code(&code).succeeds().stdout("a value");
    by_code(&code.to_lowercase().replace('-', " ")).succeeds().stdout("a value");
    sandbox.run(["list", "--recovery", "--passphrase-file", "code"]).succeeds().stdout_has("key");

    // The passphrase is none, and goes on opening the vault.
    stderr!(by_code(PASSPHRASE).fails_with(5).stdout(""), @"
    error: that is no recovery code: it has 25 characters instead of 56
    hint: it came out of SECRETS_PASSPHRASE; leave out `--passphrase-file` and SECRETS_PASSPHRASE* to be asked for it
    ");

    sandbox.run(["list"]).succeeds().stdout_has("key");
    stderr!(sandbox.command(["list"]).env("SECRETS_PASSPHRASE", &code).run().fails_with(5), @"
    error: wrong passphrase
    hint: it is the one given last, at `secrets init` or `secrets passwd`; `--recovery` takes a recovery code
    ");

    // Mistyped, and well formed but another's.
    let mistyped = code.replacen(
        code.chars().next().unwrap(),
        if code.starts_with('7') { "8" } else { "7" },
        1,
    );

    stderr!(by_code(&mistyped).fails_with(5), @"
    error: that is no recovery code: its checksum is wrong, so it contains a typing error
    hint: it came out of SECRETS_PASSPHRASE; leave out `--passphrase-file` and SECRETS_PASSPHRASE* to be asked for it
    ");

    let other = self::sandbox();
    stderr!(by_code(&create(&other, &[])).fails_with(5), @"
    error: wrong recovery code
    hint: it is the one that `secrets recovery create` or `secrets rekey` printed last for this vault
    ");
}

#[test]
fn as_json_it_is_a_member() {
    let sandbox = sandbox();
    let found = sandbox.run(["recovery", "create", "--json"]).succeeds().json();
    assert_eq!(found["recoveryCode"].as_str().unwrap().len(), 69);
    assert_eq!(found.as_object().unwrap().len(), 1);
}

#[test]
fn there_is_one_at_a_time() {
    let sandbox = sandbox();
    let list =
        |code: &str| sandbox.command(["list", "--recovery"]).env("SECRETS_PASSPHRASE", code).run();
    let first = create(&sandbox, &[]);
    stderr!(sandbox.run(["recovery", "create"]).fails_with(4).stdout(""), @"
    error: the vault has a recovery code already
    hint: `--replace` makes another one; the old one then opens nothing
    ");

    let second = create(&sandbox, &["--replace"]);
    stderr!(list(&first).fails_with(5), @"
    error: wrong recovery code
    hint: it is the one that `secrets recovery create` or `secrets rekey` printed last for this vault
    ");

    list(&second).succeeds().stdout_has("key");
    stderr!(sandbox.run(["recovery", "delete"]).fails_with(7), @"
    error: deleting the recovery code needs `--yes` where there is no terminal to ask on
    hint: nothing was changed; add `--yes` to do it
    ");

    stderr!(sandbox.run(["recovery", "delete", "-y"]).succeeds(), @"deleted the recovery code");
    for run in [list(&second), sandbox.run(["recovery", "delete", "-y"])] {
        stderr!(run.fails_with(5).stdout(""), @"
        error: the vault has no recovery code
        hint: with the passphrase, `secrets recovery create` makes one
        ");
    }
}

#[test]
fn it_outlives_a_change_of_passphrase_and_makes_one() {
    let sandbox = sandbox();
    file(&sandbox, "new", NEW);
    create(&sandbox, &[]);

    // The passphrase is forgotten.
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

    stderr!(run.succeeds(), @"warning: a guess at it costs less than by default, which is `--kdf-memory 256 --kdf-iterations 3`");
    stderr!(sandbox.run(["list"]).fails_with(5), @"
    error: wrong passphrase
    hint: it is the one given last, at `secrets init` or `secrets passwd`; `--recovery` takes a recovery code
    ");

    sandbox.command(["list"]).env("SECRETS_PASSPHRASE", NEW).run().succeeds().stdout_has("key");
    sandbox.run(["list", "--recovery", "--passphrase-file", "code"]).succeeds().stdout_has("key");
}

#[test]
fn a_code_that_could_not_be_shown_is_told() {
    let sandbox = sandbox();
    let mut command = sandbox.command(["recovery", "create"]).command;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();

    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.starts_with("error: the vault has a new recovery code, which could not be shown: "),
        "{told}"
    );

    assert!(
        told.ends_with("hint: create another one with `secrets recovery create --replace`\n"),
        "{told}"
    );

    // Nor is a reader that went away a success.
    let line = "\"$0\" recovery create --replace 2>err | true; cat err";
    let mut shell = std::process::Command::new("bash");
    shell
        .arg("-c")
        .arg(format!("{line}; exit ${{PIPESTATUS[0]}}"))
        .arg(env!("CARGO_BIN_EXE_secrets"));

    let prepared = sandbox.command([""; 0]).command;
    shell.env_clear().env("PATH", "/usr/bin:/bin").current_dir(sandbox.path(""));
    shell.envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let told = String::from_utf8(shell.output().unwrap().stdout).unwrap();

    // The pipe may have been read before: then there is nothing to tell but that it was shown.
    assert!(told == SHOWN || told.contains("could not be shown"), "{told}");
}

#[test]
fn on_a_terminal_it_fits_and_is_typed_unseen() {
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
    terminal
        .waits_for("warning: invalid recovery code: it has 4 characters instead of 56, try again");
    terminal
        .waits_for("Recovery code for ")
        .types(&format!("{}\n", lines.concat().to_lowercase()))
        .waits_for("key");

    assert!(!terminal.ends_with(0).contains(&lines[1].to_lowercase()));
}
