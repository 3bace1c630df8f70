//! Prompts on a real pseudo-terminal: which questions are asked, what stays hidden, and what Ctrl-C
//! leaves behind.
//!
//! A shell runs the program, as for a user. It reports the exit code, whether the terminal echoes
//! again, and the unread input.

use crate::support::files::passphrase_file;
use crate::support::terminal::Terminal;
use crate::support::values::revealed;
use crate::support::{PASSPHRASE, Sandbox, project};

const CTRL_C: &str = "\x03";

fn is_empty(sandbox: &Sandbox) -> bool {
    sandbox.vault().list(None, |_| true).unwrap().is_empty()
}

#[test]
fn init_asks_twice_and_shows_nothing() {
    let sandbox = Sandbox::empty();
    let mut terminal = Terminal::run(&sandbox, "init --kdf-memory 19 --kdf-iterations 1");
    terminal.waits_for("New passphrase: ").types("first try\n");
    terminal.waits_for("Repeat passphrase: ").types("second try\n");
    terminal.waits_for("the passphrases differ, try again");
    terminal.waits_for("New passphrase: ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Repeat passphrase: ").types(PASSPHRASE).types("\n");

    let screen = terminal.ends_with(0);
    assert!(screen.contains("created the vault"), "{screen}");
    for typed in ["first", "second", "horse"] {
        assert!(!screen.contains(typed), "{screen}");
    }

    sandbox.run(["list", "-q"]).succeeds(); // with the typed passphrase
}

#[test]
fn init_suggests_six_random_words() {
    let suggested = |typed: &str| {
        let sandbox = Sandbox::empty();
        let mut terminal =
            Terminal::run(&sandbox, "init --suggest --kdf-memory 19 --kdf-iterations 1 >out 2>err");
        let screen = terminal
            .waits_for("New passphrase (press Enter to use these words): ")
            .screen()
            .to_owned();
        let (_, words) = screen.split_once("Write down these six random words:\r\n  ").unwrap();
        let words = words.lines().next().unwrap().to_owned();
        let passphrase = if typed.is_empty() { words.clone() } else { typed.to_owned() };

        terminal
            .types(typed)
            .types("\n")
            .waits_for("Repeat passphrase: ")
            .types(&passphrase)
            .types("\n")
            .ends_with(0);

        // The passphrase appears only on the terminal, not in redirected output.
        let text = [sandbox.read("out"), sandbox.read("err")].concat();
        assert!(!String::from_utf8(text).unwrap().contains(words.split(' ').next().unwrap()));
        sandbox.command(["list", "-q"]).env("SECRETS_PASSPHRASE", passphrase).run().succeeds();
        words
    };

    let (one, other) = (suggested(""), suggested("a passphrase of my own, not theirs"));
    assert_eq!(one.split(' ').count(), 6);
    assert_ne!(one, other);
}

/// In `a | b` on one terminal both processes are locked. Without taking turns, each would read a
/// part of both answers.
#[test]
fn two_processes_ask_one_after_the_other() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::shell(&sandbox, "\"$secrets\" list | \"$secrets\" redact");
    for _ in 0..2 {
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    }

    terminal.waits_for("key\t").waits_for("\r\n");
    let screen = terminal.ends_with(0);
    assert_eq!(screen.matches("Passphrase for ").count(), 2, "{screen}");
    assert!(!screen.contains("horse") && !screen.contains(": Passphrase"), "{screen}");
}

/// A process in the background stops before it can block the others.
#[test]
fn a_background_question_blocks_nobody() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let script = "set -m; \"$secrets\" list & sleep 0.5; \"$secrets\" list; code=$?; kill -KILL %1; (exit $code)";
    let mut terminal = Terminal::shell(&sandbox, script);
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n").waits_for("key  ");
    terminal.ends();
    assert_eq!(terminal.screen().matches("Passphrase for ").count(), 1, "{}", terminal.screen());
}

