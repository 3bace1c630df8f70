//! No useless questions: a command that is known to fail does so before it asks for a passphrase, a
//! value or a confirmation.

use std::fmt::Write;
use std::process::Command;

use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox, terminal};

/// How questions look on the screen.
const QUESTIONS: [&str; 6] =
    ["assphrase for ", "assphrase: ", "Recovery code for ", "Value of ", "[y/N]", "[Y/n]"];

/// Runs command lines one after the other on a terminal, without a passphrase. Each must end with
/// its code and ask nothing.
#[track_caller]
fn assert_no_prompt(sandbox: &Sandbox, cases: &[(&str, u8)]) {
    let mut script = String::new();
    for (number, (line, _)) in cases.iter().enumerate() {
        writeln!(script, "{line}\necho \"case {number} ends with $?.\"").unwrap();
    }

    let mut terminal = Terminal::shell(sandbox, &script);
    for number in 0..cases.len() {
        // A question would block here until the timeout.
        terminal.waits_for(&format!("case {number} ends with "));
    }

    let screen = terminal.ends_with(0).to_owned();
    let mut wrong = String::new();
    let mut rest = &*screen;

    for (number, (line, code)) in cases.iter().enumerate() {
        let (shown, after) = rest.split_once(&format!("case {number} ends with ")).unwrap();
        let (found, after) = after.split_once('.').unwrap();
        rest = after;
        if found != code.to_string() || QUESTIONS.iter().any(|question| shown.contains(question)) {
            writeln!(wrong, "{line}: {found}, not {code}{shown}").unwrap();
        }
    }

    assert!(wrong.is_empty(), "{wrong}");
}

const MANIFEST: &str = "project = \"web\"\n[secrets.key]\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"out.env\"\n\
                        [run.env]\nKEY = \"{{ secrets.key }}\"\n";

/// Returns the sandbox with a manifest that is not trusted yet, so using it would ask a question.
fn untrusted(sandbox: Sandbox) -> Sandbox {
    let sandbox = sandbox.without_trust();
    std::fs::create_dir(sandbox.path("clone")).unwrap();
    sandbox.write("clone/.secrets.toml", MANIFEST);
    sandbox.write("clone/t.tmpl", "KEY={{ secrets.key }}\n");
    sandbox.write("clone/new.env", "KEY=value\n");

    sandbox
}