#[test]
fn ctrl_c_ends_the_wait_for_a_turn() {
    use rustix::process::{Pid, Signal, kill_process};
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let script = "sh -c 'echo \"pid=$$,\"; exec \"$secrets\" list' | cat; echo first";
    let both = format!("\"$secrets\" list >/dev/null | {{ sleep 0.3; {script}; }}");
    let mut terminal = Terminal::shell(&sandbox, &both);
    let screen = terminal.waits_for("Passphrase for ").waits_for("pid=").waits_for(",").screen();
    let (_, rest) = screen.split_once("pid=").unwrap();
    let pid = rest.split(',').next().unwrap().parse().unwrap();

    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    terminal.waits_for("first").types(PASSPHRASE).types("\n").ends();
    assert_eq!(terminal.screen().matches("Passphrase for ").count(), 1, "{}", terminal.screen());
}

#[test]
fn a_slow_key_derivation_is_announced() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    passphrase_file(&sandbox, "p", "a passphrase of the export, and long");

    // The test does not wait for the key derivation itself.
    let mut terminal =
        Terminal::run(&sandbox, "export --encrypted out.age --export-passphrase-file p");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("deriving the file's key from the passphrase");

    // This file asks for the least work, and nothing opens it.
    let key = "A".repeat(43);
    let header =
        format!("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 1\n{key}\n--- {key}\n");
    sandbox.write("in.age", header + &"x".repeat(100));
    let mut terminal =
        Terminal::run(&sandbox, "import in.age --import-passphrase-file p --dry-run");
    terminal
        .waits_for("deriving the file's key from the passphrase")
        .waits_for("wrong passphrase")
        .ends_with(5);
}

#[test]
fn init_gives_up_after_three_mismatches() {
    let sandbox = Sandbox::empty();
    let mut terminal = Terminal::run(&sandbox, "init");
    for _ in 0..3 {
        terminal.waits_for("New passphrase: ").types("one\n");
        terminal.waits_for("Repeat passphrase: ").types("other\n");
    }

    terminal.waits_for("error: the passphrase was not typed the same way twice").ends_with(5);
    assert!(!sandbox.vault_path().exists());
}

#[test]
fn init_refuses_an_empty_passphrase_and_warns_of_a_weak_one() {
    let sandbox = Sandbox::empty();
    let mut terminal = Terminal::run(&sandbox, "init");
    terminal.waits_for("New passphrase: ").types("\n");
    terminal.waits_for("error: invalid passphrase: it is empty").ends_with(5);
    assert!(!sandbox.vault_path().exists());

    let mut terminal = Terminal::run(&sandbox, "init --kdf-memory 19 --kdf-iterations 1");
    terminal.waits_for("New passphrase: ").types("hunter2\n");
    terminal.waits_for("Repeat passphrase: ").types("hunter2\n");
    let screen = terminal.waits_for("this passphrase is weak").ends_with(0);

    assert!(!screen.contains("hunter2"), "{screen}");
}

#[test]
fn create_asks_for_the_passphrase_then_for_the_value_and_shows_the_hint() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag key");
    terminal
        .waits_for(&format!("Passphrase for {}: ", sandbox.vault_path().display()))
        .types(PASSPHRASE)
        .types("\n");

    terminal.waits_for("Value of key: ").types("abcdefghijklmnopqrstuvwxyz012345\n");
    terminal.waits_for("created `key` in project `default`, hint abcd…2345");
    let screen = terminal.ends_with(0);
    assert!(!screen.contains("horse") && !screen.contains("cdefgh"), "{screen}");
    assert_eq!(revealed(&sandbox, "key"), b"abcdefghijklmnopqrstuvwxyz012345");
}

#[test]
fn create_asks_for_no_value_if_the_tag_exists() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::run(&sandbox, "create --tag KEY");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    let screen = terminal.waits_for("error: secret `key` already exists").ends_with(4);

    assert!(!screen.contains("Value of"), "{screen}");
}

#[test]
fn create_on_a_terminal_without_a_vault_offers_to_create_one() {
    for no in ["n\n", "no\n"] {
        let sandbox = Sandbox::empty();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        let path = sandbox.vault_path().display().to_string();
        terminal
            .waits_for(&format!("There is no vault yet. Create one at {path}? [Y/n] "))
            .types(no);
        terminal
            .waits_for("\r\nthere is no vault")
            .waits_for("hint: create one with `secrets init`")
            .ends_with(3);

        assert!(!sandbox.vault_path().exists());
    }

    for yes in ["y\n", "\n", "YES\n"] {
        let sandbox = Sandbox::empty();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        terminal.waits_for("[Y/n] ").types(yes);
        terminal.waits_for("New passphrase: ").types(PASSPHRASE).types("\n");
        terminal.waits_for("Repeat passphrase: ");

        // One case continues to the end. Its vault has the default cost, which takes its time.
        if yes != "\n" {
            terminal.types(CTRL_C).ends_with(130);
            continue;
        }

        terminal.types(PASSPHRASE).types("\n").waits_for("created the vault");

        // The passphrase is known by now, so the value is asked for next.
        terminal.waits_for("Value of key: ").types("1234\n");
        let screen = terminal.waits_for("created `key`").ends_with(0);
        assert!(!screen.contains("Passphrase for"), "{screen}");
        assert_eq!(revealed(&sandbox, "key"), b"1234");
    }
}

#[test]
fn a_wrong_passphrase_can_be_corrected_twice() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::run(&sandbox, "get key");
    for typed in ["wrong\n", "\n"] {
        terminal.waits_for("Passphrase for ").types(typed).waits_for(", try again");
    }

    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("tag          key").ends_with(0);
}

#[test]
fn three_wrong_passphrases_are_enough() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::run(&sandbox, "get key");
    for _ in 0..3 {
        terminal.waits_for("Passphrase for ").types("hunter2\n");
    }

    let screen = terminal.waits_for("error: wrong passphrase").ends_with(5);
    assert_eq!(screen.matches("wrong passphrase, try again").count(), 2, "{screen}");
    assert!(!screen.contains("hunter2"), "{screen}");
}

#[test]
fn ctrl_c_at_any_prompt_exits_with_130_and_restores_the_echo() {
    let unlocked: &[(&str, &str)] = &[("Passphrase for ", PASSPHRASE)];
    for (arguments, answers, prompt) in [
        ("init", &[][..], "New passphrase: "),
        ("init", &[("New passphrase: ", PASSPHRASE)], "Repeat passphrase: "),
        ("--vault full.db list", &[], "Passphrase for "),
        ("--vault full.db create --tag new", unlocked, "Value of new: "),
        ("--vault full.db update key", unlocked, "New value of key: "),
        ("--vault full.db delete key", unlocked, "[y/N] "),
        ("--vault full.db project delete default", unlocked, "[y/N] "),
        ("create --tag key", &[], "[Y/n] "),
    ] {
        let sandbox = Sandbox::with_secrets(&[("key", "x")]);
        std::fs::rename(sandbox.vault_path(), sandbox.path("full.db")).unwrap();
        let mut terminal = Terminal::run(&sandbox, arguments);
        for (question, answer) in answers {
            terminal.waits_for(question).types(answer).types("\n");
        }
        terminal.waits_for(prompt);
        if prompt.ends_with(": ") {
            terminal.types("half of it");
        }
        let screen = terminal.types(CTRL_C).ends_with(130);
        assert!(!screen.contains("half"), "{screen}");
        assert!(!sandbox.vault_path().exists(), "{arguments}");
        let left = sandbox.run(["list", "--vault", "full.db"]).succeeds().bytes();
        assert!(
            left.starts_with(b"key\t") && left.split(|b| *b == b'\n').count() == 2,
            "{arguments}"
        );
    }
}

#[test]
fn input_is_hidden_from_the_moment_a_question_appears() {
    // A terminal that disables the echo after the question would sometimes show this.
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let five = || {
        for _ in 0..5 {
            let mut terminal = Terminal::run(&sandbox, "list");
            let screen =
                terminal.waits_for("Passphrase for ").types("MARKER").types(CTRL_C).ends_with(130);
            assert!(!screen.contains("MARKER"), "{screen}");
        }
    };

    // Each run mostly waits.
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(five);
        }
    });
}