#[test]
fn without_a_vault_no_passphrase_is_asked_for() {
    let sandbox = untrusted(Sandbox::empty());
    sandbox.write("t.tmpl", "KEY={{ secrets.key }}\n");
    sandbox.write("a.env", "KEY=value\n");
    assert_no_prompt(
        &sandbox,
        &[
            (r#""$secrets" list"#, 3),
            (r#""$secrets" list --all-projects"#, 3),
            (r#""$secrets" get key"#, 3),
            (r#""$secrets" update key"#, 3),
            (r#""$secrets" delete key"#, 3),
            (r#""$secrets" clone key --to other"#, 3),
            (r#""$secrets" render -e '{{ secrets.key }}'"#, 3),
            (r#""$secrets" render t.tmpl -o out"#, 3),
            (r#""$secrets" run -- true"#, 125),
            (r#""$secrets" run --only key -- true"#, 125),
            (r#""$secrets" run --dry-run"#, 125),
            (r#""$secrets" refs se0123456789abcdef"#, 3),
            (r#""$secrets" scan"#, 3),
            (r#""$secrets" redact a.env"#, 3),
            (r#""$secrets" import a.env --dry-run"#, 0),
            (r#""$secrets" export --encrypted out.age"#, 3),
            (r#""$secrets" backup copy.db"#, 3),
            (r#""$secrets" restore --accept"#, 3),
            (r#""$secrets" restore nowhere.db"#, 3),
            (r#""$secrets" salvage rescued.db"#, 3),
            (r#""$secrets" verify"#, 3),
            (r#""$secrets" compact"#, 3),
            (r#""$secrets" rekey"#, 3),
            (r#""$secrets" rekey --project web"#, 3),
            (r#""$secrets" passwd"#, 3),
            (r#""$secrets" passwd --upgrade-kdf"#, 3),
            (r#""$secrets" recovery create"#, 3),
            (r#""$secrets" recovery delete"#, 3),
            (r#""$secrets" unlock"#, 3),
            (r#""$secrets" status"#, 3),
            (r#""$secrets" project list"#, 3),
            (r#""$secrets" project rename web website"#, 3),
            (r#""$secrets" project delete web"#, 3),
            // Creating a vault is not offered if stdin is not a terminal.
            (r#"printf value | "$secrets" create key"#, 3),
            (r#"printf KEY=value | "$secrets" import -"#, 3),
            (r#"cd clone; "$secrets" check"#, 3),
            (r#""$secrets" render --all"#, 3),
            (r#""$secrets" render --stale"#, 3),
            (r#""$secrets" render t.tmpl"#, 3),
            (r#""$secrets" run -- true"#, 125),
            (r#""$secrets" update key"#, 3),
            (r#""$secrets" delete key"#, 3),
            (r#""$secrets" clone key --to other"#, 3),
            (r#""$secrets" export --encrypted out.age"#, 3),
            (r#"printf value | "$secrets" create key"#, 3),
            (r#"printf KEY=value | "$secrets" import -"#, 3),
            (r#""$secrets" template new.env <new.env"#, 3),
        ],
    );
}

#[test]
fn invalid_arguments_and_files_fail_before_the_passphrase_prompt() {
    let sandbox = untrusted(Sandbox::with_secrets(&[("key", "x")]));
    std::fs::create_dir(sandbox.path("directory")).unwrap();
    sandbox.write("t.tmpl", "KEY={{ secrets.key }}\n");
    sandbox.write("invalid.tmpl", "KEY={{ secrets.key | }}\n");
    sandbox.write("notes", "notes\n");
    sandbox.write("a.env", "KEY=value\n");
    sandbox.write("large", vec![b'x'; 1024 * 1024 + 1]);

    let key = "A".repeat(43);
    let header =
        format!("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 1\n{key}\n--- {key}\n");
    sandbox.write("in.age", header + &"x".repeat(100));
    stderr!(sandbox.run(["init", "-q", "--vault", "other.db", "--kdf-memory", "19"]).succeeds(), @"warning: these key derivation parameters make guessing cheaper than the defaults");
    assert_no_prompt(
        &sandbox,
        &[
            (r#""$secrets" create 'a b'"#, 2),
            (r#""$secrets" create new --name "$(printf 'a\nb')""#, 2),
            (r#""$secrets" create new --value-file nowhere"#, 1),
            (r#""$secrets" create new --value-file directory"#, 1),
            (r#""$secrets" create new --value-file large"#, 2),
            (r#""$secrets" update key --value-file nowhere"#, 1),
            (r#""$secrets" get 'a b'"#, 2),
            (r#""$secrets" list --project 'a b'"#, 2),
            (r#"SECRETS_PROJECT='a b' "$secrets" list"#, 2),
            (r#""$secrets" clone key --to 'a b'"#, 2),
            (r#""$secrets" clone key"#, 2),
            (r#""$secrets" render nowhere.tmpl"#, 1),
            (r#""$secrets" render directory"#, 1),
            (r#""$secrets" render invalid.tmpl"#, 2),
            (r#""$secrets" render t.tmpl -o nowhere/out"#, 1),
            (r#""$secrets" render t.tmpl -o notes/out"#, 1),
            (r#""$secrets" render t.tmpl -o directory"#, 7),
            (r#""$secrets" run -- no-such-program"#, 127),
            (r#""$secrets" run -- ./no-such-program"#, 127),
            (r#""$secrets" run -- ./notes"#, 126),
            (r#""$secrets" run -- ./directory"#, 126),
            (r#""$secrets" run --env-file nowhere -- true"#, 125),
            (r#""$secrets" run --env 'X={{ secrets. }}' -- true"#, 125),
            (r#""$secrets" run --file 'X=a b' -- true"#, 125),
            (r#""$secrets" refs 'a b'"#, 2),
            (r#""$secrets" scan nowhere"#, 1),
            (r#"GIT_CEILING_DIRECTORIES=/ "$secrets" scan --staged"#, 1),
            (r#""$secrets" redact nowhere"#, 1),
            (r#""$secrets" redact directory"#, 1),
            (r#""$secrets" import nowhere"#, 1),
            (r#""$secrets" import directory"#, 1),
            (r#""$secrets" import notes"#, 2),
            (r#""$secrets" import in.age --import-passphrase-file nowhere"#, 5),
            (r#""$secrets" import in.age --identity nowhere"#, 5),
            (r#""$secrets" export"#, 2),
            (r#""$secrets" export --encrypted nowhere/out.age"#, 1),
            (r#""$secrets" export --encrypted directory"#, 7),
            (r#""$secrets" export --encrypted notes"#, 4),
            (r#""$secrets" export --encrypted out.age --recipient age1"#, 2),
            (r#""$secrets" export --encrypted out.age --recipients-file nowhere"#, 1),
            (r#""$secrets" export --encrypted out.age --export-passphrase-file nowhere"#, 5),
            (r#""$secrets" backup nowhere/copy.db"#, 3),
            (r#""$secrets" backup notes"#, 4),
            (r#""$secrets" backup directory"#, 4),
            (r#""$secrets" backup --replace notes"#, 6),
            (r#""$secrets" backup --replace other.db"#, 7),
            (r#""$secrets" restore nowhere.db"#, 3),
            (r#""$secrets" restore notes"#, 6),
            (r#""$secrets" restore vault.db"#, 2),
            (r#""$secrets" salvage notes"#, 4),
            (r#""$secrets" salvage nowhere/rescued.db"#, 3),
            (r#""$secrets" salvage rescued.db --new-passphrase-file nowhere"#, 5),
            (r#""$secrets" passwd --new-passphrase-file nowhere"#, 5),
            (r#""$secrets" passwd --kdf-memory 1"#, 2),
            (r#""$secrets" rekey --new-passphrase-file nowhere"#, 5),
            (r#""$secrets" rekey --recovery-file nowhere"#, 5),
            (r#""$secrets" rekey --recovery-file notes"#, 5),
            (r#""$secrets" recovery delete"#, 5),
            (r#""$secrets" list --recovery"#, 5),
            (r#""$secrets" unlock --recovery"#, 5),
            (r#""$secrets" unlock --ttl soon"#, 2),
            (r#""$secrets" unlock --passphrase-file nowhere"#, 5),
            (r#""$secrets" project delete 'a b'"#, 2),
            (r#""$secrets" init"#, 4),
            (r#""$secrets" init --vault notes/vault.db"#, 1),
            (r#""$secrets" init --vault new.db --kdf-memory 1"#, 2),
            (r#""$secrets" template nowhere.env"#, 1),
            (r#""$secrets" template directory"#, 7),
            (r#""$secrets" template a.env -o nowhere/t.tmpl"#, 1),
            (r#""$secrets" template a.env -o directory"#, 4),
            (r#""$secrets" template a.env --keep NOWHERE"#, 2),
            (r#""$secrets" setup"#, 3),
            (r#""$secrets" check"#, 3),
            (r#""$secrets" adopt a.env"#, 3),
            (r#"cd clone; "$secrets" setup --from nowhere"#, 1),
            (r#""$secrets" adopt out.env"#, 3),
            (r#""$secrets" template nowhere.env"#, 1),
            (r#""$secrets" import nowhere"#, 1),
            (r#""$secrets" create new --value-file nowhere"#, 1),
            (r#""$secrets" run -- no-such-program"#, 127),
            (r#""$secrets" run --file 'X=a b' -- true"#, 125),
        ],
    );
}

#[test]
fn an_output_that_git_tracks_is_refused_before_the_passphrase_prompt() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    sandbox.write(".secrets.toml", MANIFEST);
    sandbox.write("t.tmpl", "KEY={{ secrets.key }}\n");
    sandbox.write("out.env", "KEY=old\n");

    for arguments in [&["init", "-q"][..], &["add", "out.env"]] {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(sandbox.path("")).env("HOME", sandbox.path(""));
        assert!(git.status().unwrap().success());
    }

    assert_no_prompt(
        &sandbox,
        &[
            (r#""$secrets" render --all"#, 7),
            (r#""$secrets" render --stale"#, 7),
            (r#""$secrets" render t.tmpl -o out.env"#, 7),
            (r#""$secrets" setup"#, 7),
        ],
    );
}

#[test]
fn names_are_checked_before_a_confirmation_or_value_prompt() {
    let sandbox = Sandbox::with_secrets(&[("key", "x"), ("other", "x")]);
    sandbox.run(["unlock", "-q"]).succeeds();
    assert_no_prompt(
        &sandbox,
        &[
            (r#""$secrets" delete nowhere"#, 3),
            (r#""$secrets" delete key nowhere"#, 3),
            (r#""$secrets" delete --project nowhere key"#, 3),
            (r#""$secrets" project delete nowhere"#, 3),
            (r#""$secrets" project delete default nowhere"#, 3),
            (r#""$secrets" project rename nowhere new"#, 3),
            (r#""$secrets" update nowhere"#, 3),
            (r#""$secrets" create KEY"#, 4),
            (r#""$secrets" clone nowhere --to new"#, 3),
            (r#""$secrets" clone key --tag other"#, 4),
            (r#""$secrets" rekey --project nowhere"#, 3),
            (r#""$secrets" export --encrypted out.age --project nowhere"#, 3),
        ],
    );

    sandbox.run(["lock", "-q"]).succeeds();
}

#[test]
fn a_recovery_code_for_a_vault_without_one_is_refused_before_any_prompt() {
    let other = Sandbox::new();
    let code = stderr!(other.run(["recovery", "create"]).succeeds(), @"write this recovery code down: it unlocks the vault like the passphrase does and is not shown again")
        .bytes();
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);

    sandbox.write("code", code);
    assert_no_prompt(&sandbox, &[(r#""$secrets" rekey --recovery-file code"#, 5)]);
}

/// Without a terminal and without `--yes` nothing is changed. A missing name is reported first.
#[test]
fn a_missing_name_is_reported_before_the_confirmation() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    sandbox.write("other.db", "no vault");
    for (line, code) in [
        (&["delete", "nope"][..], 3),
        (&["delete", "key", "nope"], 3),
        (&["delete", "key"], 7),
        (&["project", "delete", "nope"], 3),
        (&["project", "delete", "default"], 7),
        (&["restore", "nofile"], 3),
        (&["restore", "other.db"], 6),
        (&["restore", "--accept"], 7),
        (&["rekey", "--project", "nope"], 3),
        (&["rekey", "--project", "default"], 7),
        (&["rekey"], 7),
        (&["rekey", "--recovery-file", "nofile"], 5),
        (&["recovery", "delete"], 5),
    ] {
        let run = sandbox.run(line).fails_with(code).stdout("");
        let hint = "hint: add `--yes` to confirm; nothing was changed\n";
        if code == 7 {
            drop(run.stderr_has(hint));
        } else {
            drop(run.without("--yes").stderr_has("error: "));
        }
    }

    // The names cannot be checked without a passphrase, and asking for one would be useless.
    let bare = |line: &[&str]| sandbox.command(line).without_env("SECRETS_PASSPHRASE").run();
    bare(&["delete", "nope"]).fails_with(7).stderr_has("add `--yes`");
    bare(&["project", "delete", "nope"]).fails_with(7).stderr_has("add `--yes`");

    let empty = Sandbox::empty();
    for line in [
        &["delete", "x"][..],
        &["project", "delete", "x"],
        &["rekey"],
        &["rekey", "--project", "x"],
        &["restore", "--accept"],
        &["recovery", "delete"],
        &["passwd"],
        &["passwd", "--upgrade-kdf"],
    ] {
        empty.run(line).fails_with(3).stdout("").stderr_has("error: no vault at ");
    }
}

const HINT: &str =
    "`secrets unlock` asks once and keeps the vault unlocked for 15m, or 5m without use";

#[test]
fn the_first_prompt_for_a_vault_mentions_unlock_once() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let list = |arguments: &str| {
        let mut terminal =
            Terminal::shell(&sandbox, &format!("stty cols 200; \"$secrets\" list {arguments}"));
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("key");
        terminal.ends_with(0).to_owned()
    };

    // Without a terminal or with -q the hint is not shown, and the run does not count as the first
    // question.
    sandbox.run(["list"]).succeeds().stdout_has("key").stderr("");
    assert!(!list("-q").contains("unlock"));
    let first = list("");
    let (above, below) = first.split_once(HINT).unwrap();

    assert!(!above.contains("Passphrase for ") && below.contains("Passphrase for "), "{first}");
    assert!(!list("").contains("unlock"));
}

#[test]
fn users_of_unlock_do_not_get_the_hint() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    sandbox.run(["unlock", "-q"]).succeeds();
    sandbox.run(["lock", "-q"]).succeeds();
    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" list");

    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("key");
    assert!(!terminal.ends_with(0).contains("secrets unlock"));
}

#[test]
fn without_stored_state_the_prompts_have_no_hint() {
    let sandbox = Sandbox::with_state_inside();
    terminal::init(&sandbox);
    let _ = std::fs::remove_dir_all(sandbox.path("state"));
    sandbox.write("state", "no directory");

    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" project list");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    assert!(!terminal.ends_with(0).contains("secrets unlock"));
}

#[test]
fn init_ends_with_the_next_step_in_40_columns() {
    let sandbox = Sandbox::empty();
    let cheap = "init --kdf-memory 19 --kdf-iterations 1";
    let mut terminal = Terminal::shell(&sandbox, &format!("stty cols 40; \"$secrets\" {cheap}"));
    terminal.waits_for("New passphrase: ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Repeat passphrase: ").types(PASSPHRASE).types("\n");

    let screen = terminal.waits_for("next: ").ends_with(0).to_owned();
    let end = screen.rsplit_once("next: ").unwrap().1.split_once("code=").unwrap().0;
    let lines: Vec<&str> = end.lines().collect();
    assert!(lines.iter().all(|line| line.len() <= 40), "{lines:?}");

    let text = format!("store a secret with `secrets create TAG` {HINT}");
    assert_eq!(lines.join(" "), text);
}

#[test]
fn create_that_created_the_vault_ends_with_the_next_step() {
    let sandbox = Sandbox::empty();
    let create = |arguments: &str| format!("stty cols 200; \"$secrets\" create {arguments}");
    let mut terminal = Terminal::shell(&sandbox, &create("key"));
    terminal.waits_for("[Y/n] ").types("y\n");
    terminal.waits_for("New passphrase: ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Repeat passphrase: ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Value of key: ").types("1234\n").waits_for("created `key`");
    terminal.waits_for(
        "next: use `secrets run -- CMD` to run a program with the project's secrets\r\n",
    );
    terminal.waits_for(HINT).ends_with(0);

    // Later secrets are created without this hint.
    stderr!(sandbox.command(["create", "other"]).stdin("value").run().succeeds().without("next: "), @"created `other` in project `default`, hint ••••");
}