#[test]
fn a_signal_ends_a_prompt_and_restores_the_echo() {
    use rustix::process::{Pid, Signal, kill_process};
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let sandbox = Sandbox::with_secrets(&[("key", "x")]);
        let mut terminal =
            Terminal::shell(&sandbox, "sh -c 'echo \"pid=$$,\"; exec \"$secrets\" list'");
        let screen = terminal.waits_for("Passphrase for ").screen();
        let (_, rest) = screen.split_once("pid=").unwrap();
        let pid = rest.split(',').next().unwrap().parse().unwrap();

        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        terminal.ends();
        assert!(terminal.screen().contains("echo=on"), "{signal:?}: {}", terminal.screen());
        assert!(!terminal.screen().contains("code=0"), "{signal:?}: {}", terminal.screen());
    }
}

#[test]
fn a_typed_value_is_stored_unchanged_and_can_be_edited() {
    let long = "abcdefgh\t".repeat(1000);

    // The input, and the stored value. Backspace removes a character, and Ctrl-U removes the line.
    for (typed, stored) in [
        ("a\tb", "a\tb"),
        ("é漢x\x7f\x7fy", "éy"),
        ("wrong\x15right", "right"),
        (&*long, &*long),
        (" a ", " a "),
    ] {
        let sandbox = Sandbox::new();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal.waits_for("Value of key: ").types(typed).types("\n");
        terminal.waits_for("created `key`").ends_with(0);
        assert_eq!(String::from_utf8_lossy(&revealed(&sandbox, "key")), stored);
    }
}

#[test]
fn a_typed_value_with_a_control_character_is_refused() {
    for typed in ["abc\x1b[Ddef", "new\x1afg"] {
        let sandbox = Sandbox::new();
        let mut terminal = Terminal::run(&sandbox, "create --tag key");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal.waits_for("Value of key: ").types(typed).types("\n");
        terminal.waits_for("error: the typed value contains a control character").ends_with(2);
        assert!(is_empty(&sandbox));
    }
}

#[test]
fn ctrl_d_at_a_prompt_is_not_an_answer() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag key");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Value of key: ").types("\x04");
    terminal.ends();
    assert!(is_empty(&sandbox));
}

#[test]
fn a_pasted_value_of_several_lines_is_refused_and_discarded() {
    let sandbox = Sandbox::with_secrets(&[("key", "old")]);
    for (arguments, question) in
        [("create --tag new", "Value of new: "), ("update key", "New value of key: ")]
    {
        let mut terminal = Terminal::run(&sandbox, arguments);
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal
            .waits_for(question)
            .types("-----BEGIN KEY-----\nMARKER\nrm -rf everything\n-----END KEY-----\n");
        terminal.waits_for("error: the value has several lines, but a prompt takes only one");
        terminal
            .waits_for("hint: pipe the value in, or use `--value-file PATH`; nothing was stored");

        let screen = terminal.ends_with(2);
        assert!(
            !screen.contains("BEGIN") && !screen.contains("MARKER") && !screen.contains("END"),
            "{screen}"
        );
    }

    assert_eq!(revealed(&sandbox, "key"), b"old");
    assert!(sandbox.vault().find(&project("default"), &"new".parse().unwrap()).unwrap().is_none());
}

#[test]
fn a_pasted_value_without_a_final_newline_is_discarded_too() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag new");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Value of new: ").types("first line\nMARKER without an end");

    let screen = terminal.waits_for("error: the value has several lines").ends_with(2);
    assert!(!screen.contains("MARKER"), "{screen}");
    assert!(is_empty(&sandbox));
}

#[test]
fn an_empty_value_is_refused_at_the_prompt_too() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::run(&sandbox, "create --tag key");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("Value of key: ").types("\n");
    terminal.waits_for("error: the value is empty; nothing was stored").ends_with(2);
    assert!(is_empty(&sandbox));
}

#[test]
fn delete_asks_and_only_yes_deletes() {
    let sandbox = Sandbox::with_secrets(&[("key", "x"), ("other", "x")]);
    for no in ["\n", "n\n", "no\n"] {
        let mut terminal = Terminal::run(&sandbox, "delete KEY other");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal
            .waits_for(
                "Delete `key` of project `default`, `other` of project `default` for good? [y/N] ",
            )
            .types(no);

        terminal.waits_for("\r\nnothing was changed").ends_with(7);
    }

    // Neither unrecognized text nor the end of input counts as an answer.
    for (typed, shown) in [("yse\n", "Answer `y` or `n`.\r\nDelete `key` of project "), ("", "")] {
        let mut terminal = Terminal::run(&sandbox, "delete KEY other");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal.waits_for("for good? [y/N] ").types(typed).waits_for(shown);
        terminal.types("\x04").ends_with(130);
    }

    let mut terminal = Terminal::run(&sandbox, "delete key");
    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    terminal.waits_for("[y/N] ").types("y\n");
    terminal.waits_for("deleted `key` of project `default`").ends_with(0);
    sandbox.run(["list"]).succeeds().stdout_has("other\t");
    stderr!(sandbox.run(["get", "key"]).fails_with(3), @"
    error: no secret `key` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");
}

#[test]
fn project_delete_asks_and_only_yes_deletes() {
    let sandbox = Sandbox::with_secrets(&[("key", "x"), ("other", "x")]);
    for (answer, code) in [("\n", 7), ("y\n", 0)] {
        let mut terminal = Terminal::run(&sandbox, "project delete default");
        terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
        terminal
            .waits_for("Delete project `default` with its 2 secrets for good? [y/N] ")
            .types(answer);
        terminal.ends_with(code);
    }

    sandbox.run(["project", "list"]).succeeds().stdout("");
}

#[test]
fn the_passphrase_is_asked_for_while_stdin_and_stdout_are_pipes() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::shell(
        &sandbox,
        "printf 'piped value\\n' | \"$secrets\" create --tag key --json | cat",
    );

    terminal.waits_for("Passphrase for ").types(PASSPHRASE).types("\n");
    let screen = terminal.waits_for("\"tag\":\"key\"").ends_with(0);
    assert!(!screen.contains("Value of") && !screen.contains("piped"), "{screen}");
    assert_eq!(revealed(&sandbox, "key"), b"piped value");
}

#[test]
fn piped_input_is_not_an_answer_to_a_question() {
    let sandbox = Sandbox::with_secrets(&[("key", "x")]);
    let mut terminal = Terminal::shell(&sandbox, "echo y | \"$secrets\" delete key");
    terminal.waits_for("error: deleting requires `--yes`").ends_with(7);
    sandbox.run(["get", "key"]).succeeds().stdout_has("tag ");
}

#[test]
fn a_list_on_a_terminal_is_a_table_that_fits() {
    let sandbox = Sandbox::new();
    let name = "a name that is quite long and not to be shown in full on every terminal";
    for (tag, name) in [
        ("a-tag-of-twenty-char", name),
        ("short", "漢字のとても長い名前はどこでも折り返される"),
        ("x", ""),
    ] {
        let line = ["create", "--tag", tag, "--name", name, "-q"];
        sandbox.command(line).stdin("abcdefghijklmnopqrstuvwxyz012345").run().succeeds();
    }

    sandbox.write("passphrase", PASSPHRASE);
    for (width, columns) in [
        (40, &["TAG", "HINT"][..]),
        (80, &["TAG", "HINT", "NAME"]),
        (120, &["TAG", "HINT", "NAME", "ID"]),
    ] {
        let list = "NO_COLOR= \"$secrets\" list --passphrase-file passphrase 2>/dev/null";
        let script = format!("stty cols {width} rows 24; {list}");
        let mut terminal = Terminal::shell(&sandbox, &script);
        let screen = terminal.ends_with(0);
        // The epilogue's lines are not part of the table.
        let table: Vec<&str> = screen.split("code=").next().unwrap().lines().collect();
        for line in &table {
            let line = plain(line);
            assert!(
                unicode_width::UnicodeWidthStr::width(&*line) <= width,
                "{width}: {line}\n{screen}"
            );
        }
        let header = plain(table[0]);
        for column in columns {
            assert!(header.contains(column), "{width}: {header}");
        }
        assert!(
            table[0].starts_with("\x1b[1m"),
            "the header is bold on a terminal: {:?}",
            table[0]
        );
        for tag in ["a-tag-of-twenty-char", "short", "x"] {
            assert!(
                table.iter().any(|line| line.split_whitespace().next() == Some(tag)),
                "{width}: {screen}"
            );
        }
    }
}

/// Returns a line without its colours.
fn plain(line: &str) -> String {
    line.replace("\x1b[1m", "").replace("\x1b[0m", "")
}
